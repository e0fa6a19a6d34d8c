"""What a process offers to its handlers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

from consumer.lanes import Lanes
from consumer.ledger import Ledger


class Context:
    """See `HandlerContext` of the contract."""

    def __init__(self, home: Path, lanes: Lanes, ledger: Ledger) -> None:
        self.home = str(home)
        self.run = lanes.run
        self.alive: Callable[[Collection[str]], Coroutine[Any, Any, set[str]]] = ledger.alive
        self.clock = ledger.clock
        self.new_id = ledger.new_id
