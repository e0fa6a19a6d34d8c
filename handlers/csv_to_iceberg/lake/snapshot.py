"""
One snapshot that adds data files, drops files and adds position deletes, committed by one compare-and-swap.

PyIceberg has no writer for position deletes, and its snapshot producers retry, copy all metadata about 15 times a
commit and rewrite every manifest at a merge. Only this module and `swap` stand on its inner classes; their minor
version is pinned in `pyproject.toml`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic_core import to_json
from pyiceberg.manifest import (
    DataFile,
    ManifestContent,
    ManifestEntryStatus,
    ManifestFile,
    construct_partition_summaries,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import (
    Operation,
    Snapshot,
    SnapshotSummaryCollector,
    Summary,
    update_snapshot_summaries,
)
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AddSnapshotUpdate,
    AssertCurrentSchemaId,
    AssertLastAssignedFieldId,
    AssertRefSnapshotId,
    SetCurrentSchemaUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)

from handlers.csv_to_iceberg.lake.entries import Block, FileEntry, Loose, packed, repacked
from handlers.csv_to_iceberg.lake.live import LiveFiles, LiveManifest, format_of
from handlers.csv_to_iceberg.lake.manifest_format import Head, Header, deflated, entry, write_blocks, write_list
from handlers.csv_to_iceberg.lake.parquet import DELETE_PATH_ID
from handlers.csv_to_iceberg.lake.shape import SOURCE_FILE, Shape
from handlers.csv_to_iceberg.lake.swap import swap, time_of_next

MERGE_COUNT: Final = 20
"""Manifests of about one size that are merged into one. Each entry is rewritten once per factor of 20 of the table."""

COUNTS: Final = tuple(
    f"{status}_{what}_count" for what in ("files", "rows") for status in ("added", "existing", "deleted")
)
"""Fields of a manifest's line in the manifest list."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a snapshot changes. Without anything it is a fence: commits prepared before it fail."""

    added: Sequence[DataFile] = ()
    deletes: Sequence[DataFile] = ()
    """Position delete files; they apply to files added by the same snapshot too."""
    dropped: frozenset[str] = frozenset()
    """Paths of data and delete files that leave the table."""
    shape: Shape | None = None
    """The columns afterwards; None leaves them."""
    replaces: bool = False
    """The rows stay the same and lie in other files."""


def commit_snapshot(
    table: Table, live: LiveFiles, change: Change, *, new_id: Callable[[], str], now: int, summary: Mapping[str, str]
) -> int:
    """
    Commit a change against exactly the metadata that `table` was loaded with; `live` are its files.

    `now` is in epoch milliseconds. Returns the id of the snapshot.

    Raises:
        CommitConflict: Somebody else committed since the load.
        Exception: Anything else leaves the outcome unknown.
    """
    writer = _SnapshotWriter(table, live, change, new_id, now)
    updates, requirements = writer.prepare(summary)
    swap(table, updates, requirements)
    live.remembered(writer.manifests, writer.path, writer.key_id)
    return writer.snapshot_id


