"""
Asking another container to run SILO, by files in the folder that both share.

`run_silo` asks, with the id of the run; `silo_done` answers, with that id and how it went; `last_silo_run` stays and
tells of the last run that went well. Each appears whole, by a rename. The other side is infra/silo/kubernetes/watch.sh.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from handlers.silo_staging.paths import write

log = structlog.get_logger("silo.sentinels")

RUN: Final = "run_silo"
DONE: Final = "silo_done"
LAST: Final = "last_silo_run"

LOOK_SECONDS: Final = 1.0


class SiloFailed(RuntimeError):
    """SILO could not preprocess the data."""


class SentinelRunner:
    """
    Has SILO run by whoever watches the folder.

    Args:
        folder: Where the files are.
        timeout: Seconds that a run may take.
        clock: Epoch seconds.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        folder: Path,
        timeout: float,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run = folder / RUN
        self._done = folder / DONE
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep

    def __call__(self) -> None:
        """
        Ask for a run and wait for its end.

        Raises:
            SiloFailed: It failed; the message is the watcher's.
            TimeoutError: It did not end in time.
        """
        began = self._clock()
        number = str(int(began))
        self._done.unlink(missing_ok=True)
        write(self._run, f"run_id={number}\n".encode())
        try:
            self._wait(number, began + self._timeout)
        except BaseException:
            self._run.unlink(missing_ok=True)
            self._done.unlink(missing_ok=True)
            raise

    def _wait(self, number: str, end: float) -> None:
        while self._clock() < end:
            said = self._answer()
            if said is not None:
                self._done.unlink(missing_ok=True)
                if said.get("run_id") != number:
                    log.warning("silo.other_run_done", run_id=said.get("run_id"), waiting_for=number)
                elif said.get("status") != "success":
                    raise SiloFailed(
                        f"SILO failed: {said.get('message') or said.get('status') or 'it does not say why'}"
                    )
                else:
                    return
            self._sleep(LOOK_SECONDS)
        raise TimeoutError(
            f"SILO did not end within {self._timeout:g} s (SILO_RUN_TIMEOUT_SECONDS); does somebody watch {self._run}?"
        )

    def _answer(self) -> Mapping[str, str] | None:
        try:
            text = self._done.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return None
        pairs = (line.partition("=") for line in text.splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}
