"""
Vectors of datasets in a class of Weaviate, by its REST API. Blocks.

The class says in its description which model it is of, in how many dimensions, and which making of it this is; rows of
the table name the same. So whatever becomes of the class (another model, a Weaviate that lost everything, somebody who
removed it), rows that name an earlier making count as rows without a vector, and are embedded again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import orjson
import requests
import sqlalchemy as sa

from handlers.answers import AnswerTooLarge, read
from handlers.contract import PermanentError, SinkAway, SinkRefuses, TransientError
from handlers.dataset_catalogue.database import Database
from handlers.dataset_catalogue.tables import datasets
from handlers.dataset_catalogue.vectors import Entry, Kept

TIMEOUT_SECONDS: Final = 60

MOST_BYTES: Final = 64 << 20
"""Of an answer; those to a batch of 64 repeat its vectors."""

PAGE: Final = 100
"""Objects that are asked for at a time, at least: some may be of datasets that are not looked for."""

MOST_FOUND: Final = 10_000
"""Objects that a search reaches: Weaviate's QUERY_MAXIMUM_RESULTS, unless it is set otherwise."""

FORGOTTEN: Final = 500
"""Objects of one request to delete."""

MARK_LENGTH: Final = 200
"""As the table's column has it."""

_TEXT: Final = {"dataType": ["text"], "tokenization": "field"}

_PROPERTIES: Final = [
    {"name": "source", **_TEXT},
    {"name": "externalId", **_TEXT},
    {"name": "title", "dataType": ["text"]},
    {"name": "url", **_TEXT},
]

_DESCRIBED: Final = re.compile(
    r"Datasets of lakedrop's catalogue, made (?P<id>.+?), in (?P<dimensions>\d+) dimensions by (?P<model>.+)", re.DOTALL
)


class _Made(NamedTuple):
    """A class, as its description has it."""

    id: str
    dimensions: int
    model: str

    @property
    def description(self) -> str:
        return f"Datasets of lakedrop's catalogue, made {self.id}, in {self.dimensions} dimensions by {self.model}"

    @property
    def mark(self) -> str:
        return f"{self.id} {self.model}"[:MARK_LENGTH]


