"""
Statements and look-ups of many rows at once, compiled once.

SQLAlchemy works out the parameters of every row anew, which takes longer than SQLite needs for the row itself. And
Python's SQLite module lets go of the interpreter at every step, one for each row that is written or read, and then
waits until the event loop lets go of it. So the rows go into SQLite as one JSON document, and come out as one.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, cast

import sqlalchemy as sa
from pydantic_core import from_json, to_json
from sqlalchemy.sql import visitors

ROWS = "rows_"
"""The parameter that holds all rows on SQLite; no column has such a name."""


class Many:
    """
    A statement for many rows of a database with positional parameters.

    On SQLite it must hit no row twice: one of the two would have no effect.

    Args:
        statement: Core's; returns nothing.
        columns: What an INSERT is given.
    """

    def __init__(
        self, statement: sa.Insert | sa.Update, dialect: sa.Dialect, columns: Collection[str] | None = None
    ) -> None:
        kind: Callable[[], sa.Dialect] = type(dialect)
        given = None if columns is None else tuple(columns)
        self._text, self._constants, self._values, self._cells = _compiled(statement, kind, given)

    def run(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """
        Run it for each row. Values are given as the database takes them: JSON as text.

        Raises:
            KeyError: A row lacks a parameter.
            UnicodeError: A text holds half of a pair.
            sqlalchemy.exc.DBAPIError: Some rows may be done.
        """
        if self._cells is None:
            values = [self._values({**self._constants, **row}) for row in rows]
        elif cells := [self._cells(row) for row in rows]:
            values = [self._values({**self._constants, ROWS: _document(cells)})]
        else:
            return
        if values:
            connection.exec_driver_sql(self._text, values)


_Taker = Callable[[Mapping[str, Any]], tuple[Any, ...]]


class _Compiled(NamedTuple):
    """What `Many` runs."""

    text: str
    constants: Mapping[str, Any]
    values: _Taker
    cells: _Taker | None


@functools.cache
def _compiled(
    statement: sa.Insert | sa.Update, kind: Callable[[], sa.Dialect], columns: tuple[str, ...] | None
) -> _Compiled:
    """Compile a statement, which takes milliseconds: once per process, however many ledgers it opens."""
    names: list[str] = []
    dialect = kind()
    if dialect.name == "sqlite":
        statement = _of_json(statement, columns, names)
        columns = None
    compiled: Any = statement.compile(dialect=dialect, column_keys=columns)
    constants = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
    return _Compiled(str(compiled), constants, _taker(compiled.positiontup), _taker(names) if names else None)


def _of_json(
    statement: sa.Insert | sa.Update, columns: Collection[str] | None, names: list[str]
) -> sa.Insert | sa.Update:
    """Return the statement for all rows of a JSON document; `names` gets what its arrays hold, in order."""
    given = sa.func.json_each(sa.bindparam(ROWS, type_=sa.Text)).table_valued("value", name="given")

    def cell(name: str, kind: Any) -> sa.ColumnElement[Any]:
        if name not in names:
            names.append(name)
        place: sa.ColumnElement[str] = sa.literal_column(f"'$[{names.index(name)}]'")
        return sa.func.json_extract(given.c.value, place, type_=kind)

    if isinstance(statement, sa.Insert):
        cells = [cell(name, statement.table.c[name].type) for name in columns or ()]
        # Without a WHERE, SQLite takes the ON of ON CONFLICT for that of a join.
        return statement.from_select(list(columns or ()), sa.select(*cells).select_from(given).where(sa.true()))

    def replaced(element: Any, **_: Any) -> Any:
        required = isinstance(element, sa.BindParameter) and element.required
        return cell(element.key, element.type) if required else None

    return cast("sa.Update", visitors.replacement_traverse(statement, {}, replaced))


def _taker(names: Sequence[str]) -> _Taker:
    take = itemgetter(*names)
    return take if len(names) > 1 else lambda row: (take(row),)


def _document(cells: Sequence[tuple[Any, ...]]) -> str:
    try:
        return to_json(cells).decode()
    except ValueError as error:
        raise UnicodeError(str(error)) from error


@functools.cache
def _row_maker(names: tuple[str, ...]) -> Callable[[Iterable[Any]], Any]:
    """Return what gives columns their names; making it takes longer than a look-up."""
    row: Any = collections.namedtuple("_Row", names)  # type: ignore[misc]  # noqa: PYI024  # mypy wants literals
    return cast("Callable[[Iterable[Any]], Any]", row._make)


@functools.cache
def _as_document(query: sa.Select[Any]) -> sa.Select[Any]:
    """Return a query for one JSON document; a new one each time would be compiled anew."""
    return query.with_only_columns(sa.func.json_group_array(sa.func.json_array(*query.selected_columns)))


class Lookup:
    """A query for many rows; on SQLite it gives one, a JSON document of all."""

    def __init__(self, query: sa.Select[Any], dialect: sa.Dialect) -> None:
        columns = query.selected_columns
        self._query = query
        self._row: Any = None
        if dialect.name == "sqlite":
            self._row = _row_maker(tuple(columns.keys()))
            self._booleans = [at for at, column in enumerate(columns) if isinstance(column.type, sa.Boolean)]
            self._query = _as_document(query)

    def run(self, connection: sa.Connection, where: Mapping[str, Any]) -> Iterable[Any]:
        """Return the rows that it finds, each with its columns by name and by place."""
        if self._row is None:
            return connection.execute(self._query, where)
        rows = from_json(connection.scalar(self._query, where))
        for row in rows:
            for at in self._booleans:
                row[at] = None if row[at] is None else bool(row[at])
        return map(self._row, rows)
