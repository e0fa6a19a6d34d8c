"""ETags of files in folder buckets, kept in the ledger's file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import sqlalchemy as sa

from consumer import ledger_statements as statements
from consumer.etag_cache import FileStamp
from consumer.ledger import Ledger
from consumer.ledger_many import Lookup, Many
from consumer.ledger_schema import folder_etags

PAGE = 1000
"""Keys of one short read transaction."""


class FolderEtags:
    """ETags of files in folder buckets, valid while size, times and inode are the same."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        dialect = ledger.engine.dialect
        self._known = Lookup(statements.known_etags(dialect.name), dialect)
        self._put = Many(statements.put_etags(dialect.name), dialect, folder_etags.columns.keys())

    async def get_many(self, bucket: str, keys: Sequence[str]) -> dict[str, tuple[FileStamp, str]]:
        """Return what is known of some keys of a bucket."""

        def look(connection: sa.Connection) -> dict[str, tuple[FileStamp, str]]:
            rows = self._known.run(connection, {"bucket": bucket, "keys": list(keys)})
            return {row.key: (FileStamp(row.size, row.mtime_ns, row.ctime_ns, row.inode), row.etag) for row in rows}

        return await self._ledger.read(look)

    async def put_many(self, bucket: str, entries: Mapping[str, tuple[FileStamp, str]]) -> None:
        """Remember the ETags of some keys."""
        rows = [
            {"bucket": bucket, "key": key, "etag": etag, **state._asdict()} for key, (state, etag) in entries.items()
        ]
        if rows:
            await self._ledger.write(lambda connection: self._put.run(connection, rows))

    async def drop_many(self, bucket: str, keys: Sequence[str]) -> None:
        """Forget the ETags of some keys."""
        mine = statements.drop_etags(self._ledger.engine.dialect.name)
        if keys:
            where = {"bucket": bucket, "keys": list(keys)}
            await self._ledger.write(lambda connection: connection.execute(mine, where))

    async def pages(self, bucket: str) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of a bucket that are known, in byte order, some at a time."""
        query = sa.select(folder_etags.c.key).where(folder_etags.c.bucket == bucket)
        query = query.order_by(folder_etags.c.key).limit(PAGE)
        after = ""
        while True:
            page = query.where(folder_etags.c.key > after)
            keys = await self._ledger.read(lambda connection, page=page: connection.scalars(page).all())  # type: ignore[misc]  # a default binds the page
            if keys:
                yield keys
            if len(keys) < PAGE:
                return
            after = keys[-1]
