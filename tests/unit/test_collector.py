"""How Python collects garbage while units are worked on."""

from __future__ import annotations

import gc

from consumer.collector import THRESHOLDS, sparing_what_stays


async def test_what_was_made_before_is_spared_and_all_is_as_it_was_afterwards() -> None:
    before, spared = gc.get_threshold(), gc.get_freeze_count()

    async with sparing_what_stays():
        assert gc.get_freeze_count() > spared
        assert gc.get_threshold() == THRESHOLDS

    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
