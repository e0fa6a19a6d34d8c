"""Tables and columns that are refused; every class is permanent until a person acts."""

from __future__ import annotations

from handlers.contract import PermanentError


class ReservedTable(PermanentError):
    """The folder names a table that belongs to the pipeline itself."""

    def __init__(self, table: str) -> None:
        super().__init__(f"table names beginning with _ingest_ are reserved: rename the folder of {table}")


class ForeignTable(PermanentError):
    """The table of that name was not made by this route."""

    def __init__(self, table: str, *, owner: str | None = None, bucket: str | None = None) -> None:
        super().__init__(
            f"table {table} was not made by lakedrop and is left alone; rename the folder, or hand the table over by"
            f" setting its property lakedrop.route to {bucket or '<bucket>'}/<prefix>"
            if owner is None
            else f"table {table} belongs to bucket {owner}, not {bucket}; give the route another `namespace`"
        )


class UnsupportedTable(PermanentError):
    """The table has a feature that cannot be written safely."""


class UnsupportedColumn(PermanentError):
    """The table has a column whose type no CSV value can be given."""

    def __init__(self, table: str, column: str, kind: str) -> None:
        super().__init__(
            f"column {column} of table {table} has the type {kind}, which CSV files are not written to; rename the"
            " column in the file or in the table"
        )
