"""What a row of a file becomes: a record of Argilla, or a reason why it cannot be one. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal

import orjson

from handlers.argilla_records.mapping import Mapping as DatasetMapping
from handlers.argilla_records.suggestions import NUL, BadRecord, Suggestion, suggestions_of

MetadataType = Literal["terms", "integer", "float"]

INT64: Final = 1 << 63
"""What the search index holds of whole numbers ends here."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the file has it."""

    external_id: str
    text: str
    metadata: Mapping[str, Any]
    suggestions: tuple[Suggestion, ...]


class RecordMaker:
    """
    Makes records of rows.

    Args:
        mapping: Of the file.
        types: Of the metadata properties, by column.
        labels: That the questions have; see `suggestions_of`.
    """

    def __init__(
        self, mapping: DatasetMapping, types: Mapping[str, MetadataType], labels: Mapping[str, frozenset[str]]
    ) -> None:
        self._mapping = mapping
        self._types = types
        self._labels = labels

    def make(self, row: Mapping[str, Any]) -> Record:
        """
        Return the record of a row.

        Raises:
            BadRecord: It cannot be one.
        """
        mapping = self._mapping
        identity = external_id(row[mapping.id_column])
        text = row[mapping.text_column]
        if not isinstance(text, str):
            raise BadRecord(f"{mapping.text_column} is {'null' if text is None else 'no text'}")
        if not text.strip():
            raise BadRecord(f"{mapping.text_column} is empty: there is nothing to annotate")
        if NUL in text:
            raise BadRecord(f"{mapping.text_column} holds the character NUL, which databases refuse")
        metadata = {}
        for column in mapping.metadata_columns:
            value = _metadata(column, row[column], self._types[column])
            if value is not None:
                metadata[column] = value
        suggestions: list[Suggestion] = []
        if mapping.suggestions_column:
            suggestions = suggestions_of(row[mapping.suggestions_column], text, mapping.questions, self._labels)
        return Record(identity, text, metadata, tuple(suggestions))


def external_id(value: Any) -> str:
    """
    Return the identifier of a record; whole numbers become text.

    Raises:
        BadRecord: There is none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip() or NUL in value:
        raise BadRecord(f"the identifier is {value!r}")
    return value


def _metadata(column: str, value: Any, kind: MetadataType) -> Any:
    """Return a value of a metadata property; None when there is none, for Argilla does not tell null from text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if kind == "terms":
        if isinstance(value, bool):
            return str(value).lower()
        text = value.isoformat() if isinstance(value, date | datetime) else str(value)
        if NUL in text:
            raise BadRecord(f"{column} holds the character NUL, which databases refuse")
        return text
    if isinstance(value, float) and math.isinf(value):
        raise BadRecord(f"{column} is infinite")
    if kind == "integer" and not -INT64 <= value < INT64:
        raise BadRecord(f"{column} = {value} does not fit into 64 bits")
    return value


def text_digest(text: str) -> str:
    """Return what tells one text from another."""
    return hashlib.sha256(text.encode()).hexdigest()


def suggestion_digest(value: Any, score: Any, agent: str | None, kind: str | None) -> str:
    """Return what tells one suggestion to a question from another; the order of keys says nothing."""
    return _digest([value, score, agent, kind])


def metadata_digest(metadata: Mapping[str, Any]) -> str:
    """Return what tells the metadata of a record from others."""
    return _digest(metadata)


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
