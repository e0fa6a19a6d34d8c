"""Kaggle, Hugging Face and Zenodo on this machine: they answer as those do; slow, limited, broken or cut if need be."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

Fault = Literal["limited", "broken", "cut", "slow", "down", "refused", "odd", "large", "packed", "moved"]
"""
What becomes of one request: 429, half a document, half of an answer, none in time, 500, 401, another document; one of
`LARGE` bytes, of as many that are sent compressed, of as many that come with a redirection.
"""

LARGE = 1 << 20

LOOPBACK = "127.0.0.1"


@dataclass
class Sources:
    """What a test sets and looks at."""

    url: str
    requests: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """Method, path, and the query or body of each, in their order."""
    authorizations: list[str | None] = field(default_factory=list)
    faults: deque[Fault | None] = field(default_factory=deque)
    """Of the next requests; None: none."""
    retry_after: str | None = "7"
    fired: list[Fault] = field(default_factory=list)
    kaggle: list[dict[str, Any]] = field(default_factory=list)
    """In the order of the listing."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Of Meta Kaggle."""
    hub: list[dict[str, Any]] = field(default_factory=list)
    zenodo: list[dict[str, Any]] = field(default_factory=list)
    endless: bool = False
    """Zenodo's pages name a next one, whatever they hold."""
    pages: dict[str, int] = field(default_factory=dict)
    """Status by path."""
    page_size: int = 2
    over: threading.Event = field(default_factory=threading.Event)
    """Set at the end: slow answers need not be waited for."""

    @property
    def endpoints(self) -> dict[str, str]:
        return {"kaggle": self.url, "huggingface": self.url, "zenodo": self.url}

    def paths(self) -> list[str]:
        return [path.rpartition("/")[2] for _, path, _ in self.requests]


