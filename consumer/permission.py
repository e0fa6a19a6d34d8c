"""May this user write a home? Even a reader must: SQLite keeps files beside its databases."""

from __future__ import annotations

import os
from pathlib import Path

from consumer.exits import CommandError


def refuse_unwritable(home: Path) -> None:
    """
    Check folder and databases of a home.

    Raises:
        CommandError: One of them is there and cannot be written.
    """
    for path in (home, *sorted(home.glob("*.db*"))):
        if _is_refused(path):
            raise CommandError(
                f"no permission to write {path}, which reading needs too: run this as the user of the service, or let "
                "this user write it"
            )


def _is_refused(path: Path) -> bool:
    # SQLite removes the files beside a database when its last user closes it, and makes them anew for the next.
    return not os.access(path, os.W_OK) and os.access(path, os.F_OK) and not os.access(path, os.W_OK)
