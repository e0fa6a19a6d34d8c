"""
The process that fuzzes: Atheris (libFuzzer) keeps the inputs that reach new code, and changes them further.

Arguments: a folder for findings, then libFuzzer's own. Broken rules and exceptions are saved and the run goes on; what
kills or halts the process is libFuzzer's to report.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris
import structlog

with atheris.instrument_imports(include=["handlers.csv_to_iceberg", "csv"]):
    from tests.fuzz import findings, mutations

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

_FOLDER = Path(sys.argv[1])


def _examine(data: bytes) -> None:
    if (error := findings.examined(data)) is not None:
        findings.save(data, error, _FOLDER)


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], _examine, custom_mutator=mutations.mutated)
    atheris.Fuzz()
