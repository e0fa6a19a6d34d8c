"""
Tasks: named work of a handler that belongs to no object, such as telling another system of a table.

Whoever runs the handler remembers tasks, asks for them when they are due, in one process at a time, and goes on asking
until they are done: a task that fails is never given up, and no object waits for it. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from handlers.contract import PermanentError, TransientError


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be brought about once for each version of its target."""

    name: str
    """Of the kind of work."""
    target: str
    """What it is about, as in a receipt."""
    version: str
    """Of the target; when it is another one, there is something to do again."""


class ServiceUnusable(TransientError):
    """The service that a task needs cannot be used; others of its name would fare no better."""


@runtime_checkable
class Tasked(Protocol):
    """A handler with tasks. Doing one twice, or in two processes at once, has the effect of doing it once."""

    async def retargeted(self) -> Collection[str]:
        """Wait until this process has changed targets so that they may have another version; return those."""
        ...

    def tasks(self, only: Collection[str] = ()) -> AsyncIterator[Task]:
        """
        Yield the tasks that there are, done or not, as the targets are now.

        Args:
            only: Targets; none means all.
        """
        ...

    async def run_task(self, task: Task) -> Mapping[str, Any]:
        """
        Do a task for the target as it is now; return JSON-able facts about what there is.

        Raises:
            ServiceUnusable: Nor could any other task of this name be done.
            Exception: Anything else concerns this one.
        """
        ...


SCHEDULED: Final = "schedule"
"""Target of tasks that are done at intervals; their version is the interval, by its number since 1970."""


class BadArguments(PermanentError):
    """A task was asked for with arguments that it does not take."""


@dataclass(frozen=True, slots=True)
class TaskKind:
    """What a person, or the clock, may ask a handler for."""

    name: str
    summary: str
    arguments: Mapping[str, str]
    """What it takes, such as `int = 50`, by name."""
    every: float | None
    """Seconds from run to run; None: only when somebody asks."""


@runtime_checkable
class Askable(Protocol):
    """A handler with tasks that are asked for by name."""

    def task_kinds(self) -> Sequence[TaskKind]:
        """Tell what can be asked for."""
        ...

    def check_arguments(self, name: str, arguments: Mapping[str, str]) -> None:
        """
        Say no to arguments before anything is done.

        Raises:
            BadArguments: One is unknown, or makes no sense.
        """
        ...


def asked_for(name: str, arguments: Mapping[str, str], request: str) -> Task:
    """
    Return a task that somebody asks for.

    Args:
        name: Of its kind.
        arguments: As text; they become its target.
        request: Makes it another task than what was asked for before.
    """
    return Task(name, json.dumps(dict(sorted(arguments.items())), ensure_ascii=False), f"{REQUEST}{request}")


REQUEST: Final = "asked for: "
"""How the version of a task begins that somebody asks for; whoever compares tasks with targets leaves it alone."""
