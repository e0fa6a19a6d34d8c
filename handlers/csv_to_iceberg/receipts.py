"""Receipts: what a table holds of an object, in words for the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from handlers.contract import ABSENT, UNKNOWN, Receipt
from handlers.csv_to_iceberg.csv.results import Report, ReportColumn
from handlers.csv_to_iceberg.lake.commit_port import Landed, Shown

VERSION: Final = "1"
"""Of this handler; raised when files would become other rows than before."""

MOST_COLUMNS: Final = 100
"""Columns that a receipt tells of: one of 10,000 would weigh more than many a file."""

MOST_SKIPPED: Final = 5
"""Lines around a header, and none of its names, that a receipt shows; all are counted."""

LONGEST_TEXT: Final = 100
"""Characters of a value that spoke against a type."""


def receipt_of_rows(fingerprint: str, table: str, landed: Landed) -> Receipt:
    """Return the receipt of an object that was ingested."""
    report = landed.report or Report()
    return Receipt(fingerprint, VERSION, table, counts(report), {**_snapshot(landed), **details(report, MOST_COLUMNS)})


def receipt_of_absence(table: str, landed: Landed) -> Receipt:
    """Return the receipt of an object that is gone: of the rows the table goes on showing, if any."""
    if landed.shown is None:
        return Receipt(ABSENT, VERSION, table, {"rows": 0}, _snapshot(landed))
    return receipt_of_shown(table, landed.shown, {**_snapshot(landed), "object": "deleted, rows kept"})


def receipt_of_shown(table: str, shown: Shown, detail: Mapping[str, Any]) -> Receipt:
    """Return the receipt of what was found in a table."""
    versions = [etag for etag, count in shown.rows.items() if count]
    fingerprint = ABSENT if not versions else versions[0] or UNKNOWN if len(versions) == 1 else UNKNOWN
    return Receipt(fingerprint, VERSION, table, {"rows": sum(shown.rows.values())}, detail)


def _snapshot(landed: Landed) -> dict[str, Any]:
    """Name the snapshot as text: ids have 63 bits, and many readers of JSON keep 53."""
    return {} if landed.snapshot is None else {"snapshot": str(landed.snapshot)}


def counts(report: Report) -> dict[str, int]:
    """Return what every record of an object became: records = rows + rejected."""
    return {
        "records": report.records,
        "rows": report.rows,
        "rejected": report.rejected,
        "rescued": report.rescued,
    }


def details(report: Report, most: int | None = None) -> dict[str, Any]:
    """Return what was found in an object, JSON-able, with at most so many columns; `column_count` counts all."""
    return {
        "encoding": report.encoding,
        "compression": report.compression,
        "delimiter": report.delimiter,
        "quote": report.quote,
        "escape": report.escape,
        "header_line": report.header_line,
        "skipped_lines": len(report.skipped),
        "skipped": [{"line": line, "text": text} for line, text in report.skipped[:MOST_SKIPPED]],
        "dialect_reason": report.dialect_reason,
        "column_count": len(report.columns),
        "columns": [_column(column) for column in report.columns[:most]],
        "warnings": report.warnings,
        "rejects": [
            {"record": reject.record, "line": reject.line, "text": reject.text, "reason": reject.reason}
            for reject in report.rejects
        ],
    }


def _column(column: ReportColumn) -> list[Any]:
    """Return name, type, reason, values looked at, how many fitted, [record, text] of one that did not, rescued."""
    against = None if column.against is None else [column.against.record, column.against.text[:LONGEST_TEXT]]
    return [column.name, column.type.value, column.reason, column.values, column.fits, against, column.rescued]
