"""Texts to vectors: a model of this machine, and a server on it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from handlers.contract import PermanentError, SinkAway, SinkRefuses, TransientError
from handlers.embedders import MOST_BYTES, MOST_TEXTS, Embedder, make_embedder


class Server(ThreadingHTTPServer):
    """Answers with the length of each text; the last first, as it may."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes | None = None
        self.asked: list[tuple[str, str | None, Any]] = []


class Answers(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), asked))
        data = [{"index": at, "embedding": [float(len(text)), 1.0]} for at, text in enumerate(asked["input"])]
        body = self.server.body or json.dumps({"data": data[::-1]}).encode()
        self.send_response(self.server.status)
        for name, value in {**self.server.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # whoever asked may have read enough
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (as the library has it)
        del format, args


@contextmanager
def serving() -> Iterator[tuple[Server, Embedder]]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        made = make_embedder("openai", url=f"http://127.0.0.1:{server.server_port}/v1/", model="small", key="secret")
        assert made is not None
        try:
            yield server, made
        finally:
            server.shutdown()
            thread.join()


def test_nothing_embeds_where_nothing_shall() -> None:
    assert make_embedder("none") is None


def test_the_light_model_knows_what_is_alike_and_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests.get", lambda *_a, **_k: pytest.fail("it asked the network"))
    before = list(logging.getLogger().handlers)
    made = make_embedder("wordllama")
    assert made is not None
    drive, lorry, bread, empty = made.embed(["drive a truck", "operate a lorry", "bake bread", ""])

    assert logging.getLogger().handlers == before
    assert made.dimensions == len(drive) == 256
    assert math.hypot(*drive) == pytest.approx(1)
    assert set(empty) == {0.0}
    assert sum(a * b for a, b in zip(drive, lorry, strict=True)) > sum(a * b for a, b in zip(drive, bread, strict=True))
    assert made.embed(["drive a truck"]) == [drive]
    assert made.embed([]) == []


def test_a_server_is_asked_for_so_many_texts_at_a_time_and_their_order_is_kept() -> None:
    texts = ["x" * (number % 7) for number in range(MOST_TEXTS + 3)]
    with serving() as (server, made):
        found = made.embed(texts)

    assert [vector[0] for vector in found] == [len(text) or 1 for text in texts]
    assert [(path, key, asked["model"], len(asked["input"])) for path, key, asked in server.asked] == [
        ("/v1/embeddings", "Bearer secret", "small", MOST_TEXTS),
        ("/v1/embeddings", "Bearer secret", "small", 3),
    ]
    assert (made.name, made.dimensions) == ("openai/small", 2)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, PermanentError), (404, PermanentError), (401, SinkRefuses), (429, TransientError), (503, TransientError)],
)
def test_a_refusal_says_whether_to_try_again(status: int, error: type[Exception]) -> None:
    with serving() as (server, made):
        server.status, server.body = status, b"for a reason"
        with pytest.raises(error, match="for a reason"):
            made.embed(["a"])


def test_a_server_that_wants_to_be_asked_later_is() -> None:
    with serving() as (server, made):
        server.status, server.headers = 429, {"Retry-After": "7"}
        with pytest.raises(TransientError) as caught:
            made.embed(["a"])

    assert caught.value.retry_after == 7


@pytest.mark.parametrize("body", [b"<html>", b'{"data": []}', b'{"data": [{"index": 3, "embedding": [1]}]}'])
def test_an_answer_that_is_no_vector_of_each_text_is_not_taken(body: bytes) -> None:
    with serving() as (server, made):
        server.body = body
        with pytest.raises(TransientError, match="/v1/embeddings"):
            made.embed(["a"])


def test_a_server_that_is_not_there_is_away() -> None:
    made = make_embedder("openai", url="http://127.0.0.1:9/v1", model="small")
    assert made is not None
    with pytest.raises(SinkAway):
        made.embed(["a"])


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_without_an_end_is_not_read_to_it(status: int) -> None:
    with serving() as (server, made):
        server.status, server.body = status, bytes(MOST_BYTES + (1 << 20))
        with pytest.raises(TransientError, match="more than 64 MiB to 1 texts: is `embedder_url`"):
            made.embed(["a"])
