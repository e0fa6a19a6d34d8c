"""The command `silo-import`: one organism's releases into SILO, in a container of its own."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from handlers.silo_staging.config import Config, ConfigurationError
from handlers.silo_staging.downloader import Backend
from handlers.silo_staging.importer import Importer
from handlers.silo_staging.paths import Paths
from handlers.silo_staging.runner import DirectRunner
from handlers.silo_staging.sentinels import SentinelRunner

log = structlog.get_logger("silo.import")

MISCONFIGURED: Final = 78
"""EX_CONFIG of sysexits(3)."""

ABOUT: Final = """\
Download the releases of one organism, transform and stage them, and have SILO
preprocess them; again and again. What it is told stands in the environment:

  BACKEND_BASE_URL                  address of the backend; needed
  ROOT_DIR                          has preprocessing/input and output; /
  LINEAGE_DEFINITIONS               JSON: {system: {pipelineVersion: address}}, or
                                    {pipelineVersion: address} of one system
  HIERARCHICAL_FILTERS              JSON: {field of the metadata: address}
  HARD_REFRESH_INTERVAL             seconds; 3600
  SILO_IMPORT_POLL_INTERVAL_SECONDS seconds between two runs; 30
  SILO_RUN_TIMEOUT_SECONDS          seconds that SILO may take; 3600
  SILO_IMPORT_COORDINATION          sentinels: somebody else runs SILO, asked by
                                    files in preprocessing/input; direct: this
                                    process does; sentinels
  PATH_TO_SILO_BINARY               for direct; /usr/local/bin/silo
  PREPROCESSING_CONFIG              for direct; /app/preprocessing_config.yaml
"""

EXAMPLES: Final = """\
examples:
  BACKEND_BASE_URL=http://backend:8079/ebola silo-import
  BACKEND_BASE_URL=http://backend:8079/ebola ROOT_DIR=/data \\
      SILO_IMPORT_COORDINATION=direct silo-import --once
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Import until told to stop; with `--once` one run.

    Returns:
        0; 1 when the one run failed; 78 when the environment is wrong; 143 and 130 after SIGTERM and SIGINT.
    """
    parser = argparse.ArgumentParser(
        "silo-import", description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="one run; exits with 1 when it fails")
    words = parser.parse_args(arguments)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        config = Config.from_environment(os.environ)
    except ConfigurationError as error:
        for fault in str(error).splitlines():
            sys.stderr.write(f"silo-import: {fault}\n")
        return MISCONFIGURED
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    importer = Importer(config, Backend(config.backend), runner(config))
    importer.prepare()
    while not words.once:
        run(importer)
        stop.check()
        time.sleep(config.poll_seconds)
    return 0 if run(importer) else 1


def runner(config: Config) -> Callable[[], None]:
    """Return what has SILO preprocess the staged data, as the settings say."""
    if config.coordination == "direct":
        return DirectRunner(config.silo, config.preprocessing_config, config.silo_timeout_seconds)
    return SentinelRunner(Paths(config.root).input, config.silo_timeout_seconds)


def run(importer: Importer) -> bool:
    """Import once; tell whether that went well. A run that fails is logged, for the next one tries again."""
    try:
        importer.run()
    except (RuntimeError, TimeoutError, OSError) as error:
        log.error("silo.run_failed", reason=str(error), kind=type(error).__name__)  # noqa: TRY400 (the reason says it)
    except Exception:
        log.exception("silo.run_failed")
    else:
        return True
    return False


class Stop:
    """
    Ends the process at a signal; what is under way is undone on the way out, as after any failure.

    Where the signal arrives within a finaliser, Python drops what it raises: the end of the run asks again.
    """

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, number: int, frame: object) -> None:
        """Handle a signal, as `signal.signal` calls it."""
        del frame
        self._number = number
        self.check()

    def check(self) -> None:
        """
        Go on, unless told to stop.

        Raises:
            SystemExit: With 128 and the signal's number.
        """
        if self._number:
            raise SystemExit(128 + self._number)
