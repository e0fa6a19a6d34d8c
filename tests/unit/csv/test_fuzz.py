"""A short, repeatable part of `make fuzz`, without its guide; and what that stands on."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.findings import examined, minimised, name_of
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import SEEDS

MUTATIONS = 400
LONGEST = 2048


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hard_file_breaks_no_rule(seed: bytes) -> None:
    error = examined(seed)

    assert error is None, f"{seed!r}: {error}"


@pytest.mark.slow
def test_mutations_of_hard_files_break_no_rule() -> None:
    chance = random.Random(1)  # noqa: S311 - not for secrets
    pool = list(SEEDS)
    for _ in range(MUTATIONS):
        pool.append(mutated(chance.choice(pool), LONGEST, chance.getrandbits(32)))

        error = examined(pool[-1])

        assert error is None, f"{name_of(error)}: {pool[-1]!r}: {error}"


def test_a_finding_is_made_as_small_as_it_will_go() -> None:
    assert minimised(b"abc,def\n1,x\0y\n", lambda data: b"x" in data and b"," in data) == b",x"


def test_fuzzing_that_cannot_begin_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    code = fuzz(tmp_path, seconds=600, seed=1)

    assert code == 1
    told = capsys.readouterr().out
    assert "Fuzzing did not begin" in told
    assert "1 crashes or hangs" in told
