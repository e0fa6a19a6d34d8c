"""Lines drawn below the names of a header, as Markdown, psql, mysql and sqlcmd draw them: no records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_DRAWN: Final = re.compile(r":?[-=]+:?|[-+]+")
_SURE: Final = 3
"""Characters of the longest part: `-` and `--` are gaps to many."""
_OF_RULERS: Final = b"-=:+|,;\t \r\n"


def is_ruler(cells: Sequence[str]) -> bool:
    """Tell whether nothing but lines is in the cells of the record below a header."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    return bool(filled) and all(map(_DRAWN.fullmatch, filled)) and max(map(len, filled)) >= _SURE


def may_begin_with_ruler(text: bytes) -> bool:
    """Tell whether the first line of the records may be one."""
    return text[:1] in _BEGINNINGS and not text[: text.find(b"\n") + 1].strip(_OF_RULERS)


_BEGINNINGS: Final = frozenset({b"-", b"=", b":", b"|", b" "})
