"""What is remembered of units: the last receipt, and the last failure after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from handlers.contract import Failure, Outcome, Receipt
from handlers.dataset_catalogue.tables import units


def received(connection: sa.Connection, bucket: str, unit: str, receipt: Receipt | None, at: int) -> None:
    """
    Note what the table holds of a unit since `at` (epoch ms), None: nothing.

    Earlier failures are over, whenever they are told.
    """
    noted = {"receipt": None if receipt is None else asdict(receipt), "failure": None, "failed_at": at}
    statement = _insert(connection).values(bucket=bucket, unit=unit, **noted)
    connection.execute(statement.on_conflict_do_update(index_elements=[units.c.bucket, units.c.unit], set_=noted))


def failed(connection: sa.Connection, outcome: Outcome) -> None:
    """Note that a version of a unit failed, unless a later one did, or was put in."""
    failure = {
        "fingerprint": outcome.fingerprint,
        "error_class": outcome.error_class or "",
        "message": outcome.error or "",
    }
    noted = {"failure": failure, "failed_at": outcome.at}
    statement = _insert(connection).values(bucket=outcome.bucket, unit=outcome.unit, **noted)
    later = sa.or_(units.c.failed_at.is_(None), units.c.failed_at <= outcome.at)
    key = [units.c.bucket, units.c.unit]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=noted, where=later))


def all_of(connection: sa.Connection) -> Iterator[tuple[str, str, Receipt | Failure]]:
    """Yield bucket, unit and what is known of it, in byte order; a failure after the receipt of the same unit."""
    found = connection.execute(sa.select(units.c.bucket, units.c.unit, units.c.receipt, units.c.failure)).all()
    for bucket, unit, receipt, failure in sorted(found, key=lambda row: (row.bucket.encode(), row.unit.encode())):
        if receipt is not None:
            yield bucket, unit, Receipt(**receipt)
        if failure is not None:
            yield bucket, unit, Failure(**failure)


def _insert(connection: sa.Connection) -> Any:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(units)
