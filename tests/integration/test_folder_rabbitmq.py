"""Folders as the store, RabbitMQ as the broker: a file that is dropped goes through the queues to its table."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from consumer.workitem import INGRESS, work_queue
from tests.acceptance.conftest import Home, Service, _restored_logs, home, serve
from tests.acceptance.real import settings_text
from tests.rabbit import name_of, set_policies
from tests.stack.rabbitmq import RabbitMQ
from tests.waits import wait_for

__all__ = ("_restored_logs", "home", "serve")

pytestmark = [pytest.mark.needs("rabbitmq"), pytest.mark.slow]

WORK = work_queue("csv_to_iceberg")


def passed(server: RabbitMQ, vhost: str, queue: str) -> int:
    """Count the messages that were published to a queue since the server started."""
    found: dict[str, Any] = server.call("GET", f"queues/{quote(name_of(vhost), safe='')}/{queue}")
    count: int = found.get("message_stats", {}).get("publish", 0)
    return count


def ids(home: Home) -> list[int]:
    return [row["id"] for row in home.query("SELECT id FROM orders ORDER BY id")]


def test_file_that_is_dropped_goes_through_rabbitmq_to_its_table_also_when_that_was_away(
    rabbitmq: RabbitMQ, vhost: str, home: Home, serve: Callable[..., Service]
) -> None:
    set_policies(rabbitmq, vhost)
    settings = {"broker_url": vhost, "listen": "", "sweep_seconds": 3600.0, "max_commit_latency": 0.2}
    home.configure(settings_text({**settings, "log_format": "json"}))
    service = serve()
    service.until("sweep.finished")  # from now on nothing but events tells of files

    home.drop("orders/a.csv", "id,name\n1,anna\n")
    service.until("delivery.settled", unit="orders/a.csv", outcome="done")
    assert wait_for(lambda: passed(rabbitmq, vhost, INGRESS) and passed(rabbitmq, vhost, WORK))
    assert ids(home) == [1]

    rabbitmq.stop()
    assert not rabbitmq.running
    service.until("consumer.lost", queue=WORK)
    home.drop("orders/b.csv", "id,name\n2,bert\n")
    service.until("part.waits", part="folder events")
    rabbitmq.start()
    service.until("delivery.settled", unit="orders/b.csv", outcome="done")
    assert wait_for(lambda: passed(rabbitmq, vhost, INGRESS) and passed(rabbitmq, vhost, WORK))
    assert ids(home) == [1, 2]
    assert [line["reason"] for line in service.lines() if line["event"] == "sweep.wanted"] == ["start"]
    assert service.end(signal.SIGTERM) == 0
