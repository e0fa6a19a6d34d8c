"""Rows of the ledger's tables: from what the protocol says to what the database takes, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json

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
    """Return the receipt as the row of its unit has it."""
    return {**short_receipt_json(receipt), "detail": dict(receipt.detail)}


def short_receipt_json(receipt: Receipt) -> dict[str, Any]:
    """Return the receipt as a timeline has it: what people are told of it is in the row, and most of its size."""
    return {
        "fingerprint": receipt.fingerprint,
        "handler_version": receipt.handler_version,
        "target": receipt.target,
        "counts": dict(receipt.counts),
    }


def receipt_of(stored: dict[str, Any] | None) -> Receipt | None:
    """Return the receipt that `receipt_json` wrote."""
    return None if stored is None else Receipt(**stored)


def short_receipt(parts: Sequence[Any]) -> Receipt | None:
    """Return the receipt of `statements.receipt_of`: without its detail; None when there is none."""
    return None if parts[0] is None else Receipt(*parts)


def row_of(found: Sequence[Any], receipt: Receipt | None, now: int, *, grace_ms: int = 0) -> Row:
    """Return a row as the protocol sees it; `found` begins with `statements.ROW`."""
    handler, bucket, unit, status, *facts = found[: len(statements.ROW)]
    took_over = grace_ms > 0 and found[_SUSPECT_UNTIL] == now + grace_ms
    return Row._make((UnitKey(handler, bucket, unit), _STATUSES[status], *facts, receipt, now, took_over))


_SUSPECT_UNTIL: Final = [column.name for column in statements.ROW].index("suspect_until")
_STATUSES: Final = {status.value: status for status in Status}


def key_of(key: UnitKey) -> dict[str, str]:
    """Return the parameters that name a row."""
    return {"pk_handler": key.handler, "pk_bucket": key.bucket, "pk_unit": key.unit}


def settling(settlement: Settlement, settled_by: str, now: int) -> dict[str, Any]:
    """Return the parameters of the SETTLE with the id `settled_by`."""
    receipt = settlement.receipt
    return {
        **key_of(settlement.key),
        "now": now,
        "token": settlement.token,
        "settling": settled_by,
        "new_status": settlement.status.value,
        "new_error_class": settlement.error_class,
        "new_error": settlement.error and storable(settlement.error),
        "new_attempts": settlement.attempts,
        "looked": settlement.head is not None,
        "new_observed_etag": settlement.head,
        "new_size": settlement.size,
        "new_modified": settlement.modified,
        "committed": receipt is not None,
        "new_applied_etag": None if receipt is None else receipt.fingerprint,
        "new_receipt": None if receipt is None else json_text(receipt_json(receipt)),
        "new_handler_version": None if receipt is None else receipt.handler_version,
        "stop": settlement.stop,
        "wake": settlement.wake_at,
        "suspect": settlement.suspect,
    }


def entry_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of an entry of a timeline."""
    return {**entry, "detail": json_text(entry["detail"])}


UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
"""Characters that PostgreSQL takes in no text: NUL, and halves of pairs."""

_ESCAPED: Final = re.compile(r"\\u(?:0000|d[89a-f])")


def storable(text: str) -> str:
    """Return a text for people that any database takes."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def json_text(document: Any) -> str:
    """Write a document for people as JSON that any database takes, and takes apart."""
    try:
        text = to_json(document).decode()  # in a third of the time of `json.dumps`, twice for every unit
    except ValueError:  # half of a pair
        text = ""
    return text if text and not _ESCAPED.search(text) else json.dumps(storable_document(document))


def storable_document(value: Any) -> Any:
    """Return a document whose texts any database takes."""
    match value:
        case str():
            return storable(value)
        case Mapping():
            return {storable(name): storable_document(item) for name, item in value.items()}
        case list() | tuple():
            return [storable_document(item) for item in value]
        case _:
            return value
