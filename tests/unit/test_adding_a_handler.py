"""docs/adding-a-handler.md is followed to the letter: its code becomes a handler that keeps the contract and works."""

from __future__ import annotations

import inspect
import re
import sqlite3
import sys
import types
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from consumer.app import open_app
from consumer.ledger_views import Told
from consumer.settings import Settings
from consumer.settings_routes import RouteSettings
from handlers.contract import Failure, Handler, Outcome, Receipt, Unit
from tests.apps import BUCKET, drop, settle
from tests.contract import test_handlers
from tests.contract.test_handlers import Subject

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-handler.md"


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """Return a module made of the Python blocks of the page, one after the other."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    module = types.ModuleType("adding_a_handler")
    sys.modules[module.__name__] = module
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), vars(module))  # noqa: S102 (it is ours, and the point of the test)
    yield module
    del sys.modules[module.__name__]


def _lines(home: Path) -> list[Any]:
    with closing(sqlite3.connect(home / "lines.db")) as database:
        return database.execute("SELECT unit, number, text FROM lines ORDER BY unit, number").fetchall()


def _tamper(home: Path) -> None:
    with closing(sqlite3.connect(home / "lines.db")) as database, database:
        database.execute("DELETE FROM lines WHERE number = 0")


@pytest.fixture
def subject(page: Any, tmp_path: Path) -> Subject:
    options = page.Options(on_delete="remove")

    def create(context: Any) -> Handler:
        made: Handler = page.LinesHandler(context)
        return made

    return Subject(
        home=tmp_path / "home",
        create=create,
        unit=Unit("notes", "a.txt", "notes", "", options),
        first=b"one\ntwo\n",
        second=b"one\nthree\nfour\n",
        corrupt=b"\xff\xfe",
        shown=_lines,
        tamper=_tamper,
        key="a.txt",
    )


SUITE = {
    name: test
    for name, test in vars(test_handlers).items()
    if name.startswith("test_") and list(inspect.signature(test).parameters) == ["subject"]
}


@pytest.mark.parametrize("name", SUITE)
async def test_the_handler_of_the_page_keeps_the_contract(subject: Subject, name: str) -> None:
    await SUITE[name](subject)


def test_the_suite_is_the_whole_one() -> None:
    others = {name for name in vars(test_handlers) if name.startswith("test_")} - SUITE.keys()

    assert len(SUITE) >= 7
    assert others == {
        "test_error_of_the_store_is_passed_on_and_changes_nothing",
        "test_process_killed_at_any_step_leaves_one_whole_version",
    }


@pytest.mark.parametrize("alone", [False, True])
async def test_the_handler_of_the_page_may_be_killed_at_any_step(subject: Subject, alone: bool) -> None:
    await test_handlers.test_process_killed_at_any_step_leaves_one_whole_version(subject, alone)


def _failed(at: int) -> Outcome:
    return Outcome("notes", "a.txt", f"token {at}", f"v{at}", "failed", at, None, "PermanentError", "too long", "notes")


def test_a_failure_that_is_told_late_says_nothing_of_what_came_after_it(page: Any, tmp_path: Path) -> None:
    lines, receipt = page.Lines(tmp_path / "lines.db"), Receipt("v2", "1", "lines", {"rows": 1})
    failure = Failure("v3", "PermanentError", "too long")

    lines.failed(_failed(1))
    lines.replace("notes", "a.txt", ["one"], receipt, at=2)
    lines.failed(_failed(1))
    assert list(lines.units()) == [("notes", "a.txt", receipt)]

    lines.failed(_failed(3))
    lines.failed(_failed(1))
    assert list(lines.units()) == [("notes", "a.txt", receipt), ("notes", "a.txt", failure)]
    assert lines.count("notes", "a.txt") == 1, "the last good version"

    lines.replace("notes", "a.txt", [], None, at=4)
    lines.failed(_failed(3))
    assert list(lines.units()) == []


async def test_the_handler_of_the_page_works_in_lakedrop(page: Any, tmp_path: Path) -> None:
    options = {"longest": 5, "on_delete": "remove"}
    route = RouteSettings(name="notes", bucket=BUCKET, handler="lines", options=options)
    settings = Settings(home=tmp_path / "home", routes=(route,), grace_seconds=0.001, waker_seconds=0.01)
    async with open_app(settings, kinds={"lines": page.KIND}) as app:
        app.start_workers()
        drop(app, "a.txt", "one\ntwo\n")
        drop(app, "b.txt", "far too long\n")
        drop(app, "c.csv", "not ours\n")
        await settle(app)
        told = {row.unit: row for row in await _told(app, ["a.txt", "b.txt", "c.csv"])}
        await app.stop(5)

    assert _lines(settings.home) == [("a.txt", 0, "one"), ("a.txt", 1, "two")]
    assert {unit: row.status for unit, row in told.items()} == {"a.txt": "done", "b.txt": "failed"}


async def _told(app: Any, units: list[str]) -> list[Told]:
    found: list[Told] = await app.units.told("lines", BUCKET, units)
    return found
