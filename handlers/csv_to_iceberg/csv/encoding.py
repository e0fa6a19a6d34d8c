"""
Encodings: byte order mark, UTF-8, UTF-16 by its zeros, the code page that makes words of the bytes.

Whatever it is, it leaves this module as UTF-8 without a mark.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

import pyarrow as pa

from handlers.csv_to_iceberg.csv import codepages
from handlers.csv_to_iceberg.csv.account import count_of
from handlers.csv_to_iceberg.csv.documents import refuse_binaries, refuse_documents
from handlers.csv_to_iceberg.csv.errors import EncodingUnknown, NotText

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16, whose little-endian mark is its beginning.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_CONTROLS: Final = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1a\x1b") + b"\x7f"
_SEPARATORS: Final = b"\x01\x1f"
"""Delimiters of Hive and of ASCII: rows of empty cells are made of them."""
_MANY_CONTROLS: Final = 0.3
"""Share of other control characters above which valid UTF-8 is no text: columns of NULs stay below."""
_SOME_CONTROLS: Final = 0.02
"""The same for bytes that are no UTF-8: text in an old encoding has next to none, noise has 11 %."""

_LONGEST_CHARACTER: Final = 4
"""Bytes of UTF-8."""

_MANY_ZEROS_SHARE: Final = 0.4
"""Of every second byte of Western text in UTF-16."""
_FEW_ZEROS_SHARE: Final = 0.02
"""The same for other alphabets: delimiters and line ends have them."""
_FEW_ZEROS: Final = 2
_STRAY_ZEROS: Final = 0.05
"""Share of zeros among the other bytes."""
_MOST_CHARACTERS: Final = 0.8
"""Share of letters, digits and ASCII in a text of any alphabet."""


class Encoding(NamedTuple):
    """A codec's name, and how many bytes of a mark come before the text."""

    name: str
    mark: int = 0
    doubt: str = ""
    """What to warn of; empty when the encoding is certain."""


UTF8: Final = Encoding("utf-8")


def recognise(sample: bytes, *, complete: bool) -> Encoding:
    """
    Tell the encoding of a file from its beginning; `complete` when there is no more.

    Raises:
        NotText: It is something else.
        EncodingUnknown: No encoding explains it, or several do.
    """
    for mark, name in _MARKS:
        if sample.startswith(mark):
            refuse_documents(sample[len(mark) :], name)
            return Encoding(name, len(mark))
    utf8 = is_utf8(sample, complete=complete)
    controls = _controls(sample)
    if controls or not utf8:
        refuse_binaries(sample)
    if utf16 := _utf16_without_mark(sample):
        text = sample.decode(utf16, "replace")
        # Noise has no lines for them to separate cells in.
        separators = _SEPARATORS if "\n" in text or "\r" in text else b""
        _refuse_noise(_controls(text.encode(), separators), _SOME_CONTROLS)
        return Encoding(utf16)
    _refuse_noise(_controls(sample, _SEPARATORS), _MANY_CONTROLS) if utf8 else _refuse_noise(controls, _SOME_CONTROLS)
    refuse_documents(sample, "utf-8")
    # Damaged UTF-8 is for `transcoded` to refuse, with the place.
    return UTF8 if utf8 or _mostly_utf8(sample) else _in_code_page(sample)


def _in_code_page(text: bytes) -> Encoding:
    codec, doubt = codepages.told(text)
    return Encoding(codec, 0, doubt)


_END_MARK: Final = b"\x1a"
"""What DOS writes below the last line of a text, sometimes until a block is full."""
LONGEST_END: Final = 8
"""Bytes at the end of a text among which one is, if there is any."""
ENDS: Final = _END_MARK + b"\f\r\n"
"""What may stand below the last line."""


