"""
Superset's REST API, signed in: each request carries a token, a session cookie and a CSRF token, and each may expire.

What Superset 6.1 answers was measured: a token that ended gives 401, one that is damaged 422 with `msg` in place of
`message`, and a lost cookie or CSRF token 400. Each is renewed once for a request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from handlers.contract import TransientError
from handlers.csv_to_iceberg.superset_settings import SupersetSettings
from handlers.tasks import ServiceUnusable

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0
"""Superset asks the database behind it, which may be slow."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Superset said to a request it understood."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """It did what was asked."""
        return self.status < HTTPStatus.BAD_REQUEST

    @property
    def reason(self) -> str:
        """What it said is wrong: text, texts by field, or a list of errors."""
        if errors := self.body.get("errors"):
            return "; ".join(str(error.get("message", error)) for error in errors if isinstance(error, dict))
        return _text(self.body.get("message", self.body.get("msg", "")))


@dataclass(slots=True)
class _Login:
    http: aiohttp.ClientSession
    """With the cookies of this login alone."""
    token: str
    csrf: str | None = None


class SupersetSession:
    """
    One user of one Superset. Signs in at the first request, and again when it has to.

    Args:
        settings: Where it is, and who asks.
        answer_seconds: Longest wait for an answer.
    """

    def __init__(self, settings: SupersetSettings, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self.settings = settings
        self._url = settings.url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=answer_seconds, connect=CONNECT_SECONDS)
        self._login: _Login | None = None
        self._turn = asyncio.Lock()

    @property
    def place(self) -> str:
        """Where Superset is, for messages: without what the address may hold of passwords."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> Answer:
        """Read; `query` is Superset's `q`. Raises as `send`."""
        return await self.send("GET", path, query=query)

    async def send(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Answer:
        """
        Send one request to `/api/v1/PATH`.

        Raises:
            ServiceUnusable: Superset does not answer, not as Superset does, or turns us away.
            TransientError: It failed over this request.
        """
        async with self._turn:
            renewed = set()
            while True:
                login = await self._signed_in()
                answer = await self._exchange(login, method, path, query, body)
                fault = _fault(answer)
                if fault is None:
                    return answer
                if fault in renewed:
                    raise ServiceUnusable(
                        f"Superset at {self.place} refuses the {fault} it just gave: {answer.reason}. Do all its "
                        "processes share one SECRET_KEY, and does its address pass cookies on?"
                    )
                renewed.add(fault)
                if fault == "token":
                    await self._sign_out()
                else:
                    login.csrf = None

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._sign_out()

    async def _sign_out(self) -> None:
        if self._login is not None:
            login, self._login = self._login, None
            await login.http.close()

    async def _signed_in(self) -> _Login:
        """Return the login, with a CSRF token."""
        if self._login is None:
            self._login = await self._sign_in()
        login = self._login
        if login.csrf is None:
            answer = await self._exchange(login, "GET", "security/csrf_token/")
            if _fault(answer) == "token":
                await self._sign_out()
                login = self._login = await self._sign_in()
                answer = await self._exchange(login, "GET", "security/csrf_token/")
            login.csrf = self._given(answer, "result")
        return login

    async def _sign_in(self) -> _Login:
        # An address of numbers gets its cookies back only from an unsafe jar, which is that of this one server.
        http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=self._timeout)
        login = _Login(http, "")
        try:
            login.token = await self._token(login)
        except BaseException:
            await http.close()
            raise
        return login

    async def _token(self, login: _Login) -> str:
        user, password = self.settings.user, self.settings.password.get_secret_value()
        who = {"username": user, "password": password, "provider": "db", "refresh": False}
        answer = await self._exchange(login, "POST", "security/login", body=who)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise ServiceUnusable(
                f"Superset at {self.place} does not let {user!r} in: superset_user or superset_password is wrong"
            )
        return self._given(answer, "access_token")

    def forbidden(self, what: str) -> ServiceUnusable:
        """Return what to raise when the user may not do a thing at all, and so for no table."""
        return ServiceUnusable(
            f"Superset at {self.place} forbids {self.settings.user!r} {what}: give it the role Alpha or Admin"
        )

    def _given(self, answer: Answer, name: str) -> str:
        given = answer.body.get(name)
        if answer.status == HTTPStatus.FORBIDDEN:
            raise self.forbidden("to sign requests")
        if not (answer.ok and isinstance(given, str)):
            raise ServiceUnusable(
                f"what answers at {self.place} is not Superset's API, or not ready: {answer.status} "
                f"{answer.reason}: is superset_url right?"
            )
        return given

    async def _exchange(
        self,
        login: _Login,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        headers = {"Accept": "application/json", "Referer": f"{self._url}/"}
        if login.token:
            headers["Authorization"] = f"Bearer {login.token}"
        if login.csrf is not None:
            headers["X-CSRFToken"] = login.csrf
        params = None if query is None else {"q": json.dumps(query)}
        url = f"{self._url}/api/v1/{path}"
        try:
            async with login.http.request(
                method, url, params=params, json=body, headers=headers, allow_redirects=False
            ) as response:
                text = await response.text(errors="replace")
                status, after = response.status, response.headers.get("Retry-After", "")
        except TimeoutError as error:
            raise ServiceUnusable(f"Superset at {self.place} did not answer in {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceUnusable(f"Superset at {self.place} does not answer: {error}") from error
        return self._understood(status, text, path, after)

    def _understood(self, status: int, text: str, path: str, after: str) -> Answer:
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:  # a fault of Superset over this request; others may pass
            raise TransientError(f"Superset at {self.place} answers {status} to {path}; its log says why")
        if status > HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = float(after) if after.isdecimal() else None
            raise ServiceUnusable(f"Superset at {self.place} answers {status} to {path}", retry_after=wait)
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ServiceUnusable(
                f"what answers at {self.place} is not Superset's API ({status} to {path}): is superset_url right?"
            )
        return Answer(status, body)


def _fault(answer: Answer) -> str | None:
    """Tell what of a login an answer refuses: its `token`, or its `session` (cookie and CSRF token)."""
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return "token"
    if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY and "msg" in answer.body:
        return "token"
    if answer.status == HTTPStatus.BAD_REQUEST and "CSRF" in answer.reason:
        return "session"
    return None


def _text(message: Any) -> str:
    if isinstance(message, dict):
        return "; ".join(f"{name}: {_text(value)}" for name, value in message.items())
    if isinstance(message, list):
        return "; ".join(map(_text, message))
    return str(message)
