"""What the catalogue consists of: its sources, and what looks after it. A source is added by one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from handlers.dataset_catalogue import cleanup, enrich, hf, kaggle, meta_kaggle, zenodo
from handlers.dataset_catalogue.descriptions import Description
from handlers.dataset_catalogue.named import NamedTask
from handlers.dataset_catalogue.options import Options
from handlers.dataset_catalogue.site import ENDPOINTS
from handlers.tasks import BadArguments

MODULES: Final = (
    hf,
    kaggle,
    zenodo,
    enrich,
    cleanup,
)

TASKS: Final[Mapping[str, NamedTask[..., Any]]] = {
    found.name: found for module in MODULES for found in vars(module).values() if isinstance(found, NamedTask)
}

FILES: Final[Mapping[str, Callable[[Path, int], Iterator[list[Description]]]]] = {"kaggle": meta_kaggle.batches}
"""What reads the files of a source, by the name of the source and of its folder in a bucket."""


def faults(options: Options) -> list[str]:
    """Return one line for each thing that options name and that there is not, or that takes no such argument."""
    found = [
        f"options.{option}: no task {name!r}; there are: {', '.join(TASKS)}"
        for option in ("every", "arguments")
        for name in getattr(options, option)
        if name not in TASKS
    ]
    found += [
        f"options.endpoints: no source {name!r}; there are: {', '.join(ENDPOINTS)}"
        for name in options.endpoints
        if name not in ENDPOINTS
    ]
    for name, given in options.arguments.items():
        if name in TASKS:
            try:
                TASKS[name].arguments(given)
            except BadArguments as error:
                found.append(f"options.arguments: {error.message}")
    return found
