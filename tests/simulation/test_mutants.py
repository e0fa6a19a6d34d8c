"""
Each rule of the protocol is needed: without it, some schedule breaks a promise.

A rule is taken out by changing the text of a statement on its way to the database, or a method; then schedules of a
scenario that comes close to it are played until one fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from consumer import reconcile
from consumer.gate import Gate, Pass
from consumer.ledger import Ledger
from consumer.ledger_views import Swept, Units
from consumer.protocol import Row, Step, decide
from consumer.sink import Sink
from consumer.worker import Worker
from handlers.csv_to_iceberg.lake.committer import TableCommitter
from handlers.csv_to_iceberg.lake.rejects_keeper import RejectsKeeper, RejectsOfTable
from tests.fakes import MemoryObject
from tests.simulation.database import engine
from tests.simulation.outside import BUCKET
from tests.simulation.play import play, require
from tests.simulation.scenario import DISTANT, KILLER, Scenario
from tests.simulation.sink import SimHandler, SimTable
from tests.simulation.world import Faults, Violation

MOST = 1500
"""Schedules in which a missing rule has to show."""

Patch = Callable[[pytest.MonkeyPatch], Any]

BUSY = Scenario(
    Faults(),
    keys=("t/x",),
    texts="ab",
    changes=8,
    seconds=6,
    replicas=2,
    on_delete="remove",
    shared_broker=True,
    lossy=0,
    outside=(),
    final_sweep=False,
)
"""One object that changes all the time, and nothing else."""


def faulty(*, rate: float = 0.1, budget: int = 2, **kinds: int) -> Faults:
    return Faults(rate, budget, {name.replace("_", " "): weight for name, weight in kinds.items()})


ZOMBIES = replace(BUSY, faults=faulty(rate=0.2, stop_at_commit=1), seconds=60, changes=6)
"""Processes sleep past their leases."""

DEATHS = replace(BUSY, faults=faulty(crash_before=1, crash_after=1), seconds=20, changes=4, settled_first=True)
"""Processes die."""


@contextmanager
def statement(begins: str, old: str, new: str) -> Iterator[None]:
    """Change the text of statements that begin so."""
    changed = 0

    def change(_c: Any, _cursor: Any, text: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        nonlocal changed
        if text.startswith(begins) and old in text:
            changed += 1
            text = text.replace(old, new)
        return text, parameters

    sa.event.listen(engine(), "before_cursor_execute", change, retval=True)
    try:
        yield
    finally:
        sa.event.remove(engine(), "before_cursor_execute", change)
    assert changed, f"no statement {begins} … {old}"


def dies(scenario: Scenario) -> str:
    """Play schedules until a promise is broken; return which."""
    for seed in range(MOST):
        violation = play(seed, scenario).violation
        if violation:
            return violation
    pytest.fail(f"{MOST} schedules did not notice that the rule is missing")


CLAIM, BEGIN, SETTLE = (
    "INSERT INTO units",
    "UPDATE units SET status=?, observed_etag",
    "UPDATE units SET status=json_extract(given.value, '$[4]'), applied",
)

STATEMENTS: dict[str, tuple[str, str, str, Scenario]] = {
    "r1 claim does not mark a held row dirty": (
        CLAIM,
        "dirty = CASE WHEN (units.lease_until > excluded.updated_at) THEN 1",
        "dirty = CASE WHEN (units.lease_until > excluded.updated_at) THEN 0",
        BUSY,
    ),
    "r2 settle releases a dirty row": (SETTLE, "units.dirty = 1", "0", BUSY),
    "r3 begin and settle do not name the token": (
        "UPDATE units SET status",
        "units.lease_token = json_extract(given.value, '$[3]')",
        "(1 OR units.lease_token = json_extract(given.value, '$[3]'))",
        replace(ZOMBIES, faults=faulty(stop=1)),
    ),
    "r4 attempt is counted late": (
        BEGIN,
        "THEN ? ELSE json_extract(given.value, '$[5]') END",
        "THEN 0 * ? ELSE units.attempts + 0 * json_extract(given.value, '$[5]') END",
        KILLER,
    ),
    "r4 row is not opened before the work": (
        BEGIN,
        "open=?,",
        "open=units.open AND ?,",
        replace(DEATHS, texts="a"),
    ),
    "r8 nobody wakes rows whose deadline has passed": ("UPDATE units SET hinted_at", "LIMIT ?", "LIMIT 0 * ?", DEATHS),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_protocol_needs_its_statement(name: str) -> None:
    begins, old, new, scenario = STATEMENTS[name]
    with statement(begins, old, new):
        dies(scenario)


def read_whatever_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(self: MemoryObject) -> bytes:
        await self._store.reached("read")
        return self._store.texts.get((self._bucket, self.key), "").encode()

    monkeypatch.setattr(MemoryObject, "read", read)


def label_by_the_latest_look(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = SimHandler.apply

    async def labelled(self: SimHandler, unit: Any, objects: Any, claim: Any) -> Any:
        receipt = await apply(self, unit, objects, claim)
        return replace(receipt, fingerprint=self.store.texts.get((BUCKET, unit.name), ""))

    monkeypatch.setattr(SimHandler, "apply", labelled)


def commit_without_check(monkeypatch: pytest.MonkeyPatch) -> None:
    async def alive(_self: Ledger, tokens: Collection[str]) -> set[str]:
        return set(tokens)

    monkeypatch.setattr(Ledger, "alive", alive)


def check_then_load(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = TableCommitter._attempt

    async def early(self: Any, window: Any) -> bool:
        alive = self._context.alive
        known = await alive({entry.token for entry in window.waiting()})

        async def remembered(_tokens: Collection[str]) -> set[str]:
            return known  # type: ignore[no-any-return]  # of a context of any kind

        self._context.alive = remembered
        try:
            return await attempt(self, window)
        finally:
            self._context.alive = alive

    monkeypatch.setattr(TableCommitter, "_attempt", early)


def take_no_answer_for_success(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = SimTable.commit

    def trusting(self: SimTable, loaded: Any, plan: Any) -> int:
        try:
            return commit(self, loaded, plan)
        except ConnectionError:
            return 0

    monkeypatch.setattr(SimTable, "commit", trusting)


def trust_open_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(row: Row, head: str, **options: Any) -> Step:
        return decide(row._replace(open=False), head, **options)

    monkeypatch.setattr(reconcile, "decide", trusting)


def settle_again_whatever_landed(monkeypatch: pytest.MonkeyPatch) -> None:
    settles = Ledger._execute_settles

    def forgetful(self: Ledger, *arguments: Any, again: bool) -> Any:
        del again
        return settles(self, *arguments, again=False)

    monkeypatch.setattr(Ledger, "_execute_settles", forgetful)


def sweep_compares_held_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Units.pages

    async def comparing(self: Units, *arguments: Any) -> AsyncIterator[list[Swept]]:
        async for rows in pages(self, *arguments):
            yield [Swept._make(row)._replace(lease_token=None) for row in rows]

    monkeypatch.setattr(Units, "pages", comparing)


def ack_before_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = Worker._deliver

    async def early(self: Worker, delivery: Any) -> None:
        await delivery.ack()

        async def again() -> None:
            await asyncio.sleep(0)

        delivery.ack = again
        await deliver(self, delivery)

    monkeypatch.setattr(Worker, "_deliver", early)


def read_nothing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    enter = Gate.enter

    async def together(self: Gate, *, alone: bool) -> Pass:
        del alone
        return await enter(self, alone=False)

    monkeypatch.setattr(Gate, "enter", together)


def take_rejects_out_with_the_addition(monkeypatch: pytest.MonkeyPatch) -> None:
    add = RejectsKeeper.add

    async def both(self: RejectsKeeper, keys: Any, placed: Any) -> Any:
        superseded = await add(self, keys, placed)
        self.clear(superseded)
        return superseded

    monkeypatch.setattr(RejectsKeeper, "add", both)


def write_rejects_behind_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = RejectsOfTable.ahead
    begun = []

    async def later(self: RejectsOfTable, keys: Any, rejected: Any) -> Any:
        begun.append(asyncio.create_task(ahead(self, keys, rejected)))
        return {}

    monkeypatch.setattr(RejectsOfTable, "ahead", later)


def take_rejects_out_of_all_files(monkeypatch: pytest.MonkeyPatch) -> None:
    clear = RejectsKeeper.clear

    def everywhere(self: RejectsKeeper, superseded: Any) -> None:
        keys = frozenset().union(*superseded.values())
        clear(self, dict.fromkeys(cast(Any, self._table).state.files, keys))

    monkeypatch.setattr(RejectsKeeper, "clear", everywhere)


def charge_for_a_sink_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(_self: Sink, _began: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(Sink, "blamed", nobody)


METHODS: dict[str, tuple[Patch, Scenario]] = {
    "r5 reading ignores If-Match": (read_whatever_is_there, BUSY),
    "r5 receipt names the latest version": (label_by_the_latest_look, BUSY),
    "r6 commit does not check its claims": (commit_without_check, ZOMBIES),
    "r6 check comes before the load": (
        check_then_load,
        replace(ZOMBIES, faults=faulty(rate=0.3, budget=1, stop_at_commit=1), changes=3),
    ),
    "r7 open row counts as unchanged": (trust_open_rows, replace(DEATHS, texts="a")),
    "r9 sweep compares a held row": (
        sweep_compares_held_rows,
        replace(
            BUSY,
            faults=faulty(pause=1),
            texts="a",
            changes=2,
            seconds=4,
            lossy=0.5,
            deletes=1,
            settled_first=True,
            final_sweep=True,
        ),
    ),
    "settle whose answer was lost is repeated without a look": (
        settle_again_whatever_landed,
        replace(BUSY, faults=faulty(rate=0.2, budget=4, error_after=1), changes=3, seconds=1, settled_first=True),
    ),
    "ack comes before the claim": (ack_before_claim, replace(DEATHS, changes=1, seconds=2)),
    "objects whose holders died are read together": (read_nothing_alone, KILLER),
    "a sink that is away costs attempts": (charge_for_a_sink_that_is_away, DISTANT),
    "rejects of the old version go before its rows": (take_rejects_out_with_the_addition, DEATHS),
    "rejects come behind their rows": (write_rejects_behind_their_rows, BUSY),
    "rejects go from files that came later": (take_rejects_out_of_all_files, BUSY),
    "no answer counts as success": (
        take_no_answer_for_success,
        replace(BUSY, faults=faulty(rate=0.05, unknown_never=1)),
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_protocol_needs_its_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch, scenario = METHODS[name]
    patch(monkeypatch)
    dies(scenario)


@pytest.mark.parametrize("name", [*STATEMENTS, *METHODS])
def test_scenario_holds_with_all_rules(name: str) -> None:
    scenario = (STATEMENTS.get(name) or METHODS[name])[-1]
    for seed in range(10):
        require(seed, scenario, "pytest tests/simulation/test_mutants.py")


def test_schedule_that_fails_says_what_happened_and_how_to_play_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read_whatever_is_there(monkeypatch)
    with pytest.raises(Violation) as caught:
        all(require(seed, BUSY, "pytest tests/simulation -k busy") for seed in range(MOST))

    message = str(caught.value)
    assert " is labelled " in message
    assert "world  put t/x " in message
    assert "LAKEDROP_SIM_SEED=" in message
    assert message.endswith("pytest tests/simulation -k busy")
