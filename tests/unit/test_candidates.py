"""Units that a replay chose keep their order, however many there are, and take no memory for it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import candidates as module
from consumer.candidates import Candidate, Candidates
from consumer.workitem import UnitKey


def candidate(unit: str, modified: int = 0) -> Candidate:
    return Candidate(UnitKey("h", "b", unit), "again", modified, 1)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUN", 3)
    monkeypatch.setattr(module, "PIECE", 7)


@pytest.mark.usefixtures("_small")
@given(st.lists(st.tuples(st.text(max_size=4), st.integers(0, 5))), st.booleans())
def test_all_come_back_in_order_as_often_as_one_likes(found: list[tuple[str, int]], newest_first: bool) -> None:
    given_ones = [candidate(unit, modified) for unit, modified in found]
    expected = sorted(given_ones, key=lambda one: (-one.modified, one.key)) if newest_first else given_ones

    with Candidates(newest_first=newest_first) as kept:
        for one in given_ones:
            kept.add(one)
        first = list(islice(kept, 2))

        assert first == expected[:2]
        assert list(kept) == expected
        assert len(kept) == kept.counts["again"] == len(expected)


def test_two_who_read_at_once_disturb_each_other_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUN", 300)
    with Candidates() as kept:
        for number in range(1000):
            kept.add(candidate(f"u{number}"))
        pairs: Iterator[tuple[Candidate, Candidate]] = zip(kept, kept, strict=True)

        assert all(one == other for one, other in pairs)


@pytest.mark.parametrize("newest_first", [False, True])
def test_memory_does_not_grow_with_their_number(newest_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUN", 250)

    def peak(number: int) -> int:
        tracemalloc.start()
        with Candidates(newest_first=newest_first) as kept:
            for at in range(number):
                kept.add(candidate(f"orders/2026/part-{at:09}.csv", at * 2_654_435_761 % 1_000_003))
            assert sum(1 for _ in kept) == number
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    # Whatever else the process does meanwhile, such as collecting what tests before this one left, only adds to it.
    few, many = (min(peak(number) for _ in range(3)) for number in (1_000, 4_000))

    # Of each of the twelve runs more a piece is read at a time, and cut into lines.
    assert many - few < (12 * 3 * module.PIECE if newest_first else module.PIECE), (few, many)
