"""
What can go wrong between a source and us, told by its status code and never by its text.

    TransientError
    ├── RateLimited       429: stop, and go on when the source allows it
    ├── SourceAway        it does not answer, or makes no sense: 5xx, timeouts, cut or broken bodies
    ├── ServiceUnusable
    │   └── SourceRefuses 401: nothing can be asked before somebody corrects the credentials
    └── Stopped           this process is told to end
    PermanentError
    └── NoSuchDataset     404, 410, 403: of one dataset
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from handlers.contract import PermanentError, TransientError
from handlers.tasks import ServiceUnusable

PAUSE_SECONDS: Final = 60.0
"""How long a source is left alone that limits us and does not say for how long."""

LONGEST_PAUSE: Final = 86_400.0
"""Longer ones are a mistake of the source."""

GONE: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class RateLimited(TransientError):
    """The source wants fewer requests."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.pause = retry_after
        """Seconds until it may be asked again."""


class SourceAway(TransientError):
    """The source does not answer, or not in a way that can be read."""


class SourceRefuses(ServiceUnusable):
    """The source does not accept the credentials."""


class NoSuchDataset(PermanentError):
    """The source has no such dataset, or does not show it."""


class Stopped(TransientError):
    """The work was broken off because this process ends; what is left is done later."""


def fault_of(status: int, headers: Mapping[str, str], what: str, now: float) -> TransientError | NoSuchDataset | None:
    """
    Return what an answer's status means; None when it is none of an error.

    Args:
        status: Of HTTP.
        headers: Of the answer, found whatever their case.
        what: Was asked for, such as `kaggle: anna/iris`.
        now: Epoch seconds.
    """
    if status < HTTPStatus.BAD_REQUEST:
        return None
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        pause = pause_of(headers.get("Retry-After"), now)
        return RateLimited(f"{what}: too many requests; goes on in {pause:.0f} s", retry_after=pause)
    if status == HTTPStatus.UNAUTHORIZED:
        return SourceRefuses(f"{what}: the credentials are not accepted (401): correct them")
    if status in GONE:
        return NoSuchDataset(f"{what}: not there, or not to be seen ({status})")
    return SourceAway(f"{what}: answered {status}")


def pause_of(retry_after: str | None, now: float) -> float:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, 10.2.3: seconds or a date), from 1 to a day."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except ValueError:
            seconds = PAUSE_SECONDS
    return min(max(seconds, 1.0), LONGEST_PAUSE)
