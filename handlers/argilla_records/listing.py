"""All records of a dataset, as its database has them: page by page, and proven to be all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import orjson

from handlers.argilla_records.api import Api
from handlers.contract import TransientError

FIRST: Final = 100
MOST: Final = 1000
"""Records of a page (argilla-server 2.8, `LIST_DATASET_RECORDS_LIMIT_LE`)."""

PAGE_BYTES: Final = 4 << 20
"""What a page should have; its records may be of any size."""

TIMES: Final = 3
"""Argilla sorts by the time of writing, which records may share: a page may then repeat what another one left out."""


async def read_all(
    api: Api,
    dataset: str,
    put: Callable[[Sequence[dict[str, Any]]], Awaitable[None]],
    known: Callable[[], Awaitable[int]],
) -> int:
    """
    Hand over all records with their suggestions and responses; return how many there are.

    Args:
        api: Of the server.
        dataset: Its id.
        put: Takes a page.
        known: Tells how many different records it was given so far.

    Raises:
        TransientError: Pages did not agree, as somebody wrote meanwhile.
    """
    include = "suggestions,responses"
    for _ in range(TIMES):
        offset, limit = 0, FIRST
        while True:
            page = await api.get(f"datasets/{dataset}/records", {"offset": offset, "limit": limit, "include": include})
            items, total = page["items"], page["total"]
            if items:
                await put(items)
            offset += len(items)
            if len(items) < limit:
                break
            size = max(len(orjson.dumps(items)) // len(items), 1)
            limit = min(max(PAGE_BYTES // size, 1), MOST)
        if total == offset and await known() == total:
            return int(total)
    raise TransientError(f"{api.place}: somebody writes to the dataset while its records are listed")
