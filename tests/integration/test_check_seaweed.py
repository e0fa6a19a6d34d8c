"""`lakedrop check` where SeaweedFS is the store, whose events a bridge brings."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest

from consumer import exits
from tests.acceptance.conftest import Home, _restored_logs, home
from tests.acceptance.real import settings_text
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.weed import Weed
from tests.waits import wait_for

__all__ = ("_restored_logs", "home")

pytestmark = [pytest.mark.slow, pytest.mark.needs("weed", "postgres", "rabbitmq")]


@pytest.fixture
def on_weed(home: Home, weed: Weed, vhost: str, database: str, rabbitmq: RabbitMQ) -> Home:
    """A home on SeaweedFS, as `lakedrop notify apply` leaves it."""
    weed.start()
    home.configure(
        settings_text(
            {
                "store": "s3",
                "s3_endpoint": weed.url,
                "s3_access_key": weed.access_key,
                "s3_secret_key": weed.secret_key,
                "broker_url": vhost,
                "broker_management_url": rabbitmq.management,
                "ledger_url": database,
                "listen": "",
            },
        )
    )
    applied = home.lakedrop("notify", "apply")
    assert applied.returncode == exits.OK, applied
    return home


@contextmanager
def bridging(home: Home, weed: Weed) -> Iterator[None]:
    """Run a bridge as a person does."""
    words = [sys.executable, "-m", "consumer", "bridge", "seaweedfs", "--filer", weed.filer, "--home", str(home.path)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bridge:
        try:
            yield
        finally:
            bridge.kill()


def found(home: Home) -> dict[str, dict[str, Any]]:
    """Run `check`, whatever it finds; return its results by name."""
    return {result["name"]: result for result in json.loads(home.lakedrop("check", "--json").stdout)}


async def age_by(database: str, milliseconds: int) -> None:
    """Make what the bridge left older."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("UPDATE checkpoints SET updated_at = updated_at - $1", milliseconds)
    finally:
        await connection.close()


def test_events_of_seaweedfs_are_a_matter_of_the_bridge_and_no_notification_is_missed(
    on_weed: Home, weed: Weed, database: str
) -> None:
    before = found(on_weed)
    assert before["bucket csv-uploads"]["ok"]
    assert not any(name.startswith("events") for name in before)
    assert before["bridge"]["ok"]
    assert "no bridge has been here" in before["bridge"]["message"]

    def follows() -> dict[str, Any] | None:
        bridge = found(on_weed)["bridge"]
        return bridge if "follows" in bridge["message"] else None

    with bridging(on_weed, weed):
        assert wait_for(follows) == {
            "name": "bridge",
            "ok": True,
            "message": f"follows the filer {weed.filer}",
            "repair": None,
        }

    asyncio.run(age_by(database, 120_000))
    after = found(on_weed)["bridge"]
    assert (after["ok"], f"none has followed the filer {weed.filer} for 12" in after["message"]) == (False, True)
    assert "lakedrop bridge seaweedfs" in after["repair"]


def test_bridge_that_the_settings_name_and_that_never_came_is_missed(on_weed: Home) -> None:
    config = on_weed.path / "lakedrop.toml"
    config.write_text(f'bridge_filer = "127.0.0.1:1"\n{config.read_text()}')

    bridge = found(on_weed)["bridge"]

    assert (bridge["ok"], bridge["message"]) == (False, "none has followed the filer 127.0.0.1:1 yet")
