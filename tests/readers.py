"""Whether Trino and PyIceberg read the same rows: of every table that a catalog has, all of them."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.types import FloatType, NestedField, StringType

LONG: Final = 100
"""Characters of a text beyond which its SHA-256 is compared: it saves Trino from writing it out."""

Run = Callable[[str], list[tuple[Any, ...]]]


class Readers:
    """
    Compares what both read. A table that did not change since it was compared is not read again.

    Args:
        catalog: PyIceberg's.
        run: Runs a statement in Trino, on the same catalog.
    """

    def __init__(self, catalog: Catalog, run: Run) -> None:
        self._catalog = catalog
        self._run = run
        self._compared: dict[tuple[str, ...], str] = {}

    def agree(self) -> None:
        """Raise AssertionError, with the table and some rows, when one reads what the other does not."""
        for namespace in self._catalog.list_namespaces():
            for name in self._catalog.list_tables(namespace):
                table = self._catalog.load_table(name)
                while self._compared.get(name) != table.metadata_location:
                    difference = self._difference(table)
                    before, table = table.metadata_location, self._catalog.load_table(name)
                    if table.metadata_location == before:  # else somebody wrote meanwhile, and one of us saw it
                        assert difference == ([], []), f"{name}: only PyIceberg, and only Trino"
                        self._compared[name] = before

    def _difference(self, table: Table) -> tuple[list[str], list[str]]:
        """Return some rows that only PyIceberg reads, and some that only Trino does."""
        arrow = table.scan().to_arrow()
        names = arrow.column_names
        ours = _sorted(tuple(map(_text, row.values())) for row in arrow.to_pylist()) if names else []
        place = ".".join(f'"{part}"' for part in table.name())
        columns = [_selected(field) for field in table.schema().fields]
        theirs = _sorted(map(tuple, self._run(f"SELECT {', '.join(columns)} FROM {place}")))
        return _without(ours, theirs), _without(theirs, ours)


def _selected(field: NestedField) -> str:
    """Return what to select of Trino for a column, so that its JSON can be compared."""
    name = _quoted(field.name)
    match field.field_type:
        case StringType():
            return f"if(length({name}) > {LONG}, lower(to_hex(sha256(to_utf8({name})))), {name})"
        case FloatType():
            return f"CAST({name} AS double)"  # else it is rounded for people
        case _:
            return name


def _sorted(rows: Iterable[tuple[Any, ...]]) -> list[str]:
    return sorted(map(repr, rows))


def _without(rows: list[str], others: list[str]) -> list[str]:
    """Return some of the rows that are not among others, however often each is there."""
    return list((Counter(rows) - Counter(others)).elements())[:5]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: Any) -> Any:
    """Return a value of PyIceberg's as Trino writes it in JSON."""
    match value:
        case [tuple(), *_]:  # a map
            return {str(_text(key)): _text(item) for key, item in value}
        case list():
            return [_text(item) for item in value]
        case dict():
            return [_text(item) for item in value.values()]
        case _:
            return _plain(value)


def _plain(value: Any) -> Any:
    """Do the same for a value that holds no others."""
    text = value
    match value:
        case str() if len(value) > LONG:
            text = hashlib.sha256(value.encode()).hexdigest()
        case float() if not math.isfinite(value):
            text = {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
        case datetime():
            zone = "" if value.tzinfo is None else " UTC"
            text = value.replace(tzinfo=None).isoformat(" ", "microseconds") + zone
        case date():
            text = value.isoformat()
        case time():
            text = value.isoformat("microseconds")
        case Decimal() | UUID():
            text = str(value)
        case bytes():
            text = base64.b64encode(value).decode()
    return text
