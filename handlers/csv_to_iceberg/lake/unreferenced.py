"""
Files below a table's folder that nothing refers to: found, remembered with the time they were first seen, deleted.

A file is deleted when no retained snapshot names it, when it has been seen so for the grace time (a reader that planned
before needs it until then), and when nothing beside it was written for as long (it may be on its way into the table).
`docs/guarantees.md` has the argument why no commit can bring in a file that is being deleted.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pyarrow.fs as pafs
import structlog
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

from handlers.csv_to_iceberg.lake.facts import Facts
from handlers.csv_to_iceberg.lake.reader import local_path

log = structlog.get_logger(__name__)

FOREIGN_GRACE: Final = 72 * 3_600_000
"""
Milliseconds that data files not named as lakedrop names them are left alone: an INSERT of another engine writes for
hours before it commits. Three days is what other engines take for their removal of orphan files by default.
"""

UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
OURS: Final = re.compile(rf"(?:metadata/.*|data/{UUID}(?:-deletes\.parquet|\.parquet|/.*))")
"""What lakedrop writes, relative to the table's folder. Metadata of any writer is named within moments."""

METADATA: Final = ".metadata.json"
KINDS: Final = (".parquet", ".avro", METADATA)
GZIP: Final = b"\x1f\x8b"

Manifests = Facts[str, frozenset[str]]
"""Paths named by manifests, by the manifest's path."""


def manifests() -> Manifests:
    """Return an empty memory, bounded to 200,000 paths (about 50 MB at worst)."""
    return Facts(200_000, len)


@dataclass(frozen=True, slots=True)
class Listed:
    """A file below a table's folder."""

    path: str
    """As the file system names it."""
    name: str
    """Relative to the table's folder."""
    bytes: int
    modified: int
    """Epoch milliseconds of the newest file beside it, where files of one writer have a folder of their own."""


@dataclass(frozen=True, slots=True)
class Unreferenced:
    """Files that nothing refers to."""

    waiting: tuple[Listed, ...] = ()
    """Whose grace time has not passed."""
    due: tuple[Listed, ...] = ()


class TableFolder:
    """The files below a table's location, in any file system PyIceberg reaches through PyArrow."""

    def __init__(self, io: FileIO, location: str) -> None:
        if not isinstance(io, PyArrowFileIO):
            raise TypeError(f"files of {location} cannot be listed with {type(io).__name__}")
        self._io = io
        scheme, netloc, path = io.parse_location(location, io.properties)
        self.root = path.rstrip("/")
        self._local = scheme == "file"
        self._files: Any = io.fs_by_scheme(scheme, netloc)

    def path_of(self, location: str) -> str:
        """Return a location as the file system names it."""
        return self._io.parse_location(location, self._io.properties)[2]

    def table_of(self, file: Listed) -> str | None:
        """Return the UUID of the table that a metadata file describes; None when it cannot be read."""
        with suppress(FileNotFoundError, ValueError), self._files.open_input_file(file.path) as stream:
            data = stream.read()
            found = json.loads(gzip.decompress(data) if data.startswith(GZIP) else data)
            return str(found.get("table-uuid")) if isinstance(found, dict) else None
        return None

    def files(self) -> Iterator[Listed]:
        """Yield all files."""
        found = self._files.get_file_info(pafs.FileSelector(self.root, recursive=True, allow_not_found=True))
        newest: dict[str, int] = {}
        for info in found:
            group = _group(self._name(info.path), is_folder=info.type == pafs.FileType.Directory)
            newest[group] = max(newest.get(group, 0), _milliseconds(info))
        for info in found:
            if info.type == pafs.FileType.File:
                name = self._name(info.path)
                yield Listed(info.path, name, info.size, newest[_group(name)])

    def delete(self, file: Listed) -> bool:
        """Delete a file unless it was written to since it was listed; tell whether it is gone."""
        (info,) = self._files.get_file_info([file.path])
        if info.type == pafs.FileType.NotFound:
            return False
        if _milliseconds(info) > file.modified:
            return False
        self._files.delete_file(file.path)
        return True

    def drop_empty(self, files: Iterable[Listed]) -> None:
        """Remove the folders that deleted files leave empty; object stores have none."""
        if not self._local:
            return
        folders = {parent for file in files for parent in Path(file.name).parents if len(parent.parts) > 1}
        for folder in sorted(folders, reverse=True):
            with suppress(OSError):
                (Path(self.root) / folder).rmdir()

    def _name(self, path: str) -> str:
        return path[len(self.root) + 1 :]


class Marks:
    """When files of one table were first seen without a reference. Losing it only delays their deletion."""

    def __init__(self, home: Path, table_uuid: str) -> None:
        self._path = home / "maintenance" / f"{table_uuid}.json"

    def read(self) -> dict[str, int]:
        """Return epoch milliseconds by name; nothing when there is no readable file."""
        try:
            found = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return {name: at for name, at in found.items() if isinstance(at, int)} if isinstance(found, dict) else {}

    def write(self, marks: Mapping[str, int]) -> None:
        """Remember these and nothing else."""
        if not marks:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(marks))
        new.replace(self._path)


