"""
The handlers that come with lakedrop, by name.

Each has a module `kinds_…`; nowhere else in the consumer is one named.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from consumer import kinds_argilla, kinds_catalogue, kinds_csv, kinds_esco, kinds_silo
from consumer.routes import HandlerKind

BUILTIN: Final[Mapping[str, HandlerKind]] = {
    module.NAME: module.KIND for module in (kinds_csv, kinds_silo, kinds_esco, kinds_catalogue, kinds_argilla)
}
"""In the order of the documentation."""


def builtin_kinds() -> dict[str, HandlerKind]:
    """Return the handlers that come with lakedrop, and those of installed packages."""
    return {**BUILTIN, **{point.name: point.load() for point in entry_points(group="lakedrop.handlers")}}
