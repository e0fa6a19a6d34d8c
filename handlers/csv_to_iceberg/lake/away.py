"""Which errors mean that a server is away, that it does not let us in, or that another was faster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    ForbiddenError,
    NamespaceAlreadyExistsError,
    OAuthError,
    ServerError,
    ServiceUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
)
from requests import exceptions as http
from sqlalchemy import exc as sql

from handlers.contract import SinkAway, SinkRefuses

AWAY: Final[tuple[type[Exception], ...]] = (
    *(ConnectionError, TimeoutError, socket.gaierror),
    *(http.ConnectionError, http.Timeout),
    *(ServerError, ServiceUnavailableError, TooManyRequestsError),  # answers 500 and above, and 429
    # PostgreSQL's drivers raise OperationalError for all that goes wrong while connecting, see `REFUSALS`.
    *(sql.OperationalError, sql.InterfaceError, sql.TimeoutError),
)

NAMESPACE_THERE: Final[tuple[type[Exception], ...]] = (NamespaceAlreadyExistsError, sql.IntegrityError)
"""PyIceberg's catalogs in databases look whether a namespace is there, then insert it: between the two another may."""

CATALOG_REPAIR: Final = "correct user and password in `catalog` and start again, or have the server accept them"

OPENINGS: Final = 3
"""PyIceberg's catalogs in databases make their two tables as they open; another may be first with each of them."""

REFUSED: Final[tuple[type[Exception], ...]] = (UnauthorizedError, ForbiddenError, OAuthError)

REFUSALS: Final = ("authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied")
"""What PostgreSQL says (in English; else it counts as away) to who may not connect: its drivers tell no code of it."""

WAREHOUSE_REFUSALS: Final = {
    "ACCESS_DENIED": "let the keys list its bucket (s3:ListBucket), or correct the s3 properties of `catalog`",
    "INVALID_ACCESS_KEY": "correct the s3 properties of `catalog` and start again, or have the store accept the keys",
    "SIGNATURE_DOES_NOT_MATCH": "correct the s3 properties of `catalog` and start again",
    "NO_SUCH_BUCKET": "make the bucket, or correct `warehouse` in `catalog` and start again",
}
"""What Arrow's client of S3 says to who may not list the warehouse, and what to do about it."""


class CatalogAway(SinkAway):
    """The catalog's server does not answer."""


class CatalogRefuses(SinkRefuses):
    """The catalog's server does not let us in."""


class WarehouseAway(SinkAway):
    """The store of the warehouse does not answer."""


class WarehouseRefuses(SinkRefuses):
    """The store of the warehouse takes nothing from us."""


class WarehouseMissing(WarehouseRefuses):
    """The store has no such bucket."""


@contextmanager
def told_when_away(place: str) -> Iterator[None]:
    """
    Have the absence of a catalog told as such.

    Args:
        place: Of the catalog, without user and password.

    Raises:
        CatalogAway: It is away.
        CatalogRefuses: User, password or rights are wrong. Anything else passes through.
    """
    try:
        yield
    except http.SSLError:
        raise  # a certificate is not mended by waiting
    except REFUSED as error:
        raise CatalogRefuses(_refusal(place, _reason(error))) from error
    except AWAY as error:
        reason = _reason(error)
        if isinstance(error, sql.OperationalError) and any(words in reason for words in REFUSALS):
            raise CatalogRefuses(_refusal(place, reason)) from error
        raise CatalogAway(f"the catalog at {place} does not answer: {reason}") from error


@contextmanager
def told_when_warehouse_away(place: str) -> Iterator[None]:
    """
    Have the absence of the warehouse's store told as such.

    Raises:
        WarehouseAway: It is away, or answers as no store does.
        WarehouseRefuses: It takes the keys for wrong, does not let them list, or has no such bucket.
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error).partition(" (Request ID")[0]
        for code, repair in WAREHOUSE_REFUSALS.items():
            if code in reason:
                kind = WarehouseMissing if code == "NO_SUCH_BUCKET" else WarehouseRefuses
                raise kind(f"the warehouse at {place} cannot be used: {reason}; {repair}") from error
        raise WarehouseAway(f"the warehouse at {place} does not answer: {reason}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().partition("\n")[0] or type(error).__name__


def _refusal(place: str, reason: str) -> str:
    return f"the catalog at {place} does not let us in: {reason}; {CATALOG_REPAIR}"


def opened(catalog: Callable[[], Catalog]) -> Catalog:
    """Open a catalog, once more when another process was making its tables at this moment: now they are there."""
    for _ in range(OPENINGS - 1):
        try:
            return catalog()
        except (sql.IntegrityError, sql.ProgrammingError):  # PostgreSQL's answers
            continue
        except sql.OperationalError as error:
            if "already exists" not in str(error):  # SQLite's
                raise
    return catalog()
