"""Objects that take long do not keep others waiting: told by the order of events, never by the clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Home, Service

Serve = Callable[..., Service]

SMALL = "id,name\n1,anna\n2,bert\n"
QUICK = "max_commit_latency = 0.1\nwaker_seconds = 0.2\n"


@pytest.fixture
def quick(home: Home) -> Home:
    home.configure(QUICK)
    return home


def settled(service: Service) -> list[str]:
    """Return the objects that were settled so far, in that order; all of them well."""
    lines = [line for line in service.lines() if line["event"] == "delivery.settled"]
    assert {line["outcome"] for line in lines} <= {"done"}, lines
    return [line["unit"] for line in lines]


def test_a_large_file_never_delays_small_ones(quick: Home, serve: Serve) -> None:
    """Small files that come after it, of its own table and of another, are in their tables before it is."""
    service = serve()
    service.until("run.started")
    # Written in place it would be looked at in between.
    quick.drop("t/large.csv.part", "id,name\n" + "1,a name that is somewhat longer than others\n" * 3_000_000)
    (quick.bucket / "t" / "large.csv.part").rename(quick.bucket / "t" / "large.csv")
    quick.drop("t/first.csv", SMALL)
    service.until("delivery.settled", unit="t/first.csv")
    for number in range(10):
        quick.drop(f"{'t' if number % 2 else 'other'}/{number}.csv", SMALL)
    service.until("delivery.settled", unit="t/large.csv")

    assert settled(service)[-1] == "t/large.csv"
    assert len(settled(service)) == 12
    assert quick.query("select count(*) as n from lakehouse.t") == [{"n": 3_000_012}]
    assert service.end() == 0


def test_a_very_wide_file_does_not_delay_small_ones(quick: Home, serve: Serve) -> None:
    """Telling the types of hundreds of columns takes a second; files of other tables go on meanwhile."""
    names = ",".join(f"c{number}" for number in range(800))
    values = ",".join(("12", "word", "1.5", "2024-01-05")[number % 4] for number in range(800))
    service = serve()
    service.until("run.started")
    quick.drop("wide/w.csv", names + f"\n{values}" * 5 + "\n")
    for number in range(10):
        quick.drop(f"other/{number}.csv", SMALL)
    service.until("delivery.settled", unit="wide/w.csv")

    assert settled(service)[-1] == "wide/w.csv"
    assert len(settled(service)) == 11
    assert quick.query("select c0, c1, c2 from lakehouse.wide limit 1") == [{"c0": 12, "c1": "word", "c2": 1.5}]
    assert service.end() == 0
