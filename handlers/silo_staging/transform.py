"""
Records as Loculus releases them to records as SILO reads them.

In: `metadata`, sequences and insertions apart, each by the name of a segment or gene. Out: one flat record, its keys in
byte order: the fields of the metadata; `<name>: {"sequence": …, "insertions": […]}` for each aligned sequence, or null;
`unaligned_<name>` for each that is not aligned. (LAPIS-SILO's `legacy-ndjson-transformer` does the same.)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import zstandard

from handlers.silo_staging import frames
from handlers.silo_staging.frames import NotWhole

PARTS: Final = (
    "metadata",
    "alignedNucleotideSequences",
    "unalignedNucleotideSequences",
    "alignedAminoAcidSequences",
    "nucleotideInsertions",
    "aminoAcidInsertions",
)
"""Keys that every record has."""

VERSION: Final = "pipelineVersion"
"""Field of the metadata: the version of the pipeline that processed the record."""

_LEVEL: Final = 3
"""Of zstd, its own default; the file is read once."""


class Unreadable(RuntimeError):
    """The data are no whole file of JSON records: they are worth downloading again."""


class TransformError(RuntimeError):
    """A record is not as SILO's format needs it: downloading it again would change nothing."""


@dataclass(frozen=True, slots=True)
class Transformed:
    """What was in the data."""

    records: int
    versions: tuple[int, ...]
    """Of the pipeline, in the order they were met first; records without one are left out."""
    values: Mapping[str, tuple[str, ...]]
    """Distinct values of the fields asked for, sorted."""


def transform(source: Path, target: Path, fields: tuple[str, ...] = ()) -> Transformed:
    """
    Transform a file, in memory that does not grow with it (but for the distinct values asked for).

    Args:
        source: NDJSON compressed with zstd. Blank lines are none.
        target: The same, of the other shape.
        fields: Of the metadata, whose values are to be told.

    Raises:
        Unreadable: It is no zstd, is cut short, or some line of it is no JSON, be it after a record that is wrong.
        TransformError: A record lacks a part.
    """
    seen: dict[str, set[str]] = {name: set() for name in fields}
    versions: dict[int, None] = {}
    wrong: TransformError | None = None
    number = records = 0
    with target.open("wb") as file:
        with zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False) as packed:
            try:
                for number, line in enumerate(frames.lines(source), 1):
                    if not line or line.isspace():
                        continue
                    record = orjson.loads(line)
                    records += 1
                    if wrong is not None:
                        continue
                    try:
                        flat = flattened(record)
                        metadata = record["metadata"]
                        if (version := metadata.get(VERSION)) is not None:
                            versions[int(version)] = None
                    except (TypeError, ValueError, AttributeError, TransformError) as error:
                        # What follows may tell that the data are broken, which matters more.
                        wrong = TransformError(f"{source.name}, line {number}: {error}")
                        continue
                    packed.write(orjson.dumps(flat, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
                    for name, values in seen.items():
                        if (value := metadata.get(name)) is not None:
                            values.add(str(value))
            except (NotWhole, orjson.JSONDecodeError) as error:
                raise Unreadable(f"{source.name}, line {number + isinstance(error, NotWhole)}: {error}") from error
        file.flush()
        os.fsync(file.fileno())
    if wrong is not None:
        raise wrong
    return Transformed(records, tuple(versions), {name: tuple(sorted(values)) for name, values in seen.items()})


def flattened(record: Any) -> dict[str, Any]:
    """
    Return a record as SILO reads it; its keys are not sorted yet.

    Raises:
        TransformError: A part is missing, or no object.
    """
    if not isinstance(record, dict):
        raise TransformError("a record is a JSON object")
    for part in PARTS:
        if not isinstance(record.get(part), dict):
            raise TransformError(f"`{part}` is missing" if part not in record else f"`{part}` is no object")
    metadata, nucleotides, unaligned, amino_acids, insertions, amino_acid_insertions = (record[part] for part in PARTS)
    flat: dict[str, Any] = dict(metadata)
    for sequences, inserted in ((nucleotides, insertions), (amino_acids, amino_acid_insertions)):
        for name, sequence in sequences.items():
            flat[name] = None if sequence is None else {"insertions": inserted.get(name, []), "sequence": sequence}
    for name, sequence in unaligned.items():
        flat[f"unaligned_{name}"] = sequence
    return flat
