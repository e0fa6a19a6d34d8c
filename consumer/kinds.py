"""
The handlers that come with lakedrop, by name; nowhere else in the consumer is one named.

`query`, `rejections`, `rebuild_table` and `inspect` are what commands ask of the CSV handler beyond the contract.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pyarrow as pa

from consumer.exits import FAILED, USAGE, CommandError
from consumer.router import Route
from consumer.routes import HandlerKind, build_router
from consumer.settings import RouteSettings, Settings
from handlers import csv_to_iceberg
from handlers.contract import Handler, HandlerContext, PermanentError, Planner, StoredObject
from handlers.csv_to_iceberg.csv.inspection import inspect as inspect_csv
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.query import QueryError
from handlers.csv_to_iceberg.lake.query import query as run_query
from handlers.csv_to_iceberg.lake.rejections import rejections as read_rejections
from handlers.csv_to_iceberg.planning import CsvPlanner
from handlers.csv_to_iceberg.receipts import counts, details


def builtin_kinds() -> dict[str, HandlerKind]:
    """Return the handlers that come with lakedrop, and those of installed packages."""
    kinds = {
        csv_to_iceberg.NAME: HandlerKind(
            options=csv_to_iceberg.Options,
            match=csv_to_iceberg.MATCH,
            create=_create_csv_to_iceberg,
            plan=_plan_csv_to_iceberg,
            faults=_csv_faults,
        )
    }
    for point in entry_points(group="lakedrop.handlers"):
        kinds[point.name] = point.load()
    return kinds


def _create_csv_to_iceberg(settings: Settings, routes: Sequence[Route], context: HandlerContext) -> Handler:
    return csv_to_iceberg.create(_lake_settings(settings, routes), context)


def _plan_csv_to_iceberg(settings: Settings, routes: Sequence[Route], context: HandlerContext) -> Planner:
    return CsvPlanner(_lake_settings(settings, routes), context)


def _lake_settings(settings: Settings, routes: Sequence[Route]) -> csv_to_iceberg.LakeSettings:
    return csv_to_iceberg.LakeSettings(
        home=settings.home.absolute(),
        max_commit_latency=settings.max_commit_latency,
        max_files_per_commit=settings.max_files_per_commit,
        small_file_bytes=settings.small_file_bytes,
        snapshots_kept=settings.snapshots_kept,
        compact_small_files=settings.compact_small_files,
        compact_deleted_share=settings.compact_deleted_share,
        compact_delete_files=settings.compact_delete_files,
        compact_bytes=settings.compact_bytes,
        unreferenced_grace=settings.unreferenced_seconds,
        routes={
            route.name: csv_to_iceberg.Placement(prefix=route.prefix, namespace=route.options.namespace)
            for route in routes
        },
    )


def query(settings: Settings, sql: str) -> pa.Table:
    """
    Run one SELECT over the tables of a home. Blocks.

    Raises:
        CommandError: The catalog cannot be opened; or the statement is wrong: the message says how, and names the
            tables there are.
    """
    try:
        opened = Lake(_lake_settings(settings, ()))
    except Exception as error:
        raise CommandError(f"the catalog of {settings.home} cannot be opened: {error}") from error
    with closing(opened) as lake:
        try:
            return run_query(lake, sql)
        except QueryError as error:
            raise CommandError("\n".join(filter(None, str(error).splitlines())), USAGE) from error


def rejections(settings: Settings, target: str, key: str, fingerprint: str, limit: int) -> dict[str, Any]:
    """
    Read what of a version of an object became neither row nor value. Blocks.

    Returns:
        kept (rejected records there are), rejected (the first `limit`: record, line, text, reason), rescued_rows (rows
        with rescued cells), rescued (the cells of `limit` rows: column, text, row).
    """
    with closing(Lake(_lake_settings(settings, ()))) as lake:
        found = read_rejections(lake, target, key, fingerprint, limit)
    return asdict(found)


async def rebuild_table(
    handlers: Mapping[str, Handler],
    name: str,
    find: Callable[[str, str], Awaitable[tuple[StoredObject, Any] | None]],
    ask: Callable[[Mapping[str, Any]], bool],
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """
    Give a table the types that suit all its sources.

    Args:
        handlers: Of the application.
        name: `namespace.table`.
        find: Returns the object of a bucket and key, and the options of its route.
        ask: Is shown the plan; says whether to go on.
        progress: Is told what is being done, and how many rows of how many are through.

    Returns:
        The plan as it was carried out; `snapshot` and `rescued` are None when it was not.

    Raises:
        CommandError: There is no such table, or no route with tables.
        HandlerError: See `Rebuild`.
    """
    handler = handlers.get(csv_to_iceberg.NAME)
    if not isinstance(handler, csv_to_iceberg.CsvToIceberg):
        raise CommandError("no route makes tables", USAGE)
    try:
        rebuild = await handler.rebuilding(name, find, progress)
    except PermanentError as error:
        raise CommandError(f'{error.message}; `lakedrop query "show tables"` lists them', FAILED) from error
    plan = await rebuild.plan()
    agreed = ask(plan.json())
    done = await rebuild.carry_out(plan) if agreed else None
    result = (
        {"snapshot": None, "rescued": None}
        if done is None
        else {"snapshot": str(done.snapshot), "rescued": done.rescued}
    )
    return {**plan.json(), **result}


def inspect(path: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], pa.Table]:
    """
    Read a CSV file as if it were the first of a new table. Blocks.

    Args:
        path: A file anywhere.
        options: As a route would have them.

    Returns:
        What was found, with the keys of a receipt's counts and details, and the first rows.

    Raises:
        ConfigurationError: With one line per fault of the options.
        PermanentError: The file cannot be ingested.
        OSError: It cannot be read.
    """
    route = RouteSettings(name="try", bucket="try", handler=csv_to_iceberg.NAME, options=dict(options))
    (checked,) = build_router(Settings.model_construct(routes=(route,)), builtin_kinds()).routes
    found = inspect_csv(lambda: path.open("rb"), path.name, checked.options)
    return {**counts(found.report), **details(found.report)}, found.preview


def _csv_faults(routes: Sequence[Route]) -> list[str]:
    """Keys of two buckets would meet in one table."""
    buckets: dict[str, Route] = {}
    faults = []
    for route in routes:
        if route.options is None:
            continue
        first = buckets.setdefault(route.options.namespace, route)
        if first.bucket != route.bucket:
            faults.append(
                f"routes {first.name} and {route.name}: buckets {first.bucket} and {route.bucket} share the namespace "
                f"{route.options.namespace!r}: give one of them another `namespace` in its options"
            )
    return faults
