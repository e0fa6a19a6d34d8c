"""The folder of an organism in a bucket: its releases, and the files that SILO needs beside them."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from handlers.contract import Claim, HandlerContext, PermanentError, StoredObject
from handlers.silo_staging.downloader import NO_ETAG, Released
from handlers.silo_staging.paths import UNTRANSFORMED, write

RELEASE: Final = ".ndjson.zst"

_LINE_END: Final = zstandard.compress(b"\n")
"""Between two releases, for the last line of the first may have none; blank lines are no records."""

BESIDE: Final = (".yaml", ".yml", ".json", ".nwk")
"""Configuration, reference genomes, lineages, a phylogenetic tree."""


class Dropped:
    """
    The objects of one organism, copied to a folder of this machine.

    Args:
        parent: Of the folder that they are copied to; what an earlier holder of the organism left there is removed.
        claim: Of this one.
    """

    def __init__(self, parent: Path, claim: Claim) -> None:
        self._parent = parent
        self._folder = parent / claim.token
        self._fingerprint = claim.fingerprint

    async def copy(self, objects: Sequence[StoredObject], context: HandlerContext, lane: str) -> None:
        """
        Copy all objects, on a lane of the context.

        Raises:
            PermanentError: There is no release among them, or an object is none of those SILO reads.
            HandlerError: An object cannot be read, or was changed meanwhile.
        """
        names = {found.key.rpartition("/")[2]: found for found in objects}
        if not any(name.endswith(RELEASE) for name in names):
            raise PermanentError(f"There is no file *{RELEASE} in the folder: drop the release there.")
        for name in names:
            if not name.endswith((RELEASE, *BESIDE)):
                raise PermanentError(
                    f"{name} is neither a release (*{RELEASE}) nor a file that SILO reads beside it "
                    f"({', '.join(BESIDE)}): remove it, or let the route's `match` leave it out."
                )
        await context.run(lane, self._begin)
        for name, found in names.items():
            stream = await found.open()
            await context.run(lane, self._take, name, stream)

    def _begin(self) -> None:
        shutil.rmtree(self._parent, ignore_errors=True)
        self._folder.mkdir(parents=True)

    def _take(self, name: str, stream: BinaryIO) -> None:
        # Releases become one file as they come: objects have the order of their names.
        place = self._folder / (UNTRANSFORMED if name.endswith(RELEASE) else name)
        with stream, place.open("ab") as file:
            if file.tell():
                file.write(_LINE_END)
            shutil.copyfileobj(stream, file, 1 << 20)

    def differs_from(self, folder: Path) -> bool:
        """Tell whether a file that is no release is another one than where SILO looks for it, or not there yet."""
        return any(not _same(path, folder / path.name) for path in self._beside())

    def put_beside(self, folder: Path) -> None:
        """Put the files that are no releases where SILO looks for them."""
        for path in self._beside():
            write(folder / path.name, path.read_bytes())

    def _beside(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if path.name != UNTRANSFORMED]

    def download(self, place: Path, etag: str = NO_ETAG) -> Released:
        """Hand over all releases, one after the other in the order of their names; see `importer.Source`."""
        del etag
        (self._folder / UNTRANSFORMED).replace(place)
        return Released(self._fingerprint, None)

    def remove(self) -> None:
        """Remove the copies; those of a later holder stay."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            self._parent.rmdir()


def _same(path: Path, place: Path) -> bool:
    return place.exists() and filecmp.cmp(path, place, shallow=False)
