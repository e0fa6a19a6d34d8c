"""From the small files of one commit window to parts, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final

import structlog

from handlers.contract import HandlerContext, PermanentError, TransientError
from handlers.csv_to_iceberg.csv.columns import Pins
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import Cooked, Part, SmallFile
from handlers.csv_to_iceberg.lake.commit_port import Entry, S, Unpacked

log = structlog.get_logger(__name__)

BATCH_FILES: Final = 300
BATCH_BYTES: Final = 8 << 20
"""A batch is tokenised as one text: larger ones gain nothing and raise the memory (docs/benchmarks.md)."""

Cook = Callable[[Sequence[SmallFile], Pins, Options], Cooked]


async def cook_entries(
    entries: Sequence[Entry[S]], pins: Pins, cook: Cook, context: HandlerContext
) -> tuple[list[Entry[S]], list[Part]]:
    """
    Cook the files of `entries`, ordered by key; return those that became parts, with their parts.

    The others end here: with their `PermanentError`, or with `Unpacked`.
    """
    cooked: list[Entry[S]] = []
    parts: list[Part] = []
    # All batches in one go: under load the event loop would be late with handing over each next one.
    for entry, result in await context.run("cpu", _cook_all, list(_batches(entries)), pins, cook):
        if isinstance(result, Part):
            cooked.append(entry)
            parts.append(result)
        else:
            entry.fail(result)
        entry.staged()
    return cooked, parts


def _cook_all(batches: Sequence[list[Entry[S]]], pins: Pins, cook: Cook) -> list[tuple[Entry[S], Part | Exception]]:
    results: list[tuple[Entry[S], Part | Exception]] = []
    for batch in batches:
        for entry, result in _cook_batch(batch, pins, cook):
            results.append((entry, result))
            if isinstance(result, Part):
                pins = {**pins, **result.columns}
    return results


def _cook_batch(batch: Sequence[Entry[S]], pins: Pins, cook: Cook) -> list[tuple[Entry[S], Part | Exception]]:
    files = [entry.file for entry in batch if entry.file is not None]
    try:
        cooked = cook(files, pins, batch[0].options)
    except Exception as error:
        if len(batch) == 1:
            log.exception("csv.cook_failed", key=batch[0].key)
            return [(batch[0], TransientError(f"reading {batch[0].key} failed: {error!r}"))]
        # A fault of one file must not fail its neighbours: find it by cooking each alone.
        log.warning("csv.batch_failed", files=len(batch), exc_info=True)
        return _cook_all([[entry] for entry in batch], pins, cook)
    parts = {part.source.key: part for part in cooked.parts}
    return [(entry, _result(entry, parts.get(entry.key), cooked.failures.get(entry.key))) for entry in batch]


def _result(entry: Entry[S], part: Part | None, failure: PermanentError | None) -> Part | Exception:
    return part or failure or Unpacked(entry.key)


def _batches(entries: Sequence[Entry[S]]) -> Iterator[list[Entry[S]]]:
    for _, group in groupby(sorted(entries, key=lambda entry: entry.key), key=lambda entry: entry.options):
        batch: list[Entry[S]] = []
        size = 0
        for entry in group:
            data = len(entry.file.data) if entry.file else 0
            if batch and (len(batch) == BATCH_FILES or size + data > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(entry)
            size += data
        yield batch
