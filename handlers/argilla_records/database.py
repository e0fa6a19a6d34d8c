"""
Where the ingest log is: a DuckDB file, which is one process's at a time, or a MotherDuck database.

A file is attached for one transaction and let go of: whoever finds it taken waits. The instance stays, for making one
takes ten times as long as all else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb

from handlers.argilla_records.options import ArgillaSettings
from handlers.contract import SinkAway, TransientError

MOTHERDUCK: Final = "md:"

_NAME: Final = "md_annotated"

TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS argilla_ingest_log (
        dataset VARCHAR NOT NULL, object_uri VARCHAR NOT NULL, object_etag VARCHAR, object_bytes BIGINT,
        discovered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, ingested_at TIMESTAMP, status VARCHAR,
        message VARCHAR, PRIMARY KEY (dataset, object_uri))""",
    """CREATE TABLE IF NOT EXISTS argilla_rejects (
        folder_uri VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL, status VARCHAR NOT NULL, row_number BIGINT NOT NULL,
        external_id VARCHAR, reason VARCHAR NOT NULL, content VARCHAR NOT NULL,
        PRIMARY KEY (folder_uri, status, row_number))""",
    """CREATE TABLE IF NOT EXISTS argilla_doubts (
        folder_uri VARCHAR NOT NULL, external_id VARCHAR NOT NULL, PRIMARY KEY (folder_uri, external_id))""",
)
"""As in sql/motherduck, for a home that nobody prepared."""


class Busy(TransientError):
    """Another process has the ingest log."""


class Database:
    """
    The database of an ingest log. Blocks; for one thread at a time.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: ArgillaSettings) -> None:
        self._place = settings.log
        self._token = None if settings.motherduck_token is None else settings.motherduck_token.get_secret_value()
        # An address may hold the token too, and DuckDB repeats what it was given.
        self._secrets = [one for one in (self._token, self._place.partition("?")[2]) if one]
        self._instance: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """
        Give the database for one transaction, in which its tables are there.

        Raises:
            Busy: Another process has the file, or changed the same rows.
            SinkAway: It cannot be opened, read or written.
        """
        try:
            db = self._attached()
            try:
                for table in TABLES:
                    db.execute(table)
                db.execute("BEGIN")
                try:
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
            finally:
                self._detach(db)
        except duckdb.TransactionException as error:
            raise Busy(self._message(error)) from error
        except (duckdb.Error, OSError) as error:
            self.close()  # after some of them the instance is of no more use
            raise SinkAway(self._message(error)) from error

    def _attached(self) -> duckdb.DuckDBPyConnection:
        if self._place.startswith(MOTHERDUCK):
            if self._instance is None:
                self._instance = duckdb.connect(
                    self._place, config={"motherduck_token": self._token} if self._token else {}
                )
            return self._instance
        if self._instance is None:
            self._instance = duckdb.connect(":memory:", config={"threads": 1})
            # What is committed is in the file's log already; writing it twice takes as long as all else.
            self._instance.execute("PRAGMA disable_checkpoint_on_shutdown")
        Path(self._place).parent.mkdir(parents=True, exist_ok=True)
        path = self._place.replace("'", "''")
        try:
            self._instance.execute(f"ATTACH '{path}' AS {_NAME}")
        except (duckdb.IOException, duckdb.BinderException) as error:
            # The second is what other instances of this process get.
            if "lock" in str(error) or "already attached" in str(error):
                raise Busy(self._message(error)) from error
            raise
        self._instance.execute(f"USE {_NAME}")
        return self._instance

    def _detach(self, db: duckdb.DuckDBPyConnection) -> None:
        if not self._place.startswith(MOTHERDUCK):
            db.execute("USE memory")
            db.execute(f"DETACH {_NAME}")

    def _message(self, error: Exception) -> str:
        place, reason = self._place, " ".join(str(error).split())
        for secret in self._secrets:
            place, reason = place.replace(secret, "…"), reason.replace(secret, "…")
        return f"the ingest log {place}: {reason[:300]}"

    def close(self) -> None:
        """Let go of everything."""
        if self._instance is not None:
            self._instance.close()
            self._instance = None
