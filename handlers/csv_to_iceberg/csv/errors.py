"""
Why a file cannot become rows. The class name is what `replay --error-class` chooses by.

    PermanentError
    └── CsvError
        ├── EmptyFile           no record at all
        ├── NotText             an image, a spreadsheet, an archive, noise
        ├── HeaderMissing       the first row is data
        ├── HeaderMismatch      the header has more cells than any record
        ├── TooManyColumns      more than `max_columns`
        ├── RecordTooLarge      a record beyond `max_record_bytes`
        ├── BadCompression      a truncated or damaged archive
        ├── DecompressionBomb   an archive beyond `max_uncompressed_bytes` or `max_ratio`
        └── EncodingUnknown     bytes that no known encoding explains
"""

from __future__ import annotations

from handlers.contract import PermanentError


class CsvError(PermanentError):
    """The file cannot be read as CSV."""


class EmptyFile(CsvError):
    """The file holds no record, not even a header."""


class NotText(CsvError):
    """The file is not text."""


class HeaderMissing(CsvError):
    """The first row looks like data: add a header row, or set `header = "generate"` on the route."""


class HeaderMismatch(CsvError):
    """The header has more cells than any record: add the missing cells, or correct the header."""


class TooManyColumns(CsvError):
    """The file has more columns than `max_columns` allows."""


class RecordTooLarge(CsvError):
    """A record is longer than `max_record_bytes` allows."""


class BadCompression(CsvError):
    """The archive is truncated or damaged: upload it again."""


class DecompressionBomb(CsvError):
    """The archive unpacks to more than `max_uncompressed_bytes` or `max_ratio` allows."""


class EncodingUnknown(CsvError):
    """The encoding of the text cannot be told: save the file as UTF-8."""
