"""Times as people and machines read them. Pure; all times are epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_UNITS: Final = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def iso(at: int) -> str:
    """Return a time for machines: ISO 8601 in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(at: int, now: int) -> str:
    """Return a time for people, in their time zone: without the date on the day itself."""
    moment, today = (datetime.fromtimestamp(value / 1000, UTC).astimezone() for value in (at, now))
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """Return a length of time for people, in its largest unit."""
    if seconds < 10:  # noqa: PLR2004 (from here on tenths say nothing)
        return f"{seconds:.1f} s"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def since(text: str, now: int) -> int:
    """
    Read a point in the past: `2h`, `3d`, `90min`, or an ISO 8601 time (local when it names no offset).

    Raises:
        ValueError: It is neither.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if found is not None and found[2] in _UNITS:
        return now - round(float(found[1]) * _UNITS[found[2]] * 1000)
    try:
        return round(datetime.fromisoformat(text.strip()).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a length of time (30min, 2h, 3d) nor an ISO time (2026-01-31, 2026-01-31T08:00:00Z)"
        ) from None
