"""
One snapshot that adds data files, drops files and adds position deletes, committed by one compare-and-swap.

PyIceberg has no writer for position deletes, and its snapshot producers retry, copy all metadata about 15 times a
commit and rewrite every manifest at a merge. This is the one module that stands on its inner classes; their minor
version is pinned in `pyproject.toml`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.io import OutputFile
from pyiceberg.manifest import (
    DataFile,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
    write_manifest_list,
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
    AssertTableUUID,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)

from handlers.csv_to_iceberg.commit_port import CommitConflict
from handlers.csv_to_iceberg.live import LiveFiles, LiveManifest
from handlers.csv_to_iceberg.shape import Shape

log = structlog.get_logger(__name__)

MERGE_COUNT: Final = 20
"""Manifests of about one size that are merged into one. Each entry is rewritten once per factor of 20 of the table."""


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
    writer = _SnapshotWriter(table, change, new_id, now)
    updates, requirements = writer.prepare(live, summary)
    swap(table, updates, requirements)
    return writer.snapshot_id


def swap(table: Table, updates: Iterable[TableUpdate], requirements: Iterable[TableRequirement]) -> None:
    """Commit updates if the requirements still hold, never a second time. Raises as `commit_snapshot`."""
    try:
        table._do_commit(tuple(updates), (AssertTableUUID(uuid=table.metadata.table_uuid), *requirements))  # noqa: SLF001
    except (CommitFailedException, NoSuchTableError) as error:
        raise CommitConflict(str(error)) from error


def expire_snapshots(table: Table, keep: int) -> None:
    """
    Forget all but the newest `keep` snapshots: commits slow down with each one retained.

    Files are left alone. It never fails, because the commit it follows has succeeded.
    """
    metadata = table.metadata
    named = {reference.snapshot_id for reference in metadata.refs.values()}
    newest_first = sorted(metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0, reverse=True)
    expired = [snapshot.snapshot_id for snapshot in newest_first[keep:] if snapshot.snapshot_id not in named]
    if not expired:
        return
    try:
        swap(table, [RemoveSnapshotsUpdate(snapshot_ids=expired)], [])
    except Exception:
        log.warning("snapshots.not_expired", table=".".join(table.name()), snapshots=len(expired), exc_info=True)


class _ManifestWriter(ManifestWriterV2):
    """PyIceberg's writer for both kinds of content; its own writes data manifests only."""

    def __init__(self, content: ManifestContent, *args: Any) -> None:
        super().__init__(*args)
        self._content = content

    def content(self) -> ManifestContent:
        return self._content

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": self._content.name.lower()}


