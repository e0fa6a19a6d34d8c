"""Random ids for claims, hints and files."""

from __future__ import annotations

import os
from typing import Final

_BATCH: Final = 256
"""Asking the system gives the interpreter to another thread, and may mean a wait of milliseconds to get it back."""

_DIGITS: Final = 32
_VARIANT: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


class RandomIds:
    """
    Gives random UUIDs (RFC 9562, version 4) as text, to any thread.

    Some are needed for every file; `uuid.uuid4` takes three times as long.
    """

    def __init__(self) -> None:
        self._ready: list[str] = []

    def __call__(self) -> str:
        """Return an id that was never given before."""
        try:
            return self._ready.pop()
        except IndexError:
            drawn = os.urandom(_BATCH * _DIGITS // 2).hex()
        first, *others = (_uuid(drawn[at : at + _DIGITS]) for at in range(0, len(drawn), _DIGITS))
        self._ready += others
        return first


def _uuid(drawn: str) -> str:
    return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-{_VARIANT[drawn[16]]}{drawn[17:20]}-{drawn[20:]}"
