"""`lakedrop catalogue`: what the dataset catalogue holds, and what it finds."""

from __future__ import annotations

import json

import click
from rich.text import Text

from consumer import exits
from consumer.cli import Command, Group, Invocation
from consumer.kinds_catalogue import catalogue_counts, search_catalogue
from consumer.terminal import console, shown


@click.group(cls=Group)
def catalogue() -> None:
    """Search the catalogue of datasets."""


@catalogue.command(
    cls=Command,
    examples=("lakedrop catalogue search 'measurements of flowers'", "lakedrop catalogue search wine --limit 3 --json"),
)
@click.argument("text")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="Datasets, at most.")
@click.option("--source", help="Only datasets of this source.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def search(invocation: Invocation, text: str, limit: int, source: str | None, as_json: bool) -> int:
    """Find datasets by what TEXT means, or by its words where there are no vectors."""
    found = search_catalogue(invocation.existing(), text, limit, source)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return exits.OK
    out = console()
    for one in found:
        title = shown(one["title"] or one["external_id"])
        score = "" if one["score"] is None else f"  {one['score']:.2f}"
        out.print(
            Text.assemble((title, "bold"), f"  {one['source']}{score}  {shown(one['url'] or '')}"), soft_wrap=True
        )
    if not found:
        out.print("Nothing was found.")
    return exits.OK


@catalogue.command(cls=Command, examples=("lakedrop catalogue status", "lakedrop catalogue status --json"))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def status(invocation: Invocation, as_json: bool) -> int:
    """Count the datasets of every source, by how much is known of them."""
    counts = catalogue_counts(invocation.existing())
    if as_json:
        click.echo(json.dumps(counts, indent=2, ensure_ascii=False))
        return exits.OK
    out = console()
    for name, one in counts.items():
        told = ", ".join(f"{number:,} {what}" for what, number in one.items() if number)
        out.print(Text.assemble((name, "bold"), f"  {told}"), soft_wrap=True)
    if not counts:
        out.print("The catalogue is empty.")
    return exits.OK
