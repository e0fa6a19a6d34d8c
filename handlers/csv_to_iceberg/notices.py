"""What a person should know of an object that was ingested: in the log, and with its receipt for `why`."""

from __future__ import annotations

from typing import Final

import structlog

from handlers.contract import Unit
from handlers.csv_to_iceberg.csv.results import Report

log = structlog.get_logger(__name__)

REMEDY: Final = "cells that do not fit keep their text; to give the table types that suit all its files: "


def size_warnings(size: int, large: int) -> list[str]:
    """Return what to say of an object with so many bytes: something when they are more than `large`."""
    return [f"large file: {size / 1e6:,.0f} MB, more than {large / 1e6:,.0f} MB"] if size > large else []


def remedies(table: str, report: Report) -> list[str]:
    """Return what to do about columns whose type suits an object badly or is not the wished one."""
    return [f"{REMEDY}lakedrop table rebuild {table}"] if _unsuited(report) else []


def notice_size(unit: Unit, table: str, size: int, large: int) -> list[str]:
    """Log that an object has more than `large` bytes (CSV specification, FR-13); return the warning for its receipt."""
    warnings = size_warnings(size, large)
    if warnings:
        log.warning("csv.large_file", bucket=unit.bucket, key=unit.name, bytes=size, table=table)
    return warnings


def notice_rejected(unit: Unit, table: str, report: Report) -> None:
    """Log the line numbers of the first rejected records, as the CSV specification asks."""
    if report.rejected:
        lines = [reject.line for reject in report.rejects if reject.line is not None]
        log.warning(
            "csv.rejected", bucket=unit.bucket, key=unit.name, table=table, rejected=report.rejected, lines=lines
        )


def notice_rescued(unit: Unit, table: str, report: Report) -> None:
    """Log the columns whose type suits an object badly or is not the wished one; add the remedy to the warnings."""
    if columns := _unsuited(report):
        remedy = f"lakedrop table rebuild {table}"
        log.warning("csv.rescued", bucket=unit.bucket, key=unit.name, table=table, columns=columns, remedy=remedy)
        report.warnings += remedies(table, report)


def _unsuited(report: Report) -> list[str]:
    return [column.name for column in report.columns if column.suits_badly or column.wished]