@dataclass
class _SnapshotWriter:
    table: Table
    change: Change
    new_id: Callable[[], str]
    now: int
    snapshot_id: int = field(init=False)

    def __post_init__(self) -> None:
        self.snapshot_id = self.table.metadata.new_snapshot_id()
        self._commit_id = self.new_id()
        self._manifests_written = 0
        metadata = self.table.metadata
        self._codec: Any = metadata.properties.get("write.avro.compression-codec", "gzip")
        self._schema = metadata.schema()
        if self.change.shape is not None:
            next_id = max(schema.schema_id for schema in metadata.schemas) + 1
            self._schema = self.change.shape.schema.model_copy(update={"schema_id": next_id})

    def prepare(
        self, live: LiveFiles, properties: Mapping[str, str]
    ) -> tuple[list[TableUpdate], list[TableRequirement]]:
        """Write manifests and manifest list; return the updates, and what they must be compared against."""
        metadata = self.table.metadata
        parent = self.table.current_snapshot()
        kept, dropped = self._without_dropped(live)
        manifests = [
            *self._new_manifests(ManifestContent.DATA, self.change.added),
            *self._new_manifests(ManifestContent.DELETES, self.change.deletes),
            *self._merged(kept),
        ]
        sequence_number = metadata.next_sequence_number()
        path = self._metadata_path(f"snap-{self.snapshot_id}-0-{self._commit_id}.avro")
        with write_manifest_list(
            format_version=2,
            output_file=self.table.io.new_output(path),
            snapshot_id=self.snapshot_id,
            parent_snapshot_id=parent.snapshot_id if parent else None,
            sequence_number=sequence_number,
            avro_compression=self._codec,
        ) as writer:
            writer.add_manifests(manifests)
        snapshot = Snapshot(
            snapshot_id=self.snapshot_id,
            parent_snapshot_id=parent.snapshot_id if parent else None,
            manifest_list=path,
            sequence_number=sequence_number,
            # Time travel needs times that never run backwards, and other writers have other clocks.
            timestamp_ms=max(self.now, metadata.last_updated_ms),
            summary=self._summary(dropped, parent, properties),
            schema_id=self._schema.schema_id,
        )
        updates: list[TableUpdate] = []
        requirements: list[TableRequirement] = [
            AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=parent.snapshot_id if parent else None),
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

    def _without_dropped(self, live: LiveFiles) -> tuple[list[LiveManifest], list[DataFile]]:
        """Rewrite the manifests that name a dropped file; return all that remain, and the dropped files."""
        left = set(self.change.dropped)
        manifests: list[LiveManifest] = []
        dropped: list[DataFile] = []
        for manifest in live.manifests:
            hits = {entry.data_file.file_path for entry in manifest.entries} & left if left else set()
            if not hits:
                manifests.append(manifest)
                continue
            left -= hits
            kept = [entry for entry in manifest.entries if entry.data_file.file_path not in hits]
            gone = [entry for entry in manifest.entries if entry.data_file.file_path in hits]
            dropped += [entry.data_file for entry in gone]
            file = self._write(
                manifest.file.content,
                manifest.file.partition_spec_id,
                [
                    *(_with_status(entry, ManifestEntryStatus.EXISTING, entry.snapshot_id) for entry in kept),
                    *(_with_status(entry, ManifestEntryStatus.DELETED, self.snapshot_id) for entry in gone),
                ],
            )
            manifests.append(LiveManifest(file, kept))
        if left:
            raise ValueError(f"files to drop are not live: {sorted(left)}")
        return manifests, dropped

    def _new_manifests(self, content: ManifestContent, files: Sequence[DataFile]) -> list[ManifestFile]:
        by_spec: defaultdict[int, list[ManifestEntry]] = defaultdict(list)
        for file in files:
            by_spec[file.spec_id].append(
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED,
                    snapshot_id=self.snapshot_id,
                    sequence_number=None,
                    file_sequence_number=None,
                    data_file=file,
                )
            )
        return [self._write(content, spec_id, entries) for spec_id, entries in by_spec.items()]

    def _merged(self, manifests: Iterable[LiveManifest]) -> list[ManifestFile]:
        """Merge manifests of one content, spec and order of magnitude once there are `MERGE_COUNT` of them."""
        tiers: defaultdict[tuple[ManifestContent, int, int], list[LiveManifest]] = defaultdict(list)
        result: list[ManifestFile] = []
        for manifest in manifests:
            if manifest.file.added_snapshot_id == self.snapshot_id:
                result.append(manifest.file)  # it records what this snapshot dropped
            else:
                tier = int(math.log(len(manifest.entries), MERGE_COUNT))
                tiers[manifest.file.content, manifest.file.partition_spec_id, tier].append(manifest)
        for (content, spec_id, _), members in tiers.items():
            if len(members) < MERGE_COUNT:
                result += [member.file for member in members]
                continue
            entries = [
                _with_status(entry, ManifestEntryStatus.EXISTING, entry.snapshot_id)
                for member in members
                for entry in member.entries
            ]
            result.append(self._write(content, spec_id, entries))
        return result

    def _write(self, content: ManifestContent, spec_id: int, entries: Iterable[ManifestEntry]) -> ManifestFile:
        name = f"{self._commit_id}-m{self._manifests_written}.avro"
        self._manifests_written += 1
        output: OutputFile = self.table.io.new_output(self._metadata_path(name))
        spec: PartitionSpec = self.table.metadata.specs()[spec_id]
        with _ManifestWriter(content, spec, self._schema, output, self.snapshot_id, self._codec) as writer:
            for entry in entries:
                writer.add_entry(entry)
        return writer.to_manifest_file()

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
        return update_snapshot_summaries(
            Summary(operation, **collector.build(), **properties),
            parent.summary.additional_properties if parent and parent.summary else None,
        )


def _with_status(entry: ManifestEntry, status: ManifestEntryStatus, snapshot_id: int | None) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=status,
        snapshot_id=snapshot_id,
        sequence_number=entry.sequence_number,
        file_sequence_number=entry.file_sequence_number,
        data_file=entry.data_file,
    )
