"""The folder of a source in a bucket, copied to this machine; archives are taken apart."""

from __future__ import annotations

import gzip
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final

from handlers.contract import HandlerContext, PermanentError, StoredObject

PIECE: Final = 1 << 20

ARCHIVE: Final = ".zip"

PACKED: Final = ".gz"

DENSEST: Final = 1032
"""Bytes that one of DEFLATE may unpack to (zlib's "Maximum Compression Factor"): small files need not be looked at."""

MOST: Final = 100 << 30
"""Bytes that one archive may unpack to, unless something else is set."""

BEGUN: Final = ".part"
"""Ends the name of a file that is not whole yet: whoever dies over it leaves nothing that is taken for the file."""


class DamagedArchive(PermanentError):
    """The archive is damaged, or none."""


class TooLarge(PermanentError):
    """A file, unpacked, is larger than it may be."""


class Allowance:
    """
    How much may come of a file.

    Args:
        name: Of the file.
        most: Bytes, unpacked.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._left = most

    def take(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """
        Yield pieces, of one part of the file after the other; what they say of their length may be wrong.

        Raises:
            TooLarge: They are more than that.
        """
        for piece in pieces:
            self._left -= len(piece)
            if self._left < 0:
                raise TooLarge(
                    f"{self._name} has, unpacked, more than max_uncompressed_bytes = {self._most:,}: raise that in the "
                    "options of the route, if it is to be so large."
                )
            yield piece


async def copy(objects: Sequence[StoredObject], folder: Path, context: HandlerContext, lane: str, most: int) -> None:
    """
    Copy all objects into a new folder, on a lane of the context.

    Args:
        objects: Of a unit.
        folder: Is emptied if it is there.
        context: Runs what blocks.
        lane: Where.
        most: Bytes that one archive may unpack to.

    Raises:
        DamagedArchive: One cannot be taken apart.
        TooLarge: One unpacks to more.
        HandlerError: An object cannot be read, or was changed meanwhile.
    """
    await context.run(lane, _begin, folder)
    for found in objects:
        stream = await found.open()
        await context.run(lane, _take, folder / PurePosixPath(found.key).name, stream, most)


def unpack(path: Path, most: int) -> None:
    """
    Put the files of an archive beside it, each whole or not at all, without the archive and the archive's folders.

    Raises:
        DamagedArchive: It is damaged, or none.
        TooLarge: It unpacks to more than so many bytes.
    """
    allowance = Allowance(path.name, most)
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename.replace("\\", "/")).name
                if member.is_dir() or name in ("", "..", path.name):
                    continue
                begun = path.parent / f"{name}{BEGUN}"
                with archive.open(member) as packed, begun.open("wb") as file:
                    file.writelines(allowance.take(_pieces(packed)))
                begun.replace(path.parent / name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedArchive(f"{path.name}: {error}") from error
    path.unlink()


def _begin(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _take(place: Path, stream: BinaryIO, most: int) -> None:
    with stream, place.open("wb") as file:
        shutil.copyfileobj(stream, file, PIECE)
    if place.suffix.lower() == ARCHIVE:
        unpack(place, most)
    elif place.suffix.lower() == PACKED and place.stat().st_size * DENSEST > most:
        _measure(place, most)


def _measure(path: Path, most: int) -> None:
    """See how much a file unpacks to; what else is wrong with it, its reader says."""
    with suppress(gzip.BadGzipFile, EOFError, zlib.error), gzip.open(path) as file:
        for _ in Allowance(path.name, most).take(_pieces(file)):
            pass


def _pieces(file: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    return iter(partial(file.read, PIECE), b"")
