"""Rejected rows of a version of a folder, as they are kept beside the ingest log. Blocks."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Literal

from handlers.argilla_records.database import Database
from handlers.argilla_records.log import folder_uri
from handlers.argilla_records.options import ArgillaSettings


def kept_rejects(
    settings: ArgillaSettings,
    bucket: str,
    unit: str,
    *,
    fingerprint: str,
    status: Literal["ingested", "failed"],
    limit: int,
) -> dict[str, Any]:
    """
    Read rejected rows of the version that is held, or of one that failed.

    Returns:
        kept (how many there are), rejected (the first `limit`: record, line, text, reason).

    Raises:
        TransientError: The log cannot be read now.
    """
    where = "FROM argilla_rejects WHERE folder_uri = ? AND fingerprint = ? AND status = ?"
    of = [folder_uri(bucket, unit), fingerprint, status]
    with closing(Database(settings)) as database, database.transaction() as db:
        counted = db.execute(f"SELECT count(*) {where}", of).fetchone()
        found = db.execute(f"SELECT row_number, content, reason {where} ORDER BY row_number LIMIT {limit:d}", of)
        rows = found.fetchall()
    shown = [{"record": row, "line": None, "text": content, "reason": reason} for row, content, reason in rows]
    return {"kept": counted[0] if counted else 0, "rejected": shown}
