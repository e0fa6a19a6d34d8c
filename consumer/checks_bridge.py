"""Test of the bridge from SeaweedFS, which is a process of its own: by what it leaves in the ledger."""

from __future__ import annotations

from typing import Final

from consumer.app import App
from consumer.check import Check, checked
from consumer.ledger_checkpoints import Checkpoints
from consumer.s3_store import S3Store
from consumer.seaweed import BEAT_MS, CHECKPOINT
from consumer.terminal import command
from handlers.contract import TransientError

SILENT_MS: Final = 6 * BEAT_MS
"""Age of a checkpoint whose bridge follows no more; a filer that is restarted takes less."""


class BridgeSilent(TransientError):
    """No bridge follows the filer."""


async def bridge_check(app: App) -> Check | None:
    """Say whether events of SeaweedFS are carried; None for other stores. Store and ledger are known to answer."""
    settings = app.settings
    if not isinstance(app.store, S3Store) or not app.store.is_seaweed:
        return None
    filer = settings.bridge_filer

    async def followed() -> str:
        ages = await Checkpoints(app.ledger).ages(CHECKPOINT)
        if filer is not None:
            ages = {name: age for name, age in ages.items() if name == CHECKPOINT + filer}
        if not ages:
            if filer is None:
                return (
                    "SeaweedFS sends no events itself, and no bridge has been here: unless its filer publishes them, "
                    f"files are found by sweeps, every {settings.sweep_seconds:g} s"
                )
            raise BridgeSilent(f"none has followed the filer {filer} yet")
        name, age = min(ages.items(), key=lambda one: one[1])
        place = name.removeprefix(CHECKPOINT)
        if age > SILENT_MS:
            raise BridgeSilent(f"none has followed the filer {place} for {age / 1000:,.0f} s")
        return f"follows the filer {place}"

    repair = f"start it: {command(settings, 'bridge', 'seaweedfs')}; if it runs, its log says what it waits for"
    return await checked("bridge", followed, str, repair)
