"""What a person sees while units are worked on."""

import io

import pytest
from rich.console import Console

from consumer.held import Settled
from consumer.live import LINES_A_SECOND, LiveLines
from consumer.protocol import Row, Status, Step
from consumer.settings import Settings
from consumer.workitem import Hint, UnitKey
from handlers.contract import ABSENT, Receipt


def settled(
    unit: str,
    status: Status = Status.DONE,
    *,
    receipt: Receipt | None = None,
    error: str | None = None,
    step: Step = Step.BEGIN,
    wake_at: int | None = None,
) -> Settled:
    key = UnitKey("fake", "drop", unit)
    row = Row(
        key=key,
        status=status,
        applied_etag=None,
        receipt=receipt,
        observed_etag=None,
        open=False,
        attempts=0,
        dirty=False,
        force=False,
        lease_token=None,
        lease_until=None,
        wake_at=wake_at,
        suspect_until=None,
        error_class=None,
        error=error,
        size=None,
        modified=None,
        handler_version=None,
        updated_at=None,
        db_now=0,
    )
    return Settled(
        key, status, step.value, row, receipt, error, 0.5, Hint(key, "changed", "event", "id", 0), record=False
    )


def receipt(**counts: int) -> Receipt:
    return Receipt("v", "1", "lake.t", counts)


class Screen:
    def __init__(self) -> None:
        self._out = io.StringIO()
        self.lines = LiveLines(Console(file=self._out, width=200), Settings())

    def text(self) -> str:
        self.lines.flush()
        return self._out.getvalue()


@pytest.mark.parametrize(
    ("unit", "line"),
    [
        (
            settled("a.csv", receipt=receipt(rows=1204, rejected=3, rescued=1)),
            "✓ a.csv → lake.t  1,204 rows  3 rejected  1 rescued  0.5 s",
        ),
        (settled("a.csv", receipt=receipt(rows=1, rejected=0, rescued=0)), "✓ a.csv → lake.t  1 row  0.5 s"),
        (
            settled("a.csv", receipt=Receipt(ABSENT, "1", "lake.t", {"rows": 0})),
            "✓ a.csv → lake.t  removed with its rows  0.5 s",
        ),
        (settled("a.csv", step=Step.KEEP), "✓ a.csv  is gone; its rows stay, as the route says"),
        (settled("a.csv", Status.FAILED, error="no header"), "✗ a.csv  failed: no header"),
        (settled("a.csv", Status.SKIPPED, error="no folder"), "- a.csv  skipped: no folder"),
        (
            settled("a.csv", Status.RETRYING, error="catalog away", wake_at=5000),
            "↻ a.csv  again in 5.0 s: catalog away",
        ),
        (settled("a.csv", Status.PENDING), "· a.csv  put back"),
        (settled("a\n\x1b[31m.csv", Status.SKIPPED, error="x\ny"), "- a\\n\\x1b[31m.csv  skipped: x\\ny"),
        (settled("[red]a.csv", receipt=receipt(rows=1)), "✓ [red]a.csv → lake.t  1 row  0.5 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_unit_is_one_line(unit: Settled, line: str) -> None:
    screen = Screen()

    screen.lines.settled(unit)

    assert screen.text().splitlines()[0] == line


@pytest.mark.parametrize("step", [Step.UNCHANGED, Step.STILL_FAILED, Step.NOT_YET])
async def test_unit_found_as_it_was_is_not_shown(step: Step) -> None:
    screen = Screen()

    screen.lines.settled(settled("a.csv", step=step))

    assert screen.text() == ""


async def test_failure_comes_with_the_command_that_tells_more() -> None:
    screen = Screen()

    screen.lines.settled(settled("a b.csv", Status.FAILED, error="no header"))

    assert screen.text().splitlines()[1] == "  lakedrop why 'drop/a b.csv'"


async def test_burst_is_summed_up_but_its_failures_are_shown() -> None:
    screen = Screen()

    for number in range(LINES_A_SECOND + 980):
        screen.lines.settled(settled(f"{number}.csv", receipt=receipt(rows=1)))
    screen.lines.settled(settled("bad.csv", Status.FAILED, error="no header"))

    lines = screen.text().splitlines()
    assert "  … and 980 more done  lake.t" in lines
    assert "✗ bad.csv  failed: no header" in lines
    assert len(lines) == LINES_A_SECOND + 3
