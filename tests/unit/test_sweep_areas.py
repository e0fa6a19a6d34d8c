"""What is swept together, and how a sweep that was cut off goes on."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from consumer import ledger_views, sweep, sweep_side
from consumer.ledger_progress import Progress
from consumer.ledger_sweeps import Sweeps
from consumer.router import Route, Router
from consumer.store import AccessDenied
from consumer.sweep import RESUMABLE_MS, Sweeper
from consumer.sweep_areas import LAST, LEASE, Area, Range, areas_of, ranges_of
from consumer.sweep_certificate import certify, lines_of
from consumer.sweep_report import Report
from consumer.sweep_schedule import sweep_by_schedule
from handlers.contract import PermanentError, StoredObject, TransientError
from tests.fakes import FakeHandler, RouteOptions
from tests.rig import BUCKET, Rig, rig
from tests.unit.test_sweep import counts, hinted, ingest
from tests.virtual_loop import virtual

REMOVE = RouteOptions(on_delete="remove")


def route(prefix: str, seconds: float | None = None, *, shards: int = 1, name: str = "", bucket: str = "b") -> Route:
    return Route(name or prefix or "all", bucket, prefix, (), "fake", REMOVE, None, seconds, shards)


def areas(*routes: Route) -> list[tuple[str, tuple[str, ...], float | None]]:
    return [(area.name, area.excluded, area.seconds) for area in areas_of(routes)]


def sweeper_of(made: Rig, *routes: Route) -> Sweeper:
    made.looker._router = Router(routes)
    return Sweeper(
        store=made.store,
        looker=made.looker,
        routes=routes,
        units=made.units,
        sweeps=Sweeps(made.ledger),
        hints=made.hints,
        schedule=made.schedule,
        clock=made.clock,
        new_id=made.ids,
        progress=Progress(made.ledger),
        max_vanish=2,
    )


# Areas and key ranges


def test_routes_without_times_of_their_own_are_swept_with_their_bucket() -> None:
    assert areas(route("x/"), route("y/"), route("", bucket="a")) == [("a", (), None), ("b", (), None)]


def test_route_with_a_time_of_its_own_is_an_area_that_others_leave_out() -> None:
    found = areas(route("x/"), route("y/", 60), route("y/z/", 5), route("y/z/deeper/"))

    assert found == [("b", ("y/",), None), ("b/y/", ("y/z/",), 60), ("b/y/z/", (), 5)]


def test_bucket_whose_routes_all_have_times_of_their_own_is_not_swept_besides() -> None:
    assert areas(route("x/", 9), route("", 60), route("y/")) == [("b", ("x/",), 60), ("b/x/", (), 9)]


def test_of_two_times_for_one_prefix_the_shorter_counts() -> None:
    assert areas(route("x/", 60, name="one"), route("x/", 30, name="two")) == [("b/x/", (), 30)]


def test_ranges_follow_each_other_and_split_no_unit() -> None:
    assert ranges_of(["f/", "k"]) == [Range("", f"f/{LAST}"), Range(f"f/{LAST}", "k"), Range("k", None)]


@virtual
async def test_areas_are_swept_in_their_own_times() -> None:
    async with rig() as made:
        sweeper = sweeper_of(made, route("", bucket=BUCKET), route("often/", 60, bucket=BUCKET))
        reports: list[list[str]] = []
        save = sweeper._sweeps.save

        async def saved(*arguments: Any) -> None:
            reports.append(arguments[2]["areas"])
            await save(*arguments)

        sweeper._sweeps.save = saved  # type: ignore[method-assign, assignment]  # to watch
        task = asyncio.create_task(sweep_by_schedule(sweeper, made.schedule, 300))
        await asyncio.sleep(325)
        task.cancel()

    assert reports.count([BUCKET]) == 2
    assert 5 <= reports.count([f"{BUCKET}/often/"]) <= 6


@virtual
async def test_all_areas_together_cover_the_bucket_once() -> None:
    async with rig() as made:
        await ingest(made, **{"a": "1", "m/1": "1", "m/2": "1", "m/n/1": "1", "z": "1"})
        routes = [route("", bucket=BUCKET), route("m/", 60, bucket=BUCKET), route("m/n/", 5, bucket=BUCKET)]
        sweeper = sweeper_of(made, *routes)
        made.store.delete(BUCKET, "m/2")
        made.store.put(BUCKET, "m/n/0", "2")
        report = await sweeper.sweep()

        assert counts(report) == {"listed": 5, "matched": 4, "new": 1, "vanished": 1}
        assert await hinted(made) == ["m/2", "m/n/0"]
        assert report.areas == [BUCKET, f"{BUCKET}/m/", f"{BUCKET}/m/n/"]


@virtual
@pytest.mark.parametrize("shards", [1, 2, 3, 7])
async def test_key_ranges_side_by_side_see_what_one_sees(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAGE", 3)
    monkeypatch.setattr(ledger_views, "LEAST_PART", 1)
    async with rig(options=RouteOptions(by_folder=True, on_delete="remove")) as made:
        for number in range(40):
            made.store.put(BUCKET, f"f{number % 7}/{number:02}", "a")
            made.store.put(BUCKET, f"k{number:02}", "a")
        names = [f"f{number}/" for number in range(7)] + [f"k{number:02}" for number in range(40)]
        async with made.running():
            await made.hint(*names)
            await made.until(len(names))
        made.store.put(BUCKET, "f3/03", "b")
        made.store.delete(BUCKET, "k39")
        made.store.put(BUCKET, "k00-new", "a")
        options = RouteOptions(by_folder=True, on_delete="remove")
        everything = Route("all", BUCKET, "", (), "fake", options, None, None, shards)
        report = await sweeper_of(made, everything).sweep()

        assert counts(report) == {"listed": 80, "matched": 45, "new": 1, "changed": 1, "vanished": 1}
        assert sorted(await hinted(made)) == ["f3/", "k00-new", "k39"]
        plain = await sweeper_of(made, route("", bucket=BUCKET)).sweep_now()
        assert plain.listed == 80


# A sweep that is cut off


class Breaking:
    """A store whose listing breaks off once, behind a number of objects."""

    def __init__(self, made: Rig, after: int) -> None:
        self._store = made.store
        self._left: int | None = after
        self.head = made.store.head
        self.starts: list[str] = []

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncIterator[StoredObject]:
        self.starts.append(start_after)
        async for found in self._store.list(bucket, prefix, start_after=start_after):
            if self._left is not None:
                if self._left == 0:
                    self._left = None
                    raise TransientError("cut off")
                self._left -= 1
            yield found


async def cut_off(made: Rig, monkeypatch: pytest.MonkeyPatch) -> tuple[Sweeper, Breaking, Report]:
    """Sweep 40 objects, of which the first two and the last two changed, until the listing breaks off at 30."""
    monkeypatch.setattr(sweep, "PAGE", 3)
    monkeypatch.setattr(sweep, "CHECKPOINT", 2)
    await ingest(made, **{f"k{number:02}": "x" for number in range(40)})
    for number in (0, 1, 38, 39):
        made.store.put(BUCKET, f"k{number:02}", "y")
    sweeper = sweeper_of(made, route("", bucket=BUCKET))
    store = Breaking(made, 30)
    sweeper._store = store  # type: ignore[assignment]  # it lists and heads
    first = await sweeper.sweep_now(resume=True)
    assert first.errors == [f"bucket {BUCKET}: cut off"]
    assert await hinted(made) == ["k00", "k01"]
    return sweeper, store, first


@virtual
async def test_sweep_that_was_cut_off_is_finished_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig(options=REMOVE) as made:
        _, store, _ = await cut_off(made, monkeypatch)
        sweeper = sweeper_of(made, route("", bucket=BUCKET))  # of the process that comes after, which knows the ledger
        sweeper._store = store  # type: ignore[assignment]  # it lists and heads
        report = await sweeper.sweep_now(resume=True)

        assert store.starts == ["", "k29"]
        assert report.resumed == [BUCKET]
        assert counts(report) == {"listed": 40, "matched": 36, "changed": 4}
        assert await hinted(made) == ["k38", "k39"]
        whole = await sweeper.sweep_now()
        assert (whole.digest, whole.ledger_digest) == (report.digest, report.ledger_digest)
        assert whole.resumed == []


@virtual
async def test_who_wants_everything_compared_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig(options=REMOVE) as made:
        sweeper, store, _ = await cut_off(made, monkeypatch)
        report = await sweeper.sweep()

        assert store.starts == ["", ""]
        assert report.resumed == []
        assert await hinted(made) == ["k00", "k01", "k38", "k39"]


@virtual
async def test_old_checkpoint_is_not_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig(options=REMOVE) as made:
        sweeper, store, _ = await cut_off(made, monkeypatch)
        await asyncio.sleep(RESUMABLE_MS / 1000 + 1)
        await sweeper.sweep_now(resume=True)

        assert store.starts == ["", ""]


# Stores that answer wrongly


@virtual
async def test_bucket_of_which_nothing_may_be_seen_has_lost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig(options=REMOVE) as made:
        await ingest(made, a="1", b="2")
        asked: list[str] = []

        async def denied(*_arguments: Any, **_options: Any) -> AsyncIterator[StoredObject]:
            raise AccessDenied("the key does not exist")
            yield

        async def note(operation: str) -> None:
            asked.append(operation)

        monkeypatch.setattr(made.store, "list", denied)
        made.store.at = note
        report = await made.sweeper.sweep()

        assert report.errors == [f"bucket {BUCKET}: the key does not exist"]
        assert (counts(report), asked, await hinted(made)) == ({}, [], [])


@virtual
async def test_empty_listing_is_asked_about_for_some_units_and_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_side, "ASKED", 5)
    async with rig(options=REMOVE, max_vanish=2) as made:
        await ingest(made, **{f"k{number:02}": "x" for number in range(20)})
        for number in range(20):
            made.store.delete(BUCKET, f"k{number:02}")
        report = await made.sweeper.sweep()
        assert counts(report) == {"vanished": 5, "unanswered": 15, "withheld": 20}
        assert await hinted(made) == []

        accepted = await made.sweeper.sweep(accept_vanished=True)
        assert counts(accepted) == {"vanished": 20}
        assert len(await hinted(made)) == 20


# The certificate


@pytest.mark.parametrize("name", ["objects.jsonl", "objects.jsonl.gz"])
def test_certificate_that_could_not_be_finished_leaves_no_file_and_spares_the_one_before(
    name: str, tmp_path: Path
) -> None:
    with lines_of(tmp_path / name) as write:
        write({"key": "a"})
    before = (tmp_path / name).read_bytes()

    with pytest.raises(TransientError), lines_of(tmp_path / name) as write:  # noqa: PT012  # half of it is the point
        write({"key": "b"})
        raise TransientError("the store is away")

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


@virtual
async def test_certificate_says_of_every_object_what_holds_it_or_why_nothing_does(tmp_path: Path) -> None:
    async with rig(handler=FakeHandler(script=[PermanentError("no rows")])) as made:
        await ingest(made, bad="1")
        await ingest(made, good="2", old="3", busy="4")
        made.store.put(BUCKET, "old", "5")
        made.store.put(BUCKET, "fresh", "6")
        await made.ledger.claim(made.key("busy"))
        path = tmp_path / "objects.jsonl.gz"
        with lines_of(path) as write:
            certificate = await certify(made.store, made.looker, made.units, [BUCKET], write)

    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    assert [(line["key"], line["status"], line["error"]) for line in lines] == [
        ("bad", "failed", "no rows"),
        ("busy", "held", None),
        ("fresh", "unknown", None),
        ("good", "done", None),
        ("old", "changed", None),
    ]
    canonical = "".join(
        "\0".join([line["bucket"], line["key"], line["etag"], line["status"], line["target"] or ""]) + "\n"
        for line in lines
    )
    assert certificate.digest == sha256(canonical.encode()).hexdigest()
    assert certificate.objects == {"failed": 1, "held": 1, "unknown": 1, "done": 1, "changed": 1}
    assert lines[3]["target"]


def test_certificate_that_is_not_complete_does_not_appear(tmp_path: Path) -> None:
    path = tmp_path / "objects.jsonl"

    def write_and_fail() -> None:
        with lines_of(path) as write:
            write({"key": "a"})
            raise TransientError("the store is down")

    with pytest.raises(TransientError):
        write_and_fail()
    assert not path.exists()


def test_area_knows_its_lease() -> None:
    assert [Area("b", "", (), None, 1, ()).lease, Area("b", "x/", (), 5, 1, ()).lease] == [LEASE, f"{LEASE} b/x/"]
