"""Settings: where they come from, which wins, and how a fault is told."""

from pathlib import Path

import pytest

from consumer.kinds import builtin_kinds
from consumer.routes import build_router
from consumer.settings import DEFAULT_HOME, Settings, load_settings
from consumer.settings_faults import ConfigurationError, secret_fields


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


SECRET = "swordfish"  # noqa: S105 (looked for in messages)

REMOTE_FAULTS = {
    "unknown store": ("store = 'ftp'", "store = 'ftp': "),
    "bucket name of a folder in S3": (
        "store = 's3'\n[[routes]]\nname = 'a'\nbucket = 'Big_Bucket'",
        "routes.0.bucket = 'Big_Bucket': a bucket is 3 to 63",
    ),
    "address for a bucket name": (
        "store = 's3'\n[[routes]]\nname = 'a'\nbucket = '10.0.0.1'",
        "routes.0.bucket = '10.0.0.1': a bucket is 3 to 63",
    ),
    "endpoint without scheme": ("s3_endpoint = 'localhost:9000'", "s3_endpoint: not a URL"),
    "endpoint with a path": ("s3_endpoint = 'http://h:1/x'", "s3_endpoint = 'http://h:1/x': must end after host"),
    "endpoint with keys": (f"s3_endpoint = 'http://u:{SECRET}@h'", "s3_endpoint: must not hold keys"),
    "access key alone": ("s3_access_key = 'a'", "s3_secret_key: missing; s3_access_key is set"),
    "secret key alone": (f"s3_secret_key = '{SECRET}'", "s3_access_key: missing; s3_secret_key is set"),
    "certificates that are not there": ("s3_ca_bundle = '/no/ca.pem'", "s3_ca_bundle = '/no/ca.pem': no such file"),
    "broker of another kind": (f"broker_url = 'redis://u:{SECRET}@h'", "broker_url: not a URL of RabbitMQ"),
    "password with a slash": (f"broker_url = 'amqp://u:{SECRET}/@h:5672/'", "broker_url: not a URL of RabbitMQ"),
    "broker URL of another type": ("broker_url = 5672", "broker_url: "),
    "ledger of another kind": (f"ledger_url = 'mysql://u:{SECRET}@h/d'", "ledger_url: not a URL of PostgreSQL"),
    "ledger without a database": (f"ledger_url = 'postgresql://u:{SECRET}@h'", "ledger_url: not a URL of PostgreSQL"),
    "catalog without a type": ("catalog = { uri = 'http://h' }", "catalog.type: missing; there are: "),
    "catalog of no known type": ("catalog = { type = 'rset', uri = 'http://h' }", "catalog.type = 'rset': unknown"),
    "catalog without an address": ("catalog = { type = 'rest' }", "catalog.uri: missing"),
    "tables without a place": (
        f"catalog = {{ type = 'sql', uri = 'postgresql://u:{SECRET}@h/d' }}",
        "catalog.warehouse: missing",
    ),
    "Trino without scheme": ("trino_url = 'trino:8080'", "trino_url: not a URL"),
    "Trino with a password": (f"trino_url = 'https://u:{SECRET}@h'", "trino_url: must not hold a password"),
    "certificates of Trino that are not there": (
        "trino_url = 'https://h'\ntrino_ca_bundle = '/no/ca.pem'\ncatalog = { type = 'rest', uri = 'http://h' }",
        "trino_ca_bundle = '/no/ca.pem': no such file",
    ),
    "Trino with a path": ("trino_url = 'http://h:1/ui'", "trino_url = 'http://h:1/ui': must end after host"),
    "Trino's password in plain text": (
        f"trino_url = 'http://h'\ntrino_password = '{SECRET}'",
        "trino_password: Trino takes passwords by HTTPS only",
    ),
    "Trino over a home": ("trino_url = 'http://h:8080'", "trino_url: Trino cannot share the catalog of a home"),
    "maintenance by nobody": ("trino_maintains = true", "trino_url: missing; trino_maintains is set"),
    "page without a port": ("listen = 'localhost'", "listen = 'localhost': write host:port"),
    "page for everybody": ("listen = '0.0.0.0:8410'", "listen = '0.0.0.0:8410': others could read the page"),
    "queue with a dot": ("[[routes]]\nname = 'a'\nbucket = 'b'\nqueue = 'a.b'", "routes.0.queue = 'a.b': "),
}


@pytest.mark.parametrize("name", REMOTE_FAULTS)
def test_fault_about_a_server_names_the_setting_and_shows_no_secret(name: str, tmp_path: Path) -> None:
    text, beginning = REMOTE_FAULTS[name]

    (fault,) = faults_of(written(tmp_path, text))

    assert fault.startswith(beginning)
    assert SECRET not in fault


@pytest.mark.parametrize("name", sorted(secret_fields(Settings)))
def test_value_of_a_setting_that_may_hold_a_password_is_never_shown(name: str, tmp_path: Path) -> None:
    (fault,) = faults_of(written(tmp_path, f"{name} = 918273645"))

    assert fault.startswith(f"{name}: ")
    assert "918273645" not in fault


