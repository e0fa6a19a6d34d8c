"""`lakedrop query` and `lakedrop try`: what the tables hold, and what would become of a file."""

from __future__ import annotations

import csv
import json
import sys
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import click
import pyarrow as pa
from rich.text import Text

from consumer import exits
from consumer.cli import Command, Invocation
from consumer.detail_text import counted, print_detail
from consumer.kinds_csv import inspect, query_trino
from consumer.kinds_csv import query as run_query
from consumer.table_text import print_table
from consumer.terminal import console, progress, shown
from handlers.contract import PermanentError

COLUMNS: Final = 100
"""Columns of a file that are listed; `--json` has all."""


@click.command(
    cls=Command,
    examples=(
        'lakedrop query "show tables"',
        'lakedrop query "select * from lakehouse.customers limit 5"',
        'lakedrop query "from lakehouse._ingest_registry order by ingested_at desc" --format csv > registry.csv',
        'lakedrop query --engine trino "select status, count(*) from _ingest_latest group by status"',
    ),
)
@click.argument("sql")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Aligned for people; or all rows as CSV, or as a JSON array of objects.",
)
@click.option(
    "--engine",
    type=click.Choice(["duckdb", "trino"]),
    default="duckdb",
    show_default=True,
    help="Who runs it: DuckDB here, or Trino at trino_url.",
)
@click.pass_obj
def query(invocation: Invocation, sql: str, format_: str, engine: str) -> int:
    """
    Read the tables with SQL.

    One SELECT in the engine's dialect. DuckDB sees the tables of this home as namespace.table, always a whole snapshot
    of each, and nothing else: no files, no network. Trino sees what its access control lets trino_user see; tables
    without a schema are looked for in lakehouse. Changes nothing.
    """
    settings = invocation.existing()
    with progress() as bar:
        bar.add_task("reading", total=None)
        result = (query_trino if engine == "trino" else run_query)(settings, sql)
    if format_ == "csv":
        write_csv(result)
    elif format_ == "json":
        write_json(result)
    else:
        print_table(console(), result)
    return exits.OK


class Assignments(click.ParamType[tuple[str, Any]]):
    """NAME=VALUE; a value in brackets or braces is TOML, any other is text."""

    name = "assignment"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Split at the first equals sign."""
        name, equals, text = value.partition("=")
        if not equals:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        if not text.lstrip().startswith(("[", "{")):
            return name, text
        try:
            return name, tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError as error:
            self.fail(f"{text!r} is not TOML: {error}", param, ctx)


@click.command(
    "try",
    cls=Command,
    examples=(
        "lakedrop try export.csv",
        "lakedrop try export.csv.gz --option header=generate --option date_order=dmy",
        "lakedrop try export.csv --option 'columns={zip = \"varchar\"}'",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "options",
    "--option",
    type=Assignments(),
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the route, as in lakedrop.toml; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="What was found, for machines.")
@click.pass_obj
def try_file(invocation: Invocation, file: Path, options: tuple[tuple[str, Any], ...], as_json: bool) -> int:
    """
    Show what would become of one file; nothing is ingested.

    Encoding, delimiter, columns with their types and the values that forced them, rejected records, the first rows.
    Reads the file as if it were the first of a new table; needs no home and no service. Exit code 1 when it cannot be
    read.
    """
    del invocation
    with progress() as bar:
        bar.add_task(f"reading {file.name}", total=None)
        try:
            found, preview = inspect(file, dict(options))
        except PermanentError as error:
            raise exits.CommandError(f"{file}: {type(error).__name__}: {error.message}", exits.FAILED) from error
    if as_json:
        click.echo(json.dumps({**found, "preview": preview.to_pylist()}, indent=2, ensure_ascii=False, default=_json))
    else:
        print_inspection(file, found, preview)
    return exits.OK


def print_inspection(file: Path, found: dict[str, Any], preview: pa.Table) -> None:
    """Print what was found in a file."""
    out = console()
    out.print(Text(shown(file.name), "bold"))
    counts = {name: found[name] for name in ("records", "rows", "rejected", "rescued")}
    out.print(f"  {counted(counts)}")
    detail = {name: value for name, value in found.items() if name not in counts}
    print_detail(out, detail, indent=2, columns=COLUMNS)
    if preview.num_rows:
        out.print()
        print_table(out, preview, noun="first row", hint="--json")


def write_csv(result: pa.Table) -> None:
    """Write all rows as CSV, with a header; NULL is an empty cell."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(result.column_names)
    for batch in result.to_batches():
        writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def write_json(result: pa.Table) -> None:
    """Write all rows as a JSON array of objects, a row a line."""
    separator = "[\n"
    for batch in result.to_batches():
        for row in batch.to_pylist():
            click.echo(separator + json.dumps(row, default=_json, ensure_ascii=False), nl=False)
            separator = ",\n"
    click.echo("\n]" if separator.startswith(",") else "[]")


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
