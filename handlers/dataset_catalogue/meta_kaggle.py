"""
Meta Kaggle: the files in which Kaggle tells of itself, read as they are, in constant memory.

`Datasets.csv` has one row for each dataset, without title or slug; those are in `DatasetVersions.csv`, in the row whose
`Id` is the dataset's `CurrentDatasetVersionId`. Names of owners are in `Users.csv` and `Organizations.csv`, which need
not be there: without them a dataset has no `ref`, and is searched for by its slug.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb

from handlers.contract import PermanentError, Skip
from handlers.dataset_catalogue.descriptions import Description
from handlers.dataset_catalogue.meta_kaggle_join import Join

DATASETS: Final = "Datasets.csv"
VERSIONS: Final = "DatasetVersions.csv"
USERS: Final = "Users.csv"
ORGANIZATIONS: Final = "Organizations.csv"

NEEDED: Final = (DATASETS, VERSIONS)

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    DATASETS: ("Id", "CurrentDatasetVersionId"),
    VERSIONS: ("Id", "Title", "Slug"),
    USERS: ("Id", "UserName"),
    ORGANIZATIONS: ("Id", "Slug"),
}
"""Those that cannot be done without."""

MEMORY: Final = "96MB"
"""
What DuckDB may take. It keeps what it read of a file for as long as it may, so it takes all of that for long files; to
3,000,000 datasets 64 MB are too little.
"""

LONGEST_ROW: Final = 8 << 20
"""Bytes: descriptions are whole articles."""

BUFFER: Final = 16 << 20
"""Bytes that are read at a time; DuckDB would take sixteen of the longest rows, and more memory than it has."""

PIECE: Final = 1 << 20

PAGE: Final = "https://www.kaggle.com/datasets/"


class NotMetaKaggle(PermanentError):
    """The files are not those of Meta Kaggle."""


def batches(folder: Path, size: int) -> Generator[list[Description]]:
    """
    Read the files of a folder; yield so many datasets at a time, in the order of their ids, each once.

    A row of `Datasets.csv` without a number in `Id` is left out.

    Raises:
        Skip: Some of the files are not there yet.
        NotMetaKaggle: They are not CSV, or lack a column.
    """
    there = _files(folder)
    missing = [name for name in NEEDED if name not in there]
    if missing:
        raise Skip(f"waits for {' and '.join(missing)}: Meta Kaggle is read when its files are complete")
    columns = {name: _columns(name, path) for name, path in there.items()}
    reads = {name: _reads(path, columns[name]) for name, path in there.items()}
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "threads": "1",
        "preserve_insertion_order": "false",
        # It cannot know how long the files are: what is looked for is the smaller side.
        "disabled_optimizers": "build_side_probe_side,join_order",
    }
    with TemporaryDirectory(prefix="join-", dir=folder) as place, Join(Path(place) / "join.db") as join:
        try:
            with duckdb.connect(":memory:", config={**config, "temp_directory": place}) as database:
                for table, statement in _statements(reads, columns):
                    found = database.execute(statement)
                    while rows := found.fetchmany(size):
                        join.take(table, rows)
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise NotMetaKaggle(_told(error, folder)) from error
        for page in join.pages(size):
            yield [_description(row) for row in page]


def _told(error: Exception, folder: Path) -> str:
    """Return what DuckDB says of a file: the line, its text, and what is wrong with it; not what one might try."""
    text = str(error).partition("Possible fixes")[0].replace(f"{folder}/", "")
    place = next((name for name in COLUMNS if name in str(error)), "CSV")
    return f"{place}: {' '.join(text.split())[:500]}"


def _files(folder: Path) -> dict[str, Path]:
    """Return the files by their names; they may be compressed, and Kaggle's archive was taken apart before."""
    known = {name.lower(): name for name in COLUMNS}
    found = {}
    for path in folder.iterdir():
        name = known.get(path.name.lower().removesuffix(".gz"))
        if name is not None:
            found[name] = path
    return found


