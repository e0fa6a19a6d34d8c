"""
Statements that run for every row of a group, compiled once.

SQLAlchemy works out the parameters of every row anew, which takes longer than SQLite needs for the row itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from operator import itemgetter
from typing import Any

import sqlalchemy as sa


class Many:
    """
    A statement for many rows of a database with positional parameters.

    Args:
        statement: Core's; returns nothing.
        columns: What an INSERT is given.
    """

    def __init__(
        self, statement: sa.Insert | sa.Update, dialect: sa.Dialect, columns: Collection[str] | None = None
    ) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=columns)
        self._text = str(compiled)
        self._constants = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
        self._in_order = itemgetter(*compiled.positiontup)

    def run(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """
        Run it for each row. Values are given as the database takes them: JSON as text.

        Raises:
            KeyError: A row lacks a parameter.
            sqlalchemy.exc.DBAPIError: Some rows may be done.
        """
        values = [self._in_order({**self._constants, **row}) for row in rows]
        if values:
            connection.exec_driver_sql(self._text, values)
