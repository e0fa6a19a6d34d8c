"""
`lakedrop demo`: an embedded service on a fresh home, sample files, and what becomes of them, live.

The home is an ordinary one. Afterwards all commands work on it.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa

from consumer.app import made_app
from consumer.demo_files import Sample, customers, samples
from consumer.demo_view import DemoView
from consumer.exits import CONFIGURATION, SOFTWARE, CommandError
from consumer.held import Settled
from consumer.kinds_csv import query
from consumer.protocol import QUIET
from consumer.service import Service
from consumer.settings import CONFIG_FILE, Settings
from consumer.terminal import command
from consumer.times import iso
from consumer.why import why_report

HOME: Final = Path("lakedrop-demo")
BUCKET: Final = "csv-uploads"
MARK: Final = ".made-by-lakedrop-demo"
"""A folder without this file is not ours to remove."""

CONFIG: Final = f"""\
# Made by `lakedrop demo`. Everything else is as it is by default; docs/configuration.md lists all settings.
max_commit_latency = 0.2   # seconds; the default of 1 makes fewer and larger commits
waker_seconds = 0.5

[[routes]]
name = "uploads"
bucket = "{BUCKET}"

[[routes]]
name = "mirror"
bucket = "{BUCKET}"
prefix = "mirror/"
options = {{ on_delete = "remove" }}   # rows follow their file when it is deleted
"""

PATIENCE: Final = 30.0
"""Seconds for a group of files to settle; each takes well under one."""

REPLACED: Final = "customers/2024-q1.csv"
DELETED: Final = "mirror/prices/today.csv"
UNANNOUNCED: Final = "customers/2024-q3.csv"

TABLES_SQL: Final = "select table_schema || '.' || table_name as name from information_schema.tables order by name"
REGISTRY_SQL: Final = """
    select file_key as file, table_name as "table", status, row_count as rows, rejected_count as rejected,
           rescued_count as rescued, error_message as error
    from lakehouse._ingest_registry order by ingested_at, file_key
"""


def fresh_home(home: Path) -> None:
    """
    Make an empty home for the demo; an earlier one is removed.

    Raises:
        CommandError: The folder is there, and no demo has made it.
    """
    if home.exists() and not (home / MARK).is_file():
        raise CommandError(
            f"{home} is there already, and no demo made it: move it away, or name another folder with --home",
            CONFIGURATION,
        )
    if home.exists():
        shutil.rmtree(home)
    (home / "buckets" / BUCKET).mkdir(parents=True)
    (home / MARK).touch()
    (home / CONFIG_FILE).write_text(CONFIG, "utf-8")


class Demo:
    """
    One run.

    Args:
        settings: Of a home made by `fresh_home`.
        view: Shows it.
        pause: Seconds between two files, for people to follow.
    """

    def __init__(self, settings: Settings, view: DemoView, *, pause: float) -> None:
        self._settings = settings
        self._view = view
        self._pause = pause
        self._dropped: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        """Show everything, from the first file to what to try next."""
        async with self._service() as service:
            app = service.app
            # Takes its turn after the one at the start, so that events come first from here on.
            await app.sweeper.sweep()
            await self._arrivals()
            await self._replacement()
            await self._missed_events(service)
            await app.recorder.flush()
            await self._tables()
            self._view.why(await why_report(app, BUCKET, REPLACED), iso(app.clock()))
        self._view.next_steps(self._settings)

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[Service]:
        async with made_app(self._settings, on_settled=self._settled, serves=True) as app:
            service = Service(app)
            try:
                await service.start()
                yield service
            finally:
                await service.stop(self._settings.drain_seconds)

    async def _arrivals(self) -> None:
        self._view.title("Files arrive")
        files = samples()
        async with self._settling(sample.key for sample in files):
            for sample in files:
                self._drop(sample)
                await asyncio.sleep(self._pause)

    async def _replacement(self) -> None:
        sql = f"select count(*) as n from lakehouse.customers where _source_file = '{REPLACED}'"  # noqa: S608 (a constant)
        before = await self._count(sql)
        self._view.title("One is written again: its rows are replaced, in one commit")
        async with self._settling([REPLACED]):
            self._drop(Sample(REPLACED, customers(1, 200).encode(), "200 customers instead of 240"))
        self._view.note(f"rows of this file in lakehouse.customers: {before} before, {await self._count(sql)} now")
        await asyncio.sleep(self._pause)

    async def _missed_events(self, service: Service) -> None:
        self._view.title("Events get lost: one file is deleted, one copied in, and the service is not told")
        await service.stop_watching()
        self._path(DELETED).unlink()
        self._view.removed(DELETED)
        self._drop(Sample(UNANNOUNCED, customers(421, 75).encode(), "without an event"))
        await asyncio.sleep(self._pause)
        async with self._settling([DELETED, UNANNOUNCED]):
            self._view.swept(await service.app.sweeper.sweep())

    async def _tables(self) -> None:
        self._view.title("The tables")
        names = (await self._query(TABLES_SQL))["name"].to_pylist()
        counts = " union all ".join(
            f"select '{name}' as \"table\", count(*) as rows, count(distinct {_source(name)}) as files from {name}"  # noqa: S608 (names of our own tables)
            for name in names
        )
        self._view.table(await self._query(counts))
        self._view.title("The registry: every version of every file, in lakehouse._ingest_registry")
        self._view.table(await self._query(REGISTRY_SQL))

    def _path(self, key: str) -> Path:
        return self._settings.buckets / BUCKET / key

    def _drop(self, sample: Sample) -> None:
        """Write a file as a careful program does: under a name that is not looked at, then renamed."""
        path = self._path(sample.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f"{path.name}.part")
        written.write_bytes(sample.content)
        written.rename(path)
        self._dropped[sample.key] = time.monotonic()
        self._view.dropped(sample)

    def _settled(self, settled: Settled) -> None:
        if settled.step in QUIET:
            return
        dropped = self._dropped.pop(settled.key.unit, None)
        self._view.settled(settled, None if dropped is None else time.monotonic() - dropped)
        if settled.key.unit in self._waiting:
            self._waiting[settled.key.unit].set()

    @asynccontextmanager
    async def _settling(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Wait at the end until all these units have been settled."""
        self._waiting = {key: asyncio.Event() for key in keys}
        yield
        try:
            async with asyncio.timeout(PATIENCE):
                for event in self._waiting.values():
                    await event.wait()
        except TimeoutError:
            late = next(key for key, event in self._waiting.items() if not event.is_set())
            told = command(self._settings, "why", f"{BUCKET}/{late}")
            raise CommandError(f"{late} was not settled within {PATIENCE:g} s: {told}", SOFTWARE) from None

    async def _query(self, sql: str) -> pa.Table:
        return await asyncio.to_thread(query, self._settings, sql)

    async def _count(self, sql: str) -> int:
        found: int = (await self._query(sql))["n"][0].as_py()
        return found


def _source(table: str) -> str:
    return "file_key" if table.rpartition(".")[2].startswith("_ingest_") else "_source_file"
