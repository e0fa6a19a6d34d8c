"""Tests of what a service depends on, each with the command that repairs it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consumer.app import App, open_app
from consumer.cli import is_home
from consumer.exits import CommandError
from consumer.settings import CONFIG_FILE, Settings
from consumer.terminal import command, shell, shown
from consumer.workitem import INGRESS
from handlers.contract import TransientError

LISTED = 5
"""Files that cannot be objects which are named; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one test."""

    name: str
    ok: bool
    message: str
    """What was found, or what is wrong."""
    repair: str | None = None
    """What to do about it: a command where there is one."""

    def json(self) -> dict[str, Any]:
        """Return the result for machines."""
        return asdict(self)


async def checks(settings: Settings) -> AsyncIterator[Check]:
    """Yield the results as they come; what stands on a failed one is left out. The settings are known to be good."""
    there = settings.home / CONFIG_FILE
    source = str(there) if there.is_file() else "defaults and environment"
    buckets = ", ".join(sorted({route.bucket for route in settings.routes}))
    yield Check(name="settings", ok=True, message=f"{source}; {len(settings.routes)} routed: {buckets}")
    home = _home(settings)
    yield home
    if not home.ok:
        return
    async with AsyncExitStack() as stack:
        try:
            app = await stack.enter_async_context(open_app(settings))
        except CommandError as error:
            message, _, repair = str(error).partition("\n")
            yield Check(name="opening", ok=False, message=message, repair=repair or None)
            return
        yield await _tested("ledger", app.units.counts, _counted)
        yield await _tested("store", app.store.ping, lambda _: str(settings.buckets))
        yield await _tested("broker", lambda: app.broker.depth(INGRESS), lambda _: "in this process")
        for name, handler in app.handlers.items():
            yield await _tested(f"handler {name}", handler.ping, lambda _: "its sink answers")
        warehouse = settings.home / "warehouse"
        if warehouse.is_dir():
            yield _writable("warehouse", warehouse)
        yield await _objects(app)


def _home(settings: Settings) -> Check:
    home = settings.home
    if not home.is_dir():
        return Check(name="home", ok=False, message=f"{home} is not there", repair=command(settings, "run"))
    if not is_home(home) and any(home.iterdir()):
        return Check(name="home", ok=False, message=f"{home} holds other things: name another folder with --home")
    return _writable("home", home)


def _writable(name: str, folder: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        repair = f'chown -R "$USER" {shell(str(folder))}'
        return Check(name=name, ok=False, message=f"{folder}: {error.strerror}", repair=repair)
    return Check(name=name, ok=True, message=f"{folder} can be written")


def _counted(counts: list[tuple[str, str, str, int]]) -> str:
    return f"{sum(number for *_, number in counts):,} units"


async def _tested(name: str, test: Callable[[], Awaitable[Any]], found: Callable[[Any], str]) -> Check:
    """Run a test; what it raises says what is wrong and what to do."""
    try:
        result = await test()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what the person asked for)
        return Check(name=name, ok=False, message=str(error) or type(error).__name__)
    return Check(name=name, ok=True, message=found(result))


async def _objects(app: App) -> Check:
    """List all buckets: files that cannot be objects make themselves known."""
    listed = 0
    faults: list[str] = []
    for bucket in sorted({route.bucket for route in app.router.routes}):
        try:
            async for _ in app.store.list(bucket):
                listed += 1
        except TransientError as error:
            faults.append(error.message)
    if faults:
        return Check(name="objects", ok=False, message=f"{listed:,} listed; {'; '.join(faults)}")
    if not app.unlisted:
        return Check(name="objects", ok=True, message=f"{listed:,} listed")
    named = "; ".join(f"{shown(path)}: {reason}" for (_, path), reason in list(app.unlisted.items())[:LISTED])
    bucket = next(iter(app.unlisted))[0]
    number = len(app.unlisted)
    return Check(
        name="objects",
        ok=False,
        message=f"{number:,} {'file' if number == 1 else 'files'} cannot be objects: {named}",
        repair=shell("find", str(app.settings.buckets / bucket), "-ls"),
    )
