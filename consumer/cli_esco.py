"""`lakedrop esco`: how far ingestions into Weaviate are, whether it holds what it should, and what is found in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer import exits
from consumer.app import made_app
from consumer.cli import Command, Group, Invocation
from consumer.kinds_esco import NAME, SEARCHED, Esco, Found, Standing
from consumer.settings import Settings
from consumer.terminal import console, progress, shown
from handlers.contract import HandlerError

T = TypeVar("T")

USUAL_CLASSES: Final = ("Skill", "Occupation")


@click.group(cls=Group)
def esco() -> None:
    """Look into the ESCO releases that Weaviate holds, and search them."""


@asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[Esco]:
    """
    Make what asks Weaviate; the ledger is not opened.

    Raises:
        CommandError: No route goes there.
    """
    async with made_app(of_esco(settings)) as app:
        await app.make_handlers()
        yield Esco(app.handlers)


def of_esco(settings: Settings) -> Settings:
    """Return the settings with only those routes that go to Weaviate."""
    return settings.model_copy(update={"routes": tuple(one for one in settings.routes if one.handler == NAME)})


def _answer(settings: Settings, ask: Callable[[Esco], Coroutine[Any, Any, T]]) -> T:
    async def work() -> T:
        async with asking(settings) as found:
            return await ask(found)

    with progress() as bar:
        bar.add_task("asking Weaviate", total=None)
        return asyncio.run(work())


@esco.command(cls=Command, examples=("lakedrop esco status", "lakedrop esco status --json"))
@click.option("--json", "as_json", is_flag=True, help="A list of states, for machines.")
@click.pass_obj
def status(invocation: Invocation, as_json: bool) -> int:
    """
    Show how far the ingestion into each set of classes is.

    not_started, in_progress, completed, failed or unknown, with step, progress, totals or reason. Exit code 1 unless
    all are completed.
    """

    async def ask(esco: Esco) -> list[Standing]:
        try:
            return await esco.standings()
        except HandlerError as error:
            return esco.unknown(error)

    standings = _answer(invocation.settings(), ask)
    if as_json:
        told = [{"target": one.target, **one.state, "alive": one.alive} for one in standings]
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        out = console()
        for one in standings:
            _print_state(out, one)
    return exits.OK if all(one.completed for one in standings) else exits.FAILED


def _print_state(out: Console, one: Standing) -> None:
    style = "green" if one.completed else "yellow" if one.alive else "red"
    word = str(one.state["status"])
    if word == "in_progress" and not one.alive:
        word += " (no sign of life: the next start takes it up)"
    out.print(Text.assemble((one.target, "bold"), "  ", (word, style)))
    for name, value in one.state.items():
        if name not in ("status", "previous_status_details") and value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            out.print(f"  {name.replace('_', ' '):<18} {shown(text)}", soft_wrap=True)


@esco.command(cls=Command, examples=("lakedrop esco validate", "lakedrop esco validate --json"))
@click.option("--json", "as_json", is_flag=True, help="Counts and errors, for machines.")
@click.pass_obj
def validate(invocation: Invocation, as_json: bool) -> int:
    """
    Count every class and every reference in Weaviate, against what was noted at the ingestion.

    Exit code 1 when the ingestion is not completed, or a count differs.
    """

    async def ask(found: Esco) -> list[dict[str, Any]]:
        return [{"target": one.target, **await found.validate(one)} for one in await found.standings()]

    found = _answer(invocation.settings(), ask)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        out = console()
        for one in found:
            _print_validated(out, one)
    return exits.FAILED if any(one["errors"] for one in found) else exits.OK


def _print_validated(out: Console, one: dict[str, Any]) -> None:
    verdict = ("as it should be", "green") if not one["errors"] else ("wrong", "red")
    out.print(Text.assemble((one["target"], "bold"), "  ", verdict))
    for name, number in one["counts"].items():
        if "." not in name:
            out.print(f"  {name:<18} {number:>9,}")
    references = sum(number for name, number in one["counts"].items() if "." in name)
    out.print(f"  {'references':<18} {references:>9,}")
    for error in one["errors"]:
        out.print(f"  {shown(error)}", style="red", soft_wrap=True)


@esco.command(
    cls=Command,
    examples=(
        'lakedrop esco search "bake bread"',
        'lakedrop esco search "operate a lorry" --class Occupation --limit 3',
        'lakedrop esco search "pruning vines" --json',
    ),
)
@click.argument("text")
@click.option(
    "kinds",
    "--class",
    type=click.Choice(SEARCHED, case_sensitive=False),
    multiple=True,
    help=f"Where to look; may be given several times. [default: {', '.join(USUAL_CLASSES)}]",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many to show.")
@click.option("--json", "as_json", is_flag=True, help="All properties, for machines.")
@click.pass_obj
def search(invocation: Invocation, text: str, kinds: tuple[str, ...], limit: int, as_json: bool) -> int:
    """
    Find what is nearest to a text.

    By meaning where the route has an embedder, else by words. Best first. Exit code 1 when nothing is found.
    """

    async def ask(esco: Esco) -> tuple[list[Standing], list[Found]]:
        standings = await esco.standings()
        there = [one for one in standings if one.state["status"] != "not_started"]
        if not there:
            raise exits.CommandError("nothing was ingested yet: drop a release, then see `lakedrop esco status`")
        found = [hit for one in there for hit in await esco.search(one, text, kinds or USUAL_CLASSES, limit)]
        return there, sorted(found, key=lambda hit: -(hit.score or 0))[:limit]

    standings, found = _answer(invocation.settings(), ask)
    for one in standings:
        if not one.completed:
            click.echo(f"{one.target} is {one.state['status']}: what is found may be incomplete", err=True)
    if as_json:
        told = [{"class": one.kind, "score": one.score, **one.properties} for one in found]
        click.echo(json.dumps(told, indent=2, ensure_ascii=False, default=str))
    else:
        _print_found(console(), found)
    return exits.OK if found else exits.FAILED


def _print_found(out: Console, found: Sequence[Found]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("class", "label", "score", "address"):
        table.add_column(name, justify="right" if name == "score" else "left", no_wrap=True)
    for one in found:
        label = next((str(value) for name, value in one.properties.items() if name.startswith("preferredLabel")), "")
        score = "" if one.score is None else f"{one.score:.3f}"
        table.add_row(one.kind, shown(label), score, shown(str(one.properties.get("conceptUri", ""))))
    out.print(table if found else "Nothing was found.")
