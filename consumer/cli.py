"""
The command line: what all commands share, and where each is found.

Commands live in `cli_*.py` and are imported when used, so that `lakedrop --help` does not wait for the libraries of the
tables. Whatever goes wrong ends here as one or two lines and an exit code of `exits.py`.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import structlog

from consumer import __version__, exits, logs
from consumer.permission import refuse_unwritable
from consumer.settings import CONFIG_FILE, DEFAULT_HOME, Settings, load_settings
from consumer.settings_faults import ConfigurationError
from consumer.settings_routes import RouteSettings
from consumer.terminal import command
from handlers.contract import HandlerError


class Place(NamedTuple):
    """Where a command is, and what it does in one line."""

    module: str
    name: str
    summary: str


COMMANDS: Final[Mapping[str, Place]] = {
    "run": Place("consumer.cli_run", "run", "Serve a home: ingest whatever lands in its buckets."),
    "demo": Place("consumer.cli_demo", "demo", "Show it in half a minute, on sample files in ./lakedrop-demo."),
    "status": Place("consumer.cli_status", "status", "Show what is done, waiting and failing."),
    "why": Place("consumer.cli_status", "why", "Tell the story of one object, and what to do about it."),
    "rejects": Place("consumer.cli_rejects", "rejects", "Show the rejected records and rescued cells of an object."),
    "query": Place("consumer.cli_query", "query", "Read the tables with SQL."),
    "try": Place("consumer.cli_query", "try_file", "Show what would become of one file; nothing is ingested."),
    "plan": Place("consumer.cli_plan", "plan", "Show what would become of objects below PREFIX; writes nothing."),
    "sweep": Place("consumer.cli_work", "sweep", "Compare buckets and ledger now, and work off the difference."),
    "verify": Place("consumer.cli_verify", "verify", "Count back what tables hold, against every receipt."),
    "replay": Place("consumer.cli_work", "replay", "Do chosen units again; says what it would do unless --yes."),
    "health": Place("consumer.cli_health", "health", "Tell whether the service on this machine answers."),
    "dead": Place("consumer.cli_dead", "dead", "Look at what failed, do it again, and forget it."),
    "check": Place("consumer.cli_check", "check", "Test settings and dependencies, one line each."),
    "ledger": Place("consumer.cli_work", "ledger", "Look after the ledger."),
    "notify": Place("consumer.cli_notify", "notify", "Set, show or remove the bucket notifications of the routes."),
    "bridge": Place("consumer.cli_bridge", "bridge", "Carry events of a store that cannot send them to RabbitMQ."),
    "broker": Place("consumer.cli_broker", "broker", "Look after RabbitMQ."),
    "esco": Place("consumer.cli_esco", "esco", "Look into the ESCO releases that Weaviate holds, and search them."),
    "tasks": Place("consumer.cli_tasks", "tasks", "Look at what is done beside objects, and do it again."),
    "catalogue": Place("consumer.cli_catalogue", "catalogue", "Search the catalogue of datasets."),
    "argilla": Place("consumer.cli_argilla", "argilla", "Bring records into Argilla once, as a CronJob does."),
    "table": Place("consumer.cli_table", "table", "Look after the tables."),
}


@dataclass(slots=True)
class Invocation:
    """What was said about all commands. The word nearest to the command wins."""

    home: Path | None = None
    debug: bool = False

    def settings(self, *, quiet: bool = True, silent: bool = False) -> Settings:
        """
        Read the settings, and have log lines written as they say.

        Args:
            quiet: Log from warnings on unless a level was set: the command's own output is what a person waits for.
            silent: Log nothing that can be mended unless a level was set: the command tells of every fault itself.

        Raises:
            ConfigurationError: One line per fault.
        """
        try:
            settings = load_settings(self.home)
        except ConfigurationError as error:
            raise ConfigurationError([*error.faults, *_option_faults(error.routes)]) from error
        usual = "critical" if silent else "warning" if quiet else settings.log_level
        level = settings.log_level if "log_level" in settings.model_fields_set else usual
        logs.configure(settings.log_format, "debug" if self.debug else level)
        return settings

    def existing(self, *, quiet: bool = True) -> Settings:
        """
        Read the settings of a home that is there; nothing is made in a mistyped folder.

        Raises:
            ConfigurationError: One line per fault.
            CommandError: There is no such home, or this user may not write it.
        """
        settings = self.settings(quiet=quiet)
        if settings.ledger_url is None and not is_home(settings.home):
            made_by = command(settings, "run")
            raise exits.CommandError(f"no home at {settings.home}: `{made_by}` makes one", exits.CONFIGURATION)
        if settings.home.is_dir():
            refuse_unwritable(settings.home)
        return settings


def _option_faults(routes: tuple[RouteSettings, ...]) -> list[str]:
    """Return what only the handlers can tell about routes, so that a person reads of all faults at once."""
    if not routes:
        return []
    # Imported only here, as it is for the libraries of the tables, which no other command waits for.
    from consumer.kinds import builtin_kinds  # noqa: PLC0415
    from consumer.routes import build_router  # noqa: PLC0415

    try:
        build_router(Settings.model_construct(routes=routes), builtin_kinds())
    except ConfigurationError as error:
        return error.faults
    return []


def is_home(folder: Path) -> bool:
    """Tell whether a folder has ever been served, or is meant to be."""
    return any((folder / name).exists() for name in (CONFIG_FILE, "buckets", "ledger.db"))


def _set_home(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Invocation).home = value


def _set_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Invocation).debug = True


USUAL_HOME: Final = f"$LAKEDROP_HOME, else ./{DEFAULT_HOME}"


def _shared_options(home: str = USUAL_HOME) -> list[click.Option]:
    """Return the options every command has, before and after its name; `home` is what is told as the default."""
    return [
        click.Option(
            ["--home"],
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            expose_value=False,
            callback=_set_home,
            help=f"Folder of this installation. [default: {home}]",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_set_debug,
            help="Log everything, and show where an error comes from.",
        ),
    ]


CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Command(click.Command):
    """
    A command of lakedrop.

    Args:
        examples: Command lines that work, shown at the end of its help.
        home: What its help tells as the home when none is named.
    """

    def __init__(self, *args: Any, examples: Sequence[str], home: str = USUAL_HOME, **kwargs: Any) -> None:
        super().__init__(*args, **{"context_settings": CONTEXT, **kwargs})
        self.examples = tuple(examples)
        self.params += _shared_options(home)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed."""
        del ctx
        with formatter.section("Examples"):
            formatter.write("".join(f"  {example}\n" for example in self.examples))


