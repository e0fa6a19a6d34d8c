"""Write schemas.json, beside this file, from what Kubernetes and KEDA publish: the README tells from where."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

KINDS = {
    "v1 Namespace": "io.k8s.api.core.v1.Namespace",
    "v1 Secret": "io.k8s.api.core.v1.Secret",
    "v1 Service": "io.k8s.api.core.v1.Service",
    "apps/v1 Deployment": "io.k8s.api.apps.v1.Deployment",
    "batch/v1 Job": "io.k8s.api.batch.v1.Job",
    "policy/v1 PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
}
"""`apiVersion kind` -> definition."""


def strict(schema: Any) -> Any:
    """Return a schema that refuses unknown fields and says nothing but what may be written."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    kept = {
        word: {name: strict(field) for name, field in value.items()} if word == "properties" else strict(value)
        for word, value in schema.items()
        if word not in ("description", "default", "format") and not word.startswith("x-kubernetes-")
    }
    if "properties" in kept and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    return kept


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to."""
    if isinstance(schema, list):
        for each in schema:
            yield from references(each)
    elif isinstance(schema, dict):
        for word, value in schema.items():
            if word == "$ref":
                yield value.removeprefix("#/definitions/")
            else:
                yield from references(value)


def main(swagger: str, *resources: str) -> None:
    published = json.loads(Path(swagger).read_text())["definitions"]
    definitions = {}
    for path in resources:
        resource = yaml.safe_load(Path(path).read_text())["spec"]
        (version,) = resource["versions"]
        schema = version["schema"]["openAPIV3Schema"]
        del schema["properties"]["status"]
        schema["properties"]["metadata"] = {"$ref": f"#/definitions/{META}"}
        definitions[f"{resource['group']}/{version['name']} {resource['names']['kind']}"] = strict(schema)
    wanted = [META, *KINDS.values()]
    while wanted:
        name = wanted.pop()
        if name not in definitions:
            definitions[name] = strict(published[name])
            wanted += references(definitions[name])
    # Kubernetes says that a quantity is text, and takes a number for one too.
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["number", "string"]}
    definitions |= {kind: {"$ref": f"#/definitions/{name}"} for kind, name in KINDS.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(definitions[name])}" for name in sorted(definitions))
    Path(__file__).with_name("schemas.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
