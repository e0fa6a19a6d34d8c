"""What runs by itself in `lakedrop run`, beside the workers: notifications, sweeps, upkeep, the status page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from consumer.app import App
from consumer.asked_sweeps import AskedSweeps
from consumer.dead_letters import DeadLetters
from consumer.events import ObjectEvent
from consumer.events import encode as encode_event
from consumer.folder_events import FolderEvents
from consumer.folder_store import FolderStore
from consumer.ingress import Ingress
from consumer.kept_up import kept_up
from consumer.ledger_checkpoints import WantedSweeps
from consumer.metrics import Metrics
from consumer.sweep_schedule import sweep_by_schedule
from consumer.upkeep import maintained
from consumer.web import Web
from consumer.workitem import INGRESS, Message
from handlers.contract import TransientError

log = structlog.get_logger("lakedrop.service")

PRUNE_SECONDS: Final = 3600.0
"""How often history past its time is deleted."""

FOLDER_EVENTS: Final = "folder events"


class Service:
    """
    Everything that serves a home.

    Args:
        app: Made with `serves`, and not opened yet: servers that are away are waited for.
        metrics: What the status page shows of them; None for no page.
    """

    def __init__(self, app: App, metrics: Metrics | None = None) -> None:
        self.app = app
        self._metrics = metrics
        self._sweep_wanted = asyncio.Event()
        self._stop_watching = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def serve(self, stop: asyncio.Event, started: Callable[[], None] = lambda: None) -> None:
        """
        Start everything and serve until `stop`; the other `stop` is the caller's.

        Args:
            stop: Ends it.
            started: Called when everything runs.

        Raises:
            CommandError: Something is in the way that waiting does not mend.
            Exception: A part ended by itself.
        """
        starting = asyncio.create_task(self.start(), name="start")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                started()
                await self.app.running.until(stop)
        finally:
            starting.cancel()
            stopping.cancel()
            with suppress(asyncio.CancelledError):
                await starting

    async def start(self) -> None:
        """
        Open the app and start all parts, and want a sweep: changes may have gone unnoticed.

        Raises:
            CommandError: Something is in the way that waiting does not mend.
        """
        app, settings, running = self.app, self.app.settings, self.app.running
        if self._metrics is not None and settings.listen:
            token = None if settings.listen_token is None else settings.listen_token.get_secret_value()
            running.start(
                "status page", Web(app, self._metrics, address=settings.listen, token=token).run, lasting=True
            )
        await kept_up("ledger", app.open_ledger)
        await kept_up("handlers", app.make_handlers)
        await kept_up("broker", app.open_broker)
        app.start_workers()
        running.start("ingress", Ingress(app.broker, app.looker, app.hints).run)
        if settings.store == "folder":
            await self._watch()
        elif settings.broker_url is None:
            log.warning(
                "run.sweeps_only",
                reason="no broker_url: nobody tells of objects that arrive in S3",
                look_every=settings.sweep_seconds,
            )
        seconds = settings.sweep_seconds
        wanted = WantedSweeps(app.ledger)
        if settings.store == "folder" or settings.broker_url is None:
            self._want_sweep("", "start")
        else:  # replicas that start together are content with one
            for bucket in sorted({route.bucket for route in app.router.routes}):
                await kept_up("ledger", partial(wanted.ask, bucket, "start"))
        asked = AskedSweeps(wanted, app.schedule, partial(app.sweeper.sweep, next_in=seconds), longest_seconds=seconds)
        running.start("sweeps asked for", asked.run)
        running.start("sweeps on demand", self._sweep_on_demand)
        running.start("sweeps", lambda: sweep_by_schedule(app.sweeper, app.schedule, seconds))
        running.start("pruning", lambda: app.schedule.every("prune", PRUNE_SECONDS, self._prune))
        running.start("tasks", app.tasks.run)
        running.start("task queue", lambda: app.task_queue.run(app.tasks.take))
        running.start("maintenance", lambda: maintained(app.schedule, settings.maintenance_seconds, app.handlers))

    async def stop(self, drain_seconds: float, *, hurry: asyncio.Event | None = None) -> None:
        """Take no more folder events, then stop as `App.stop` does."""
        self._stop_watching.set()
        await self.app.stop(drain_seconds, hurry=hurry)

    async def stop_watching(self) -> None:
        """Take no more folder events; sweeps go on."""
        self._stop_watching.set()
        if self._watching is not None:
            await self._watching

    async def _watch(self) -> None:
        watcher = FolderEvents(
            self.app.settings.buckets,
            emit=self._notify,
            sweep=self._want_sweep,
            clock=self.app.clock,
            run=self.app.lanes.on("store"),
        )
        self._watching = self.app.running.start(FOLDER_EVENTS, lambda: watcher.run(self._stop_watching), lasting=True)
        await watcher.ready.wait()

    async def _notify(self, event: ObjectEvent) -> None:
        headers = {"key": f"{event.bucket}/{event.key}", "reason": "folder"}
        message = Message(encode_event(event), "application/json", headers, self.app.new_id())
        await kept_up(FOLDER_EVENTS, lambda: self.app.broker.publish(INGRESS, message))

    def _want_sweep(self, bucket: str, reason: str) -> None:
        log.info("sweep.wanted", bucket=bucket, reason=reason)
        self._sweep_wanted.set()

    async def _sweep_on_demand(self) -> None:
        seconds = self.app.settings.sweep_seconds
        while True:
            await self._sweep_wanted.wait()
            self._sweep_wanted.clear()
            try:
                await self.app.sweeper.sweep(next_in=seconds)
            except TransientError as error:
                log.warning("sweep.failed", reason=error.message, next_try_in=seconds)
            except Exception:
                log.exception("sweep.failed", next_try_in=seconds)

    async def _prune(self) -> None:
        app = self.app
        await app.history.prune(app.clock() - round(app.settings.history_days * 86_400_000))
        if isinstance(app.store, FolderStore):
            await app.store.prune()
        if app.settings.broker_url is not None:
            await DeadLetters(app.broker, app.units, app.queues).prune()
