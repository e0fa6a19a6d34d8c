"""Write the pages of docs/ that follow from the code: `make docs`. tests/unit/test_docs.py fails on stale ones."""

from __future__ import annotations

import importlib.metadata
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from consumer.kinds import BUILTIN
from consumer.settings import Settings
from consumer.settings_routes import RouteSettings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

SPECIAL_DEFAULTS = {
    "routes": "one route for CSV files",
    **dict.fromkeys(("argilla_url", "argilla_api_key", "motherduck_token"), "unset"),
}
"""Defaults that a function makes, by field."""

TYPES = {
    str: "text",
    SecretStr: "secret text",
    Path: "path",
    float: "number",
    int: "whole number",
    bool: "true or false",
}

SPDX = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-clause": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",  # by the texts of lz4 and python-dateutil
    "LGPL with exceptions": "LGPL-3.0-or-later",
}
"""Licences as the distributions that have nothing better call them, in text or classifier, as SPDX names."""


CONFIGURATION = """\
# Configuration

Made from `consumer/settings.py`, `consumer/settings_routes.py` and the handlers' options by `make docs`; edit those
instead.

Settings stand in `lakedrop.toml` in the home (`--home`, `LAKEDROP_HOME`, else `./lakedrop-home`). An environment
variable `LAKEDROP_` + the name in capitals overrides the file: `LAKEDROP_SWEEP_SECONDS=60`. An unknown name, a value
of the wrong type, or two routes alike end every command with exit code 78 and one line per fault.

```toml
sweep_seconds = 60

[[routes]]
name = "finance"
bucket = "csv-uploads"
prefix = "finance/"
options = {{ namespace = "finance", date_order = "dmy", on_delete = "remove" }}
```

Durations are seconds, sizes are bytes. Secrets are never logged; give them as variables rather than in a file. A value
of a table has a variable of its own: `LAKEDROP_CATALOG__URI` sets `uri` of `catalog`.

## Settings

{settings}

## Routes

Each `[[routes]]` table. Without any there is one, named `csv`: bucket `csv-uploads` (or what `S3_INGEST_BUCKET` names),
handler `csv_to_iceberg`.

{routes}
"""

LICENCES = """\
# Licences

What an installation contains, as `requirements.lock` pins it; made by `make docs` from the packages' own metadata.
lakedrop itself is under [Apache-2.0](../LICENSE). All licences are permissive but those of certifi and orjson
(MPL-2.0) and psycopg2-binary (LGPL-3.0-or-later, with an exception for OpenSSL), which ask only that changes to
themselves stay open; they are used unchanged, as separate packages.

| Package | Version | Licence |
|---|---|---|
{rows}
"""


def configuration() -> str:
    """Return docs/configuration.md."""
    page = CONFIGURATION.format(settings=table(Settings), routes=table(RouteSettings))
    for handler, kind in BUILTIN.items():
        page += f"\n## Options of `{handler}`\n\nThe `options` of a route.\n\n{table(kind.options)}\n"
    return page


def table(model: type[BaseModel]) -> str:
    """Return the fields of a model as a Markdown table."""
    rows = [
        f"| `{name}` | {type_text(field.annotation)} | {default_text(name, field)} | {cell(field.description or '')} |"
        for name, field in model.model_fields.items()
    ]
    return "\n".join(["| Name | Type | Default | Meaning |", "|---|---|---|---|", *rows])


def type_text(annotation: Any) -> str:
    """Say in words what a field takes."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return type_text(next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return "tables" if arguments[0] is RouteSettings else f"list of {type_text(arguments[0])}"
    return "table" if origin is dict else TYPES[annotation]


def default_text(name: str, field: FieldInfo) -> str:
    """Return a field's default as it would stand in TOML."""
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return SPECIAL_DEFAULTS.get(name, "empty")
    return "unset" if field.default is None else f"`{toml(field.default)}`"


def toml(value: Any) -> str:
    """Write a value as TOML does."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:g}" if isinstance(value, float) else str(value)
        case tuple():
            return f"[{', '.join(toml(part) for part in value)}]"
        case _:
            return f"'{value}'" if "\\" in str(value) else f'"{value}"'


def cell(text: str) -> str:
    """Make text fit into a cell of a Markdown table."""
    return text.replace("|", r"\|").replace("\n", " ")


def licences() -> str:
    """Return docs/licences.md."""
    rows = "\n".join(f"| {name} | {version} | {licence(name, version)} |" for name, version in locked())
    return LICENCES.format(rows=rows)


def locked() -> Iterator[tuple[str, str]]:
    """Yield name and version of everything in requirements.lock."""
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines():
        if found := re.match(r"(?P<name>[\w.-]+)==(?P<version>[^ ;]+)", line):
            yield found["name"], found["version"]


def licence(name: str, version: str) -> str:
    """
    Return the SPDX expression of an installed package.

    Raises:
        LookupError: Another version is installed than the lock names, or its metadata do not tell the licence.
    """
    metadata = importlib.metadata.metadata(name)
    if metadata["Version"] != version:
        raise LookupError(f"{name} {metadata['Version']} is installed, the lock has {version}; run `make setup`")
    given = [*(metadata.get_all("License-Expression") or ()), *(metadata.get_all("License") or ())]
    titles = [text.split("\n\n", 1)[0] for text in given]  # of a whole licence, where somebody gives that
    texts = [SPDX.get(title, title) for title in titles]
    plain = [text for text in texts if re.fullmatch(r"\(?[\w.+-]+\)?(?: (?:AND|OR|WITH) \(?[\w.+-]+\)?)*", text)]
    classified = [
        SPDX[short]
        for classifier in metadata.get_all("Classifier") or ()
        if classifier.startswith("License ::") and (short := classifier.rsplit(" :: ", 1)[-1]) in SPDX
    ]
    if not plain and not classified:
        raise LookupError(f"{name} {version}: its metadata name no licence; look it up and extend SPDX")
    return plain[0] if plain else " OR ".join(classified)


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    return {DOCS / "configuration.md": configuration(), DOCS / "licences.md": licences()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
