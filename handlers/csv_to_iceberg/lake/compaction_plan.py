"""
When a table is compacted, and which of its files: decided from the metadata of one snapshot, without reading data.

Every rule is about cost that is paid once for cost that is paid at every read and replacement, so each keeps what it
rewrites in proportion: a small file is rewritten together with at least as many bytes of smaller ones, a dirty one when
the rows it no longer shows have grown to a share of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pyiceberg.table import Table

from handlers.csv_to_iceberg.lake.entries import FileEntry
from handlers.csv_to_iceberg.lake.live import LiveFiles
from handlers.csv_to_iceberg.lake.shape import COLUMN_TYPES

MIB: Final = 1 << 20

SMALL_BYTES: Final = 32 * MIB
"""Data files below this are small: opening one costs a reader about as much as reading it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When compaction is due; see `LakeSettings`."""

    small_files: int
    deleted_share: float
    delete_files: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live data file and the position delete files that apply to it."""

    entry: FileEntry
    deletes: tuple[FileEntry, ...]

    @property
    def size(self) -> int:
        """Bytes of the data file."""
        return self.entry.size

    @property
    def path(self) -> str:
        """Of the data file."""
        return self.entry.path

    @property
    def deleted(self) -> int:
        """Rows taken out, as the delete files count them; one that covers other files too counts in full."""
        return min(sum(other.record_count for other in self.deletes), self.entry.record_count)

    @property
    def deleted_share(self) -> float:
        """Share of the rows taken out."""
        return self.deleted / self.entry.record_count if self.entry.record_count else 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """What a snapshot consists of."""

    data_files: int = 0
    small_files: int = 0
    delete_files: int = 0
    rows: int = 0
    """In data files, those taken out included."""
    deleted_rows: int = 0
    bytes: int = 0
    """Of the data files."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one run of compaction does."""

    rewrite: Sequence[Candidate] = ()
    """Data files whose live rows move into new ones, sorted together."""
    merge: Sequence[Candidate] = ()
    """Data files that stay and get one delete file instead of several."""

    def __bool__(self) -> bool:
        return bool(self.rewrite or self.merge)


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """A snapshot's health and what is due."""

    health: Health
    work: Work
    left_alone: Mapping[str, int] = field(default_factory=dict)
    """Data files that are never touched, by the reason."""


def plan_compaction(
    table: Table, live: LiveFiles, thresholds: Thresholds, refused: Collection[str] = ()
) -> CompactionPlan:
    """
    Decide what is due.

    Args:
        table: As loaded.
        live: Its files.
        thresholds: When something is due.
        refused: Paths of data files found to be unfit for rewriting.
    """
    entries = list(live.data())
    candidates, left_alone = _candidates(table, live, entries, refused)
    health = Health(
        data_files=len(entries),
        small_files=sum(entry.size < SMALL_BYTES for entry in entries),
        delete_files=sum(1 for _ in live.deletes()),
        rows=sum(entry.record_count for entry in entries),
        deleted_rows=sum(candidate.deleted for candidate in candidates),
        bytes=sum(entry.size for entry in entries),
    )
    rewrite: dict[str, Candidate] = {}
    if health.deleted_rows > thresholds.deleted_share * health.rows:
        rewrite |= _by_path(_dirtiest(candidates, thresholds))
    small = [candidate for candidate in candidates if candidate.size < SMALL_BYTES]
    if len(small) > thresholds.small_files:
        rewrite |= _by_path(_smallest(small, thresholds.bytes))
    merge = []
    if health.delete_files > thresholds.delete_files * health.data_files:
        merge = [candidate for candidate in candidates if len(candidate.deletes) > 1 and candidate.path not in rewrite]
    return CompactionPlan(health, Work(list(rewrite.values()), merge), left_alone)


def _candidates(
    table: Table, live: LiveFiles, entries: Sequence[FileEntry], refused: Collection[str]
) -> tuple[list[Candidate], dict[str, int]]:
    """Return the data files that may be rewritten, and how many may not, by the reason."""
    never = _never(table, live)
    if never is not None:
        return [], {never: len(entries)} if entries else {}
    left_alone: dict[str, int] = {}
    candidates = []
    for entry in entries:
        deletes = tuple(live.deletes_of(entry))
        if entry.format.partitioned:
            reason = "partitioned"
        elif not all(one.parquet for one in (entry, *deletes)):
            reason = "not Parquet"
        elif entry.path in refused:
            reason = "columns without field ids"
        else:
            candidates.append(Candidate(entry, deletes))
            continue
        left_alone[reason] = left_alone.get(reason, 0) + 1
    return candidates, left_alone


def _never(table: Table, live: LiveFiles) -> str | None:
    """Return why no file of a table may be rewritten."""
    if live.has_equality_deletes:
        # They apply to older files only: rows that move into a new file would come back.
        return "equality deletes"
    if not all(field.field_type in COLUMN_TYPES for field in table.schema().fields):
        return "columns of types that lakedrop does not write"
    if not any(spec.is_unpartitioned() for spec in table.metadata.specs().values()):
        return "partitioned"
    return None


def _by_path(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    return {candidate.path: candidate for candidate in candidates}


def _dirtiest(candidates: Sequence[Candidate], thresholds: Thresholds) -> list[Candidate]:
    """Take the files with most rows taken out: each above the share that the whole table exceeds, so there is one."""
    dirty = [candidate for candidate in candidates if candidate.deleted_share > thresholds.deleted_share]
    taken: list[Candidate] = []
    total = 0
    for candidate in sorted(dirty, key=lambda dirty: dirty.deleted, reverse=True):
        if taken and total + candidate.size > thresholds.bytes:
            break
        taken.append(candidate)
        total += candidate.size
    return taken


def _smallest(small: Sequence[Candidate], limit: int) -> list[Candidate]:
    """Take the smallest files, each no larger than those before it together: so rewriting one doubles it at least."""
    taken: list[Candidate] = []
    total = 0
    for candidate in sorted(small, key=lambda one: one.size):
        if len(taken) > 1 and (candidate.size > total or total + candidate.size > limit):
            break
        taken.append(candidate)
        total += candidate.size
    return taken
