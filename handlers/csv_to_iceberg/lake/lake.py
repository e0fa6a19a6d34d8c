"""The lake: one PyIceberg catalog, and the rules every table of ours obeys whenever it is loaded."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField

from handlers.csv_to_iceberg.lake.away import NAMESPACE_THERE, opened, told_when_away
from handlers.csv_to_iceberg.lake.live import live_memory
from handlers.csv_to_iceberg.lake.places import Clash, Places
from handlers.csv_to_iceberg.lake.positions import RowFinder
from handlers.csv_to_iceberg.lake.refusals import ForeignTable, ReservedTable, UnsupportedTable
from handlers.csv_to_iceberg.lake.shape import SOURCE_FILE

MIB: Final = 1 << 20

ROUTE: Final = "lakedrop.route"
"""Table property: `<bucket>/<prefix>` of the route that made the table. A table without it is never touched."""

RESERVED_PREFIX: Final = "_ingest_"
REGISTRY: Final = "_ingest_registry"
REJECTS: Final = "_ingest_rejects"

SQLITE_BUSY_SECONDS: Final = 30
"""Longest wait for another process' catalog write before the commit counts as unknown and is planned again."""

NO_RETRY: Final = {"commit.retry.num-retries": "0"}
"""
PyIceberg's own retry repeats a commit without planning it again: two versions of a new key would both land. It is read
from the table at commit time, default 4, so it is asserted at every load.
"""

METRICS: Final = "write.metadata.metrics.column."

PROPERTIES: Final = {
    **NO_RETRY,
    "write.format.default": "parquet",
    "write.parquet.compression-codec": "zstd",
    # Bounds decide which data files may hold a key. The default keeps 16 characters, which all keys of a folder share.
    f"{METRICS}_source_file": "full",
    f"{METRICS}_source_etag": "full",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
    "write.metadata.previous-versions-max": "10",
    "write.metadata.delete-after-commit.enabled": "true",
}


class Placement(BaseModel):
    """Where the objects of one route go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = ""
    namespace: str = "lakehouse"


class LakeSettings(BaseModel):
    """Settings of the Iceberg half."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(description="Folder of this installation; holds `catalog.db` and `warehouse` by default.")
    catalog: Mapping[str, str] = Field(
        default_factory=dict,
        repr=False,
        description="PyIceberg catalog properties, e.g. `type = rest`, `uri`, `warehouse`. Empty: SQLite in the home.",
    )
    max_commit_latency: float = Field(
        default=1.0,
        ge=0,
        description="Seconds: longest wait for a commit, and the shortest time between two of a table.",
    )
    max_files_per_commit: int = Field(
        default=2000, ge=1, description="Files that one commit of a table takes; so many close a window at once."
    )
    max_bytes_in_flight: int = Field(
        default=48 * MIB, ge=1, description="Bytes of small files held in memory, all tables together."
    )
    small_file_bytes: int = Field(
        default=MIB,
        ge=0,
        description="Objects up to this size are ingested together, larger ones are streamed one by one.",
    )
    large_file_warning: int = Field(
        default=100_000_000, ge=0, description="Bytes above which an object is warned about."
    )
    snapshots_kept: int = Field(default=10, ge=1, description="Snapshots a table keeps for time travel.")
    expire_every: int = Field(default=20, ge=1, description="Commits of a table between two expiries of snapshots.")
    # The three thresholds are judgement: what they cost was measured, that these are the best values was not.
    compact_small_files: int = Field(
        default=100, ge=2, description="Data files under 32 MiB a table may have before some are joined."
    )
    compact_deleted_share: float = Field(
        default=0.2, gt=0, lt=1, description="Share of a table's rows that may be deleted before files are rewritten."
    )
    compact_delete_files: float = Field(
        default=2.0, gt=0, description="Delete files for each data file of a table before they are merged."
    )
    compact_bytes: int = Field(default=256 * MIB, ge=1, description="Bytes of data files that one run rewrites.")
    unreferenced_grace: float = Field(
        default=3600.0,
        ge=1200,  # twice what staged rows wait for at most: `staged.STAGED_MILLISECONDS`
        description="Seconds that a file no snapshot needs is kept for readers that planned with it.",
    )
    routes: Mapping[str, Placement] = Field(
        default_factory=dict, description="Placement of every CSV route by its name; filled in by the application."
    )
    clash: Clash = Field(
        default=lambda _location: None,
        repr=False,
        description="Tells whether uploads lie where tables do; filled in by the application.",
    )


