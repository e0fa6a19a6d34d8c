"""What a person should know of an object that was ingested: in the log, and with its receipt for `why`."""

from __future__ import annotations

from typing import Final

import structlog

from handlers.contract import Unit
from handlers.csv_to_iceberg.csv.results import Report
from handlers.csv_to_iceberg.receipts import MOST_SKIPPED

log = structlog.get_logger(__name__)

REMEDY: Final = "cells that do not fit keep their text; to give the table types that suit all its files: "


def size_warnings(size: int, large: int) -> list[str]:
    """Return what to say of an object with so many bytes: something when they are more than `large`."""
    return [f"large file: {size / 1e6:,.0f} MB, more than {large / 1e6:,.0f} MB"] if size > large else []


def remedies(table: str, report: Report) -> list[str]:
    """Return what to do about columns whose type suits an object badly or is not the wished one."""
    return [REMEDY + _remedy(table)] if _unsuited(report) else []


def notice_size(unit: Unit, table: str, size: int, large: int) -> list[str]:
    """Log that an object has more than `large` bytes (CSV specification, FR-13); return the warning for its receipt."""
    warnings = size_warnings(size, large)
    if warnings:
        log.warning("csv.large_file", bucket=unit.bucket, key=unit.name, bytes=size, table=table)
    return warnings


def notice_report(unit: Unit, table: str, report: Report) -> None:
    """Log what was doubtful, skipped, rejected or rescued; add the remedy for rescued cells to the warnings."""
    _notice_doubts(unit, table, report)
    _notice_rejected(unit, table, report)
    _notice_rescued(unit, table, report)


def _notice_doubts(unit: Unit, table: str, report: Report) -> None:
    """Log how else an object might have been meant: its encoding, its names, what was skipped."""
    if report.doubts:
        log.warning("csv.doubtful", bucket=unit.bucket, key=unit.name, table=table, doubts=report.doubts)


def _notice_rejected(unit: Unit, table: str, report: Report) -> None:
    """Log the lines of the first rejected records, as the CSV specification asks, and those skipped above a header."""
    if report.skipped:
        skipped = [line for line, _ in report.skipped[:MOST_SKIPPED]]
        log.info(
            "csv.skipped", bucket=unit.bucket, key=unit.name, table=table, skipped=len(report.skipped), lines=skipped
        )
    if report.rejected:
        lines = [reject.line for reject in report.rejects if reject.line is not None]
        log.warning(
            "csv.rejected", bucket=unit.bucket, key=unit.name, table=table, rejected=report.rejected, lines=lines
        )


def _notice_rescued(unit: Unit, table: str, report: Report) -> None:
    """Log the columns whose type suits an object badly or is not the wished one; add the remedy to the warnings."""
    if columns := _unsuited(report):
        log.warning(
            "csv.rescued", bucket=unit.bucket, key=unit.name, table=table, columns=columns, remedy=_remedy(table)
        )
        report.warnings += remedies(table, report)


def _remedy(table: str) -> str:
    return f"lakedrop table rebuild {table}"


def _unsuited(report: Report) -> list[str]:
    return [column.name for column in report.columns if column.wished or (column.rescued and column.suits_badly)]
