"""The live files of one snapshot, decoded from its manifests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, DataFileContent, ManifestContent, ManifestEntry, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.delete_file_index import DeleteFileIndex

from handlers.csv_to_iceberg.facts import Facts

ManifestFacts = Facts[str, list[ManifestEntry]]
"""Live entries by manifest path."""


def manifest_facts() -> ManifestFacts:
    """Return an empty memory of manifests, bounded to about 100,000 entries (roughly 200 MB at worst)."""
    return Facts(100_000, len)


@dataclass(frozen=True, slots=True)
class LiveManifest:
    """A manifest with live files in it."""

    file: ManifestFile
    entries: list[ManifestEntry]


@dataclass(frozen=True)
class LiveFiles:
    """What a snapshot consists of; nothing without a snapshot."""

    manifests: list[LiveManifest] = field(default_factory=list)

    @classmethod
    def of(cls, table: Table, facts: ManifestFacts) -> LiveFiles:
        """Read the manifests of the table's current snapshot, those already known from memory."""
        snapshot = table.current_snapshot()
        if snapshot is None:
            return cls()
        return cls(
            [
                LiveManifest(manifest, entries)
                for manifest in snapshot.manifests(table.io)
                if manifest.has_added_files() or manifest.has_existing_files()
                if (entries := _entries(manifest, table.io, facts))
            ]
        )

    def data(self) -> Iterator[ManifestEntry]:
        """Yield the entries of the data files."""
        for manifest in self.manifests:
            if manifest.file.content == ManifestContent.DATA:
                yield from manifest.entries

    @cached_property
    def _delete_index(self) -> DeleteFileIndex:
        index = DeleteFileIndex()
        for entry in self._deletes():
            index.add_delete_file(entry, partition_key=entry.data_file.partition)
        return index

    def deletes_of(self, entry: ManifestEntry) -> set[DataFile]:
        """Return the position delete files that apply to a data file."""
        return self._delete_index.for_data_file(
            entry.sequence_number or 0, entry.data_file, partition_key=entry.data_file.partition
        )

    def _deletes(self) -> Iterator[ManifestEntry]:
        for manifest in self.manifests:
            if manifest.file.content == ManifestContent.DELETES:
                for entry in manifest.entries:
                    if entry.data_file.content == DataFileContent.POSITION_DELETES:
                        yield entry


def _entries(manifest: ManifestFile, io: FileIO, facts: ManifestFacts) -> list[ManifestEntry]:
    known = facts.get(manifest.manifest_path)
    if known is not None:
        return known
    return facts.put(manifest.manifest_path, manifest.fetch_manifest_entry(io, discard_deleted=True))
