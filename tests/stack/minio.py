"""MinIO, with or without events to RabbitMQ."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from tests.stack import cache, ports
from tests.stack.container import Container
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.s3 import ACCESS_KEY, SECRET_KEY, S3Server, address, is_healthy
from tests.stack.server import Elsewhere, Instance


def target(name: str) -> str:
    """Return what a bucket's notification names as its queue."""
    return f"arn:minio:sqs::{name}:amqp"


TARGET = target("LAKEDROP")

SETTINGS = {
    "MINIO_ROOT_USER": ACCESS_KEY,
    "MINIO_ROOT_PASSWORD": SECRET_KEY,
    "MINIO_BROWSER": "off",
    "MINIO_UPDATE": "off",
    "GOMAXPROCS": "2",
    "GOMEMLIMIT": "1GiB",
}


class Minio(S3Server):
    """
    One server with one folder as its disk.

    Args:
        queue: folder that keeps its events while RabbitMQ is away, if it is told to keep them.
    """

    name = "minio"
    variable = "LAKEDROP_TEST_MINIO_URL"
    image = "minio/minio:RELEASE.2025-09-07T16-13-09Z"

    def __init__(self, instance: Instance, url: str, access_key: str, secret_key: str, queue: str) -> None:
        super().__init__(instance, url, access_key, secret_key)
        self._queue = queue

    @classmethod
    def is_installed(cls) -> bool:
        return cache.binary("minio") is not None

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        return cls(Elsewhere(cls.variable), *address(url), "")

    @classmethod
    def native(cls, folder: Path) -> Self:
        port = ports.reserve()
        (folder / "home").mkdir()
        process = Process(
            cls.name,
            [str(cache.binary("minio")), *_words(port), str(folder / "data")],
            log=folder / "minio.log",
            # `/minio/health/ready` answers before buckets can be made.
            ready=lambda: is_healthy(f"http://{LOOPBACK}:{port}/minio/health/cluster"),
            environment={"HOME": str(folder / "home"), **SETTINGS},
        )
        return cls(process, f"http://{LOOPBACK}:{port}", ACCESS_KEY, SECRET_KEY, str(folder / "queue"))

    @classmethod
    def contained(cls, image: str) -> Self:
        port = ports.reserve()
        container = Container(
            cls.name,
            image,
            [*_words(port), "/data"],
            ready=lambda: is_healthy(f"http://{LOOPBACK}:{port}/minio/health/cluster"),
            environment=SETTINGS,
        )
        return cls(container, f"http://{LOOPBACK}:{port}", ACCESS_KEY, SECRET_KEY, "/queue")

    def send_events(
        self,
        vhost: str,
        *,
        exchange: str = "lakedrop.events",
        queue_dir: bool,
        sync: bool = True,
        name: str = "LAKEDROP",
    ) -> None:
        """
        Offer buckets the target `target(name)`, by default `TARGET`; before the first start.

        Args:
            vhost: AMQP URL; RabbitMQ need not run yet.
            exchange: a durable topic exchange, which MinIO declares itself if it is not there.
            queue_dir: keep events on disk until RabbitMQ confirms them, which delays each up to 3 s; without,
                events are lost while RabbitMQ is away.
            sync: answer a PUT only after its event was sent; of all targets.
            name: of the target; there may be several.
        """
        settings = {
            "ENABLE": "on",
            "URL": vhost,
            "EXCHANGE": exchange,
            "EXCHANGE_TYPE": "topic",
            "ROUTING_KEY": "minio",
            "DURABLE": "on",
            "DELIVERY_MODE": "2",
            "PUBLISHING_CONFIRMS": "on",
            **({"QUEUE_DIR": self._queue, "QUEUE_LIMIT": "1000000"} if queue_dir else {}),
        }
        self.instance.configure(
            {f"MINIO_NOTIFY_AMQP_{key}_{name}": value for key, value in settings.items()}
            | {"MINIO_API_SYNC_EVENTS": "on" if sync else "off"}
        )


def _words(port: int) -> list[str]:
    return ["server", "--quiet", "--address", f"{LOOPBACK}:{port}"]
