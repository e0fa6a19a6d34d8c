"""
Unpacking: gzip, bzip2, xz and zstd, told by their first bytes, never by the name.

Every step is bounded: a step unpacks at most a few MiB, and the limits on size and ratio are checked after each.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple, Protocol

import zstandard

from handlers.csv_to_iceberg.errors import BadCompression, DecompressionBomb
from handlers.csv_to_iceberg.options import KIB, MIB, Options

CHUNK: Final = MIB
"""Bytes of plain text read at a time."""

_RATIO_COUNTS_FROM: Final = 64 * MIB
"""Unpacked bytes below which the ratio is no concern: a small file may well be one line a thousand times."""

_XZ_MEMORY: Final = 256 * MIB
"""Above what `xz -9` needs to unpack (65 MiB)."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class _Format(NamedTuple):
    name: str
    step: int
    """Packed bytes handed over at a time: what they unpack to at most must fit in memory."""
    start: Callable[[], _Unpacker]
    """Begin a member."""


# Worst ratios: gzip 1,032, zstd 44,000 (a 3-byte block of 128 KiB), xz 7,000, bzip2 up to 45 bytes for 900 kB.
_FORMATS: Final = {
    b"\x1f\x8b": _Format("gzip", 32 * KIB, lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)),
    b"BZh": _Format("bzip2", KIB, bz2.BZ2Decompressor),
    b"\xfd7zXZ\x00": _Format("xz", 4 * KIB, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),
    b"\x28\xb5\x2f\xfd": _Format("zstd", KIB, lambda: zstandard.ZstdDecompressor().decompressobj()),
}

_DAMAGE = (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError)
"""What the libraries raise over damaged data; bz2 raises plain OSError and ValueError."""


def chunks_of(raw: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a stream to its end. Raises whatever `raw.read` raises."""
    while chunk := raw.read(CHUNK):
        yield chunk


def unpacked(chunks: Iterator[bytes], options: Options) -> tuple[str, Iterator[bytes]]:
    """
    Return the name of the compression ("" for none) and the plain bytes, in chunks.

    Raises, while iterated:
        BadCompression: The archive is truncated or damaged.
        DecompressionBomb: It goes beyond a limit.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= max(map(len, _FORMATS)):
            break
    for magic, known in _FORMATS.items():
        if head.startswith(magic):
            return known.name, _members(known, _again(head, chunks), options)
    return "", _again(head, chunks)


def _again(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _members(known: _Format, chunks: Iterator[bytes], options: Options) -> Iterator[bytes]:
    """Unpack one member (gzip) or frame (zstd) after the other."""
    unpacker = known.start()
    packed = plain = 0
    begun = False
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            if unpacker.eof:
                unpacker = known.start()
                begun = False
            step = chunk[at : at + known.step]
            try:
                out = unpacker.decompress(step)
            except _DAMAGE as damage:
                raise BadCompression(
                    f"The {known.name} archive is damaged after {packed + at:,} bytes ({damage}): upload it again."
                ) from damage
            begun = True
            at += len(step) - len(unpacker.unused_data)
            plain += len(out)
            _check(known, packed + at, plain, options)
            if out:
                yield out
        packed += len(chunk)
    if begun and not unpacker.eof:
        raise BadCompression(f"The {known.name} archive ends too early, after {packed:,} bytes: upload it again.")


def _check(known: _Format, packed: int, plain: int, options: Options) -> None:
    if plain > options.max_uncompressed_bytes:
        raise DecompressionBomb(
            f"The {known.name} archive unpacks to more than max_uncompressed_bytes = "
            f"{options.max_uncompressed_bytes:,}. Split the file or raise the limit."
        )
    if plain > _RATIO_COUNTS_FROM and plain > packed * options.max_ratio:
        raise DecompressionBomb(
            f"The {known.name} archive unpacks to more than max_ratio = {options.max_ratio} times its size. "
            "Upload it uncompressed or raise the limit."
        )
