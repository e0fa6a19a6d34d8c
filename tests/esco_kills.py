"""
An `esco-init` that is killed or stopped in a step of its ingestion: `python -m tests.esco_kills STEP SIGNAL`.

It does so itself when Weaviate has answered the second request of that step: neither before the step nor after it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from consumer.cli_esco_init import main
from handlers.esco_index import ingestion
from handlers.esco_index.index import Index
from handlers.esco_index.rest import Rest
from handlers.esco_index.schema import METADATA

Request = Callable[..., Coroutine[Any, Any, Any]]


class Killer:
    """Knows the step, and counts its requests."""

    def __init__(self, wanted: str, number: signal.Signals) -> None:
        self._wanted = wanted
        self._signal = number
        self._step = ""
        self._answered = 0

    def watch(self) -> None:
        """Have all that asks for objects, writes or removes them, counted."""
        tell = Index.tell

        async def told(index: Index, place: Any, uuid: str, properties: Any) -> None:
            await tell(index, place, uuid, properties)
            if properties["metaType"] == "ingestion_status":
                self._step = json.loads(properties["details"]).get("step", "")

        Index.tell = told  # type: ignore[assignment,method-assign]
        Index.insert = self._counted(Index.insert, 0)  # type: ignore[method-assign]
        Index.remove = self._counted(Index.remove, 0)  # type: ignore[method-assign]
        Rest.call = self._counted(Rest.call, 1)  # type: ignore[method-assign]

    def _counted(self, request: Request, at: int) -> Request:
        """Return a request that is counted, unless its argument of this number says that it is not about objects."""

        async def counted(*arguments: Any, **named: Any) -> Any:
            answer = await request(*arguments, **named)
            if self._step == self._wanted and arguments[at + 1] not in (METADATA, "schema"):
                self._answered += 1
                if self._answered == 2:
                    os.kill(os.getpid(), self._signal)
            return answer

        return counted


if __name__ == "__main__":
    # A small release has several requests then.
    ingestion.BATCH = 5  # type: ignore[misc]
    ingestion.MOST_REMOVED = 2  # type: ignore[attr-defined]
    Killer(sys.argv[1], signal.Signals[sys.argv[2]]).watch()
    sys.exit(main([]))
