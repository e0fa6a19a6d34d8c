"""Counting back: whether tables show the rows that receipts say, as Trino sees them where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from handlers.contract import ABSENT, UNKNOWN, HandlerContext, PermanentError, Receipt, Verdict
from handlers.csv_to_iceberg.lake.live import live_memory
from handlers.csv_to_iceberg.lake.table import IcebergTable
from handlers.csv_to_iceberg.trino_tables import TrinoTables, Versions


class Counting:
    """
    Counts the rows of sources.

    Args:
        table: Returns a table of a bucket, `namespace.table`.
        trino: Who counts; None: the files are read here.
    """

    def __init__(
        self, context: HandlerContext, table: Callable[[str, str], IcebergTable], trino: TrinoTables | None
    ) -> None:
        self._context = context
        self._table = table
        self._trino = trino

    async def verify(self, bucket: str, receipts: Mapping[str, Receipt]) -> Mapping[str, Verdict]:
        """See the contract. A table is read once for all its sources."""
        by_target: dict[str, list[str]] = {}
        for key, receipt in receipts.items():
            by_target.setdefault(receipt.target, []).append(key)
        verdicts: dict[str, Verdict] = {}
        for target, keys in by_target.items():
            try:
                shown = await self._shown(bucket, target, sorted(keys))
            except PermanentError as refusal:
                for key in keys:
                    verdicts[key] = Verdict(False, _expected(receipts[key]), {}, refusal.message)
                continue
            for key in keys:
                verdicts[key] = _verdict(receipts[key], None if shown is None else shown.get(key, {}))
        return verdicts

    async def _shown(self, bucket: str, target: str, keys: Sequence[str]) -> Mapping[str, Versions] | None:
        """Return the rows of sources by the version they are from; None when there is no table."""
        if self._trino is not None:
            return await self._context.run("stream", self._trino.versions, target, keys)
        table = self._table(target, bucket)
        loaded = await self._context.run("commit", table.load)
        if loaded is None:
            return None
        shown = await self._context.run("stream", table.shown, loaded, keys, live_memory())
        return {key: some.rows for key, some in shown.items()}


def _expected(receipt: Receipt) -> dict[str, int]:
    return {"rows": receipt.counts.get("rows", 0)}


def _verdict(receipt: Receipt, shown: Versions | None) -> Verdict:
    expected = _expected(receipt)
    if shown is None:
        return Verdict(not expected["rows"], expected, {"rows": 0}, f"there is no table {receipt.target}")
    found = {"rows": sum(shown.values())}
    others = {etag: count for etag, count in shown.items() if count and etag != receipt.fingerprint}
    if found != expected:
        message = f"table {receipt.target} shows {found['rows']} rows, not {expected['rows']}"
    elif others and receipt.fingerprint not in (ABSENT, UNKNOWN):
        message = f"table {receipt.target} shows rows of other versions: {others}"
    else:
        return Verdict(True, expected, found, f"table {receipt.target} shows the rows of the receipt")
    return Verdict(False, expected, found, message)
