"""Running SILO in this container."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from handlers.silo_staging.sentinels import SiloFailed

log = structlog.get_logger("silo.runner")

_SHOWN: Final = 4000
"""Characters of SILO's output in an error; the log has all."""


class DirectRunner:
    """
    Runs `silo preprocessing`.

    Args:
        silo: The program.
        config: Of the preprocessing.
        timeout: Seconds that a run may take.
        settings: More for its environment.
    """

    def __init__(self, silo: Path, config: Path, timeout: float, settings: Mapping[str, str] | None = None) -> None:
        self._silo = silo
        self._settings = {**(settings or {}), "SILO_PREPROCESSING_CONFIG": str(config)}
        self._timeout = timeout

    def __call__(self) -> None:
        """
        Run it to its end.

        Raises:
            SiloFailed: It cannot be started, or ended with another code than 0.
            TimeoutError: It did not end in time, and was killed.
        """
        words = [str(self._silo), "preprocessing"]
        environment = {**os.environ, **self._settings}
        try:
            done = subprocess.run(  # noqa: S603 (the program is a setting)
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"SILO did not end within {self._timeout:g} s (SILO_RUN_TIMEOUT_SECONDS)") from error
        except OSError as error:
            raise SiloFailed(f"SILO cannot be started: {error}; PATH_TO_SILO_BINARY names it") from error
        if done.returncode:
            log.error("silo.failed", exit_code=done.returncode, output=done.stdout)
            raise SiloFailed(f"SILO failed with exit code {done.returncode}: {done.stdout.strip()[-_SHOWN:]}")
        log.info("silo.done", output=done.stdout[-_SHOWN:])
