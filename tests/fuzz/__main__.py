"""
`make fuzz`: fuzzes the reader for some minutes, guided by coverage, and prints each finding as small as it will go.

Exits 1 when there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.fuzz.findings import described
from tests.fuzz.seeds import SEEDS

LONGEST: Final = 4096
"""Bytes of an input."""
HANGS_AFTER: Final = 20
"""Seconds for one input."""
MEMORY_MIB: Final = 1024
"""Resident, of the process that fuzzes: Arrow, DuckDB and the instrumentation take a third of it."""

_STATS: Final = re.compile(r"stat::(\w+):\s+(\d+)")
_BEGUN: Final = "INITED"
"""What libFuzzer says once it has read its corpus: a process that dies before would die again."""
_COVERAGE: Final = re.compile(r"cov: (\d+) ft: (\d+)")


def main() -> int:
    """Fuzz as told by the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lakedrop-fuzz-") as folder:
        return fuzz(Path(folder), 60 * arguments.minutes, arguments.seed)


def fuzz(folder: Path, seconds: float, seed: int) -> int:
    """Fuzz in an empty folder, print what was found, and return the exit code."""
    corpus, findings = folder / "corpus", folder / "findings"
    corpus.mkdir()
    findings.mkdir()
    for data in SEEDS:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    until = time.monotonic() + seconds
    inputs = killed = coverage = 0
    while (left := int(until - time.monotonic())) > 0:
        run = subprocess.run(
            [
                sys.executable, "-m", "tests.fuzz.guided", str(findings), str(corpus),
                f"-max_total_time={left}", f"-seed={seed + killed}", f"-max_len={LONGEST}", f"-timeout={HANGS_AFTER}",
                f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={folder}/", "-print_final_stats=1", "-reload=0",
            ],
            check=False, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        stats = dict(_STATS.findall(run.stderr))
        inputs += int(stats.get("number_of_executed_units", 0))
        coverage = max([coverage, *(int(found) for found, _ in _COVERAGE.findall(run.stderr))])
        if run.returncode == 0:
            break
        killed += 1
        _tell_of_death(folder, run.stderr)
        if _BEGUN not in run.stderr:
            print("Fuzzing did not begin: see above. Is the group `fuzz` of pyproject.toml installed?")
            break
    kept = sorted(findings.iterdir())
    print(
        f"{inputs:,} inputs in {seconds:.0f} s, {len(list(corpus.iterdir())):,} kept, {coverage:,} branches reached: "
        f"{len(kept)} findings, {killed} crashes or hangs"
    )
    for path in kept:
        print(f"\n{described(path.read_bytes())}")
    return 1 if kept or killed else 0


def _tell_of_death(folder: Path, errors: str) -> None:
    """Print what killed the process, and the input that did; libFuzzer writes it beside the folders."""
    print("\n".join(errors.splitlines()[-40:]))
    for path in folder.iterdir():
        if path.is_file():
            print(f"{path.name.partition('-')[0]}: {path.read_bytes()!r}")
            path.unlink()


if __name__ == "__main__":
    sys.exit(main())
