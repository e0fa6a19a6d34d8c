# ruff: noqa: RUF001 - letters of other alphabets are the point
from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
from collections.abc import Callable

import pytest
import zstandard

from handlers.csv_to_iceberg.errors import BadCompression, DecompressionBomb, EncodingUnknown, NotText
from tests.unit.csv.reading import Reading, streamed

Read = Callable[..., Reading]

TEXT = "id,name\n1,Müller\n2,Café\n3,Señor Núñez\n"
ROWS = [(1, "Müller"), (2, "Café"), (3, "Señor Núñez")]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (codecs.BOM_UTF8 + TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-16"), "utf-16-le"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("utf-32"), "utf-32-le"),
        (TEXT.encode("cp1252"), "cp1252"),
    ],
)
def test_western_encodings(read: Read, data: bytes, encoding: str) -> None:
    reading = read(data)

    assert reading.rows == ROWS
    assert reading.report.encoding == encoding


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("имя,город\nИван,Москва\nПётр,Санкт-Петербург\nОльга,Новосибирск\n", "cp1251"),
        ("名前,都市\n田中,東京\n鈴木,大阪\n佐藤さん,名古屋です\n", "shift_jis"),
        ("姓名,城市\n王伟,北京\n李娜,上海市中心\n", "gb18030"),
        ("imię,miasto\nŁukasz,Łódź\nZażółć gęślą jaźń,Kraków\nŚwięta,Gdańsk\n", "cp1250"),
        ("όνομα,πόλη\nΓιώργος,Αθήνα\nΕλένη,Θεσσαλονίκη\n", "cp1253"),
    ],
)
def test_other_alphabets_are_recognised(read: Read, text: str, encoding: str) -> None:
    first, *rows = [tuple(line.split(",")) for line in text.splitlines()]

    reading = read(text.encode(encoding))

    assert tuple(reading.table.column_names[:2]) == first
    assert reading.rows == rows


def test_text_that_turns_out_not_to_be_utf8_late_is_read_again() -> None:
    ascii_part = b"id,name\n" + b"1,abcdefgh\n" * 200_000

    reading = streamed(ascii_part + "2,café\n".encode("cp1252"))

    assert reading.passes == 2
    assert reading.rows[-1] == (2, "café")
    assert reading.report.encoding == "cp1252"


def test_damaged_utf8_fails_with_the_place(read: Read) -> None:
    with pytest.raises(EncodingUnknown, match="offset 18"):
        read("id,name\n1,äöüß\n".encode()[:-1] + b"\xff\n")


@pytest.mark.parametrize("step", [1, 7])
def test_characters_cut_by_the_network_come_together(step: int) -> None:
    text = TEXT + "4,😀\n" * 20

    assert streamed(text.encode(), step=step).rows == ROWS + [(4, "😀")] * 20
    assert streamed(text.encode("utf-16"), step=step).rows == ROWS + [(4, "😀")] * 20


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04\x14\x00\x06\x00" + bytes(100),
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        bytes(range(256)) * 8,
        b"\x00\x01\x02\x03" * 100,
        bytes(5000),
    ],
)
def test_binary_junk_is_not_text(read: Read, data: bytes) -> None:
    with pytest.raises(NotText):
        read(data)


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


def test_garbage_after_an_archive_fails(read: Read) -> None:
    with pytest.raises(BadCompression):
        read(gzip.compress(TEXT.encode()) + b"garbage, not a member")


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
