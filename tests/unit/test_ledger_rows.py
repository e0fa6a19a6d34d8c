"""Documents on their way into the ledger: JSON that any database takes."""

import json
from typing import Any

import pytest

from consumer import ledger_statements as statements
from consumer.ledger_rows import json_text
from consumer.protocol import Row


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"counts": {"rows": 1 << 62, "rejected": 0}, "columns": [["a", None, True, -0.5, 1e300]]},
        {"é": "Ünïcode 日本 \N{GRINNING FACE}", "quote": '"\\', "lines": "a\r\n\tb\x1f"},
        {"backslash": "\\u0000 \\ud800"},
    ],
)
def test_a_document_comes_back_as_it_was(document: dict[str, Any]) -> None:
    assert json.loads(json_text(document)) == document


def test_sequences_of_any_kind_are_arrays() -> None:
    assert json.loads(json_text({"columns": ((1, "a"),)})) == {"columns": [[1, "a"]]}


def test_a_row_has_the_columns_that_are_read_in_their_order() -> None:
    read = [column.name for column in statements.ROW]
    assert list(Row._fields[: Row._fields.index("receipt")]) == ["key", *read[3:]]


@pytest.mark.parametrize("odd", ["a\0b", "a\ud800b"])
def test_what_no_database_takes_is_replaced_in_values_and_names(odd: str) -> None:
    found = "a\N{REPLACEMENT CHARACTER}b"
    assert json.loads(json_text({"message": [odd], odd: 1})) == {"message": [found], found: 1}


def test_what_is_no_document_is_refused() -> None:
    with pytest.raises(TypeError):
        json_text({"what": object()})
