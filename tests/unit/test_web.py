"""The status pages of a service."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from structlog.typing import EventDict

from consumer import sink as sink_module
from consumer import web as web_module
from consumer.app import App
from consumer.ledger_again import LedgerUnavailable
from consumer.metrics import Metrics
from consumer.web import Web
from handlers.contract import SinkAway, TransientError
from tests.apps import BUCKET, drop, opened, settle
from tests.stack import ports

TOKEN = "secret-token"  # noqa: S105 (of this test)


@asynccontextmanager
async def serving(app: App, metrics: Metrics | None = None, token: str | None = None) -> AsyncIterator[Web]:
    web = Web(app, metrics or Metrics(), address="127.0.0.1:0", token=token)
    task = asyncio.create_task(web.run())
    try:
        await web.listening.wait()
        yield web
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as app:
        yield app


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def values(http: aiohttp.ClientSession, url: str) -> dict[tuple[str, ...], float]:
    async with http.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        page = await answer.text()
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def test_a_service_whose_parts_answer_is_alive_and_ready(app: App, http: aiohttp.ClientSession) -> None:
    async with serving(app) as web:
        async with http.get(f"{web.url}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with http.get(f"{web.url}/readyz") as answer:
            assert answer.status == 200
            assert await answer.json() == {
                "ready": True,
                "faults": dict.fromkeys(("store", "broker", "ledger", "sink fake")),
            }


async def test_a_part_that_is_away_makes_it_unready_and_is_named_but_the_process_stays_alive(
    app: App, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise TransientError("the store at http://s3 does not answer")

    monkeypatch.setattr(app.store, "ping", away)
    async with serving(app) as web:
        async with http.get(f"{web.url}/readyz") as answer:
            assert answer.status == 503
            faults = (await answer.json())["faults"]
        others = dict.fromkeys(("broker", "ledger", "sink fake"))
        assert faults == {"store": "the store at http://s3 does not answer", **others}
        async with http.get(f"{web.url}/healthz") as answer:
            assert answer.status == 200


async def test_a_sink_that_is_away_makes_it_unready_and_is_asked_once_in_a_while(
    app: App, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def away() -> None:
        nonlocal asked
        asked += 1
        raise SinkAway("the catalog at postgresql://db does not answer")

    monkeypatch.setattr(app.handlers["fake"], "ping", away)
    monkeypatch.setattr(sink_module, "FRESH", 3600.0)  # however long three questions take
    async with serving(app) as web:
        for _ in range(3):
            async with http.get(f"{web.url}/readyz") as answer:
                assert answer.status == 503
                assert (await answer.json())["faults"]["sink fake"] == "the catalog at postgresql://db does not answer"
    assert asked == 1


async def test_a_part_that_hangs_is_a_fault_not_a_probe_that_hangs(
    app: App, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(app.broker, "ping", asyncio.Event().wait)
    async with serving(app) as web, http.get(f"{web.url}/readyz") as answer:
        assert answer.status == 503
        assert (await answer.json())["faults"]["broker"] == "no answer in 0.01 s"


async def test_metrics_tell_what_this_process_settled_and_what_the_ledger_holds(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    metrics = Metrics()
    async with opened(tmp_path, on_settled=metrics.settled) as app, serving(app, metrics) as web:
        drop(app, "a", "x")
        drop(app, "b", "fail 1")
        await settle(app)
        found = await values(http, web.url)

    assert found["lakedrop_settled_total", "fake", "done"] == 1
    assert found["lakedrop_settled_total", "fake", "failed"] == 1
    assert found["lakedrop_claim_seconds_count", "fake"] == 2
    assert found["lakedrop_units", BUCKET, "fake", "done"] == 1
    assert found["lakedrop_units", BUCKET, "fake", "failed"] == 1
    assert found["lakedrop_units_held", BUCKET, "fake"] == 0
    assert found["lakedrop_queue_messages", "lakedrop.ingress"] == 0
    assert found["lakedrop_sink_away", "fake"] == 0
    assert found["lakedrop_sweep_agrees",] == 0.0  # the units it found were yet to come


@pytest.mark.parametrize("hangs", [False, True])
async def test_metrics_and_status_answer_while_the_ledger_is_away(
    tmp_path: Path, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, *, hangs: bool
) -> None:
    async def away(*_arguments: object) -> None:
        if hangs:
            await asyncio.Event().wait()
        raise LedgerUnavailable("the ledger's database does not answer")

    metrics = Metrics()
    async with opened(tmp_path, on_settled=metrics.settled) as app, serving(app, metrics) as web:
        drop(app, "a", "x")
        await settle(app)
        monkeypatch.setattr(web_module, "ANSWER_SECONDS", 0.05)
        with monkeypatch.context() as patch:
            patch.setattr(app.ledger, "read", away)
            found = await values(http, web.url)
            async with http.get(f"{web.url}/status.json") as answer:
                assert answer.status == 503
                told = (await answer.json())["error"]

    reason = "no answer in 0.05 s" if hangs else "the ledger's database does not answer"
    assert told == f"ledger: {reason}"
    assert found["lakedrop_ledger_up",] == 0
    assert found["lakedrop_settled_total", "fake", "done"] == 1
    assert found["lakedrop_queue_messages", "lakedrop.ingress"] == 0
    assert found["lakedrop_sink_away", "fake"] == 0
    assert not any(name.startswith("lakedrop_units") for name, *_ in found)


async def test_metrics_look_for_no_single_unit(
    app: App, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed(*_arguments: object) -> None:
        raise AssertionError

    for listing in ("unsettled", "failures", "error_classes"):
        monkeypatch.setattr(app.units, listing, listed)
    async with serving(app) as web:
        assert (await values(http, web.url))["lakedrop_ledger_up",] == 1


async def test_status_is_that_of_the_command(app: App, http: aiohttp.ClientSession) -> None:
    async with serving(app) as web, http.get(f"{web.url}/status.json") as answer:
        report = await answer.json()
    assert report["groups"][0]["bucket"] == BUCKET
    assert report["failed"] == 0


@pytest.mark.parametrize("page", ["/metrics", "/status.json"])
async def test_what_is_listened_for_beyond_this_machine_wants_the_token(
    app: App, http: aiohttp.ClientSession, page: str
) -> None:
    async with serving(app, token=TOKEN) as web:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            async with http.get(web.url + page, headers=headers) as answer:
                assert answer.status == 401
                assert "Bearer" in answer.headers["WWW-Authenticate"]
                assert TOKEN not in await answer.text()
        async with http.get(web.url + page, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200
        async with http.get(f"{web.url}/readyz") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("name", ["rebound.example", "localhost.example:8410", "192.0.2.1", "a b"])
async def test_a_foreign_name_for_this_machine_is_refused_without_a_token(
    app: App, http: aiohttp.ClientSession, name: str
) -> None:
    async with (
        serving(app) as web,
        http.get(f"{web.url}/status.json", headers={"Host": name}) as answer,
    ):
        assert answer.status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_written(app: App, http: aiohttp.ClientSession, method: str) -> None:
    async with serving(app) as web, http.request(method, f"{web.url}/status.json") as answer:
        assert answer.status == 405


async def test_a_port_that_is_taken_is_tried_again_and_stops_nothing(
    app: App, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "RETRY_SECONDS", 0.01)
    refused = asyncio.Event()

    def note(_logger: object, _name: str, entry: EventDict) -> EventDict:
        if entry["event"] == "web.cannot_listen":
            refused.set()
        raise structlog.DropEvent

    monkeypatch.setattr(web_module, "log", structlog.wrap_logger(None, processors=[note]))
    with socket.socket() as taken:
        port = ports.reserve()  # one that the system gives to nobody else once it is let go
        taken.bind(("127.0.0.1", port))
        taken.listen()
        web = Web(app, Metrics(), address=f"127.0.0.1:{port}", token=None)
        task = asyncio.create_task(web.run())
        async with asyncio.timeout(60):
            await refused.wait()
    async with asyncio.timeout(60):
        await web.listening.wait()
    async with http.get(f"{web.url}/healthz") as answer:
        assert answer.status == 200
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
