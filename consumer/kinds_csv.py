"""The CSV handler, and what commands ask of it beyond the contract: of its tables, of Trino and of Superset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from consumer.catalog import S3_SCHEMES, catalog_properties, warehouse_faults
from consumer.exits import FAILED, UNAVAILABLE, USAGE, CommandError
from consumer.notify import LAKEHOUSE_BUCKETS
from consumer.router import Route
from consumer.routes import HandlerKind, Processed, build_router, meeting, receipt_rejections
from consumer.settings import Settings
from consumer.settings_faults import ConfigurationError
from consumer.settings_routes import RouteSettings
from consumer.terminal import command
from handlers import csv_to_iceberg
from handlers.contract import Handler, HandlerContext, PermanentError, SinkRefuses, StoredObject, TransientError
from handlers.csv_to_iceberg.csv.inspection import inspect as inspect_csv
from handlers.csv_to_iceberg.lake.away import WarehouseAway, WarehouseMissing
from handlers.csv_to_iceberg.lake.lake import Lake
from handlers.csv_to_iceberg.lake.places import WarehouseOverUploads
from handlers.csv_to_iceberg.lake.query import QueryError
from handlers.csv_to_iceberg.lake.query import query as run_query
from handlers.csv_to_iceberg.lake.rejections import rejections as read_rejections
from handlers.csv_to_iceberg.planning import CsvPlanner
from handlers.csv_to_iceberg.receipts import counts, details
from handlers.csv_to_iceberg.superset_settings import SupersetSettings
from handlers.csv_to_iceberg.trino_client import TrinoClient
from handlers.csv_to_iceberg.trino_query import query as run_trino_query
from handlers.planner import Planner

if TYPE_CHECKING:
    from handlers.csv_to_iceberg.superset import Superset


NAME = csv_to_iceberg.NAME


def _create(settings: Settings, routes: Sequence[Route], context: HandlerContext) -> Handler:
    lake = _lake_settings(settings, routes)
    try:
        return csv_to_iceberg.create(lake, context, _superset(settings), _trino(settings))
    except WarehouseOverUploads as error:
        raise ConfigurationError(error.message.splitlines()) from error


def _plan(settings: Settings, routes: Sequence[Route], context: HandlerContext) -> Planner:
    return CsvPlanner(_lake_settings(settings, routes), context)


def _lake_settings(settings: Settings, routes: Sequence[Route]) -> csv_to_iceberg.LakeSettings:
    return csv_to_iceberg.LakeSettings(
        home=settings.home.absolute(),
        catalog=catalog_properties(settings),
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
        clash=lambda location: "\n".join(warehouse_faults(settings, settings.routes, location)) or None,
    )


def _superset(settings: Settings) -> Superset | None:
    """The settings are known to be complete."""
    if not settings.superset_url or settings.superset_password is None:
        return None
    # Imported only here: aiohttp takes longer than much of what a command without Superset needs.
    from handlers.csv_to_iceberg.superset import Superset  # noqa: PLC0415

    return Superset(
        SupersetSettings(
            url=settings.superset_url,
            user=settings.superset_user or "",
            password=settings.superset_password,
            database=settings.superset_database,
        )
    )


async def ask_superset(settings: Settings) -> str | None:
    """
    Sign in to Superset and find its database.

    Returns:
        What was found; None when there is no Superset.

    Raises:
        ServiceUnusable: It cannot be used; the message says why.
    """
    superset = _superset(settings)
    if superset is None:
        return None
    try:
        number = await superset.ping()
    finally:
        await superset.aclose()
    return f"{superset.place} has the database {settings.superset_database!r} (id {number})"


def _trino(settings: Settings) -> csv_to_iceberg.TrinoSettings | None:
    if not settings.trino_url:
        return None
    return csv_to_iceberg.TrinoSettings(
        url=settings.trino_url,
        user=settings.trino_user,
        password=settings.trino_password,
        ca_bundle=settings.trino_ca_bundle,
        catalog=settings.trino_catalog,
        maintains=settings.trino_maintains,
    )


def ask_trino(settings: Settings) -> str:
    """
    Ask Trino for its version and our catalog, with `trino_url` set. Blocks.

    Raises:
        HandlerError: It does not answer, or knows no such user or catalog.
    """
    given = _trino(settings)
    assert given is not None  # noqa: S101  # the caller looked
    return f"{given.url} is Trino {TrinoClient(given).ping()} with the catalog {given.catalog}"


def query_trino(settings: Settings, sql: str) -> pa.Table:
    """
    Run one statement that reads in Trino. Blocks.

    Raises:
        CommandError: There is no Trino, it does not answer, or the statement is wrong.
    """
    given = _trino(settings)
    if given is None:
        raise CommandError("there is no Trino to ask: set `trino_url`", USAGE)
    try:
        return run_trino_query(TrinoClient(given), sql, csv_to_iceberg.Placement().namespace)
    except QueryError as error:
        raise CommandError(str(error), UNAVAILABLE if isinstance(error.__cause__, TransientError) else USAGE) from error


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


def _rejections(settings: Settings, of: Processed, limit: int) -> dict[str, Any]:
    """Read what of a version of an object became neither row nor value."""
    if of.held is None or of.target is None:
        return {}
    with closing(Lake(_lake_settings(settings, ()))) as lake:
        found = asdict(read_rejections(lake, of.target, of.unit, of.held, limit))
    # Before there was a table of them, the first ones were in the receipt only.
    return found if found["kept"] else found | receipt_rejections(settings, of, limit)


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


def _repair(settings: Settings, error: Exception) -> str | None:
    """Say what to do about a catalog or a warehouse that cannot be used."""
    if not settings.catalog or isinstance(error, ConfigurationError):
        return None
    if isinstance(error, WarehouseMissing):
        return _warehouse_made(settings)
    if isinstance(error, WarehouseAway):
        return "start the store of the warehouse (docker compose up -d), or correct the s3 properties of `catalog`"
    if isinstance(error, SinkRefuses):
        return "correct `catalog`, or the user's rights on the server"
    return "start the catalog (docker compose up -d), or correct `catalog`"


def _warehouse_made(settings: Settings) -> str:
    """Return what makes the bucket of the warehouse: a command, if it belongs into the store that we know."""
    given = {name: value.get_secret_value() for name, value in settings.catalog.items()}
    place = urlsplit(given.get("warehouse", ""))
    elsewhere = given.get("s3.endpoint", settings.s3_endpoint) != settings.s3_endpoint
    if settings.store != "s3" or elsewhere or f"{place.scheme}://" not in S3_SCHEMES:
        return "make the bucket, or correct `warehouse` in `catalog`"
    usual = place.netloc in LAKEHOUSE_BUCKETS
    return command(settings, "notify", "apply", *(() if usual else ("--bucket", place.netloc)))


async def try_warehouse(handlers: Mapping[str, Handler]) -> str | None:
    """
    Write to where tables are kept, and clean up.

    Returns:
        The place; None when there are no tables, or nobody knows where they would be.

    Raises:
        Exception: It cannot be written.
    """
    handler = handlers.get(csv_to_iceberg.NAME)
    return await handler.try_warehouse() if isinstance(handler, csv_to_iceberg.CsvToIceberg) else None


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
    (checked,) = build_router(Settings.model_construct(routes=(route,)), {NAME: KIND}).routes
    found = inspect_csv(lambda: path.open("rb"), path.name, checked.options)
    return {**counts(found.report), **details(found.report)}, found.preview


def _faults(routes: Sequence[Route]) -> list[str]:
    """Keys of two buckets would meet in one table."""
    return [
        f"routes {first.name} and {route.name}: buckets {first.bucket} and {route.bucket} share the namespace "
        f"{route.options.namespace!r}: give one of them another `namespace` in its options"
        for first, route in meeting(routes, lambda options: options.namespace)
        if first.bucket != route.bucket
    ]


KIND = HandlerKind(
    options=csv_to_iceberg.Options,
    match=csv_to_iceberg.MATCH,
    create=_create,
    plan=_plan,
    faults=_faults,
    repair=_repair,
    rejections=_rejections,
)
