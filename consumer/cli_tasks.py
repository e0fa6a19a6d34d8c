"""`lakedrop tasks`: what handlers do beside objects, such as telling Superset of tables."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict

import click
from rich.text import Text

from consumer import exits
from consumer.app import App, open_app
from consumer.cli import Command, Group, Invocation
from consumer.exits import CommandError
from consumer.live import numbered
from consumer.settings import Settings
from consumer.signals import Signals
from consumer.task_report import TaskSlot, TaskState
from consumer.task_text import slot_line, task_line
from consumer.terminal import command, console, progress, shown
from consumer.times import iso
from handlers.tasks import SCHEDULED, Askable, BadArguments, TaskKind, asked_for


@click.group(cls=Group)
def tasks() -> None:
    """Look at what is done beside objects, and do it, or do it again."""


@tasks.command("list", cls=Command, examples=("lakedrop tasks list", "lakedrop tasks list --json"))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def show(invocation: Invocation, as_json: bool) -> int:
    """Show all tasks: those that are not done first."""
    return asyncio.run(_show(invocation.existing(), as_json=as_json))


async def _show(settings: Settings, *, as_json: bool) -> int:
    async with open_app(settings) as app:
        rows = await app.task_rows.all()
        now = iso(app.clock())
        kinds = [kind for _, kind in _kinds(app)]
    states = [TaskState.of(row) for row in sorted(rows, key=lambda row: row.next_at is None)]
    _print(states, now, as_json=as_json)
    if as_json:
        return exits.OK
    out = console()
    if not states:
        out.print("There are no tasks.")
    if kinds:
        out.print(f"\nTo be run by their names ({command(settings, 'tasks', 'run', 'NAME', '--arg', 'NAME=VALUE')}):")
    for kind in kinds:
        out.print(Text.assemble((kind.name, "bold"), _signature(kind), f"  {kind.summary}"), soft_wrap=True)
    return exits.OK


@tasks.command(
    cls=Command,
    examples=(
        "lakedrop tasks run kaggle.enrich_pending --arg batch_size=10",
        "lakedrop tasks run kaggle.seed_initial --arg force_redownload=true --queue",
    ),
)
@click.argument("name")
@click.option(
    "--arg", "given", multiple=True, metavar="NAME=VALUE", help="What the task is told; several may be given."
)
@click.option(
    "--queue", is_flag=True, help="Leave it to the service: it stands in RabbitMQ's queue lakedrop.work.tasks."
)
@click.option("--json", "as_json", is_flag=True, help="How it stands afterwards, for machines.")
@click.pass_obj
def run(invocation: Invocation, name: str, given: tuple[str, ...], queue: bool, as_json: bool) -> int:
    """
    Do a task by its NAME, here and now, after whatever else its handler does elsewhere.

    Exit code 75 when it is not done yet: the service goes on with it.
    """
    faults = [word for word in given if "=" not in word]
    if faults:
        raise CommandError(f"--arg {faults[0]}: write NAME=VALUE", exits.USAGE)
    arguments = dict(word.split("=", 1) for word in given)
    return asyncio.run(_run(invocation.existing(), name, arguments, queue=queue, as_json=as_json))


async def _run(settings: Settings, name: str, arguments: dict[str, str], *, queue: bool, as_json: bool) -> int:
    signals = Signals(settings)
    async with open_app(settings, serves=queue) as app:
        handler = _handler_of(app, name, arguments)
        task = asked_for(name, arguments, app.new_id())
        if queue:
            await app.tasks.ask(handler, [task], "command")
            state = TaskState.of(await app.task_rows.one(handler, task))
        else:
            with progress() as bar:
                bar.add_task(name, total=None)
                state = TaskState.of(await signals.unless_stopped(app.tasks.do(handler, task)))
        now = iso(app.clock())
    _print([state], now, as_json=as_json)
    return exits.OK if queue or state.state == "done" else exits.TEMPORARY


def _handler_of(app: App, name: str, arguments: Mapping[str, str]) -> str:
    """Return the handler that has a task, having looked at the arguments."""
    kinds = {kind.name: handler for handler, kind in _kinds(app)}
    if name not in kinds:
        known = f"there are: {', '.join(kinds)}" if kinds else "no route has a handler with such tasks"
        raise CommandError(f"no task {name!r}; {known}", exits.USAGE)
    handler = app.handlers[kinds[name]]
    assert isinstance(handler, Askable)  # noqa: S101 (`_kinds` looked)
    try:
        handler.check_arguments(name, arguments)
    except BadArguments as error:
        raise CommandError(error.message, exits.USAGE) from error
    return kinds[name]


@tasks.command(cls=Command, examples=("lakedrop tasks schedule", "lakedrop tasks schedule --json"))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def schedule(invocation: Invocation, as_json: bool) -> int:
    """Show what is done at intervals, when it was done last, and when it is done next."""
    return asyncio.run(_schedule(invocation.existing(), as_json=as_json))


async def _schedule(settings: Settings, *, as_json: bool) -> int:
    async with open_app(settings) as app:
        rows = {(row.handler, row.name): row for row in await app.task_rows.all() if row.target == SCHEDULED}
        found = [TaskSlot.of(kind, rows.get((handler, kind.name)), app.clock()) for handler, kind in _kinds(app)]
    if as_json:
        click.echo(json.dumps([asdict(slot) for slot in found], indent=2, ensure_ascii=False))
        return exits.OK
    out = console()
    for slot in found:
        out.print(slot_line(slot), soft_wrap=True)
    if not found:
        out.print("Nothing is done at intervals.")
    return exits.OK


def _kinds(app: App) -> list[tuple[str, TaskKind]]:
    """Return the handlers' names with what they can be asked for."""
    return [
        (name, kind)
        for name, handler in sorted(app.handlers.items())
        if isinstance(handler, Askable)
        for kind in handler.task_kinds()
    ]


