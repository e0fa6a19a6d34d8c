"""Units that a replay chose: there may be millions, so they are not kept in memory."""

from __future__ import annotations

import heapq
import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, Final, Literal, NamedTuple, Self

from consumer.workitem import UnitKey

RUN: Final = 20_000
"""Candidates kept in memory, and sorted at a time: most replays are of fewer. As text they are 2 MB."""

PIECE: Final = 1 << 14
"""Bytes of a run that are read at a time."""

Action = Literal["ingest", "look", "again", "current"]


class Candidate(NamedTuple):
    """A unit that a replay chose, and what it would do with it."""

    key: UnitKey
    action: Action
    """`ingest`: unknown to the ledger. `look`: changed or being worked on. `again`: force it. `current`: leave it."""
    modified: int
    size: int


class Candidates:
    """
    Candidates in the order they are done in. Add all, then iterate as often as you like; `close` at the end.

    Args:
        newest_first: Sort by the time they were written; else they stay in the order they were added in.
    """

    def __init__(self, *, newest_first: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        """By action."""
        self._newest_first = newest_first
        self._file: IO[bytes] | None = None
        """Made when the first run is full."""
        self._run: list[Candidate] = []
        self._runs: list[tuple[int, int]] = []
        """Where each begins and ends."""

    def __len__(self) -> int:
        return self.counts.total()

    def __iter__(self) -> Iterator[Candidate]:
        last = sorted(self._run, key=_newest) if self._newest_first else self._run
        runs = [*(self._read(self._file, *run) for run in self._runs if self._file is not None), iter(last)]
        return heapq.merge(*runs, key=_newest) if self._newest_first else chain.from_iterable(runs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, candidate: Candidate) -> None:
        """Add one at the end."""
        self.counts[candidate.action] += 1
        self._run.append(candidate)
        if len(self._run) == RUN:
            self._end_run()

    def close(self) -> None:
        """Forget them."""
        if self._file is not None:
            self._file.close()

    def _end_run(self) -> None:
        if self._file is None:
            self._file = TemporaryFile()  # noqa: SIM115  # `close` closes it
        if self._newest_first:
            self._run.sort(key=_newest)
        begin = self._file.seek(0, os.SEEK_END)
        self._file.write("".join(f"{json.dumps(candidate)}\n" for candidate in self._run).encode())
        self._runs.append((begin, self._file.tell()))
        self._run.clear()

    @staticmethod
    def _read(file: IO[bytes], begin: int, end: int) -> Iterator[Candidate]:
        rest = b""
        while begin < end:
            file.seek(begin)  # others read between
            piece = file.read(min(PIECE, end - begin))
            begin += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                key, *others = json.loads(line)
                yield Candidate(UnitKey(*key), *others)


def _newest(candidate: Candidate) -> tuple[int, UnitKey]:
    return -candidate.modified, candidate.key
