"""A plan for people: units as they are planned, then the sum and the command that does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.detail_text import indented, print_rejects, reading
from consumer.live import numbered
from consumer.plan_report import ACTIONS, Planned, Target, Totals
from consumer.terminal import shown

LISTED: Final = 20
"""Units of one target that are named, and columns; all are counted, and `--json` has all."""

MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "write": ("+", "green"),
    "remove": ("-", "red"),
    "keep": ("·", "dim"),
    "fail": ("✗", "red"),
    "skip": ("·", "yellow"),
    "wait": ("?", "yellow"),
}


class PlanText:
    """Prints a plan as it is made."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._target: str | None = None
        self._sum = Target(target="")
        self._listed = Counter[str]()
        self._more = Counter[str]()

    def unit(self, planned: Planned) -> None:
        """Print a unit, unless nothing would be done with it or enough of its target were named."""
        if planned.action == "none":
            return
        target = planned.target or f"{planned.bucket}, in no table"
        if target != self._target:
            self._end_target()
            self._target, self._sum = target, Target(target=target)
            created = " (new)" if planned.changes.get("created") else ""
            self._out.print(Text.assemble((shown(target), "bold"), (created, "green")))
        if planned.target is not None:
            self._sum.add(planned)
        if self._listed[planned.action] == LISTED:
            self._more[planned.action] += 1
            return
        self._listed[planned.action] += 1
        mark, colour = MARKS[planned.action]
        if planned.reason in ("changed", "again") and planned.action == "write":
            mark = "~"
        line = Text.assemble((f"{mark} ", colour), (shown(planned.unit), "bold"), "  ", _fate(planned))
        indented(self._out, line, 2, hanging=4)
        for text in _changes(planned):
            indented(self._out, text, 6)
        for warning in planned.detail.get("warnings", ()):
            indented(self._out, Text(f"warning: {shown(warning)}", "yellow"), 6)
        rejects = planned.detail.get("rejects", ())
        print_rejects(self._out, rejects, indent=6, most=1)
        if rejects and (more := planned.counts.get("rejected", 0) - 1) > 0:
            indented(self._out, Text(f"and {more:,} more rejected", "dim"), 6)

    def end(self, totals: Totals) -> None:
        """Print the sums."""
        self._end_target()
        # A table of one unit is told of above.
        if several := [target for target in totals.targets.values() if target.units > 1]:
            self._print_targets(several)
            self._out.print()
        if totals.reasons["vanished"] and totals.units["remove"]:
            self._out.print("A sweep withholds deletions when there are suspiciously many.", style="dim")
        for error in totals.errors:
            self._out.print(Text(shown(error), "red"))
        self._out.print(_sum(totals))

    def do(self, commands: Sequence[str]) -> None:
        """Print how to do it."""
        self._out.print("Nothing was written. To do it:" if commands else "Nothing was written.")
        for command in commands:
            self._out.print(Text(f"  {command}", "cyan"), soft_wrap=True)

    def _end_target(self) -> None:
        for action, number in self._more.items():
            self._out.print(Text(f"    and {number:,} more {ACTIONS[action]}", "dim"))
        if self._sum.created and self._sum.new:
            indented(self._out, Text.assemble(("columns: ", "dim"), _named(self._sum.new)), 2, hanging=2)
        if self._target is not None:
            self._out.print()
        self._listed.clear()
        self._more.clear()

    def _print_targets(self, targets: Sequence[Target]) -> None:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("table", overflow="fold")
        for name in ("units", "rows in", "rows out", "rejected", "rescued", "commits"):
            table.add_column(name, justify="right", no_wrap=True)
        for target in targets:
            numbers = (target.units, target.rows_in, target.rows_out, target.rejected, target.rescued, target.commits)
            cells = [Text(f"{number:,}", "" if number else "dim") for number in numbers]
            table.add_row(Text.assemble((shown(target.target), "cyan"), " (new)" if target.created else ""), *cells)
        self._out.print(table)


def _named(columns: Mapping[str, str]) -> str:
    more = f" and {len(columns) - LISTED:,} more" if len(columns) > LISTED else ""
    return ", ".join(shown(f"{name} {kind}") for name, kind in list(columns.items())[:LISTED]) + more


def _fate(planned: Planned) -> Text:
    if planned.error is not None:
        before = (
            f" (the table keeps {numbered(planned.rows_now, 'row')} of an older version)" if planned.rows_now else ""
        )
        name = f"{planned.error_class}: " if planned.error_class and planned.action != "skip" else ""
        return Text(f"{name}{shown(planned.error)}{before}", MARKS[planned.action][1])
    if planned.action == "keep":
        return Text("deleted; its rows stay, as the route says", "dim")
    if planned.action == "remove":
        return Text(f"deleted; {numbered(planned.rows_out, 'row')} out")
    parts = [(f"{numbered(planned.rows_in, 'row')} in", "")]
    if planned.rows_out:
        parts.append((f", {planned.rows_out:,} out", ""))
    parts += [(f", {planned.counts[name]:,} {name}", "yellow") for name in ("rejected", "rescued")
              if planned.counts.get(name)]  # fmt: skip
    if how := reading(planned.detail):
        parts.append((f"  {how}", "dim"))
    if planned.detail.get("column_count"):
        parts.append((f", {numbered(planned.detail['column_count'], 'column')}", "dim"))
    return Text.assemble(*parts)


def _changes(planned: Planned) -> list[Text]:
    """Return what a unit would do to the columns of a table there is."""
    if planned.changes.get("created"):
        return []
    lines = []
    for words, columns in (("new", planned.changes.get("new", {})), ("widened", planned.changes.get("widened", {}))):
        if columns:
            lines.append(Text.assemble((f"{words}: ", "green"), _named(columns)))
    return lines


def _sum(totals: Totals) -> Text:
    units = [f"{number:,} {ACTIONS[action]}" for action, number in totals.units.items() if number]
    others = [
        f"{numbered(number, 'object')} {words}"
        for number, words in ((totals.unrouted, "that no route takes"), (totals.unplanned, "whose handler cannot plan"))
        if number
    ]
    line = ", ".join([*units, *others]) or "Nothing is there"
    if totals.work:
        commits = "at least " + numbered(totals.commits, "commit")
        line += f"; {totals.rows_in:,} rows in, {totals.rows_out:,} out, {totals.rejected:,} rejected, "
        line += f"{totals.rescued:,} rescued, {commits}"
    return Text(line, "bold")
