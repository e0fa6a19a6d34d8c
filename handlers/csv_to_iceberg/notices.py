"""What a person should know of an object that was ingested: in the log, and with its receipt for `why`."""

from __future__ import annotations

from typing import Final

import structlog

from handlers.contract import Unit
from handlers.csv_to_iceberg.options import MIB
from handlers.csv_to_iceberg.results import Report

log = structlog.get_logger(__name__)

REMEDY: Final = "cells that do not fit keep their text; to give the table types that suit all its files: "


def notice_size(unit: Unit, table: str, size: int, large: int) -> list[str]:
    """Log that an object has more than `large` bytes (CSV specification, FR-13); return the warning for its receipt."""
    if size <= large:
        return []
    log.warning("csv.large_file", bucket=unit.bucket, key=unit.name, bytes=size, table=table)
    return [f"large file: {size / MIB:,.0f} MiB, more than {large / MIB:,.0f} MiB"]


def notice_rescued(unit: Unit, table: str, report: Report) -> None:
    """Log the columns whose type suits an object badly or is not the wished one; add the remedy to the warnings."""
    columns = [column.name for column in report.columns if column.suits_badly or column.wished]
    if columns:
        remedy = f"lakedrop table rebuild {table}"
        log.warning("csv.rescued", bucket=unit.bucket, key=unit.name, table=table, columns=columns, remedy=remedy)
        report.warnings.append(REMEDY + remedy)