class Lake:
    """
    The catalog and its tables.

    All methods block; they belong on the `commit` lane.

    Args:
        settings: Where it is.
        read_only: Open the catalog in the home, which must be there, so that nothing can be written.

    Raises:
        CatalogAway: The catalog's server does not answer.
        WarehouseOverUploads: It keeps tables where files are uploaded.
    """

    def __init__(self, settings: LakeSettings, *, read_only: bool = False) -> None:
        self.settings = settings
        self.catalog = _open_catalog(settings, read_only=read_only)
        self._places = Places(self.catalog, settings.clash)
        if settings.catalog and not read_only:
            try:
                with told_when_away(_place(settings.catalog)):
                    for namespace in sorted({placement.namespace for placement in settings.routes.values()}):
                        self._places.refuse_namespace(namespace, self.load)
            except Exception:
                self.close()
                raise
        self.manifests = live_memory()
        """What is known of live files, for the `commit` lane."""
        self.rows = RowFinder()
        """What is known of data files, for the `commit` lane."""

    def ping(self) -> None:
        """Raise when the catalog cannot be reached: `CatalogAway` when its server does not answer."""
        if self.settings.catalog:
            with told_when_away(_place(self.settings.catalog)):
                self.catalog.list_namespaces()
        else:
            self.catalog.list_namespaces()

    def close(self) -> None:
        """Let go of the catalog's connections."""
        self.catalog.close()

    def table_names(self) -> list[str]:
        """Return `namespace.table` of every table in the catalog, sorted."""
        return sorted(
            ".".join(identifier)
            for namespace in self.catalog.list_namespaces()
            for identifier in self.catalog.list_tables(namespace)
        )

    def load(self, name: str) -> Table | None:
        """
        Load a table for reading; None when there is none of that name.

        A missing metadata file means that the pointer moved on while we followed it: it is read again.
        """
        for attempt in range(5):
            try:
                return self.catalog.load_table(name)
            except NoSuchTableError:
                return None
            except FileNotFoundError:
                if attempt == 4:  # noqa: PLR2004  # the last of five
                    raise
        raise AssertionError

    def load_ours(self, name: str, bucket: str) -> Table | None:
        """Load a table for writing and see to its retry property; otherwise as `owned`."""
        table = self.owned(name, bucket)
        return None if table is None else self.without_retries(name, table)

    def owned(self, name: str, bucket: str) -> Table | None:
        """
        Load a table that this bucket's routes may write; None when there is none of that name.

        Raises:
            ReservedTable: The name belongs to the pipeline itself.
            ForeignTable: Somebody else made the table, or another bucket's route did.
            UnsupportedTable: It was upgraded to a format that PyIceberg cannot write.
            WarehouseOverUploads: It lies where files are uploaded.
        """
        if name.rpartition(".")[2].startswith(RESERVED_PREFIX):
            raise ReservedTable(name)
        table = self.load(name)
        if table is None:
            return None
        self._places.refuse(table.location())
        owner = owner_bucket(table)
        if owner is None:
            raise ForeignTable(name, bucket=bucket)
        if owner != bucket:
            raise ForeignTable(name, owner=owner, bucket=bucket)
        refuse_other_formats(name, table)
        refuse_lost_sources(name, table)
        return table

    def without_retries(self, name: str, table: Table) -> Table:
        """Return the table with PyIceberg's own retries switched off; set back when somebody changed it."""
        refuse_other_formats(name, table)
        if any(table.properties.get(key) != value for key, value in NO_RETRY.items()):
            with table.transaction() as transaction:
                transaction.set_properties(NO_RETRY)
            return self.catalog.load_table(name)
        return table

    def create(self, name: str, schema: Schema, properties: Mapping[str, str]) -> None:
        """
        Create an empty table unless somebody else just did.

        Raises:
            WarehouseOverUploads: It would lie where files are uploaded.
        """
        namespace = name.rpartition(".")[0]
        with suppress(*NAMESPACE_THERE):
            self.catalog.create_namespace(namespace)
        self._places.refuse_namespace(namespace)
        # Iceberg in Java, which REST catalogs and Trino run, refuses metrics of a column that is not there.
        columns = {f"{METRICS}{column}" for column in schema.column_names}
        usual = {key: value for key, value in PROPERTIES.items() if not key.startswith(METRICS) or key in columns}
        with suppress(TableAlreadyExistsError):
            self.catalog.create_table(name, schema, properties={"format-version": "2", **usual, **properties})

    def ours(self) -> Iterator[tuple[str, str]]:
        """Yield (name, bucket) of every table that carries our route property."""
        for name in self.table_names():
            table = self.load(name)
            bucket = owner_bucket(table) if table is not None else None
            if bucket is not None and not name.rpartition(".")[2].startswith(RESERVED_PREFIX):
                yield name, bucket

    def own_namespaces(self) -> list[str]:
        """Return the namespaces with a table of ours or a registry, sorted."""
        tables = [name for name, _ in self.ours()] + [
            name for name in self.table_names() if name.endswith(f".{REGISTRY}")
        ]
        return sorted({name.rpartition(".")[0] for name in tables})