@dataclass
class _SnapshotWriter:
    table: Table
    live: LiveFiles
    change: Change
    new_id: Callable[[], str]
    now: int
    snapshot_id: int = field(init=False)
    sequence_number: int = field(init=False)
    key_id: int | None = field(init=False)
    path: str = field(init=False)
    """Of the manifest list."""
    manifests: list[LiveManifest] = field(init=False)
    """What the snapshot consists of; set by `prepare`."""

    def __post_init__(self) -> None:
        self.snapshot_id = self.table.metadata.new_snapshot_id()
        self.sequence_number = self.table.metadata.next_sequence_number()
        self._commit_id = self.new_id()
        self._manifests_written = 0
        metadata = self.table.metadata
        self.path = self._metadata_path(f"snap-{self.snapshot_id}-0-{self._commit_id}.avro")
        self._schema = metadata.schema()
        if self.change.shape is not None:
            next_id = max(schema.schema_id for schema in metadata.schemas) + 1
            self._schema = self.change.shape.schema.model_copy(update={"schema_id": next_id})
        self.key_id = self.live.key_id
        if self.key_id is None and self.change.shape is not None:
            # The first rows of ours in a table that was handed over bring the column.
            field = self.change.shape.fields.get(SOURCE_FILE)
            self.key_id = field.field_id if field else None

    def prepare(self, properties: Mapping[str, str]) -> tuple[list[TableUpdate], list[TableRequirement]]:
        """Write manifests and manifest list; return the updates, and what they must be compared against."""
        metadata = self.table.metadata
        parent = self.table.current_snapshot()
        parent_id = parent.snapshot_id if parent else None
        kept, dropped = self._without_dropped()
        self.manifests = [
            *self._new_manifests(ManifestContent.DATA, self.change.added),
            *self._new_manifests(ManifestContent.DELETES, self.change.deletes),
            *self._merged(kept),
        ]
        meta = {
            "snapshot-id": str(self.snapshot_id),
            "parent-snapshot-id": "null" if parent_id is None else str(parent_id),
            "sequence-number": str(self.sequence_number),
            "format-version": "2",
        }
        write_list(self.table.io, self.path, meta, [manifest.listed for manifest in self.manifests])
        snapshot = Snapshot(
            snapshot_id=self.snapshot_id,
            parent_snapshot_id=parent_id,
            manifest_list=self.path,
            sequence_number=self.sequence_number,
            timestamp_ms=time_of_next(metadata, self.now),
            summary=self._summary(dropped, parent, properties),
            schema_id=self._schema.schema_id,
        )
        updates: list[TableUpdate] = []
        requirements: list[TableRequirement] = [
            AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=parent_id),
            AssertCurrentSchemaId(current_schema_id=metadata.current_schema_id),
        ]
        if self.change.shape is not None:
            updates += [AddSchemaUpdate(schema_=self._schema), SetCurrentSchemaUpdate(schema_id=-1)]
            requirements.append(AssertLastAssignedFieldId(last_assigned_field_id=metadata.last_column_id))
        updates += [
            AddSnapshotUpdate(snapshot=snapshot),
            SetSnapshotRefUpdate(
                ref_name=MAIN_BRANCH,
                type=SnapshotRefType.BRANCH,
                snapshot_id=self.snapshot_id,
                max_ref_age_ms=None,
                max_snapshot_age_ms=None,
                min_snapshots_to_keep=None,
            ),
        ]
        return updates, requirements

    def _without_dropped(self) -> tuple[list[LiveManifest], list[DataFile]]:
        """Rewrite the manifests that name a dropped file; return all that remain, and the dropped files."""
        left = set(self.change.dropped)
        manifests: list[LiveManifest] = []
        dropped: list[DataFile] = []
        for manifest in self.live.manifests:
            gone = [
                one
                for block in manifest.blocks
                if not block.paths.isdisjoint(left)
                for one in block.entries
                if one.path in left
            ]
            if not gone:
                manifests.append(manifest)
                continue
            paths = {one.path for one in gone}
            left -= paths
            dropped += [one.data_file for one in gone]
            kept = repacked(manifest.blocks, paths)
            manifests.append(self._existing(manifest.file.content, manifest.file.partition_spec_id, kept, gone))
        if left:
            raise ValueError(f"files to drop are not live: {sorted(left)}")
        return manifests, dropped

    def _new_manifests(self, content: ManifestContent, files: Sequence[DataFile]) -> list[LiveManifest]:
        by_spec: defaultdict[int, list[DataFile]] = defaultdict(list)
        for file in files:
            by_spec[file.spec_id].append(file)
        return [self._new_manifest(content, spec_id, some) for spec_id, some in by_spec.items()]

    def _new_manifest(self, content: ManifestContent, spec_id: int, files: Sequence[DataFile]) -> LiveManifest:
        form = format_of(self.table, spec_id)
        key_id = self.key_id if content == ManifestContent.DATA else DELETE_PATH_ID
        added: list[bytes] = []
        loose: list[Loose] = []
        head = Head(self.snapshot_id, self.sequence_number, self.sequence_number)
        for file in files:
            encoded = form.encoded(file)
            # A new entry has no sequence number of its own: the one of its snapshot counts.
            added.append(entry(ManifestEntryStatus.ADDED, Head(self.snapshot_id, None, None), encoded))
            existing = entry(ManifestEntryStatus.EXISTING, head, encoded)
            loose.append((existing, FileEntry.of(file, self.sequence_number, key_id, form)))
        counts = {"added_files_count": len(files), "added_rows_count": sum(file.record_count for file in files)}
        blocks = packed(loose)
        return self._write(content, spec_id, blocks, [(len(added), deflated(b"".join(added)))], counts)

    def _merged(self, manifests: Iterable[LiveManifest]) -> list[LiveManifest]:
        """Merge manifests of one content, spec and order of magnitude once there are `MERGE_COUNT` of them."""
        tiers: defaultdict[tuple[ManifestContent, int, int], list[LiveManifest]] = defaultdict(list)
        result: list[LiveManifest] = []
        for manifest in manifests:
            if manifest.file.added_snapshot_id == self.snapshot_id:
                result.append(manifest)  # it records what this snapshot dropped
            else:
                tier = int(math.log(manifest.count, MERGE_COUNT))
                tiers[manifest.file.content, manifest.file.partition_spec_id, tier].append(manifest)
        for (content, spec_id, _), members in tiers.items():
            if len(members) < MERGE_COUNT:
                result += members
            else:
                blocks = repacked(block for member in members for block in member.blocks)
                result.append(self._existing(content, spec_id, blocks))
        return result

    def _existing(
        self, content: ManifestContent, spec_id: int, blocks: Sequence[Block], gone: Sequence[FileEntry] = ()
    ) -> LiveManifest:
        """Write a manifest of files that were live before, and of those that are dropped."""
        counts = {
            "existing_files_count": sum(len(block.entries) for block in blocks),
            "existing_rows_count": sum(block.rows for block in blocks),
            "deleted_files_count": len(gone),
            "deleted_rows_count": sum(one.record_count for one in gone),
        }
        written = [(len(block.entries), block.packed) for block in blocks]
        if gone:
            written.append((len(gone), deflated(b"".join(one.deleted(self.snapshot_id) for one in gone))))
        return self._write(content, spec_id, blocks, written, counts)

    def _write(
        self,
        content: ManifestContent,
        spec_id: int,
        blocks: Sequence[Block],
        written: Sequence[tuple[int, bytes]],
        counts: Mapping[str, int],
    ) -> LiveManifest:
        """Write a manifest whose live files are `blocks`, encoded as in `written`."""
        path = self._metadata_path(f"{self._commit_id}-m{self._manifests_written}.avro")
        self._manifests_written += 1
        spec = self.table.metadata.specs()[spec_id]
        form = format_of(self.table, spec_id)
        files = [one.data_file for block in blocks for one in block.entries] if form.partitioned else []
        file = ManifestFile.from_args(
            2,
            manifest_path=path,
            manifest_length=write_blocks(self.table.io, path, self._header(content, spec), written),
            partition_spec_id=spec_id,
            content=content,
            sequence_number=self.sequence_number,
            min_sequence_number=min((block.oldest for block in blocks), default=self.sequence_number),
            added_snapshot_id=self.snapshot_id,
            **{**dict.fromkeys(COUNTS, 0), **counts},
            partitions=construct_partition_summaries(spec, self._schema, [file.partition for file in files]),
            key_metadata=None,
        )
        return LiveManifest(file, blocks)

    def _header(self, content: ManifestContent, spec: PartitionSpec) -> Header:
        meta = {
            "schema": self._schema.model_dump_json(),
            "partition-spec": to_json(spec.fields).decode(),
            "partition-spec-id": str(spec.spec_id),
            "format-version": "2",
            "content": content.name.lower(),
        }
        return Header.of(format_of(self.table, spec.spec_id).schema, "manifest_entry", meta)

    def _metadata_path(self, name: str) -> str:
        return self.table.location_provider().new_metadata_location(name)

    def _summary(self, dropped: Sequence[DataFile], parent: Snapshot | None, properties: Mapping[str, str]) -> Summary:
        collector = SnapshotSummaryCollector()
        specs = self.table.metadata.specs()
        for file in (*self.change.added, *self.change.deletes):
            collector.add_file(file, self._schema, specs[file.spec_id])
        for file in dropped:
            collector.remove_file(file, self._schema, specs[file.spec_id])
        removes = bool(dropped or self.change.deletes)
        operation = Operation.OVERWRITE if removes and self.change.added else Operation.APPEND
        if removes and not self.change.added:
            operation = Operation.DELETE
        result = update_snapshot_summaries(
            Summary(operation, **collector.build(), **properties),
            parent.summary.additional_properties if parent and parent.summary else None,
        )
        # `update_snapshot_summaries` does not know this operation.
        return Summary(Operation.REPLACE, **result.additional_properties) if self.change.replaces else result
