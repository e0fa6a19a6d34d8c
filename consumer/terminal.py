"""Writing for people: one console for results on standard output, one for progress on standard error."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from consumer.settings import DEFAULT_HOME, Settings

PIPED_WIDTH: Final = 160
"""Columns of tables when nobody watches: files and pipes have no edge."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def console(*, error: bool = False) -> Console:
    """
    Return a console that writes text as it is given: no markup, no colours for numbers and paths.

    Lines are wrapped on a terminal only: in a file or pipe, wrapped ones are hard to search.
    """
    stream = sys.stderr if error else sys.stdout
    edge = stream.isatty() or "COLUMNS" in os.environ
    width = None if edge else PIPED_WIDTH
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width, soft_wrap=not edge)


def progress(on: Console | None = None) -> Progress:
    """
    Return a progress display that exists on a terminal only, and leaves nothing behind.

    Args:
        on: The console that lines are printed to meanwhile; they would run into the display of another one.
    """
    on = on or console(error=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=on, transient=True, disable=not on.is_terminal)


def shown(text: str) -> str:
    """Return a key or a cell on one line: what would move the cursor, or is no character, is written as an escape."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shell(*words: str) -> str:
    """Return a command line that a person can copy, whatever the words hold."""
    return " ".join(_ansi_c(word) if _CONTROL.search(word) else shlex.quote(word) for word in words)


def command(settings: Settings, *words: str) -> str:
    """Return a lakedrop command for this home, ready to be copied."""
    named = settings.home == DEFAULT_HOME or "LAKEDROP_HOME" in os.environ
    return shell(program(), *words, *(() if named else ("--home", str(settings.home))))


def program() -> str:
    """Return what a person types for `lakedrop`: its path where the shell would not find it by name."""
    path = Path(sys.argv[0])
    if path.name != "lakedrop" or shutil.which("lakedrop") is not None:
        return "lakedrop"
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path)


def _ansi_c(word: str) -> str:
    """Quote a word as `$'...'`, which spells control characters."""
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    return (
        "$'"
        + _CONTROL.sub(
            lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode(errors="surrogateescape")), plain
        )
        + "'"
    )
