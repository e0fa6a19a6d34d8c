"""Archives: told by their first bytes, read to their end, bounded, and failed when they are damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest
import zstandard

from handlers.csv_to_iceberg.csv.errors import BadCompression, DecompressionBomb, EmptyFile
from tests.unit.csv.reading import Reading, streamed

Read = Callable[..., Reading]

TEXT = "id,name\n1,Müller\n2,Café\n3,Señor Núñez\n"
ROWS = [(1, "Müller"), (2, "Café"), (3, "Señor Núñez")]

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("name", PACKERS)
def test_archives_are_told_by_their_first_bytes(read: Read, name: str) -> None:
    reading = read(PACKERS[name](TEXT.encode()))

    assert reading.rows == ROWS
    assert reading.report.compression == name


@pytest.mark.parametrize("name", PACKERS)
def test_archives_of_several_members_are_read_to_the_end(read: Read, name: str) -> None:
    pack = PACKERS[name]

    assert read(pack(TEXT.encode()) + pack(b"4,last\n")).rows == [*ROWS, (4, "last")]


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("cut", [1, 9, 30])
def test_truncated_archives_fail(read: Read, name: str, cut: int) -> None:
    packed = PACKERS[name](TEXT.encode())

    with pytest.raises(BadCompression):
        read(packed[:-cut])


@pytest.mark.parametrize("name", PACKERS)
def test_damaged_archives_fail(read: Read, name: str) -> None:
    packed = bytearray(PACKERS[name](TEXT.encode() * 50))
    packed[len(packed) // 2] ^= 0xFF

    with pytest.raises(BadCompression):
        read(bytes(packed))


@pytest.mark.parametrize("name", PACKERS)
def test_garbage_after_an_archive_fails(read: Read, name: str) -> None:
    with pytest.raises(BadCompression, match=f"what follows is no {name}"):
        read(PACKERS[name](TEXT.encode()) + b"garbage, not a member")


@pytest.mark.parametrize("name", PACKERS)
def test_zeros_after_an_archive_are_padding(read: Read, name: str) -> None:
    pack = PACKERS[name]

    assert read(pack(TEXT.encode()) + bytes(4)).rows == ROWS
    assert read(pack(TEXT.encode()) + bytes(8) + pack(b"4,last\n") + bytes(2000)).rows == [*ROWS, (4, "last")]


def test_a_wrong_checksum_is_not_blamed_on_the_text(read: Read) -> None:
    packed = bytearray(gzip.compress(TEXT.encode()))
    packed[-8] ^= 0xFF

    with pytest.raises(BadCompression, match=f"damaged, somewhere in its first {len(packed)} bytes: upload it again"):
        read(bytes(packed))


@pytest.mark.parametrize("level", [0, 9])
def test_damaged_text_of_a_damaged_archive_is_blamed_on_the_archive(read: Read, level: int) -> None:
    packed = gzip.compress("id,name\n1,äöüß\n".encode() * 1000, level)
    damaged = packed[:60].replace("ö".encode(), b"\xff\xff") + packed[60:] if level == 0 else packed[:-8] + bytes(8)

    with pytest.raises(BadCompression):
        read(damaged)


def test_an_archive_of_nothing_is_an_empty_file(read: Read) -> None:
    with pytest.raises(EmptyFile):
        read(gzip.compress(b""))


def test_plain_text_named_gz_is_read_as_it_is(read: Read) -> None:
    assert read(TEXT.encode()).report.compression == ""


@pytest.mark.parametrize("name", PACKERS)
def test_bombs_are_defused(name: str) -> None:
    pack = PACKERS[name]
    bomb = pack(b"id,name\n") + pack((b"1," + b"x" * 1000 + b"\n") * 1000) * 80

    with pytest.raises(DecompressionBomb, match="max_ratio = 250"):
        streamed(bomb)


def test_size_of_unpacked_archives_is_limited(read: Read) -> None:
    with pytest.raises(DecompressionBomb, match="max_uncompressed_bytes = 1,000"):
        read(gzip.compress(TEXT.encode() * 100), max_uncompressed_bytes=1000)
