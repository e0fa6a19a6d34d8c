"""
Weaviate as the handler needs it: classes, objects, references, what is remembered of releases, and search.

One `Index` is one connection, opened for one piece of work. The only module that imports Weaviate's client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import weaviate
from weaviate.classes.data import DataObject
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.classes.query import Filter, MetadataQuery
from weaviate.exceptions import (
    InsufficientPermissionsError,
    UnexpectedStatusCodeError,
    WeaviateBaseError,
    WeaviateInsertManyAllFailedError,
)

from handlers.contract import HandlerError, OutcomeUnknown, PermanentError, SinkAway, SinkRefuses, TransientError
from handlers.esco_index.options import LONGEST_REQUEST
from handlers.esco_index.rest import Rest
from handlers.esco_index.schema import CLASSES, CONTENT_HASH, METADATA, VECTOR_HASH, Place, classes

# It would log whole objects with their vectors where one is refused, and every request.
logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)
logging.getLogger("httpx").setLevel(logging.WARNING)

MOST_REMOVED: Final = 1000
"""Objects of one request to delete."""

MOST_RELEASES: Final = 10_000
"""Releases that are remembered in one class."""

TIMEOUT: Final = Timeout(init=10, query=60, insert=LONGEST_REQUEST)
"""Seconds."""


class Known(NamedTuple):
    """Hashes of an object that Weaviate has; empty for one that was begun and not finished."""

    content: str
    vector: str


class Refusal(NamedTuple):
    """An object that Weaviate did not take."""

    uuid: str
    reason: str


class Hit(NamedTuple):
    """An object that a search found."""

    collection: str
    properties: Mapping[str, Any]
    score: float | None
    """Higher is better; None where Weaviate tells none."""


@asynccontextmanager
async def connected(url: str, grpc_port: int, key: str | None) -> AsyncIterator[Index]:
    """
    Connect to a Weaviate.

    Raises:
        SinkAway: It does not answer, or does not let us in.
    """
    place = urlsplit(url)
    secure = place.scheme == "https"
    host = place.hostname or ""
    client = weaviate.use_async_with_custom(
        host,
        place.port or (443 if secure else 80),
        secure,
        host,
        grpc_port,
        secure,
        auth_credentials=None if key is None else Auth.api_key(key),
        additional_config=AdditionalConfig(timeout=TIMEOUT),
        skip_init_checks=True,  # they would ask the package index for a newer client
    )
    async with AsyncExitStack() as stack:
        rest = await stack.enter_async_context(Rest(url, key))
        stack.push_async_callback(_close, client)
        with _translated():
            await client.connect()
        yield Index(client, rest)


async def _close(client: weaviate.WeaviateAsyncClient) -> None:
    """Let go of it, all the way when that is cancelled too: a connection half closed complains when it is collected."""
    try:
        await client.close()
    except asyncio.CancelledError:
        await client.close()
        raise


class Index:
    """What one Weaviate holds."""

    def __init__(self, client: weaviate.WeaviateAsyncClient, rest: Rest) -> None:
        self._client = client
        self._rest = rest
        self._ensured: set[str] = set()
        """Full names of classes that are there."""

    async def places(self) -> frozenset[str]:
        """Return the names of all classes."""
        return frozenset(await self._rest.schema())

    async def ensure(self, place: Place, names: Sequence[str] = (*CLASSES, METADATA)) -> None:
        """
        Make the classes and properties that are not there yet.

        Raises:
            PermanentError: There is a class of such a name that is none of ours, or Weaviate lacks the module.
        """
        there = await self._rest.schema()
        while True:
            try:
                await self._make(place, names, there)
            except PermanentError:
                found = await self._rest.schema()
                if found == there:
                    raise
                there = found  # somebody else makes them too, or we had begun
            else:
                self._ensured.update(place.collection(name) for name in names)
                return

    async def _make(self, place: Place, names: Sequence[str], there: Mapping[str, frozenset[str]]) -> None:
        for name in names:
            config = place.config(name)
            found = there.get(config["class"])
            if found is None:
                await self._rest.call("POST", "schema", config)
                continue
            _refuse_foreign(name, config["class"], found)
            for prop in config["properties"]:
                if prop["name"] not in found:
                    await self._rest.call("POST", f"schema/{config['class']}/properties", prop)
        for name in names:
            collection = place.collection(name)
            for one in classes()[name].references:
                if one.name not in there.get(collection, ()):
                    prop = {"name": one.name, "dataType": [place.collection(one.target)]}
                    await self._rest.call("POST", f"schema/{collection}/properties", prop)

    async def drop(self, place: Place, check: Callable[[], Awaitable[None]]) -> None:
        """
        Remove the classes with all their objects; what is remembered of releases stays.

        Args:
            place: The classes.
            check: Is called before each request that removes; what it raises ends this.
        """
        there = await self._rest.schema()
        for name in CLASSES:
            found = there.get(place.collection(name))
            if found is not None:
                _refuse_foreign(name, place.collection(name), found)
                await check()
                await self._rest.call("DELETE", f"schema/{place.collection(name)}")

    async def known(self, collection: str) -> dict[str, Known]:
        """Return the hashes of all objects of a class, by UUID."""
        found = {}
        with _translated():
            objects = self._client.collections.use(collection).iterator(return_properties=[CONTENT_HASH, VECTOR_HASH])
            async for one in objects:
                content, vector = one.properties.get(CONTENT_HASH), one.properties.get(VECTOR_HASH)
                found[str(one.uuid)] = Known(str(content or ""), str(vector or ""))
        return found

    async def vectors(self, collection: str, uuids: Sequence[str]) -> dict[str, list[float]]:
        """Return the vectors of objects, of those that have one."""
        with _translated():
            query = self._client.collections.use(collection).query
            found = await query.fetch_objects_by_ids(
                uuids, limit=len(uuids), include_vector=True, return_properties=False
            )
        return {str(one.uuid): one.vector["default"] for one in found.objects if one.vector.get("default")}  # type: ignore[misc]

    async def insert(
        self,
        collection: str,
        objects: Iterable[tuple[str, Mapping[str, Any], Mapping[str, Sequence[str]], Sequence[float] | None]],
    ) -> list[Refusal]:
        """
        Write objects as they are to be, whatever was there: UUID, properties, references, vector.

        Returns:
            Those that Weaviate refused.

        Raises:
            OutcomeUnknown: Nobody knows whether they were written.
            SinkRefuses: We may not write.
        """
        batch = [
            DataObject(
                properties=dict(properties),
                uuid=uuid,
                references={name: list(uuids) for name, uuids in references.items()} or None,
                vector=None if vector is None else list(vector),
            )
            for uuid, properties, references, vector in objects
        ]
        with _translated(writing=True):
            try:
                done = await self._client.collections.use(collection).data.insert_many(batch)
            except WeaviateInsertManyAllFailedError as error:
                return [Refusal(str(one.uuid), error.message[:500]) for one in batch]
        return [Refusal(str(batch[at].uuid), error.message[:500]) for at, error in done.errors.items()]

    async def remove(self, collection: str, uuids: Sequence[str]) -> None:
        """Delete objects by one request, `MOST_REMOVED` at most; raises as `insert` does."""
        with _translated(writing=True):
            await self._client.collections.use(collection).data.delete_many(Filter.by_id().contains_any(uuids))

    async def counts(self, place: Place) -> dict[str, int]:
        """Count objects by class, and references by `class.property`; nothing for a class that is not there."""
        there = await self._rest.schema()
        counted = await asyncio.gather(
            *(self._counted(name, place.collection(name)) for name in CLASSES if place.collection(name) in there)
        )
        nothing = {f"{name}.{one.name}": 0 for name in CLASSES for one in classes()[name].references}
        found = dict.fromkeys(CLASSES, 0) | nothing
        for some in counted:
            found |= some
        return found

    async def _counted(self, name: str, collection: str) -> dict[str, int]:
        references = {f"{name}.{one.name}": one.name for one in classes()[name].references}
        found = dict.fromkeys([name, *references], 0)
        async for page in self._rest.pages(collection):
            found[name] += len(page)
            for counted, prop in references.items():
                found[counted] += sum(len(properties.get(prop) or ()) for properties in page)
        return found

    async def told(self, place: Place, uuid: str) -> Mapping[str, Any] | None:
        """Return the properties of an object of class `Metadata`; None when there is none."""
        metadata = place.collection(METADATA)
        if metadata not in self._ensured and metadata not in await self._rest.schema():
            return None
        with _translated():
            query = self._client.collections.use(metadata).query
            found: Any = await query.fetch_object_by_id(uuid)  # its annotation forgets that there may be none
        return None if found is None else dict(found.properties)

    async def tell(self, place: Place, uuid: str, properties: Mapping[str, Any]) -> None:
        """
        Put an object of class `Metadata` in the place of the one before.

        Raises:
            TransientError: It was refused, or nobody knows.
        """
        for refusal in await self.insert(place.collection(METADATA), [(uuid, properties, {}, None)]):
            raise TransientError(f"Weaviate refuses to note the state: {refusal.reason}")

    async def notes(self, metadata: str, kind: str) -> list[Mapping[str, Any]]:
        """Return the properties of all objects of a class `Metadata`, by its full name, that have a `metaType`."""
        with _translated():
            query = self._client.collections.use(metadata).query
            found = await query.fetch_objects(filters=Filter.by_property("metaType").equal(kind), limit=MOST_RELEASES)
        return [dict(one.properties) for one in found.objects]

    async def search(
        self, collection: str, text: str, vector: Sequence[float] | None, *, by_meaning: bool, limit: int
    ) -> list[Hit]:
        """
        Return the objects nearest to a text.

        Args:
            collection: The class.
            text: What is looked for.
            vector: Of the text; None: Weaviate's module makes it, if `by_meaning`.
            by_meaning: By vectors; else by words (BM25).
            limit: How many.
        """
        with _translated():
            query = self._client.collections.use(collection).query
            if vector is not None:
                told = MetadataQuery(distance=True)
                found = await query.near_vector(list(vector), limit=limit, return_metadata=told)
            elif by_meaning:
                found = await query.near_text(text, limit=limit, return_metadata=MetadataQuery(distance=True))
            else:
                found = await query.bm25(text, limit=limit, return_metadata=MetadataQuery(score=True))
        return [
            Hit(collection, one.properties, _score(one.metadata.score, one.metadata.distance)) for one in found.objects
        ]


def _score(score: float | None, distance: float | None) -> float | None:
    return score if distance is None else 1 - distance


def _refuse_foreign(name: str, collection: str, found: frozenset[str]) -> None:
    mark = "metaType" if name == METADATA else CONTENT_HASH
    if mark not in found:
        raise PermanentError(
            f"Weaviate has a class {collection} that somebody else made: remove it, or give the route another "
            "`class_prefix`."
        )


@contextmanager
def _translated(*, writing: bool = False) -> Iterator[None]:
    """Raise what the client raises as errors of the contract."""
    try:
        yield
    except HandlerError:
        raise
    except InsufficientPermissionsError as error:
        raise SinkRefuses(f"Weaviate: {error.message}") from error
    except UnexpectedStatusCodeError as error:
        if error.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise SinkRefuses(f"Weaviate: {error.message}") from error
        raise (OutcomeUnknown if writing else TransientError)(f"Weaviate: {error.message}") from error
    except WeaviateBaseError as error:
        raise (OutcomeUnknown if writing else SinkAway)(f"Weaviate: {error.message}") from error
    except Exception as error:
        if not writing:
            raise
        # Its HTTP and gRPC libraries have errors of their own; whichever it is, a request may be out.
        raise OutcomeUnknown(f"Weaviate: {type(error).__name__}: {error}") from error
