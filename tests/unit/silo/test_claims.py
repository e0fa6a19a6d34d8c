"""A handler whose claim ends while it works: somebody else has the organism then."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from handlers.contract import Claim, ClaimLost, Unit
from handlers.silo_staging.dropped import Dropped
from handlers.silo_staging.handler import Place, SiloStaging
from handlers.silo_staging.notes import Notes
from handlers.silo_staging.options import Options
from tests.objects import BytesObject
from tests.silo_backend import packed, record
from tests.unit.lake.memory_table import InlineContext

SILO = """#!/bin/sh
mkdir "$SILO_OUTPUT_DIRECTORY/1"
"""


RELEASE = BytesObject("silo/in/ebola/a.ndjson.zst", packed([record("LOC_1.1")]))


class Losing(InlineContext):
    """A context whose claims are lost once they were asked for some times."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self._left = asked

    async def alive(self, tokens: Collection[str]) -> set[str]:
        self._left -= 1
        return set(tokens) if self._left >= 0 else set()


async def applied(root: Path, asked: int) -> None:
    """Apply a release with a claim that is lost when it was asked for so often."""
    program = root / "program"
    program.write_text(SILO)
    program.chmod(0o755)
    options = Options(root=root, coordination="direct", silo=program)
    handler = SiloStaging({"silo": Place("genomes", "silo/in/", options)}, Losing(asked))
    unit = Unit("genomes", "silo/in/ebola/", "silo", "silo/in/", options)
    await handler.apply(unit, [RELEASE], Claim("token", "f", None))


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        pytest.param(0, {"ebola"}, id="while it is copied"),
        pytest.param(1, {"ebola", "input", "output", "preprocessing"}, id="while it is staged"),
        pytest.param(2, {"ebola", "input", "output", "preprocessing", "1"}, id="while SILO runs"),
    ],
)
async def test_a_claim_that_ends_meanwhile_leaves_no_receipt(tmp_path: Path, asked: int, left: set[str]) -> None:
    with pytest.raises(ClaimLost):
        await applied(tmp_path, asked)

    assert list(Notes(tmp_path).all()) == []
    folders = {path.name for path in tmp_path.rglob("*") if path.is_dir() and path.parent.name != "input"}
    assert folders == left


async def test_a_claim_that_holds_leaves_its_receipt(tmp_path: Path) -> None:
    await applied(tmp_path, asked=3)

    ((_, unit, _),) = Notes(tmp_path).all()
    assert unit == "silo/in/ebola/"


async def test_a_later_holder_s_copies_are_its_own(tmp_path: Path) -> None:
    place, context = tmp_path / "dropped", InlineContext()
    late, later = (Dropped(place, Claim(token, token, None)) for token in ("late", "later"))
    await late.copy([RELEASE], context, "silo")
    await later.copy([RELEASE], context, "silo")

    late.remove()

    assert [path.name for path in place.iterdir()] == ["later"]
    later.download(tmp_path / "data")
    assert (tmp_path / "data").read_bytes() == packed([record("LOC_1.1")])
    later.remove()
    assert not place.exists()
