"""One request a second, for each source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from handlers.dataset_catalogue.faults import Stopped

SECONDS: Final = 1.0
"""Between the beginnings of two requests: what the sources bear without limiting us."""


class Pace:
    """
    Lets requests pass one at a time; used on one thread.

    Args:
        clock: Epoch milliseconds.
        wait: Waits so many seconds; True when the process is to end.
        seconds: Between two requests.
    """

    def __init__(self, clock: Callable[[], int], wait: Callable[[float], bool], seconds: float = SECONDS) -> None:
        self._clock = clock
        self._wait = wait
        self._milliseconds = seconds * 1000
        self._next = 0.0

    def turn(self) -> None:
        """
        Wait for the turn of the next request.

        Raises:
            Stopped: The process is to end.
        """
        now = self._clock()
        late = min(self._next - now, self._milliseconds)  # no longer than that, wherever the clock was set meanwhile
        if self._wait(max(late, 0) / 1000):
            raise Stopped
        self._next = max(now, now + late) + self._milliseconds
