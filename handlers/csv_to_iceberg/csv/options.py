"""Options of a CSV route: what a person may set in `[routes.options]`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.names import column_names

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

NULL_TOKENS = (
    "NULL", "Null", "null", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "None", "none", "\\N",
)  # fmt: skip
"""What PostgreSQL, MySQL, R, pandas, Excel and Python write for a missing value."""


TypeName = Literal["boolean", "integer", "bigint", "double", "date", "timestamp", "timestamptz", "varchar"]


def _lower(name: Any) -> Any:
    return name.lower() if isinstance(name, str) else name


def _table_columns(hints: dict[str, TypeName]) -> dict[str, TypeName]:
    """Refuse names that no column of a table has, so that a hint is not lost without a word."""
    for name in hints:
        (sanitised,) = column_names([name])
        if sanitised != name:
            raise ValueError(f"{name!r} is not the name of a table column: write {sanitised!r}")
    return hints


class Options(BaseModel):
    """How the files of a route become rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = Field(
        default="lakehouse",
        min_length=1,
        description="Namespace of the tables. Routes on different buckets must not share one.",
    )
    types: Literal["lossless", "seed", "varchar"] = Field(
        default="lossless",
        description=(
            "How column types are inferred. `lossless`: a type is taken only if it keeps what the text says (leading "
            "zeros, numbers beyond 64 bits and ambiguous dates stay VARCHAR, 0/1 is INTEGER). `seed`: most specific "
            "type that 90 % of the first 1,000 values parse as, 0/1 is BOOLEAN, 007 is 7. `varchar`: text only."
        ),
    )
    columns: Annotated[dict[str, Annotated[TypeName, BeforeValidator(_lower)]], AfterValidator(_table_columns)] = Field(
        default_factory=dict,
        description=(
            'Types by table column, for columns that are new: `{ zip = "varchar", amount = "double" }`. Types are '
            "`boolean`, `integer`, `bigint`, `double`, `date`, `timestamp`, `timestamptz`, `varchar`. A column that a "
            "table has already keeps its type until the table is rebuilt."
        ),
    )
    header: Literal["require", "generate"] = Field(
        default="require",
        description="A file without a header row fails (`require`) or gets column_1, column_2, ... (`generate`).",
    )
    date_order: Literal["auto", "dmy", "mdy", "ymd"] = Field(
        default="auto",
        description=(
            "How 03/04/2024 is read. `auto`: as the other values of the column prove; without proof the column stays "
            "VARCHAR. `ymd`: only dates that begin with the year are dates."
        ),
    )
    null_tokens: tuple[str, ...] = Field(
        default=NULL_TOKENS,
        description=(
            "Texts that mean NULL in columns of any type but VARCHAR, where they stay as they are. An empty cell is "
            "NULL everywhere."
        ),
    )
    timestamptz: bool = Field(
        default=False,
        description=(
            "Make a column of times with offsets (2024-01-15T10:30:00+02:00) TIMESTAMP WITH TIME ZONE. Otherwise it is "
            "TIMESTAMP. Either way the value is converted to UTC, and a time without an offset is taken as UTC."
        ),
    )
    on_delete: Literal["keep", "remove"] = Field(
        default="keep",
        description="Whether the rows of an object that was deleted stay in the table.",
    )
    max_rejects: int = Field(
        default=1000,
        ge=0,
        le=1_000_000,
        description=(
            "Rejected records of a file that `_ingest_rejects` keeps with their text. All are counted, however many "
            "there are."
        ),
    )
    max_columns: int = Field(default=10_000, ge=1, description="A file with more columns fails.")
    max_record_bytes: int = Field(
        default=64 * MIB,
        ge=64 * KIB,
        le=512 * MIB,
        description="A file with a record longer than this many bytes fails. Reading may hold a few records in memory.",
    )
    max_uncompressed_bytes: int = Field(
        default=100 * GIB,
        ge=1,
        description="A compressed file that unpacks to more bytes fails.",
    )
    max_ratio: int = Field(
        default=250,
        ge=1,
        description=(
            "A compressed file that unpacks to more than this many times its size fails, once 64 MiB are unpacked."
        ),
    )

    def __hash__(self) -> int:
        """Hash what tells routes apart: options are keys of what is remembered of files, and a dict has no hash."""
        return hash((self.namespace, self.types, self.date_order, *self.columns.items()))

    def hint(self, column: str) -> ColumnType | None:
        """Return the type that `columns` gives a column."""
        name = self.columns.get(column)
        return None if name is None else ColumnType(name.upper())
