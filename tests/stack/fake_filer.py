"""
A filer that keeps to SeaweedFS's protocol where it hurts: a gRPC server with a log of changes.

What is in memory is served from its moment on, what was flushed from after it. Idle streams get heartbeats. A client
that comes again must have grown its epoch. Killed, it forgets what was not flushed. Changes may come late: behind
others with later times. As in SeaweedFS 4.44, measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc

from consumer.seaweed_pb2 import (
    Entry,
    EventNotification,
    FuseAttributes,
    SubscribeMetadataRequest,
    SubscribeMetadataResponse,
)
from tests.stack import ports

HEARTBEAT_SECONDS = 0.05
"""The real one's are 5 s apart."""


@dataclass
class FakeFiler:
    """Made, then started; `address` is where it listens from then on."""

    heartbeats: bool = True
    batches: bool = False
    """Send what waits in one response, as filers may to clients that say they can."""
    holding: bool = False
    """Tell nothing for now: changes are made faster than they are told of."""
    now: int = 1_795_219_400_000_000_000
    """Nanoseconds since 1970; every change takes a microsecond."""
    log: list[SubscribeMetadataResponse] = field(default_factory=list)
    flushed: int = 0
    """So many changes of the log are on disk."""
    requests: list[SubscribeMetadataRequest] = field(default_factory=list)
    refused: int = 0
    """Subscriptions whose epoch had not grown."""
    lost: int = 0
    """Changes that a kill made it forget."""
    beats: int = 0
    """Heartbeats sent."""
    address: str = ""

    def __post_init__(self) -> None:
        self._server: grpc.aio.Server | None = None
        self._news = asyncio.Condition()
        self._epochs: dict[int, int] = {}

    async def start(self) -> None:
        """Listen, at the same address every time."""
        self._server = grpc.aio.server()
        subscribe = grpc.unary_stream_rpc_method_handler(
            self._subscribe,
            request_deserializer=SubscribeMetadataRequest.FromString,
            response_serializer=SubscribeMetadataResponse.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler("filer_pb.SeaweedFiler", {"SubscribeMetadata": subscribe})
        self._server.add_generic_rpc_handlers((handler,))
        self.address = self.address or f"{ports.LOOPBACK}:{ports.reserve()}"
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        """End all streams; what is in memory is flushed."""
        self.flushed = len(self.log)
        await self._end()

    async def kill(self) -> None:
        """End all streams; what was not flushed is forgotten, though its objects are there."""
        self.lost += len(self.log) - self.flushed
        del self.log[self.flushed :]
        await self._end()

    async def break_streams(self) -> None:
        """Cut the connections; the filer itself goes on."""
        await self._end()
        await self.start()

    async def _end(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
        self._epochs.clear()

    # What happens to files

    async def put(self, path: str, *, etag: str = "e", late_ns: int = 0) -> SubscribeMetadataResponse:
        """Write a file, whose change has a time `late_ns` before that of the change before it."""
        entry = Entry(
            name=path.rpartition("/")[2],
            attributes=FuseAttributes(file_size=3),
            extended={"Seaweed-X-Amz-ETag": etag.encode()},
        )
        return await self.tell(path, EventNotification(new_entry=entry), late_ns=late_ns)

    async def delete(self, path: str, *, is_directory: bool = False) -> SubscribeMetadataResponse:
        """Remove a file."""
        entry = Entry(name=path.rpartition("/")[2], is_directory=is_directory)
        return await self.tell(path, EventNotification(old_entry=entry))

    async def tell(self, path: str, notification: EventNotification, *, late_ns: int = 0) -> SubscribeMetadataResponse:
        """Append a change to the log."""
        self.now += 1000
        directory = path.rpartition("/")[0]
        if notification.HasField("new_entry") and not notification.new_parent_path:
            notification.new_parent_path = directory
        change = SubscribeMetadataResponse(
            directory=directory, event_notification=notification, ts_ns=self.now - late_ns
        )
        async with self._news:
            self.log.append(change)
            self._news.notify_all()
        return change

    # What is told of it

    async def _subscribe(
        self,
        request: SubscribeMetadataRequest,
        context: grpc.aio.ServicerContext[SubscribeMetadataRequest, SubscribeMetadataResponse],
    ) -> AsyncIterator[SubscribeMetadataResponse]:
        self.requests.append(request)
        if self._epochs.get(request.client_id, -1) >= request.client_epoch:
            self.refused += 1
            await context.abort(grpc.StatusCode.INTERNAL, f"duplicated subscription detected {request.client_id}")
        self._epochs[request.client_id] = request.client_epoch
        told = 0
        while self._epochs.get(request.client_id) == request.client_epoch:
            upto = told if self.holding else len(self.log)
            news = [self.log[at] for at in range(told, upto) if self._is_asked_for(at, request)]
            told = upto
            if self.batches and len(news) > 1:
                first, *others = news
                yield SubscribeMetadataResponse(
                    directory=first.directory,
                    event_notification=first.event_notification,
                    ts_ns=first.ts_ns,
                    events=others,
                )
            else:
                for change in news:
                    yield change
            async with self._news:
                if len(self.log) > told and not self.holding:
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await self._news.wait()
                except TimeoutError:
                    if self.heartbeats:
                        yield SubscribeMetadataResponse(ts_ns=self.now + 10**12)  # no event: no time to go by
                        self.beats += 1

    def _is_asked_for(self, at: int, request: SubscribeMetadataRequest) -> bool:
        change = self.log[at]
        after = change.ts_ns > request.since_ns or (change.ts_ns == request.since_ns and at >= self.flushed)
        name = change.event_notification.old_entry.name or change.event_notification.new_entry.name
        paths = f"{change.directory}/{name}", f"{change.event_notification.new_parent_path}/{name}"
        return after and any(path.startswith(request.path_prefix) for path in paths)
