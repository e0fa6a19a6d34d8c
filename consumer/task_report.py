"""What is shown of the tasks of handlers. Times are ISO 8601 in UTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from consumer.ledger_tasks import TaskRow
from consumer.times import iso
from handlers.tasks import TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One task."""

    handler: str
    name: str
    target: str
    state: str
    """`done`, `pending` (never tried) or `retrying`."""
    done_at: str | None
    """When it was done last, for this or an earlier version of its target."""
    detail: Mapping[str, Any] | None
    """What doing it gave, such as the id of a dataset."""
    attempts: int
    error_class: str | None
    error: str | None
    """Why the last attempt failed."""
    due: str | None
    """When it is tried; None when it is done."""

    @classmethod
    def of(cls, row: TaskRow) -> TaskState:
        """Describe a row."""
        return cls(
            handler=row.handler,
            name=row.name,
            target=row.target,
            state=row.state,
            done_at=None if row.done_at is None else iso(row.done_at),
            detail=row.detail,
            attempts=row.attempts,
            error_class=row.error_class,
            error=row.error,
            due=None if row.next_at is None else iso(row.next_at),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGroup:
    """The tasks of one name."""

    handler: str
    name: str
    done: int
    pending: int
    retrying: int
    worst: TaskState | None
    """The one that failed most often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSlot:
    """A kind of task that a handler can be asked for, and how its schedule stands."""

    name: str
    every: float | None
    """Seconds; None: only when somebody asks."""
    state: str | None
    """As of `TaskState`; None when the clock never asked for it."""
    done_at: str | None
    next_at: str | None
    """When it is tried next; None when nothing but a person asks for it."""

    @classmethod
    def of(cls, kind: TaskKind, row: TaskRow | None, now: int) -> TaskSlot:
        """Describe a kind; `now` is epoch milliseconds."""
        due = None if row is None else row.next_at
        if due is None and kind.every is not None:
            step = round(kind.every * 1000)
            due = now if row is None else (now // step + 1) * step
        return cls(
            name=kind.name,
            every=kind.every,
            state=None if row is None else row.state,
            done_at=None if row is None or row.done_at is None else iso(row.done_at),
            next_at=None if due is None else iso(due),
        )


def task_groups(rows: list[TaskRow]) -> tuple[TaskGroup, ...]:
    """Count tasks, given in the order of their keys."""
    groups = []
    for (handler, name), some in groupby(rows, lambda row: (row.handler, row.name)):
        found = list(some)
        states = Counter(row.state for row in found)
        worst = max((row for row in found if row.attempts), key=lambda row: row.attempts, default=None)
        groups.append(
            TaskGroup(
                handler=handler,
                name=name,
                done=states["done"],
                pending=states["pending"],
                retrying=states["retrying"],
                worst=None if worst is None else TaskState.of(worst),
            )
        )
    return tuple(groups)
