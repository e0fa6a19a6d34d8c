"""A small Argilla that answers as 2.8 does, faults included; tests/contract/test_argilla.py holds both to one suite."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import uuid4

from aiohttp import web

from tests.argilla_dataset import USER, AnswerError, Dataset, Engine, Record, times

API_KEY: Final = "of-tests"

VERSION: Final = "2.8.0"


@dataclass
class Fault:
    """What goes wrong with calls of a method to paths like a pattern, `times` times."""

    method: str
    path: str
    """A regular expression for the whole of it, below `/api/v1/`."""
    status: int | None = None
    """Answered in place of what would be; None closes the connection without an answer."""
    body: object = None
    stored: bool = False
    """The call does its work before it goes wrong."""
    until: asyncio.Event | None = None
    """Nothing is answered before this is set, and then what would have been without a fault."""
    times: int = 1
    fired: int = 0


class FakeArgilla:
    """
    Workspaces and their datasets.

    `faults` go wrong one after the other, each as often as it says. `engine.state` is "down", so that what is sent is
    stored and answered with 500, or "wiped", so that nothing is indexed any more and nobody told.
    """

    def __init__(self) -> None:
        self.api_key = API_KEY
        self.url = ""
        self.engine = Engine()
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        """Every call: method, path, and how many items it had."""
        self.workspaces: dict[str, dict[str, Any]] = {}
        self.datasets: dict[str, Dataset] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/api/v1/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def dataset(self, name: str) -> Dataset:
        """Return the dataset of a name."""
        (found,) = (each for each in self.datasets.values() if each.about["name"] == name)
        return found

    def reindex(self) -> None:
        """Do what the server's command `search-engine reindex` does."""
        self.engine.state = "up"
        for dataset in self.datasets.values():
            dataset.reindex()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        path = request.match_info["path"]
        sent = f" {len(body['items'])}" if body and "items" in body else ""
        self.asked.append(f"{request.method} {path}{sent}")
        fault = self._fault(request.method, path)
        if fault is None:
            return self._work(request, path, body)
        answer = self._work(request, path, body) if fault.stored else None
        if fault.until is not None:
            await fault.until.wait()
            return answer or self._work(request, path, body)
        if fault.status is None:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(fault.body, status=fault.status or 500)

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.fired < fault.times and fault.method == method and re.fullmatch(fault.path, path):
                fault.fired += 1
                return fault
        return None

    def _work(self, request: web.Request, path: str, body: Any) -> web.Response:
        try:
            if path not in {"version", "status"}:
                self._authenticate(request)
            status, answer = self._route(request.method, path.split("/"), request.query, body)
        except AnswerError as answered:
            return web.json_response({"detail": answered.detail}, status=answered.status)
        return web.Response(status=status) if answer is None else web.json_response(answer, status=status)

    def _authenticate(self, request: web.Request) -> None:
        if request.headers.get("X-Argilla-Api-Key") != self.api_key:
            params = {"detail": "Could not validate credentials"}
            raise AnswerError(401, {"code": "argilla.api.errors::UnauthorizedError", "params": params})

    def _route(  # noqa: PLR0911 (one case for each call)
        self, method: str, path: list[str], query: Mapping[str, str], body: Any
    ) -> tuple[int, Any]:
        match method, path:
            case "GET", ["version"]:
                return 200, {"version": VERSION}
            case "GET", ["status"]:
                self.engine.reach()
                return 200, {"version": VERSION, "search_engine": {"cluster_name": "tests"}}
            case "GET", ["me"]:
                return 200, USER
            case "GET", ["me", "workspaces"]:
                return 200, {"items": list(self.workspaces.values())}
            case "POST", ["workspaces"]:
                return 201, self._create_workspace(body)
            case "GET", ["me", "datasets"]:
                return 200, {"items": self._list_datasets(query)}
            case "POST", ["datasets"]:
                return 201, self._create_dataset(body)
            case _, ["datasets", number, *rest] | ["me", "datasets", number, *rest]:
                return self._of_dataset(method, number, rest, query, body)
            case _, ["records", number, *rest]:
                return self._of_record(method, number, rest, query, body)
        raise AnswerError(404, "Not Found")

    def _create_workspace(self, body: Any) -> Any:
        if body["name"] in self.workspaces:
            raise AnswerError(409, f"Workspace name `{body['name']}` is not unique")
        self.workspaces[body["name"]] = {"id": str(uuid4()), "name": body["name"], **times()}
        return self.workspaces[body["name"]]

    def _list_datasets(self, query: Mapping[str, str]) -> list[Any]:
        wanted = {key: value for key, value in query.items() if key in {"name", "workspace_id", "status"}}
        found = [dataset.about for dataset in self.datasets.values()]
        return [about for about in found if all(about[key] == value for key, value in wanted.items())]

    def _create_dataset(self, body: Any) -> Any:
        name, workspace = body["name"], body["workspace_id"]
        if workspace not in [each["id"] for each in self.workspaces.values()]:
            raise AnswerError(422, f"Workspace with id `{workspace}` not found")
        if self._list_datasets({"name": name, "workspace_id": workspace}):
            raise AnswerError(409, f"Dataset with name `{name}` already exists for workspace with id `{workspace}`")
        about = {
            "id": str(uuid4()),
            "name": name,
            "guidelines": body.get("guidelines"),
            "allow_extra_metadata": body.get("allow_extra_metadata", True),
            "status": "draft",
            "distribution": body.get("distribution", {"strategy": "overlap", "min_submitted": 1}),
            "metadata": body.get("metadata"),
            "workspace_id": workspace,
            **times(),
        }
        self.datasets[about["id"]] = Dataset(about, self.engine)
        return about

    def _of_dataset(  # noqa: C901, PLR0911, PLR0912 (one case for each call)
        self, method: str, number: str, path: list[str], query: Mapping[str, str], body: Any
    ) -> tuple[int, Any]:
        if number not in self.datasets:
            raise AnswerError(404, f"Dataset with id `{number}` not found")
        dataset = self.datasets[number]
        match method, path:
            case "GET", []:
                return 200, dataset.about
            case "DELETE", []:
                return 200, self.datasets.pop(number).about
            case "GET", ["fields"]:
                return 200, {"items": dataset.fields}
            case "GET", ["questions"]:
                return 200, {"items": dataset.questions}
            case "GET", ["metadata-properties"]:
                return 200, {"items": dataset.properties}
            case "POST", ["fields"]:
                refused = "Field cannot be created for a published dataset"
                return 201, dataset.add(dataset.fields, "Field", body, refused)
            case "POST", ["questions"]:
                refused = "questions cannot be created for a published dataset"
                return 201, dataset.add(dataset.questions, "Question", body, refused)
            case "POST", ["metadata-properties"]:
                return 201, dataset.add(dataset.properties, "Metadata property", body, None)
            case "PUT", ["publish"]:
                return 200, dataset.publish()
            case "PUT", ["records", "bulk"]:
                return 200, dataset.upsert(body)
            case "GET", ["records"]:
                return 200, dataset.list_records(query)
            case "DELETE", ["records"]:
                dataset.delete_records(query["ids"])
                return 204, None
            case "POST", ["records", "search"]:
                return 200, dataset.search(query, body)
            case "GET", ["progress"]:
                return 200, dataset.progress()
        raise AnswerError(405, "Method Not Allowed")

    def _of_record(
        self, method: str, number: str, path: list[str], query: Mapping[str, str], body: Any
    ) -> tuple[int, Any]:
        dataset, record = self._record(number)
        match method, path:
            case "GET", []:
                return 200, dataset.shown(record, ("suggestions", "responses"))
            case "PATCH", []:
                return 200, dataset.patch(record, body)
            case "POST", ["responses"]:
                return 201, dataset.respond(record, body)
            case "GET", ["suggestions"]:
                return 200, {"items": list(record.suggestions.values())}
            case "DELETE", ["suggestions"]:
                dataset.delete_suggestions(record, query["ids"])
                return 204, None
        raise AnswerError(405, "Method Not Allowed")

    def _record(self, number: str) -> tuple[Dataset, Record]:
        for dataset in self.datasets.values():
            if number in dataset.records:
                return dataset, dataset.records[number]
        raise AnswerError(404, f"Record with id `{number}` not found")
