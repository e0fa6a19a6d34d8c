"""What an answer of a server says of what was asked."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.argilla_records.api import Api
from handlers.contract import OutcomeUnknown, SinkAway, SinkRefuses, TransientError
from tests.fake_argilla import Fault
from tests.unit.argilla.bench import Bench


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [("PUT", 503, OutcomeUnknown), ("GET", 503, TransientError), ("PUT", 200, OutcomeUnknown), ("GET", 200, SinkAway)],
)
async def test_an_answer_that_says_nothing_of_a_write_leaves_it_unknown(
    bench: Bench, method: str, status: int, expected: type[TransientError]
) -> None:
    async def broken(request: web.Request) -> web.Response:
        del request
        return web.Response(status=status, text="<html>", headers={"Retry-After": "7"})

    app = web.Application()
    app.router.add_route("*", "/api/v1/x", broken)
    server = TestServer(app)
    await server.start_server()
    api = Api(bench.settings.model_copy(update={"url": str(server.make_url("/"))}))
    try:
        with pytest.raises(TransientError) as caught:
            await api.send(method, "x")
    finally:
        await api.aclose()
        await server.close()

    assert type(caught.value) is expected
    assert caught.value.retry_after == (7 if status == 503 else None)


async def test_a_connection_that_is_not_made_in_time_wrote_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*args: Any, **more: Any) -> Any:
        del args, more
        raise aiohttp.ConnectionTimeoutError("Connection timeout")

    api = Api(bench.settings)
    monkeypatch.setattr(aiohttp.TCPConnector, "connect", never)
    with pytest.raises(SinkAway, match="does not answer"):
        await api.send("PUT", "x")
    await api.aclose()


async def test_a_url_of_something_else_is_a_refusal_that_asks_for_the_right_one(bench: Bench) -> None:
    bench.fake.faults.append(Fault("GET", "me", status=404, body={"detail": "Not Found"}))

    with pytest.raises(SinkRefuses, match="is argilla_url right"):
        await bench.handler.ping()
