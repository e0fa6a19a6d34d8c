"""The head of a large file: what must be known before its first record."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, NamedTuple

from handlers.csv_to_iceberg.csv.content import SAMPLE
from handlers.csv_to_iceberg.csv.decompress import chunks_of, unpacked
from handlers.csv_to_iceberg.csv.encoding import Encoding, recognise, transcoded
from handlers.csv_to_iceberg.csv.errors import CsvError, EmptyFile, EncodingUnknown, RecordTooLarge
from handlers.csv_to_iceberg.csv.header import detect_layout
from handlers.csv_to_iceberg.csv.layout import Layout
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.quotes import checked


class Head(NamedTuple):
    """What the beginning of a stream tells, and the rest of it."""

    compression: str
    encoding: Encoding
    layout: Layout
    raw: bytes
    """What a like file begins with, raw; empty when that would not tell."""
    rest: Iterator[bytes]
    """The records: UTF-8 without the head, in chunks cut between characters."""


def read_head(raw: BinaryIO, options: Options, encoding: Encoding | None) -> Head:
    """
    Read as much of a stream as it takes to know its layout.

    Args:
        raw: The stream, at its beginning.
        options: Of the route.
        encoding: What an earlier pass found out; None to recognise it.

    Raises:
        PermanentError: The object cannot be ingested.
        OtherEncoding: Read it again in that encoding.
        Exception: Whatever `raw.read` raised.
    """
    compression, plain = unpacked(chunks_of(raw), options)
    data, complete = _beginning(plain, 0, options)
    if not data:
        raise EmptyFile("The file is empty (0 bytes).")
    try:
        told = encoding or recognise(data, complete=complete)
    except CsvError:
        _check_to_the_end(compression, plain)
        raise
    text = _sound(transcoded(chain([data], plain), told), compression, plain)
    sample, complete = _beginning(text, 2, options)
    layout, characters = detect_layout(sample.decode(), complete=complete, options=options)
    at = len(sample.decode()[:characters].encode())
    layout = checked(sample[at:], layout) if complete else layout
    like = data[: told.mark + at] if told.name == "utf-8" and layout.header_line else b""
    return Head(compression, told, layout, like, chain([sample[at:]] if sample[at:] else [], text))


def _beginning(chunks: Iterator[bytes], lines: int, options: Options) -> tuple[bytes, bool]:
    """Take chunks until they hold `SAMPLE` bytes and some line ends below blank lines; tell whether that was all."""
    taken: list[bytes] = []
    size = ends = blank = 0
    for given in chunks:
        taken.append(given)
        chunk = given if size or not lines else given.lstrip(b"\r\n")
        size += len(chunk)
        blank += len(given) - len(chunk)
        if blank > options.max_record_bytes:
            raise RecordTooLarge(
                f"The first {blank:,} bytes are blank lines, max_record_bytes is {options.max_record_bytes:,}. Take "
                "them out of the file, or raise it on the route."
            )
        ends += chunk.count(b"\n") + chunk.count(b"\r")
        if size >= SAMPLE and ends >= lines:
            return b"".join(taken), False
        if size > 2 * options.max_record_bytes:
            raise RecordTooLarge(
                f"The first {size:,} bytes hold less than two lines, max_record_bytes is {options.max_record_bytes:,}. "
                "Check that the file has line breaks."
            )
    return b"".join(taken), True


def _sound(text: Iterator[bytes], compression: str, plain: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the text; when it turns out to be broken, blame the archive it came from if that is."""
    try:
        yield from text
    except EncodingUnknown:
        _check_to_the_end(compression, plain)
        raise


def _check_to_the_end(compression: str, plain: Iterator[bytes]) -> None:
    """Unpack what is left of an archive: its checksum tells whether damage is the archive's or the text's own."""
    if compression:
        for _ in plain:
            pass
