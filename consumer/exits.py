"""What a process says with its exit code, and the error that carries one. Numbers from 64 are those of `sysexits.h`."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1  # Done, and at least one unit has failed, or is withheld.
USAGE: Final = 64  # The command was used wrongly.
UNAVAILABLE: Final = 69  # Something that is needed does not answer.
SOFTWARE: Final = 70  # A fault of lakedrop; the log has the traceback.
TEMPORARY: Final = 75  # Not finished; running the command again later goes on.
CONFIGURATION: Final = 78  # The settings cannot be used.
INTERRUPTED: Final = 130  # Ctrl-C, as shells count it: 128 + SIGINT.


class CommandError(Exception):
    """A command cannot go on; the message says why and what to do next."""

    def __init__(self, message: str, code: int = UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code
