# ruff: noqa: RUF001 - letters of other alphabets are the point
from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handlers.csv_to_iceberg.csv.codepages import told
from handlers.csv_to_iceberg.csv.encoding import recognise
from handlers.csv_to_iceberg.csv.errors import EncodingUnknown, NotText
from tests.unit.csv.reading import Reading, streamed
from tests.unit.csv.scripts import HALF_WIDTH, MEASURES, RARE, SCRIPTS

Read = Callable[..., Reading]

EVERY = {**SCRIPTS, **RARE}

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


WORDS = {
    "Ayşe,İstanbul\nMehmet Yılmaz,Eskişehir\n": ["cp1254", "iso8859_9"],
    "Þórður,Reykjavík\nGuðrún,Ísafjörður\n": ["cp1252"],
    "François,Besançon\nNoël,Évry\nHélène,Orléans\n": ["cp1252", "iso8859_1", "iso8859_15", "mac_roman", "cp850"],
    "Weiß,Nürnberg\nSchröder,Düsseldorf\nJäger,München\n": ["cp1252", "iso8859_15", "mac_roman", "cp850"],
    "Stuhl,12 €\nTisch,30 €\nBüro,7 €\n": ["cp1252", "iso8859_15"],
    "Łukasz,Łódź\nZażółć gęślą jaźń,Kraków\nŚwięta,Gdańsk\n": ["cp1250", "iso8859_2", "cp852"],
    "Jiří Dvořák,Plzeň\nŠárka Nováková,České Budějovice\nTomáš Černý,Ústí\n": ["cp1250", "iso8859_2", "cp852"],
    "Győző,Székesfehérvár\nErzsébet,Győr\nÖdön,Hódmezővásárhely\n": ["cp1250", "iso8859_2"],
    "Иван,Москва\nПётр,Санкт-Петербург\nОльга,Новосибирск\n": [
        "cp1251",
        "koi8_r",
        "iso8859_5",
        "cp866",
        "mac_cyrillic",
    ],
    "Γιώργος,Αθήνα\nΕλένη,Θεσσαλονίκη\n": ["cp1253", "iso8859_7"],
    "דוד,ירושלים\nשרה,תל אביב\nמשה,חיפה\n": ["cp1255", "iso8859_8"],
    "محمد,القاهرة\nفاطمة,الرياض\nعلي,بغداد\n": ["cp1256", "iso8859_6"],
    "Žydrūnas,Šiauliai\nEglė,Panevėžys\nJūratė,Klaipėda\n": ["cp1257", "iso8859_13"],
    "田中,東京\n鈴木,大阪\n佐藤さん,名古屋です\n": ["shift_jis", "euc_jp"],
    "王伟,北京\n李娜,上海市中心\n张三,广州\n": ["gb18030"],
    "王偉,台北\n李娜,高雄市中心\n張三,臺中\n": ["big5"],
    "김철수,서울\n이영희,부산광역시\n": ["euc_kr"],
    "สมชาย,กรุงเทพมหานคร\nสมหญิง,เชียงใหม่\nประเทศไทย,ภูเก็ต\n": ["cp874"],
}


@pytest.mark.parametrize(
    ("text", "encoding"), [(text, encoding) for text, encodings in WORDS.items() for encoding in encodings]
)
def test_a_code_page_is_told_by_the_words_it_makes(read: Read, text: str, encoding: str) -> None:
    reading = read(b"name,city\n" + text.encode(encoding))

    assert reading.rows == [tuple(line.split(",")) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("番号,名前,都市\n" + "".join(f"{i},山田太郎{i},東京都千代田区\n" for i in range(40)), "cp932"),
        ("订单号,客户,金额,备注\n" + "".join(f"{i},客户{i},100.5,已发货\n" for i in range(30)), "gb18030"),
        ("ｺｰﾄﾞ,ﾒｲｼｮｳ\n1,ﾄｳｷｮｳ\n2,ｵｵｻｶ\n3,ﾅｺﾞﾔ\n", "cp932"),
        ("t,temp °C,µg/m³\n1,20.5,3\n2,21.5,4\n", "cp1252"),
    ],
)
def test_a_number_behind_a_name_and_a_sign_behind_a_unit_do_not_mislead(read: Read, text: str, encoding: str) -> None:
    reading = read(text.encode(encoding), types="varchar")

    assert reading.report.encoding == encoding
    assert reading.rows == [tuple(line.split(",")) for line in text.splitlines()[1:]]


