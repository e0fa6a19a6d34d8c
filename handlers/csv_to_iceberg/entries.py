"""Entries of manifests in memory: encoded and compressed in blocks, with what finding them needs beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestEntryStatus

from handlers.csv_to_iceberg.manifest_format import EntryFormat, Head, deflated, entry, inflated, split

BLOCK_ENTRIES: Final = 32
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
    """Entries compressed together."""

    packed: bytes = field(repr=False)
    entries: tuple[FileEntry, ...]
    paths: tuple[str, ...]

    @property
    def weight(self) -> int:
        """Bytes held in memory, roughly."""
        return len(self.packed) + 600 * len(self.entries)

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
            entries.append(replace(one, packed=data, start=at, end=at + len(encoded)))
            at += len(encoded)
        blocks.append(Block(data, tuple(entries), tuple(one.path for one in entries)))
    return blocks


def repacked(blocks: Iterable[Block], without: AbstractSet[str] = frozenset()) -> list[Block]:
    """Drop entries by path and join small blocks; blocks that are well filled and lose nothing stay as they are."""
    result: list[Block] = []
    loose: list[Loose] = []
    for block in blocks:
        if without.isdisjoint(block.paths) and len(block.entries) > BLOCK_ENTRIES // 2:
            result.append(block)
        else:
            loose += block.loose(without)
    return result + packed(loose)
