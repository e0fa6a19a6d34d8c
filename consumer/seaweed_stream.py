"""The stream of changes that a SeaweedFS filer offers by gRPC: `SubscribeMetadata`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import grpc

from consumer.seaweed_pb2 import SubscribeMetadataRequest, SubscribeMetadataResponse

METHOD: Final = "/filer_pb.SeaweedFiler/SubscribeMetadata"

SILENT_SECONDS: Final = 30.0
"""An idle filer sends a heartbeat every 5 s; after six that did not come, the connection leads nowhere any more."""

_OPTIONS: Final = (
    # A file of 100,000 chunks is one message of some 10 MB, and would be refused again at every new try.
    ("grpc.max_receive_message_length", 1 << 30),
    # For filers that send no heartbeats. Go's servers hang up on whoever pings more often than every 5 minutes.
    ("grpc.keepalive_time_ms", 330_000),
    # Filers that share nothing but an address must not be taken for one another.
    ("grpc.use_local_subchannel_pool", 1),
)


class StreamBroken(Exception):
    """The filer cannot be reached, or the stream has ended; what happened meanwhile may never be told."""


class FilerStream:
    """
    Subscribes to the changes of one filer, again and again.

    Args:
        address: `host:port` of gRPC; by default its HTTP port + 10000.
        path_prefix: Only paths that begin so are told of.
        client_id: Tells this process from all others; the filer ends an older stream of one client for a newer one.
        silent_seconds: See `SILENT_SECONDS`.
    """

    def __init__(
        self, address: str, *, path_prefix: str, client_id: int, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        self.address = address
        self._path_prefix = path_prefix
        self._client_id = client_id
        self._silent_seconds = silent_seconds
        self._epoch = 0

    async def follow(self, since_ns: int) -> AsyncGenerator[Sequence[SubscribeMetadataResponse], None]:
        """
        Yield the changes since a moment, some at a time, and what happens from then on; none is a heartbeat.

        Those of the moment itself may be among them. Times of different files may go back by some milliseconds.

        Raises:
            StreamBroken: It ended, failed or fell silent, as all of them do one day.
        """
        self._epoch += 1  # the filer refuses a client that it takes for still connected, unless this grew
        request = SubscribeMetadataRequest(
            client_name="lakedrop",
            path_prefix=self._path_prefix,
            since_ns=since_ns,
            client_id=self._client_id,
            client_epoch=self._epoch,
            client_supports_batching=True,
            client_supports_idle_heartbeat=True,
        )
        async with grpc.aio.insecure_channel(self.address, options=_OPTIONS) as channel:
            subscribe = channel.unary_stream(
                METHOD,
                request_serializer=SubscribeMetadataRequest.SerializeToString,
                response_deserializer=SubscribeMetadataResponse.FromString,
            )
            call = subscribe(request)
            beats = False
            try:
                while True:
                    async with asyncio.timeout(self._silent_seconds if beats else None):
                        response = await call.read()
                    if not isinstance(response, SubscribeMetadataResponse):  # but grpc.aio.EOF
                        raise StreamBroken("the filer ended the stream")
                    changes = _unpacked(response)
                    beats = beats or not changes
                    yield changes
            except grpc.aio.AioRpcError as error:
                raise StreamBroken(f"{error.code().name}: {error.details()}") from error
            except TimeoutError as error:
                raise StreamBroken(f"not even a heartbeat for {self._silent_seconds:g} s") from error
            finally:
                call.cancel()


def _unpacked(response: SubscribeMetadataResponse) -> list[SubscribeMetadataResponse]:
    """Return the changes of a response: its own, and those batched with it."""
    own = [response] if response.HasField("event_notification") else []
    return [*own, *(change for batched in response.events for change in _unpacked(batched))]
