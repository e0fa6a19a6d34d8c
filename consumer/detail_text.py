"""What a handler tells about an object, for people: how it was read and why, its columns, what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from consumer.live import numbered
from consumer.terminal import shown

REJECTS: Final = 5
"""Rejected records that are shown; `--json` has all that are kept."""

LONGEST_NAME: Final = 40
"""Terminal cells of a column's name that are shown."""

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "space", ":": "colon"}

_READING: Final = ("encoding", "compression", "delimiter", "quote", "escape", "header_line", "skipped_lines", "skipped")
_LISTED: Final = (*_READING, "columns", "column_count", "warnings", "rejects", "dialect_reason")


def counted(counts: Mapping[str, int]) -> str:
    """Return a receipt's counts in words."""
    named = {"rows": "row", "records": "record"}
    return ", ".join(
        numbered(number, named[name]) if name in named else f"{number:,} {name}" for name, number in counts.items()
    )


def reading(detail: Mapping[str, Any], *, usual: bool = True) -> str:
    """Return in one line how an object was read; without the `usual` only what is not plain CSV with a header."""
    header = detail.get("header_line", 1)
    delimiter = detail.get("delimiter", "")
    quote = detail.get("quote", '"')
    encoding = detail.get("encoding", "")
    facts = [
        detail.get("compression", ""),
        encoding if usual or encoding != "utf-8" else "",
        DELIMITERS.get(delimiter, f"delimiter {shown(delimiter)}") if delimiter and (usual or delimiter != ",") else "",
        "no delimiter" if usual and detail.get("delimiter") == "" else "",
        "no quotes" if not quote else f"quote {quote}" if quote != '"' else "",
        f"escape {detail['escape']}" if detail.get("escape") else "",
        "names generated" if header == 0 else f"header on line {header}" if header > 1 else "",
        f"{numbered(detail['skipped_lines'], 'line')} skipped" if detail.get("skipped_lines") else "",
    ]
    return ", ".join(fact for fact in facts if fact)


def print_detail(out: Console, detail: Mapping[str, Any], *, indent: int, columns: int) -> None:
    """
    Print all that is told.

    Args:
        out: Where to.
        detail: Of a receipt, or of a forecast.
        indent: Spaces before every line.
        columns: How many columns are listed; the others are counted by type.
    """
    others = [
        f"{name.replace('_', ' ')} {shown(str(value))}"
        for name, value in detail.items()
        if name not in _LISTED and isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    ]
    facts = [*(["read as " + reading(detail)] if "encoding" in detail else []), *others]
    if facts:
        indented(out, Text(", ".join(facts)), indent)
    if detail.get("dialect_reason"):
        indented(out, Text(shown(detail["dialect_reason"]), "dim"), indent)
    for warning in detail.get("warnings") or []:
        indented(out, Text(f"warning: {shown(warning)}", "yellow"), indent)
    for skipped in detail.get("skipped") or []:
        text = Text(f"{' ' * indent}skipped line {skipped['line']:,}: {shown(skipped['text'])}", "dim")
        out.print(text, no_wrap=True, overflow="ellipsis")
    print_rejects(out, detail.get("rejects") or [], indent=indent)
    print_columns(out, detail, indent=indent, most=columns)


def print_rejects(out: Console, rejects: Sequence[Mapping[str, Any]], *, indent: int, most: int = REJECTS) -> None:
    """Print the first rejected records, each with its place, the reason and what stands there."""
    for reject in rejects[:most]:
        line = "" if reject["line"] is None else f", line {reject['line']:,}"
        place = f"rejected record {reject['record']:,}{line}: {reject['reason']}"
        indented(out, Text(place, "yellow"), indent)
        text = Text(f"{' ' * indent}  {shown(reject['text'])}", "dim")
        out.print(text, no_wrap=True, overflow="ellipsis")


def print_columns(out: Console, detail: Mapping[str, Any], *, indent: int, most: int) -> None:
    """Print columns with their types and what decided on them; long names are cut, long reasons wrapped."""
    columns = detail.get("columns") or []
    if not columns:
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("column", no_wrap=True, overflow="ellipsis", max_width=min(LONGEST_NAME, out.width // 3))
    table.add_column("type", no_wrap=True, style="cyan")
    table.add_column("because", overflow="fold")
    for name, kind, *why in columns[:most]:
        table.add_row(Text(shown(name)), kind, Text(shown(_because(kind, why))))
    out.print(Padding(table, (0, 0, 0, indent), expand=False))
    more = detail.get("column_count", len(columns)) - min(most, len(columns))
    if more > 0:
        kinds = Counter(kind for _, kind, *_ in columns[most:])
        by_type = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common())
        known = f": {by_type}" if kinds.total() == more else ""
        indented(out, Text(f"and {more:,} more{known}", "dim"), indent)


def _because(kind: str, why: Sequence[Any]) -> str:
    """Say why a column has its type: the reason, how many values would have fitted another, what was rescued."""
    told: list[Any] = [*why, *("", 0, 0, None, 0)[len(why) :]]
    reason, values, fits, against, rescued = told
    parts = [reason]
    if kind == "VARCHAR":
        parts += [f"{fits:,} of {values:,} values would have fitted"] if fits else []
    elif against is not None:
        parts.append(f"not record {against[0]:,}, {against[1]!r}")
    parts += [f"{rescued:,} rescued"] if rescued else []
    return "; ".join(part for part in parts if part)


def indented(out: Console, text: Text, indent: int, *, hanging: int = 0) -> None:
    """Print a text wrapped within the console, every line indented; those after the first by `hanging` more."""
    for number, line in enumerate(text.wrap(out, max(out.width - indent - hanging, 20))):
        line.rstrip()
        out.print(Text(" " * (indent + (hanging if number else 0))) + line)
