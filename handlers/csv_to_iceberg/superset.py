"""Tables as datasets of Superset: found or made, their columns as the tables have them, and read back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from handlers.contract import TransientError
from handlers.csv_to_iceberg.superset_session import Answer, SupersetSession
from handlers.csv_to_iceberg.superset_settings import SupersetSettings
from handlers.tasks import ServiceUnusable

NAMED: Final = 100
"""Databases that are named, and columns, when the right ones are not there."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as it was read back."""

    id: int
    columns: frozenset[str]
    """In lower case, as Trino has them; without those that somebody computes in Superset."""


class Superset:
    """
    The datasets of one database in Superset.

    Args:
        settings: See there.
        session: Speaks to it; None makes one.
    """

    def __init__(self, settings: SupersetSettings, session: SupersetSession | None = None) -> None:
        self._settings = settings
        self._session = session or SupersetSession(settings)

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return self._session.place

    async def ping(self) -> int:
        """
        Return the id of the database.

        Raises:
            ServiceUnusable: Superset does not answer, does not let us in, or has no database of this name.
        """
        name = self._settings.database
        filters = [{"col": "database_name", "opr": "eq", "value": name}]
        found = await self._listed("database/", {"filters": filters, "columns": ["id"]})
        if found:
            return int(found[0]["id"])
        others = await self._listed("database/", {"columns": ["database_name"], "page_size": NAMED})
        names = ", ".join(sorted(repr(one["database_name"]) for one in others)) or "none at all"
        raise ServiceUnusable(
            f"Superset at {self.place} has no database {name!r} (superset_database) that user "
            f"{self._settings.user!r} may see; there are: {names}"
        )

    async def register(self, schema: str, table: str, columns: Collection[str]) -> Dataset:
        """
        Have a dataset for a table, with these columns.

        Raises:
            ServiceUnusable: See `ping`.
            TransientError: The database behind Superset does not show the table, or not all its columns (yet).
        """
        database = await self.ping()
        wanted = frozenset(name.lower() for name in columns)
        number = await self._find(database, schema, table)
        if number is None:
            number = await self._create(database, schema, table)
        else:
            await self._refresh(number, schema, table)
        dataset = await self._read(number, schema, table)
        if wanted != dataset.columns:  # of a table that was changed while it was looked at
            await self._refresh(number, schema, table)
            dataset = await self._read(number, schema, table)
        if missing := sorted(wanted - dataset.columns):
            shown = ", ".join(missing[:NAMED])
            raise TransientError(
                f"dataset {number} of Superset shows {schema}.{table} without {shown}: its database "
                f"{self._settings.database!r} does not know them yet, or {self._settings.user!r} is no owner of it"
            )
        return dataset

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._session.aclose()

    async def _find(self, database: int, schema: str, table: str) -> int | None:
        filters = [
            {"col": "table_name", "opr": "eq", "value": table},
            {"col": "schema", "opr": "eq", "value": schema},
            {"col": "database", "opr": "rel_o_m", "value": database},
        ]
        found = await self._listed("dataset/", {"filters": filters, "columns": ["id"]})
        return int(found[0]["id"]) if found else None

    async def _create(self, database: int, schema: str, table: str) -> int:
        named = {"database_id": database, "schema": schema, "table_name": table}
        answer = await self._session.send("POST", "dataset/get_or_create/", body=named)
        if answer.ok:
            return int(answer.body["result"]["table_id"])
        if answer.status == HTTPStatus.FORBIDDEN:
            raise self._session.forbidden("to make datasets")
        # Somebody else, another replica too, may have made it between our look and our request.
        number = await self._find(database, schema, table)
        if number is not None:
            return number
        raise TransientError(
            f"Superset cannot make a dataset of {schema}.{table} in database {self._settings.database!r}: "
            f"{answer.reason or answer.status}. Does that database show the table?"
        )

    async def _refresh(self, number: int, schema: str, table: str) -> None:
        # With a body, though it asks for none: to a refused request without one Superset answers with its login page.
        answer = await self._session.send("PUT", f"dataset/{number}/refresh", body={})
        if answer.status == HTTPStatus.FORBIDDEN:
            return  # somebody else made it; whether it shows all columns is seen next
        if not answer.ok:
            raise TransientError(
                f"Superset cannot read the columns of {schema}.{table} (dataset {number}) from database "
                f"{self._settings.database!r}: {answer.reason or answer.status}"
            )

    async def _read(self, number: int, schema: str, table: str) -> Dataset:
        answer = await self._session.get(f"dataset/{number}")
        if answer.status == HTTPStatus.NOT_FOUND:
            raise TransientError(f"dataset {number} of {schema}.{table} was deleted while it was being looked at")
        result = _result(answer)
        if (result["schema"], result["table_name"]) != (schema, table):
            raise TransientError(
                f"dataset {number} is of {result['schema']}.{result['table_name']} and not of {schema}.{table}"
            )
        columns = (column["column_name"].lower() for column in result["columns"] if not column.get("expression"))
        return Dataset(number, frozenset(columns))

    async def _listed(self, path: str, query: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        answer = await self._session.get(path, query)
        if answer.status == HTTPStatus.FORBIDDEN:
            raise self._session.forbidden(f"to list {path}")
        found: list[Mapping[str, Any]] = _result(answer)
        return found


def _result(answer: Answer) -> Any:
    if not answer.ok or "result" not in answer.body:
        raise TransientError(f"Superset did not understand us: {answer.status} {answer.reason}")
    return answer.body["result"]
