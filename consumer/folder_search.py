"""What lies below a folder, as the watcher needs to know it: buckets, folders, files, what can be watched. Blocking."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from consumer.folder_store import is_bucket_name
from consumer.folder_walk import is_listed, is_utf8


class Found(NamedTuple):
    """A folder with all that is in it, as paths below the root."""

    folders: list[str]
    files: list[str]
    odd_names: bool
    """Some names are not UTF-8. They cannot be keys, and are left out; a listing reports them."""


def bucket_names(root: Path) -> list[str]:
    """Return the folders that are buckets."""
    return [path.name for path in root.iterdir() if is_bucket_name(path.name) and path.is_dir()]


def is_folder(path: str) -> bool:
    """Say whether there is a folder; never raises."""
    return os.path.isdir(path)  # noqa: PTH112 (it is asked for every change)


def to_watch(root: Path) -> list[str]:
    """
    Return the paths to be named so that all folders below `root` are watched which this user may read.

    Of what it is given the watcher leaves out whatever comes, in the order of the disk, after the first folder that it
    may not read. So all that lies beside the way to such a folder is named by itself.
    """
    denied: list[Path] = []

    def note(error: OSError) -> None:
        if isinstance(error, PermissionError):
            denied.append(Path(error.filename))

    with os.scandir(root) as entries:
        tops = [entry.path for entry in entries if entry.is_dir()]
    for top in tops:
        for _ in os.walk(top, onerror=note):
            pass
    forks = {fork for path in denied for fork in path.parents if fork.is_relative_to(root)}
    beside = {path for fork in forks for path in map(str, fork.iterdir()) if is_utf8(path) and is_folder(path)}
    return [str(root), *sorted(beside - set(map(str, denied)))]


def search(root: Path, start: str, most: int) -> Found:
    """Return the folder `start` with its sub-folders and files; the search for files ends once there are `most`."""
    found_folders = [start]
    found_files: list[str] = []
    odd_names = False
    for path, folders, files in os.walk(root / start):
        base = path.removeprefix(f"{root}/")
        listed = [name for name in folders if is_listed(os.fsencode(name))]
        folders[:] = filter(is_utf8, listed)
        found_folders.extend(f"{base}/{name}" for name in folders)
        odd_names = odd_names or len(folders) < len(listed)
        if len(found_files) < most:
            listed = [name for name in files[:most] if is_listed(os.fsencode(name))]
            named = list(filter(is_utf8, listed))
            found_files.extend(f"{base}/{name}" for name in named)
            odd_names = odd_names or len(named) < len(listed)
    return Found(found_folders, found_files, odd_names)
