"""Which encoding a text has that is not Unicode, if there is enough to tell it by."""

from __future__ import annotations

import math
import re
from typing import Final

import charset_normalizer

from handlers.csv_to_iceberg.csv import alphabets, ideographs
from handlers.csv_to_iceberg.csv.errors import EncodingUnknown
from handlers.csv_to_iceberg.csv.options import KIB

_USUAL: Final = "cp1252"
"""What is not UTF-8, as a rule."""
_LIKELIER: Final = math.log(2)
"""Another encoding must explain a text twice as well as any that reads it otherwise."""
_COHERENT: Final = 0.25
"""What charset-normalizer calls coherence: from here on its word is taken, for alphabets that are not known here."""

_SAMPLE: Final = 64 * KIB
_CELL: Final = re.compile(rb"[^\t,;\"]+")
"""None of these bytes is the second one of a character in any encoding known here."""
_MANY_LINES: Final = 100
_UTF8_LETTERS: Final = re.compile(rb"[\xc2-\xc5][\x80-\xbf]|\xe2\x80[\x80-\xbf]")
"""Latin letters and typographic marks in UTF-8: no Western text has `Ã©` or `â€™` in it."""


def told(data: bytes) -> str:
    """
    Name the encoding of bytes that are not UTF-8; "utf-8" for Western text that is partly that.

    Raises:
        EncodingUnknown: No encoding makes words of them, or several do equally well.
    """
    telling = _telling(data)
    guesses = sorted([*alphabets.guesses(telling), *ideographs.guesses(telling)], key=lambda guess: -guess.likelihood)
    if not guesses or not guesses[0].words:
        return _told_by_others(telling)
    best = guesses[0]
    if best.codec == _USUAL:
        return "utf-8" if _UTF8_LETTERS.search(telling) else _USUAL
    rival = next((guess for guess in guesses if guess.text != best.text), None)
    if rival is not None and best.likelihood - rival.likelihood < _LIKELIER:
        raise EncodingUnknown(
            "The text is not UTF-8, and there is too little of it to tell its encoding: it reads well as "
            f"{best.codec.upper()} and as {rival.codec.upper()}. Save the file as UTF-8."
        )
    return best.codec


def _telling(data: bytes) -> bytes:
    """Return the cells that are not ASCII, each once; without the ends of a long text, which may be cut."""
    lines = data.splitlines()
    if len(lines) > _MANY_LINES:
        lines = lines[1:-1] if not b"".join(lines[1:-1]).isascii() else lines
    # The same name on every row is no more evidence than once.
    cells = dict.fromkeys(cell for line in lines if not line.isascii() for cell in _CELL.findall(line))
    telling = b"\n".join(cell for cell in cells if not cell.isascii())
    return telling if len(telling) <= _SAMPLE else telling[:_SAMPLE].rpartition(b"\n")[0] or telling[:_SAMPLE]


def _told_by_others(telling: bytes) -> str:
    match = charset_normalizer.from_bytes(telling).best()
    if match is None or match.coherence < _COHERENT:
        raise EncodingUnknown(
            "The text is not UTF-8, and no known encoding makes words of it. Save the file as UTF-8; if it was damaged "
            "on its way, upload it again."
        )
    return match.encoding
