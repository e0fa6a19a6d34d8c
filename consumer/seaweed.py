"""
The bridge: carries what a SeaweedFS filer tells of its files to the ingress queue, as notifications of objects.

SeaweedFS cannot send events of a bucket to RabbitMQ safely, and forgets the last minute of its log of changes when it
is killed. So whenever the stream begins, anew or for the first time, a sweep of the routed buckets is asked for: what
was written before is found by listing, what is written from then on is told of.
"""

from __future__ import annotations

import asyncio
import os.path
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import structlog

from consumer.broker_port import Broker
from consumer.events import ObjectEvent, encode
from consumer.ledger_checkpoints import Checkpoints, WantedSweeps
from consumer.router import Router
from consumer.seaweed_events import BUCKETS, object_events, removed_bucket
from consumer.seaweed_pb2 import SubscribeMetadataResponse
from consumer.seaweed_progress import Progress
from consumer.seaweed_stream import FilerStream, StreamBroken
from consumer.workitem import INGRESS, Message

log = structlog.get_logger("lakedrop.bridge")

START_NS: Final = 600_000_000_000
"""How far back the first stream begins: the filer's clock may be behind ours by this much."""

SAVE_SECONDS: Final = 1.0
"""How often the checkpoint is written; a killed bridge tells of this much twice."""

BEAT_MS: Final = 10_000
"""How often the checkpoint is written while nothing happens: `lakedrop check` sees by its age whether we follow."""

TELL_SECONDS: Final = 60.0
"""How often a line of the log says how far it is."""

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 15.0
"""Seconds before something that failed is tried again; the delay doubles."""

MILLISECOND_NS: Final = 1_000_000

CHECKPOINT: Final = "seaweedfs "
"""Begins the names of checkpoints; the address of the filer follows."""


def path_prefix(router: Router) -> str:
    """Return the longest beginning that the paths of all routed buckets share; the filer compares one."""
    paths = [f"{BUCKETS}/{route.bucket}" for route in router.routes]
    return os.path.commonprefix(paths)  # noqa: RUF071 (the filer compares characters, not folders)


@dataclass(slots=True)
class Counts:
    """What has been done since the start."""

    changes: int = 0
    """Of files, as the filer told of them."""
    repeated: int = 0
    """Told of again after a new beginning."""
    published: int = 0
    """Events of routed objects that the broker has confirmed."""
    streams: int = 0
    """Begun, that is: the filer has answered."""


