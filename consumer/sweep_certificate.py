"""The certificate of completeness: for every routed object, which receipt holds it, or why none does."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from consumer.ledger_views import Told, Units
from consumer.look import Looker
from consumer.protocol import Status
from consumer.store import Store
from consumer.workitem import UnitKey
from handlers.contract import StoredObject

PAGE: Final = 1000
"""Objects whose rows are read together."""


class _Listed(NamedTuple):
    key: str
    etag: str
    unit: UnitKey


@dataclass
class Certificate:
    """What was certified."""

    objects: Counter[str] = field(default_factory=Counter)
    """Routed objects by status, see `standing`."""
    digest: str = ""
    """SHA-256 over `bucket NUL key NUL etag NUL status NUL target LF` of all objects in byte order."""

    def json(self) -> Mapping[str, Any]:
        """Return it for machines."""
        return {"objects": dict(sorted(self.objects.items())), "digest": self.digest}


async def certify(
    store: Store, looker: Looker, units: Units, buckets: Sequence[str], write: Callable[[Mapping[str, Any]], None]
) -> Certificate:
    """
    Compare what the store lists with the ledger, object by object; nothing is hinted.

    Args:
        store: Lists the objects.
        looker: Knows whose they are.
        units: Their rows.
        buckets: In byte order.
        write: Takes a line for each routed object, in byte order.

    Raises:
        TransientError: The store did not list all there is.
    """
    made = Certificate()
    digest = sha256()
    for bucket in buckets:
        async for page in _pages(store, looker, bucket):
            rows = await _rows(units, page)
            versions = await _versions(looker, page)
            for listed in page:
                row = rows.get(listed.unit)
                status = standing(row, versions.get(listed.unit, listed.etag))
                target = row.target or "" if row is not None and status == Status.DONE else ""
                made.objects[status] += 1
                digest.update(f"{bucket}\0{listed.key}\0{listed.etag}\0{status}\0{target}\n".encode())
                write(
                    {
                        "bucket": bucket,
                        "key": listed.key,
                        "etag": listed.etag,
                        "status": status,
                        "target": target or None,
                        "error_class": None if row is None else row.error_class,
                        "error": None if row is None else row.error,
                    }
                )
    made.digest = digest.hexdigest()
    return made


def standing(row: Told | None, version: str) -> str:
    """
    Say how an object stands whose unit has this version now.

    A status of its row; or `unknown`: it has none; `held`: it is being worked on; `changed`: the row tells of another
    version. Only `done` means that the sink holds it.
    """
    if row is None:
        return "unknown"
    if row.lease_token is not None:
        return "held"
    if row.observed_etag != version:
        return "changed"
    if row.status == Status.DONE and (row.applied_etag != version or row.wake_at is not None):
        return Status.PENDING.value
    return row.status


async def _pages(store: Store, looker: Looker, bucket: str) -> AsyncIterator[Sequence[_Listed]]:
    page: list[_Listed] = []
    found: StoredObject
    async for found in store.list(bucket):
        belongs = looker.unit_of(bucket, found.key)
        if belongs is None:
            continue
        page.append(_Listed(found.key, found.etag, belongs[1]))
        if len(page) == PAGE:
            yield page
            page = []
    yield page


async def _rows(units: Units, page: Sequence[_Listed]) -> dict[UnitKey, Told]:
    names: dict[tuple[str, str], set[str]] = {}
    for listed in page:
        names.setdefault((listed.unit.handler, listed.unit.bucket), set()).add(listed.unit.unit)
    rows = {}
    for (handler, bucket), some in names.items():
        for row in await units.told(handler, bucket, sorted(some)):
            rows[UnitKey(handler, bucket, row.unit)] = row
    return rows


async def _versions(looker: Looker, page: Sequence[_Listed]) -> dict[UnitKey, str]:
    """Return the versions of the units of several objects."""
    versions = {}
    for unit in {listed.unit for listed in page if listed.unit.unit != listed.key}:
        look = await looker.look(unit)
        if look is not None:
            versions[unit] = look.fingerprint
    return versions


@contextmanager
def lines_of(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write JSON lines to a file, compressed where its name ends in `.gz`; it appears when it is complete."""
    aside = path.with_name(f"{path.name}.part")
    packed = path.suffix == ".gz"
    try:
        with gzip.open(aside, "wt", encoding="utf-8") if packed else aside.open("w", encoding="utf-8") as file:

            def write(line: Mapping[str, Any]) -> None:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

            yield write
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)  # what is not complete is no certificate
