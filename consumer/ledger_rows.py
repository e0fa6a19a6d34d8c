"""Rows of the ledger's tables: from what the protocol says to what the database takes, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from consumer import ledger_statements as statements
from consumer.ledger_schema import KEY
from consumer.protocol import Row, Settlement, Status
from consumer.workitem import UnitKey
from handlers.contract import Receipt

NEW_ROW: Final[Mapping[str, Any]] = {
    **dict.fromkeys(KEY),
    "status": Status.PENDING.value,
    "open": True,
    "attempts": 0,
    "dirty": False,
    "force": False,
    "lease_token": None,
    "lease_until": None,
    "suspect_until": None,
    "created_at": None,
    "updated_at": None,
}
"""What a row begins with; CLAIM fills in the None."""

ENTRY: Final = (*KEY, "at", "event", "token", "etag", "detail", "recorded")
"""What an entry of a timeline is given."""


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """Return the receipt as the ledger stores it."""
    return {
        "fingerprint": receipt.fingerprint,
        "handler_version": receipt.handler_version,
        "target": receipt.target,
        "counts": dict(receipt.counts),
        "detail": dict(receipt.detail),
    }


def receipt_of(stored: dict[str, Any] | None) -> Receipt | None:
    """Return the receipt that `receipt_json` wrote."""
    return None if stored is None else Receipt(**stored)


def short_receipt(parts: Sequence[Any]) -> Receipt | None:
    """Return the receipt of `statements.receipt_of`: without its detail; None when there is none."""
    return None if parts[0] is None else Receipt(*parts)


def row_of(found: Sequence[Any], receipt: Receipt | None, now: int, *, grace_ms: int = 0) -> Row:
    """Return a row as the protocol sees it; `found` begins with `statements.ROW`."""
    (
        *key,
        status,
        applied_etag,
        observed_etag,
        is_open,
        attempts,
        dirty,
        force,
        lease_token,
        lease_until,
        wake_at,
        suspect_until,
        error_class,
        error,
        size,
        modified,
        handler_version,
        updated_at,
    ) = found[: len(statements.ROW)]
    return Row(
        key=UnitKey(*key),
        status=_STATUSES[status],
        applied_etag=applied_etag,
        receipt=receipt,
        observed_etag=observed_etag,
        open=is_open,
        attempts=attempts,
        dirty=dirty,
        force=force,
        lease_token=lease_token,
        lease_until=lease_until,
        wake_at=wake_at,
        suspect_until=suspect_until,
        error_class=error_class,
        error=error,
        size=size,
        modified=modified,
        handler_version=handler_version,
        updated_at=updated_at,
        db_now=now,
        took_over=grace_ms > 0 and suspect_until == now + grace_ms,
    )


_STATUSES: Final = {status.value: status for status in Status}


def key_of(key: UnitKey) -> dict[str, str]:
    """Return the parameters that name a row."""
    return {"pk_handler": key.handler, "pk_bucket": key.bucket, "pk_unit": key.unit}


def settling(settlement: Settlement, now: int) -> dict[str, Any]:
    """Return the parameters of SETTLE."""
    receipt = settlement.receipt
    return {
        **key_of(settlement.key),
        "now": now,
        "token": settlement.token,
        "new_status": settlement.status.value,
        "new_error_class": settlement.error_class,
        "new_error": settlement.error,
        "new_attempts": settlement.attempts,
        "looked": settlement.head is not None,
        "new_observed_etag": settlement.head,
        "new_size": settlement.size,
        "new_modified": settlement.modified,
        "committed": receipt is not None,
        "new_applied_etag": None if receipt is None else receipt.fingerprint,
        "new_receipt": None if receipt is None else json.dumps(receipt_json(receipt)),
        "new_handler_version": None if receipt is None else receipt.handler_version,
        "stop": settlement.stop,
        "wake": settlement.wake_at,
        "suspect": settlement.suspect,
    }


def entry_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of an entry of a timeline."""
    return {**entry, "detail": json.dumps(entry["detail"])}
