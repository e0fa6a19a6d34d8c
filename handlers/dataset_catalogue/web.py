"""Blocking HTTP to sources: paced, with a limit to its patience, and errors told by their status."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

import requests
from requests.adapters import HTTPAdapter

from handlers.answers import AnswerTooLarge, bounded, read
from handlers.dataset_catalogue.faults import SourceAway, fault_of
from handlers.dataset_catalogue.site import Site

AGENT = "lakedrop (dataset catalogue)"

MOST_BYTES: Final = 64 << 20
"""Of a document; a page of a listing has some hundred datasets."""


class Patience(HTTPAdapter):
    """Gives up on a server that is silent for so many seconds, or tells more than a document, whoever asks."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request; reading its answer may raise `AnswerTooLarge`."""
        kwargs["timeout"] = kwargs.get("timeout") or self._seconds
        answer = super().send(*args, **kwargs)
        # Who takes an answer piece by piece counts for himself; what comes with a redirection `requests` reads whole.
        return answer if kwargs.get("stream") and not answer.is_redirect else bounded(answer, MOST_BYTES)


class Web:
    """Requests to one source."""

    def __init__(self, site: Site, source: str) -> None:
        self._site = site
        self._source = source
        self._session = requests.Session()
        self._session.headers["User-Agent"] = AGENT
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Patience(site.timeout_seconds))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def json(self, url: str, parameters: Mapping[str, str | int] | None = None) -> Any:
        """
        GET a document.

        Raises:
            RateLimited, SourceAway, SourceRefuses, NoSuchDataset, Stopped: As `faults` says.
        """
        self._site.pace(self._source).turn()
        with told(self._source, url), self._session.get(url, params=parameters, stream=True) as answer:
            check(answer, f"{self._source}: {url}", self._site)
            return json.loads(read(answer, MOST_BYTES))

    def head(self, method: str, url: str) -> tuple[int, Mapping[str, str]]:
        """
        Ask for a page without its body; whoever asks keeps the pace. A redirection is followed.

        Returns:
            Status and headers, whatever they are.

        Raises:
            SourceAway: There is no answer.
        """
        with told(self._source, url), self._session.request(method, url, stream=True) as answer:
            return answer.status_code, answer.headers


def check(answer: requests.Response, what: str, site: Site) -> None:
    """Raise what an answer's status means, and let go of its connection."""
    if (fault := fault_of(answer.status_code, answer.headers, what, site.clock() / 1000)) is not None:
        answer.close()
        raise fault


@contextmanager
def told(source: str, what: str) -> Iterator[None]:
    """
    Translate the errors of `requests`, and of who reads what it brings.

    Raises:
        SourceAway: There is no answer, not all of it, too much, or nothing that makes sense.
    """
    try:
        yield
    except AnswerTooLarge as error:
        raise SourceAway(f"{source}: {what} {error}: see whether `endpoints` of the route leads elsewhere") from error
    except (requests.RequestException, ValueError) as error:  # a body that is no JSON among them
        raise SourceAway(f"{source}: {what}: {type(error).__name__}: {error}") from error
