"""A whole small file: from stored bytes to UTF-8 text and its layout."""

from __future__ import annotations

from typing import Final, NamedTuple

from handlers.csv_to_iceberg.csv.decompress import unpacked
from handlers.csv_to_iceberg.csv.encoding import Encoding, OtherEncoding, recognise, transcoded
from handlers.csv_to_iceberg.csv.errors import EmptyFile
from handlers.csv_to_iceberg.csv.header import detect_layout
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.options import KIB, MIB, Options
from handlers.csv_to_iceberg.csv.quotes import checked

MAX_UNPACKED: Final = 32 * MIB
"""Bytes that the compressed files of a batch may unpack to, together, and still be cooked in memory."""

SAMPLE: Final = 256 * KIB
"""Bytes of a file that its encoding and layout are told from, if they hold two lines."""


class TooLargeToCook(Exception):
    """The file unpacks to more than there is room for."""


class Plain(NamedTuple):
    """Bytes as they were before compression."""

    data: bytes
    compression: str


class Text(NamedTuple):
    """UTF-8 text without a byte order mark."""

    data: bytes
    encoding: Encoding


class Body(NamedTuple):
    """The records of a file."""

    text: bytes
    """UTF-8, without the head."""
    layout: Layout
    head: bytes
    """What a like file begins with, raw; empty when that would not tell."""
    encoding: Encoding


def unpack(data: bytes, options: Options, room: int = MAX_UNPACKED) -> Plain:
    """
    Decompress a file that unpacks to at most `room` bytes.

    Raises:
        BadCompression, DecompressionBomb: The archive cannot be read.
        TooLargeToCook: See there.
    """
    compression, chunks = unpacked(iter([data] if data else []), options)
    if not compression:
        return Plain(data, "")
    kept = []
    size = 0
    for chunk in chunks:
        kept.append(chunk)
        size += len(chunk)
        if size > room:
            raise TooLargeToCook
    return Plain(b"".join(kept), compression)


def split_head(data: bytes, options: Options) -> Body:
    """
    Find encoding, dialect and header of a plain file.

    Raises:
        EmptyFile, NotText, EncodingUnknown, HeaderMissing, TooManyColumns: The file cannot be ingested.
    """
    if not data:
        raise EmptyFile("The file is empty (0 bytes).")
    text = _decoded(data)
    sample = sample_of(text.data)
    layout, characters = detect_layout(
        sample.decode(errors="ignore"), complete=len(sample) == len(text.data), options=options
    )
    at = len(sample.decode(errors="ignore")[:characters].encode())
    layout = checked(text.data[at:], layout)
    raw_head = data[: text.encoding.mark + at] if text.encoding.name == "utf-8" and layout.header_line else b""
    return Body(text.data[at:], layout, raw_head, text.encoding)


def sample_of(text: bytes) -> bytes:
    """Return the beginning of a text: blank lines and `SAMPLE` bytes, or more if need be to hold two lines."""
    begin = len(text) - len(text.lstrip(b"\r\n"))
    end = begin + SAMPLE
    while end < len(text) and text.count(b"\n", begin, end) + text.count(b"\r", begin, end) < 2:  # noqa: PLR2004 - two
        end *= 2
    return text[:end]


def _decoded(data: bytes) -> Text:
    encoding = recognise(data[:SAMPLE], complete=len(data) <= SAMPLE)
    while True:
        try:
            return Text(b"".join(transcoded(iter([data]), encoding)), encoding)
        except OtherEncoding as other:
            encoding = other.encoding
