"""
Names: from folders to tables, from header cells to columns.

The rules are the CSV specification's: lower case, everything else than letters and digits to underscores. Underscores
are collapsed and stripped, so none of lakedrop's own names (`_source_file`, `_ingest_registry`) can come out of a file.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence

MAX_NAME = 128
"""Characters. Below the limits of every catalog and of file names; a longer name is cut and gets a hash."""

_NOT_ASCII_WORD = re.compile(r"[^a-z0-9]+")
_NOT_WORD = re.compile(r"[\W_]+")
_INVISIBLE = re.compile("[\u200d\ufe00-\ufe0f]")
"""Joiners and variation selectors: they change how letters look, not which they are."""
_AM = (("\u0e4d\u0e32", "\u0e33"), ("\u0ecd\u0eb2", "\u0eb3"))
"""The vowel AM of Thai and Lao, which NFKC takes apart, as keyboards write it."""
_MARKS = frozenset({"Mn", "Mc"})
"""Categories of what stands above, below or beside a letter: vowels of Thai, Hindi, Tamil, Arabic."""


def table_name(rest_of_key: str) -> str | None:
    """
    Return the table for an object: its first folder, sanitised; None when it lies in no folder.

    `rest_of_key` is the key without the route's prefix. Table names are ASCII, because they become paths and
    identifiers in many engines: accents are dropped, and a folder of which nothing is left becomes `t_<hash>`.
    """
    folder, slash, _ = rest_of_key.partition("/")
    return _table_of(folder) if folder and slash else None


@functools.lru_cache(maxsize=1024)
def _table_of(folder: str) -> str:
    plain = unicodedata.normalize("NFKD", folder.casefold())
    without_accents = "".join(letter for letter in plain if not unicodedata.combining(letter))
    name = _NOT_ASCII_WORD.sub("_", without_accents).strip("_")
    if not name:
        return f"t_{_hash(folder)}"
    return _cut(f"_{name}" if name[0].isdigit() else name)


def column_names(cells: Sequence[str]) -> list[str]:
    """
    Return a table column for each header cell: sanitised, and unique without regard to case.

    An empty cell becomes `column_<position>`, a repeated name gets the first free suffix `_2`, `_3`, ... Names that
    stand in the header as they are keep precedence over suffixes: `a, a, a_2` gives `a, a_3, a_2`.
    """
    wanted = [_column(cell, position) for position, cell in enumerate(cells, 1)]
    taken = set(wanted)
    if len(taken) == len(wanted):
        return wanted
    seen: set[str] = set()
    names = []
    for name in wanted:
        unique = name
        if name in seen:
            suffix = 2
            while (unique := f"{name}_{suffix}") in taken:
                suffix += 1
            taken.add(unique)
        seen.add(unique)
        names.append(unique)
    return names


def _column(cell: str, position: int) -> str:
    name = unicodedata.normalize("NFKC", cell).lower()
    name = _NOT_WORD.sub("_", name) if name.isascii() else _in_any_script(name)
    name = name.strip("_")
    if not name:
        return f"column_{position}"
    return _cut(f"col_{name}" if name[0].isdigit() else name)


def _in_any_script(name: str) -> str:
    """Put one underscore for all that are neither letters nor digits nor marks of the letter before them."""
    kept = ["_"]
    for letter in _INVISIBLE.sub("", name):
        if letter.isalnum() or (kept[-1] != "_" and unicodedata.category(letter) in _MARKS):
            kept.append(letter)
        elif kept[-1] != "_":
            kept.append("_")
    return functools.reduce(lambda text, pair: text.replace(*pair), _AM, "".join(kept))


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 9]}_{_hash(name)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