def transcoded(chunks: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    """
    Yield the text as UTF-8, cut between characters; without the end marks and form feeds below the last line.

    Raises, while iterated:
        OtherEncoding: The text is in another encoding; read it from the start again.
        EncodingUnknown: No encoding explains it.
    """
    if encoding.mark:
        chunks = _without(encoding.mark, chunks)
    text = _checked(chunks, encoding) if encoding.name == "utf-8" else _decoded(chunks, encoding)
    yield from _without_end_marks(text)


def _without_end_marks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Leave out marks on lines of their own, with nothing but line ends behind them."""
    held, last = b"", b"\n"
    for chunk in chunks:
        text = held + chunk if held else chunk
        tail = text[-LONGEST_END:]
        held = text[len(text.rstrip(ENDS)) :] if _END_MARK in tail or b"\f" in tail else b""
        if _END_MARK not in held and b"\f" not in held:
            held = b""
        if rest := text[: len(text) - len(held)] if held else text:
            last = rest[-1:]
            yield rest
    if held:
        at = min(at for at in map(held.find, (_END_MARK, b"\f")) if at >= 0)
        if kept := held[:at] if (last + held[:at])[-1:] in {b"\n", b"\r"} else held:
            yield kept


def _decoded(chunks: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding.name)("strict")
    at = encoding.mark
    lines = _Lines()
    for chunk in chain(chunks, [b""]):
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk).encode()
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding.name, "replace").encode()
            raise _damaged(encoding, error, at - held, lines.after(before)) from error
        at += len(chunk)
        lines.add(text)
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
    lines = _Lines()
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
                if not proven and not encoding.mark and not _mostly_utf8(text):
                    other = _in_code_page(text)
                    if other.name != encoding.name:
                        raise OtherEncoding(other) from invalid
                error = _first_error(text)
                raise _damaged(encoding, error, at, lines.after(text[: error.start])) from invalid
            proven = True
        at += len(text)
        lines.add(text)
        if text:
            yield text


class _Lines:
    """Counts lines that are passed on: LF and CRLF as one, CR where there is nothing else."""

    def __init__(self) -> None:
        self._feeds = 0
        self._returns = 0

    def add(self, text: bytes) -> None:
        self._feeds += count_of(b"\n", text)
        if not self._feeds:
            self._returns += count_of(b"\r", text)

    def after(self, text: bytes) -> int:
        """Return the number of the line, from 1, that comes after all that and a text."""
        self.add(text)
        return (self._feeds or self._returns) + 1


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


def _first_error(data: bytes) -> UnicodeDecodeError:
    """Return what is wrong with bytes that are not UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error
    raise AssertionError("Arrow and Python disagree about UTF-8")


class OtherEncoding(Exception):
    """The text is not in the encoding its beginning suggested."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__(encoding.name)
        self.encoding = encoding


def _damaged(encoding: Encoding, error: UnicodeDecodeError, offset: int, line: int) -> EncodingUnknown:
    """Say where a text breaks its encoding; `offset` is that of the bytes that were decoded."""
    name = encoding.name.upper()
    if error.end == len(error.object) and "unexpected end" in error.reason:
        return EncodingUnknown(
            f"The text is {name}, but line {line:,} ends within a character: the file was cut short. Upload it again."
        )
    at = offset + error.start
    return EncodingUnknown(
        f"The text is {name} but for byte 0x{error.object[error.start]:02X} on line {line:,} (offset {at:,}). Repair "
        "that line, or save the file as UTF-8."
    )


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
    """
    Recognise UTF-16 by its zeros: every second byte of Western text, and of the delimiters and line ends of any.

    Padding has zeros anywhere, and a few in a text of single bytes make no text of double ones.
    """
    zeros = (sample[0::2].count(0), sample[1::2].count(0))
    half = len(sample) // 2
    if not any(zeros):
        return None
    for name, own, others in (("utf-16-le", zeros[1], zeros[0]), ("utf-16-be", zeros[0], zeros[1])):
        text = sample[: half * 2].decode(name, "replace")
        stray = others - _zeros_of_pairs(text)
        if stray > _STRAY_ZEROS * half or own <= max(stray, _FEW_ZEROS, _FEW_ZEROS_SHARE * half):
            continue
        if own > _MANY_ZEROS_SHARE * half or _has_lines(sample, text):
            return name
    return None


def _zeros_of_pairs(text: str) -> int:
    """Count the lower bytes that are zero in the surrogate pairs of a text, as of most faces."""
    pairs = (ord(character) for character in text if character > "\uffff")
    return sum((not pair & 0xFF) + (not (pair - 0x10000) >> 10 & 0xFF) for pair in pairs)


def _has_lines(sample: bytes, text: str) -> bool:
    """Tell whether most of what may be line ends are some in UTF-16, and the text around them is one."""
    usual = sum(character.isalnum() or character.isascii() for character in text)
    return 2 * text.count("\n") > sample.count(b"\n") and usual > _MOST_CHARACTERS * len(text)


def _refuse_noise(controls: float, limit: float) -> None:
    if controls > limit:
        raise NotText(f"The file is not text: {controls:.0%} of its beginning are control characters.")


def _controls(sample: bytes, beside: bytes = b"") -> float:
    """Return the share of control characters that text does not use, `beside` those given."""
    # What a program had allocated and not yet written is no part of the text.
    sample = sample.rstrip(b"\0") or sample
    found = _CONTROLS.translate(None, beside)
    return (len(sample) - len(sample.translate(None, found))) / len(sample)
