"""How long to wait between two looks at what tells nobody when it changes."""

from __future__ import annotations

from typing import Final

SHORTEST: Final = 0.02
LONGEST: Final = 1.0


def pause_after(took: float) -> float:
    """Return the seconds until the next look, twice what the last one took: what is waited for needs the machine."""
    return min(LONGEST, max(SHORTEST, 2 * took))
