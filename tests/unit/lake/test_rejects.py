"""`_ingest_rejects`: the records of the version a table shows are there, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException

from handlers.contract import ClaimLost, TransientError
from handlers.csv_to_iceberg.lake import rejects_keeper
from tests.unit.lake.test_handler import Service, opened

REJECTS = "lakehouse._ingest_rejects"

CLEAN = b"id,name\n1,x\n2,y\n"
RAGGED = b"id,name\n1,x\nonly one\n2,y\n3,z,too many\n"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    with opened(tmp_path) as made:
        yield made
        await made.handler.aclose()


async def kept(service: Service) -> list[tuple[str, str, int]]:
    """Key, version and record of all that is kept, once what was superseded is out."""
    for keeper in service.handler._keepers.values():
        await keeper.aclose()
        keeper._closing = False
    return sorted(there(service))


def there(service: Service) -> list[tuple[Any, ...]]:
    """The same, as any reader sees it at this moment."""
    if service.handler._lake.load(REJECTS) is None:
        return []
    return service.sql(f"select file_key, etag, record from {REJECTS}")  # a constant


def snapshots(service: Service) -> int:
    table = service.handler._lake.load(REJECTS)
    return 0 if table is None else len(table.metadata.snapshots)


class Died(BaseException):
    """The process ended here."""


def at_commit(monkeypatch: pytest.MonkeyPatch, service: Service, table: str, act: Callable[[int], None]) -> None:
    """Call `act` with the number of the commit before each commit of one table."""
    catalog = service.handler._lake.catalog
    real, seen = catalog.commit_table, 0

    def commit(found: Any, *rest: Any) -> Any:
        nonlocal seen
        if ".".join(found.name()) == table:
            seen += 1
            act(seen)
        return real(found, *rest)

    monkeypatch.setattr(catalog, "commit_table", commit)


def failing(error: type[Exception], *, times: int) -> Callable[[int], None]:
    def act(number: int) -> None:
        if number <= times:
            raise error("as the test says")

    return act


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("filler", [b"", b"4,plain\n" * 500])
async def test_rejected_records_are_kept_whole(service: Service, alone: bool, filler: bytes) -> None:
    receipt = await service.put("t/a.csv", RAGGED + filler, alone=alone)

    assert receipt.counts["rejected"] == 2
    (first, second) = service.sql(f"select * exclude rejected_at from {REJECTS} order by record")
    assert first == ("t/a.csv", "e1", "t", 2, 3, "only one", "1 cell, the file has 2 columns", "b")
    assert second == ("t/a.csv", "e1", "t", 4, 5, "3,z,too many", "3 cells, the file has 2 columns", "b")


@pytest.mark.parametrize("lines", [30, 300])  # cooked and streamed
async def test_the_cap_keeps_the_first_records_and_the_counts_stay_exact(service: Service, lines: int) -> None:
    data = b"id,name\n" + b"1,x\n" * lines + b"lonely\n" * lines * 2
    receipt = await service.put("t/a.csv", data, max_rejects=25)

    assert receipt.counts == {"records": 3 * lines, "rows": lines, "rejected": 2 * lines, "rescued": 0}
    assert [record for _, _, record in await kept(service)] == list(range(lines + 1, lines + 26))
    assert len(receipt.detail["rejects"]) == 20


async def test_nothing_is_kept_without_a_place_for_it(service: Service) -> None:
    receipt = await service.put("t/a.csv", RAGGED, max_rejects=0)

    assert receipt.counts["rejected"] == 2
    assert len(receipt.detail["rejects"]) == 2
    assert await kept(service) == []


async def test_the_text_of_a_record_is_cut_at_a_kilobyte(service: Service) -> None:
    await service.put("t/a.csv", b"id,name\n1,x\n" + "ö".encode() * 900 + b"\n")

    assert service.sql(f"select text from {REJECTS}") == [("ö" * 500,)]


async def test_windows_without_rejects_commit_nothing(service: Service) -> None:
    await service.put("t/a.csv", CLEAN)
    await service.put("t/a.csv", CLEAN, "e2")
    assert snapshots(service) == 0
    await service.put("t/b.csv", RAGGED)
    await service.put("t/a.csv", CLEAN, "e3")

    await kept(service)
    assert snapshots(service) == 1


async def test_a_replaced_file_has_the_rejects_of_its_new_version(service: Service) -> None:
    await service.put("t/a.csv", RAGGED)
    await service.put("t/b.csv", RAGGED)
    await service.put("t/a.csv", b"id,name\n1,x\n2,y\nbad\n", "e2")

    assert await kept(service) == [("t/a.csv", "e2", 3), ("t/b.csv", "e1", 2), ("t/b.csv", "e1", 4)]


async def test_a_file_without_rejects_now_has_none_left(service: Service) -> None:
    await service.put("t/a.csv", RAGGED)
    await service.put("t/b.csv", RAGGED)
    await service.put("t/a.csv", CLEAN, "e2")

    assert await kept(service) == [("t/b.csv", "e1", 2), ("t/b.csv", "e1", 4)]


async def test_rejects_of_an_earlier_process_are_found_again(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        await first.put("t/a.csv", RAGGED)
        await first.handler.aclose()
    with opened(tmp_path) as second:
        await second.put("t/a.csv", CLEAN, "e2")
        assert await kept(second) == []
        await second.handler.aclose()


async def test_a_removed_file_leaves_no_rejects(service: Service) -> None:
    await service.put("t/a.csv", RAGGED)
    await service.gone("t/a.csv", "remove")

    assert await kept(service) == []


async def test_a_kept_file_keeps_its_rejects(service: Service) -> None:
    await service.put("t/a.csv", RAGGED)
    await service.gone("t/a.csv", "keep")

    assert len(await kept(service)) == 2


async def test_a_version_that_fails_leaves_the_rejects_of_the_last_good_one(service: Service) -> None:
    await service.put("t/a.csv", RAGGED)
    with pytest.raises(Exception, match="empty"):
        await service.put("t/a.csv", b"", "e2")

    assert [etag for _, etag, _ in await kept(service)] == ["e1", "e1"]


async def test_the_same_version_done_again_has_its_rejects_once(service: Service) -> None:
    await service.put("t/a.csv", RAGGED)
    await service.put("t/a.csv", RAGGED)

    assert await kept(service) == [("t/a.csv", "e1", 2), ("t/a.csv", "e1", 4)]


async def test_many_files_of_several_tables_share_commits(tmp_path: Path) -> None:
    with opened(tmp_path) as service:
        await asyncio.gather(*(service.put(f"t{n % 3}/{n}.csv", RAGGED) for n in range(60)))
        assert len(await kept(service)) == 120
        assert snapshots(service) <= 4
        await service.handler.aclose()


# Kills: between any two steps, the records of the version that the table shows are there.


async def test_a_death_before_the_rows_are_committed_leaves_the_old_version_with_its_rejects(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.put("t/a.csv", RAGGED)
    at_commit(monkeypatch, service, "lakehouse.t", failing(CommitFailedException, times=1))
    service.context.on_check = lambda: service.context.dead.add("second") if there_is(service, "e2") else None
    with pytest.raises(ClaimLost):
        await service.put("t/a.csv", b"id,name\n9,x\nbad\n", "e2", claim="second")

    assert service.sql("select distinct _source_etag from t") == [("e1",)]
    assert sorted(there(service))[:2] == [("t/a.csv", "e1", 2), ("t/a.csv", "e1", 4)]
    # Whoever comes next takes the traces of the dead holder out.
    service.context.on_check = lambda: None
    await service.put("t/a.csv", CLEAN, "e3")
    assert await kept(service) == []


def there_is(service: Service, etag: str) -> bool:
    return any(found == etag for _, found, _ in there(service))


async def test_a_death_before_the_rejects_are_committed_changes_nothing(service: Service) -> None:
    await service.put("t/a.csv", RAGGED)
    service.context.dead.add("second")
    with pytest.raises(ClaimLost):
        await service.put("t/a.csv", b"id,name\n9,x\nbad\n", "e2", claim="second")

    assert sorted(there(service)) == [("t/a.csv", "e1", 2), ("t/a.csv", "e1", 4)]


async def test_a_death_after_the_rows_are_committed_leaves_both_versions_told_apart(tmp_path: Path) -> None:
    with opened(tmp_path) as dying:
        await dying.put("t/a.csv", RAGGED)
        keeper = dying.handler._keepers["lakehouse"]
        keeper.clear = lambda _superseded: None  # type: ignore[method-assign, assignment]  # dies before it
        await dying.put("t/a.csv", b"id,name\n9,x\nbad\n", "e2")
    with opened(tmp_path) as heir:
        assert {etag for _, etag, _ in there(heir)} == {"e1", "e2"}
        await heir.put("t/a.csv", b"id,name\n9,x\nbad\n", "e2")
        assert await kept(heir) == [("t/a.csv", "e2", 2)]
        await heir.handler.aclose()


@pytest.mark.parametrize("landed", [True, False])
async def test_an_unknown_outcome_does_not_double_rejects(
    service: Service, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    await service.put("t/a.csv", RAGGED)
    catalog = service.handler._lake.catalog
    real, lost = catalog.commit_table, [True]

    def commit(found: Any, *rest: Any) -> Any:
        if found.name()[-1] == "_ingest_rejects" and lost:
            lost.clear()
            if landed:
                real(found, *rest)
            raise CommitStateUnknownException("reset")
        return real(found, *rest)

    monkeypatch.setattr(catalog, "commit_table", commit)
    await service.put("t/a.csv", b"id,name\n9,x\nbad\n", "e2")

    assert await kept(service) == [("t/a.csv", "e2", 2)]


async def test_a_holder_that_slept_past_its_lease_takes_nothing_of_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as sleeper, opened(tmp_path) as heir:
        await sleeper.put("t/a.csv", RAGGED)
        asleep, awake = asyncio.Event(), asyncio.Event()
        real = sleeper.context.alive

        async def alive(tokens: Any) -> set[str]:
            answer = await real(tokens)
            if "slow" in tokens:
                asleep.set()
                await awake.wait()
            return answer

        monkeypatch.setattr(sleeper.context, "alive", alive)
        sleeping = asyncio.create_task(sleeper.put("t/a.csv", b"id,name\n8,x\nbad\nbad\n", "e2", claim="slow"))
        await asleep.wait()
        sleeper.context.dead.add("slow")
        await heir.put("t/a.csv", b"id,name\n7,x\n6,x\nworse\n", "e3")
        found = await kept(heir)
        awake.set()
        with pytest.raises(ClaimLost):
            await sleeping

        assert found == [("t/a.csv", "e3", 3)]
        assert heir.sql("select distinct _source_etag from t") == [("e3",)]
        assert [row for row in await kept(sleeper) if row[1] == "e3"] == [("t/a.csv", "e3", 3)]
        for one in (sleeper, heir):
            await one.handler.aclose()


async def test_files_wait_when_their_rejects_cannot_be_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejects_keeper, "MAX_TRIES", 2)
    at_commit(monkeypatch, service, REJECTS, failing(OSError, times=99))
    clean = asyncio.create_task(service.put("t/clean.csv", CLEAN))
    with pytest.raises(TransientError, match="rejected records could not be kept"):
        await service.put("t/a.csv", RAGGED)

    assert (await clean).counts["rows"] == 2
    assert service.sql("select distinct _source_file from t") == [("t/clean.csv",)]


async def test_a_table_of_somebody_else_under_that_name_is_left_alone(service: Service) -> None:
    service.handler._lake.catalog.create_namespace("lakehouse")
    service.handler._lake.catalog.create_table(REJECTS, pa.schema([("file_key", pa.string())]))
    receipt = await service.put("t/a.csv", RAGGED)

    assert receipt.counts["rows"] == 2
    assert any("rejected records are not kept" in warning for warning in receipt.detail["warnings"])
    assert service.sql(f"select count(*) from {REJECTS}") == [(0,)]


async def test_commits_are_spaced_but_the_first_is_not_held_up(tmp_path: Path) -> None:
    with opened(tmp_path) as service:
        loop = asyncio.get_running_loop()
        await service.put("t/a.csv", RAGGED)
        keeper = service.handler._keepers["lakehouse"]
        keeper._seconds = 3600.0
        keeper._committed = loop.time() - 3601
        await asyncio.wait_for(service.put("t/b.csv", RAGGED), 60)
        assert keeper._delay() > 3000
        await service.handler.aclose()