class Bridge:
    """
    Carries changes over.

    Args:
        stream: Of the filer.
        router: Only what a route takes is carried.
        checkpoints: Where the bridge keeps how far it has come.
        wanted: Where it asks for sweeps.
        clock: Epoch milliseconds.
    """

    def __init__(
        self,
        *,
        stream: FilerStream,
        broker: Broker,
        router: Router,
        checkpoints: Checkpoints,
        wanted: WantedSweeps,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self.counts = Counts()
        self._stream = stream
        self._broker = broker
        self._router = router
        self._checkpoints = checkpoints
        self._wanted = wanted
        self._clock = clock
        self._new_id = new_id
        self._name = CHECKPOINT + stream.address
        self._buckets = sorted({route.bucket for route in router.routes})
        self._progress = Progress(0)
        self._saved = 0
        self._saved_at = 0
        self._follows = False
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Carry changes until cancelled; what fails is tried again."""
        await self._insist("reading the checkpoint", self._resume)
        parts = [
            asyncio.create_task(self._following(), name="stream"),
            asyncio.create_task(self._saving(), name="checkpoint"),
            asyncio.create_task(self._telling(), name="progress"),
        ]
        try:
            await asyncio.gather(*parts)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def drain(self, seconds: float) -> None:
        """After `run`: wait for the confirms under way, and leave the checkpoint."""
        await self._progress.finish(seconds)
        try:
            await self._save()
        except Exception as error:  # noqa: BLE001 (the last second is told of again)
            log.warning("bridge.checkpoint_left", error=str(error))

    async def _resume(self) -> None:
        position = await self._checkpoints.get(self._name)
        self._progress = Progress(self._clock() * MILLISECOND_NS - START_NS if position is None else position)
        self._saved = position or 0

    async def _following(self) -> None:
        delay = FIRST_DELAY
        while True:
            begun = self.counts.streams
            try:
                await self._follow()
            except StreamBroken as error:
                self._follows = False
                if self.counts.streams > begun:
                    delay = FIRST_DELAY
                log.warning("bridge.stream_broken", filer=self._stream.address, error=str(error), next_try_in=delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    async def _follow(self) -> None:
        """Follow one stream until it breaks."""
        since = self._progress.since
        begun = False
        async with aclosing(self._stream.follow(since)) as stream:
            async for changes in stream:
                if not begun:
                    begun = True
                    await self._begin(since)
                for change in changes:
                    await self._take(change)

    async def _begin(self, since: int) -> None:
        """From here on everything is told; what was lost before can be found by listing only."""
        self.counts.streams += 1
        self._follows = True
        log.info("bridge.following", filer=self._stream.address, since_ns=since, buckets=self._buckets)
        for bucket in self._buckets:
            await self._want_sweep(bucket, "the stream of the filer began")

    async def _want_sweep(self, bucket: str, reason: str) -> None:
        async def ask() -> None:
            await self._wanted.ask(bucket, reason)

        await self._insist("asking for a sweep", ask)

    async def _take(self, change: SubscribeMetadataResponse) -> None:
        """Begin to publish a change, once there is room; a change that was seen before is on its way already."""
        self.counts.changes += 1
        notification = change.event_notification
        name = notification.old_entry.name or notification.new_entry.name
        if not self._progress.first_time(change.ts_ns, f"{change.directory}/{name}"):
            self.counts.repeated += 1
            return
        bucket = removed_bucket(change.directory, notification)
        if bucket in self._buckets:
            await self._want_sweep(bucket, "the bucket was removed or renamed")
        events = [
            event
            for event in object_events(change.directory, notification, at=change.ts_ns // MILLISECOND_NS)
            if self._router.match(event.bucket, event.key) is not None
        ]
        await self._progress.room()
        publishing = asyncio.create_task(self._publish(events), name="publish") if events else None
        self._progress.add(change.ts_ns, publishing)

    async def _publish(self, events: Sequence[ObjectEvent]) -> None:
        for event in events:
            headers = {"key": f"{event.bucket}/{event.key}", "reason": "seaweedfs"}
            message = Message(encode(event, "seaweedfs"), "application/json", headers, self._new_id())

            async def publish(message: Message = message) -> None:
                await self._broker.publish(INGRESS, message)

            await self._insist("publishing", publish)
            self.counts.published += 1

    async def _saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            self._progress.advance()
            self._progress.forget()
            await self._insist("writing the checkpoint", self._save)

    async def _save(self) -> None:
        position = self._progress.position
        now = self._clock()
        if position != self._saved or (self._follows and now - self._saved_at >= BEAT_MS):
            await self._checkpoints.put(self._name, position)
            self._saved, self._saved_at = position, now

    async def _telling(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            behind = self._clock() - self._progress.position // MILLISECOND_NS
            log.info(
                "bridge.progress",
                changes=self.counts.changes,
                published=self.counts.published,
                waiting=self._progress.waiting,
                last_change_seconds_ago=round(behind / 1000),
            )

    async def _insist(self, what: str, action: Callable[[], Awaitable[None]]) -> None:
        """Do something until it succeeds; one line of the log when it begins to fail, one when it is over."""
        delay = FIRST_DELAY
        while True:
            try:
                await action()
            except Exception as error:  # noqa: BLE001 (broker and ledger may be down in many ways, and come back)
                if what not in self._failing:
                    self._failing.add(what)
                    log.warning("bridge.waiting", doing=what, error=str(error) or type(error).__name__)
            else:
                if what in self._failing:
                    self._failing.discard(what)
                    log.info("bridge.recovered", doing=what)
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)
