"""Changes that mean something to a reader of CSV: quotes, delimiters, line ends, numbers near limits, encodings."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from tests.fuzz.case import BETWEEN_FILES

_Change = Callable[[bytes, random.Random], bytes]

SETTINGS: Final = 2
"""Bytes of settings that a case begins with."""

TOKENS: Final[tuple[bytes, ...]] = tuple(
    token.encode("utf-8", "surrogateescape")
    for token in [
        *",;\t| :'\"\\\n\r\0#=+-.%\x1a\x1b\x0b\x0c\x1c\x85\u2028\ufeff\u00a0\ufffd",
        '""', '","', '";"', "','", '\\"', '"\n', '\n"', '"\r\n', "\r\n", "\n\n", "\r\r\n", "\n\r", ", ", ' "', '" ',
        ",,", ",,,", "sep=;\n", "sep=,\r\n", "sep=\t\n", "# remark\n", "id,name\n", "a,b,c\n", "a;b;c\n", "a|b\n",
        "Report\n\n", "EndOfFile", "EndOfFile0", "\nEndOfFile,\n", "EndOfFileX0\n", "total,\n", "-- \n",
        "0", "-0", "007", "1", "-1", "+1", "2147483647", "2147483648", "-2147483649", "9223372036854775807",
        "9223372036854775808", "99999999999999999999", "1.5", "1,5", ".5", "5.", "1e3", "1e400", "0x1A", "1_000", "12%",
        "$5", "1.234,56", "1,234.56", "nan", "inf", "-Infinity", "NULL", "NA", "N/A", "\\N", "None", "-", "n/a",
        "true", "FALSE", "yes", "no", "t", "f", "y",
        "2024-01-15", "15/01/2024", "01/15/2024", "3/4/2024", "2024-02-30", "0000-00-00", "15.01.2024", "24-01-15",
        "2024-01-15T10:30:00Z", "2024-01-15 10:30", "2024-01-15T10:30:00+02:00", "2024-01-15T10:30:00.1234567", "1999",
        "2021,2022", "é", "ß", "ğ", "€", "日本", "😀", "I\u0307", "\u0130", "e\u0301",
        "\udc80", "\udcff", "\udce9", "\udcc3", "\udcf0\udc9f", "\ufdd0",
    ]
)  # fmt: skip
MAGIC: Final = (
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\0\0\xfe\xff", b"\x1f\x8b", b"\x1f\x8b\x08\0",
    b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b"PK\x03\x04", b"PAR1", b"%PDF-", b"{", b"[{",
    b"<html>", b"<?xml",
)  # fmt: skip
DELIMITERS: Final = (b",", b";", b"\t", b"|", b":", b" ", b"||", b", ")
LINE_ENDS: Final = (b"\n", b"\r\n", b"\r")
ENCODINGS: Final = (
    "utf-16-le",
    "utf-16-be",
    "utf-16",
    "utf-32",
    "cp1252",
    "iso-8859-2",
    "cp1251",
    "shift_jis",
    "utf-8-sig",
)


def mutated(data: bytes, limit: int, seed: int) -> bytes:
    """Change bytes in one to four ways; at most `limit` bytes. The same seed gives the same."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    settings, body = data[:SETTINGS].ljust(SETTINGS, b"\0"), data[SETTINGS:]
    if chance.random() < 0.1:
        settings = chance.randbytes(SETTINGS)
    for _ in range(chance.choice((1, 1, 2, 4))):
        change: _Change = chance.choice(_WAYS)
        body = change(body, chance)
    return (settings + body)[:limit]


def _at(body: bytes, chance: random.Random) -> int:
    """Return a place; at a boundary more often than within a word."""
    if body and chance.random() < 0.5:
        places = [i for i, byte in enumerate(body) if byte in b",;\t|\"'\n\r\\"]
        if places:
            return chance.choice(places) + chance.randint(0, 1)
    return chance.randint(0, len(body))


def _insert(body: bytes, chance: random.Random) -> bytes:
    at = _at(body, chance)
    return body[:at] + chance.choice(TOKENS) + body[at:]


def _replace(body: bytes, chance: random.Random) -> bytes:
    at = _at(body, chance)
    return body[:at] + chance.choice(TOKENS) + body[at + chance.randint(1, 4) :]


def _delete(body: bytes, chance: random.Random) -> bytes:
    at = _at(body, chance)
    return body[:at] + body[at + chance.choice((1, 1, 2, 8, 64)) :]


def _flip(body: bytes, chance: random.Random) -> bytes:
    if not body:
        return body
    at = chance.randrange(len(body))
    return body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]


def _copy(body: bytes, chance: random.Random) -> bytes:
    begin, at = _at(body, chance), _at(body, chance)
    piece = body[begin : begin + chance.choice((2, 8, 32, 128))]
    return body[:at] + piece * chance.choice((1, 1, 2, 20)) + body[at:]


def _copy_line(body: bytes, chance: random.Random) -> bytes:
    lines = body.splitlines(keepends=True)
    if lines:
        lines.insert(chance.randint(0, len(lines)), chance.choice(lines))
    return b"".join(lines)


def _drop_line(body: bytes, chance: random.Random) -> bytes:
    lines = body.splitlines(keepends=True)
    if lines:
        lines.pop(chance.randrange(len(lines)))
    return b"".join(lines)


def _swap_delimiter(body: bytes, chance: random.Random) -> bytes:
    return body.replace(chance.choice(DELIMITERS), chance.choice(DELIMITERS))


def _swap_quote(body: bytes, chance: random.Random) -> bytes:
    return body.replace(*chance.choice(((b'"', b"'"), (b"'", b'"'), (b'""', b'\\"'), (b'"', b""))))


def _swap_line_ends(body: bytes, chance: random.Random) -> bytes:
    return body.replace(chance.choice(LINE_ENDS), chance.choice(LINE_ENDS))


def _quote_cells(body: bytes, chance: random.Random) -> bytes:
    delimiter = chance.choice(DELIMITERS[:4])
    return b"\n".join(
        delimiter.join(b'"' + cell + b'"' for cell in line.split(delimiter)) if line else line
        for line in body.split(b"\n")
    )


def _trail_delimiter(body: bytes, chance: random.Random) -> bytes:
    return body.replace(b"\n", chance.choice(DELIMITERS[:4]) + b"\n")


def _magic(body: bytes, chance: random.Random) -> bytes:
    return chance.choice(MAGIC) + body


def _encode(body: bytes, chance: random.Random) -> bytes:
    return body.decode("utf-8", "replace").encode(chance.choice(ENCODINGS), "replace")


def _another_file(body: bytes, chance: random.Random) -> bytes:
    files = body.split(BETWEEN_FILES)
    return body + BETWEEN_FILES + chance.choice(files)


_WAYS: Final[tuple[_Change, ...]] = (
    *(_insert, _replace, _delete) * 4,
    *(_flip, _copy, _copy_line, _drop_line) * 2,
    _swap_delimiter, _swap_quote, _swap_line_ends, _quote_cells, _trail_delimiter, _magic, _encode, _another_file,
)  # fmt: skip
