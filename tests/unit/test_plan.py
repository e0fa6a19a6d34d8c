"""Planning: what is asked of planners, what is known without, and what people and machines are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from consumer.cli_plan import scope_of
from consumer.detail_text import print_detail
from consumer.plan import PAGE, Planning, Scope
from consumer.plan_app import open_planning
from consumer.plan_report import Planned, Totals
from consumer.router import Route, Router
from consumer.routes import HandlerKind
from consumer.settings import Settings
from consumer.settings_routes import RouteSettings
from consumer.terminal import console
from consumer.watched import Watched
from handlers.contract import ABSENT, ObjectRef, PermanentError, Receipt, Skip, StoredObject, Unit
from handlers.planner import Forecast
from tests.apps import BUCKET, Options, drop, opened, settle
from tests.fakes import FakeHandler, MemoryStore


class FakePlanner:
    """Foretells what the text of each object says."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.closed = False

    def unit_of(self, ref: ObjectRef, options: Options) -> str:
        return FakeHandler().unit_of(ref, options)

    async def plan(self, units: Sequence[tuple[Unit, Sequence[StoredObject]]]) -> AsyncIterator[Forecast]:
        self.asked.append([unit.name for unit, _ in units])
        for unit, objects in units:
            texts = [(await found.read()).decode() for found in objects]
            match texts:
                case ["fail"]:
                    yield Forecast(PermanentError("it says so"), {"rows": 1}, target="dictionary")
                case ["skip"]:
                    yield Forecast(Skip("not ours"))
                case []:
                    yield Forecast(Receipt(ABSENT, "1", "dictionary", {"rows": 0}), {"rows": 1}, target="dictionary")
                case _:
                    counts = {"rows": len(texts), "rejected": 1, "rescued": 0}
                    changes = {"created": unit.name == "a", "new": {unit.name: "VARCHAR"}, "widened": {}}
                    receipt = Receipt("1", "1", "dictionary", counts)
                    yield Forecast(receipt, {"rows": 0}, changes, int(unit.name == "a"), "dictionary")

    async def aclose(self) -> None:
        self.closed = True


@asynccontextmanager
async def planning(
    home: Path, planner: FakePlanner, on_delete: str = "keep", *routes: RouteSettings
) -> AsyncIterator[Planning]:
    usual = (RouteSettings(name="all", bucket=BUCKET, handler="fake", options={"on_delete": on_delete}),)
    settings = Settings(home=home, routes=routes or usual)
    kinds = {
        "fake": HandlerKind(options=Options, match=(), create=lambda *_: FakeHandler(), plan=lambda *_: planner),
        "blind": HandlerKind(options=Options, match=(), create=lambda *_: FakeHandler()),
    }
    async with open_planning(settings, kinds=kinds) as made:
        yield made


EVERYTHING = Scope(None, "")


async def planned(made: Planning, scope: Scope = EVERYTHING) -> tuple[dict[str, Planned], Totals]:
    totals = Totals()
    return {unit.unit: unit async for unit in made.units(scope, totals)}, totals


