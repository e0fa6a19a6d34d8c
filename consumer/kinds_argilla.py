"""The Argilla handler, and what commands ask of it beyond the contract."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import SecretStr

from consumer.router import Route
from consumer.routes import HandlerKind, Processed
from consumer.settings import Settings
from handlers import argilla_records
from handlers.argilla_records.options import ArgillaSettings, Options
from handlers.contract import Handler, HandlerContext

NAME = argilla_records.NAME


def _create(settings: Settings, routes: Sequence[Route], context: HandlerContext) -> Handler:
    del routes
    # Imported only here: polars takes longer than much of what other commands need.
    from handlers.argilla_records.handler import ArgillaRecords  # noqa: PLC0415

    return ArgillaRecords(_settings(settings), context)


def _settings(settings: Settings) -> ArgillaSettings:
    """The settings are known to be complete."""
    log = settings.argilla_log
    return ArgillaSettings(
        url=settings.argilla_url or "",
        api_key=settings.argilla_api_key or SecretStr(""),
        log=log if log.startswith("md:") else str(settings.home.absolute() / log),
        motherduck_token=settings.motherduck_token,
    )


def _rejections(settings: Settings, of: Processed, limit: int) -> dict[str, Any]:
    """
    Read what of a folder became no records.

    Raises:
        TransientError: The ingest log cannot be read.
    """
    from handlers.argilla_records.rejects import kept_rejects  # noqa: PLC0415  # as above

    read = partial(kept_rejects, _settings(settings), of.bucket, of.unit, limit=limit)
    found = read(fingerprint=of.held, status="ingested") if of.held is not None else {}
    if of.failed is not None:
        found |= {f"failed_{name}": value for name, value in read(fingerprint=of.failed, status="failed").items()}
    return found


KIND = HandlerKind(options=Options, match=argilla_records.MATCH, create=_create, rejections=_rejections)
