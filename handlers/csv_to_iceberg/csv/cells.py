"""What a cell looks like: evidence for and against a way to split a text."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final


class Look(IntEnum):
    """Kinds of cells. The values of one column tend to be of one kind."""

    EMPTY = 0
    NUMBER = 1
    MOMENT = 2
    """A date, a time, or both."""
    TOKEN = 3
    """An address of the net, an identifier, structured text: what nobody splits."""
    TEXT = 4
    PROSE = 5
    """Text with delimiters in it as people write them, a blank behind each."""
    UNSPLIT = 6
    """Text with delimiters right between other characters: some delimiter may have been overlooked."""
    TORN = 7
    """It begins or ends with half of a pair of quotes or brackets."""


WORTH: Final = {
    Look.EMPTY: 0.85,
    Look.NUMBER: 1.0,
    Look.MOMENT: 1.0,
    Look.TOKEN: 1.0,
    Look.TEXT: 0.95,
    Look.PROSE: 0.8,
    Look.UNSPLIT: 0.25,
    Look.TORN: 0.1,
}
"""How likely a cell is one cell."""

NUMBER: Final = (
    r"[-+]?(?:[$€£¥]|[A-Z]{3} )? ?[-+]?(?:\d{1,3}(?:[,.' ]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d*)?|[.,]\d+)"
    r"(?:[eE][-+]?\d{1,3})? ?(?:%|[$€£¥]|[A-Z]{3})?|\(\d[\d.,]*\)|0x[0-9a-fA-F]+"
)
_DAY: Final = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}[- ][A-Za-z]{3,9}[- ,]{1,2}\d{2,4}"
_NAMED_DAY: Final = (
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?(?:[A-Z][a-z]{2,8}\.? \d{1,2},? \d{4}|\d{1,2} [A-Z][a-z]{2,8} \d{4})"
)
_CLOCK: Final = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?: ?[AaPp]\.?[Mm]\.?)?"
MOMENT: Final = rf"(?:{_DAY}|{_NAMED_DAY})(?:[T ,]{{1,2}}{_CLOCK}(?: ?(?:Z|UTC|GMT|[-+]\d{{2}}:?\d{{0,2}}))?)?|{_CLOCK}"
_ADDRESS: Final = (
    r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}|[a-zA-Z][a-zA-Z+.-]{1,9}://[^\s,;|\"<>]+|\d{1,3}(?:\.\d{1,3}){3}(?:[:/]\d{1,5})?"
    r"|(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){7}"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
)

_LOOKS: Final = re.compile(rf"(?P<n>{NUMBER})|(?P<m>{MOMENT})|(?P<t>{_ADDRESS})")
_ONE_ADDRESS: Final = re.compile(_ADDRESS)
_ENCLOSED: Final = {"{": "}", "[": "]", "(": ")", "<": ">"}
_OPENED: Final = {"}": "{", "]": "[", ")": "("}
_URL: Final = re.compile(r"[a-z]{2,9}://\S+")
"""With delimiters in it, or it would be an address."""
_TIGHT: Final = re.compile(r"[^\s,;|\t][,;|][^\s,;|]|\t|[^\d\s]:[^\d\s/\\]|[~^\x01\x1f]")
_LOOSE: Final = re.compile(r"[,;:|]")
_LONGEST: Final = 200
"""Characters of a cell that are looked at."""


def is_address(cell: str) -> bool:
    """Tell whether a cell is an address of the net or of the mail, of a device, or a UUID."""
    return len(cell) <= _LONGEST and _ONE_ADDRESS.fullmatch(cell) is not None


def look_of(cell: str) -> Look:
    """Tell what a cell looks like."""
    cell = cell[:_LONGEST].strip()
    if not cell:
        return Look.EMPTY
    if found := _LOOKS.fullmatch(cell):
        return Look.NUMBER if found["n"] else Look.MOMENT if found["m"] else Look.TOKEN
    first, last = cell[0], cell[-1]
    if first in _ENCLOSED and last == _ENCLOSED[first] and len(cell) > 1:
        return Look.TOKEN
    if _is_torn(cell):
        return Look.TORN
    if (last == "\\" or _TIGHT.search(cell)) and not _URL.fullmatch(cell):
        return Look.UNSPLIT
    return Look.PROSE if first in _ENCLOSED or _LOOSE.search(cell) else Look.TEXT


def _is_torn(cell: str) -> bool:
    first, last = cell[0], cell[-1]
    return (
        ('"' in (first, last) and cell.count('"') % 2 == 1)
        or (first in _ENCLOSED and _ENCLOSED[first] not in cell)
        or (last in _OPENED and _OPENED[last] not in cell)
    )