def put(home: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = home / "buckets" / BUCKET / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def test_home_without_ledger_is_planned_and_stays_without(tmp_path: Path) -> None:
    put(tmp_path, a="x", b="fail", c="skip")
    planner = FakePlanner()
    async with planning(tmp_path, planner) as made:
        units, totals = await planned(made)

    assert {name: (unit.reason, unit.action) for name, unit in units.items()} == {
        "a": ("new", "write"),
        "b": ("new", "fail"),
        "c": ("new", "skip"),
    }
    assert (units["b"].target, units["b"].error_class, units["b"].rows_now) == ("dictionary", "PermanentError", 1)
    assert (totals.rows_in, totals.rejected, totals.commits, totals.failures) == (1, 1, 1, {"PermanentError": 1})
    assert (totals.targets["dictionary"].created, totals.targets["dictionary"].new) == (True, {"a": "VARCHAR"})
    assert [path.name for path in tmp_path.iterdir()] == ["buckets"]
    assert planner.closed


async def test_only_the_difference_to_the_ledger_is_asked_about(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        for name in ("done", "changes", "fails", "goes"):
            drop(app, name, "fail" if name == "fails" else "x")
        await settle(app)
    put(tmp_path, changes="other", new="y")
    (tmp_path / "buckets" / BUCKET / "goes").unlink()
    for on_delete, gone in (("keep", "keep"), ("remove", "remove")):
        planner = FakePlanner()
        async with planning(tmp_path, planner, on_delete) as made:
            units, _ = await planned(made)

        assert {name: (unit.reason, unit.action) for name, unit in units.items()} == {
            "changes": ("changed", "write"),
            "done": ("current", "none"),
            "fails": ("again", "fail"),
            "goes": ("vanished", gone),
            "new": ("new", "write"),
        }
        assert list(units) == sorted(units)
        assert ("goes" in planner.asked[0], "done" in planner.asked[0]) == (on_delete == "remove", False)


async def test_units_are_planned_page_by_page_in_their_order(tmp_path: Path) -> None:
    put(tmp_path, **{f"f{number:05}": "x" for number in range(PAGE + 10)})
    planner = FakePlanner()
    async with planning(tmp_path, planner) as made:
        units, totals = await planned(made)

    assert [len(asked) for asked in planner.asked] == [PAGE, 10]
    assert list(units) == [f"f{number:05}" for number in range(PAGE + 10)]
    assert totals.units["write"] == PAGE + 10


async def test_unit_of_several_objects_is_planned_once(tmp_path: Path) -> None:
    put(tmp_path, **{"one/a": "x", "one/b": "y", "two/c": "z"})
    route = RouteSettings(name="all", bucket=BUCKET, handler="fake", options={"by_folder": True})
    async with planning(tmp_path, FakePlanner(), "keep", route) as made:
        units, _ = await planned(made)

    assert {name: unit.rows_in for name, unit in units.items()} == {"one/": 2, "two/": 1}


async def test_objects_of_a_handler_that_cannot_plan_are_counted(tmp_path: Path) -> None:
    put(tmp_path, **{"seen/a": "x", "blind/b": "y", "other": "z"})
    routes = (
        RouteSettings(name="seen", bucket=BUCKET, prefix="seen/", handler="fake"),
        RouteSettings(name="blind", bucket=BUCKET, prefix="blind/", handler="blind"),
    )
    async with planning(tmp_path, FakePlanner(), "keep", *routes) as made:
        units, totals = await planned(made)

    assert (list(units), totals.unplanned, totals.unrouted) == (["seen/a"], 1, 1)


async def test_prefix_bounds_what_is_listed_and_what_is_missed(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        for name in ("a/gone", "b/gone", "c/gone"):
            drop(app, name, "x")
        await settle(app)
    for name in ("a/gone", "b/gone", "c/gone"):
        (tmp_path / "buckets" / BUCKET / name).unlink()
    put(tmp_path, **{"a/new": "x", "b/new": "x"})
    async with planning(tmp_path, FakePlanner(), "remove") as made:
        units, _ = await planned(made, Scope(BUCKET, "b/"))

    assert {name: unit.action for name, unit in units.items()} == {"b/gone": "remove", "b/new": "write"}


async def test_missing_bucket_is_an_error_of_the_plan(tmp_path: Path) -> None:
    async with planning(tmp_path, FakePlanner()) as made:
        units, totals = await planned(made)

    assert units == {}
    assert "no bucket" in totals.errors[0]


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("", None, ""),
        ("customers/", None, "customers/"),
        ("drop", "drop", ""),
        ("drop/", "drop", ""),
        ("drop/customers/q1.csv", "drop", "customers/q1.csv"),
        ("dropped/x", None, "dropped/x"),
        ("{root}/drop/customers/", "drop", "customers/"),
        ("{root}/drop/cust", "drop", "cust"),
    ],
)
def test_scope_is_what_a_person_means(text: str, bucket: str | None, prefix: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    router = Router([Route("all", "drop", "", (), "fake")])

    assert scope_of(settings, router, text.format(root=settings.buckets)) == Scope(bucket, prefix)


async def test_watched_object_is_the_object_and_tells_how_far_it_is_read() -> None:
    store = MemoryStore("b")
    store.put("b", "k", "some text")
    found = await store.head("b", "k")
    assert found is not None
    told: list[int] = []
    watched = Watched(found, lambda _found, size: told.append(size))

    assert await watched.read() == b"some text"
    with await watched.open() as stream:
        assert stream.read(4) == b"some"
        assert stream.read() == b" text"

    assert (watched.key, watched.etag, watched.size) == (found.key, found.etag, found.size)
    assert (told[0], told[-1]) == (9, 9)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_details_of_wide_and_foreign_files_fit_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    columns: list[list[Any]] = [
        ["名前" * 30, "VARCHAR", "text", 1000, 0, None, 0],
        ["a_name_" * 20, "INTEGER", "990 of 1000 values", 1000, 990, [7, "価格" * 40], 10],
        ["zip", "VARCHAR", "record 3, '00123': a leading zero", 1000, 998, [3, "00123"], 0],
        *([f"c{number}", "DOUBLE", "5 of 5 values", 5, 5, None, 0] for number in range(400)),
    ]
    detail = {
        "encoding": "cp1252", "delimiter": ";", "quote": "'", "escape": "\\", "header_line": 3, "skipped_lines": 2,
        "compression": "gzip",
        "dialect_reason": "semicolon: 1,000 of 1,000 records have 403 cells; comma: 12", "columns": columns,
        "column_count": 5000, "warnings": ["a quote is never closed"],
        "rejects": [{"record": 5, "line": None, "text": "一" * 300, "reason": "2 cells, the file has 403 columns"}],
    }  # fmt: skip
    out = console()

    print_detail(out, detail, indent=4, columns=10)

    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    from rich.cells import cell_len  # noqa: PLC0415 (how wide a terminal shows it)

    assert max(map(cell_len, lines)) <= width
    assert all(line.startswith("    ") for line in lines)
    for words in (
        "read as gzip, cp1252, semicolon, quote ', escape \\, header on line 3, 2 lines skipped",
        "semicolon: 1,000 of 1,000 records have 403 cells; comma: 12",
        "warning: a quote is never closed",
        "rejected record 5: 2 cells, the file has 403 columns",
        "998 of 1,000 values would have fitted",
        "10 rescued",
        "and 4,990 more",
    ):
        assert words in text
