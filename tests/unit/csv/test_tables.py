"""Several tables in one file: one is read, and every record of the others is rejected with that reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from handlers.csv_to_iceberg.csv.cook import cook
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.results import SmallFile, Source
from tests.unit.csv.reading import Reading, streamed

Read = Callable[..., Reading]

LINES = "item,qty,price\na,1,2\nb,3,4\nc,4,5\n"
ROWS = [("a", 1, 2), ("b", 3, 4), ("c", 4, 5)]


@pytest.mark.parametrize(
    "head",
    ["invoice,date,customer\n123,2024-01-01,Acme\n\n", "invoice,date,customer,city\n123,2024-01-01,Acme,Bonn\n\n"],
)
def test_a_row_below_names_above_a_longer_table_is_rejected_as_another_table(read: Read, head: str) -> None:
    reading = read((head + LINES + "1,2\n").encode())

    assert reading.rows == ROWS
    assert reading.report.header_line == 4
    assert reading.report.records == 6
    assert [(reject.record, reject.line, reject.text, reject.reason) for reject in reading.report.rejects] == [
        (0, 1, head.split("\n", maxsplit=1)[0], "part of another table, which begins on line 1"),
        (0, 2, head.split("\n")[1], "part of another table, which begins on line 1"),
        (4, 8, "1,2", "2 cells, the file has 3 columns"),
    ]
    assert reading.report.kept is not None
    assert reading.report.kept.num_rows == 3


@pytest.mark.parametrize(
    "remarks",
    [
        "Orders of January\n",
        "device,X100\nserial,123\noperator,Ann\n\n",
        "owner,Ann\naccount,1234\nbranch,17\n\n",
        "account:,DE12,\nfrom:,2024-01-01,\nto:,2024-01-31,\nbalance:,12.50,\n\n",
        "# made by hand\n",
        "Orders,,\n,,\n",
        "Owner,Ann\nAccount,1234\n\n",
        "Owner,Ann\nAccount,DE12\nBranch,17\nYear,2024\n\n",
        "owner,Ann\naccount,1234\nbranch,17\nyear,2024\n\n",
        "Owner:,Ann\nAccount:,1234\nBranch:,17\nYear:,2024\n\n",
    ],
)
def test_titles_and_pairs_above_the_header_are_no_records(read: Read, remarks: str) -> None:
    reading = read((remarks + LINES).encode())

    assert reading.rows == ROWS
    assert reading.report.rejected == 0
    assert reading.report.header_line == remarks.count("\n") + 1


def test_of_two_tables_the_first_is_read(read: Read) -> None:
    reading = read((LINES + "\nname,n,date,who\nx,1,2024-01-01,Ann\ny,2,2024-01-02,Bob\n").encode())

    assert reading.rows == ROWS
    assert [reject.reason for reject in reading.report.rejects] == ["part of another table, which begins on line 6"] * 3


def test_tables_above_are_counted_in_every_file_of_a_known_head(read: Read) -> None:
    data = ("invoice,date,customer\n123,2024-01-01,Acme\n\n" + LINES).encode()

    assert (read(data).report.rejected, read(data).report.records) == (2, 5)


@pytest.mark.parametrize("head", ["region,sales", "Region,Sales", "REGION,Sales", "region,sales,"])
def test_names_above_numbers_are_a_table_of_two_columns(read: Read, head: str) -> None:
    more = "," * (head.count(",") - 1)
    rows = "".join(f"{row}{more}\n" for row in ("N,1", "S,2", "E,3"))

    reading = read(f"{head}\n{rows}\n{LINES}".encode())

    assert reading.rows == [("N", 1), ("S", 2), ("E", 3)]
    assert (reading.report.header_line, reading.report.records, reading.report.rejected) == (1, 7, 4)
    assert {reject.reason for reject in reading.report.rejects} == {"part of another table, which begins on line 6"}


def test_pairs_that_may_be_a_table_are_rejected_above_one(read: Read) -> None:
    reading = read(f"region,sales\nN,1\nS,2\n\n{LINES}".encode())

    assert reading.rows == ROWS
    assert [(reject.record, reject.line, reject.reason) for reject in reading.report.rejects] == [
        (0, line, "part of another table, which begins on line 1") for line in (1, 2, 3)
    ]


AGAIN = "id,n\n1,a\n2,b\nid,n\n3,c,d\n3,c\nid,n\n4,d\n"


@pytest.mark.parametrize(
    "text",
    [
        AGAIN,
        AGAIN.replace(",", ", "),
        AGAIN.replace(",", "||"),
        AGAIN.replace("a\n", '"a"\n'),
        AGAIN.replace("n\n1", "n\r\n1"),
    ],
)
def test_the_header_of_files_put_one_behind_another_is_no_row(read: Read, text: str) -> None:
    reading = read(text.encode())

    assert reading.rows == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert reading.types == {"id": "INTEGER", "n": "VARCHAR"}
    assert [(reject.record, reject.line, reject.reason) for reject in reading.report.rejects] == [
        (3, 4, "header repeated"),
        (4, 5, "3 cells, the file has 2 columns"),
        (6, 7, "header repeated"),
    ]


@pytest.mark.parametrize("delimiter", [",", "||"])
def test_the_header_of_a_file_with_a_byte_order_mark_behind_another_is_no_row(read: Read, delimiter: str) -> None:
    text = "\ufeffid,n\n1,a\n2,b\n".replace(",", delimiter)

    reading = read((text * 2).encode())

    assert reading.rows == [(1, "a"), (2, "b")] * 2
    assert [reject.reason for reject in reading.report.rejects] == ["header repeated"]


def test_a_header_repeated_far_below_is_found_in_every_block() -> None:
    rows = "".join(f"{number},x,\n" for number in range(300))

    reading = streamed(("id,n,\n" + rows + ("id,n,\n" + rows) * 9).encode(), block=700)

    assert len(reading.rows) == 3_000
    assert reading.types["id"] == "INTEGER"
    assert [reject.record for reject in reading.report.rejects] == [301 * number for number in range(1, 10)]


def test_a_header_repeated_in_files_that_are_read_together_is_counted_in_its_own() -> None:
    data = [b"id,n\n1,a\n2,b\n", b"id,n\n3,c\nid,n\n4,d\n5,e,f\n6,g\n", b"id,n\n7,h\nid,n\n"]
    files = [SmallFile(Source(f"t/{number}.csv", "e"), text) for number, text in enumerate(data)]

    parts = cook(files, {}, Memory(), Options()).parts

    assert [part.table["id"].to_pylist() for part in parts] == [[1, 2], [3, 4, 6], [7]]
    assert [[(one.record, one.line) for one in part.report.rejects] for part in parts] == [
        [],
        [(2, 3), (4, 5)],
        [(2, 3)],
    ]


def test_a_row_that_says_some_of_the_names_is_a_row(read: Read) -> None:
    assert read(b"id,n,\nid,n,x\nid,,\n,n,\n").rows == [("id", "n", "x"), ("id", None, None), (None, "n", None)]


def test_rejecting_most_of_a_file_as_another_table_says_so(read: Read) -> None:
    reading = read((LINES + "\nname,n,date,who\n" + "x,1,2024-01-01,Ann\n" * 4).encode())

    (warning,) = reading.report.warnings
    assert warning.startswith("most records were rejected (5 of 8): they are part of another table.")
