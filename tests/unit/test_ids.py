"""Random ids."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

from consumer.ids import RandomIds


def test_ids_are_random_uuids_and_never_repeat_whichever_thread_asks() -> None:
    new_id = RandomIds()
    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(lambda _: new_id(), range(5000)))

    assert len(set(ids)) == 5000
    assert {uuid.UUID(one).version for one in ids} == {4}
    assert all(str(uuid.UUID(one)) == one for one in ids)
