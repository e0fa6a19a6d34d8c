"""What fuzzing found: one input per broken rule or place in the code, made as small as it will go."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz.case import BETWEEN_FILES
from tests.fuzz.invariants import Broken, examine

_MOST_TRIES: Final = 3000
"""Examinations that making a finding smaller may take."""


def name_of(error: Exception) -> str:
    """Return the same for errors that are one finding: the rule, or the place where an exception arose."""
    if isinstance(error, Broken):
        return error.rule
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/handlers/" in frame.filename]
    where = f"{Path(frames[-1].filename).name}, {frames[-1].name}" if frames else "outside of the handlers"
    return f"{type(error).__name__} in {where}"


def examined(data: bytes) -> Exception | None:
    """Examine an input; return what it broke."""
    try:
        examine(data)
    except Exception as error:  # noqa: BLE001 - any is a finding
        return error
    return None


def save(data: bytes, error: Exception, folder: Path) -> None:
    """Keep an input under the name of its finding, unless a smaller one is there."""
    path = folder / hashlib.sha256(name_of(error).encode()).hexdigest()[:16]
    if not path.exists() or path.stat().st_size > len(data):
        path.write_bytes(data)


def minimised(data: bytes, broken: Callable[[bytes], bool]) -> bytes:
    """Leave out as much as can be while `broken` stays true: pieces of half the size, of a quarter, ... of a byte."""
    tries = 0
    size = len(data) // 2
    while size and tries < _MOST_TRIES:
        at = 0
        while at < len(data) and tries < _MOST_TRIES:
            shorter = data[:at] + data[at + size :]
            tries += 1
            if broken(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def described(data: bytes) -> str:
    """Examine an input once more, make it smaller, and say what it is."""
    error = examined(data)
    if error is None:
        return f"not seen again:\n  {data!r}"
    name = name_of(error)
    smallest = minimised(data, lambda shorter: (again := examined(shorter)) is not None and name_of(again) == name)
    files = "".join(f"\n  {file!r}" for file in smallest[2:].split(BETWEEN_FILES))
    return f"{name}\n  {str(examined(smallest))[:1000]}\n  input: {smallest!r}\n  files:{files}"
