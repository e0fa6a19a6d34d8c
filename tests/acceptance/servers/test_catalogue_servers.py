"""The catalogue on real servers: files dropped into MinIO, tasks in RabbitMQ, the table in PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from tests.acceptance.conftest import Home, Service
from tests.acceptance.real import BUCKET, Real
from tests.catalogue_site import write_meta_kaggle
from tests.catalogue_sources import Sources, kaggle_dataset, serving_sources
from tests.stack.fixtures import Finder
from tests.stack.minio import Minio
from tests.stack.rabbitmq import RabbitMQ
from tests.waits import wait_for

pytestmark = pytest.mark.xdist_group("servers")

FOLDER = "catalogue/kaggle/"
USERS = [{"Id": "7", "UserName": "anna"}]
QUEUE = "lakedrop.work.tasks"

NEVER = ("hf.fetch_datasets", "zenodo.fetch_datasets", "kaggle.fetch_latest", "cleanup.check_broken_links")
EVERY = ", ".join([*(f'"{name}" = 0' for name in NEVER), '"kaggle.enrich_pending" = 1'])


@pytest.fixture
def sources() -> Iterator[Sources]:
    """Kaggle on this machine; the service has its credentials."""
    with serving_sources() as sources, patch.dict(os.environ, {"KAGGLE_USERNAME": "anna", "KAGGLE_KEY": "secret"}):
        yield sources


@pytest.fixture
def real(home: Home, sources: Sources, vhost: str, database: str, find_server: Finder) -> Real:
    minio = find_server(Minio)
    minio.send_events(vhost, queue_dir=False)
    minio.start()
    real = Real(home, minio, vhost, database, {})
    real.s3("create_bucket", Bucket=BUCKET)
    real.configure(
        f"""
grace_seconds = 0.1
[[routes]]
name = "catalogue"
bucket = "{BUCKET}"
prefix = "catalogue/"
handler = "dataset_catalogue"
[routes.options]
embedder = "none"
pace_seconds = 0
endpoints = {{ kaggle = "{sources.url}" }}
every = {{ {EVERY} }}
""",
        catalog=None,
        catalogue_url=database,
    )
    return real


def test_dropped_files_seed_and_tasks_wait_as_messages_and_run_on_schedule(
    real: Real, sources: Sources, rabbitmq: RabbitMQ, serve: Callable[..., Service], tmp_path: Path
) -> None:
    files = write_meta_kaggle(tmp_path / "files", {1: "Iris", 2: "Wine", 3: "Stocks"}, Users=USERS)
    sources.kaggle = [
        kaggle_dataset(number, f"anna/{slug}") for number, slug in enumerate(("iris", "wine", "stocks"), 1)
    ]
    sources.faults.extend([None, "limited"])
    sources.retry_after = "1"
    queue = f"{urlsplit(real.broker_url).path[1:]}/{QUEUE}"

    queued = real.home.lakedrop("tasks", "run", "cleanup.remove_old_cache", "--arg", "max_age_days=3", "--queue")
    assert queued.returncode == 0, queued.stderr
    (message,) = rabbitmq.call("POST", f"queues/{queue}/get", count=1, ackmode="ack_requeue_true", encoding="auto")
    assert "cleanup.remove_old_cache" in message["payload"], message

    service = serve()
    service.until("run.started")
    real.announce()
    real.put_many({f"{FOLDER}{path.name}": path.read_text() for path in sorted(files.iterdir())})
    service.until("delivery.settled", unit=FOLDER, outcome="done")

    def enriched() -> dict[str, Any] | None:
        counts: dict[str, Any] = real.home.json("catalogue", "status", "--json").get("kaggle", {})
        return counts if counts.get("enriched") == 3 else None

    wait_for(enriched)
    assert sources.fired == ["limited"]
    assert sources.paths() == ["GetDataset"] * 4, "each once, and the one that was limited again"

    def done() -> bool:
        ended = {task["name"] for task in real.home.json("tasks", "list", "--json") if task["done_at"] is not None}
        return ended >= {"cleanup.remove_old_cache", "kaggle.enrich_pending"}

    wait_for(lambda: done() or None)
    assert service.end() == 0
    assert real.home.lakedrop("verify").returncode == 0
