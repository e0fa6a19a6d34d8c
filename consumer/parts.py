"""Which ledger, store and broker the settings name. Nothing connects here: each part does when it is opened or used."""

from __future__ import annotations

from collections.abc import Callable

from consumer.broker import RabbitBroker
from consumer.broker_port import Broker
from consumer.folder_store import FolderStore
from consumer.lanes import Lanes
from consumer.ledger import Ledger
from consumer.ledger_engine import open_engine
from consumer.ledger_etags import FolderEtags
from consumer.local_broker import LocalBroker
from consumer.own_hints import OwnHints
from consumer.settings import Settings
from consumer.store import Store

LEDGER_FILE = "ledger.db"


def make_ledger(settings: Settings, lanes: Lanes, *, clock: Callable[[], int], new_id: Callable[[], str]) -> Ledger:
    """Return the ledger, to be opened: PostgreSQL, or SQLite in the home."""
    url = None if settings.ledger_url is None else settings.ledger_url.get_secret_value()
    return Ledger(
        open_engine(url, settings.home / LEDGER_FILE, lanes.on("ledger")),
        clock=clock,
        new_id=new_id,
        lease_ms=round(settings.lease_seconds * 1000),
        grace_ms=round(settings.grace_seconds * 1000),
    )


def make_store(
    settings: Settings,
    etags: FolderEtags,
    lanes: Lanes,
    *,
    clock: Callable[[], int],
    report: Callable[[str, str, str], None],
) -> Store:
    """Return the store; `etags` and `report` are for folders, see `FolderStore`."""
    if settings.store == "s3":
        # Imported only here: botocore takes longer than everything else that a command on folders needs.
        from consumer.s3_store import S3Store  # noqa: PLC0415

        return S3Store.of(settings)
    return FolderStore(settings.buckets, etags, clock=clock, run=lanes.on("store"), report=report)


def make_broker(settings: Settings, *, serves: bool) -> Broker:
    """
    Return the broker: RabbitMQ, or queues in this process.

    Args:
        settings: Of the home.
        serves: The process is a service. A command works its own hints off, and leaves only dead letters on RabbitMQ.
    """
    if settings.broker_url is None:
        return LocalBroker()
    shared = RabbitBroker(settings.broker_url.get_secret_value())
    return shared if serves else OwnHints(shared)
