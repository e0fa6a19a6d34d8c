"""What a sweep hints, withholds and reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from consumer import ledger_views, sweep, sweep_listing, sweep_side
from consumer.ledger_leases import Leases
from consumer.ledger_sweeps import Sweeps
from consumer.protocol import Status
from consumer.router import Route, Router
from consumer.store import AccessDenied
from consumer.sweep_areas import LEASE as SWEEP_LEASE
from consumer.sweep_report import Report
from consumer.sweep_side import Side
from consumer.workitem import bulk_queue, decode
from handlers.contract import ABSENT, PermanentError, StoredObject, TransientError
from tests.fakes import FakeHandler, RouteOptions
from tests.rig import BUCKET, Rig, rig
from tests.virtual_loop import EPOCH_MS, virtual

REMOVE = RouteOptions(on_delete="remove")


async def hinted(made: Rig) -> list[str]:
    """Take the units off the bulk queue."""
    queue = bulk_queue(made.handler.name)
    consumer = await made.broker.consume(queue, prefetch=10_000)
    names = []
    for _ in range(await made.broker.depth(queue)):
        delivery = await consumer.get()
        names.append(decode(delivery.message).key.unit)
        await delivery.ack()
    await consumer.aclose()
    return names


async def ingest(made: Rig, **texts: str) -> None:
    """Bring objects into the bucket and the sink."""
    async with made.running():
        count = len(made.settled)
        for key, text in texts.items():
            made.store.put(BUCKET, key, text)
        await made.hint(*texts)
        await made.until(count + len(texts))


def counts(report: Report) -> dict[str, int]:
    names = (
        "listed",
        "unrouted",
        "unrouted_units",
        "matched",
        "new",
        "changed",
        "vanished",
        "withheld",
        "unanswered",
        "held",
        "waiting",
    )
    return {name: count for name in names if (count := getattr(report, name))}


@virtual
async def test_units_without_an_object_are_told_apart_among_the_matched() -> None:
    async with rig(options=REMOVE) as made:
        await ingest(made, a="1", b="1")
        async with made.running():
            count = len(made.settled)
            made.store.delete(BUCKET, "a")
            await made.hint("a")
            await made.until(count + 1)
        report = await made.sweeper.sweep()

        assert (report.listed, report.matched, report.gone) == (1, 2, 1)


@virtual
async def test_object_that_no_event_told_of_is_hinted() -> None:
    async with rig() as made:
        made.store.put(BUCKET, "x", "a")
        report = await made.sweeper.sweep()

        assert await hinted(made) == ["x"]
        assert counts(report) == {"listed": 1, "new": 1}
        assert not report.agrees


@virtual
async def test_differences_among_runs_of_settled_units_are_found_wherever_they_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_side, "RUN", 3)
    async with rig(options=REMOVE) as made:
        await ingest(made, **dict.fromkeys([f"u{number:02}" for number in range(20)], "1"))
        for unit in ("u00", "u05", "u19"):
            made.store.put(BUCKET, unit, "another")
        for unit in ("u02", "u03", "u18"):
            made.store.delete(BUCKET, unit)
        for unit in ("a", "u08+", "u11+", "u11++", "z"):
            made.store.put(BUCKET, unit, "1")
        report = await made.sweeper.sweep()

        assert counts(report) == {"listed": 22, "matched": 14, "new": 5, "changed": 3, "vanished": 3}
        news = ["a", "u00", "u02", "u03", "u05", "u08+", "u11+", "u11++", "u18", "u19", "z"]
        assert sorted(await hinted(made)) == news


@virtual
async def test_settled_units_are_left_alone_and_the_digests_agree() -> None:
    async with rig() as made:
        await ingest(made, x="a", y="b")
        report = await made.sweeper.sweep()

        assert await hinted(made) == []
        assert counts(report) == {"listed": 2, "matched": 2}
        assert report.agrees
        assert report.json()["agrees"] is True


@virtual
async def test_changed_object_is_hinted() -> None:
    async with rig() as made:
        await ingest(made, x="a", y="b")
        made.store.put(BUCKET, "x", "c")
        report = await made.sweeper.sweep()

        assert await hinted(made) == ["x"]
        assert counts(report) == {"listed": 2, "matched": 1, "changed": 1}
        assert report.digest != report.ledger_digest


@virtual
async def test_r9_sweep_writes_no_row() -> None:
    async with rig(options=REMOVE) as made:
        await ingest(made, x="a", y="b", z="c")
        made.store.put(BUCKET, "x", "c")
        made.store.delete(BUCKET, "y")
        before = [await made.row(unit) for unit in "xyz"]
        await made.sweeper.sweep()

        assert [await made.row(unit) for unit in "xyz"] == before
        assert made.handler.sink == {"x": {"x": "a"}, "y": {"y": "b"}, "z": {"z": "c"}}


@virtual
async def test_r9_held_row_is_hinted_even_if_it_seems_current() -> None:
    async with rig() as made:
        await ingest(made, x="a", y="b")
        made.store.delete(BUCKET, "y")
        await made.ledger.claim(made.key("x"))
        await made.ledger.claim(made.key("y"))
        report = await made.sweeper.sweep()

        assert await hinted(made) == ["x", "y"]
        assert counts(report) == {"listed": 1, "held": 2}


@virtual
async def test_row_with_a_deadline_is_left_to_the_waker() -> None:
    async with rig(handler=FakeHandler(script=[TransientError(), TransientError()])) as made:
        await ingest(made, x="a", y="b")
        made.store.put(BUCKET, "x", "c")
        made.store.delete(BUCKET, "y")
        report = await made.sweeper.sweep()

        assert await hinted(made) == []
        assert counts(report) == {"listed": 1, "waiting": 2}


@virtual
async def test_failed_unit_is_matched_and_reported_by_its_error() -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no"), ValueError("odd")]), delays=()) as made:
        await ingest(made, x="a", y="b", z="c")
        report = await made.sweeper.sweep()

        assert await hinted(made) == []
        assert counts(report) == {"listed": 3, "matched": 3}
        assert report.failed == {"PermanentError": 1, "ValueError": 1}
        assert report.agrees


@virtual
async def test_failed_unit_that_changed_is_hinted() -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no")])) as made:
        await ingest(made, x="a")
        made.store.put(BUCKET, "x", "b")
        await made.sweeper.sweep()

        assert await hinted(made) == ["x"]


@virtual
@pytest.mark.parametrize("options", [REMOVE, RouteOptions()])
async def test_vanished_object_is_hinted(options: RouteOptions) -> None:
    async with rig(options=options) as made:
        await ingest(made, x="a", y="b")
        made.store.delete(BUCKET, "x")
        report = await made.sweeper.sweep()
        assert await hinted(made) == ["x"]
        assert counts(report) == {"listed": 1, "matched": 1, "vanished": 1}

        async with made.running():
            await made.hint("x")
            await made.until(3)
        assert (await made.row("x")).gone
        again = await made.sweeper.sweep()
        assert counts(again) == {"listed": 1, "matched": 2}
        assert again.agrees


class StaleListing:
    """A store whose listing shows what it held some time ago."""

    def __init__(self, made: Rig) -> None:
        self._store = made.store
        self._then = dict(made.store.texts)
        self.head = made.store.head

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[StoredObject]:
        now, self._store.texts = self._store.texts, self._then
        found = [one async for one in self._store.list(bucket, prefix, start_after=start_after)]
        self._store.texts = now
        for one in found:
            yield one


@virtual
async def test_object_that_came_back_since_the_listing_has_not_vanished() -> None:
    async with rig(options=REMOVE) as made:
        made.sweeper._store = StaleListing(made)  # type: ignore[assignment]  # of an empty bucket
        await ingest(made, x="a", y="b")
        made.store.put(BUCKET, "y", "c")
        report = await made.sweeper.sweep()

        assert await hinted(made) == ["y"]
        assert counts(report) == {"changed": 1}


@virtual
async def test_row_without_a_route_has_not_vanished() -> None:
    async with rig(routes=[Route("csv", BUCKET, "", ("*.csv",), "fake", REMOVE)]) as made:
        made.store.put(BUCKET, "note.txt", "a")
        row = await made.ledger.claim(made.key("old.txt"))
        assert row is not None
        await made.change("old.txt", lease_token=None, lease_until=None, observed_etag="a")
        report = await made.sweeper.sweep()

        assert await hinted(made) == []
        assert counts(report) == {"listed": 1, "unrouted": 1, "unrouted_units": 1}
        assert report.agrees


def reroute(made: Rig, *routes: Route) -> None:
    """Start again with other routes."""
    made.looker._router = Router(routes)


@virtual
async def test_units_that_lost_their_route_are_in_neither_digest() -> None:
    async with rig() as made:
        await ingest(made, **{"x": "a", "in/y": "b"})
        reroute(made, Route("in", BUCKET, "in/", (), "fake", RouteOptions()))
        for _ in range(2):
            report = await made.sweeper.sweep()
            assert counts(report) == {"listed": 2, "unrouted": 1, "unrouted_units": 1, "matched": 1}
            assert report.agrees
        assert await hinted(made) == []


@virtual
async def test_r9_held_row_without_a_route_is_hinted() -> None:
    async with rig() as made:
        await ingest(made, x="a")
        reroute(made, Route("in", BUCKET, "in/", (), "fake", RouteOptions()))
        await made.ledger.claim(made.key("x"))
        report = await made.sweeper.sweep()

        assert await hinted(made) == ["x"]
        assert counts(report) == {"listed": 1, "unrouted": 1, "unrouted_units": 1}


@virtual
@pytest.mark.parametrize("script", [[], [TransientError("the sink is down")]])
async def test_unit_whose_route_comes_back_is_swept_in(script: list[Any]) -> None:
    async with rig(handler=FakeHandler(script=script)) as made:
        await ingest(made, x="a")
        elsewhere = Route("in", BUCKET, "in/", (), "fake", RouteOptions())
        reroute(made, elsewhere)
        async with made.running():
            await made.hint("x")
            assert (await made.until(2)).status is Status.SKIPPED
        for _ in range(2):
            assert (await made.sweeper.sweep()).agrees
        assert await hinted(made) == []

        reroute(made, *made.routes)
        made.worker = made.new_worker()
        async with made.running():
            report = await made.sweeper.sweep()
            assert counts(report) == {"listed": 1, "changed": 1}
            assert not report.agrees
            assert (await made.until(3)).status is Status.DONE
        assert made.handler.sink == {"x": {"x": "a"}}
        assert (await made.sweeper.sweep()).agrees


@virtual
async def test_unit_deleted_while_it_had_no_route_vanishes_when_the_route_comes_back() -> None:
    async with rig(options=REMOVE) as made:
        await ingest(made, x="a")
        reroute(made, Route("in", BUCKET, "in/", (), "fake", REMOVE))
        async with made.running():
            await made.hint("x")
            await made.until(2)
        made.store.delete(BUCKET, "x")
        reroute(made, *made.routes)
        made.worker = made.new_worker()
        async with made.running():
            assert counts(await made.sweeper.sweep()) == {"vanished": 1}
            await made.until(3)

        assert made.handler.sink == {"x": {}}


# The brake


@virtual
async def test_brake_withholds_a_mass_deletion_and_sends_everything_else() -> None:
    async with rig(options=REMOVE, max_vanish=2) as made:
        await ingest(made, a="1", b="2", c="3", d="4")
        for key in "abc":
            made.store.delete(BUCKET, key)
        made.store.put(BUCKET, "d", "5")
        made.store.put(BUCKET, "e", "6")
        report = await made.sweeper.sweep()
        assert await hinted(made) == ["d", "e"]
        assert counts(report) == {"listed": 2, "new": 1, "changed": 1, "vanished": 3, "withheld": 3}

        report = await made.sweeper.sweep(accept_vanished=True)
        assert await hinted(made) == ["a", "b", "c", "d", "e"]
        assert counts(report) == {"listed": 2, "new": 1, "changed": 1, "vanished": 3}


@virtual
async def test_brake_lets_a_few_go() -> None:
    async with rig(options=REMOVE, max_vanish=2) as made:
        await ingest(made, a="1", b="2", c="3")
        for key in "ab":
            made.store.delete(BUCKET, key)
        report = await made.sweeper.sweep()

        assert await hinted(made) == ["a", "b"]
        assert report.withheld == 0


@virtual
async def test_brake_lets_a_small_share_of_many_go() -> None:
    async with rig(options=REMOVE, max_vanish=0) as made:
        await ingest(made, **{f"k{number:02}": "x" for number in range(40)})
        for key in ("k00", "k01"):
            made.store.delete(BUCKET, key)
        assert (await made.sweeper.sweep()).withheld == 0
        assert await hinted(made) == ["k00", "k01"]

        made.store.delete(BUCKET, "k02")
        assert (await made.sweeper.sweep()).withheld == 3
        assert await hinted(made) == []


def one_unanswered_look(made: Rig) -> None:
    """Let the store not answer the next look."""

    async def once(operation: str) -> None:
        if operation == "head":
            made.store.at = None
            raise TransientError("drop/a is being written", retry_after=1.0)

    made.store.at = once


@virtual
@pytest.mark.parametrize("options", [REMOVE, RouteOptions()])
async def test_unit_the_store_does_not_tell_about_is_hinted_and_stops_no_sweep(options: RouteOptions) -> None:
    async with rig(options=options) as made:
        await ingest(made, a="1", b="2", c="3")
        made.store.delete(BUCKET, "a")
        made.store.put(BUCKET, "c", "4")
        one_unanswered_look(made)
        report = await made.sweeper.sweep()

        assert sorted(await hinted(made)) == ["a", "c"]
        assert counts(report) == {"listed": 2, "matched": 1, "changed": 1, "unanswered": 1}
        assert report.errors == []
        assert not report.agrees


@virtual
async def test_brake_counts_units_the_store_does_not_tell_about() -> None:
    async with rig(options=REMOVE, max_vanish=1) as made:
        await ingest(made, a="1", b="2")
        for key in "ab":
            made.store.delete(BUCKET, key)
        one_unanswered_look(made)
        report = await made.sweeper.sweep()

        assert await hinted(made) == []
        assert counts(report) == {"vanished": 1, "unanswered": 1, "withheld": 2}


@virtual
async def test_memory_does_not_grow_with_the_units_that_vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_side, "REMEMBERED", 2)
    remembered: list[int] = []
    release = sweep_side.release

    async def counting(sides: Sequence[Side]) -> int:
        remembered.append(sum(len(side.braked) for side in sides))
        return await release(sides)

    monkeypatch.setattr(sweep, "release", counting)
    async with rig(options=REMOVE, max_vanish=1) as made:
        await ingest(made, a="1", b="2", c="3", d="4")
        for key in "abcd":
            made.store.delete(BUCKET, key)
        assert (await made.sweeper.sweep()).withheld == 4
        assert (await made.sweeper.sweep(accept_vanished=True)).withheld == 0

        assert remembered == [2, 0]
        assert await hinted(made) == ["a", "b", "c", "d"]


@virtual
async def test_vanished_units_too_many_to_remember_go_with_the_next_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_side, "REMEMBERED", 2)
    async with rig(options=REMOVE, max_vanish=0) as made:
        await ingest(made, **{f"k{number:02}": "x" for number in range(60)})
        for key in ("k00", "k01", "k02"):
            made.store.delete(BUCKET, key)
        async with made.running():
            assert (await made.sweeper.sweep()).withheld == 1
            await made.until(62)
            assert (await made.sweeper.sweep()).withheld == 0
            await made.until(63)
        assert (await made.sweeper.sweep()).agrees


@virtual
async def test_keeping_route_needs_no_brake() -> None:
    async with rig(max_vanish=0) as made:
        await ingest(made, a="1", b="2")
        for key in "ab":
            made.store.delete(BUCKET, key)
        report = await made.sweeper.sweep()

        assert await hinted(made) == ["a", "b"]
        assert (report.vanished, report.withheld) == (2, 0)


# Merging


@virtual
async def test_both_sides_are_merged_over_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAGE", 3)
    monkeypatch.setattr(ledger_views, "PAGE", 2)
    async with rig(options=REMOVE) as made:
        await ingest(made, **{f"k{number:02}": "x" for number in range(0, 30, 2)})
        for number in range(0, 30, 3):
            made.store.put(BUCKET, f"k{number:02}", "y")  # new where odd, else changed
        for number in (4, 8, 28):
            made.store.delete(BUCKET, f"k{number:02}")
        seen: list[int] = []
        report = await made.sweeper.sweep(progress=lambda report: seen.append(report.listed))

        expected = {f"k{number:02}" for number in range(0, 30, 3)} | {"k04", "k08", "k28"}
        assert set(await hinted(made)) == expected
        assert counts(report) == {"listed": 17, "matched": 7, "new": 5, "changed": 5, "vanished": 3}
        assert seen == sorted(seen)
        assert len(seen) == 17 // 3 + 1


@virtual
async def test_keys_are_merged_in_byte_order() -> None:
    async with rig() as made:
        await ingest(made, **{"\ue000": "a", "\U0001f600": "b", "z": "c", "é": "d", "Z": "e"})
        report = await made.sweeper.sweep()

        assert counts(report) == {"listed": 5, "matched": 5}
        assert report.agrees


@virtual
async def test_folders_are_compared_as_units() -> None:
    async with rig(options=RouteOptions(by_folder=True)) as made:
        for key in ("f/1", "f/2", "f.txt", "g/1"):
            made.store.put(BUCKET, key, "a")
        async with made.running():
            await made.hint("f/", "f.txt", "g/")
            await made.until(3)
        assert (await made.sweeper.sweep()).agrees
        made.store.put(BUCKET, "f/2", "b")
        made.store.delete(BUCKET, "g/1")
        report = await made.sweeper.sweep()

        assert await hinted(made) == ["f/", "g/"]
        assert counts(report) == {"listed": 3, "matched": 1, "changed": 1, "vanished": 1}


@virtual
async def test_folder_is_one_unit_even_if_others_take_some_of_its_objects() -> None:
    other = FakeHandler(name="other")
    routes = [
        Route("csv", BUCKET, "", ("*.csv",), "fake", RouteOptions(by_folder=True)),
        Route("txt", BUCKET, "", ("*.txt",), "other", RouteOptions()),
    ]
    async with rig(routes=routes) as made:
        made.looker._handlers = {"fake": made.handler, "other": other}
        for key in ("f/1.csv", "f/2.txt", "f/3.pdf", "f/4.csv"):
            made.store.put(BUCKET, key, "a")
        async with made.running():
            await made.hint("f/")
            await made.until(1)
        report = await made.sweeper.sweep()

        assert await hinted(made) == []
        assert counts(report) == {"listed": 4, "unrouted": 1, "matched": 1, "new": 1}


@virtual
async def test_first_units_are_hinted_while_the_rest_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_listing, "FIRST_PAGE", 2)
    monkeypatch.setattr(sweep, "PAGE", 5)
    seen: list[tuple[int, int]] = []
    async with rig() as made:
        for number in range(20):
            made.store.put(BUCKET, f"{number:02}", "a")
        await made.sweeper.sweep(progress=lambda report: seen.append((report.listed, report.new)))

    assert seen == [(listed, listed) for listed in (2, 6, 11, 16, 20)]


# Reports, and one at a time


@virtual
async def test_a_sweep_of_some_buckets_leaves_the_others_alone_and_puts_off_no_scheduled_one() -> None:
    routes = [
        Route("all", BUCKET, "", (), "fake", REMOVE),
        Route("gone", "attic", "", (), "fake", REMOVE),
    ]
    async with rig(routes=routes) as made:
        made.store.put(BUCKET, "x", "a")
        report = await made.sweeper.sweep(["attic", "of no route"], next_in=3600)

        assert (report.areas, report.unswept, report.listed) == (["attic"], ["attic"], 0)
        assert await hinted(made) == []
        assert await Leases(made.ledger).take(SWEEP_LEASE, "another")


@virtual
async def test_bucket_that_cannot_be_listed_is_an_error_of_the_report() -> None:
    routes = [
        Route("all", BUCKET, "", (), "fake", REMOVE),
        Route("gone", "attic", "", (), "fake", REMOVE),
    ]
    async with rig(routes=routes) as made:
        await ingest(made, x="a")
        report = await made.sweeper.sweep()

        assert report.unswept == ["attic"]
        assert report.errors == ["bucket attic: no bucket attic"]
        assert counts(report) == {"listed": 1, "matched": 1}
        assert not report.agrees


@virtual
@pytest.mark.parametrize("options", [RouteOptions(), REMOVE], ids=["keep", "remove"])
async def test_what_this_user_may_not_see_has_not_vanished_and_the_rest_is_swept(
    options: RouteOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(options=options) as made:
        await ingest(made, **{"a": "1", "secret/k": "1", "z": "1"})
        for key in ("a", "new"):
            made.store.put(BUCKET, key, "2")
        made.store.delete(BUCKET, "z")
        head, listing = made.store.head, made.store.list

        async def denied_head(bucket: str, key: str) -> StoredObject | None:
            if key.startswith("secret/"):
                raise AccessDenied(f"{key}: Permission denied")
            return await head(bucket, key)

        async def denied_list(bucket: str, *arguments: Any, **options: Any) -> AsyncIterator[StoredObject]:
            async for found in listing(bucket, *arguments, **options):
                if not found.key.startswith("secret/"):
                    yield found
            raise AccessDenied("secret: Permission denied")

        monkeypatch.setattr(made.store, "head", denied_head)
        monkeypatch.setattr(made.store, "list", denied_list)
        report = await made.sweeper.sweep()

        assert report.unswept == [BUCKET]
        assert report.errors == [f"bucket {BUCKET}: secret: Permission denied"]
        assert (report.changed, report.new, report.vanished, report.unanswered) == (1, 1, 1, 1)
        assert sorted(await hinted(made)) == ["a", "new", "z"]
        assert not report.agrees


@virtual
async def test_limited_sweep_hands_over_at_its_rate_and_delays_nothing_that_events_tell_of() -> None:
    async with rig(sweep_rate=2) as made, made.running():
        for number in range(101):
            made.store.put(BUCKET, f"old{number:03}", "a")
        begun = made.clock()
        sweeping = asyncio.create_task(made.sweeper.sweep())
        await made.until(10)
        made.store.put(BUCKET, "x", "a")
        told = made.clock()
        await made.hint("x")
        live = await made.until(11)
        waited = made.clock() - told
        report = await sweeping

        assert (live.key.unit, waited) == ("x", 0)
        assert counts(report) == {"listed": 101, "new": 101}
        assert made.clock() - begun == 50_000


@virtual
async def test_sweeps_of_one_process_share_their_rate() -> None:
    async with rig(sweep_rate=1) as made:
        for number in range(10):
            made.store.put(BUCKET, f"{number}", "a")
        await asyncio.gather(*(made.sweeper.sweep_now() for _ in range(2)))

        assert made.clock() - EPOCH_MS == 19_000


@virtual
async def test_units_that_the_brake_lets_go_keep_to_the_rate() -> None:
    async with rig(options=REMOVE, sweep_rate=1) as made:
        await ingest(made, a="1", b="1", c="1")
        for unit in "abc":
            made.store.delete(BUCKET, unit)
        begun = made.clock()
        await made.sweeper.sweep()

        assert await hinted(made) == ["a", "b", "c"]
        assert made.clock() - begun == 2000


@virtual
async def test_report_is_kept() -> None:
    async with rig() as made:
        made.store.put(BUCKET, "x", "a")
        report = await made.sweeper.sweep()

        assert await Sweeps(made.ledger).last() == report.json()
        assert report.finished_at == made.clock()


@virtual
async def test_second_sweep_waits_for_the_first() -> None:
    async with rig() as made:
        release = asyncio.Event()
        order: list[str] = []

        async def wait(_operation: str) -> None:
            await release.wait()

        made.store.at = wait

        async def sweep_as(name: str) -> None:
            await made.sweeper.sweep()
            order.append(name)

        first = asyncio.create_task(sweep_as("first"))
        await asyncio.sleep(1)
        second = asyncio.create_task(sweep_as("second"))
        await asyncio.sleep(1000)  # many times the lease: the heartbeat keeps it
        made.store.at = None
        assert order == []
        release.set()
        await asyncio.gather(first, second)

        assert order == ["first", "second"]


@virtual
async def test_row_settled_after_the_listing_is_not_taken_for_changed() -> None:
    async with rig() as made:
        made.store.put(BUCKET, "x", "a")

        async def meanwhile(operation: str) -> None:
            if operation == "list":
                made.store.at = None
                await ingest(made, x="a")

        made.store.at = meanwhile
        report = await made.sweeper.sweep()

        assert counts(report) == {"listed": 1, "matched": 1}


@virtual
async def test_swept_unit_of_unknown_version_is_looked_at() -> None:
    async with rig() as made:
        made.store.put(BUCKET, "x", "a")
        await made.ledger.claim(made.key("x"))
        await made.change("x", lease_token=None, lease_until=None, status=Status.DONE.value, observed_etag=None)
        assert (await made.row("x")).observed_etag != ABSENT
        await made.sweeper.sweep()

        assert await hinted(made) == ["x"]


@virtual
async def test_scheduled_sweep_waits_its_time_after_one_by_hand() -> None:
    async with rig() as made:
        times: list[int] = []

        async def note() -> None:
            times.append(made.clock())

        await made.sweeper.sweep(next_in=300)
        begun = made.clock()
        every: Any = asyncio.create_task(made.schedule.every(SWEEP_LEASE, 300, note))
        await asyncio.sleep(1000)
        every.cancel()

        assert [round((at - begun) / 1000) for at in times] == [300, 600, 900]
