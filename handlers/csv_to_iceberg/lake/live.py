"""The live files of one snapshot, from its manifests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Final

from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFileContent, ManifestContent, ManifestEntryStatus, ManifestFile
from pyiceberg.table import Table

from handlers.csv_to_iceberg.lake.entries import Block, FileEntry, packed
from handlers.csv_to_iceberg.lake.facts import Facts
from handlers.csv_to_iceberg.lake.manifest_format import EntryFormat, Head, entry, entry_format, list_record
from handlers.csv_to_iceberg.lake.parquet import DELETE_PATH_ID
from handlers.csv_to_iceberg.lake.shape import SOURCE_FILE

MEMORY_BYTES: Final = 96 << 20
"""About 130,000 files of all tables together."""


@dataclass(frozen=True)
class LiveManifest:
    """A manifest with live files in it."""

    file: ManifestFile
    blocks: Sequence[Block]

    @cached_property
    def count(self) -> int:
        """Number of live files."""
        return sum(len(block.entries) for block in self.blocks)

    @cached_property
    def weight(self) -> int:
        """Bytes held in memory, roughly."""
        return sum(block.weight for block in self.blocks)

    @cached_property
    def listed(self) -> bytes:
        """Its line in a manifest list."""
        return list_record(self.file)

    @property
    def entries(self) -> Iterator[FileEntry]:
        """Its live files."""
        return chain.from_iterable(block.entries for block in self.blocks)

    @cached_property
    def has_equality_deletes(self) -> bool:
        """Whether it names files that delete by value instead of by position."""
        return any(block.equality_deletes for block in self.blocks)

    def may_hold(self, values: Sequence[bytes]) -> Iterator[FileEntry]:
        """Yield the files whose bounds allow one of the values, which are in order."""
        wanted = frozenset(values)
        for block in self.blocks:
            if not wanted.isdisjoint(block.values):
                yield from (one for one in block.entries if one.one_value and one.lower in wanted)
            for one in block.mixed:
                index = 0 if one.lower is None else bisect_left(values, one.lower)
                if index < len(values) and (one.upper is None or values[index] <= one.upper):
                    yield one


@dataclass(frozen=True)
class LiveFiles:
    """What a snapshot consists of; nothing without a snapshot."""

    manifests: Sequence[LiveManifest] = ()
    path: str = ""
    """Of the manifest list."""
    key_id: int | None = None
    """Field id of the column that data files are looked for by; None where the table has no such column."""
    table: str = ""
    """The table's UUID."""
    memory: LiveMemory | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, table: Table, memory: LiveMemory, key: str = SOURCE_FILE) -> LiveFiles:
        """
        Read the manifests of the table's current snapshot, those already known from memory.

        Args:
            table: Freshly loaded.
            memory: Has what is known, and gets what is read.
            key: The column whose bounds are kept at hand.
        """
        uuid = str(table.metadata.table_uuid)
        key_id = next((one.field_id for one in table.schema().fields if one.name.lower() == key), None)
        none = cls(key_id=key_id, table=uuid, memory=memory)
        snapshot = table.current_snapshot()
        if snapshot is None:
            return none
        known = memory.get(uuid)
        if known is None or known.key_id != key_id:
            known = none
        if known.path == snapshot.manifest_list:
            return known
        by_path = {manifest.file.manifest_path: manifest for manifest in known.manifests}
        manifests = [
            by_path.get(file.manifest_path) or _read(table, file, key_id)
            for file in snapshot.manifests(table.io)
            if file.has_added_files() or file.has_existing_files()
        ]
        return none.remembered(manifests, snapshot.manifest_list, key_id)

    def remembered(self, manifests: Iterable[LiveManifest], path: str, key_id: int | None) -> LiveFiles:
        """Return the files of another snapshot of the table, which `of` will know when it is current."""
        live = replace(self, manifests=[one for one in manifests if one.count], path=path, key_id=key_id)
        return live if self.memory is None else self.memory.put(self.table, live)

    @cached_property
    def weight(self) -> int:
        """Bytes held in memory, roughly."""
        return sum(manifest.weight for manifest in self.manifests)

    def of_content(self, content: ManifestContent) -> list[LiveManifest]:
        """Return the manifests of data files, or those of delete files."""
        return [manifest for manifest in self.manifests if manifest.file.content == content]

    def data(self) -> Iterator[FileEntry]:
        """Yield the data files."""
        for manifest in self.of_content(ManifestContent.DATA):
            yield from manifest.entries

    def deletes(self) -> Iterator[FileEntry]:
        """Yield the delete files."""
        for manifest in self._deletes:
            yield from manifest.entries

    @cached_property
    def _deletes(self) -> list[LiveManifest]:
        return self.of_content(ManifestContent.DELETES)

    def may_hold(self, keys: Collection[str]) -> Iterator[FileEntry]:
        """Yield the data files whose bounds allow one of the keys."""
        values = sorted(key.encode() for key in keys)
        for manifest in self.of_content(ManifestContent.DATA):
            yield from manifest.may_hold(values)

    @cached_property
    def has_equality_deletes(self) -> bool:
        """Whether rows are deleted by value; such files are written by other engines only."""
        return any(manifest.has_equality_deletes for manifest in self._deletes)

    def deletes_of(self, file: FileEntry) -> list[FileEntry]:
        """
        Return the position delete files that apply to a data file.

        They have its path within their bounds, are not older, and, when they cover several files, of its partition
        (Iceberg specification, scan planning).
        """
        path = file.path.encode()
        return [
            one
            for manifest in self._deletes
            for one in manifest.may_hold([path])
            if one.content == DataFileContent.POSITION_DELETES
            and one.sequence_number >= file.sequence_number
            and (one.one_value or _same_partition(one, file))
        ]


LiveMemory = Facts[str, LiveFiles]
"""The newest files known of each table, by its UUID."""


def live_memory() -> LiveMemory:
    """Return an empty memory."""
    return Facts(MEMORY_BYTES, lambda live: live.weight)


def format_of(table: Table, spec_id: int) -> EntryFormat:
    """Return how files of a partition spec are encoded in manifests."""
    return entry_format(spec_id, table.metadata.specs()[spec_id].partition_type(table.schema()))


def _same_partition(one: FileEntry, other: FileEntry) -> bool:
    if one.spec_id != other.spec_id:
        return False
    return not one.format.partitioned or one.data_file.partition == other.data_file.partition


def _read(table: Table, file: ManifestFile, key_id: int | None) -> LiveManifest:
    io: FileIO = table.io
    form = format_of(table, file.partition_spec_id)
    key_id = key_id if file.content == ManifestContent.DATA else DELETE_PATH_ID
    loose = []
    for found in file.fetch_manifest_entry(io, discard_deleted=True):
        head = Head(found.snapshot_id, found.sequence_number, found.file_sequence_number)
        encoded = entry(ManifestEntryStatus.EXISTING, head, form.encoded(found.data_file))
        loose.append((encoded, FileEntry.of(found.data_file, found.sequence_number or 0, key_id, form)))
    return LiveManifest(file, packed(loose))
