"""versitygw 1.8: S3 over a folder, with events to RabbitMQ in a dialect of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from tests.stack import cache, ports
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.s3 import ACCESS_KEY, REGION, SECRET_KEY, S3Server, address, is_healthy
from tests.stack.server import Elsewhere


class Versitygw(S3Server):
    """One gateway; it needs extended attributes of the file system of its folder."""

    name = "versitygw"
    variable = "LAKEDROP_TEST_VERSITYGW_URL"

    @classmethod
    def is_installed(cls) -> bool:
        return cache.binary("versitygw") is not None

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        return cls(Elsewhere(cls.variable), *address(url))

    @classmethod
    def native(cls, folder: Path) -> Self:
        port = ports.reserve()
        data, versions = folder / "data", folder / "versions"
        data.mkdir()
        versions.mkdir()
        process = Process(
            cls.name,
            [
                *(str(cache.binary("versitygw")), "--port", f"{LOOPBACK}:{port}", "--access", ACCESS_KEY),
                *("--secret", SECRET_KEY, "--region", REGION, "--quiet", "--keep-alive", "--health", "/health"),
                *("posix", "--versioning-dir", str(versions), str(data)),
            ],
            log=folder / "versitygw.log",
            ready=lambda: is_healthy(f"http://{LOOPBACK}:{port}/health"),
            environment={"HOME": str(folder), "GOMAXPROCS": "2"},
        )
        return cls(process, f"http://{LOOPBACK}:{port}")

    def send_events(self, vhost: str, *, exchange: str = "lakedrop.events", routing_key: str = "versitygw") -> None:
        """
        Send the events of all buckets, from the next start on.

        Once RabbitMQ has gone away it sends nothing more, though RabbitMQ comes back: start it again.

        Args:
            vhost: AMQP URL; RabbitMQ must run when this starts.
            exchange: must exist.
            routing_key: of all events.
        """
        self.instance.configure(
            {
                "VGW_EVENT_RABBITMQ_URL": vhost,
                "VGW_EVENT_RABBITMQ_EXCHANGE": exchange,
                "VGW_EVENT_RABBITMQ_ROUTING_KEY": routing_key,
            }
        )