def _statements(reads: Mapping[str, str], columns: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield a table of the join, and the rows that go into it: numbers of datasets, and what is told of them."""
    d, v = columns[DATASETS], columns[VERSIONS]
    facts = ("TotalDownloads", "TotalViews", "TotalVotes")
    numbers = ", ".join(_number(_of(d, name)) for name in ("Id", *facts))
    moments = ", ".join(_moment(_of(d, name)) for name in ("CreationDate", "LastActivityDate"))
    # S608: names of columns are those of COLUMNS and of this function, and paths are quoted.
    yield "datasets", f"SELECT {numbers}, {moments} FROM {reads[DATASETS]} WHERE {_number('Id')} IS NOT NULL"  # noqa: S608
    size = _number(_of(v, "TotalUncompressedBytes"))
    described = f"Title, Slug, {_of(v, 'LicenseName')}, {size}, {_of(v, 'VersionNumber')}, {_of(v, 'Subtitle')}"
    chosen = {
        VERSIONS: ("versions", described, "CurrentDatasetVersionId"),
        USERS: ("users", "UserName", "OwnerUserId"),
        ORGANIZATIONS: ("organizations", "Slug", "OwnerOrganizationId"),
    }
    for name, (table, told, key) in chosen.items():
        if name in reads and key in d:
            ids = f"{_number('Id')} AS dataset, {_number(key)} AS wanted"
            wanted = f"(SELECT {ids} FROM {reads[DATASETS]} WHERE dataset IS NOT NULL)"  # noqa: S608
            yield table, f"SELECT dataset, {told} FROM {reads[name]} JOIN {wanted} ON {_number('Id')} = wanted"  # noqa: S608


def _of(known: Sequence[str], name: str) -> str:
    return name if name in known else "NULL"


def _columns(name: str, path: Path) -> list[str]:
    """
    Return the columns of a file, in their order.

    Raises:
        NotMetaKaggle: One is missing that cannot be done without.
    """
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), [])
        with opened(path, "rb") as raw:
            quotes = sum(piece.count(b'"') for piece in iter(partial(raw.read, PIECE), b""))
    except (ValueError, OSError, EOFError, csv.Error) as error:
        raise NotMetaKaggle(f"{path.name}: {error}") from error
    if quotes % 2:  # DuckDB 2.0 leaves out such a last row, and says nothing
        raise NotMetaKaggle(f"{path.name} ends within a quoted cell: it was cut, upload it again")
    missing = [column for column in COLUMNS[name] if column not in columns]
    if missing:
        raise NotMetaKaggle(f"{path.name} has no column {', '.join(missing)}: is it Meta Kaggle's {name}?")
    return columns


def _reads(path: Path, columns: Sequence[str]) -> str:
    """Every value stays text: pandas writes ids with gaps as floats, and dates are American."""
    types = ", ".join(f"{_quoted(column)}: 'VARCHAR'" for column in columns)
    dialect = "auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', strict_mode = true"
    options = (
        f"{dialect}, columns = {{{types}}}, max_line_size = {LONGEST_ROW}, buffer_size = {BUFFER}, parallel = false"
    )
    return f"read_csv({_quoted(str(path))}, {options})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _number(expression: str) -> str:
    return f"TRY_CAST(TRY_CAST({expression} AS DOUBLE) AS BIGINT)"


def _moment(expression: str) -> str:
    """Seconds since 1970, as the dates are in UTC."""
    formats = "['%m/%d/%Y %H:%M:%S', '%Y-%m-%d %H:%M:%S', '%Y-%m-%dT%H:%M:%S', '%m/%d/%Y', '%Y-%m-%d']"
    return f"CAST(epoch(try_strptime({expression}, {formats})) AS BIGINT)"


def _description(row: tuple[Any, ...]) -> Description:
    number, title, slug, owner, license_name, size, version, subtitle, downloads, views, votes, created, active = row
    ref = f"{owner}/{slug}" if owner and slug else None
    meta = {"slug": slug, "version": version, "subtitle": subtitle}
    return Description(
        external_id=str(number),
        ref=ref,
        title=title,
        url=None if ref is None else PAGE + ref,
        license=license_name,
        total_size_bytes=size,
        download_count=downloads,
        view_count=views,
        like_count=votes,
        source_created_at=_utc(created),
        source_updated_at=_utc(active),
        source_meta={name: value for name, value in meta.items() if value is not None} or None,
    )


def _utc(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
