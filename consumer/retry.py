"""What follows a failed attempt. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from handlers.contract import HandlerError, PermanentError, TransientError

DEFAULT_DELAYS: Final = (5.0, 30.0, 120.0, 600.0, 3600.0)
"""Seconds: long enough for a restart, a deployment and a night-time backup to pass."""

MESSAGE_LIMIT: Final = 2000
"""Characters of an error that are kept: libraries put whole documents into theirs."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The fate of a unit after an error."""

    kind: Literal["retry", "fail"]
    wake_at: int | None
    """Epoch milliseconds of the next attempt; None when there is none."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """One attempt, and one more after each of `delays` (seconds)."""

    delays: tuple[float, ...] = DEFAULT_DELAYS

    @property
    def max_attempts(self) -> int:
        """How many attempts a version of a unit gets."""
        return len(self.delays) + 1

    def decide(self, attempts: int, error: Exception, now: int) -> Decision:
        """Say what follows when attempt number `attempts` (the first is 1) ended with `error` at `now` (epoch ms)."""
        if isinstance(error, PermanentError) or attempts >= self.max_attempts:
            return Decision("fail", None)
        delay = lengthened(self.delays[max(attempts, 1) - 1], error)
        return Decision("retry", now + round(delay * 1000))


def lengthened(delay: float, error: Exception) -> float:
    """
    Return the seconds to wait after an error.

    A wait the other side asked for lengthens the delay and never shortens it: attempts would be used up sooner.
    """
    if isinstance(error, TransientError) and error.retry_after is not None:
        return max(delay, error.retry_after)
    return delay


def error_class(error: BaseException) -> str:
    """Name the class of an error: bare for ours and Python's own, with its module for a library's."""
    kind = type(error)
    if isinstance(error, HandlerError) or kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def message(error: BaseException) -> str:
    """
    Return the text of an error for `why`, the log and the ledger.

    Ours are written for people and stand alone; others get their class in front. NUL and lone surrogates, which
    databases refuse, are replaced; the end is cut after `MESSAGE_LIMIT` characters.
    """
    text = str(error).strip()
    if not isinstance(error, HandlerError):
        text = f"{error_class(error)}: {text}" if text else error_class(error)
    text = text.replace("\0", "\ufffd").encode(errors="replace").decode()
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"
