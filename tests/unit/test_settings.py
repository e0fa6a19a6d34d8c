"""Settings: where they come from, which wins, and how a fault is told."""

from pathlib import Path

import pytest

from consumer.settings import DEFAULT_HOME, ConfigurationError, Settings, load_settings


def faults_of(home: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(home)
    return caught.value.faults


def written(home: Path, text: str) -> Path:
    (home / "lakedrop.toml").write_text(text)
    return home


def test_home_without_a_file_has_one_route_for_csv_files(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)

    (route,) = settings.routes
    assert (route.name, route.bucket, route.prefix, route.handler) == ("csv", "csv-uploads", "", "csv_to_iceberg")
    assert settings.buckets == tmp_path / "buckets"


def test_bucket_variable_of_earlier_installations_is_honoured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("S3_INGEST_BUCKET", "incoming")

    assert load_settings(tmp_path).routes[0].bucket == "incoming"


def test_file_is_read_from_the_home_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written(tmp_path, "sweep_seconds = 7")
    monkeypatch.setenv("LAKEDROP_HOME", str(tmp_path))

    settings = load_settings()

    assert (settings.home, settings.sweep_seconds) == (tmp_path, 7)


def test_home_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKEDROP_HOME", "/somewhere/else")

    assert load_settings(tmp_path).home == tmp_path


def test_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written(tmp_path, "sweep_seconds = 7\ndrain_seconds = 8")
    monkeypatch.setenv("LAKEDROP_SWEEP_SECONDS", "9")

    settings = load_settings(tmp_path)

    assert (settings.sweep_seconds, settings.drain_seconds) == (9, 8)


def test_default_home_is_beside_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert load_settings().home == DEFAULT_HOME


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b"])
def test_home_that_would_be_cut_as_a_url_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="rename the folder"):
        load_settings(tmp_path / name)


def test_routes_are_tables(tmp_path: Path) -> None:
    written(tmp_path, '[[routes]]\nname = "a"\nbucket = "b"\nprefix = "p/"\noptions = { on_delete = "remove" }\n')

    (route,) = load_settings(tmp_path).routes

    assert (route.name, route.bucket, route.prefix, route.options) == ("a", "b", "p/", {"on_delete": "remove"})


FAULTS = {
    "unknown setting": ("frob = 1", "frob: unknown setting"),
    "wrong type": ("sweep_seconds = 'soon'", "sweep_seconds = 'soon': "),
    "out of range": ("lease_seconds = -1", "lease_seconds = -1: "),
    "not one of the choices": ("log_level = 'loud'", "log_level = 'loud': "),
    "route without a name": ("[[routes]]\nbucket = 'b'", "routes.0.name: missing"),
    "unknown field of a route": (
        "[[routes]]\nname = 'a'\nbucket = 'b'\nbuckt = 'c'",
        "routes.0.buckt: unknown setting",
    ),
    "one table where there are many": (
        "[routes]\nname = 'a'\nbucket = 'b'",
        "[routes]: write [[routes]], in two pairs of brackets",
    ),
    **{
        f"bucket {bucket}": (
            f"[[routes]]\nname = 'a'\nbucket = '{bucket}'",
            f"routes.0.bucket = '{bucket}': a bucket is",
        )
        for bucket in ("..", ".", "a/b", "/etc", "../../etc", ".hidden", "b.part")
    },
    "not TOML": ("[[routes", "lakedrop.toml: not TOML: "),
    "heartbeat beyond the lease": ("lease_seconds = 5\nheartbeat_seconds = 5", "heartbeat_seconds = 5: "),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_names_its_place_and_value(name: str, tmp_path: Path) -> None:
    text, beginning = FAULTS[name]

    (fault,) = faults_of(written(tmp_path, text))

    assert beginning in fault


def test_every_fault_gets_a_line(tmp_path: Path) -> None:
    found = faults_of(written(tmp_path, "frob = 1\nlease_seconds = 0\n[[routes]]\nname = 'A b'\nbucket = ''\n"))

    assert len(found) == 4
    assert all("\n" not in fault for fault in found)


def test_bucket_variable_must_be_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("S3_INGEST_BUCKET", "../outside")

    assert faults_of(tmp_path)[0].startswith("bucket = '../outside': a bucket is the name of a folder")


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
