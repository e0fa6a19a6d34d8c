"""Which encoding a text has that is not Unicode, if there is enough to tell it by."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import charset_normalizer

from handlers.csv_to_iceberg.csv import alphabets, ideographs
from handlers.csv_to_iceberg.csv.errors import EncodingUnknown
from handlers.csv_to_iceberg.csv.options import KIB

_USUAL: Final = "cp1252"
"""What is not UTF-8, as a rule."""
_LIKELIER: Final = math.log(40)
"""How much better an encoding must explain a text than any that reads it otherwise."""
_LIKELIER_USUAL: Final = math.log(5)
"""The same for Windows-1252, which most lone letters and words are in."""
_LIKELIER_SIGNS: Final = math.log(2)
"""The same for Windows-1252 where it makes only signs of the bytes, as in `µg/m³`: words make no sense as signs."""
_SURE: Final = math.log(3000)
"""How much better it must explain a text to be taken without a warning: see docs/decisions.md, 24."""
_SURE_USUAL: Final = math.log(400)
_SURE_SIGNS: Final = math.log(50)
_SHOWN: Final = 3
"""Cells of a warning, and other encodings."""
_LONGEST: Final = 40
"""Characters of such a cell."""
_COHERENT: Final = 0.25
"""What charset-normalizer calls coherence: from here on its word is taken, for alphabets that are not known here."""

_SAMPLE: Final = 64 * KIB
_CELL: Final = re.compile(rb"[^\t,;\"]+")
"""None of these bytes is the second one of a character in any encoding known here."""
_NUMBER: Final = re.compile(rb"[0-9]+")
_MANY_LINES: Final = 100
_UTF8_LETTERS: Final = re.compile(rb"[\xc2-\xc5][\x80-\xbf]|\xe2\x80[\x80-\xbf]")
"""Latin letters and typographic marks in UTF-8: no Western text has `Ã©` or `â€™` in it."""


class Told(NamedTuple):
    """An encoding, and what to say where it is not the only one that makes words of the text."""

    codec: str
    doubt: str = ""


def told(data: bytes) -> Told:
    """
    Tell the encoding of bytes that are not UTF-8; "utf-8" for Western text that is partly that.

    Raises:
        EncodingUnknown: No encoding makes words of them, or several do nearly as well.
    """
    telling = _telling(data)
    guesses = sorted([*alphabets.guesses(telling), *ideographs.guesses(telling)], key=lambda guess: -guess.likelihood)
    if not guesses or not guesses[0].words:
        return _told_by_others(telling)
    best = guesses[0]
    if best.codec == _USUAL and _UTF8_LETTERS.search(telling):
        return Told("utf-8")
    needed, sure = _needed(best)
    rivals = [guess for guess in guesses if guess.text != best.text and best.likelihood - guess.likelihood < sure]
    if not rivals:
        return Told(best.codec)
    if best.likelihood - rivals[0].likelihood < needed:
        raise EncodingUnknown(
            "The text is not UTF-8, and there is too little of it to tell its encoding: it reads well as "
            f"{best.codec.upper()} and as {rivals[0].codec.upper()}. Save the file as UTF-8."
        )
    return Told(best.codec, _doubt(best, rivals))


def _needed(best: alphabets.Guess) -> tuple[float, float]:
    """Return by how much a guess must be likelier than others to be taken, and to be taken without a warning."""
    if best.codec != _USUAL:
        return _LIKELIER, _SURE
    if not alphabets.is_of_signs(best.text):
        return _LIKELIER_USUAL, _SURE_USUAL
    return _LIKELIER_SIGNS, _SURE_USUAL if alphabets.has_apostrophe(best.text) else _SURE_SIGNS


def _doubt(best: alphabets.Guess, rivals: Sequence[alphabets.Guess]) -> str:
    """Name the other encodings, and the cells that read otherwise in the likeliest of them."""
    rival = rivals[0]
    others = list(dict.fromkeys(guess.codec.upper() for guess in rivals))[:_SHOWN]
    cells = [pair for pair in zip(best.text.split("\n"), rival.text.split("\n"), strict=False) if pair[0] != pair[1]]
    shown = ", ".join(f"{one[:_LONGEST]!r} would be {other[:_LONGEST]!r}" for one, other in cells[:_SHOWN])
    more = f", and {len(cells) - _SHOWN:,} more" if len(cells) > _SHOWN else ""
    return (
        f"the encoding is not certain: read as {best.codec.upper()}, may be {' or '.join(others)}; in "
        f"{rival.codec.upper()} {shown}{more}. If that is right, save the file as UTF-8"
    )


def _telling(data: bytes) -> bytes:
    """Return the cells that are not ASCII, each once; without the ends of a long text, which may be cut."""
    lines = data.splitlines()
    if len(lines) > _MANY_LINES:
        lines = lines[1:-1] if not b"".join(lines[1:-1]).isascii() else lines
    # The same name on every row is no more evidence than once, nor is it with a number behind it.
    found = (cell for line in lines if not line.isascii() for cell in _CELL.findall(line) if not cell.isascii())
    cells: dict[bytes, bytes] = {}
    for cell in found:
        cells.setdefault(_NUMBER.sub(b"0", cell), cell)
    telling = b"\n".join(cells.values())
    return telling if len(telling) <= _SAMPLE else telling[:_SAMPLE].rpartition(b"\n")[0] or telling[:_SAMPLE]


def _told_by_others(telling: bytes) -> Told:
    match = charset_normalizer.from_bytes(telling).best()
    if match is None or match.coherence < _COHERENT:
        raise EncodingUnknown(
            "The text is not UTF-8, and no known encoding makes words of it. Save the file as UTF-8; if it was damaged "
            "on its way, upload it again."
        )
    return Told(
        match.encoding,
        f"the encoding is not certain: read as {match.encoding.upper()}, as charset-normalizer says. If that is wrong, "
        "save the file as UTF-8",
    )
