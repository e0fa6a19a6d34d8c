"""
Encodings: byte order mark, UTF-8, UTF-16 by its zeros, what charset-normalizer says, Windows-1252.

Whatever it is, it leaves this module as UTF-8 without a mark.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

import charset_normalizer
import pyarrow as pa

from handlers.csv_to_iceberg.errors import EncodingUnknown, NotText
from handlers.csv_to_iceberg.options import KIB

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16, whose little-endian mark is its beginning.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_BINARY: Final = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook (.xlsx): export its sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word document: export its sheet as CSV"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: use gzip, bzip2, xz or zstd"),
    (b"Rar!", "a RAR archive: use gzip, bzip2, xz or zstd"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
)

_CONTROLS: Final = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1a\x1b") + b"\x7f"
_MANY_CONTROLS: Final = 0.3
"""Share of control characters above which valid UTF-8 is no text: columns of NULs and separators stay below."""
_SOME_CONTROLS: Final = 0.02
"""The same for bytes that are no UTF-8: text in an old encoding has next to none, noise has 11 %."""

_SAMPLE: Final = 64 * KIB
_LONGEST_CHARACTER: Final = 4
"""Bytes of UTF-8."""

_CANDIDATES: Final = (
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254",
    "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr",
)  # fmt: skip
_CLEARLY: Final = 0.02
"""By how much another encoding's text must look more like a language than the Windows-1252 reading."""

_FALLBACK: Final = "cp1252"


class Encoding(NamedTuple):
    """A codec's name, and how many bytes of a mark come before the text."""

    name: str
    mark: int = 0


def recognise(sample: bytes, *, complete: bool) -> Encoding:
    """
    Tell the encoding of a file from its beginning; `complete` when there is no more.

    Raises:
        NotText: It is something else.
    """
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return Encoding(name, len(mark))
    utf8 = is_utf8(sample, complete=complete)
    controls = _controls(sample)
    for magic, what in _BINARY:
        if sample.startswith(magic) and (controls or not utf8):
            raise NotText(f"The file is {what}.")
    if utf16 := _utf16_without_mark(sample):
        _refuse_noise(_controls(sample.decode(utf16, "replace").encode()), _SOME_CONTROLS)
        return Encoding(utf16)
    _refuse_noise(controls, _MANY_CONTROLS if utf8 else _SOME_CONTROLS)
    # Damaged UTF-8 is for `transcoded` to refuse, with the place.
    return Encoding("utf-8" if utf8 or _mostly_utf8(sample) else _legacy(sample))


def transcoded(chunks: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    """
    Yield the text as UTF-8, cut between characters.

    Raises, while iterated:
        OtherEncoding: The text is in another encoding; read it from the start again.
        EncodingUnknown: No encoding explains it.
    """
    if encoding.mark:
        chunks = _without(encoding.mark, chunks)
    if encoding.name == "utf-8":
        yield from _checked(chunks, encoding)
        return
    decoder = codecs.getincrementaldecoder(encoding.name)("strict")
    at = encoding.mark
    for chunk in chain(chunks, [b""]):
        held = decoder.getstate()[0]
        try:
            text = decoder.decode(chunk, final=not chunk).encode()
        except UnicodeDecodeError as error:
            raise _contradiction(encoding, chunk, at - len(held) + error.start, proven=False) from error
        at += len(chunk)
        if text:
            yield text


def _without(mark: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Leave out the first `mark` bytes."""
    for chunk in chunks:
        if rest := chunk[mark:]:
            yield rest
        mark = max(0, mark - len(chunk))


def _checked(chunks: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    """Yield UTF-8 as it is. Arrow checks it at thrice the speed of decoding, and lets other threads run meanwhile."""
    at = encoding.mark
    held = b""
    proven = False
    for chunk in chain(chunks, [b""]):
        text = held + chunk if held else chunk
        held = b""
        if not text.isascii():
            end = _whole_characters(text) if chunk else len(text)
            text, held = text[:end], text[end:]
            try:
                pa.array([text], pa.binary()).cast(pa.string())
            except pa.ArrowInvalid as invalid:
                where = _first_invalid(text)
                raise _contradiction(encoding, text, at + where, proven=proven) from invalid
            proven = True
        at += len(text)
        if text:
            yield text


def _whole_characters(text: bytes) -> int:
    """Return how many bytes are left when a character that is cut off at the end is not counted."""
    for back in range(1, min(_LONGEST_CHARACTER, len(text) + 1)):
        lead = text[-back]
        if lead >= 0xC0:  # noqa: PLR2004 - the first byte of a character of several
            length = 2 + (lead >= 0xE0) + (lead >= 0xF0)  # noqa: PLR2004 - RFC 3629, section 3
            return len(text) - back if length > back else len(text)
        if lead < 0x80:  # noqa: PLR2004 - ASCII
            break
    return len(text)


def _first_invalid(data: bytes) -> int:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


class OtherEncoding(Exception):
    """The text is not in the encoding its beginning suggested."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _contradiction(encoding: Encoding, data: bytes, offset: int, *, proven: bool) -> OtherEncoding | EncodingUnknown:
    """Decide what to do about bytes that the encoding cannot explain. `proven`: earlier text used it beyond ASCII."""
    if encoding.name == "utf-8" and not encoding.mark and not proven and not _mostly_utf8(data):
        return OtherEncoding(_legacy(data))
    if encoding.name in _CANDIDATES and encoding.name != _FALLBACK:
        return OtherEncoding(_FALLBACK)
    return EncodingUnknown(f"The text is {encoding.name} but for bytes at offset {offset:,}: save the file as UTF-8.")


def _legacy(sample: bytes) -> str:
    """Name the 8-bit or East Asian encoding that best explains bytes that are not UTF-8."""
    telling = b"\n".join(line for line in sample.splitlines() if not line.isascii())[:_SAMPLE]
    matches = charset_normalizer.from_bytes(telling, cp_isolation=list(_CANDIDATES))
    best = matches.best()
    if best is None or telling.decode(_FALLBACK, "replace") == str(best):
        return _FALLBACK
    for match in matches:
        if match.encoding == _FALLBACK and best.coherence - match.coherence <= _CLEARLY:
            return _FALLBACK
    return best.encoding


def _mostly_utf8(data: bytes) -> bool:
    """Tell damaged UTF-8 from another encoding, whose letters hardly ever form a valid sequence by chance."""
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    return sum(not letter.isascii() for letter in text) - damaged > damaged


def is_utf8(data: bytes, *, complete: bool = True) -> bool:
    """Tell whether bytes are UTF-8; unless `complete`, the last character may be cut off."""
    if data.isascii():
        return True
    try:
        codecs.utf_8_decode(data, "strict", complete)
    except UnicodeDecodeError:
        return False
    return True


def _utf16_without_mark(sample: bytes) -> str | None:
    """Recognise UTF-16 by its zeros: every second byte of Western text, whereas padding has them anywhere."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    return None


def _refuse_noise(controls: float, limit: float) -> None:
    if controls > limit:
        raise NotText(f"The file is not text: {controls:.0%} of its beginning are control characters.")


def _controls(sample: bytes) -> float:
    """Return the share of control characters that text does not use."""
    return (len(sample) - len(sample.translate(None, _CONTROLS))) / len(sample)
