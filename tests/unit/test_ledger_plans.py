"""How SQLite finds rows: no statement that runs for every unit may read the whole table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from consumer import ledger_views
from consumer.ledger import Ledger
from consumer.ledger_sqlite import sqlite_engine
from consumer.ledger_views import Selection, Units
from consumer.protocol import Settlement, Status
from consumer.workitem import UnitKey
from handlers.contract import Receipt
from tests.fakes import CountingIds, inline

KEYS = [UnitKey("h", "b", "u"), UnitKey("h", "b", "v"), UnitKey("h", "c", "u")]


class Spy:
    """A ledger in memory, and the plans of what is run on it."""

    def __init__(self) -> None:
        engine = sqlite_engine(None, inline)
        self.engine = engine.database
        self.ledger = Ledger(engine, clock=lambda: 1000, new_id=CountingIds())

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Collect the plans of all statements on `units` that run meanwhile, each as its text and its steps."""
        seen: list[tuple[str, Any]] = []
        plans: list[str] = []

        def note(_connection: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool) -> None:
            if "units" in text:
                seen.append((text, parameters[0] if many else parameters))

        sa.event.listen(self.engine, "before_cursor_execute", note)
        yield plans
        sa.event.remove(self.engine, "before_cursor_execute", note)
        with self.engine.connect() as connection:
            for text, parameters in seen:
                steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters).all()
                plans.append("\n".join([text, *(step[3] for step in steps)]))


def settlement(key: UnitKey, token: str, receipt: Receipt | None) -> Settlement:
    status = Status.FAILED if receipt is None else Status.DONE
    return Settlement(key=key, token=token, status=status, head="x", attempts=1, receipt=receipt)


def assert_none_scans(plans: list[str]) -> None:
    assert plans
    assert [plan for plan in plans if "SCAN units" in plan] == []


async def test_no_statement_of_the_protocol_reads_the_whole_table() -> None:
    spy = Spy()
    ledger = spy.ledger
    await ledger.open()
    with spy.watching() as plans:
        for replay in (False, True):
            for receipt in (Receipt("x", "1", "t", {}), None):
                claims = [ledger.claim(key, replay=replay) for key in KEYS]
                tokens = [row.lease_token or "" for row in [await claim for claim in claims] if row is not None]
                assert len(tokens) == len(KEYS)
                for key, token in zip(KEYS, tokens, strict=True):
                    assert await ledger.begin(key, token, "x", 1) is not None
                assert await ledger.heartbeat(tokens) == set(tokens)
                assert await ledger.alive(tokens) == set(tokens)
                for key, token in zip(KEYS, tokens, strict=True):
                    assert await ledger.settle(settlement(key, token, receipt)) is not None
        await ledger.wake(10)
    await ledger.aclose()

    assert_none_scans(plans)


async def test_no_query_of_a_sweep_reads_more_than_its_range() -> None:
    spy = Spy()
    await spy.ledger.open()
    units = Units(spy.ledger)
    with spy.watching() as plans:
        for upto in ("z", None):
            assert [row async for row in units.between("h", "b", "a", upto)] == []
        assert await units.known("h", "b", ["u", "v"]) == {}
        await units.rebuild([(KEYS[0], Receipt("x", "1", "t", {}), None)])
    await spy.ledger.aclose()

    assert_none_scans(plans)


async def test_no_page_of_rows_reads_those_before_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_views, "PAGE", 2)
    monkeypatch.setattr(ledger_views, "LEAST_PART", 1)
    spy = Spy()
    await spy.ledger.open()
    units = Units(spy.ledger)
    names = [f"u{number}" for number in range(9)]
    await units.rebuild([(UnitKey("h", "b", name), Receipt("x", "1", "t", {}), None) for name in names])
    with spy.watching() as plans:
        assert [row.unit async for row in units.between("h", "b", "u1", "u7")] == names[2:8]
        assert [row.unit async for row in units.between("h", "b", "a", None, "u")] == names
        assert [row.unit async for row in units.select("h", "b", Selection(prefix="u"))] == names
        assert [row[0] async for rows in units.pages("h", "b", "", None) for row in rows] == names
        assert await units.splits(["h"], "b", "u0", None, 4) == ["u3", "u5", "u7"]
    await spy.ledger.aclose()

    assert_none_scans(plans)
    assert [plan for plan in plans if len(re.findall(r"units\.unit >", plan)) != 1] == []


async def test_unsettled_rows_are_found_by_their_deadlines_without_reading_receipts() -> None:
    spy = Spy()
    await spy.ledger.open()
    with spy.watching() as plans:
        assert await Units(spy.ledger).unsettled() == []
    await spy.ledger.aclose()

    (plan,) = plans
    assert "SCAN units" not in plan.replace("SCAN units USING INDEX units_lease_until", "").replace(
        "SCAN units USING INDEX units_wake_at", ""
    )
    assert "receipt" not in plan
