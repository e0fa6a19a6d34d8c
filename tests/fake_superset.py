"""A small Superset that answers as 6.1 was measured to, faults included; it notes what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from aiohttp import web

Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]

USER, PASSWORD, DATABASE = "lakedrop", "right", "Trino Lakehouse"


class FakeSuperset:
    """
    Tables of one database, and the datasets made of them.

    `fault` is asked before each request beyond the login, and answers in place of Superset unless it returns None.
    """

    def __init__(self) -> None:
        self.password = PASSWORD
        self.databases = {DATABASE: 7}
        self.tables: dict[str, list[str]] = {}
        """What the database shows: columns by table."""
        self.datasets: dict[int, tuple[str, list[str]]] = {}
        self.asked: list[str] = []
        self.logins = 0
        self.fault: Fault | None = None
        self.url = ""
        self._sessions: dict[str, str] = {}
        self._numbers = 0
        self._tokens: set[str] = set()

    def expire_tokens(self) -> None:
        """Let 15 minutes pass."""
        self._tokens.clear()

    def lose_sessions(self) -> None:
        """Forget all cookies, and the CSRF tokens with them."""
        self._sessions.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        app = web.Application()
        app.router.add_route("*", "/api/v1/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911 (one for each thing it says)
        method, path = request.method, request.match_info["path"]
        self.asked.append(f"{method} {path}")
        if self.fault is not None and (answer := await self.fault(request)) is not None:
            return answer
        if path == "security/login":
            return await self._login(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token.count(".") != 2:  # header, claims, signature
            return web.json_response({"msg": "Not enough segments"}, status=422)
        if token not in self._tokens:
            return web.json_response({"msg": "Token has expired"}, status=401)
        if path == "security/csrf_token/":
            return self._csrf()
        if method != "GET" and (refused := self._unsigned(request)) is not None:
            return refused
        query = json.loads(request.query.get("q", "{}"))
        filters = {one["col"]: one["value"] for one in query.get("filters", ())}
        if path == "database/":
            found = [{"id": number, "database_name": name} for name, number in self.databases.items()]
            return _result(
                [one for one in found if one["database_name"] == filters.get("database_name", one["database_name"])]
            )
        return await self._dataset(request, method, path, filters)

    async def _login(self, request: web.Request) -> web.Response:
        body = await request.json()
        if (body["username"], body["password"], body["provider"]) != (USER, self.password, "db"):
            return web.json_response({"message": "Not authorized"}, status=401)
        self.logins += 1
        token = f"a.b.{self.logins}"
        self._tokens.add(token)
        return web.json_response({"access_token": token})

    def _csrf(self) -> web.Response:
        self._numbers += 1
        cookie, token = f"session-{self._numbers}", f"csrf-{self._numbers}"
        self._sessions[cookie] = token
        answer = _result(token)
        answer.set_cookie("session", cookie, httponly=True)
        return answer

    def _unsigned(self, request: web.Request) -> web.Response | None:
        reason = None
        if (given := request.headers.get("X-CSRFToken")) is None:
            reason = "The CSRF token is missing."
        elif (kept := self._sessions.get(request.cookies.get("session", ""))) is None:
            reason = "The CSRF session token is missing."
        elif kept != given:
            reason = "The CSRF token is invalid."
        elif "Referer" not in request.headers:
            reason = "The referrer header is missing."
        if reason is None:
            return None
        if request.content_type != "application/json":
            return web.Response(status=302, headers={"Location": "/login/"})
        errors = [{"message": f"400 Bad Request: {reason}", "error_type": "GENERIC_BACKEND_ERROR", "level": "error"}]
        return web.json_response({"errors": errors}, status=400)

    async def _dataset(self, request: web.Request, method: str, path: str, filters: dict[str, Any]) -> web.Response:  # noqa: PLR0911 (as above)
        if path == "dataset/":
            if filters["database"] not in self.databases.values() or filters["schema"] != "lakehouse":
                return _result([])
            return _result(
                [{"id": number} for number, (name, _) in self.datasets.items() if name == filters["table_name"]]
            )
        if path == "dataset/get_or_create/":
            return self._get_or_create((await request.json())["table_name"])
        number = int(path.split("/")[1])
        if number not in self.datasets:
            return web.json_response({"message": "Not found"}, status=404)
        name, columns = self.datasets[number]
        if method == "PUT":
            if name not in self.tables:
                return web.json_response({"message": "Dataset could not be updated."}, status=422)
            self.datasets[number] = (name, list(self.tables[name]))
            return web.json_response({"message": "OK"})
        shown = [{"column_name": column, "expression": None} for column in columns]
        shown.append({"column_name": "computed", "expression": "1 + 1"})
        return _result({"id": number, "schema": "lakehouse", "table_name": name, "columns": shown})

    def _get_or_create(self, name: str) -> web.Response:
        for number, (known, _) in self.datasets.items():
            if known == name:
                return _result({"table_id": number})
        if name not in self.tables:
            missing = f"Table [lakehouse.{name}] could not be found, please double check"
            return web.json_response({"message": {"table": [missing]}}, status=422)
        number = len(self.datasets) + 1
        self.datasets[number] = (name, list(self.tables[name]))
        return _result({"table_id": number})


class Once:
    """A fault of the first request whose method and path begin so; `fired` tells that it happened."""

    def __init__(self, beginning: str, answer: Callable[[], web.StreamResponse | None], times: int = 1) -> None:
        self.fired = 0
        self._beginning = beginning
        self._answer = answer
        self._times = times

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        asked = f"{request.method} {request.match_info['path']}"
        if self.fired >= self._times or not asked.startswith(self._beginning):
            return None
        self.fired += 1
        return self._answer()


async def hang(_request: web.Request) -> web.StreamResponse | None:
    """Answer nothing."""
    await asyncio.Event().wait()
    return None


def _result(result: Any) -> web.Response:
    return web.json_response({"result": result})
