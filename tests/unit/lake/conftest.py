"""Fixtures of the lake's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from handlers.csv_to_iceberg.lake.committer import WindowLimits
from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings
from tests.unit.lake.bench import Bench, Context, Kitchen

NewBench = Callable[..., Bench]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def new_bench(tmp_path: Path) -> Iterator[NewBench]:
    """Make benches on one lake: each is a process of its own to it."""
    benches: list[Bench] = []

    def make(**settings: Any) -> Bench:
        lake = Lake(LakeSettings(home=tmp_path, **settings))
        bench = Bench(lake, Context(str(tmp_path)), Kitchen(), WindowLimits(0.0, 2000, 1 << 25))
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.context.close()
        bench.lake.close()


@pytest.fixture
def bench(new_bench: NewBench) -> Bench:
    return new_bench()