class Group(click.Group):
    """A group of commands with the shared options."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"context_settings": CONTEXT, **kwargs})
        self.params += _shared_options()


class Root(Group):
    """All commands; each is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, the ones a newcomer needs first."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        found: click.Command = getattr(importlib.import_module(place.module), place.name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in COMMANDS.items()])


@click.group(
    cls=Root, epilog="Exit codes: 0 done, 1 units failed, 64 usage, 69 unavailable, 75 try later, 78 configuration."
)
@click.version_option(__version__, prog_name="lakedrop")
def cli() -> None:
    """
    Drop a file in a bucket; it lands in the right system, exactly once, and you can prove it.

    Begin with `lakedrop demo`, or with `lakedrop run`. Every command explains itself with --help.
    """


def main(arguments: list[str] | None = None, *, entry: click.Command = cli, name: str = "lakedrop") -> int:
    """
    Run the command line; returns the exit code.

    Args:
        arguments: Its words; None: those of this process.
        entry: What they are said to.
        name: What a person types for that.
    """
    logs.configure(level="warning")
    invocation = Invocation()
    try:
        code = entry.main(arguments, prog_name=name, standalone_mode=False, obj=invocation)
        sys.stdout.flush()
    except Exception as error:  # noqa: BLE001 (the end of the line)
        if invocation.debug:
            traceback.print_exc()
        return _explain(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except SystemExit:
        return exits.OK  # click ends so when nobody reads our output any more
    return code if isinstance(code, int) else exits.OK


def _explain(error: Exception) -> int:
    """Tell a person in one or two lines what went wrong; return the exit code."""
    code = exits.SOFTWARE
    match error:
        case click.Abort():
            code = exits.INTERRUPTED
        case click.ClickException():
            error.show()
            code = exits.USAGE
        case ConfigurationError():
            for fault in error.faults:
                _say(fault)
            code = exits.CONFIGURATION
        case exits.CommandError():
            _say(str(error))
            code = error.code
        case HandlerError():
            _say(error.message)
            code = exits.UNAVAILABLE
        case OSError() if error.filename is not None:
            _say(f"{error.filename}: {error.strerror}")
            code = exits.UNAVAILABLE
        case _:
            structlog.get_logger("lakedrop").critical("crashed", exc_info=error)
            _say(f"unexpected {type(error).__name__}: {error}. This is a fault of lakedrop; the log above shows where.")
    return code


def _say(line: str) -> None:
    click.echo(f"lakedrop: {line}", err=True)
