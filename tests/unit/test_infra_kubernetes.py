"""The Kubernetes manifests: fields that exist, names that fit each other, and pods without rights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft4Validator  # type: ignore[import-untyped]

from consumer.settings import load_settings
from handlers.silo_staging.config import Config

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted((ROOT / "infra/kubernetes").glob("*.yaml"))
SILO = ROOT / "infra/silo/kubernetes"
SCHEMAS = json.loads((ROOT / "tests/data/kubernetes/schemas.json").read_text())

RABBITMQ_TRIGGER = {
    *("queueName", "mode", "queueLength", "value", "activationValue", "host", "hostFromEnv", "protocol", "vhostName"),
    *("useRegex", "excludeUnacknowledged", "pageSize", "operation", "timeout", "unsafeSsl"),
    *("usernameFromEnv", "passwordFromEnv"),
}
"""What KEDA 2.18 reads of a trigger (pkg/scalers/rabbitmq_scaler.go); its schema takes any word."""


def documents() -> list[Any]:
    paths = [path for path in MANIFESTS if path.name != "kustomization.yaml"]
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def workloads() -> list[Any]:
    return [document for document in documents() if document["kind"] in ("Deployment", "Job")]


def faults(document: Any) -> list[str]:
    """Return what an API server with strict field validation would say of fields and their types."""
    name = f"{document['apiVersion']} {document['kind']}"
    schema = {"$ref": f"#/definitions/{name.replace('/', '~1')}", "definitions": SCHEMAS}
    found = Draft4Validator(schema).iter_errors(document)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


# Fields


@pytest.mark.parametrize(
    "document", documents(), ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
def test_manifests_have_fields_that_kubernetes_knows(document: Any) -> None:
    assert faults(document) == []


def test_misspelt_fields_and_wrong_types_are_found() -> None:
    deployment = next(each for each in workloads() if each["metadata"]["name"] == "lakedrop-bridge")
    deployment["spec"]["replicsa"] = deployment["spec"].pop("replicas")
    deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["mount"] = "/"
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = "45"
    found = "\n".join(faults(deployment))
    assert "'replicsa' was unexpected" in found
    assert "spec.template.spec.containers.0.volumeMounts.0: Additional properties" in found
    assert "spec.template.spec.terminationGracePeriodSeconds: '45' is not of type 'integer'" in found

    (scaled,) = (each for each in documents() if each["kind"] == "ScaledObject")
    scaled["spec"]["minReplicas"] = scaled["spec"].pop("minReplicaCount")
    del scaled["spec"]["scaleTargetRef"]["name"]
    assert len(faults(scaled)) == 2


# Meaning


def test_pods_run_without_rights_and_with_bounded_memory() -> None:
    assert len(workloads()) == 3
    for workload in workloads():
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        (container,) = pod["containers"]
        assert container["resources"]["limits"]["memory"]
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"]
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_labels_select_the_pods_they_are_meant_for() -> None:
    for workload in workloads():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        if workload["kind"] == "Deployment":
            assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (service,) = (document for document in documents() if document["kind"] == "Service")
    chosen = [
        workload["metadata"]["name"]
        for workload in workloads()
        if service["spec"]["selector"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert chosen == ["lakedrop-consumer"]


def test_volumes_and_secrets_that_pods_name_exist() -> None:
    secrets = {
        document["metadata"]["name"]
        for document in yaml.safe_load_all((ROOT / "infra/kubernetes/secret.example.yaml").read_text())
    }
    for workload in workloads():
        pod = workload["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert {source["secretRef"]["name"] for source in container["envFrom"]} <= secrets


def test_example_secrets_are_empty() -> None:
    for document in yaml.safe_load_all((ROOT / "infra/kubernetes/secret.example.yaml").read_text()):
        assert set(document["stringData"].values()) == {""}


def test_the_settings_are_those_of_compose_and_trino_and_superset_need_an_address_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "infra/kubernetes/lakedrop.toml").read_text()
    document = next(yaml.safe_load_all((ROOT / "infra/kubernetes/secret.example.yaml").read_text()))
    secrets = {
        **dict.fromkeys(document["stringData"], "x"),
        "LAKEDROP_BROKER_URL": "amqp://h/v",
        "LAKEDROP_LEDGER_URL": "postgresql://h/d",
        "LAKEDROP_CATALOG": '{"type": "rest", "uri": "http://h"}',
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "lakedrop.toml"
    config.write_text(text)
    settings = load_settings(tmp_path)
    assert (settings.trino_url, settings.superset_url) == ("", "")

    for name in ("trino_url", "superset_url"):
        text = text.replace(f'{name} = ""', f'{name} = "http://h:1"')
    config.write_text(text)
    settings = load_settings(tmp_path)

    assert (settings.trino_url, settings.superset_url, settings.superset_user) == (
        "http://h:1",
        "http://h:1",
        "lakedrop",
    )
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["consumer"]["environment"]
    set_there = {name.removeprefix("LAKEDROP_").lower() for name in compose if "SUPERSET" in name or "TRINO" in name}
    assert set_there <= settings.model_fields_set


def test_scaling_follows_the_queues_of_the_only_route() -> None:
    (scaled,) = (document for document in documents() if document["kind"] == "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] == "lakedrop-consumer"
    assert scaled["spec"]["minReplicaCount"] >= 1
    assert all(trigger["metadata"].keys() <= RABBITMQ_TRIGGER for trigger in scaled["spec"]["triggers"])
    queues = {trigger["metadata"]["queueName"] for trigger in scaled["spec"]["triggers"]}
    assert queues == {"lakedrop.work.csv_to_iceberg", "lakedrop.bulk.csv_to_iceberg", "lakedrop.ingress"}


def test_somebody_makes_the_buckets() -> None:
    (job,) = (each for each in workloads() if each["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["notify", "apply"]


def test_the_kustomization_holds_every_manifest_but_the_example() -> None:
    kustomization = yaml.safe_load((ROOT / "infra/kubernetes/kustomization.yaml").read_text())
    there = {path.name for path in MANIFESTS} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(kustomization["resources"]) == there
    for generated in kustomization["configMapGenerator"]:
        assert all((ROOT / "infra/kubernetes" / name).is_file() for name in generated["files"])


# SILO


def silo() -> Any:
    return next(iter(yaml.safe_load_all((SILO / "silo.yaml").read_text())))


def test_the_pod_of_silo_has_fields_that_kubernetes_knows() -> None:
    for document in yaml.safe_load_all((SILO / "silo.yaml").read_text()):
        assert faults(document) == []


def test_importer_and_silo_share_the_folders_that_both_are_told() -> None:
    pod = silo()["spec"]["template"]["spec"]
    importer, preprocessing, api = pod["containers"]
    told = {one["name"]: one["value"] for one in importer["env"]}
    assert Config.from_environment(told).coordination == "sentinels"

    def mounts(container: Any) -> dict[str, str]:
        return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}

    shared = {"/preprocessing/input": "input", "/preprocessing/output": "output"}
    assert mounts(importer) == shared
    assert shared.items() <= mounts(preprocessing).items()
    assert mounts(api)["/preprocessing/output"] == "output"
    assert {name for each in pod["containers"] for name in mounts(each).values()} == {
        volume["name"] for volume in pod["volumes"]
    }


def test_the_pod_of_silo_has_no_rights_and_bounded_memory() -> None:
    pod = silo()["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        assert container["resources"]["limits"]["memory"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_configuration_maps_of_silo_hold_files_that_exist() -> None:
    customisation = yaml.safe_load((SILO / "kustomization.yaml").read_text())
    maps = {one["name"]: one["files"] for one in customisation["configMapGenerator"]}
    assert all((SILO / name).exists() for names in maps.values() for name in names)
    named = {
        volume["configMap"]["name"] for volume in silo()["spec"]["template"]["spec"]["volumes"] if "configMap" in volume
    }
    assert named == set(maps)
    assert {image["name"] for image in customisation["images"]} == {
        container["image"] for container in silo()["spec"]["template"]["spec"]["containers"]
    }


# Argilla


def autoload() -> Any:
    return yaml.safe_load((ROOT / "infra/argilla/kubernetes/autoload.yaml").read_text())


def test_the_job_of_argilla_has_fields_that_kubernetes_knows() -> None:
    job = autoload()
    template = job["spec"].pop("jobTemplate")

    assert faults({"apiVersion": "batch/v1", "kind": "Job", **template}) == []
    assert (job["apiVersion"], job["kind"], job["spec"]["schedule"]) == ("batch/v1", "CronJob", "*/15 * * * *")
    # io.k8s.api.batch.v1.CronJobSpec
    assert job["spec"].keys() <= {
        *("concurrencyPolicy", "failedJobsHistoryLimit", "schedule", "startingDeadlineSeconds"),
        *("successfulJobsHistoryLimit", "suspend", "timeZone"),
    }


def test_the_job_of_argilla_runs_without_rights_and_its_variables_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = autoload()["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "http://argilla:6900"))

    settings = load_settings(tmp_path)

    (route,) = settings.routes
    assert (route.bucket, route.prefix, route.handler) == ("data", "argilla/in/", "argilla_records")
    assert settings.argilla_log == "md:md_annotated"
    assert container["args"][:2] == ["argilla", "ingest"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
