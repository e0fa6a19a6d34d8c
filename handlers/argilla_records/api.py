"""
Argilla's REST API, as its server 2.8 answers: every answer becomes a result, or an error that says what to do.

Measured: a call to write that ends in 500, or in a reset connection, may have stored its rows; the `detail` of a 422 is
text or a table; `Authorization: ApiKey` gives 401, `X-Argilla-Api-Key` does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from handlers.argilla_records.options import ArgillaSettings
from handlers.contract import (
    HandlerError,
    OutcomeUnknown,
    PermanentError,
    SinkAway,
    SinkRefuses,
    TransientError,
)
from handlers.once import once

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 120.0
"""A call with 500 records was seen to take 6 s on a busy machine, and 23 s to be refused."""

SHOWN: Final = 500
"""Characters of an answer that are told."""


class Refused(HandlerError):
    """Argilla does not take what was sent: 422, or more than the way to it lets through. Sending it again is no use."""


class Taken(HandlerError):
    """There is one of this name already: 409."""


class NotThere(HandlerError):
    """There is no such thing: 404."""


class Broken(OutcomeUnknown):
    """Argilla itself says that it failed: nobody knows what it stored, but the call is over."""


class Api:
    """
    One user of one Argilla.

    Args:
        settings: Where it is, and who asks.
        answer_seconds: Longest wait for an answer.
    """

    def __init__(self, settings: ArgillaSettings, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._url = settings.url.rstrip("/")
        self._key = settings.api_key
        self._timeout = aiohttp.ClientTimeout(total=answer_seconds, connect=CONNECT_SECONDS)
        self._http: aiohttp.ClientSession | None = None
        parts = urlsplit(self._url)
        self.place = f"Argilla at {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        """For messages."""

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Read; raises as `send`."""
        return await self.send("GET", path, query=query)

    async def send(self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """
        Send one request to `/api/v1/PATH`; return the JSON of the answer, None of one without.

        Raises:
            Refused: See there; as the following two.
            Taken: ...
            NotThere: ...
            PermanentError: The user may not do this.
            SinkRefuses: The key is wrong.
            SinkAway: Argilla does not answer, or something else does.
            Broken: It may or may not have written, and is done with it.
            OutcomeUnknown: It may or may not have written, or do so yet.
            TransientError: It failed over reading.
        """
        headers = {"X-Argilla-Api-Key": self._key.get_secret_value(), "Accept": "application/json"}
        data = None if body is None else orjson.dumps(body)
        if data is not None:
            headers["Content-Type"] = "application/json"
        writes = method != "GET"
        try:
            async with self._session().request(
                method, f"{self._url}/api/v1/{path}", data=data, params=query, headers=headers, allow_redirects=False
            ) as response:
                content = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise SinkAway(f"{self.place} does not answer: {error}") from error
        except TimeoutError as error:
            message = f"{self.place} did not answer {method} {path} in {self._timeout.total:g} s"
            raise (OutcomeUnknown(message) if writes else SinkAway(message)) from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"{self.place} broke off {method} {path}: {str(error) or type(error).__name__}"
            raise (OutcomeUnknown(message) if writes else TransientError(message)) from error
        return self._understood(method, path, response, content)

    def _understood(self, method: str, path: str, response: aiohttp.ClientResponse, content: bytes) -> Any:
        status = response.status
        if status == HTTPStatus.NO_CONTENT:
            return None
        try:
            answer = orjson.loads(content)
        except ValueError:
            answer = None
        if status < HTTPStatus.MULTIPLE_CHOICES and answer is not None:
            return answer
        if status < HTTPStatus.MULTIPLE_CHOICES and method != "GET":
            raise OutcomeUnknown(f"{self.place}: {method} {path}: {status}, and what is no JSON")
        raise self._error(method, path, response, answer, content)

    def _error(  # noqa: PLR0911 (one for each thing to do)
        self, method: str, path: str, response: aiohttp.ClientResponse, answer: Any, content: bytes
    ) -> HandlerError:
        status, detail = response.status, _detail(answer, content)
        asked = f"{method} {path}: {status} {detail}".rstrip()
        match status:
            case HTTPStatus.UNPROCESSABLE_ENTITY | HTTPStatus.REQUEST_ENTITY_TOO_LARGE | HTTPStatus.BAD_REQUEST:
                return Refused(detail or asked)
            case HTTPStatus.CONFLICT:
                return Taken(detail)
            case HTTPStatus.NOT_FOUND:
                return NotThere(f"{self.place}: {asked}")
            case HTTPStatus.UNAUTHORIZED:
                return SinkRefuses(f"{self.place} refuses the key: argilla_api_key (ARGILLA_API_KEY) is wrong")
            case HTTPStatus.FORBIDDEN:
                return PermanentError(
                    f"{self.place} forbids the user of argilla_api_key {method} {path}: use the key of an owner, or of "
                    "an admin who is a member of the workspace"
                )
            case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE:
                after = response.headers.get("Retry-After", "")
                # A proxy says 503 also when the connection behind it broke.
                unknown = status == HTTPStatus.SERVICE_UNAVAILABLE and method != "GET"
                kind = OutcomeUnknown if unknown else TransientError
                return kind(f"{self.place}: {asked}", retry_after=float(after) if after.isdecimal() else None)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            message = f"{self.place}: {asked}; its log says more"
            if method == "GET":
                return TransientError(message)
            # Argilla says so when the call has ended; who stands before it may just have given up, and has other words.
            ended = status == HTTPStatus.INTERNAL_SERVER_ERROR and isinstance(answer, dict) and "detail" in answer
            return (Broken if ended else OutcomeUnknown)(message)
        return SinkAway(f"what answers there is not {self.place}: {asked}: is argilla_url right?")

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            # A connection of its own for each call: one that is kept may end just when a call is sent, which then has
            # no answer. Argilla ends them after five seconds.
            connector = aiohttp.TCPConnector(force_close=True)
            self._http = aiohttp.ClientSession(timeout=self._timeout, connector=connector, middlewares=(once,))
        return self._http

    async def aclose(self) -> None:
        """Let go of connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None


def _detail(answer: Any, content: bytes) -> str:
    """Return what an answer says is wrong: a text, or a table with a list of errors."""
    detail = answer.get("detail", answer) if isinstance(answer, dict) else content.decode(errors="replace")
    if isinstance(detail, dict):
        params = detail.get("params") or {}
        errors = params.get("errors") if isinstance(params, dict) else None
        if isinstance(errors, list):
            parts = (f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg')}" for one in errors)
            detail = "; ".join(parts)
        else:
            detail = " ".join(str(part) for part in (detail.get("code"), params or "") if part)
    return " ".join(str(detail).split())[:SHOWN]
