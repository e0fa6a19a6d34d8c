"""Catalog and warehouse that are away for longer than all retries while files are worked: nothing is lost or dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import structlog
from pydantic import SecretStr
from pyiceberg.catalog import load_catalog

from consumer import kept_up, reconcile, sink
from consumer.app import App, made_app
from consumer.catalog import catalog_properties
from consumer.held import SINK, Settled
from consumer.metrics import Metrics
from consumer.protocol import Status
from consumer.service import Service
from consumer.settings import Settings
from consumer.settings_routes import RouteSettings
from consumer.web import Web
from consumer.workitem import dead_queue
from handlers.csv_to_iceberg.lake import committer
from tests.stack.minio import Minio
from tests.stack.postgres import Postgres
from tests.stack.server import Server
from tests.waits import PATIENCE, until

BUCKET, HANDLER = "drop", "csv_to_iceberg"

RETRIES = (0.1, 0.2)
"""All of them take less than a second: an outage is always longer."""

FILES = frozenset(f"orders/{number}.csv" for number in range(20))


class Home:
    """A service on a folder whose lake is on servers; every SETTLE is kept."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.settled: list[Settled] = []
        self._bell = asyncio.Event()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[App]:
        async with made_app(self.settings, on_settled=self._note, serves=True) as app:
            service, stop = Service(app), asyncio.Event()
            serving = asyncio.create_task(service.serve(stop))
            try:
                yield app
            finally:
                stop.set()
                await serving
                await service.stop(5)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for SETTLEs until a condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._bell.clear()
                await self._bell.wait()

    def put(self, version: int) -> None:
        """Replace all files."""
        for key in FILES:
            path = self.settings.buckets / BUCKET / key
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".tmp")
            fresh.write_text(f"id,version\n{path.stem},{version}\n")
            fresh.rename(path)

    def attempts(self) -> set[int]:
        """Return what the rows showed as attempts after each SETTLE; no claim was lost."""
        rows = [one.row for one in self.settled]
        return {-1 if row is None else row.attempts for row in rows}

    def done(self, since: int) -> set[str]:
        """Return the files that got into the table."""
        return {one.key.unit for one in self.settled[since:] if one.receipt is not None and one.key.unit in FILES}

    def rows(self) -> set[tuple[str, int]]:
        """Read the table as any other program does."""
        (name,) = {one.receipt.target for one in self.settled if one.receipt is not None}
        catalog = load_catalog("lakedrop", **catalog_properties(self.settings))
        try:
            columns = catalog.load_table(name).scan().to_arrow().to_pydict()
        finally:
            catalog.close()
        found = list(zip(columns["_source_file"], columns["version"], strict=True))
        assert len(found) == len(set(found))
        return set(found)

    def _note(self, settled: Settled) -> None:
        self.settled.append(settled)
        self._bell.set()


@pytest.fixture(autouse=True)
def no_tracebacks() -> Iterator[None]:
    """Those of an outage, laid out for a terminal, would take longer than the outage."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for between two questions is a matter of manners; tests of the sink have the real times."""
    monkeypatch.setattr(sink, "PAUSES", (0.2,))
    monkeypatch.setattr(sink, "FRESH", 0.0)
    monkeypatch.setattr(reconcile, "SINK_PAUSE", 1.0)
    monkeypatch.setattr(kept_up, "PAUSES", (0.2,))


@pytest.fixture
def home(database: str, minio: Minio, bucket: str, tmp_path: Path) -> Home:
    catalog = {
        "type": "sql",
        "uri": database,
        "warehouse": f"s3://{bucket}/warehouse",
        "s3.endpoint": minio.url,
        "s3.access-key-id": minio.access_key,
        "s3.secret-access-key": minio.secret_key,
        "s3.region": minio.region,
    }
    return Home(
        Settings(
            home=tmp_path,
            routes=(RouteSettings(name="csv", bucket=BUCKET, handler=HANDLER),),
            catalog={name: SecretStr(value) for name, value in catalog.items()},
            retry_delays=RETRIES,
            waker_seconds=0.2,
            max_commit_latency=0.2,
        )
    )


async def readiness(app: App) -> tuple[int, str]:
    """Ask `/readyz`; return its status and what is said of the sink."""
    web = Web(app, Metrics(), address="127.0.0.1:0", token=None)
    running = asyncio.create_task(web.run())
    try:
        await web.listening.wait()
        async with aiohttp.ClientSession() as http, http.get(f"{web.url}/readyz") as answer:
            return answer.status, (await answer.json())["faults"][f"sink {HANDLER}"] or ""
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until_told(app: App, status: int, words: str) -> str:
    """Ask until the answer has this status and these words; return what is said of the sink."""

    async def look() -> tuple[str] | None:
        now, told = await readiness(app)
        return (told,) if now == status and words in told else None

    (told,) = await until(look, f"the page never said {words!r}")
    return told


@pytest.mark.parametrize("part", ["catalog", "warehouse"])
async def test_outage_longer_than_all_retries_costs_no_attempt(
    part: str, home: Home, postgres: Postgres, minio: Minio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "MAX_TRIES", 3)
    server: Server = postgres if part == "catalog" else minio
    home.put(1)
    async with home.served() as app:
        await home.until(lambda: home.done(0) == FILES)
        await asyncio.to_thread(server.stop)
        before = len(home.settled)
        home.put(2)
        await home.until(lambda: any(one.step == SINK for one in home.settled[before:]))
        await asyncio.sleep(5 * sum(RETRIES))  # the fault is that it takes so long
        assert f"the {part} at " in await until_told(app, 503, "does not answer")
        assert app.sinks[HANDLER].away is not None
        assert not home.done(before)

        await asyncio.to_thread(server.start)
        await home.until(lambda: home.done(before) == FILES)

        assert app.sinks[HANDLER].away is None
        assert {one.status for one in home.settled} <= {Status.DONE, Status.RETRYING, Status.PENDING}
        assert home.attempts() == {0}
        assert await app.broker.depth(dead_queue(HANDLER)) == 0
    assert home.rows() == {(key, 2) for key in FILES}


async def test_service_starts_while_the_catalog_is_away_says_so_and_goes_on_by_itself(
    home: Home, postgres: Postgres
) -> None:
    home.put(1)
    await asyncio.to_thread(postgres.stop)
    async with home.served() as app:
        told = await until_told(app, 503, "does not answer")
        assert told.startswith(f"handler {HANDLER} cannot begin: the catalog at postgresql")
        assert not home.settled

        await asyncio.to_thread(postgres.start)
        await home.until(lambda: home.done(0) == FILES)

        await until_told(app, 200, "")
    assert home.rows() == {(key, 1) for key in FILES}


async def test_wrong_password_and_wrong_keys_are_no_absence(home: Home) -> None:
    good = home.settings.catalog
    for name, value, told in (
        ("uri", good["uri"].get_secret_value().replace("database-of-tests", "wrong"), "does not let us in"),
        ("s3.secret-access-key", "wrong", "SIGNATURE_DOES_NOT_MATCH"),
    ):
        home.settings = home.settings.model_copy(update={"catalog": {**good, name: SecretStr(value)}})
        async with home.served() as app:
            assert "correct " in await until_told(app, 503, told)
