"""What the committer asks of the place where rejected records are kept, without Iceberg: a simulation has none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

Superseded = Mapping[str, frozenset[str]]
"""Keys by data file: rows of these keys in these files are of no use once the data of their claims is committed."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The rejected records of one version of an object, found under one claim."""

    key: str
    etag: str
    token: str
    kept: pa.RecordBatch
    """In the columns of `results.KEPT`."""


class RejectsPort(Protocol):
    """Where the rejected records of one table's files go. Every row names its version, so old and new may be there."""

    async def ahead(self, keys: Collection[str], rejected: Sequence[Rejected]) -> Superseded:
        """
        Write rejected records, before the rows of their versions are committed and before the claims are checked.

        Args:
            keys: All that the commit is going to replace or remove.
            rejected: What to write; records of lost claims are left out.

        Returns:
            What `behind` is to be told once that commit has landed.

        Raises:
            PermanentError: The place is not ours to write.
            TransientError: It could not be written.
        """
        ...

    def behind(self, superseded: Superseded) -> None:
        """Take out what the commit has superseded, some time soon; only for a commit that has landed."""
        ...


class NoRejects:
    """Keeps nothing."""

    async def ahead(self, keys: Collection[str], rejected: Sequence[Rejected]) -> Superseded:
        """Write nothing."""
        del keys, rejected
        return {}

    def behind(self, superseded: Superseded) -> None:
        """Have nothing to take out."""


NOWHERE: Final = NoRejects()
