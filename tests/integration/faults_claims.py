"""
Who holds which claim, and how claims end: kept by triggers of the ledger's database, past the code under test.

Each replica says who it is when it connects (`as_replica`), which PostgreSQL keeps for the session.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import asyncpg

WATCH = (
    """
CREATE TABLE seen_claims (
  token TEXT PRIMARY KEY, replica TEXT, bucket TEXT NOT NULL, unit TEXT NOT NULL, lease_until BIGINT, taken_at BIGINT
)
""",
    """
CREATE FUNCTION see_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    UPDATE seen_claims SET lease_until = OLD.lease_until, taken_at = extract(epoch FROM clock_timestamp()) * 1000
    WHERE token = OLD.lease_token;
  END IF;
  INSERT INTO seen_claims VALUES (NEW.lease_token, current_setting('lakedrop.replica', true), NEW.bucket, NEW.unit)
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$
""",
    """
CREATE TRIGGER see_first_claim AFTER INSERT ON units
  FOR EACH ROW WHEN (NEW.lease_token IS NOT NULL) EXECUTE FUNCTION see_claim()
""",
    """
CREATE TRIGGER see_claim AFTER UPDATE ON units
  FOR EACH ROW WHEN (NEW.lease_token IS DISTINCT FROM OLD.lease_token AND NEW.lease_token IS NOT NULL)
  EXECUTE FUNCTION see_claim()
""",
)

HELD_BY = """
SELECT token FROM seen_claims JOIN units ON lease_token = token WHERE replica = $1 FOR UPDATE OF units SKIP LOCKED
"""
"""Without those that a transaction is about to end: its COMMIT may be on its way, though the replica was stopped."""

TAKEN = """
SELECT token, bucket, unit, lease_until, taken_at FROM seen_claims
WHERE token = ANY($1::text[]) AND taken_at IS NOT NULL
"""

SETTLED_LATE = """
SELECT history.token, history.unit, history.event FROM history JOIN seen_claims USING (token)
WHERE token = ANY($1::text[]) AND history.at > taken_at
"""


@dataclass(frozen=True)
class Taken:
    """A claim that ended by another one, and not by its own SETTLE; times are epoch milliseconds of the database."""

    token: str
    bucket: str
    unit: str
    lease_until: int
    taken_at: int


@dataclass
class Claims:
    """
    The claims of a ledger.

    Args:
        url: of its database.
    """

    url: str
    lost: dict[str, Taken] = field(default_factory=dict)
    """By token: of replicas that were killed, or stopped past their leases."""

    async def watch(self) -> None:
        """Begin to see claims; the ledger has its tables."""
        for statement in WATCH:
            await self.query(statement)

    async def held(self) -> set[str]:
        """Return the tokens of the claims that somebody holds."""
        return {row["lease_token"] for row in await self.query("SELECT lease_token FROM units WHERE lease_token <> ''")}

    async def held_by(self, replica: str) -> set[str]:
        """Return the tokens of the claims that a replica holds, and that it has not begun to end."""
        return {row["token"] for row in await self.query(HELD_BY, replica)}

    async def taken(self, tokens: Collection[str]) -> list[Taken]:
        """Return those of some claims that were taken over, and remember them as lost."""
        found = [Taken(*row) for row in await self.query(TAKEN, list(tokens))]
        self.lost.update((claim.token, claim) for claim in found)
        return found

    async def settled_late(self) -> list[tuple[str, ...]]:
        """Return what the ledger's timeline has under tokens of lost claims, from after they were taken over."""
        return [tuple(row) for row in await self.query(SETTLED_LATE, list(self.lost))]

    async def query(self, statement: str, *values: object) -> list[Any]:
        """Ask the ledger's database."""
        connection = await asyncpg.connect(self.url)
        try:
            found: list[Any] = await connection.fetch(statement, *values)
        finally:
            await connection.close()
        return found


def as_replica(url: str, name: str) -> str:
    """Return the URL of a ledger for one replica."""
    return f"{url}?lakedrop.replica={name}"
