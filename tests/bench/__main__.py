"""
`make bench`: measures the whole path from a dropped file to a queryable table, against named peers in the same run.

Parts can be measured alone, and `--scale 0.02` shows in a minute or two that all of them work.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.argilla import argilla, argilla_memory
from tests.bench.bench import Bench
from tests.bench.catalogue import catalogue
from tests.bench.esco import esco
from tests.bench.growth import compaction, growth
from tests.bench.hints import hints
from tests.bench.large import huge, large, slow
from tests.bench.latency import latency
from tests.bench.listing import listing
from tests.bench.report import PAGE, Section, written
from tests.bench.silo import silo
from tests.bench.small import small
from tests.bench.sweep import sweep
from tests.bench.trino_sight import trino_sight
from tests.bench.upload import upload

PARTS: dict[str, Callable[[Bench], Section]] = {
    "small": small,
    "latency": latency,
    "upload": upload,
    "trino": trino_sight,
    "large": large,
    "slow": slow,
    "huge": huge,
    "growth": growth,
    "compaction": compaction,
    "listing": listing,
    "sweep": sweep,
    "hints": hints,
    "silo": silo,
    "argilla": argilla,
    "argilla_memory": argilla_memory,
    "esco": esco,
    "catalogue": catalogue,
}


def main() -> None:
    """Run the parts named on the command line, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual amounts (default %(default)g)")
    parser.add_argument("--folder", type=Path, help="where to work, some GB (default: the system's temporary folder)")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=PAGE, help=f"also put what was measured into a page (default {PAGE})"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in arguments.parts or PARTS:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"lakedrop-{name}-", dir=arguments.folder) as folder:
            section = PARTS[name](Bench(Path(folder), arguments.scale))
        print(f"-- {name}: {time.monotonic() - begin:.0f} s", flush=True)
        if arguments.write:
            # After each part: what was measured stays when a later one fails.
            written(arguments.write, [section], list(PARTS), arguments.scale)


if __name__ == "__main__":
    main()
