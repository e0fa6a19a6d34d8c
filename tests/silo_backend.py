"""A backend that releases records as Loculus's does: ETags, 304, and bodies that are compressed, slow or cut."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import zstandard

LOOPBACK: Final = "127.0.0.1"


def record(accession: str = "LOC_1.1", *, sequence: str | None = "ATCG", **metadata: Any) -> dict[str, Any]:
    """Return a released record with one segment and one gene."""
    return {
        "metadata": {"accessionVersion": accession, "pipelineVersion": 1, **metadata},
        "alignedNucleotideSequences": {"main": sequence},
        "unalignedNucleotideSequences": {"main": sequence},
        "alignedAminoAcidSequences": {"gene1": "MD*"},
        "nucleotideInsertions": {"main": []},
        "aminoAcidInsertions": {"gene1": ["2:G"]},
    }


def packed(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Return records as they are released."""
    return zstandard.compress(b"".join(json.dumps(one).encode() + b"\n" for one in records))


@dataclass
class Request:
    """One that came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Answer:
    """What is sent; the body is sent in pieces, and not to its end where it is cut."""

    body: bytes = b""
    status: int = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    stalls: threading.Event | None = None
    """Waited for before the second half of the body."""


class Backend:
    """What a test sets and looks at."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.answers: dict[str, Answer] = {}
        """By path; the released data are made by `release`."""

    @property
    def downloads(self) -> list[Request]:
        return [one for one in self.requests if one.path == "/get-released-data"]

    def release(
        self, records: Sequence[Mapping[str, Any]], etag: str | None = '"1"', total: int | str | None = -1
    ) -> Answer:
        """Release records from now on, with the number of them as `x-total-records`."""
        headers = {"Content-Encoding": "zstd", "Content-Type": "application/x-ndjson"}
        if etag is not None:
            headers["ETag"] = etag
        if total is not None:
            headers["x-total-records"] = str(len(records) if total == -1 else total)
        answer = self.answers["/get-released-data"] = Answer(packed(records), headers=headers)
        return answer


@contextmanager
def serving() -> Iterator[Backend]:
    """Serve one on the loopback interface."""
    backend: Backend

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = dict(parse_qsl(parts.query))
            backend.requests.append(Request(self.command, parts.path, query, dict(self.headers), body))
            answer = backend.answers.get(parts.path, Answer(b"nothing here", HTTPStatus.NOT_FOUND))
            unchanged = self.headers.get("If-None-Match") == answer.headers.get("ETag", "none")
            if answer.status == HTTPStatus.OK and unchanged:
                answer = Answer(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": answer.headers["ETag"]})
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            half = len(answer.body) // 2
            if answer.cut_at is not None:
                self.wfile.write(answer.body[: answer.cut_at])
                self.close_connection = True
                return
            self.wfile.write(answer.body[:half])
            if answer.stalls is not None:
                self.wfile.flush()
                answer.stalls.wait(60)
            with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked did not wait for it
                self.wfile.write(answer.body[half:])

        do_GET = do_POST = _answer  # noqa: N815 (the server looks for these names)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the base class)
            del format, args

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    backend = Backend(f"http://{LOOPBACK}:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield backend
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
