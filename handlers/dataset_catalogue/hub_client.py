"""
Hugging Face's API through `huggingface_hub`.

Its client has one session for the whole process, without a limit to its patience or to what it reads; it waits and
tries again by itself, for as long as a server says. So for a listing it is given a session that keeps the pace, waits
where it may be woken, and raises what cannot be waited out.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import httpx2

# Or it asks the hub which coding agents there are, before its first request, to put ours into every one.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from huggingface_hub import DatasetInfo, HfApi, close_session, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from handlers.answers import PIECE, counted
from handlers.dataset_catalogue.descriptions import Description, aware
from handlers.dataset_catalogue.faults import NoSuchDataset, RateLimited, SourceAway, Stopped, fault_of
from handlers.dataset_catalogue.site import Site
from handlers.dataset_catalogue.web import MOST_BYTES, told

SOURCE: Final = "huggingface"

LONGEST_WAIT: Final = 300.0
"""Seconds that a listing waits when it is limited, as there is no way to go on in its middle: a window of the hub's."""

MOST_WAITS: Final = 5

ENCODINGS: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers that say how a body was sent, which is not how it is once it is read."""


class _Paced(httpx2.Client):
    """A session whose requests keep the pace."""

    def __init__(self, site: Site) -> None:
        super().__init__(timeout=site.timeout_seconds, follow_redirects=True)
        self._site = site

    def request(self, method: str, url: Any, **kwargs: Any) -> httpx2.Response:
        """Send a request, again when the hub says when; raises what `faults` lists."""
        kwargs["timeout"] = kwargs.get("timeout") or self._site.timeout_seconds  # listings ask for none at all
        waits = 0
        while True:
            self._site.pace(SOURCE).turn()
            try:
                with told(SOURCE, str(url)):
                    answer = super().request(method, url, **kwargs)
            except httpx2.RequestError as error:
                raise SourceAway(f"{SOURCE}: {url}: {type(error).__name__}: {error}") from error
            fault = fault_of(answer.status_code, answer.headers, f"{SOURCE}: {url}", self._site.clock() / 1000)
            if fault is None:
                return answer
            if not isinstance(fault, RateLimited) or fault.pause > LONGEST_WAIT or waits == MOST_WAITS:
                raise fault
            waits += 1
            if self._site.wait(fault.pause):
                raise Stopped

    def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        """Send a request, follow redirections, and read the answer; raises `AnswerTooLarge`."""
        for _ in range(self.max_redirects):
            # The client itself would read to the end, also what comes with a redirection.
            answer = super().send(request, **{**kwargs, "stream": True, "follow_redirects": False})
            with closing(answer):
                if answer.next_request is None:
                    return _whole(answer)
                request = answer.next_request
        raise httpx2.TooManyRedirects(f"more than {self.max_redirects} redirections", request=request)


def newest(site: Site, limit: int) -> Generator[Description]:
    """
    Yield datasets, those that were modified last first; `limit` 0 means all.

    Raises:
        RateLimited, SourceAway, SourceRefuses, Stopped: As `faults` says.
    """
    token = site.credentials.huggingface_token
    api = HfApi(endpoint=site.endpoints[SOURCE], token=token or False)
    with _session(site):
        try:
            for found in api.list_datasets(sort="last_modified", full=True, limit=limit or None):
                yield _description(found, site.endpoints[SOURCE])
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # it reads answers as they should be
            raise SourceAway(f"{SOURCE}: an answer that makes no sense: {error}") from error
        except NoSuchDataset as error:
            raise SourceAway(error.message) from error


def _whole(answer: httpx2.Response) -> httpx2.Response:
    headers = [(name, value) for name, value in answer.headers.multi_items() if name.lower() not in ENCODINGS]
    said = b"".join(counted(answer.iter_bytes(PIECE), MOST_BYTES))
    return httpx2.Response(answer.status_code, headers=headers, content=said, request=answer.request)


@contextmanager
def _session(site: Site) -> Iterator[None]:
    set_client_factory(lambda: _Paced(site))
    try:
        yield
    finally:
        close_session()
        set_client_factory(default_client_factory)


def _description(found: DatasetInfo, endpoint: str) -> Description:
    tags = list(found.tags or ())
    files = [sibling.rfilename for sibling in found.siblings or ()]
    meta = {
        "author": found.author,
        "sha": found.sha,
        "gated": found.gated,
        "disabled": found.disabled,
        "private": found.private,
        "files": len(files) or None,
    }
    return Description(
        external_id=found.id,
        ref=found.id,
        title=(found.card_data.get("pretty_name") if found.card_data else None) or found.id.rpartition("/")[2],
        url=f"{endpoint}/datasets/{found.id}",
        description=(found.description or "").strip() or None,
        tags=tags or None,
        license=_after(tags, "license:") or None,
        file_formats=sorted(tag.partition(":")[2] for tag in tags if tag.startswith("format:")) or None,
        download_count=found.downloads,
        like_count=found.likes,
        source_created_at=aware(found.created_at),
        source_updated_at=aware(found.last_modified),
        source_meta={name: value for name, value in meta.items() if value is not None},
    )


def _after(tags: list[str], prefix: str) -> str:
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), "")
