"""Queues of a route's own: its hints go there, and a worker of its handler reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from consumer.hints import Hints
from consumer.look import Looker
from consumer.retry import RetryPolicy
from consumer.router import Route, Router
from consumer.routes import HandlerKind, build_router
from consumer.settings import Settings
from consumer.settings_faults import ConfigurationError
from consumer.settings_routes import RouteSettings
from consumer.worker import Worker
from consumer.workitem import UnitKey, bulk_queue, dead_queue, work_queue
from handlers.contract import PermanentError
from tests.apps import BUCKET as FOLDER
from tests.apps import ObedientHandler, Options, drop, opened, settle
from tests.fakes import FakeHandler, RouteOptions
from tests.rig import BUCKET, Rig
from tests.virtual_loop import virtual

ROUTES = (
    Route("all", BUCKET, "", (), "fake", RouteOptions()),
    Route("quick", BUCKET, "quick/", (), "fake", RouteOptions(), queue="fast"),
)


def hints_of(made: Rig, routes: Sequence[Route] = ROUTES) -> Hints:
    looker = Looker(made.store, Router(routes), {"fake": made.handler})
    return Hints(made.broker, clock=made.clock, new_id=made.ids, queue_of=looker.queue_of)


@virtual
async def test_hints_of_a_route_go_to_its_queues_whether_or_not_it_is_named() -> None:
    made = Rig(routes=ROUTES)
    hints = hints_of(made)

    await hints.live(made.key("quick/a"), "event", route="quick")
    await hints.live(made.key("quick/a"), "wake")
    await hints.bulk(made.key("quick/a"), "sweep")
    await hints.live(made.key("a"), "wake")
    await hints.bulk(UnitKey("fake", "elsewhere", "a"), "sweep")

    queues = (work_queue("fast"), bulk_queue("fast"), work_queue("fake"), bulk_queue("fake"))
    assert [await made.broker.depth(queue) for queue in queues] == [2, 1, 1, 1]


@virtual
async def test_worker_of_own_queues_leaves_its_dead_letters_there() -> None:
    handler = FakeHandler(script=[PermanentError("it is broken")])
    made = Rig(handler, routes=ROUTES)
    await made.ledger.open()
    made.worker = Worker(
        handler,
        ledger=made.ledger,
        looker=made.looker,
        broker=made.broker,
        policy=RetryPolicy(()),
        gate=made.gate,
        sink=made.sink,
        on_settled=made._on_settled,
        queue="fast",
    )
    async with made.running():
        made.store.put(BUCKET, "quick/a", "a")
        await hints_of(made).live(made.key("quick/a"), "event")
        settled = await made.until(1)

    assert (settled.key.unit, settled.status) == ("quick/a", "failed")
    assert await made.broker.depth(dead_queue("fast")) == 1
    assert await made.broker.depth(dead_queue("fake")) == 0
    await made.worker.stop(0)
    await made.ledger.aclose()


async def test_service_reads_all_queues(tmp_path: Path) -> None:
    handler = ObedientHandler()
    routes = (
        RouteSettings(name="all", bucket=FOLDER, handler=handler.name),
        RouteSettings(name="quick", bucket=FOLDER, prefix="quick/", handler=handler.name, queue="fast"),
    )
    async with opened(tmp_path, handler, *routes) as app:
        drop(app, "a", "text")
        drop(app, "quick/a", "text")
        await settle(app)

    assert sorted(handler.sink) == ["a", "quick/a"]


def refused(*routes: RouteSettings) -> list[str]:
    kind = HandlerKind(options=Options, match=(), create=lambda *_: FakeHandler())
    with pytest.raises(ConfigurationError) as caught:
        build_router(Settings.model_construct(routes=routes), {"fake": kind, "other": kind})
    return caught.value.faults


def test_queue_with_the_name_of_a_handler_is_refused() -> None:
    (fault,) = refused(RouteSettings(name="a", bucket="b", handler="fake", queue="other"))

    assert fault.startswith("route a: queue = 'other': there are queues of this name")


def test_queue_of_two_handlers_is_refused() -> None:
    (fault,) = refused(
        RouteSettings(name="a", bucket="b", handler="fake", queue="q"),
        RouteSettings(name="c", bucket="d", handler="other", queue="q"),
    )

    assert fault.startswith("routes a and c: queue = 'q': shared by handlers fake and other")
