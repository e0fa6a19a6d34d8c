"""
The ingest log: which object is in Argilla in which version, in DuckDB or MotherDuck.

A row goes from `discovered` to `ingesting`, and to `ingested` or `failed`; while a failure is only of the moment it
stays `ingesting`, with the reason as its message. The ledger can be made anew of it: `message` of an ingested object is
JSON with the counts of the receipt. A failure of a version whose objects nobody read is a row of the unit itself: its
ETag is the fingerprint, and its size is null.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any, Final, Literal, NamedTuple, TypeVar

import duckdb

from handlers.argilla_records.database import Busy, Database
from handlers.argilla_records.options import ArgillaSettings
from handlers.argilla_records.scratch import Reject
from handlers.contract import UNKNOWN, Failure, HandlerContext, Outcome, Receipt

T = TypeVar("T")

LANE: Final = "argilla log"

TRIES: Final = 100
PAUSE: Final = 0.1
"""Seconds between tries to open a file that another process has."""

ROWS: Final = 1000
"""Rejected rows that are written at a time."""

Rejects = Callable[[], Iterator[Reject]]
"""Gives rejected rows; more than once, for a transaction may be run again."""


class Entry(NamedTuple):
    """One object of a unit."""

    uri: str
    etag: str
    size: int


def folder_uri(bucket: str, unit: str) -> str:
    """Return the address of a unit."""
    return f"s3://{bucket}/{unit}"


class IngestLog:
    """
    The log of one installation, or of several that share it.

    Args:
        settings: Where it is.
        context: Runs what blocks.
        version: Of the handler, for receipts.
    """

    def __init__(self, settings: ArgillaSettings, context: HandlerContext, version: str) -> None:
        self._database = Database(settings)
        self._context = context
        self._version = version

    async def discovered(self, folder: str, dataset: str, entries: Sequence[Entry]) -> list[str]:
        """Note objects that are to be ingested; return the records of the folder that the search index may lack."""
        now = self._now()

        def write(db: duckdb.DuckDBPyConnection) -> list[str]:
            for entry in entries:
                db.execute(
                    "INSERT INTO argilla_ingest_log VALUES (?, ?, ?, ?, ?, NULL, 'discovered', NULL) "
                    "ON CONFLICT (dataset, object_uri) DO UPDATE SET object_etag = excluded.object_etag, "
                    "object_bytes = excluded.object_bytes, status = 'discovered', message = NULL",
                    [dataset, *entry, now],
                )
            found = db.execute("SELECT external_id FROM argilla_doubts WHERE folder_uri = ?", [folder])
            return [row[0] for row in found.fetchall()]

        return await self._run(write)

    async def mark(self, dataset: str, entries: Sequence[Entry], status: str, message: str | None = None) -> None:
        """Give the rows of objects another status, as far as they are of these versions still."""

        def write(db: duckdb.DuckDBPyConnection) -> None:
            for entry in entries:
                db.execute(
                    "UPDATE argilla_ingest_log SET status = ?, message = ? "
                    "WHERE dataset = ? AND object_uri = ? AND object_etag = ?",
                    [status, message, dataset, entry.uri, entry.etag],
                )

        await self._run(write)

    async def ingested(
        self,
        folder: str,
        dataset: str,
        entries: Sequence[Entry],
        message: Mapping[str, Any],
        *,
        fingerprint: str,
        rejects: Rejects,
    ) -> None:
        """Note that Argilla shows exactly these objects of a folder, but for rejected rows; doubts are over."""
        now = self._now()
        text = json.dumps(dict(message), ensure_ascii=False)

        def write(db: duckdb.DuckDBPyConnection) -> None:
            _forget(db, folder, dataset, [entry.uri for entry in entries])
            for entry in entries:
                db.execute(
                    "INSERT INTO argilla_ingest_log VALUES (?, ?, ?, ?, ?, ?, 'ingested', ?) "
                    "ON CONFLICT (dataset, object_uri) DO UPDATE SET object_etag = excluded.object_etag, "
                    "object_bytes = excluded.object_bytes, ingested_at = excluded.ingested_at, status = 'ingested', "
                    "message = excluded.message",
                    [dataset, *entry, now, now, text],
                )
            db.execute("DELETE FROM argilla_doubts WHERE folder_uri = ?", [folder])
            db.execute("DELETE FROM argilla_rejects WHERE folder_uri = ?", [folder])
            _keep(db, folder, fingerprint, "ingested", rejects())

        await self._run(write)

    async def removed(self, folder: str) -> None:
        """Forget a folder."""

        def write(db: duckdb.DuckDBPyConnection) -> None:
            _forget(db, folder, "", [])
            for table in ("argilla_rejects", "argilla_doubts"):
                db.execute(f"DELETE FROM {table} WHERE folder_uri = ?", [folder])  # noqa: S608 (names of ours)

        await self._run(write)

    async def failed(self, outcomes: Sequence[Outcome]) -> None:
        """Note failures; those that came before a success of the same version are over."""
        now = self._now()

        def write(db: duckdb.DuckDBPyConnection) -> None:
            known = {_key(folder): rows for folder, rows in _folders(db)}
            for outcome in outcomes:
                message = f"{outcome.error_class or 'Failed'}: {outcome.error or ''}"
                folder = folder_uri(outcome.bucket, outcome.unit)
                rows = [row for row in known.get(_key(folder), []) if row.size is not None]
                if rows and _fingerprint(rows) == outcome.fingerprint:
                    db.execute(
                        "UPDATE argilla_ingest_log SET status = 'failed', message = ? WHERE status <> 'ingested' AND "
                        "starts_with(object_uri, ?) AND NOT contains(object_uri[len(?) + 1:], '/')",
                        [message, folder, folder],
                    )
                else:
                    dataset = rows[0].dataset if rows else outcome.unit.removesuffix("/").rpartition("/")[2]
                    db.execute(
                        "INSERT INTO argilla_ingest_log VALUES (?, ?, ?, NULL, ?, NULL, 'failed', ?) "
                        "ON CONFLICT (dataset, object_uri) DO UPDATE SET object_etag = excluded.object_etag, "
                        "message = excluded.message",
                        [dataset, folder, outcome.fingerprint, now, message],
                    )

        await self._run(write)

    async def known(self) -> list[tuple[str, str, Receipt | Failure]]:
        """Return bucket, unit and what the log tells of it, in byte order; a failure after the receipt of the unit."""
        return await self._run(lambda db: list(self._told(db)))

    def _told(self, db: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str, Receipt | Failure]]:
        for folder, rows in _folders(db):
            bucket, _, unit = folder.removeprefix("s3://").partition("/")
            objects = [row for row in rows if row.size is not None]
            version, dataset = _fingerprint(objects), rows[0].dataset
            if objects and all(row.status == "ingested" for row in objects):
                counts = json.loads(objects[0].message or "{}")
                target = f"{counts.pop('workspace', '')}/{dataset}"
                yield bucket, unit, Receipt(version, self._version, target, counts)
            elif any(row.ingested or row.status == "ingesting" for row in objects):
                yield bucket, unit, Receipt(UNKNOWN, self._version, dataset, {})
            failures = [(row.etag, row.message) for row in rows if row.size is None]
            failures += [(version, row.message) for row in objects if row.status == "failed"][:1]
            if failures:
                fingerprint, message = failures[-1]
                name, _, text = (message or "").partition(": ")
                yield bucket, unit, Failure(fingerprint or UNKNOWN, name, text)

    async def put_rejects(self, folder: str, fingerprint: str, rejects: Rejects) -> None:
        """Keep the rejected rows of a version that failed, beside those of the version that is held."""

        def write(db: duckdb.DuckDBPyConnection) -> None:
            db.execute("DELETE FROM argilla_rejects WHERE folder_uri = ? AND status = 'failed'", [folder])
            _keep(db, folder, fingerprint, "failed", rejects())

        await self._run(write)

    async def put_doubts(self, folder: str, external_ids: Sequence[str], over: Sequence[str] = ()) -> None:
        """Remember records that the search index may not have as they are, and forget those of which it is known."""

        def write(db: duckdb.DuckDBPyConnection) -> None:
            if gone := sorted({*over} - {*external_ids}):
                db.execute(
                    "DELETE FROM argilla_doubts WHERE folder_uri = ? AND external_id IN (SELECT unnest(?::VARCHAR[]))",
                    [folder, gone],
                )
            db.execute(
                "INSERT INTO argilla_doubts SELECT ?, unnest(?::VARCHAR[]) ON CONFLICT DO NOTHING",
                [folder, list(external_ids)],
            )

        await self._run(write)

    async def _run(self, function: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        def work() -> T:
            with self._database.transaction() as db:
                return function(db)

        for _ in range(TRIES - 1):
            try:
                return await self._context.run(LANE, work)
            except Busy:
                await asyncio.sleep(PAUSE)
        return await self._context.run(LANE, work)

    async def ping(self) -> None:
        """See whether it can be used; raises as `Database.transaction` does, but for one that is busy."""
        with suppress(Busy):
            await self._context.run(LANE, self._look)

    def _look(self) -> None:
        with self._database.transaction():
            pass

    async def aclose(self) -> None:
        """Let go of the database."""
        await self._context.run(LANE, self._database.close)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._context.clock() / 1000, UTC).replace(tzinfo=None)


class _Row(NamedTuple):
    dataset: str
    uri: str
    etag: str | None
    size: int | None
    """None: the row is of the unit itself."""
    ingested: datetime | None
    status: str
    message: str | None


def _folders(db: duckdb.DuckDBPyConnection) -> list[tuple[str, list[_Row]]]:
    found = db.execute(
        "SELECT dataset, object_uri, object_etag, object_bytes, ingested_at, status, message FROM argilla_ingest_log"
    )
    rows = sorted((_Row(*row) for row in found.fetchall()), key=lambda row: (_key(_folder(row)), _key(row.uri)))
    return [(folder, list(group)) for folder, group in groupby(rows, _folder)]


def _folder(row: _Row) -> str:
    return row.uri if row.size is None else row.uri.rpartition("/")[0] + "/"


def _key(text: str) -> bytes:
    """Order by bucket, then by unit, each in byte order: a bucket ends before whatever its units begin with."""
    bucket, _, unit = text.removeprefix("s3://").partition("/")
    return bucket.encode() + b"\0" + unit.encode()


def _fingerprint(rows: Sequence[_Row]) -> str:
    """Return what `handlers.contract.fingerprint` says of a folder with these objects."""
    digest = hashlib.sha256()
    for row in rows:
        _, _, key = row.uri.removeprefix("s3://").partition("/")
        digest.update(f"{key}\0{row.etag}\n".encode())
    return digest.hexdigest()


def _forget(db: duckdb.DuckDBPyConnection, folder: str, dataset: str, uris: Sequence[str]) -> None:
    """Remove rows of a folder but for some objects of a dataset."""
    found = db.execute("SELECT dataset, object_uri FROM argilla_ingest_log WHERE starts_with(object_uri, ?)", [folder])
    for name, uri in found.fetchall():
        if "/" not in uri.removeprefix(folder) and (name != dataset or uri not in uris):
            db.execute("DELETE FROM argilla_ingest_log WHERE dataset = ? AND object_uri = ?", [name, uri])


def _keep(
    db: duckdb.DuckDBPyConnection,
    folder: str,
    fingerprint: str,
    status: Literal["ingested", "failed"],
    rejects: Iterator[Reject],
) -> None:
    while rows := list(islice(rejects, ROWS)):
        columns = [list(column) for column in zip(*rows, strict=True)]
        db.execute(
            "INSERT INTO argilla_rejects SELECT ?, ?, ?, unnest(?::BIGINT[]), unnest(?::VARCHAR[]), "
            "unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
            [folder, fingerprint, status, *columns],
        )
