"""The Parquet files of a folder, copied to this machine and read in batches: their memory does not grow with them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from handlers.argilla_records.mapping import Mapping as DatasetMapping
from handlers.argilla_records.records import MetadataType
from handlers.contract import HandlerContext, PermanentError, StoredObject

ROWS: Final = 500
"""Most of a batch; as many as one call takes."""

BATCH_BYTES: Final = 4 << 20
"""What a batch should have; its records may be of any size."""

BUFFER_BYTES: Final = 1 << 20
"""Of a column that are read at a time; without it Arrow reads all that a row group has of it."""


class Source:
    """
    Copies of the records of a unit, and room for what is known about them.

    Args:
        home: Of the installation.
        unit: `bucket/name`; what an earlier holder of it left is removed.
        token: Of the claim.
    """

    def __init__(self, home: Path, unit: str, token: str) -> None:
        self._unit = home / "argilla" / hashlib.sha256(unit.encode()).hexdigest()[:32]
        self.folder = self._unit / token
        self._files: list[tuple[str, Path]] = []

    async def copy(self, objects: Sequence[StoredObject], context: HandlerContext, lane: str) -> None:
        """Copy objects on a lane of the context; raises as reading them does."""
        await context.run(lane, self._begin)
        for number, found in enumerate(objects):
            stream = await found.open()
            path = self.folder / f"{number}.parquet"
            await context.run(lane, _take, stream, path)
            self._files.append((found.key.rpartition("/")[2], path))

    def _begin(self) -> None:
        shutil.rmtree(self._unit, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def remove(self) -> None:
        """Remove the copies; those of a later holder stay."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self._unit.rmdir()

    def metadata_types(self, mapping: DatasetMapping) -> dict[str, MetadataType]:
        """
        Return the types of the metadata, by column.

        Raises:
            PermanentError: A file is no Parquet, lacks a column, or has one of a type that Argilla has nothing for.
        """
        types: dict[str, MetadataType] = {}
        for name, path in self._files:
            schema = _schema(name, path)
            for column in mapping.columns:
                if column not in schema:
                    raise PermanentError(
                        f"{name} has no column {column!r}, which the mapping names; it has {', '.join(schema)}. Name "
                        "another one in the route's options or in dataset.yaml; `metadata_columns = []` names none"
                    )
            for column, fits in ((mapping.id_column, (pl.String, *_WHOLE)), (mapping.text_column, (pl.String,))):
                if schema[column] not in fits:
                    raise PermanentError(f"{name}: column {column!r} is {schema[column]}, and cannot be what it is for")
            for column in mapping.metadata_columns:
                kind = _metadata_type(name, column, schema[column])
                if types.setdefault(column, kind) != kind:
                    raise PermanentError(f"column {column!r} is {types[column]} in one file and {kind} in {name}")
        return types

    def rows(self, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """
        Yield the rows of all files, in order, in batches.

        Arrow reads them, a page of a column at a time: Polars has whole row groups in memory, and theirs are of any
        size (its own writer puts 262,144 records into one).

        Raises:
            PermanentError: A file is damaged.
        """
        for name, path in self._files:
            try:
                with pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
                    most = _batch_rows(file.metadata)
                    for batch in file.iter_batches(most, columns=list(columns), use_threads=False):
                        frame = cast(pl.DataFrame, pl.from_arrow(batch))
                        yield frame.select([_cast(column, frame.schema[column]) for column in columns]).to_dicts()
            except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
                raise _damaged(name, error) from error


_WHOLE: Final = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)


def _take(stream: BinaryIO, path: Path) -> None:
    with stream, path.open("wb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)


def _batch_rows(footer: pq.FileMetaData) -> int:
    size = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
    return int(max(min(ROWS, BATCH_BYTES * footer.num_rows // size), 1)) if size else ROWS


def _schema(name: str, path: Path) -> Mapping[str, pl.DataType]:
    try:
        return pl.scan_parquet(path).collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> PermanentError:
    return PermanentError(f"{name} is not Parquet, or damaged: {' '.join(str(error).split())[:300]}: upload it again")


def _metadata_type(name: str, column: str, kind: pl.DataType) -> MetadataType:
    if kind.is_integer():
        return "integer"
    if kind.is_numeric():
        return "float"
    if kind.is_nested() or kind == pl.Binary:
        raise PermanentError(f"{name}: column {column!r} is {kind}; metadata is text, a number or a date")
    return "terms"


def _cast(column: str, kind: pl.DataType) -> pl.Expr:
    """Have Python read what JSON can say."""
    if kind.is_decimal():
        return pl.col(column).cast(pl.Float64)
    if kind in (pl.Categorical, pl.Enum):
        return pl.col(column).cast(pl.String)
    return pl.col(column)
