"""Datasets of an Argilla, real or small, as tests set them up and look at them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import aiohttp

TEXT = "The Bounty sailed from Spithead in 1787."


SPANS = {
    "type": "span",
    "field": "text",
    "options": [{"value": "SHIP", "text": "Ship"}, {"value": "PORT", "text": "Port"}],
    "allow_overlapping": False,
}
KINDS = [{"value": "log", "text": "Log"}, {"value": "letter", "text": "Letter"}]


class Client:
    """Speaks to an Argilla below `/api/v1`; `send` returns status and body."""

    def __init__(self, http: aiohttp.ClientSession, url: str, api_key: str) -> None:
        self._http = http
        self.url = f"{url}/api/v1"
        self.headers = {"X-Argilla-Api-Key": api_key}

    async def send(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self._http.request(method, f"{self.url}/{path}", json=body, headers=self.headers) as answer:
            return answer.status, await answer.json() if answer.content_type == "application/json" else None

    async def get(self, path: str) -> Any:
        status, body = await self.send("GET", path)
        assert status == 200, body
        return body

    async def create(self, path: str, body: object) -> Any:
        status, answer = await self.send("POST", path, body)
        assert status == 201, answer
        return answer


class Made:
    """A published dataset with a text, a question of each kind and metadata."""

    def __init__(self, client: Client, workspace: str, number: str, questions: dict[str, str]) -> None:
        self.client = client
        self.workspace = workspace
        self.path = f"datasets/{number}"
        self.questions = questions

    async def upsert(self, *items: dict[str, Any]) -> tuple[int, Any]:
        return await self.client.send("PUT", f"{self.path}/records/bulk", {"items": items})

    async def store(self, *items: dict[str, Any]) -> list[Any]:
        status, body = await self.upsert(*items)
        assert status == 200, body
        found: list[Any] = body["items"]
        return found

    async def records(self) -> list[Any]:
        found = await self.client.get(f"{self.path}/records?limit=1000&include=suggestions,responses")
        assert found["total"] == len(found["items"])
        items: list[Any] = found["items"]
        return items

    def item(self, name: str, *suggestions: dict[str, Any], text: str = TEXT, **others: Any) -> dict[str, Any]:
        return {"external_id": name, "fields": {"text": text}, "suggestions": list(suggestions), **others}

    def spans(self, *spans: tuple[int, int, str], **others: Any) -> dict[str, Any]:
        value = [{"start": start, "end": end, "label": label} for start, end, label in spans]
        return {"question_id": self.questions["entities"], "value": value, "agent": "m:1", "type": "model", **others}


async def make(client: Client) -> Made:
    """Create a workspace, and in it a dataset `vessels`."""
    workspace = (await client.create("workspaces", {"name": f"w-{uuid4().hex[:12]}"}))["id"]
    about = {"name": "vessels", "workspace_id": workspace, "allow_extra_metadata": False}
    number = (await client.create("datasets", about))["id"]
    field = {"name": "text", "title": "Text", "required": True, "settings": {"type": "text", "use_markdown": False}}
    await client.create(f"datasets/{number}/fields", field)
    settings = {
        "entities": SPANS,
        "comment": {"type": "text", "use_markdown": False},
        "kind": {"type": "label_selection", "options": KINDS},
        "kinds": {"type": "multi_label_selection", "options": KINDS},
    }
    questions = {}
    for name, each in settings.items():
        body = {"name": name, "title": name, "required": name == "entities", "settings": each}
        questions[name] = (await client.create(f"datasets/{number}/questions", body))["id"]
    for name, kind in {"doc_id": "terms", "page_num": "integer", "weight": "float"}.items():
        body = {"name": name, "title": name, "settings": {"type": kind}}
        await client.create(f"datasets/{number}/metadata-properties", body)
    status, published = await client.send("PUT", f"datasets/{number}/publish")
    assert (status, published["status"]) == (200, "ready")
    return Made(client, workspace, number, questions)
