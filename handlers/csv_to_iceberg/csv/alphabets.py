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
_UKRAINIAN: Final = "оаинвіертслкдумпзьбягчхйцжшюїєщфґ"
_CYRILLIC: Final = (
    "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",  # Russian
    _UKRAINIAN,
    "аоеитнрсвлкдпмзугябъчщцжшхфйюь",  # Bulgarian
    "аоиенрстјукдлвпзмбгшчцљхжњђћџф",  # Serbian
    "аоиенртсвдкплумјзгбшчцжхљњќџфѓѕ",  # Macedonian
    "анеіярсктольвыпудмзбгячхцшўйжюёфэ",  # Belarusian
)
_KAZAKH: Final = ("аеындтлрісқкмғуоұбжйшпзгөәхңүэцюияфвһё",)
_TAJIK: Final = ("аиоердмтнкбшҳҷзвусяпгёлфӣқчхғӯюъэй",)
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
_SOUTHERN: Final = (
    "ħġżċàèùòì",  # Maltese
    "ĝŭĉŝĵĥ",  # Esperanto
)
_CELTIC: Final = ("ŵŷâôîêûáéíóúäëïö",)  # Welsh, Irish


class _Candidate(NamedTuple):
    codec: str
    languages: tuple[str, ...]
    doubt: float
    """How much less often it is met than Windows-1252, as a natural logarithm."""
    pairs: float = 1
    """Factor for a letter beyond ASCII behind another one."""


_SELDOM: Final = 0.1
"""For Western languages, which have them in a few words, as `créée`."""
_OFTEN: Final = 0.4
"""For those that write `ří`, `łó` and `ığ`."""

_RARE: Final = 6
"""Doubt about pages that are met on old machines only. Without them, what is in them would be read as another."""

_RAREST: Final = 10
"""The same where a letter of a commoner page has been exchanged for that of one language."""

