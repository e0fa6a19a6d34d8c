"""How a process starts, stops and lets go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from consumer.app import App
from tests.apps import drop, opened
from tests.fakes import FakeHandler, Pause


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which parts are closed, in that order."""
    closed: list[str] = []
    aclose = App.aclose

    async def noting(app: App) -> None:
        for name in ("broker", "store", "ledger", "lanes"):
            _note(closed, name, getattr(app, name))
        await aclose(app)

    monkeypatch.setattr(App, "aclose", noting)
    return closed


def _note(closed: list[str], name: str, part: Any) -> None:
    aclose = part.aclose

    async def noting() -> None:
        await aclose()
        closed.append(name)

    part.aclose = noting


class Stubborn(FakeHandler):
    async def aclose(self) -> None:
        raise OSError("it does not close")


async def test_part_that_does_not_close_keeps_no_other_open(tmp_path: Path, order: list[str]) -> None:
    async with opened(tmp_path, Stubborn()):
        pass

    assert order == ["broker", "store", "ledger", "lanes"]


async def test_waker_has_ended_before_workers_put_rows_back(tmp_path: Path) -> None:
    pause = Pause()
    async with opened(tmp_path, FakeHandler(script=[pause])) as app:
        (waker,) = (task for task in app.running if task.get_name() == "waker")
        (worker,) = app._workers
        stop, seen = worker.stop, []

        async def noting(*arguments: Any, **options: Any) -> None:
            seen.append(waker.done())
            await stop(*arguments, **options)

        worker.stop = noting  # type: ignore[method-assign]  # to look at the moment
        drop(app, "x", "a")
        await app.sweeper.sweep()
        async with asyncio.timeout(60):
            await pause.reached.wait()
        await app.stop(0)

        assert seen == [True]
        ((key, forced),) = await app.ledger.wake(10)  # the next start's waker hints it at once
        assert (key.unit, forced) == ("x", False)
