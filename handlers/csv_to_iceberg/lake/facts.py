"""
What is known about files that never change: a bounded memory, least recently used first out.

Iceberg's data files, delete files and manifests are immutable and their names are unique, so whatever was read from one
stays true. Which of them are live is never remembered: that comes from the metadata being committed against.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Facts(Generic[K, V]):
    """Values by key, with a total weight (bytes, entries, ...) that is kept below `capacity`. For one thread."""

    def __init__(self, capacity: int, weight: Callable[[V], int]) -> None:
        self._capacity = capacity
        self._weight = weight
        self._total = 0
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value, None when it is not (or no longer) known."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> V:
        """Remember a value and return it."""
        self.drop(key)
        self._values[key] = value
        self._total += self._weight(value)
        while self._total > self._capacity and len(self._values) > 1:
            self._total -= self._weight(self._values.popitem(last=False)[1])
        return value

    def drop(self, key: K) -> None:
        """Forget one value, if it is known."""
        value = self._values.pop(key, None)
        if value is not None:
            self._total -= self._weight(value)
