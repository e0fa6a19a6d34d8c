"""The folder of an organism as one release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zstandard

from handlers.contract import Claim
from handlers.silo_staging.dropped import Dropped
from handlers.silo_staging.transform import Unreadable, transform
from tests.objects import BytesObject
from tests.silo_backend import packed, record
from tests.unit.lake.memory_table import InlineContext


async def released(folder: Path, *contents: bytes) -> Path:
    """Return what is handed over of some releases."""
    dropped = Dropped(folder / "dropped", Claim("token", "f", None))
    objects = [BytesObject(f"silo/in/ebola/{number}.ndjson.zst", content) for number, content in enumerate(contents)]
    await dropped.copy(objects, InlineContext(), "silo")
    dropped.download(folder / "data")
    return folder / "data"


async def test_a_release_without_an_end_of_its_last_line_does_not_run_into_the_next(tmp_path: Path) -> None:
    without = zstandard.compress(json.dumps(record("LOC_1.1")).encode())
    data = await released(tmp_path, without, packed([record("LOC_2.1")]), without)

    assert transform(data, tmp_path / "made").records == 3


@pytest.mark.parametrize("cut", [1, 5, 20])
async def test_a_release_that_is_cut_short_before_another_is_damaged(tmp_path: Path, cut: int) -> None:
    whole = packed([record("LOC_1.1")])
    data = await released(tmp_path, whole[:-cut], whole)

    with pytest.raises(Unreadable):
        transform(data, tmp_path / "made")
