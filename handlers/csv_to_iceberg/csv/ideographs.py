"""
Which East Asian encoding makes words of some bytes.

In the measure of alphabets.py. Nearly all of what people write is in the first level of the standards, which is a range
of first bytes, and much of it in a hundred characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from handlers.csv_to_iceberg.csv.alphabets import MOST, OTHER, Guess


class _Standard(NamedTuple):
    codec: str
    first: int
    last: int
    """First bytes of the characters in common use."""
    share: float
    """Of one of them."""
    frequent: str = ""
    """Those that every text has many of."""


_SIMPLIFIED: Final = (
    "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就要下以生会自着去之过家学对可里后小么心多天能好都然没日于起"
    "还发成事只作当想看文无开手用主行方又如前所本见经头面公同三已老从动两长市区名号价量品单称数"
)
_TRADITIONAL: Final = (
    "的一是不了人我在有他這中大來上國個到說們為子和你地出道也時年得就要下以生會自著去之過家學對可裡後小麼心多天能好都然沒日於起"
    "還發成事只作當想看文無開手用主行方又如前所本見經頭面公同三已老從動兩長市區名號價量品單稱數"
)
_HANGUL: Final = (
    "이다는에의가을고하지한를기도은로사서있자어나대시인그들아해리것수정보주부일전구상여라장성조만제원비선경우공무동신화안미마방국세모게"
    "거면년울산천김박최민영호현지명품량격"
)
_KANJI: Final = (
    "日一国会人年大十二本中長出三同時政事自行社見月分議後前民生連五発間対上部東者党地合市業内相方四定今回"
    "新場金員九入選立開手名価数量商品"
)


_STANDARDS: Final = (
    _Standard("gb18030", 0xB0, 0xD7, 1 / 2000, _SIMPLIFIED),
    _Standard("cp950", 0xA4, 0xC6, 1 / 2000, _TRADITIONAL),
    _Standard("cp932", 0x88, 0x97, 1 / 2000, _KANJI),
    _Standard("euc_jp", 0xB0, 0xCF, 1 / 2000, _KANJI),
    _Standard("cp949", 0xB0, 0xC8, 1 / 1000, _HANGUL),
)
_FREQUENT: Final = 1 / 250
"""Share of a frequent character."""
_KANA: Final = 1 / 120
_SIGN: Final = 1 / 500
"""Share of a punctuation mark, or a letter of full width."""
_DOUBT: Final = 3.0
"""How much less often they are met than Windows-1252, as a natural logarithm."""
_LIKELY: Final = -8.5
"""Mean logarithm above which a decoding is words."""


def guesses(data: bytes) -> Iterator[Guess]:
    """Yield what is to be said for each East Asian encoding that has all of the bytes."""
    for standard in _STANDARDS:
        try:
            text = data.decode(standard.codec)
        except UnicodeDecodeError:
            continue
        characters = [character for character in text if not character.isascii()][:MOST]
        likelihood = sum(math.log(_share(character, standard)) for character in characters)
        mean = likelihood / max(1, len(characters))
        yield Guess(text, standard.codec, likelihood - _DOUBT, words=mean > _LIKELY)


def _share(character: str, standard: _Standard) -> float:
    if character in standard.frequent:
        return _FREQUENT
    if "\u3041" <= character <= "\u30ff":
        return _KANA
    if "\u3000" <= character < "\u3041" or "\uff01" <= character <= "\uff5e":
        return _SIGN
    return standard.share if standard.first <= character.encode(standard.codec)[0] <= standard.last else OTHER