@pytest.mark.parametrize("repeated", [1, 100])
@pytest.mark.parametrize(
    ("script", "encoding"), [(name, encoding) for name, script in EVERY.items() for encoding in script.encodings]
)
def test_names_places_and_things_of_a_script_are_read(script: str, encoding: str, repeated: int) -> None:
    rows = [(f"r{i}", f"{word}{i}", word) for i, word in enumerate(EVERY[script].words * repeated)]
    text = "id,name,kind\n" + "".join(f"{','.join(row)}\n" for row in rows)

    assert streamed(text.encode(encoding)).rows == rows


def test_katakana_of_half_width_are_read_beside_other_japanese(read: Read) -> None:
    rows = [*zip(HALF_WIDTH.words, SCRIPTS["Japanese"].words, strict=False)]
    text = "ﾌﾘｶﾞﾅ,名前\n" + "".join(f"{','.join(row)}\n" for row in rows)

    assert read(text.encode("cp932")).rows == rows


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_in_a_header_are_windows_1252(measure: str) -> None:
    text = f"time,{measure},n\n1,2.5,3\n2,3.5,4\n"

    assert recognise(text.encode("cp1252"), complete=True).name == "cp1252"


def test_a_word_that_several_pages_have_fails_with_their_names(read: Read) -> None:
    for word, encoding in (("Gdańsk", "cp1250"), ("nő", "cp1250"), ("Jānis", "cp1257"), ("张三", "gb18030")):
        with pytest.raises(EncodingUnknown, match=r"it reads well as .* and as .*\. Save the file as UTF-8"):
            read(f"id,name\n1,{word}\n".encode(encoding))


