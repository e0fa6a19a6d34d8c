"""What the first and the second signal do to a command."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from consumer import exits
from consumer.exits import CommandError
from consumer.settings import Settings
from consumer.signals import Signals


async def forever() -> None:
    await asyncio.Event().wait()


async def test_work_that_no_signal_stops_gives_its_result(tmp_path: Path) -> None:
    async def work() -> int:
        return 7

    assert await Signals(Settings(home=tmp_path)).unless_stopped(work()) == 7


async def test_work_that_fails_fails_as_it_is(tmp_path: Path) -> None:
    async def work() -> int:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await Signals(Settings(home=tmp_path)).unless_stopped(work())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_first_signal_stops_the_work_and_the_second_the_drain(tmp_path: Path, number: signal.Signals) -> None:
    signals = Signals(Settings(home=tmp_path))
    work = asyncio.create_task(signals.unless_stopped(forever()))
    os.kill(os.getpid(), number)
    with pytest.raises(CommandError, match="stopped by a signal") as caught:
        await work

    assert caught.value.code == exits.TEMPORARY
    assert not signals.hurry.is_set()
    os.kill(os.getpid(), number)
    await signals.hurry.wait()
