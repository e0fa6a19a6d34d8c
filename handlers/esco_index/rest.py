"""Weaviate by REST, where the client would not do: schemas as files have them, and objects as they are stored."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson

from handlers.contract import OutcomeUnknown, PermanentError, SinkAway, SinkRefuses, TransientError
from handlers.once import once

PAGE: Final = 200
"""Objects of a listing; one may refer to a thousand others."""

TIMEOUT_SECONDS: Final = 60

OLDEST: Final = (1, 36)
"""Version of Weaviate, major and minor, that this was made for and tried on, and later ones."""

MOST_BYTES: Final = 256 << 20
"""Of an answer; a page of groups that all skills belong to has some 40 MiB."""

PIECE: Final = 1 << 16


class TooOld(SinkRefuses):
    """This Weaviate is of a version that does not do all that is needed."""


class Rest:
    """
    Talks to one Weaviate.

    Args:
        url: Its address.
        key: API key; None sends none.
    """

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            raise_for_status=False,
            middlewares=(once,),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> Any:
        """
        Send a request below `/v1`; return what its answer holds, None for nothing.

        Raises:
            SinkAway: There is no answer, or we are not let in.
            OutcomeUnknown: There is none to a request that changes something, and that may have arrived.
            PermanentError: Weaviate will not take this request.
            TransientError: It fails.
        """
        try:
            async with self._session.request(method, f"{self.url}/v1/{path}", json=body, params=query) as answer:
                said = await self._read(answer)
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise _refused(answer.status, f"{method} {self.url}/v1/{path}", said.decode(errors="replace"))
                return orjson.loads(said) if said else None
        except (aiohttp.ClientError, TimeoutError) as error:
            arrived = method != "GET" and not isinstance(error, aiohttp.ClientConnectorError)
            fault = OutcomeUnknown if arrived else SinkAway
            raise fault(f"{self.url} does not answer: {type(error).__name__}: {error}") from error

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        said = bytearray()
        async for piece in answer.content.iter_chunked(PIECE):
            said += piece
            if len(said) > MOST_BYTES:
                raise TransientError(
                    f"{answer.url} answers with more than {MOST_BYTES >> 20} MiB: is `url` of the route a Weaviate?"
                )
        return bytes(said)

    async def check_version(self) -> None:
        """
        See whether it answers, and whether it is new enough.

        Raises:
            TooOld: It is not.
            SinkAway: It does not answer.
        """
        version = str((await self.call("GET", "meta"))["version"])
        told = re.match(r"(\d+)\.(\d+)", version)
        if told is not None and (int(told[1]), int(told[2])) < OLDEST:
            raise TooOld(f"Weaviate at {self.url} is {version}; {'.'.join(map(str, OLDEST))} or later is needed")

    async def schema(self) -> Mapping[str, frozenset[str]]:
        """Return the names of properties by class."""
        found = await self.call("GET", "schema")
        return {
            one["class"]: frozenset(prop["name"] for prop in one.get("properties") or ()) for one in found["classes"]
        }

    async def pages(self, collection: str) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the properties of all objects; references as they are stored, each as often as it is."""
        after = ""
        while True:
            query = {"class": collection, "limit": str(PAGE), "after": after}
            found = (await self.call("GET", "objects", query=query))["objects"]
            if not found:
                return
            after = found[-1]["id"]
            yield [one["properties"] for one in found]


def _refused(status: int, request: str, said: str) -> Exception:
    text = f"{request} is answered by {status}: {said[:500]}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return SinkRefuses(text)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return PermanentError(text)
    return TransientError(text)