@pytest.mark.parametrize("text", ["имя,город\nИван,Москва\nПётр,Омск\n", "名前,都市\n上田,東京\n上野,大阪\n"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32", "utf-8-sig"])
def test_unicode_is_told_in_any_alphabet(read: Read, text: str, encoding: str) -> None:
    first, *rows = [tuple(line.split(",")) for line in text.splitlines()]

    reading = read(text.encode(encoding))

    assert tuple(reading.table.column_names[:2]) == first
    assert reading.rows == rows


def test_a_few_nul_characters_do_not_make_it_utf16(read: Read) -> None:
    assert read(b"a,b\n1,x\0\n2,y\0\0\n").rows == [(1, "x\0"), (2, "y\0\0")]


@pytest.mark.parametrize("sign", ["5 °C", "£5", "20 µm", "© Acme", "½ cup", "“so”", "it’s", "A – B", "§ 5", "naïve"])
def test_a_lone_sign_is_windows_1252(read: Read, sign: str) -> None:
    assert read(f"id,text\n1,{sign}\n".encode("cp1252")).rows == [(1, sign)]


def test_an_encoding_that_is_not_known_here_is_left_to_charset_normalizer(read: Read) -> None:
    text = "name,city\nJürgen Müller,Köln\nFrançoise,forêt\nJosé García,Málaga\nÅke,Ångström\nélève,façade\n"

    reading = read(text.encode("hp_roman8"))

    assert reading.report.encoding == "hp_roman8"
    assert reading.rows == [tuple(line.split(",")) for line in text.splitlines()[1:]]
    (warning,) = reading.report.warnings
    assert warning.startswith("the encoding is not certain: read as HP_ROMAN8, as charset-normalizer says")


@pytest.mark.parametrize(
    ("script", "encoding"), [(name, encoding) for name, script in EVERY.items() for encoding in script.encodings]
)
def test_three_words_are_never_read_wrongly_without_a_warning(script: str, encoding: str) -> None:
    chance = random.Random(f"{script} {encoding}")  # noqa: S311 (repeatable draws)
    for _ in range(20):
        written = "".join(f"{word},1\n" for word in chance.sample(EVERY[script].words, 3)).encode(encoding)
        if written.isascii():
            continue
        with contextlib.suppress(EncodingUnknown):
            found = told(written)
            assert found.doubt or written.decode(found.codec) == written.decode(encoding)


def test_too_little_text_to_tell_its_encoding_fails(read: Read) -> None:
    with pytest.raises(EncodingUnknown, match=r"no known encoding makes words of it\. Save the file as UTF-8"):
        read(b"id,name\n1," + bytes(range(0x80, 0x100)) + b"\n")
    with pytest.raises(EncodingUnknown, match=r"it reads well as .* and as .*\. Save the file as UTF-8"):
        read("id,name\n1,şeker\n".encode("cp1254"))


def test_text_partly_in_utf8_and_partly_in_windows_1252_fails(read: Read) -> None:
    with pytest.raises(EncodingUnknown, match="UTF-8 but for byte 0xE9 on line 3"):
        read("id,name\n1,Zoé\n".encode() + "2,Zoé\n3,café\n4,née\n".encode("cp1252"))


def test_east_asian_text_with_a_broken_byte_is_not_read_as_another(read: Read) -> None:
    text = "名前,都市\n" + "田中,東京\n佐藤さん,名古屋です\n" * 20_000

    with pytest.raises(EncodingUnknown, match="CP932 but for byte 0x82 on line 40,002"):
        read(text.encode("cp932") + b"\x82\n")


def test_text_that_turns_out_not_to_be_utf8_late_is_read_again() -> None:
    ascii_part = b"id,name\n" + b"1,abcdefgh\n" * 200_000

    reading = streamed(ascii_part + "2,café\n".encode("cp1252"))

    assert reading.passes == 2
    assert reading.rows[-1] == (2, "café")
    assert reading.report.encoding == "cp1252"


def test_damaged_utf8_fails_with_the_place(read: Read) -> None:
    with pytest.raises(EncodingUnknown, match=r"UTF-8 but for byte 0xFF on line 2 \(offset 18\)\. Repair that line"):
        read("id,name\n1,äöüß\n".encode()[:-1] + b"\xff\n")
    with pytest.raises(EncodingUnknown, match="line 3 ends within a character: the file was cut short"):
        read("id,name\n1,äöüß\n2,ä".encode()[:-1])


def test_a_byte_that_is_no_utf8_late_in_a_stream_fails_with_its_line() -> None:
    lines = "1,äöü\n" * 400_000

    with pytest.raises(EncodingUnknown, match="byte 0xE9 on line 400,002"):
        streamed(b"id,name\n" + lines.encode() + b"2,caf\xe9\n3,x\n", step=60_000)


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


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, TEXT)
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), out)
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("a.csv")
        member.size = len(TEXT.encode())
        archive.addfile(member, io.BytesIO(TEXT.encode()))
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (zipped("a.csv"), "a ZIP archive: unpack it"),
        (zipped("xl/workbook.xml"), "an Excel workbook"),
        (parquet(), "a Parquet file"),
        (tarred(), "a tar archive"),
        (gzip.compress(tarred(), mtime=0), "a tar archive"),
        (gzip.compress(gzip.compress(TEXT.encode(), mtime=0), mtime=0), "a gzip archive within an archive"),
        (bz2.compress(lzma.compress(TEXT.encode())), "an xz archive within an archive"),
        (b"<!DOCTYPE html>\n<html><body>Not, found</body></html>\n", "an HTML page"),
        (codecs.BOM_UTF8 + b"\n<html>\n", "an HTML page"),
        (b'<?xml version="1.0"?>\n<rows/>\n', "XML"),
        (b'{"id": 1, "name": "a"}\n{"id": 2, "name": "b"}\n', "JSON"),
        (b'[\n  {"id": 1, "name": "a"},\n  {"id": 2}\n]\n', "JSON"),
        ('{"id": 1, "name": "é"}\n'.encode("utf-16"), "JSON"),
        (b"{\\rtf1\\ansi a,b\n}", "an RTF document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n", "a pointer of Git LFS"),
    ],
)
def test_what_is_no_table_is_named(read: Read, data: bytes, what: str) -> None:
    with pytest.raises(NotText, match=what):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b'["a"],b\n1,2\n',
        b"{a},b\n1,2\n",
        b'{"a"},b\n{"a": 2},c\n',
        b"<b>,c\n1,2\n",
        b"BZh,a\n1,2\n",
        b"PAR1,ORC\n1,2\n",
        b"[id],[name]\n1,2\n",
    ],
)
def test_tables_that_begin_like_something_else_are_read(read: Read, data: bytes) -> None:
    assert read(data).report.rows >= 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_faces_in_utf16_without_a_mark_are_read(read: Read, encoding: str) -> None:
    text = "id,name\nAnna,Anna\nBea,😀\nCleo,😀\n"

    assert read(text.encode(encoding)).rows == [("Anna", "Anna"), ("Bea", "😀"), ("Cleo", "😀")]
