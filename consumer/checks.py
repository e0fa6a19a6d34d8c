"""Tests of what a service depends on, each with what repairs it; all are made, whichever fail."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from consumer.app import App, made_app
from consumer.broker_check import topology_faults
from consumer.broker_port import BrokerRefused, BrokerUnavailable, BrokerUntrusted
from consumer.check import Check, checked
from consumer.checks_bridge import bridge_check
from consumer.checks_store import folder_check, store_checks
from consumer.cli import is_home
from consumer.kinds_csv import ask_superset, ask_trino, try_warehouse
from consumer.kinds_esco import grace_fault
from consumer.ledger_postgres import is_refusal
from consumer.settings import CONFIG_FILE, Settings
from consumer.terminal import command, shell
from consumer.workitem import INGRESS

SKEW: Final = 5_000
"""Milliseconds that this machine's clock may differ from the database's unmentioned; nothing depends on it."""


async def checks(settings: Settings) -> AsyncIterator[Check]:
    """Yield the results as they come; what stands on a failed one is left out. The settings are known to be good."""
    there = settings.home / CONFIG_FILE
    source = str(there) if there.is_file() else "defaults and environment"
    buckets = ", ".join(sorted({route.bucket for route in settings.routes}))
    yield Check(name="settings", ok=True, message=f"{source}; {len(settings.routes)} routed: {buckets}")
    if (grace := grace_fault(settings)) is not None:
        message, repair = grace
        yield Check(name="grace", ok=False, message=message, repair=repair)
    home = _home(settings)
    yield home
    if not home.ok:
        return
    async with made_app(settings, serves=True) as app:
        ledger = await _ledger(app)
        yield ledger
        async for result in store_checks(app):
            yield result
        if ledger.ok and settings.broker_url is not None and (bridge := await bridge_check(app)) is not None:
            yield bridge
        async for result in _broker(app):
            yield result
        async for result in _handlers(app):
            yield result
        if settings.superset_url:
            repair = (
                "start Superset (docker compose --profile superset up -d), or correct the superset_ settings; files go "
                "into tables all the same, and it is told of them later"
            )
            yield await checked("superset", partial(ask_superset, settings), str, repair)
        if settings.trino_url:
            repair = (
                "start Trino (docker compose up -d trino), or correct the trino_ settings; files go into tables anyway"
            )
            yield await checked("trino", partial(asyncio.to_thread, ask_trino, settings), str, repair)
        if settings.store == "folder" and ledger.ok:
            yield await folder_check(app)


def _home(settings: Settings) -> Check:
    home = settings.home
    if not home.is_dir():
        return Check(name="home", ok=False, message=f"{home} is not there", repair=command(settings, "run"))
    if settings.ledger_url is None and not is_home(home) and any(home.iterdir()):
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


async def _ledger(app: App) -> Check:
    async def counted() -> str:
        await app.open_ledger()
        units = f"{sum(number for *_, number in await app.units.counts()):,} units"
        skew = app.ledger.clock() - app.clock()
        return units if abs(skew) < SKEW else f"{units}; its clock differs from this machine's by {skew / 1000:+.0f} s"

    if app.settings.ledger_url is not None:
        place = _place(app.settings.ledger_url.get_secret_value())

        def repair(error: Exception) -> str:
            if is_refusal(error):
                return "correct user, password or database in ledger_url"
            return "start PostgreSQL (docker compose up -d postgres), or correct ledger_url"

        return await checked("ledger", counted, lambda units: f"{place}, {units}", repair)
    aside = f"if it is damaged: move it aside, then {command(app.settings, 'ledger', 'rebuild')}"
    return await checked("ledger", counted, lambda units: units, aside)


async def _broker(app: App) -> AsyncIterator[Check]:
    settings = app.settings
    if settings.broker_url is None:
        yield await checked("broker", lambda: app.broker.depth(INGRESS), lambda _: "in this process")
        return
    url = settings.broker_url.get_secret_value()
    broker = await checked("broker", app.broker.ping, lambda _: _place(url), _broker_repair)
    yield broker
    if not broker.ok:
        return
    try:
        run = command(settings, "run")
        faults = await topology_faults(url, settings.broker_management_url, app.queues, run=run)
    except BrokerUnavailable as error:
        repair = "correct broker_management_url, or give the user of broker_url the tag `management`"
        yield Check(name="queues", ok=False, message=error.message, repair=repair)
        return
    for fault in faults:
        yield Check(name="queues", ok=False, message=fault.message, repair=fault.repair)
    if not faults:
        yield Check(name="queues", ok=True, message="with their exchanges and policies as they should be")


def _broker_repair(error: Exception) -> str:
    if isinstance(error, BrokerRefused):
        return "correct user, password or vhost in broker_url"
    if isinstance(error, BrokerUntrusted):
        return "name the authority that signed its certificate in broker_url: ?cafile=/path/to/ca.pem"
    return "start RabbitMQ (docker compose up -d rabbitmq), or correct broker_url"


async def _handlers(app: App) -> AsyncIterator[Check]:
    settings, usable = app.settings, True
    for name in sorted({route.handler for route in app.router.routes}):

        async def answers(name: str = name) -> None:
            await app.maker.make(name)
            await app.handlers[name].ping()

        sink = await checked(f"handler {name}", answers, lambda _: "its sink answers", partial(app.maker.repair, name))
        usable = usable and sink.ok
        yield sink
    if not settings.catalog:
        if (settings.home / "warehouse").is_dir():
            yield _writable("warehouse", settings.home / "warehouse")
    elif usable:
        yield await checked(
            "warehouse",
            partial(try_warehouse, app.handlers),
            lambda place: f"{place} can be written" if place else "the catalog knows it, once there is a table",
            "let this user write it, or correct `warehouse` and the s3 properties of `catalog`",
        )


def _place(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
