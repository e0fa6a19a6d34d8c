"""
Texts to vectors, behind one small interface: a light model out of a package, or a server that speaks OpenAI's words.

Blocking; to be called on a lane of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
import requests
from pydantic import BaseModel, ConfigDict, ValidationError

from handlers.answers import AnswerTooLarge, read
from handlers.contract import PermanentError, SinkAway, SinkRefuses, TransientError

Kind = Literal["none", "wordllama", "openai"]

DEFAULT_KEY_VARIABLE: Final = "OPENAI_API_KEY"

MOST_TEXTS: Final = 256
"""Of one request; servers refuse more than some thousands, and a request that fails is repeated whole."""

TIMEOUT_SECONDS: Final = 120

MOST_BYTES: Final = 64 << 20
"""Of an answer: so many texts with vectors of 8,192 dimensions have some 50 MiB."""

_REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_NOT_NOW: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)
"""Answers below 500 that another try may change."""


class Embedder(Protocol):
    """Makes vectors of texts; the same text has the same vector."""

    name: str
    """Says the model: vectors of another name are no match for its own."""
    dimensions: int | None
    """None: known when the first text has a vector."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """
        Return a vector for each text, in their order.

        Raises:
            TransientError: The server does not answer, or wants to be asked later (`retry_after`).
            PermanentError: It will never take this request.
        """
        ...


def make_embedder(kind: Kind, *, url: str = "", model: str = "", key: str | None = None) -> Embedder | None:
    """
    Return the embedder of a kind; None for `none`.

    Args:
        kind: As in the options of a route.
        url: `openai`: the server's base address, such as `https://api.openai.com/v1`.
        model: `openai`: the name that the server knows the model by.
        key: `openai`: is sent as a bearer token; None sends none.
    """
    match kind:
        case "none":
            return None
        case "wordllama":
            return WordLlamaEmbedder()
        case "openai":
            return OpenAIEmbedder(url, model, key)


class WordLlamaEmbedder:
    """
    The model `l2_supercat` of wordllama: averaged token vectors, 16 MB, thousands of texts in a second on one core.

    Its weights and its tokenizer lie in the package; nothing is downloaded.
    """

    name: str = "wordllama/l2_supercat-256"
    dimensions: int | None = 256

    def __init__(self) -> None:
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        # Its import configures the logs of the whole process, and takes a while.
        import wordllama  # noqa: PLC0415

        root.handlers[:], root.level = handlers, level
        logging.getLogger("wordllama").setLevel(logging.WARNING)
        # By itself it looks for the tokenizer elsewhere than where its package has it, and then asks a model hub.
        place = Path(wordllama.__file__).parent
        self._model = wordllama.WordLlama.load(cache_dir=place, disable_download=True)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return unit vectors; zeros for a text without words."""
        if not texts:
            return []
        found = np.asarray(self._model.embed(list(texts)), dtype=np.float32)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        units: list[list[float]] = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0).tolist()
        return units


class _Embedding(BaseModel):
    model_config = ConfigDict(extra="ignore")

    index: int
    embedding: list[float]


class _Answer(BaseModel):
    """What `POST /embeddings` returns; OpenAI API reference, "Create embeddings"."""

    model_config = ConfigDict(extra="ignore")

    data: list[_Embedding]


class OpenAIEmbedder:
    """A server that has `POST <url>/embeddings`: OpenAI, vLLM, Ollama, text-embeddings-inference and others."""

    def __init__(self, url: str, model: str, key: str | None) -> None:
        self.name = f"openai/{model}"
        self.dimensions: int | None = None
        self._url = f"{url.rstrip('/')}/embeddings"
        self._model = model
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return vectors as the server gives them, `MOST_TEXTS` at a time; raises as the interface says."""
        found: list[list[float]] = []
        for begin in range(0, len(texts), MOST_TEXTS):
            found += self._ask(texts[begin : begin + MOST_TEXTS])
        return found

    def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        # Some servers refuse a text without any character.
        body = {"model": self._model, "input": [text or " " for text in texts]}
        try:
            with requests.post(
                self._url, json=body, headers=self._headers, timeout=TIMEOUT_SECONDS, stream=True
            ) as answer:
                said = read(answer, MOST_BYTES)
        except requests.RequestException as error:
            raise SinkAway(f"{self._url}: {type(error).__name__}: {error}") from error
        except AnswerTooLarge as error:
            raise TransientError(
                f"{self._url} {error} to {len(texts)} texts: is `embedder_url` a server of embeddings?"
            ) from error
        self._refuse(answer, said)
        try:
            data = sorted(_Answer.model_validate_json(said).data, key=lambda one: one.index)
        except ValidationError as error:
            shown = said[:200].decode(errors="replace")
            raise TransientError(f"{self._url} answers something else than embeddings: {shown}") from error
        if [one.index for one in data] != list(range(len(texts))):
            raise TransientError(f"{self._url} gave {len(data)} vectors for {len(texts)} texts")
        self.dimensions = len(data[0].embedding)
        return [one.embedding for one in data]

    def _refuse(self, answer: requests.Response, body: bytes) -> None:
        if answer.status_code < HTTPStatus.BAD_REQUEST:
            return
        said = f"{self._url} answers {answer.status_code} {answer.reason}: {body[:500].decode(errors='replace')}"
        if answer.status_code in _REFUSED:
            raise SinkRefuses(said)
        if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status_code not in _NOT_NOW:
            raise PermanentError(said)
        given = answer.headers.get("Retry-After", "")
        raise TransientError(said, retry_after=float(given) if given.isdecimal() else None)