def _signature(kind: TaskKind) -> str:
    return f"({', '.join(f'{name}: {what}' for name, what in kind.arguments.items())})"


@tasks.command(cls=Command, examples=("lakedrop tasks retry", "lakedrop tasks retry lakehouse.customers --json"))
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--json", "as_json", is_flag=True, help="How they stand afterwards, for machines.")
@click.pass_obj
def retry(invocation: Invocation, targets: tuple[str, ...], as_json: bool) -> int:
    """
    Do tasks again now, done or not: after Superset lost its datasets, say.

    TARGET is what a task is about, namespace.table; without one, all. Exit code 75 when one is still not done.
    """
    return asyncio.run(_retry(invocation.existing(), targets, as_json=as_json))


async def _retry(settings: Settings, targets: tuple[str, ...], *, as_json: bool) -> int:
    signals = Signals(settings)
    async with open_app(settings) as app:
        with progress() as bar:
            bar.add_task("doing tasks", total=None)
            await signals.unless_stopped(app.tasks.again(targets))
        rows = [row for row in await app.task_rows.all() if not targets or row.target in targets]
        now = iso(app.clock())
    states = [TaskState.of(row) for row in rows]
    _print(states, now, as_json=as_json)
    missing = sorted(set(targets) - {state.target for state in states})
    if missing:
        console(error=True).print(f"no task is about {', '.join(map(shown, missing))}", soft_wrap=True)
        return exits.FAILED
    left = sum(state.state != "done" for state in states)
    if left:
        reason = f"{numbered(left, 'task')} not done. What they need: {command(settings, 'check')}"
        console(error=True).print(reason, soft_wrap=True)
    return exits.TEMPORARY if left else exits.OK


def _print(states: list[TaskState], now: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(state) for state in states], indent=2, ensure_ascii=False))
        return
    out = console()
    for state in states:
        out.print(Text.assemble((shown(state.target), "bold"), "  ", task_line(state, now)), soft_wrap=True)
