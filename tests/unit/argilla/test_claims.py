"""Whoever lost its claim, or is stopped, writes no more and leaves nothing untold."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import pytest

from handlers.argilla_records.database import Database
from handlers.contract import ClaimLost, OutcomeUnknown, SinkAway
from tests.argilla import record, shown
from tests.fake_argilla import Fault
from tests.unit.argilla.bench import Bench

SPAN = (0, 2, "VESSEL")
BULK = r"datasets/[^/]+/records/bulk"
ROWS = [record(f"D:{number}", "FV Ocean", SPAN) for number in range(7)]


async def test_a_call_is_not_repeated_when_the_claim_is_lost(bench: Bench) -> None:
    fault = Fault("PUT", BULK, status=500, body={"detail": "broken"}, times=9)
    bench.fake.faults.append(fault)
    send = bench.handler._api.send

    async def lost_meanwhile(method: str, path: str, **more: Any) -> Any:
        if path.endswith("/bulk"):
            bench.context.lost.add("zombie")
        return await send(method, path, **more)

    bench.handler._api.send = lost_meanwhile  # type: ignore[method-assign]
    with pytest.raises(ClaimLost):
        await bench.apply(ROWS, token="zombie")

    assert fault.fired == 1


async def test_who_lost_its_claim_after_the_last_call_does_not_log_its_version(bench: Bench) -> None:
    send = bench.handler._api.send

    async def lost_at_the_end(method: str, path: str, **more: Any) -> Any:
        found = await send(method, path, **more)
        if path.endswith("/bulk"):
            bench.context.lost.add("zombie")
        return found

    bench.handler._api.send = lost_at_the_end  # type: ignore[method-assign]
    with pytest.raises(ClaimLost):
        await bench.apply(ROWS, token="zombie")

    assert bench.logged()[0]["status"] == "ingesting"


async def test_who_is_stopped_before_a_call_is_repeated_has_said_which_records_may_lack_the_index(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.apply(ROWS)
    fault = Fault("PUT", BULK, status=500, body={"detail": "broken"}, stored=True)
    bench.fake.faults.append(fault)
    rows = [record("D:0", "FV Ocean", SPAN, page_num=9), *ROWS[1:]]

    async def stopped(seconds: float) -> None:
        raise asyncio.CancelledError(seconds)

    with monkeypatch.context() as patch:
        patch.setattr("handlers.argilla_records.sending.asyncio.sleep", stopped)
        with pytest.raises(asyncio.CancelledError):
            await bench.apply(rows)
    assert fault.fired == 1
    bench.asked()

    await bench.apply(rows)

    dataset = bench.fake.dataset("vessels").about["id"]
    assert bench.asked() == [f"PUT datasets/{dataset}/records/bulk 1"]  # though the database has it already


async def test_a_removal_goes_no_further_when_the_claim_is_lost(bench: Bench) -> None:
    await bench.apply([record(f"D:{number}", "FV Ocean", SPAN) for number in range(150)])
    send = bench.handler._api.send

    async def lost_after_the_first(method: str, path: str, **more: Any) -> Any:
        found = await send(method, path, **more)
        if method == "DELETE":
            bench.context.lost.add("zombie")
        return found

    bench.handler._api.send = lost_after_the_first  # type: ignore[method-assign]
    with pytest.raises(ClaimLost):
        await bench.apply(None, on_delete="remove", token="zombie")

    assert len(shown(bench.fake)["vessels"]) == 50
    assert len(bench.logged()) == 1


async def test_a_repetition_that_meets_no_server_waits_for_it_alone(bench: Bench) -> None:
    fault = Fault("PUT", BULK, status=500, body={"detail": "broken"})
    bench.fake.faults.append(fault)
    send = bench.handler._api.send

    async def away_after_the_first(method: str, path: str, **more: Any) -> Any:
        if path.endswith("/bulk") and fault.fired:
            raise SinkAway("nobody there")
        return await send(method, path, **more)

    bench.handler._api.send = away_after_the_first  # type: ignore[method-assign]
    with pytest.raises(SinkAway, match="nobody there"):  # nothing is under way: the first one was answered
        await bench.apply(ROWS)

    assert fault.fired == 1


@pytest.mark.parametrize("writes", range(1, 8))
async def test_nothing_more_is_made_of_a_dataset_when_the_claim_is_lost(bench: Bench, writes: int) -> None:
    send = bench.handler._api.send
    written: list[str] = []

    async def lost_after_some(method: str, path: str, **more: Any) -> Any:
        found = await send(method, path, **more)
        if method != "GET":
            written.append(path)
            if len(written) == writes:
                bench.context.lost.add("zombie")
        return found

    bench.handler._api.send = lost_after_some  # type: ignore[method-assign]
    with pytest.raises(ClaimLost):
        await bench.apply(ROWS, token="zombie")

    assert len(written) == writes  # of workspace, dataset, field, question and three of metadata


async def test_who_lost_its_claim_before_it_began_leaves_the_log_alone(bench: Bench) -> None:
    bench.context.lost.add("zombie")

    with pytest.raises(ClaimLost):
        await bench.apply(ROWS, token="zombie")

    assert bench.logged() == []


async def test_who_lost_its_claim_while_a_dataset_was_deleted_leaves_the_log_alone(bench: Bench) -> None:
    await bench.apply(ROWS)
    send = bench.handler._api.send

    async def lost_meanwhile(method: str, path: str, **more: Any) -> Any:
        found = await send(method, path, **more)
        if method == "DELETE" and path.count("/") == 1:
            bench.context.lost.add("zombie")
        return found

    bench.handler._api.send = lost_meanwhile  # type: ignore[method-assign]
    with pytest.raises(ClaimLost):
        await bench.apply(None, on_delete="remove", token="zombie")

    assert bench.fake.datasets == {}
    assert len(bench.logged()) == 1


async def test_a_worker_that_dies_with_the_server_in_an_update_leaves_no_old_index(bench: Bench) -> None:
    await bench.apply(ROWS)
    send = bench.handler._api.send
    rows = [record("D:0", "FV Ocean", SPAN, page_num=9), *ROWS[1:]]

    async def both_die(method: str, path: str, **more: Any) -> Any:
        if not path.endswith("/bulk"):
            return await send(method, path, **more)
        bench.fake.engine.state = "down"  # so that it is stored and not indexed
        with pytest.raises(OutcomeUnknown):
            await send(method, path, **more)
        raise asyncio.CancelledError

    bench.handler._api.send = both_die  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await bench.apply(rows)
    bench.handler._api.send = send  # type: ignore[method-assign]
    bench.fake.engine.state = "up"
    bench.asked()

    await bench.apply(rows)

    dataset = bench.fake.dataset("vessels").about["id"]
    assert bench.asked() == [f"PUT datasets/{dataset}/records/bulk 1"]  # though the database has it already


async def test_only_the_records_of_calls_under_way_are_doubtful(bench: Bench) -> None:
    rows = [record(f"D:{number}", "FV Ocean", SPAN) for number in range(1001)]
    await bench.apply(rows)
    send = bench.handler._api.send
    calls: list[str] = []

    async def killed_in_the_third(method: str, path: str, **more: Any) -> Any:
        if path.endswith("/bulk"):
            calls.append(path)
        if len(calls) == 3:
            raise asyncio.CancelledError
        return await send(method, path, **more)

    bench.handler._api.send = killed_in_the_third  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await bench.apply([{**row, "page_num": 2000} for row in rows])

    with closing(Database(bench.settings)) as database, database.transaction() as db:
        assert db.execute("SELECT external_id FROM argilla_doubts").fetchall() == [("D:1000",)]
