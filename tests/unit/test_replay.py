"""What a replay chooses, and how much of it is remembered."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from consumer import replay as module
from consumer.app import App
from consumer.candidates import Candidate
from consumer.protocol import Status
from consumer.replay import Request
from consumer.settings_routes import RouteSettings
from tests.apps import BUCKET, ObedientHandler, drop, opened, settle

HOUR = 3600


def chosen(work: Iterable[Candidate]) -> list[tuple[str, str]]:
    return [(candidate.key.unit, candidate.action) for candidate in work]


def written(app: App, key: str, seconds: int) -> None:
    """Drop a file that was written so long after 2020."""
    drop(app, key, f"text of {key}")
    os.utime(app.settings.buckets / BUCKET / key, (1_577_836_800 + seconds,) * 2)


async def test_units_are_chosen_by_how_object_and_row_stand(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        for key, text in (("current", "x"), ("failed", "fail"), ("changed", "x")):
            drop(app, key, text)
        await settle(app)
        drop(app, "changed", "y")
        drop(app, "new", "x")

        plan = await app.replay.plan(Request())
        forced = await app.replay.plan(Request(force=True, prefix="c"))

    assert chosen(plan.work) == [("changed", "look"), ("failed", "again"), ("new", "ingest")]
    assert plan.counts == {"ingest": 1, "look": 1, "again": 1, "current": 1}
    assert chosen(forced.work) == [("changed", "again"), ("current", "again")]


async def test_rows_are_read_page_by_page_of_the_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    async with opened(tmp_path) as app:
        for number in range(5):
            drop(app, f"{number}", "x")
        await settle(app)
        drop(app, "4", "y")
        asked: list[list[str]] = []
        known = app.units.known

        async def noting(handler: str, bucket: str, names: list[str]) -> object:
            asked.append(names)
            return await known(handler, bucket, names)

        monkeypatch.setattr(app.units, "known", noting)
        plan = await app.replay.plan(Request())

    assert asked == [["0", "1"], ["2", "3"], ["4"]]
    assert (chosen(plan.work), plan.current) == ([("4", "look")], 4)


async def test_only_the_newest_are_kept_of_a_limited_replay(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        for key, hours in (("a", 3), ("b", 1), ("c", 5), ("d", 4)):
            written(app, key, hours * HOUR)

        newest = await app.replay.plan(Request(newest_first=True, limit=2))
        every = await app.replay.plan(Request(newest_first=True))
        first = await app.replay.plan(Request(limit=3))

    assert [unit for unit, _ in chosen(newest.work)] == ["c", "d"]
    assert [unit for unit, _ in chosen(every.work)] == ["c", "d", "a", "b"]
    assert [unit for unit, _ in chosen(first.work)] == ["a", "b", "c"]


async def test_limit_counts_no_units_that_are_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        drop(app, "a", "x")
        await settle(app)
        drop(app, "b", "x")
        plan = await app.replay.plan(Request(limit=1))

    assert (chosen(plan.work), plan.current) == ([("b", "ingest")], 0)


async def test_units_of_folders_are_chosen_once(tmp_path: Path) -> None:
    handler = ObedientHandler()
    route = RouteSettings(name="all", bucket=BUCKET, handler=handler.name, options={"by_folder": True})
    async with opened(tmp_path, handler, route) as app:
        for key in ("a/1", "a/2", "b/1"):
            drop(app, key, "x")
        plan = await app.replay.plan(Request())

    assert chosen(plan.work) == [("a/", "ingest"), ("b/", "ingest")]
    assert [candidate.size for candidate in plan.work] == [2, 1]


async def test_objects_written_before_the_time_asked_for_are_left_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        written(app, "old", 0)
        written(app, "new", HOUR)
        plan = await app.replay.plan(Request(since=(1_577_836_800 + HOUR) * 1000))

    assert chosen(plan.work) == [("new", "ingest")]


async def test_rows_are_chosen_by_what_the_ledger_says(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        for key, text in (("good", "x"), ("bad", "fail")):
            drop(app, key, text)
        await settle(app)
        by_status = await app.replay.plan(Request(status=Status.FAILED))
        by_class = await app.replay.plan(Request(error_class="Broken"))
        by_other = await app.replay.plan(Request(error_class="Other"))

    assert chosen(by_status.work) == chosen(by_class.work) == [("bad", "again")]
    assert chosen(by_other.work) == []


async def test_another_handler_version_chooses_only_what_the_sink_holds(tmp_path: Path) -> None:
    handler = ObedientHandler()
    route = RouteSettings(name="all", bucket=BUCKET, handler=handler.name, options={"on_delete": "remove"})
    async with opened(tmp_path, handler, route) as app:
        for key, text in (("held", "x"), ("never", "fail"), ("removed", "x")):
            drop(app, key, text)
        await settle(app)
        (app.settings.buckets / BUCKET / "removed").unlink()
        await settle(app)
        same = await app.replay.plan(Request(other_version=True))
        app.replay._versions[handler.name] = "2"
        other = await app.replay.plan(Request(other_version=True))

    assert chosen(same.work) == []
    assert chosen(other.work) == [("held", "again")]


async def test_chosen_units_are_done_again(tmp_path: Path) -> None:
    handler = ObedientHandler()
    async with opened(tmp_path, handler) as app:
        drop(app, "a", "x")
        await settle(app)
        plan = await app.replay.plan(Request(force=True))
        await app.replay.run(plan)
        await app.worked_off()

    assert len(handler.claims) == 2
