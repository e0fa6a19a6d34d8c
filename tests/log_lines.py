"""The log of a process as a test reads it while it is being written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def log_lines(path: Path, begin: int = 0) -> list[dict[str, Any]]:
    """Return the JSON lines of a log behind a byte; none while there is no log."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(begin)
        text = file.read().rpartition(b"\n")[0].decode()  # the last line may yet end within a letter
    return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
