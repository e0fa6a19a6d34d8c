"""Lines of a file compressed with zstd, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import zstandard

_STEP: Final = 4 << 10
"""Compressed bytes unpacked at a time; at zstd's worst ratio of 44,000 to 1 they become 176 MB."""

_READ: Final = 256 << 10


class NotWhole(ValueError):
    """The file is no zstd, damaged, or cut short."""


def lines(path: Path) -> Iterator[bytes]:
    """
    Yield the lines of all frames of a file, without their ends.

    Raises:
        NotWhole: While iterated, when the damage is met; zstd itself would take a file that is cut short as ended.
    """
    begun: list[bytes] = []
    for text in _unpacked(path):
        end, *others = text.split(b"\n")
        begun.append(end)
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun = others[-1:]
    if last := b"".join(begun):
        yield last


def _unpacked(path: Path) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    begun = False
    with path.open("rb") as file:
        while chunk := file.read(_READ):
            at = 0
            while at < len(chunk):
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                step = chunk[at : at + _STEP]
                try:
                    yield frame.decompress(step)
                except zstandard.ZstdError as error:
                    raise NotWhole(f"{path.name} is not zstd, or damaged: {error}") from error
                begun = True
                at += len(step) - len(frame.unused_data)
    if not begun or not frame.eof:
        raise NotWhole(f"{path.name} ends within a frame of zstd")
