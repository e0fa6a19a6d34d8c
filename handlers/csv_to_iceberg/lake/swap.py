"""One compare-and-swap of a table's metadata, and the time that its snapshot gets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import structlog
from pyiceberg.exceptions import BadRequestError, CommitFailedException, NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AddSnapshotUpdate, AssertTableUUID, TableRequirement, TableUpdate

from handlers.csv_to_iceberg.lake.commit_port import CommitConflict

log = structlog.get_logger(__name__)

CATALOGS_CLOCK: Final = re.compile(r"Invalid update timestamp (\d+): before last snapshot log entry")
"""
How Iceberg in Java, which REST catalogs run, refuses a snapshot that is more than a minute ahead of its clock; the
number is that clock, in epoch milliseconds (`TableMetadata`; seen with 1.11).
"""


def swap(table: Table, updates: Iterable[TableUpdate], requirements: Iterable[TableRequirement]) -> None:
    """
    Commit updates if the requirements still hold; a second time only with a snapshot whose time was refused.

    Raises:
        CommitConflict: Somebody else committed since the load.
        Exception: Anything else leaves the outcome unknown.
    """
    updates = tuple(updates)
    held = (AssertTableUUID(uuid=table.metadata.table_uuid), *requirements)
    try:
        try:
            table._do_commit(updates, held)  # noqa: SLF001
        except BadRequestError as error:
            told = CATALOGS_CLOCK.search(str(error))
            if told is None or (again := _made_at(int(told[1]), table, updates)) == updates:
                raise
            log.warning(
                "catalog.other_clock", table=".".join(table.name()), reason=f"set this machine's clock: {error}"
            )
            table._do_commit(again, held)  # noqa: SLF001
    except (CommitFailedException, NoSuchTableError) as error:
        raise CommitConflict(str(error)) from error


def newest(metadata: TableMetadata) -> int:
    """Return the time of the newest snapshot that the table ever showed, in epoch milliseconds; 0 without any."""
    return max((entry.timestamp_ms for entry in metadata.snapshot_log), default=0)


def time_of_next(metadata: TableMetadata, now: int) -> int:
    """Return the time of a snapshot made `now`: time travel needs them in order, and other writers' clocks differ."""
    return max(now, metadata.last_updated_ms, newest(metadata) + 1)


def _made_at(now: int, table: Table, updates: tuple[TableUpdate, ...]) -> tuple[TableUpdate, ...]:
    """Return the updates with a snapshot made `now`; no file that was written tells of its time."""
    time = {"timestamp_ms": time_of_next(table.metadata, now)}
    return tuple(
        AddSnapshotUpdate(snapshot=update.snapshot.model_copy(update=time))
        if isinstance(update, AddSnapshotUpdate)
        else update
        for update in updates
    )