class InWeaviate:
    """
    Vectors in one class.

    Args:
        url: Of Weaviate.
        key: API key; None sends none.
        name: Of the class.
    """

    def __init__(self, url: str, key: str | None, name: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._name = name

    def mark(self, model: str) -> str | None:
        """Say which making of the class it is; None: there is none, or it is of another model."""
        found = self._made()
        return found.mark if found is not None and found.model == model else None

    def keep(self, model: str, entries: Sequence[Entry], new_id: Callable[[], str]) -> Kept:
        """
        Put in objects by UUIDs that follow from source and external id; the table holds no vector of them.

        Raises:
            PermanentError: There is a class of this name that somebody else made.
            SinkAway: Weaviate does not answer.
            TransientError: It refuses the request.
        """
        made = self._make(model, len(entries[0].vector), new_id)
        objects = [
            {
                "class": self._name,
                "id": uuid_of(one.source, one.external_id),
                "properties": {
                    "source": one.source, "externalId": one.external_id, "title": one.title, "url": one.url or ""
                },
                # Zeros have no direction: what has none is near to nothing.
                **({"vector": list(one.vector)} if any(one.vector) else {}),
            }
            for one in entries
        ]  # fmt: skip
        answers = self._call("POST", "batch/objects", {"objects": objects})
        refused = {one["id"]: why for one in answers if (why := one.get("result", {}).get("errors"))}
        columns = [
            PermanentError(f"Weaviate refuses {one['id']}: {str(refused[one['id']])[:500]}")
            if one["id"] in refused
            else None
            for one in objects
        ]
        return Kept(made.mark, columns)

    def nearest(
        self, connection: sa.Connection, wanted: bytes, limit: int, of: Sequence[Any], source: str | None
    ) -> dict[int, float]:
        """
        Ask Weaviate, and the table which of the datasets are looked for; raises as `keep` does.

        Its index finds nearly all of the nearest.
        """
        vector = np.frombuffer(wanted, "<f4")
        if not vector.any():
            return {}
        found: dict[int, float] = {}
        at, page = 0, max(limit, PAGE)
        while at < MOST_FOUND and len(found) < limit:
            near = self._near(vector.tolist(), at, min(page, MOST_FOUND - at), source)
            identities = sa.tuple_(datasets.c.source_name, datasets.c.external_id)
            query = sa.select(datasets.c.id, datasets.c.source_name, datasets.c.external_id)
            rows = connection.execute(query.where(identities.in_(list(near)), *of))
            ids = {(row.source_name, row.external_id): row.id for row in rows}
            found |= {ids[identity]: score for identity, score in near.items() if identity in ids}
            at += page
            if len(near) < page:
                break
        return dict(list(found.items())[:limit])

    def forget_inactive(self, database: Database) -> None:
        """Delete objects of datasets that are not active; raises as `keep` does."""
        found = self._made()
        if found is None:
            return
        columns = datasets.c
        ours = (sa.not_(columns.is_active), columns.embedding_of == found.mark)
        query = sa.select(columns.id, columns.source_name, columns.external_id).where(*ours).limit(FORGOTTEN)
        while True:
            # The rows are locked until they are gone from Weaviate: one that is active again meanwhile is without a
            # vector as the table has it, and gets one.
            with database.begin() as connection:
                rows = connection.execute(query.with_for_update()).all()
                if not rows:
                    return
                emptied = sa.update(datasets).where(columns.id.in_([row.id for row in rows]))
                connection.execute(emptied.values(embedding_of=None))
                ids = [uuid_of(row.source_name, row.external_id) for row in rows]
                where = {"path": ["id"], "operator": "ContainsAny", "valueTextArray": ids}
                self._call("DELETE", "batch/objects", {"match": {"class": self._name, "where": where}})

    def _near(
        self, vector: Sequence[float], offset: int, limit: int, source: str | None
    ) -> dict[tuple[str, str], float]:
        where = ""
        if source is not None:
            # A string of GraphQL is written as JSON writes it.
            where = f', where: {{path: ["source"], operator: Equal, valueText: {orjson.dumps(source).decode()}}}'
        arguments = f"nearVector: {{vector: {orjson.dumps(vector).decode()}}}, limit: {limit}, offset: {offset}{where}"
        query = f"{{Get {{{self._name}({arguments}) {{source externalId _additional {{distance}}}}}}}}"
        answer = self._call("POST", "graphql", {"query": query})
        if answer.get("errors"):
            raise TransientError(f"Weaviate cannot search {self._name}: {str(answer['errors'])[:500]}")
        return {
            (one["source"], one["externalId"]): 1 - one["_additional"]["distance"]
            for one in answer["data"]["Get"][self._name]
        }

    def _make(self, model: str, dimensions: int, new_id: Callable[[], str]) -> _Made:
        """Have the class be of a model; vectors of another one do not compare, nor fit into it."""
        found = self._made()
        if found is not None and (found.model, found.dimensions) == (model, dimensions):
            return found
        if found is not None:
            self._call("DELETE", f"schema/{self._name}")
        made = _Made(new_id(), dimensions, model)
        self._call(
            "POST",
            "schema",
            {
                "class": self._name,
                "description": made.description,
                "vectorizer": "none",
                "vectorIndexConfig": {"distance": "cosine"},
                "properties": _PROPERTIES,
            },
        )
        return made

    def _made(self) -> _Made | None:
        """Return what the class is; None: it is not there."""
        config = self._call("GET", f"schema/{self._name}")
        if config is None:
            return None
        told = _DESCRIBED.fullmatch(config.get("description") or "")
        if told is None:
            raise PermanentError(
                f"Weaviate has a class {self._name} that somebody else made: remove it, or give the route another "
                "`weaviate_class`."
            )
        return _Made(told["id"], int(told["dimensions"]), told["model"])

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a request; None for what is not there."""
        url = f"{self._url}/v1/{path}"
        try:
            with requests.request(
                method, url, json=body, headers=self._headers, timeout=TIMEOUT_SECONDS, stream=True
            ) as answer:
                said = read(answer, MOST_BYTES)
        except requests.RequestException as error:
            raise SinkAway(f"{url} does not answer: {type(error).__name__}: {error}") from error
        except AnswerTooLarge as error:
            raise PermanentError(f"{url} {error}: correct `weaviate_url`.") from error
        if answer.status_code == HTTPStatus.NOT_FOUND and method == "GET":
            return None
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            text = f"{method} {url} is answered by {answer.status_code}: {said[:500].decode(errors='replace')}"
            refused = answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            raise (SinkRefuses if refused else TransientError)(text)
        try:
            return orjson.loads(said) if said else {}
        except orjson.JSONDecodeError as error:
            raise PermanentError(f"{url} answers something else than Weaviate: correct `weaviate_url`.") from error


def uuid_of(source: str, external_id: str) -> str:
    """Return the UUID of a dataset's object; the same in every catalogue."""
    return str(uuid5(NAMESPACE_URL, f"{source}/{external_id}"))
