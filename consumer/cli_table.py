"""`lakedrop table maintain`: commands about whole tables."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict

import click
from rich.console import Console

from consumer import exits
from consumer.app import open_app
from consumer.cli import Command, Group, Invocation
from consumer.cli_rebuild import rebuild
from consumer.live import numbered
from consumer.settings import Settings
from consumer.signals import Signals
from consumer.terminal import command, console, progress, shown
from consumer.upkeep import LEASE, upkeep
from handlers.upkeep import Upkeep


@click.group(cls=Group)
def table() -> None:
    """Look after the tables."""


table.add_command(rebuild)


@table.command(
    cls=Command,
    examples=(
        "lakedrop table maintain",
        "lakedrop table maintain --dry-run",
        "lakedrop table maintain lakehouse.customers --json",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--dry-run", is_flag=True, help="Change nothing; say how the tables stand and what is due.")
@click.option("--json", "as_json", is_flag=True, help="What was done, for machines.")
@click.pass_obj
def maintain(invocation: Invocation, names: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """
    Compact tables, expire snapshots, delete unneeded files.

    A running service does this by itself; the command is for homes that are served by `run --once`, and for looking.
    NAME is namespace.table; without one, all tables. Exit code 1 when a table could not be looked after.
    """
    return asyncio.run(_maintain(invocation.existing(), names, dry_run=dry_run, as_json=as_json))


async def _maintain(settings: Settings, names: tuple[str, ...], *, dry_run: bool, as_json: bool) -> int:
    signals = Signals(settings)
    done: list[Upkeep] = []
    async with open_app(settings) as app:
        with progress() as bar:
            task = bar.add_task("waiting for another process that maintains tables", total=None)

            async def work() -> None:
                async for one in upkeep(app.handlers, names, dry_run=dry_run):
                    bar.update(task, description=f"looked after {shown(one.target)}")
                    done.append(one)

            async def take_turn() -> None:
                async with app.schedule.turn(LEASE):
                    bar.update(task, description="looking after the tables")
                    await work()

            await signals.unless_stopped(work() if dry_run else take_turn())
    if as_json:
        click.echo(json.dumps([asdict(one) for one in done], indent=2, ensure_ascii=False))
    else:
        out = console()
        for one in done:
            _print(out, one, dry_run=dry_run)
        if not done:
            out.print("Nothing was due.")
        elif dry_run:
            out.print(f"Nothing was changed. What is due: {command(settings, 'table', 'maintain', *names)}")
    return exits.FAILED if any(one.error for one in done) else exits.OK


def _print(out: Console, one: Upkeep, *, dry_run: bool) -> None:
    out.print(shown(one.target), style="bold")
    lines = _due(one.counts) if dry_run else _done(one.counts)
    for line in (*(lines or ["nothing is due"] if one.error is None else lines), *one.notes):
        out.print(f"  {line}", soft_wrap=True)
    if one.error is not None:
        out.print(f"  not finished: {shown(one.error)}", style="red", soft_wrap=True)


def _done(counts: Mapping[str, int]) -> list[str]:
    lines = []
    if counts.get("compactions"):
        lines.append(
            f"{numbered(counts.get('data_files_removed', 0), 'data file')} became"
            f" {counts.get('data_files_added', 0):,}, {numbered(counts.get('delete_files_removed', 0), 'delete file')}"
            f" became {counts.get('delete_files_added', 0):,}; {numbered(counts.get('rows', 0), 'row')} moved"
        )
    if counts.get("snapshots_expired"):
        lines.append(f"{numbered(counts['snapshots_expired'], 'snapshot')} expired")
    if counts.get("files_deleted"):
        lines.append(f"{numbered(counts['files_deleted'], 'file')} deleted, {_size(counts.get('bytes_deleted', 0))}")
    if counts.get("folders_deleted"):
        lines.append(f"{numbered(counts['folders_deleted'], 'folder')} of dead processes deleted")
    waiting = counts.get("files_unreferenced", 0) - counts.get("files_deleted", 0)
    if waiting > 0:
        lines.append(f"{numbered(waiting, 'file')} that no snapshot needs wait for their time")
    return lines


def _due(counts: Mapping[str, int]) -> list[str]:
    lines = []
    if counts.get("data_files"):
        lines.append(
            f"{numbered(counts['data_files'], 'data file')} ({counts.get('small_files', 0):,} small),"
            f" {numbered(counts.get('delete_files', 0), 'delete file')}, {_size(counts.get('bytes', 0))};"
            f" {counts.get('deleted_rows', 0):,} of {numbered(counts.get('rows', 0), 'row')} deleted"
        )
    if counts.get("to_rewrite"):
        lines.append(f"due: {numbered(counts['to_rewrite'], 'data file')} to be rewritten together")
    if counts.get("to_merge"):
        lines.append(f"due: the delete files of {numbered(counts['to_merge'], 'data file')} to be merged")
    if counts.get("files_unreferenced"):
        lines.append(
            f"{numbered(counts['files_unreferenced'], 'file')} that no snapshot needs,"
            f" {_size(counts.get('bytes_unreferenced', 0))}; {counts.get('to_delete', 0):,} to be deleted now"
        )
    elif counts.get("to_delete"):
        lines.append(f"{numbered(counts['to_delete'], 'folder')} of dead processes to be deleted now")
    return lines


def _size(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB"
