"""What `lakedrop demo` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from consumer.demo_files import Sample
from consumer.detail_text import indented, reading
from consumer.held import Settled
from consumer.live import line
from consumer.settings import Settings
from consumer.sweep_report import Report
from consumer.table_text import print_table
from consumer.terminal import command, shown
from consumer.times import duration
from consumer.why import Why
from consumer.why_text import print_why


class DemoView:
    """Prints the demo as it happens."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def title(self, text: str) -> None:
        """Begin a part."""
        self._out.print()
        self._out.print(Text(f"── {text}", "bold"))

    def note(self, text: str) -> None:
        """Add a remark."""
        self._out.print(Text(f"    {text}"))

    def dropped(self, sample: Sample) -> None:
        """Tell of a file put into the bucket."""
        self._out.print(
            Text.assemble(
                ("↓ ", "blue"), (shown(sample.key), "bold"), (f"  {len(sample.content):,} bytes: {sample.note}", "dim")
            )
        )

    def removed(self, key: str) -> None:
        """Tell of a file deleted."""
        self._out.print(Text.assemble(("- ", "blue"), (shown(key), "bold"), ("  deleted", "dim")))

    def settled(self, settled: Settled, since: float | None) -> None:
        """Tell what became of a file, and after which time (seconds)."""
        text = line(settled, timed=False)
        if since is not None and settled.receipt is not None:
            text = Text.assemble(text, (f"  queryable {duration(since)} after the drop", "green"))
        indented(self._out, text, 2)
        if settled.receipt is not None and settled.receipt.detail.get("columns"):
            self._detected(settled.receipt.detail)

    def _detected(self, detail: Mapping[str, Any]) -> None:
        columns = ", ".join(f"{name} {kind}" for name, kind, *_ in detail["columns"])
        indented(self._out, Text(f"{reading(detail)}: {columns}", "dim"), 4)
        for reject in detail["rejects"][:2]:
            place = f"record {reject['record']}" + (f", line {reject['line']}" if reject["line"] else "")
            indented(self._out, Text(f"rejected: {place}: {reject['reason']}", "yellow"), 4)

    def swept(self, report: Report) -> None:
        """Tell what a sweep found."""
        self._out.print(
            f"  A sweep compares bucket and ledger: {report.listed} listed, "
            f"{report.matched - report.gone} as the ledger knows them, {report.new} new, {report.vanished} vanished"
        )

    def table(self, result: pa.Table) -> None:
        """Show a result."""
        print_table(self._out, result)

    def why(self, why: Why, now: str) -> None:
        """Show the story of one file."""
        self.title(f"lakedrop why {why.bucket}/{why.unit}")
        print_why(self._out, why, now)

    def next_steps(self, settings: Settings) -> None:
        """Say what to try now."""
        self.title("Try next")
        rescued = "select _source_file, _rescued from lakehouse.customers where _rescued is not null"
        mine = settings.buckets / "csv-uploads" / "mine"
        say = (
            command(settings, "query", rescued),
            command(settings, "why", "noise/photo.csv"),
            command(settings, "status"),
            f"{command(settings, 'run')}    and copy a CSV of yours into {mine}",
        )
        for text in say:
            self._out.print(Text(f"  {text}", "cyan"), soft_wrap=True)
