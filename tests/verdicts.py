"""What a handler says when it counts back one unit."""

from __future__ import annotations

from handlers.contract import Handler, Receipt, Unit, Verdict


async def verified(handler: Handler, unit: Unit, receipt: Receipt) -> Verdict:
    """Have one unit counted."""
    (verdict,) = (await handler.verify(unit.bucket, {unit.name: receipt})).values()
    return verdict
