"""Where a release goes by the options of its route."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from handlers.contract import PermanentError, Skip, TransientError, Unit
from handlers.esco_index.options import Options
from handlers.esco_index.release import Name
from handlers.esco_index.schema import METADATA, Place, prefix_of
from handlers.esco_index.state import State

MODULE: Final = "text2vec-transformers"
"""Weaviate's module that makes vectors where the options name no other."""

BUSY_SECONDS: Final = 30.0
"""Until a release is tried again that has to wait for another one."""


class Busy(TransientError):
    """Another release is being brought into the same classes."""


def place_of(options: Options, name: Name) -> Place:
    """Return the classes that a release goes to."""
    prefix = prefix_of(options.class_prefix, name.version, name.language)
    module = (options.embedder_model or MODULE) if options.embedder == "weaviate" else None
    return Place(prefix, name.suffix, options.vector_index, module)


def metadata_classes(options: Options, names: Iterable[str]) -> list[str]:
    """Choose the classes `Metadata` that releases of a route may have, of the names of all classes."""
    fixed = [re.escape(part) for part in re.split(r"\{language\}|\{version\}", options.class_prefix)]
    fixed[0] = fixed[0][:1].upper() + fixed[0][1:]
    pattern = re.compile("[0-9A-Za-z_]+".join(fixed) + METADATA)
    return sorted(name for name in names if pattern.fullmatch(name))


def model_of(options: Options) -> str:
    """Say who makes the vectors; another one means other vectors."""
    return "/".join(part for part in (options.embedder, options.embedder_model) if part)


def target_of(options: Options, place: Place | None) -> str:
    """Return where a release is, as receipts say it; None stands for all places of the route."""
    return f"{options.url.rstrip('/')} {options.class_prefix if place is None else place.prefix}*"


def refuse_taken(unit: Unit, name: Name, state: State) -> None:
    """
    A release that others share their classes with takes the place of older ones only.

    Raises:
        Skip: There is a newer one.
        PermanentError: It is of another language.
    """
    if state.holder is None or state.is_of(unit.bucket, unit.name):
        return
    if state.details["language"] != name.language:
        raise PermanentError(
            f"The classes hold {state.holder}, of another language: give the route "
            'class_prefix = "{language}_" in its options.'
        )
    if name.is_before(state.details["version"]):
        raise Skip(
            f"the classes hold {state.holder}, which is newer; for both of them give the route "
            'class_prefix = "V{version}_" in its options'
        )


def refuse_busy(unit: Unit, state: State, now: int) -> None:
    """
    Leave classes alone that another release is being brought into.

    The ledger lets one process work at a release; two releases that share their classes it cannot know of.

    Raises:
        Busy: There is one, and it gives signs of life.
    """
    if not state.is_of(unit.bucket, unit.name) and state.is_alive(now, unit.options.stale_seconds):
        raise Busy(f"{state.holder} is being ingested into the same classes", retry_after=BUSY_SECONDS)