_CANDIDATES: Final = (
    _Candidate("cp1252", _WESTERN, 0, _SELDOM),
    _Candidate("cp1252", _ICELANDIC, 5, _OFTEN),
    _Candidate("iso8859_15", _WESTERN, 2, _SELDOM),
    _Candidate("mac_roman", _WESTERN, 3, _SELDOM),
    _Candidate("cp850", _WESTERN, 4, _SELDOM),
    _Candidate("cp1250", _CENTRAL, 2, _OFTEN),
    _Candidate("iso8859_2", _CENTRAL, 3, _OFTEN),
    _Candidate("cp852", _CENTRAL, 5, _OFTEN),
    _Candidate("cp1251", _CYRILLIC, 1),
    _Candidate("koi8_r", _CYRILLIC, 3),
    _Candidate("iso8859_5", _CYRILLIC, 4),
    _Candidate("cp866", _CYRILLIC, 4),
    _Candidate("mac_cyrillic", _CYRILLIC, 4),
    _Candidate("cp1253", _GREEK, 1),
    _Candidate("iso8859_7", _GREEK, 2),
    _Candidate("cp1254", _TURKISH, 2, _OFTEN),
    _Candidate("cp1255", _HEBREW, 2),
    _Candidate("iso8859_8", _HEBREW, 3),
    _Candidate("cp1256", _ARABIC, 2),
    _Candidate("iso8859_6", _ARABIC, 3),
    _Candidate("cp874", _THAI, 2),
    _Candidate("cp1257", _BALTIC, 3, _OFTEN),
    _Candidate("iso8859_13", _BALTIC, 4, _OFTEN),
    *(_Candidate(codec, _WESTERN, _RARE, _SELDOM) for codec in ("cp861", "cp865")),
    *(_Candidate(codec, _WESTERN, _RAREST, _SELDOM) for codec in ("cp860", "cp863")),
    *(_Candidate(codec, _ICELANDIC, _RARE, _OFTEN) for codec in ("cp861", "mac_iceland")),
    *(_Candidate(codec, _CENTRAL, _RARE, _OFTEN) for codec in ("mac_latin2", "iso8859_16")),
    *(_Candidate(codec, _TURKISH, _RARE, _OFTEN) for codec in ("cp857", "mac_turkish", "iso8859_3")),
    *(_Candidate(codec, _BALTIC, _RARE, _OFTEN) for codec in ("cp775", "iso8859_4", "iso8859_10")),
    _Candidate("iso8859_3", _SOUTHERN, _RARE, _OFTEN),
    _Candidate("iso8859_14", _CELTIC, _RARE, _SELDOM),
    *(_Candidate(codec, _CYRILLIC, _RARE) for codec in ("koi8_u", "cp855")),
    _Candidate("cp1125", (_UKRAINIAN,), _RARE),
    *(_Candidate(codec, _KAZAKH, _RARE) for codec in ("kz1048", "ptcp154")),
    _Candidate("koi8_t", _TAJIK, _RARE),
    *(_Candidate(codec, _GREEK, _RARE) for codec in ("cp737", "cp869", "mac_greek")),
    _Candidate("cp862", _HEBREW, _RARE),
    _Candidate("cp720", _ARABIC, _RARE),
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
_AREA: Final = re.compile(r"(?:^|[^A-Za-z])(?:[kcdmµ]?m|ft|in|mi|yd)$")
"""What a square or a cube stands behind: `m²`, `µg/m³`."""
_REACH: Final = 4
_ORDINALS: Final = "ªº"
"""Of `1º` and `Nº`."""
_OF_MEASURES: Final = _ORDINALS + "µ"
"""Letters to Unicode, which stand as signs do."""
_OF_MEASURE: Final = 30
"""Factor for them there."""
_NO_ENDS: Final = "@[\\^`{~"
"""No letter stands before these; they are second bytes in East Asian encodings."""
_NO_ENDING: Final = "£¥±¶¹²³¼½¾¿¡"
_CLOSING: Final = "»”©®™²³"
"""Signs that stand behind no letter, or before none, but of measures: other pages have letters there."""
_WITHIN: Final = 0.1
"""Factor for a letter or sign where languages seldom have it, as a thorn within a word: other pages have another."""
_GREEK_BEGINS: Final = "\u0370"
"""The first letter that is not Latin."""
_VOWELS: Final = "aeiouáéíóúAEIOUÁÉÍÓÚ"
_UNUSUAL: Final = {"ń": _VOWELS, "è": _VOWELS, "ò": _VOWELS, "ù": _VOWELS, "ì": _VOWELS}
"""Letters, and those that they do not stand before: `Èeské` is `České` in another page."""
_NEVER_FIRST: Final = "ъьыЪЬ"
_NEVER_LAST: Final = "βγδζθκλμπστφχ"
"""Of Greek words."""
_ONLY_LAST: Final = "ςםןךףץ"
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
        likelihood, mean = _likelihood(text, candidate)
        yield Guess(text, candidate.codec, likelihood - candidate.doubt, words=mean > _LIKELY)


def _likelihood(text: str, candidate: _Candidate) -> tuple[float, float]:
    """Return the logarithm of how likely the characters beyond ASCII are in the best language, and its mean."""
    places = [(text[at], _fits(text, at, candidate.pairs)) for at in _places(text)]
    likelihood = max(
        sum(math.log(share.get(character.lower()[0], _share_of_other(character)) * fit) for character, fit in places)
        for share in map(shares_by_rank, candidate.languages)
    )
    return likelihood, likelihood / max(1, len(places))


def _places(text: str) -> Iterator[int]:
    for count, match in enumerate(_NOT_ASCII.finditer(text)):
        if count == MOST:
            return
        yield match.start()


def shares_by_rank(language: str) -> dict[str, float]:
    """Return each letter's share in a language whose letters are in the order of their frequency."""
    total = sum(1 / rank for rank in range(1, len(language) + 1))
    return {letter: 1 / rank / total for rank, letter in enumerate(language, 1)}


def _share_of_other(character: str) -> float:
    if character in _SIGNS:
        return _SIGN
    return _LETTER if character.isalpha() else OTHER


def _fits(text: str, at: int, pairs: float) -> float:
    """Return a factor for how a character stands between its neighbours; `pairs` for a letter behind another."""
    character, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if _is_letter(character) and character not in _OF_MEASURES:
        pair = pairs if before.isalpha() and not before.isascii() else 1
        measure = _WITHIN if not after.isalnum() and _AREA.search(text[max(0, at - _REACH) : at]) else 1
        return _fits_as_letter(character, before, after) * pair * measure
    if character in "²³" and _AREA.search(text[max(0, at - _REACH) : at]):
        return _OF_MEASURE
    if character in _ORDINALS and (before.isdigit() or before in {"n", "N"}):
        return _OF_MEASURE
    return _fits_as_sign(character, before, after)


def _fits_as_sign(sign: str, before: str, after: str) -> float:
    behind, ahead = _is_letter(before), _is_letter(after)
    if behind and ahead:
        return _APOSTROPHE if sign == "’" and before < _GREEK_BEGINS else _OUT_OF_PLACE
    if sign == "\u00a0":
        return _WITHIN if behind and not after.isdigit() else 1
    return _WITHIN if (behind and sign in _NO_ENDING) or (ahead and sign in _CLOSING) else 1


def _fits_as_letter(letter: str, before: str, after: str) -> float:
    behind, ahead = _is_letter(before), _is_letter(after)
    if (letter.isupper() and before.islower()) or (letter.islower() and after.isupper()):
        return _OUT_OF_PLACE
    if (after and after in _NO_ENDS) or _other_script(letter, before) or _other_script(letter, after):
        return _OUT_OF_PLACE
    if _is_unusual(letter, after, behind=behind, ahead=ahead) or (letter in "äÄ" and before in {"a", "A"}):
        return _WITHIN
    if behind or ahead:
        return 1
    return _OUT_OF_PLACE if letter.isupper() else _ALONE


def _is_unusual(letter: str, after: str, *, behind: bool, ahead: bool) -> bool:
    """Tell whether a letter is where the languages that have it seldom write it; `behind` and `ahead` are letters."""
    if ahead and (after in _UNUSUAL.get(letter.lower(), "") or letter in _ONLY_LAST):
        return True
    if letter in "ñÑ":
        return ahead and after not in _VOWELS
    if letter in _NEVER_LAST:
        return not ahead
    return letter == "þ" if behind else letter in _NEVER_FIRST


def is_of_signs(text: str) -> bool:
    """Tell whether no character beyond ASCII is a letter of a word."""
    return all(sign.isascii() or not sign.isalpha() or sign in _OF_MEASURES for sign in text)


def has_apostrophe(text: str) -> bool:
    """Tell whether the sign that word processors put into words is in a text: other pages have a letter there."""
    return "’" in text


def _is_letter(character: str) -> bool:
    """Tell whether a character is part of a word; the vowels and tones of Thai are no letters to Unicode."""
    return character.isalpha() or "\u0e30" <= character <= "\u0e4e"


def _other_script(letter: str, neighbour: str) -> bool:
    """Tell whether one is a Latin letter and the other a letter of another script."""
    return neighbour.isalpha() and (letter < _GREEK_BEGINS) != (neighbour < _GREEK_BEGINS)
