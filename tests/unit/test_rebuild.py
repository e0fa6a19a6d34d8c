"""`ledger rebuild`: rows from what the sinks tell, and what a sweep would find after it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumer import rebuild as module
from consumer.protocol import Status
from consumer.rebuild import NO_TARGET, rebuild, rehearse
from handlers.contract import Failure, Receipt
from tests.apps import BUCKET, ObedientHandler, drop, opened

Told = Receipt | Failure


class Telling(ObedientHandler):
    """Tells what it was given."""

    def __init__(self, told: dict[str, list[Told]]) -> None:
        super().__init__()
        self._told = told

    async def inventory(self) -> AsyncIterator[tuple[str, str, Told]]:
        for unit, told in self._told.items():
            for one in told:
                yield BUCKET, unit, one


def receipt(version: str, target: str = "lake.t") -> Receipt:
    return Receipt(version, "1", target, {"rows": 1})


@pytest.mark.parametrize("group", [1, 2, 3, 100])
async def test_unit_with_receipt_and_failure_gets_one_row_of_both_wherever_a_group_of_rows_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr(module, "GROUP", group)
    told: dict[str, list[Told]] = {f"t/{number}": [receipt("old")] for number in range(9)}
    told["t/1"].append(Failure("new", "Broken", "cannot be read"))
    told["t/failed"] = [Failure("only", "Broken", "never could")]

    async with opened(tmp_path, Telling(told)) as app:
        found, new = await rebuild(app)
        (both,) = await app.units.find(BUCKET, "t/1")
        (good,) = await app.units.find(BUCKET, "t/8")
        (failed,) = await app.units.find(BUCKET, "t/failed")

    assert (found, new) == ({NO_TARGET: 1, "lake.t": 9}, 10)
    assert (both.status, both.observed_etag, both.applied_etag, both.error) == (
        Status.FAILED,
        "new",
        "old",
        "cannot be read",
    )
    assert (good.status, good.observed_etag, good.applied_etag) == (Status.DONE, "old", "old")
    assert (failed.status, failed.observed_etag, failed.applied_etag) == (Status.FAILED, "only", None)


async def test_progress_counts_units_by_target(tmp_path: Path) -> None:
    seen: list[tuple[dict[str, int], int]] = []
    told: dict[str, list[Told]] = {"t/a": [receipt("v")], "u/b": [receipt("v", "lake.u")]}

    async with opened(tmp_path, Telling(told)) as app:
        await rebuild(app, progress=lambda found, new: seen.append((dict(found), new)))

    assert seen[-1] == ({"lake.t": 1, "lake.u": 1}, 2)


async def test_rows_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    async with opened(tmp_path, Telling({"a": [receipt("v")]})) as app:
        assert (await rebuild(app))[1] == 1
        assert (await rebuild(app))[1] == 0


async def test_rehearsal_finds_what_a_sweep_would_and_leaves_no_trace(tmp_path: Path) -> None:
    handler = Telling({"gone": [receipt("v")]})
    async with opened(tmp_path, handler) as app:
        drop(app, "new", "x")
        await rebuild(app)

        report = await rehearse(app)
        await app.worked_off()

        assert (report.new, report.vanished) == (1, 1)
        assert handler.claims == []
        assert await app.sweeps.last() is None
