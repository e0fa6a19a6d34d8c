"""What a fuzzer's bytes stand for: options, and one to three files."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import zstandard

from handlers.csv_to_iceberg.csv.options import KIB, MIB, Options

BETWEEN_FILES: Final = b"\xff\x00next file\x00\xff"
MOST_FILES: Final = 3

_TYPES: Final = ("lossless", "seed", "varchar", "lossless")
_STEPS: Final = (1 << 20, 1, 7, 64)
"""Bytes that one read of a stream returns."""
_BLOCKS: Final = (None, 1, 16, 100)

PACKERS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    bytes,
    gzip.compress,
    bz2.compress,
    lzma.compress,
    zstandard.ZstdCompressor(write_checksum=True).compress,
    lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    bytes,
    bytes,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One input of the fuzzer."""

    files: tuple[bytes, ...]
    """As they lie in the bucket."""
    options: Options
    step: int
    """Bytes that one read of a stream returns."""
    block: int | None
    """Characters in a block of a stream; None for all."""


def case_of(data: bytes) -> Case:
    """
    Tell what bytes stand for.

    Two bytes of settings come first: types (2 bits), step (2), header (1), block (2), and, in the second, the
    compression (3).
    """
    settings, packing = (*data[:2], 0, 0)[:2]
    pack = PACKERS[packing % len(PACKERS)]
    return Case(
        tuple(pack(file) for file in data[2:].split(BETWEEN_FILES)[:MOST_FILES]),
        Options.model_validate(
            {
                "types": _TYPES[settings & 3],
                "header": "generate" if settings & 16 else "require",
                "max_uncompressed_bytes": MIB,
                "max_record_bytes": 64 * KIB,
                "max_columns": 500,
            }
        ),
        _STEPS[settings >> 2 & 3],
        _BLOCKS[settings >> 5 & 3],
    )


def bytes_of(
    *files: bytes, types: int = 0, step: int = 0, generate: bool = False, block: int = 0, packing: int = 0
) -> bytes:
    """Return the bytes that stand for a case."""
    return bytes([types | step << 2 | generate << 4 | block << 5, packing]) + BETWEEN_FILES.join(files)
