# ruff: noqa: RUF001 - letters that look like others are the point
"""
Which 8-bit encoding makes words of some bytes.

A decoding is as likely as its letters are in the best of the languages below, and as their surroundings allow: no
capital follows a small letter, no sign stands within a word, no word mixes scripts. Letters are in the order of their
frequency, so a letter's share is taken as one by its rank, as Zipf's law has it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_WESTERN: Final = (
    "éüáöóíäñçèãàåøßæêâôú",  # names from everywhere
    "üäößé",  # German
    "éèàêçâîôùûëïœæÿ",  # French
    "óíáéñúü¿¡",  # Spanish
    "ãçáéíóõêúâàô",  # Portuguese
    "àèòùéì",  # Italian
    "äöåé",  # Swedish, Finnish
    "øåæéö",  # Danish, Norwegian
    "ëéïüö",  # Dutch
    "àéèíòóúçïü·",  # Catalan
)
_ICELANDIC: Final = ("ðáíþöæóéúý",)
_CENTRAL: Final = (
    "łęąóżśćńź",  # Polish
    "íáéěřýčžšůúňťóď",  # Czech
    "áíéčžšýľúťňôóďäŕĺ",  # Slovak
    "éáőöóüíúű",  # Hungarian
    "ăîţşâ",  # Romanian
    "šćčžđ",  # Croatian, Slovene
    "üäößé",  # German
)
_CYRILLIC: Final = (
    "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",  # Russian
    "оаинвіертслкдумпзьбягчхйцжшюїєщфґ",  # Ukrainian
    "аоеитнрсвлкдпмзугябъчщцжшхфйюь",  # Bulgarian
    "аоиенрстјукдлвпзмбгшчцљхжњђћџф",  # Serbian
)
_GREEK: Final = ("αοιετνσρηκπυμςλάίωόθέγδήύχφβώξζψϊϋΐΰ",)
_HEBREW: Final = ("יואלהרתמבשנקחפדטעסצגזםןכךףץ",)
_ARABIC: Final = ("املينرتوةهبدعسفقحكجشأصطخضإذزىغثءئظؤآ",)
_THAI: Final = ("านรอกเงมยลวดี่ท้สตัะปบิคหแจพชขใไโุูึ็์ผซธณฉภฟถษฐศฮญ",)
_TURKISH: Final = ("ıüşiçğö",)
_BALTIC: Final = (
    "ėųšįžąūčę",  # Lithuanian
    "āīēšņļūžčģķ",  # Latvian
    "äõüöšž",  # Estonian
)


class _Candidate(NamedTuple):
    codec: str
    languages: tuple[str, ...]
    doubt: float
    """How much less often it is met than Windows-1252, as a natural logarithm."""


_CANDIDATES: Final = (
    _Candidate("cp1252", _WESTERN, 0),
    _Candidate("cp1252", _ICELANDIC, 5),
    _Candidate("iso8859_15", _WESTERN, 2),
    _Candidate("mac_roman", _WESTERN, 3),
    _Candidate("cp850", _WESTERN, 4),
    _Candidate("cp1250", _CENTRAL, 2),
    _Candidate("iso8859_2", _CENTRAL, 3),
    _Candidate("cp852", _CENTRAL, 5),
    _Candidate("cp1251", _CYRILLIC, 1),
    _Candidate("koi8_r", _CYRILLIC, 3),
    _Candidate("iso8859_5", _CYRILLIC, 4),
    _Candidate("cp866", _CYRILLIC, 4),
    _Candidate("mac_cyrillic", _CYRILLIC, 4),
    _Candidate("cp1253", _GREEK, 1),
    _Candidate("iso8859_7", _GREEK, 2),
    _Candidate("cp1254", _TURKISH, 2),
    _Candidate("cp1255", _HEBREW, 2),
    _Candidate("iso8859_8", _HEBREW, 3),
    _Candidate("cp1256", _ARABIC, 2),
    _Candidate("iso8859_6", _ARABIC, 3),
    _Candidate("cp874", _THAI, 2),
    _Candidate("cp1257", _BALTIC, 4.5),
    _Candidate("iso8859_13", _BALTIC, 5.5),
)
"""ISO 8859-1 and -9 are parts of Windows-1252 and -1254, but for control characters that no text has."""

_SIGNS: Final = "€£°§’‘“”„–—…«»·©®™µ½¼¾²³¹±ºª×¿¡•¢¥\u00a0"
_SIGN: Final = 0.01
_LETTER: Final = 0.0005
"""Share of a letter that the language does not have."""
OTHER: Final = 0.00002
"""Share of any other character: box drawing, currency of nowhere."""
_OUT_OF_PLACE: Final = 0.02
"""Factor for a character where it is not written."""

_APOSTROPHE: Final = 15
"""Factor for the sign that word processors put into words."""
_WITHIN: Final = 0.1
"""Factor for a thorn that does not begin a word; what Turkish text has there is another letter."""
_ALONE: Final = 0.2
"""Factor for a small letter that is a word of its own."""

_LIKELY: Final = -5.0
"""Mean logarithm above which a decoding is words."""

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
MOST: Final = 500
"""Characters looked at."""


class Guess(NamedTuple):
    """An encoding that explains some bytes."""

    text: str
    codec: str
    likelihood: float
    """As a natural logarithm, how often the encoding is met included."""
    words: bool
    """Whether it makes words of them."""


def guesses(data: bytes) -> Iterator[Guess]:
    """Yield what is to be said for each 8-bit encoding that has all of the bytes."""
    for candidate in _CANDIDATES:
        try:
            text = data.decode(candidate.codec)
        except UnicodeDecodeError:
            continue
        likelihood, mean = _likelihood(text, candidate.languages)
        yield Guess(text, candidate.codec, likelihood - candidate.doubt, words=mean > _LIKELY)


def _likelihood(text: str, languages: tuple[str, ...]) -> tuple[float, float]:
    """Return the logarithm of how likely the characters beyond ASCII are in the best language, and its mean."""
    places = [(text[at], _fits(text, at)) for at in _places(text)]
    likelihood = max(
        sum(math.log(share.get(character.lower()[0], _share_of_other(character)) * fit) for character, fit in places)
        for share in map(_shares, languages)
    )
    return likelihood, likelihood / max(1, len(places))


def _places(text: str) -> Iterator[int]:
    for count, match in enumerate(_NOT_ASCII.finditer(text)):
        if count == MOST:
            return
        yield match.start()


def _shares(language: str) -> dict[str, float]:
    total = sum(1 / rank for rank in range(1, len(language) + 1))
    return {letter: 1 / rank / total for rank, letter in enumerate(language, 1)}


def _share_of_other(character: str) -> float:
    if character in _SIGNS:
        return _SIGN
    return _LETTER if character.isalpha() else OTHER


def _fits(text: str, at: int) -> float:
    """Return a factor for how a character stands between its neighbours."""
    character, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if character.isalpha():
        return _fits_as_letter(character, before, after)
    if not (before.isalpha() and after.isalpha()):
        return 1
    return _APOSTROPHE if character == "’" else _OUT_OF_PLACE


def _fits_as_letter(letter: str, before: str, after: str) -> float:
    if letter.isupper() and before.islower():
        return _OUT_OF_PLACE
    if _other_script(letter, before) or _other_script(letter, after):
        return _OUT_OF_PLACE
    if letter == "þ" and before.isalpha():
        return _WITHIN
    if before.isalpha() or after.isalpha():
        return 1
    return _OUT_OF_PLACE if letter.isupper() else _ALONE


def _other_script(letter: str, neighbour: str) -> bool:
    """Tell whether one is a Latin letter and the other a letter of another script."""
    return neighbour.isalpha() and (letter < "\u0370") != (neighbour < "\u0370")
