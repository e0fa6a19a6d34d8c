"""A server that speaks Trino's protocol and answers as a test says."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = tuple[int, dict[str, Any] | str]


class FakeTrino(ThreadingHTTPServer):
    """Gives the next of its answers to every request, and remembers what was asked."""

    def __init__(self, certificates: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._scheme = "http"
        if certificates is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificates / "public.crt", certificates / "private.key")
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self._scheme = "https"
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, str]] = []
        """Method, path and body."""
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_port}"

    def page(self, number: int, **more: Any) -> Answer:
        """Return a page that says where the next one is."""
        return last_page(nextUri=f"{self.url}/page/{number}", **more)


def last_page(**more: Any) -> Answer:
    """Return what Trino says when there is no more to come."""
    return 200, {"id": "q", "infoUri": "", "stats": {}, **more}


def column(name: str, kind: str) -> dict[str, Any]:
    """Return the head of a column, of a type without arguments."""
    return {"name": name, "type": kind, "typeSignature": {"rawType": kind, "arguments": []}}


class _Handler(BaseHTTPRequestHandler):
    server: FakeTrino

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.asked.append((self.command, self.path, body))
        self.server.headers.append(dict(self.headers))
        status, content = self.server.answers.pop(0)
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # as `http.server` looks for them

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as `http.server` has it
        pass


@contextmanager
def fake_trino(certificates: Path | None = None) -> Iterator[FakeTrino]:
    """Run one; by HTTPS, with a folder that `tests.stack.certificates` made."""
    server = FakeTrino(certificates)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # it looks so often whether it is to end
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
