"""The tasks of handlers, kept in the ledger: what is wanted, what is done, when it is tried again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from consumer.ledger import Ledger
from consumer.ledger_schema import tasks
from consumer.ledger_statements import insert_into
from handlers.tasks import REQUEST, ServiceUnusable, Task

UNUSABLE: Final = ServiceUnusable.__name__
"""The `error_class` of tasks that wait for their service."""

KEPT_MS: Final = 86_400_000
"""How long the result of a task that a person asked for can be read."""

_KEY: Final = (tasks.c.handler, tasks.c.name, tasks.c.target)


class TaskRow(NamedTuple):
    """A task as the ledger has it. Times are epoch milliseconds."""

    handler: str
    name: str
    target: str
    wanted: str
    """The version it is to be done for."""
    done: str | None
    """The version it was done for last."""
    done_at: int | None
    detail: Mapping[str, Any] | None
    """What doing it gave."""
    attempts: int
    """Since it was last asked for or done."""
    error_class: str | None
    error: str | None
    next_at: int | None
    """When it is due; None when it is done."""

    @property
    def task(self) -> Task:
        """What the handler is given."""
        return Task(self.name, self.target, self.wanted)

    @property
    def state(self) -> str:
        """`done`, `pending` or `retrying`."""
        return "done" if self.next_at is None else "retrying" if self.attempts else "pending"


_ASKED_FOR: Final = tasks.c.wanted.startswith(REQUEST, autoescape=True)
"""By a person."""

_ROW: Final = tuple(tasks.c[name] for name in TaskRow._fields)


class TaskRows:
    """The tasks of all handlers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def now(self) -> int:
        """Return the ledger's time."""
        return await self._ledger.read(self._ledger.clock.now)

    async def ask(self, handler: str, wanted: Sequence[Task]) -> list[Task]:
        """Ask for tasks; those asked for in the same version already stay as they are. Returns the others."""

        def ask(connection: sa.Connection) -> list[Task]:
            now = self._ledger.clock.now(connection)
            there = connection.execute(sa.select(*_KEY, tasks.c.wanted).where(tasks.c.handler == handler)).all()
            known = {Task(row.name, row.target, row.wanted) for row in there}
            insert = insert_into(tasks, connection.dialect.name)
            new = insert.excluded
            anew = {name: new[name] for name in ("wanted", "asked_at", "next_at", "attempts", "error_class", "error")}
            statement = insert.on_conflict_do_update(
                index_elements=list(_KEY), set_=anew, where=tasks.c.wanted != new.wanted
            )
            asked = {"asked_at": now, "next_at": now, "attempts": 0, "error_class": None, "error": None}
            rows = [
                {"handler": handler, "name": task.name, "target": task.target, "wanted": task.version, **asked}
                for task in sorted(wanted, key=lambda task: (task.name, task.target))
            ]
            connection.execute(statement, rows)
            return [task for task in wanted if task not in known]

        return await self._ledger.write(ask) if wanted else []

    async def forget_others(self, handler: str, wanted: Collection[Task], before: int) -> None:
        """
        Forget a handler's tasks that are not among those `wanted`.

        Those stay that were asked for since `before`; and those that a person asked for, until they are done and
        `KEPT_MS` have passed.
        """
        names = {(task.name, task.target) for task in wanted}

        def forget(connection: sa.Connection) -> None:
            told = sa.and_(tasks.c.next_at.is_(None), tasks.c.done_at < before - KEPT_MS)
            mine = (tasks.c.handler == handler, tasks.c.asked_at < before, sa.or_(sa.not_(_ASKED_FOR), told))
            old = sa.select(*_KEY).where(*mine)
            for key in connection.execute(old).all():
                if (key.name, key.target) not in names:
                    connection.execute(sa.delete(tasks).where(_is(key), tasks.c.asked_at < before))

        await self._ledger.write(forget)

    async def due(self, handler: str) -> TaskRow | None:
        """Return the task that is due longest, of those that failed least often."""

        def due(connection: sa.Connection) -> TaskRow | None:
            query = sa.select(*_ROW).where(
                tasks.c.handler == handler, tasks.c.next_at <= self._ledger.clock.now(connection)
            )
            row = connection.execute(query.order_by(tasks.c.attempts, tasks.c.next_at, *_KEY).limit(1)).first()
            return None if row is None else TaskRow(*row)

        return await self._ledger.read(due)

    async def done(self, row: TaskRow, detail: Mapping[str, Any]) -> None:
        """Note that a task was done, unless another version is wanted by now; wake what waited for its service."""

        def done(connection: sa.Connection) -> None:
            now = self._ledger.clock.now(connection)
            values = {"done": row.wanted, "done_at": now, "detail": dict(detail), "attempts": 0, "next_at": None}
            mine = sa.update(tasks).where(_is(row), tasks.c.wanted == row.wanted)
            connection.execute(mine.values(**values, error_class=None, error=None))
            waiting = sa.and_(_beside(row), tasks.c.error_class == UNUSABLE, tasks.c.next_at > now)
            connection.execute(sa.update(tasks).where(waiting).values(next_at=now))

        await self._ledger.write(done)

    async def failed(self, row: TaskRow, error_class: str, error: str, delay: float) -> None:
        """Note why a task was not done, and try again after `delay` seconds; with it all that need the same service."""

        def failed(connection: sa.Connection) -> None:
            now = self._ledger.clock.now(connection)
            due = sa.and_(_beside(row), tasks.c.next_at <= now) if error_class == UNUSABLE else _is(row)
            # Absolute: the statement may run twice. What was asked for anew meanwhile is due at once all the same.
            mine = sa.update(tasks).where(due, sa.or_(tasks.c.wanted == row.wanted, sa.not_(_is(row))))
            values = {"error_class": error_class, "error": error, "next_at": now + round(delay * 1000)}
            connection.execute(mine.values(attempts=row.attempts + 1, **values))

        await self._ledger.write(failed)

    async def hasten(self, handler: str) -> None:
        """Make everything due that waits: what it waited for may be there now."""

        def hasten(connection: sa.Connection) -> None:
            waiting = sa.and_(tasks.c.handler == handler, tasks.c.next_at.is_not(None))
            connection.execute(sa.update(tasks).where(waiting).values(next_at=self._ledger.clock.now(connection)))

        await self._ledger.write(hasten)

    async def again(self, handler: str, targets: Collection[str]) -> None:
        """Make the tasks of some targets due, done or not; of all without any, but for what a person had done once."""
        mine = tasks.c.handler == handler
        if targets:
            mine = sa.and_(mine, tasks.c.target.in_(targets))
        else:
            mine = sa.and_(mine, sa.or_(tasks.c.next_at.is_not(None), sa.not_(_ASKED_FOR)))

        def again(connection: sa.Connection) -> None:
            now = self._ledger.clock.now(connection)
            connection.execute(sa.update(tasks).where(mine).values(next_at=now, attempts=0))

        await self._ledger.write(again)

    async def one(self, handler: str, task: Task) -> TaskRow:
        """Return the row of a task that was asked for, whatever its version."""
        (row,) = [row for row in await self.all(handler, task.target) if row.name == task.name]
        return row

    async def all(self, handler: str | None = None, target: str | None = None) -> list[TaskRow]:
        """Return the tasks there are, in the order of their keys."""
        query = sa.select(*_ROW).order_by(*_KEY)
        if handler is not None:
            query = query.where(tasks.c.handler == handler)
        if target is not None:
            query = query.where(tasks.c.target == target)
        return await self._ledger.read(lambda connection: [TaskRow(*row) for row in connection.execute(query)])


def _is(row: Any) -> sa.ColumnElement[bool]:
    return sa.and_(_beside(row), tasks.c.target == row.target)


def _beside(row: Any) -> sa.ColumnElement[bool]:
    """Tell tasks of one handler and name."""
    return sa.and_(tasks.c.handler == row.handler, tasks.c.name == row.name)