def kaggle_dataset(number: int, ref: str, *, title: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a dataset as Kaggle's API tells of it; the time has no offset."""
    return {
        "id": number,
        "ref": ref,
        "title": title or ref.rpartition("/")[2].title(),
        "url": f"https://www.kaggle.com/datasets/{ref}",
        "lastUpdated": "2026-09-01T10:00:00.123Z",
        "totalBytes": 10,
        "downloadCount": 3,
        "voteCount": 2,
        "viewCount": 9,
        "licenseName": "CC0-1.0",
        "description": f"All about {ref}",
        "tags": [{"name": "tabular"}],
        "somethingNew": {"unknown": True},
        **more,
    }


def hub_dataset(name: str, modified: str, **more: Any) -> dict[str, Any]:
    """Return a dataset as Hugging Face's listing tells of it."""
    return {
        "_id": "66f",
        "id": name,
        "author": name.partition("/")[0],
        "sha": "abc",
        "lastModified": modified,
        "createdAt": "2024-01-01T00:00:00.000Z",
        "private": False,
        "gated": "auto",
        "disabled": False,
        "downloads": 5,
        "likes": 1,
        "tags": ["license:mit", "format:parquet", "task_categories:other"],
        "description": f"About {name}",
        **more,
    }


def zenodo_record(number: int, title: str) -> dict[str, Any]:
    """Return a record as Zenodo's API has it."""
    return {
        "id": number + 1,
        "conceptrecid": str(number),
        "doi": f"10.5281/zenodo.{number}",
        "created": "2026-09-01T10:00:00.000000+00:00",
        "modified": "2026-09-02T10:00:00.000000+00:00",
        "metadata": {
            "title": title,
            "description": "<p>Ice &amp; snow</p>",
            "keywords": ["ice"],
            "license": {"id": "cc-by-4.0"},
        },
        "files": [{"key": "a.CSV", "size": 5}, {"key": "b.nc", "size": 6}],
        "stats": {"downloads": 3, "views": 4},
        "links": {"self_html": f"https://zenodo.org/records/{number}"},
    }


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class _Handler(BaseHTTPRequestHandler):
    sources: Sources
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        self._answer(at.path, {name: values[0] for name, values in parse_qs(at.query).items()})

    do_HEAD = do_GET  # noqa: N815 (the server looks for this name)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.path, json.loads(body))

    def _answer(self, path: str, asked: dict[str, Any]) -> None:
        sources = self.sources
        sources.requests.append((self.command, path, asked))
        sources.authorizations.append(self.headers.get("Authorization"))
        fault = sources.faults.popleft() if sources.faults else None
        if fault is not None:
            sources.fired.append(fault)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(fault, path, asked)

    def _send(self, fault: Fault | None, path: str, asked: dict[str, Any]) -> None:
        sources = self.sources
        match fault:
            case "limited":
                headers = {} if sources.retry_after is None else {"Retry-After": sources.retry_after}
                self._write(429, b'{"code": 429, "message": "wait"}', headers)
            case "down":
                self._write(500, b"<html>no rate limit here</html>", {"Content-Type": "text/html"})
            case "refused":
                self._write(401, b'{"code": 401, "message": "who are you?"}')
            case "broken":
                self._write(200, b'{"datasets": [{"id": ')
            case "odd":
                self._write(200, b'["not", "this"]')
            case "large" | "packed" | "moved":
                self._write(*_long(fault, sources))
            case "slow":
                sources.over.wait(30)
                self.close_connection = True
            case "cut" | None:
                status, content, headers = self._content(path, asked)
                self._write(status, content, headers, cut=fault == "cut")

    def _write(self, status: int, content: bytes, headers: dict[str, str] | None = None, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True

    def _content(self, path: str, asked: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        sources, size = self.sources, self.sources.page_size
        match path.rpartition("/")[2]:
            case "ListDatasets":
                some = [one for one in sources.kaggle if asked.get("search", "") in one["ref"]]
                begin = int(asked.get("pageToken") or 0)
                more = str(begin + size) if begin + size < len(some) else ""
                return _json({"datasets": some[begin : begin + size], "nextPageToken": more})
            case "GetDataset":
                ref = f"{asked['ownerSlug']}/{asked['datasetSlug']}"
                found = next((one for one in sources.kaggle if one["ref"] == ref), None)
                return (404, b'{"code": 404, "message": "no"}', {}) if found is None else _json(found)
            case "DownloadDataset":
                content = sources.files.get(asked["fileName"])
                kind = {"Content-Type": "application/octet-stream"}
                return (404, b'{"code": 404, "message": "no"}', {}) if content is None else (200, content, kind)
            case "datasets":
                begin = int(asked.get("cursor", 0))
                status, content, headers = _json(sources.hub[begin : begin + size])
                if begin + size < len(sources.hub):
                    headers["Link"] = f'<{sources.url}/api/datasets?cursor={begin + size}&full=true>; rel="next"'
                return status, content, headers
            case "records":
                begin = int(asked.get("page", 1)) - 1
                links = {"self": "here"}
                if sources.endless or (begin + 1) * size < len(sources.zenodo):
                    links["next"] = f"{sources.url}/api/records?page={begin + 2}"
                return _json({"hits": {"hits": sources.zenodo[begin * size : (begin + 1) * size]}, "links": links})
            case _:
                return sources.pages.get(path, 404), b'["a list crashes who asks for coding agents"]', {}


def _long(fault: Literal["large", "packed", "moved"], sources: Sources) -> tuple[int, bytes, dict[str, str]]:
    body = b" " * LARGE
    last = {"Connection": "close"}  # whoever reads no further hangs up
    match fault:
        case "large":
            return 200, body, last
        case "packed":
            return 200, gzip.compress(body), {"Content-Encoding": "gzip", **last}
        case "moved":
            return 302, body, {"Location": f"{sources.url}/elsewhere", **last}


def _json(document: Any) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(document).encode(), {}


@contextmanager
def serving_sources() -> Iterator[Sources]:
    """Serve all of them on a free port."""

    class Handler(_Handler):
        """Of these sources alone."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    sources = Sources(f"http://{LOOPBACK}:{server.server_port}")
    Handler.sources = sources
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield sources
    finally:
        sources.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
