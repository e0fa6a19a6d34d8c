"""
What the process writes to standard error: one line per named event, for people on a terminal, as JSON elsewhere.

Configured once per process. Log records and warnings of libraries take the same way; those that tell every step of
theirs are heard from warnings on. Secrets are masked twice: fields by their name, and what URLs carry in any text.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import sys
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, cast

import structlog

SECRET_FIELD: Final = re.compile(
    r"passw|secret|credential|authorization|api_?key|access_?key|session_?token", re.IGNORECASE
)
"""Names of fields whose values are not shown."""

_SECRET_TEXT: Final = (
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"), r"\1***"),
    (re.compile(r"(?i)(\bX-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+"), r"\1***"),
    (re.compile(r"(?i)(\b(?:password|secret|api_?key|secret_access_key)\"?\s*[=:]\s*\"?)[^\s\"',;&]+"), r"\1***"),
)

_SECRET_MARKS: Final = ("://", "x-amz-", "password", "secret", "api_key", "apikey")
"""One of them is in whatever the patterns fit, in lower case; most texts hold none and need no search."""

CHATTY: Final = ("asyncio", "botocore", "fsspec", "pyiceberg", "sqlalchemy", "trino", "urllib3", "watchfiles")
"""Libraries whose INFO and DEBUG records are about their own inner steps."""

DELETED_ALREADY: Final = "Failed to delete metadata file"
"""
How PyIceberg begins to tell, at every commit, that a REST catalog was first to delete what a table's metadata was
before. A file that is still there is deleted as any that nothing refers to.
"""

Format = Literal["auto", "console", "json"]


class _StandardError:
    """Standard error as it is when a line is written: progress bars and tests put something else in its place."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def mask_text(text: str) -> str:
    """Return a text with the secrets in URLs and assignments masked."""
    if not any(map(text.lower().__contains__, _SECRET_MARKS)):
        return text
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def mask(value: Any) -> Any:
    """Return a value of a log line with all secrets in it masked."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {key: "***" if _is_secret(str(key)) else mask(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask(inner) for inner in value]
    return value


@functools.lru_cache(maxsize=1024)
def _is_secret(field: str) -> bool:
    return SECRET_FIELD.search(field) is not None


def _mask_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _is_plain(event):
        return event
    masked: MutableMapping[str, Any] = mask(dict(event))
    return masked


def _is_plain(event: Mapping[str, Any]) -> bool:
    """Tell at a glance that nothing in a line can be a secret; one such line is written for each unit."""
    if _any_secret(tuple(event)) or not _SCALAR.issuperset(map(type, event.values())):
        return False
    texts = "\n".join([value for value in event.values() if type(value) is str]).lower()
    return not any(map(texts.__contains__, _SECRET_MARKS))


_SCALAR: Final = frozenset({str, int, float, bool, type(None)})


@functools.lru_cache(maxsize=1024)
def _any_secret(fields: tuple[str, ...]) -> bool:
    return any(map(_is_secret, fields))


def _stamp(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the time in UTC. What structlog has for it formats a date for each line, which takes four times as long."""
    second, rest = divmod(time.time_ns(), 1_000_000_000)
    event["timestamp"] = f"{_iso_second(second)}.{rest // 1000:06}Z"
    return event


@functools.lru_cache(maxsize=16)
def _iso_second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def _json(event: Any, **_options: Any) -> str:
    return _ENCODER.encode(event)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, default=str)
"""`json.dumps` would make one for each line."""


def is_json(wanted: Format) -> bool:
    """Whether log lines are JSON: asked for, or nobody reads along."""
    return wanted == "json" or (wanted == "auto" and not sys.stderr.isatty())


def configure(wanted: Format = "auto", level: str = "info") -> None:
    """
    Send all log lines of this process to standard error.

    Args:
        wanted: `console`, `json`, or `auto`: what fits standard error.
        level: Least severe level that is written.
    """
    as_json = is_json(wanted)
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        _stamp if as_json else structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _mask_event,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(_json)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _StandardError())),
        cache_logger_on_first_use=False,  # modules hold their loggers from before this call
    )
    handler = logging.StreamHandler(_StandardError())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(lambda record: not record.getMessage().startswith(DELETED_ALREADY))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(least)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))
    logging.captureWarnings(capture=True)
