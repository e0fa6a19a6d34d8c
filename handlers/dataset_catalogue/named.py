"""Functions that are tasks: with a name, typed arguments, and perhaps an interval."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from handlers.dataset_catalogue.site import Site
from handlers.tasks import BadArguments

P = ParamSpec("P")
R = TypeVar("R")

HOUR: Final = 3600.0
DAY: Final = 86_400.0


@dataclass(frozen=True)
class NamedTask(Generic[P, R]):
    """A function that can be called as it is, or by its name with arguments that are text."""

    name: str
    every: float | None
    """Seconds from run to run; None: only when somebody asks."""
    after_seeds: bool
    """Also to be run when files were taken in, before its time."""
    function: Callable[Concatenate[Site, P], R]

    def __call__(self, site: Site, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now, on this thread."""
        return self.function(site, *args, **kwargs)

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """What it can be told, beside the site."""
        return dict(list(inspect.signature(self.function, eval_str=True).parameters.items())[1:])

    @property
    def signature(self) -> dict[str, str]:
        """Type and default of each parameter, as text; without the limits of its values."""
        hints = get_type_hints(self.function)
        bare = {name: one.replace(annotation=hints[name]) for name, one in self.parameters.items()}
        return {name: str(one).partition(": ")[2] for name, one in bare.items()}

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return arguments as the function takes them; text becomes what it means.

        Raises:
            BadArguments: One is unknown, or has the wrong type.
        """
        fields: dict[str, Any] = {name: (one.annotation, one.default) for name, one in self.parameters.items()}
        model = create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)
        try:
            checked = model.model_validate(dict(given))
        except ValidationError as error:
            known = ", ".join(self.parameters) or "none"
            faults = [
                f"{'.'.join(map(str, fault['loc']))} = {fault['input']!r}: "
                + (f"unknown; there are: {known}" if fault["type"] == "extra_forbidden" else fault["msg"])
                for fault in error.errors()
            ]
            raise BadArguments(f"{self.name}: {'; '.join(faults)}") from None
        return {name: getattr(checked, name) for name in self.parameters}


def task(
    name: str, *, every: float | None = None, after_seeds: bool = False
) -> Callable[[Callable[Concatenate[Site, P], R]], NamedTask[P, R]]:
    """Make a function a task."""

    def made(function: Callable[Concatenate[Site, P], R]) -> NamedTask[P, R]:
        return NamedTask(name, every, after_seeds, function)

    return made
