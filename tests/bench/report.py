"""The page of the benchmark: one section per part, so that a part can be measured again without the others."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path("docs/benchmarks.md")

HEAD = """# Benchmarks

By `make bench ARGS=--write`; `make bench ARGS="large --write"` measures one part anew and leaves the others. Peers run
the same job in the same run, each in a process of its own. A service is a real one: it finds the files in its bucket,
and the clock stops when the ledger has them committed. Ratios and memory carry over to other machines, absolute figures
do not.
"""

HEADER = ("what", "lakedrop", "peer", "ratio", "memory")


@dataclass
class Section:
    """What one part measured."""

    name: str
    """Of the part."""
    title: str
    data: str
    """What was measured on, in a sentence or two."""
    header: Sequence[str] = HEADER
    rows: list[Sequence[str]] = field(default_factory=list)
    observations: list[str] = field(default_factory=list)
    """Sentences that are true whatever the figures are, or are made of them."""

    def note(self, *cells: str) -> None:
        """Keep and show a line; missing cells are empty."""
        row = (*cells, *[""] * (len(self.header) - len(cells)))
        self.rows.append(row)
        print(" | ".join(row), flush=True)

    def text(self, scale: float) -> str:
        """Return the section as Markdown, between marks that later runs find it by."""
        small = "" if scale == 1 else f", at {scale:g} of the usual amounts"
        lines = [
            f"<!-- {self.name} -->",
            f"## {self.title}",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, {machine()}{small}. {self.data}",
            "",
            f"| {' | '.join(self.header)} |",
            "|---" * len(self.header) + "|",
            *(f"| {' | '.join(row)} |" for row in self.rows),
            "",
            *(f"- {observation}" for observation in self.observations),
            f"<!-- end {self.name} -->",
        ]
        return "\n".join(lines) + "\n"


def machine() -> str:
    """Describe this machine in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.machine()}, Python {platform.python_version()}"


def written(path: Path, sections: Sequence[Section], order: Sequence[str], scale: float) -> None:
    """Put sections into a page, in place of those of the same parts; all stand in `order`."""
    old = path.read_text("utf-8") if path.exists() else ""
    known = {found[1]: found[0] for found in re.finditer(r"<!-- (\w+) -->\n.*?<!-- end \1 -->\n", old, re.DOTALL)} | {
        section.name: section.text(scale) for section in sections
    }
    path.write_text("\n".join([HEAD, *(known[name] for name in order if name in known)]), "utf-8")
