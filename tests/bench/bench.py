"""What the parts of the benchmark share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog


@dataclass(frozen=True, slots=True)
class Bench:
    """A working folder, and how much is measured."""

    folder: Path
    scale: float
    """Of the usual amounts: 1 for the page, less to see that it works."""

    def of(self, amount: int, least: int = 1) -> int:
        """Return an amount, scaled."""
        return max(least, round(amount * self.scale))


def catalog_of(home: Path) -> SqlCatalog:
    """Open the catalog of a home."""
    return SqlCatalog("lakedrop", uri=f"sqlite:///{home}/catalog.db", warehouse=f"file://{home}/warehouse")


def load(home: Path, name: str) -> Any:
    """Load a table of a home."""
    return catalog_of(home).load_table(f"lakehouse.{name}")


def at(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted figures."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def megabytes(memory: float) -> str:
    """Return a peak of memory in words."""
    return f"{memory:,.0f} MB"
