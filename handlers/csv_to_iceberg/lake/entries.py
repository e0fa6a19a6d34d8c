"""Entries of manifests in memory: encoded and compressed in blocks, with what finding them needs beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestEntryStatus

from handlers.csv_to_iceberg.lake.manifest_format import EntryFormat, Head, deflated, entry, inflated, split

BLOCK_ENTRIES: Final = 16
"""Dropping a file encodes its block again, and a smaller block compresses worse."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A live data or delete file."""

    path: str
    content: DataFileContent
    record_count: int
    size: int
    """Bytes."""
    parquet: bool
    sequence_number: int
    lower: bytes | None
    """Lower bound of the column that files are looked for by; of `file_path` in delete files."""
    upper: bytes | None
    nulls: bool
    """Whether that column may hold nulls."""
    format: EntryFormat
    packed: bytes = field(default=b"", repr=False)
    """The block it lies in."""
    start: int = 0
    end: int = 0

    @classmethod
    def of(cls, file: DataFile, sequence_number: int, key_id: int | None, form: EntryFormat) -> FileEntry:
        """Return what is remembered of a file; `key_id` is the field id of the column it is looked for by."""
        return cls(
            file.file_path,
            file.content,
            file.record_count,
            file.file_size_in_bytes,
            file.file_format == FileFormat.PARQUET,
            sequence_number,
            (file.lower_bounds or {}).get(key_id or 0),
            (file.upper_bounds or {}).get(key_id or 0),
            # The path in a delete file is required.
            file.content == DataFileContent.DATA and (file.null_value_counts or {}).get(key_id or 0) != 0,
            form,
        )

    def placed(self, packed: bytes, start: int, end: int) -> FileEntry:
        """Return the same in another block."""
        return FileEntry(
            self.path,
            self.content,
            self.record_count,
            self.size,
            self.parquet,
            self.sequence_number,
            self.lower,
            self.upper,
            self.nulls,
            self.format,
            packed,
            start,
            end,
        )

    @property
    def encoded(self) -> bytes:
        """The entry, with the status EXISTING."""
        return inflated(self.packed)[self.start : self.end]

    @property
    def spec_id(self) -> int:
        """Its partition spec."""
        return self.format.spec_id

    @property
    def data_file(self) -> DataFile:
        """All that is known of the file; decoded each time."""
        return self.format.file(self.encoded)

    @property
    def one_value(self) -> bool:
        """Whether all rows have one value in that column: bounds may be shortened but never lie."""
        return self.lower is not None and self.lower == self.upper and not self.nulls

    def deleted(self, snapshot_id: int) -> bytes:
        """Return the entry as the manifest has it whose snapshot drops the file."""
        head, file = split(self.encoded)
        head = Head(snapshot_id, head.sequence_number, head.file_sequence_number)
        return entry(ManifestEntryStatus.DELETED, head, file)


Loose = tuple[bytes, FileEntry]
"""An encoded entry (status EXISTING) that lies in no block."""


@dataclass(frozen=True, slots=True)
class Block:
    """Entries compressed together, and what is asked of them all: manifests of many blocks are written again often."""

    packed: bytes = field(repr=False)
    entries: tuple[FileEntry, ...]
    paths: frozenset[str]
    values: frozenset[bytes]
    """Of the files with one value in all rows."""
    mixed: tuple[FileEntry, ...]
    """The other files."""
    rows: int
    oldest: int
    """Lowest sequence number."""
    equality_deletes: bool
    """Whether one of the files deletes by value instead of by position."""

    @classmethod
    def of(cls, data: bytes, entries: Sequence[FileEntry]) -> Block:
        """Describe entries that lie in `data`."""
        return cls(
            data,
            tuple(entries),
            frozenset(one.path for one in entries),
            frozenset(one.lower for one in entries if one.lower is not None and one.one_value),
            tuple(one for one in entries if not one.one_value),
            sum(one.record_count for one in entries),
            min(one.sequence_number for one in entries),
            any(one.content == DataFileContent.EQUALITY_DELETES for one in entries),
        )

    @property
    def weight(self) -> int:
        """Bytes held in memory, roughly."""
        return len(self.packed) + 800 * len(self.entries)

    def loose(self, without: AbstractSet[str]) -> list[Loose]:
        """Take the entries out, but for the paths in `without`."""
        data = inflated(self.packed)
        return [(data[one.start : one.end], one) for one in self.entries if one.path not in without]


def packed(loose: Sequence[Loose]) -> list[Block]:
    """Put entries into blocks."""
    blocks = []
    for first in range(0, len(loose), BLOCK_ENTRIES):
        some = loose[first : first + BLOCK_ENTRIES]
        data = deflated(b"".join(encoded for encoded, _ in some))
        entries: list[FileEntry] = []
        at = 0
        for encoded, one in some:
            entries.append(one.placed(data, at, at + len(encoded)))
            at += len(encoded)
        blocks.append(Block.of(data, entries))
    return blocks


def repacked(blocks: Iterable[Block], without: AbstractSet[str] = frozenset()) -> list[Block]:
    """Drop entries by path and join small blocks; blocks that are well filled and lose nothing stay as they are."""
    result: list[Block] = []
    loose: list[Loose] = []
    for block in blocks:
        if block.paths.isdisjoint(without) and len(block.entries) > BLOCK_ENTRIES // 2:
            result.append(block)
        else:
            loose += block.loose(without)
    return result + packed(loose)