def test_settings_that_may_hold_a_password_are_known_by_their_type() -> None:
    assert secret_fields(Settings) == {
        "s3_access_key",
        "s3_secret_key",
        "broker_url",
        "ledger_url",
        "catalogue_url",
        "catalog",
        "superset_password",
        "trino_password",
        "argilla_api_key",
        "motherduck_token",
        "listen_token",
    }


def test_whole_installation_is_described_by_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "STORE": "s3",
        "S3_ENDPOINT": "http://seaweedfs:8333",
        "S3_PATH_STYLE": "true",
        "S3_ACCESS_KEY": "key",
        "S3_SECRET_KEY": SECRET,
        "BROKER_URL": f"amqp://lakedrop:{SECRET}@rabbitmq:5672/lakedrop",
        "LEDGER_URL": f"postgresql://lakedrop:{SECRET}@postgres/lakedrop",
        "CATALOG": '{"type": "sql", "warehouse": "s3://lakehouse-warehouse/", "s3.force-virtual-addressing": false}',
        "CATALOG__URI": f"postgresql+psycopg2://lakedrop:{SECRET}@postgres/catalog",
        "LISTEN": "0.0.0.0:8410",
        "LISTEN_TOKEN": SECRET,
    }.items():
        monkeypatch.setenv(f"LAKEDROP_{name}", value)

    settings = load_settings(tmp_path)

    assert (settings.store, settings.s3_path_style) == ("s3", True)
    assert settings.broker_url is not None
    assert settings.broker_url.get_secret_value() == f"amqp://lakedrop:{SECRET}@rabbitmq:5672/lakedrop"
    assert {name: value.get_secret_value() for name, value in settings.catalog.items()} == {
        "type": "sql",
        "warehouse": "s3://lakehouse-warehouse/",
        "s3.force-virtual-addressing": "false",
        "uri": f"postgresql+psycopg2://lakedrop:{SECRET}@postgres/catalog",
    }
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


def test_dotted_properties_of_the_catalog_need_no_quotes(tmp_path: Path) -> None:
    written(tmp_path, "[catalog]\ntype = 'rest'\nuri = 'http://h:8181'\ns3.endpoint = 'http://m:9000'\n")

    catalog = load_settings(tmp_path).catalog

    assert catalog["s3.endpoint"].get_secret_value() == "http://m:9000"


def test_route_over_the_warehouse_is_refused(tmp_path: Path) -> None:
    written(
        tmp_path,
        """
        store = "s3"
        catalog = { type = "rest", uri = "http://h:8181", warehouse = "s3://csv-uploads/warehouse/" }
        """,
    )

    with pytest.raises(ConfigurationError, match=r"route csv: .* give the warehouse a bucket of its own"):
        build_router(load_settings(tmp_path), builtin_kinds())


def test_variable_that_is_not_json_is_a_fault_without_its_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAKEDROP_CATALOG", f"type=rest,token={SECRET}")

    (fault,) = faults_of(tmp_path)

    assert "catalog" in fault
    assert "JSON" in fault
    assert SECRET not in fault


def test_bucket_of_a_folder_may_have_any_name_a_folder_has(tmp_path: Path) -> None:
    written(tmp_path, "[[routes]]\nname = 'a'\nbucket = 'Große Dateien'\n")

    assert load_settings(tmp_path).routes[0].bucket == "Große Dateien"


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


# Argilla


def test_a_route_of_argilla_needs_a_server_and_a_key(tmp_path: Path) -> None:
    (tmp_path / "lakedrop.toml").write_text('[[routes]]\nname = "a"\nbucket = "data"\nhandler = "argilla_records"\n')

    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path)

    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["argilla_url", "argilla_api_key"]
    assert "Set it, or ARGILLA_API_KEY" in caught.value.faults[1]


def test_the_variables_of_argilla_are_taken_where_nothing_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARGILLA_API_URL", "http://argilla:6900")
    monkeypatch.setenv("ARGILLA_API_KEY", "key")
    monkeypatch.setenv("MD_TOKEN", "token")
    monkeypatch.setenv("INPUT_PREFIX", "s3://data/argilla/in")
    settings = load_settings(tmp_path)
    assert settings.argilla_api_key is not None
    assert settings.motherduck_token is not None
    assert (settings.argilla_url, settings.argilla_api_key.get_secret_value()) == ("http://argilla:6900", "key")
    assert settings.motherduck_token.get_secret_value() == "token"
    assert [(route.bucket, route.prefix) for route in settings.routes] == [("data", "argilla/in/")]

    monkeypatch.setenv("S3_INGEST_BUCKET", "uploads")
    monkeypatch.setenv("LAKEDROP_ARGILLA_URL", "http://other:6900")
    settings = load_settings(tmp_path)

    assert settings.argilla_url == "http://other:6900"
    assert [route.name for route in settings.routes] == ["csv", "argilla"]


def test_a_log_in_motherduck_needs_a_token(tmp_path: Path) -> None:
    (tmp_path / "lakedrop.toml").write_text('argilla_log = "md:md_annotated"\n')

    with pytest.raises(ConfigurationError, match="motherduck_token: missing; argilla_log is in MotherDuck"):
        load_settings(tmp_path)
