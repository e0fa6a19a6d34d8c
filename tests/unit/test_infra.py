"""The files that containers are started from: parsed, checked against each other, and free of secrets."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer import exits
from consumer.cli import main
from consumer.kinds import builtin_kinds
from consumer.routes import build_router
from consumer.settings import Settings, load_settings
from handlers.esco_index.placing import MODULE
from handlers.silo_staging.options import Options as SiloOptions
from handlers.silo_staging.paths import Paths

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "lakedrop:local"}
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(:[-?][^}]*)?\}")


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def defaulted(text: str, otherwise: str | None = None) -> str:
    """Put their defaults for variables, and something else for those without one."""
    return VARIABLE.sub(
        lambda found: (
            found[2][2:] if (found[2] or "").startswith(":-") else found[0] if otherwise is None else otherwise
        ),
        text,
    )


def mounts(service: dict[str, Any]) -> list[str]:
    return [defaulted(volume).split(":")[0] for volume in service.get("volumes", ())]


# compose


def test_the_stack_is_what_compose_understands(compose_cli: Path, tmp_path: Path) -> None:
    written = tmp_path / "docker-compose.yml"
    written.write_text(defaulted((ROOT / "docker-compose.yml").read_text(), "filled-in"))
    done = subprocess.run([compose_cli, written.name], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert services.keys() == COMPOSE["services"].keys()
    assert services["consumer"]["deploy"]["replicas"] == 2
    assert services["consumer"]["environment"]["LAKEDROP_LEDGER_URL"] == (
        "postgresql://lakedrop:filled-in@postgres/ledger"
    )

    written.write_text(written.read_text().replace("restart:", "restarts:"))
    done = subprocess.run([compose_cli, written.name], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert "restarts" in done.stderr


@pytest.mark.parametrize("name", ["consumer", "minio-consumer"])
def test_trino_has_the_catalog_that_its_consumers_write_to(name: str) -> None:
    told = COMPOSE["services"][name]["environment"]
    catalog = told.get("LAKEDROP_TRINO_CATALOG", Settings.model_fields["trino_catalog"].default)
    lines = (ROOT / f"infra/compose/trino/catalog/{catalog}.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    assert told["LAKEDROP_TRINO_URL"] == "http://trino:8080"
    (database,) = re.findall(r"@(postgres/\w+)", told["LAKEDROP_CATALOG"])
    assert properties["iceberg.jdbc-catalog.connection-url"] == f"jdbc:postgresql://{database}"
    assert properties["s3.endpoint"] == told["LAKEDROP_S3_ENDPOINT"]
    assert properties["iceberg.jdbc-catalog.catalog-name"] == "lakedrop", "as PyIceberg calls it"
    assert properties["parquet.writer.delta-length-byte-array-encoding-enabled"] == "false"


def test_consumers_on_seaweedfs_know_which_filer_a_bridge_must_follow() -> None:
    services = COMPOSE["services"]
    filer = services["bridge"]["environment"]["LAKEDROP_BRIDGE_FILER"]
    assert services["consumer"]["environment"]["LAKEDROP_BRIDGE_FILER"] == filer == "seaweedfs:18888"
    assert "LAKEDROP_BRIDGE_FILER" not in services["minio-consumer"]["environment"]
    shared = tomllib.loads((ROOT / "infra/kubernetes/lakedrop.toml").read_text())
    assert shared["bridge_filer"].endswith(":18888"), "bridge and consumers read one file"


def test_every_variable_of_the_stack_is_in_the_example_and_the_other_way_round() -> None:
    files = [ROOT / "docker-compose.yml", ROOT / "infra/compose/smoke.sh"]
    used = {name for path in files for name, _ in VARIABLE.findall(path.read_text())}
    assert used == set(example())


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    elsewhere = {"HF_TOKEN", "KAGGLE_API_TOKEN"}  # of accounts that people may have: nobody can make them up
    assert {name: example()[name] for name in elsewhere} == dict.fromkeys(elsewhere, '""')
    secrets = [name for name in example() if name.endswith(("_PASSWORD", "_TOKEN", "_KEY")) and name not in elsewhere]
    assert secrets
    assert {name: example()[name] for name in secrets} == dict.fromkeys(secrets, "")
    for name, default in VARIABLE.findall(text):
        assert name not in secrets or default.startswith(":?"), f"{name} may be empty"


def test_ports_are_published_on_loopback_only() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


PARTS = {
    "trinodb/trino": r"\d+",
    "argilla/argilla-server": r"v\d+\.\d+\.\d+",
    "postgres": r"\d+\.\d+",
    "chrislusf/seaweedfs": r"\d+\.\d+",
    "semitechnologies/transformers-inference": r"[A-Za-z0-9-]+-\d+\.\d+\.\d+",
}
"""Versions that are not three numbers, by image."""


def is_pinned(image: str) -> bool:
    """Tell whether a tag names one release: `3.22` and `alpine` move on."""
    name, _, tag = image.partition(":")
    version = PARTS.get(name, r"\d+\.\d+\.\d+")
    return tag == "local" or re.fullmatch(rf"{version}(-(slim|bookworm|management|alpine\d+\.\d+))*", tag) is not None


def test_images_are_pinned_to_a_release() -> None:
    images = [service["image"] for service in COMPOSE["services"].values() if "image" in service]
    places = (".", "infra/minio-notify/minio", "infra/compose/superset")
    files = [ROOT / place / "Dockerfile" for place in places]
    for path in files:
        stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", path.read_text(), re.MULTILINE)
        images += [image for image, _ in stages if image not in {name for _, name in stages}]
    images += re.findall(r"^  (\S+:[\d.]+) ", (ROOT / "infra/compose/smoke.sh").read_text(), re.MULTILINE)
    (job,) = yaml.safe_load((ROOT / ".github/workflows/containers.yml").read_text())["jobs"]["versions"]["strategy"][
        "matrix"
    ].values()
    images += [f"rabbitmq:{tag}" for tag in job]
    assert len(images) > 15
    assert [image for image in images if not is_pinned(image)] == []


@pytest.mark.parametrize(
    "image",
    [
        *("redis", "trinodb/trino:latest", "python:3.12-slim-bookworm", "golang:1.24-alpine", "golang:1.24.13-alpine"),
        *("alpine:3.22", "postgres:17-alpine3.22", "rabbitmq:4-management", "chrislusf/seaweedfs:4"),
    ],
)
def test_tags_that_move_are_not_pinned(image: str) -> None:
    assert not is_pinned(image)


def test_what_the_image_is_built_with_is_locked() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--no-build-isolation" in dockerfile, "the index would choose what builds the wheel"
    (expression,) = re.findall(r"sed -n '(\S+)' requirements-dev.lock", dockerfile)
    command = ["sed", "-n", expression, str(ROOT / "requirements-dev.lock")]
    taken = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert re.fullmatch(r"setuptools==\S+ \\\n(    --hash=sha256:\w{64}( \\)?\n)+(    # .*\n)*", taken)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert {name for names in copied for name in names.split()} == set(let_in)


def test_named_volumes_belong_to_the_user_that_writes_to_them() -> None:
    # An empty volume takes content and owner of the folder below it, and is root's where the image has none.
    images = {"lakedrop": ".", "minio": "infra/minio-notify/minio"}
    for user, place in images.items():
        dockerfile = (ROOT / place / "Dockerfile").read_text()
        made = [folder for folders in re.findall(r"mkdir ([^&\n]+)", dockerfile) for folder in folders.split()]
        owned = [folder for folders in re.findall(rf"chown {user} ([^&\n]+)", dockerfile) for folder in folders.split()]
        services = OURS.values() if user == "lakedrop" else [COMPOSE["services"][user]]
        volumes = [defaulted(volume).split(":") for service in services for volume in service["volumes"]]
        written = {volume[1] for volume in volumes if volume[0] in COMPOSE["volumes"] and volume[2:] != ["ro"]}
        assert written
        assert written <= set(made) & set(owned), f"{place}/Dockerfile"


@pytest.mark.usefixtures("restored_logs")
@pytest.mark.parametrize("name", OURS)
def test_only_services_with_a_page_are_asked_for_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `docker compose up --wait` gives up on a container that is unhealthy, and the image's health check asks the page.
    service = OURS[name]
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, VARIABLE.sub("filled-in", value))
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()
    if service["command"] == ["run"]:
        assert service["environment"]["LAKEDROP_LISTEN"] == "0.0.0.0:8410"
    else:
        assert main(["health", "--home", str(tmp_path)]) == exits.OK


def test_somebody_waits_for_the_end_of_what_ends() -> None:
    # `docker compose up --wait` takes the end of a container for a failure, unless another service waits for it.
    services = COMPOSE["services"]
    awaited = {
        other
        for service in services.values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    assert awaited == {name for name, service in services.items() if service["restart"] in ("no", "on-failure")}


def test_what_is_mounted_from_here_is_here() -> None:
    paths = {path for service in COMPOSE["services"].values() for path in mounts(service) if path.startswith("./")}
    assert paths
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_services_wait_for_others_that_can_tell_that_they_are_ready() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for {other}"
            else:
                assert services[other]["restart"] in ("no", "on-failure"), f"{other} never completes"


def test_the_file_of_all_routes_has_one_for_every_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert example()["ROUTES_TOML"] == "./infra/compose/lakedrop.toml", "only CSV files, unless somebody says so"
    monkeypatch.setenv("ARGILLA_API_URL", "http://argilla:6900")
    monkeypatch.setenv("ARGILLA_API_KEY", "of-tests")
    (tmp_path / "lakedrop.toml").write_text((ROOT / "infra/compose/everything.toml").read_text())
    router = build_router(load_settings(tmp_path), builtin_kinds())
    assert {route.handler for route in router.routes} == set(builtin_kinds())
    assert {route.bucket for route in router.routes} == {example()["S3_INGEST_BUCKET"]}


def test_search_waits_until_releases_are_in_weaviate() -> None:
    services = COMPOSE["services"]
    assert services["esco-init"]["profiles"] == services["esco-search"]["profiles"] == ["esco-search"]
    assert services["weaviate"]["profiles"] == ["esco", "esco-search"]
    assert services["esco-search"]["depends_on"]["esco-init"] == {"condition": "service_completed_successfully"}
    assert [name for name, service in services.items() if "container_name" in service] == [], "none could be scaled"


def test_the_module_of_weaviate_is_asked_where_it_serves_and_only_if_somebody_says_so() -> None:
    weaviate, module = (COMPOSE["services"][name] for name in ("weaviate", "t2v-transformers"))
    assert weaviate["environment"]["ENABLE_MODULES"] == "${WEAVIATE_MODULES:-}"
    assert example()["WEAVIATE_MODULES"] == '""'
    assert weaviate["environment"]["TRANSFORMERS_INFERENCE_API"] == "http://t2v-transformers:8080"
    assert module["profiles"] == ["transformers"]
    assert "ports" not in module, "only Weaviate has to reach it"
    assert f"WEAVIATE_MODULES={MODULE}\n" in (ROOT / "docs/esco.md").read_text()


def test_silo_reads_where_consumers_stage() -> None:
    services = COMPOSE["services"]
    silo, watcher = services["silo"], services["silo-preprocessing"]
    assert silo["profiles"] == watcher["profiles"] == ["silo"], "nothing of it starts unasked"
    assert "silo:/var/lib/lakedrop/silo" in services["consumer"]["volumes"], "the staging areas' default place"
    area = Paths(Path("/silo/ebola"))
    told = {name: defaulted(value) for name, value in watcher["environment"].items()}
    assert told["SILO_INPUT_DIR"] == told["SILO_INPUT_DIRECTORY"] == str(area.input)
    assert told["SILO_OUTPUT_DIRECTORY"] == told["SILO_DATA_DIRECTORY"] == str(area.output)
    assert told["SILO_PREPROCESSING_CONFIG"] == str(area.input / SiloOptions().preprocessing_config)
    (manifest, _) = yaml.safe_load_all((ROOT / "infra/silo/kubernetes/silo.yaml").read_text())
    (preprocessing,) = [
        container
        for container in manifest["spec"]["template"]["spec"]["containers"]
        if container["name"] == "preprocessing"
    ]
    assert watcher["entrypoint"] == ["sh", "/watch.sh"]
    assert {one["name"] for one in preprocessing["env"]} <= told.keys() | {"SILO_RUNNER_SLEEP_SECONDS"}


def test_superset_is_what_the_consumers_are_told_and_what_the_tests_run() -> None:
    services = COMPOSE["services"]
    consumer, superset, setup = (services[name] for name in ("consumer", "superset", "superset-setup"))
    assert superset["profiles"] == setup["profiles"] == ["superset"], "nothing of it starts unasked"
    assert superset["environment"] == setup["environment"]
    told = consumer["environment"]
    assert told["LAKEDROP_SUPERSET_URL"] == "${SUPERSET_URL:-}"
    assert example()["SUPERSET_URL"] == '""', "nobody is told of tables unless somebody says so"
    for name in ("SUPERSET_PASSWORD", "SUPERSET_DATABASE"):
        assert told[f"LAKEDROP_{name}"] == superset["environment"][name]
    script = (ROOT / "infra/compose/superset/setup.sh").read_text()
    assert f"--username {told['LAKEDROP_SUPERSET_USER']} " in script
    assert set(re.findall(r"\$(\w+)", script)) <= superset["environment"].keys()

    pinned = (ROOT / "tests/stack/superset-requirements.txt").read_text()
    dockerfile = (ROOT / "infra/compose/superset/Dockerfile").read_text()
    (version,) = re.findall(r"^FROM apache/superset:(\S+)$", dockerfile, re.MULTILINE)
    (client,) = re.findall(r"trino==(\S+)", dockerfile)
    assert f"\napache-superset=={version} " in pinned
    assert f"\ntrino=={client} " in pinned


def test_our_containers_run_without_rights() -> None:
    assert len(OURS) == 8
    for service in OURS.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    assert re.search(r"^USER lakedrop$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_environment_file_is_written_once_with_random_values(tmp_path: Path) -> None:
    script = tmp_path / "infra/compose/write-env.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / "infra/compose/write-env.sh").read_bytes())
    (tmp_path / ".env.example").write_bytes((ROOT / ".env.example").read_bytes())

    subprocess.run(["sh", str(script)], check=True, capture_output=True)  # noqa: S607 (whatever sh there is)
    written = (tmp_path / ".env").read_text()
    subprocess.run(["sh", str(script)], check=True, capture_output=True)  # noqa: S607

    assert (tmp_path / ".env").read_text() == written
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    values = dict(line.split("=", 1) for line in written.splitlines() if line and not line.startswith("#"))
    assert values.keys() == example().keys()
    made = [values[name] for name, value in example().items() if not value]
    assert all(re.fullmatch("[0-9a-f]{36}", value) for value in made)
    assert len(set(made)) == len(made)


def test_an_environment_file_of_an_older_version_gets_what_it_lacks_and_keeps_the_rest(tmp_path: Path) -> None:
    script = tmp_path / "infra/compose/write-env.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / "infra/compose/write-env.sh").read_bytes())
    (tmp_path / ".env.example").write_bytes((ROOT / ".env.example").read_bytes())
    before = "# mine\nLEDGER_PASSWORD=chosen\nS3_INGEST_BUCKET=other\nOURS=1\n"
    (tmp_path / ".env").write_text(before)

    done = subprocess.run(["sh", str(script)], check=True, capture_output=True, text=True)  # noqa: S607

    written = (tmp_path / ".env").read_text()
    values = dict(line.split("=", 1) for line in written.splitlines() if line and not line.startswith("#"))
    assert written.startswith(before)
    assert values.keys() == {*example(), "OURS"}
    assert (values["LEDGER_PASSWORD"], values["S3_INGEST_BUCKET"]) == ("chosen", "other")
    assert re.fullmatch("[0-9a-f]{36}", values["SUPERSET_PASSWORD"])
    assert done.stdout.count("Added ") == len(example()) - 2
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


# Workflows


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_call_scripts_and_targets_that_exist(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    lines = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert lines
    for line in lines:
        words = line.split()
        if words[0] == "make":
            assert words[1] in targets, line
        if words[0].startswith("infra/"):
            assert (ROOT / words[0]).is_file(), line


def test_skips_are_failures_wherever_a_workflow_runs_tests() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/containers.yml").read_text())["jobs"]
    testing = {name: job for name, job in jobs.items() if any("pytest" in step.get("run", "") for step in job["steps"])}
    assert testing.keys() == {"versions", "skipped-elsewhere"}
    assert all(job["env"]["LAKEDROP_TEST_INSTALL"] == "1" for job in testing.values())


def test_manifests_are_tried_on_an_api_server() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/containers.yml").read_text())["jobs"]["manifests"]
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert steps[0].startswith("kind create cluster")
    tried = [step for step in steps if "--dry-run=server --validate=strict" in step]
    assert {step.rpartition(" ")[2] for step in tried} == {
        "infra/kubernetes",
        "infra/kubernetes/secret.example.yaml",
    }
