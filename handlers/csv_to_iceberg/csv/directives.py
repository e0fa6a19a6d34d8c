"""
Names of columns in a comment: the line `#Fields:` of web servers' logs, `#fields` of Zeek's.

W3C, Extended Log File Format (WD-logfile-960323): lines that begin with `#` are directives, and `#Fields:` lists what
the entries hold. Servers write blanks between the names, and blanks, tabs or commas between the values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from handlers.csv_to_iceberg.csv.header_cells import is_header

_FIELDS: Final = re.compile(r"#fields[:\t]\s*(\S.*)", re.IGNORECASE)
COMMENT: Final = "#"


class Directed(NamedTuple):
    """Lines whose header was in a comment."""

    lines: list[str]
    """As many as there were: names in place of the last directive, the others blank."""
    delimiter: str


def directed(lines: Sequence[str]) -> Directed | None:
    """Return the lines with a header of their own, if the comments above all others name the columns."""
    first = next((number for number, line in enumerate(lines) if line.strip() and line[0] != COMMENT), 0)
    found = [match for line in lines[:first] if (match := _FIELDS.match(line))]
    if not found:
        return None
    entry = lines[first]
    listed = found[-1][1].strip()
    delimiter = next((one for one in ",\t" if one in entry and (one in listed or one == "\t")), " ")
    names = [name for name in re.split(r"[,\s]" if delimiter == "," else r"\s", listed) if name]
    if len(names) <= 1 or is_header(entry.split(delimiter)):
        return None
    end = entry[len(entry.rstrip("\r\n")) :] or "\n"
    return Directed([*[end] * (first - 1), delimiter.join(names) + end, *lines[first:]], delimiter)
