"""Where Superset is, and as whom to speak to it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class SupersetSettings:
    """Of one Superset."""

    url: str
    user: str
    password: SecretStr
    database: str
    """Name of the database in Superset through which it reads our tables."""
