"""The folders that importer and SILO share, and how what is in them comes and goes."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

DATA: Final = "data.ndjson.zst"
"""What SILO reads; in a run's folder what the run made for it."""

UNTRANSFORMED: Final = "untransformed_data.ndjson.zst"
"""What was downloaded."""

_IMPORTED: Final = "imported"
"""In a run's folder: SILO has its data. A process that ended before that leaves data without it."""


_TAKEN_BACK: Final = ".taken_back"
"""In the output: a folder that is being removed. SILO serves those named by digits alone."""


class Paths:
    """
    `<root>/preprocessing/input` and `output`.

    Only folders whose names are digits alone are ever removed, so sentinels, configuration, and whatever else is put
    beside them stay.

    Args:
        root: The folder above `preprocessing`.
    """

    def __init__(self, root: Path) -> None:
        self.input = root / "preprocessing" / "input"
        self.output = root / "preprocessing" / "output"
        self.data = self.input / DATA

    def make(self) -> None:
        """Make the folders."""
        self.input.mkdir(parents=True, exist_ok=True)
        self.output.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Remove all runs, and files that were never finished."""
        for run in runs(self.input):
            shutil.rmtree(run)
        for left in self.input.glob("*.part"):
            left.unlink()

    def new_run(self, now: float) -> Path:
        """Make the folder of a new run, named by the second; it is the newest, whatever the clock says."""
        newest = next((int(run.name) for run in runs(self.input)), 0)
        run = self.input / str(max(int(now), newest + 1))
        run.mkdir()
        return run

    def imported_before(self, run: Path) -> Path | None:
        """Return the newest run but this one, if SILO has its data."""
        newest = next((other for other in runs(self.input) if other != run), None)
        return newest if newest is not None and (newest / _IMPORTED).exists() else None

    def note_imported(self, run: Path) -> None:
        """Note that SILO has the data of a run."""
        (run / _IMPORTED).touch()

    def doubt(self) -> None:
        """Nobody knows any more what SILO has."""
        for run in runs(self.input):
            (run / _IMPORTED).unlink(missing_ok=True)

    def show(self, run: Path) -> None:
        """Make what the run made SILO's input; at every moment that is the old file or the new one, whole."""
        place = self.data.with_suffix(".zst.part")
        place.unlink(missing_ok=True)
        try:
            place.hardlink_to(run / DATA)
        except OSError:  # a volume without links
            shutil.copyfile(run / DATA, place)
            sync(place)
        place.replace(self.data)
        sync(self.input)

    def withdraw(self, run: Path) -> None:
        """
        Take back a run that failed, so that the next one is not compared with it and SILO does not read it.

        What another run made SILO's input since, of a process that took over meanwhile, stays.
        """
        if not any(_same(self.data, other / DATA) for other in runs(self.input) if other != run):
            self.data.unlink(missing_ok=True)
        discard(run)

    def take_back(self, made: Path) -> None:
        """
        Take back a folder that SILO made, or is making still: it goes as a whole, before its content does.

        A SILO that was given up but goes on then fails, for it has no folder any more.
        """
        gone = self.output / _TAKEN_BACK
        discard(gone)
        made.rename(gone)
        discard(gone)


def is_name(text: str) -> bool:
    """Tell whether a text can name a file or folder of its own: not a path, nor `..`, nor hidden, as our notes are."""
    return bool(text) and not text.startswith(".") and Path(text).name == text


def runs(folder: Path) -> Sequence[Path]:
    """Return the folders named by seconds, the newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.isascii() and path.name.isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def keep_newest(folder: Path) -> None:
    """Remove all folders named by seconds but the newest."""
    for run in runs(folder)[1:]:
        shutil.rmtree(run)


def discard(folder: Path) -> None:
    """Remove a folder; of one that is being removed already, what is left."""
    while folder.exists():
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)


def _same(path: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(path, other)  # at once for links, else by content
    except FileNotFoundError:
        return False


def write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whenever somebody looks."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    sync(part)
    part.replace(path)


def sync(path: Path) -> None:
    """Have a file or folder written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