def find_unreferenced(
    files: Collection[Listed], referenced: Collection[str], seen: Mapping[str, int], now: int, grace: int
) -> Unreferenced:
    """
    Tell the files that may be deleted from those that wait.

    Args:
        files: Listed before the metadata was loaded that `referenced` comes from.
        referenced: Paths.
        seen: When names were first seen without a reference, epoch milliseconds.
        now: Epoch milliseconds.
        grace: Milliseconds.
    """
    waiting: list[Listed] = []
    due: list[Listed] = []
    for file in files:
        if file.path in referenced or not file.name.endswith(KINDS):
            continue
        unwritten = grace if OURS.fullmatch(file.name) else max(grace, FOREIGN_GRACE)
        ripe = now - seen.get(file.name, now) >= grace and now - file.modified >= unwritten
        (due if ripe else waiting).append(file)
    return Unreferenced(tuple(waiting), tuple(due))


def references(table: Table, folder: TableFolder, known: Manifests) -> set[str]:
    """
    Return the paths of all files that the table's retained snapshots and its metadata refer to.

    Args:
        table: Freshly loaded.
        folder: Of the table.
        known: What manifests name; gets what is read.

    Raises:
        Exception: Something cannot be read, so nothing can be told.
    """
    metadata = table.metadata
    locations = {
        table.metadata_location,
        *(entry.metadata_file for entry in metadata.metadata_log),
        *(statistics.statistics_path for statistics in (*metadata.statistics, *metadata.partition_statistics)),
    }
    for snapshot in metadata.snapshots:
        locations.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            locations.add(manifest.manifest_path)
            named = known.get(manifest.manifest_path)
            if named is None:
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                named = known.put(manifest.manifest_path, frozenset(entry.data_file.file_path for entry in entries))
            locations |= named
    # Another engine may have written a location with its special characters encoded.
    return {folder.path_of(one) for location in locations for one in {location, unquote(location)}}


def overlapping(location: str, others: Iterable[str]) -> str | None:
    """Return the first of other tables' locations that lies in this one, or the other way round."""
    here = _ended(location)
    for other in others:
        there = _ended(other)
        if here.startswith(there) or there.startswith(here):
            return other
    return None


def why_shared(location: str, others: Mapping[str, str], home: Path | None) -> str | None:
    """
    Return why a table's folder may hold files that somebody else needs.

    Args:
        location: The table's.
        others: Names of the catalog's other tables by their location.
        home: Whose warehouse the table must lie in; None for a catalog elsewhere.
    """
    shared = overlapping(location, others)
    if shared is not None:
        return f"those of table {others[shared]} lie in the same folder"
    path = local_path(location)
    if home is not None and (path is None or (home / "warehouse").resolve() not in Path(path).resolve().parents):
        return "the table lies in another home, from which this one was copied"
    return None


def of_another_table(files: Unreferenced, folder: TableFolder, table_uuid: str) -> str | None:
    """
    Return the name of the first metadata file that describes another table.

    One of the same name was dropped, and may be brought back; or another catalog has its tables in the same warehouse.
    """
    for file in (*files.waiting, *files.due):
        if file.name.endswith(METADATA) and folder.table_of(file) not in {None, table_uuid}:
            return file.name
    return None


def clear_scratch(folder: Path, now: int, grace: int, *, dry_run: bool) -> list[str]:
    """
    Delete what dead processes left in the folder of unfinished work; return the names.

    A folder that anything was written to within the grace time is left alone.
    """
    gone = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if now - _newest(entry) >= grace:
            gone.append(entry.name)
            if not dry_run:
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
    return gone


def _newest(path: Path) -> int:
    """Return when anything in or below a path was last written, epoch milliseconds."""
    times = [path.lstat().st_mtime_ns]
    for root, _, names in os.walk(path):
        for each in (root, *(os.path.join(root, name) for name in names)):  # noqa: PTH118  # os.walk gives texts
            with suppress(FileNotFoundError):
                times.append(Path(each).lstat().st_mtime_ns)
    return max(times) // 1_000_000


def _group(name: str, *, is_folder: bool = False) -> str:
    """Return what is as old as its newest file: a file of `data` or `metadata` itself, else the folder below these."""
    parts = name.split("/")
    return "/".join(parts[:2]) if is_folder or len(parts) > 2 else name  # noqa: PLR2004  # folder, folder, file


def _milliseconds(info: Any) -> int:
    return 0 if info.mtime_ns is None else int(info.mtime_ns) // 1_000_000


def _ended(location: str) -> str:
    """Return a location without its scheme, ending in a slash."""
    return location.partition("://")[2].rstrip("/") + "/" if "://" in location else location.rstrip("/") + "/"