def owner_bucket(table: Table) -> str | None:
    """Return the bucket whose route made the table; None when it is not ours."""
    route = table.properties.get(ROUTE)
    return None if route is None else route.partition("/")[0]


def refuse_other_formats(name: str, table: Table) -> None:
    """Raise `UnsupportedTable` for a table of another format version than ours."""
    if table.format_version != 2:  # noqa: PLR2004  # the only version with delete files that PyIceberg writes
        raise UnsupportedTable(f"table {name} has format version {table.format_version}; only version 2 is written")


def refuse_lost_sources(name: str, table: Table) -> None:
    """
    Raise `UnsupportedTable` where somebody renamed or dropped the column that says which file a row is from.

    The rows of a file could not be found: it would be added to them instead of taking their place. A table that was
    handed over to us never had the column, and gets it with our first rows.
    """
    first = next((found for schema in table.metadata.schemas if (found := _source_file(schema)) is not None), None)
    if first is None:
        return
    now = _source_file(table.schema())
    if now is not None and now.field_id == first.field_id:
        return
    renamed = next((field.name for field in table.schema().fields if field.field_id == first.field_id), None)
    if renamed is not None:
        raise UnsupportedTable(
            f"table {name}: somebody renamed the column {SOURCE_FILE}, by which rows of a file are found, to {renamed};"
            f" rename it back (Trino: ALTER TABLE {name} RENAME COLUMN {renamed} TO {SOURCE_FILE}), then replay the"
            " object"
        )
    raise UnsupportedTable(
        f"table {name}: somebody dropped the column {SOURCE_FILE}, by which rows of a file are found; drop the table,"
        " then replay its objects: lakedrop makes it anew"
    )


def _source_file(schema: Schema) -> NestedField | None:
    return next((field for field in schema.fields if field.name.lower() == SOURCE_FILE), None)


def has_catalog(settings: LakeSettings) -> bool:
    """Tell whether there is a catalog to be read: that of a home is made by the first service."""
    return bool(settings.catalog) or (settings.home / "catalog.db").is_file()


def _open_catalog(settings: LakeSettings, *, read_only: bool) -> Catalog:
    if settings.catalog:
        with told_when_away(_place(settings.catalog)):
            return opened(lambda: load_catalog("lakedrop", **settings.catalog))
    home = settings.home.resolve()
    if read_only:
        # "%" and "?" of a path have a meaning in the URI that SQLite takes the mode from.
        uri = f"sqlite:///file:{quote(str(home / 'catalog.db'))}?mode=ro&uri=true&timeout={SQLITE_BUSY_SECONDS}"
        return SqlCatalog("lakedrop", uri=uri, warehouse=f"file://{home}/warehouse", init_catalog_tables="false")
    home.mkdir(parents=True, exist_ok=True)
    database = home / "catalog.db"
    with closing(sqlite3.connect(database, timeout=SQLITE_BUSY_SECONDS)) as connection:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:  # else another process does it, and nobody waits for that
                raise
    # Not `Path.as_uri`: PyIceberg takes locations literally and would keep the percent signs.
    place = f"sqlite:///{database}?timeout={SQLITE_BUSY_SECONDS}"
    return opened(lambda: SqlCatalog("lakedrop", uri=place, warehouse=f"file://{home}/warehouse"))


def _place(catalog: Mapping[str, str]) -> str:
    """Return a catalog's address without user and password."""
    parts = urlsplit(catalog.get("uri", ""))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
