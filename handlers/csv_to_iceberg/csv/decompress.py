"""
Unpacking: gzip, bzip2, xz and zstd, told by their first bytes, never by the name.

Every step is bounded: a step unpacks at most a few MiB, and the limits on size and ratio are checked after each.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple, Protocol

import zstandard

from handlers.csv_to_iceberg.csv.errors import BadCompression, DecompressionBomb
from handlers.csv_to_iceberg.csv.options import KIB, MIB, Options

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
_FORMATS: Final = (
    (re.compile(rb"\x1f\x8b"), _Format("gzip", 32 * KIB, lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16))),
    # Three letters alone may be text: a block, or the end of an archive without any, begins with these digits.
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), _Format("bzip2", KIB, bz2.BZ2Decompressor)),
    (re.compile(rb"\xfd7zXZ\x00"), _Format("xz", 4 * KIB, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY))),
    (re.compile(rb"\x28\xb5\x2f\xfd"), _Format("zstd", KIB, lambda: zstandard.ZstdDecompressor().decompressobj())),
)
_LONGEST_MAGIC: Final = 10

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
        if len(head) >= _LONGEST_MAGIC:
            break
    for magic, known in _FORMATS:
        if magic.match(head):
            return known.name, _members(known, _again(head, chunks), options)
    return "", _again(head, chunks)


def _again(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _members(known: _Format, chunks: Iterator[bytes], options: Options) -> Iterator[bytes]:
    """Unpack one member (gzip) or frame (zstd) after the other."""
    unpacker = known.start()
    packed = plain = whole = 0
    begun = False
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            if unpacker.eof:
                # Tapes and block devices pad with zeros; xz has them by its standard (section 2.2).
                at = len(chunk) - len(chunk[at:].lstrip(b"\0"))
                if at == len(chunk):
                    break
                unpacker = known.start()
                begun = False
            step = chunk[at : at + known.step]
            try:
                out = unpacker.decompress(step)
            except _DAMAGE as damage:
                raise _damaged(known, packed + at, len(step), begun=begun, whole=whole) from damage
            begun = True
            at += len(step) - len(unpacker.unused_data)
            plain += len(out)
            whole += unpacker.eof
            _check(known, packed + at, plain, options)
            if out:
                yield out
        packed += len(chunk)
    if begun and not unpacker.eof:
        raise BadCompression(f"The {known.name} archive ends too early, after {packed:,} bytes: upload it again.")


def _damaged(known: _Format, at: int, size: int, *, begun: bool, whole: int) -> BadCompression:
    """Say what is wrong with the `size` bytes from `at`, after so many whole members."""
    if whole and not begun:
        return BadCompression(
            f"The {known.name} archive ends after about {at:,} bytes, and what follows is no {known.name}: upload the "
            "archive alone."
        )
    # Damage shows where the archive contradicts itself, or at its checksum: later than where it is.
    return BadCompression(
        f"The {known.name} archive is damaged, somewhere in its first {at + size:,} bytes: upload it again."
    )


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
