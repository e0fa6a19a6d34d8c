"""What stands above the rows: padded lines, groups beside names, an empty corner, or the first of the rows itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from handlers.csv_to_iceberg.csv.errors import HeaderMissing
from tests.unit.csv.reading import Reading

Read = Callable[..., Reading]

ROWS = "".join(f"2024-01-{day:02d},A{day},{day * 3}\n" for day in range(10, 20))


@pytest.mark.parametrize(
    "padding",
    [
        "Customer,ACME Ltd,\nPeriod,January,\n",
        "Customer,ACME Ltd,\n,,\n",
        ",Sales report,\n,,\n",
        "Sales report,,\nBy,Ann Smith,\n,,\n",
    ],
)
def test_lines_that_a_spreadsheet_padded_are_no_header(read: Read, padding: str) -> None:
    reading = read(f"{padding}day,article,n\n{ROWS}".encode())

    assert reading.table.column_names[:3] == ["day", "article", "n"]
    assert (len(reading.rows), reading.report.rejected) == (10, 0)
    assert len(reading.report.skipped) == sum(any(line.strip(",")) for line in padding.splitlines())


def test_a_table_that_begins_in_the_second_column_is_found_below_its_title(read: Read) -> None:
    reading = read(b",Report,,\n,name,city,n\n,Ann,Rome,1\n,Bob,Oslo,2\n,Cid,Bern,3\n")

    assert [row[1:] for row in reading.rows] == [("Ann", "Rome", 1), ("Bob", "Oslo", 2), ("Cid", "Bern", 3)]


def test_records_of_nothing_below_a_remark_are_no_table(read: Read) -> None:
    with pytest.raises(HeaderMissing):
        read(b"remark\n,,\n,,\n,,\n")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        # A name is missing, and the first row has a word where numbers stand.
        ("name,score,\nAnn,DNF,x\nBob,12.5,y\nCid,13.5,z\n", "name"),
        ("name,score,\nAnn,,x\nBob,,y\nCid,13.5,z\n", "name"),
        # The last column is for remarks, and one row has one.
        ("name,score,\nAnn,5,\nBob,6,\nCid,DNF,injured\nDee,7,\nEve,8,\nFay,9,\n", "name"),
        ("name,score,,\nAnn,5,,\nBob,DNF,fell,hurt\nCid,7,,\nDee,8,,\nEve,9,,\n", "name"),
        # Nothing tells names from rows.
        ("name,city,\nAnn,,\nBob,Rome,x\nCid,Oslo,y\nDee,Bern,z\n", "name"),
    ],
)
def test_names_that_lack_the_last_one_are_not_padding(read: Read, text: str, first: str) -> None:
    reading = read(text.encode())

    assert reading.table.column_names[0] == first
    assert len(reading.rows) == text.count("\n") - 1


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("region,2020,,2021,\n,m,f,m,f\n", ["region", "col_2020_m", "col_2020_f", "col_2021_m", "col_2021_f"]),
        ("id,rated,,,age\n,price,speed,staff,\n", ["id", "rated_price", "rated_speed", "rated_staff", "age"]),
        (
            "id,rated,,,age\n,price,speed,staff,years\n",
            ["id", "rated_price", "rated_speed", "rated_staff", "age_years"],
        ),
    ],
)
def test_names_may_go_on_below_groups_only(read: Read, head: str, names: list[str]) -> None:
    reading = read((head + "Rome,1,2,3,4\nOslo,5,6,7,8\n").encode())

    assert reading.table.column_names[:-1] == names
    assert reading.rows == [("Rome", 1, 2, 3, 4), ("Oslo", 5, 6, 7, 8)]


@pytest.mark.parametrize("row", [",x,NA,,", ",x,y,z,", "Bern,x,y,z,u"])
def test_a_first_row_below_nameless_columns_is_a_row(read: Read, row: str) -> None:
    below = "Rome,a,1,b,c\nOslo,d,2,e,f\n" if "NA" in row else "Rome,a,b,c,d\nOslo,e,f,g,h\n"
    reading = read(f"city,first,,third,fourth\n{row}\n{below}".encode())

    assert [cells[0] for cells in reading.rows] == [row.partition(",")[0] or None, "Rome", "Oslo"]


@pytest.mark.parametrize(
    "text",
    [
        "name,,score,comment\nAnn,unknown,,\nBob,5,7,fine\nCid,6,8,good\n",
        "task,mon,,wed\nwash,Ann,Bob,\nrun,5,6,x\nsit,7,8,y\n",
    ],
)
def test_a_first_row_with_gaps_is_no_part_of_names_with_a_gap(read: Read, text: str) -> None:
    assert len(read(text.encode()).rows) == 3


@pytest.mark.parametrize("corner", [",2021,2022,2023", ",2024-01-01,2024-02-01,2024-03-01", ",0,1,2"])
def test_values_beside_an_empty_corner_name_columns(read: Read, corner: str) -> None:
    reading = read(f"{corner}\nFrance,0.5,1.5,2.5\nSpain,1.0,2.0,3.0\n".encode())

    assert reading.rows == [("France", 0.5, 1.5, 2.5), ("Spain", 1.0, 2.0, 3.0)]
    assert reading.table.column_names[1].startswith("col_")


@pytest.mark.parametrize("text", [",2021,2022\nx,1,2\nx,3,4\n", ",5,7\nx,1,2\ny,3,4\n", ",2021,2022\n,1,2\ny,3,4\n"])
def test_a_row_that_lacks_its_first_cell_is_no_header(read: Read, text: str) -> None:
    with pytest.raises(HeaderMissing):
        read(text.encode())


@pytest.mark.parametrize(
    "row",
    [
        "https://a.example/{0},Page",
        "u{0}@a.example,Ann",
        "00000000-0000-4000-8000-00000000000{0},Ann",
        "user{0}:x:100{0},rw",
        "item {0},red",
        "chr{0}",
    ],
)
def test_a_first_line_like_the_lines_below_is_a_row(read: Read, row: str) -> None:
    text = "".join(row.format(number) + "\n" for number in range(1, 6)).encode()

    with pytest.raises(HeaderMissing):
        read(text)
    assert len(read(text, header="generate").rows) == 5


@pytest.mark.parametrize(
    "text",
    [
        "week 1,week 2\nAnn,Bob\nCid,Dee\n",
        "http://a.example/title,http://a.example/type\nOne,http://a.example/Book\nTwo,http://a.example/Map\n",
        "Q1,Q2\nQ1,Q2\nx,y\n",
        "node1,node2,weight\nnode3,node4,0.5\nnode5,node6,0.7\n",
        "player1,player2,winner\nplayer7,player9,player7\nplayer3,player4,player4\n",
        "Timestamp,Q1,Q2\n2024-01-01,Q3,Q4\n2024-01-02,Q5,Q6\n",
        "id,http://schema.org/name,http://schema.org/url\n1,Ann,http://a.example/1\n2,Bob,http://a.example/2\n",
        "about,http://a.example/homepage\nhttp://a.example/1,http://b.example/1\nhttp://a.example/2,http://b.example/2\n",
        "mail@a.example,age\nu1@a.example,31\nu2@a.example,32\n",
        "url,mail\nhttp://a.example/1,u1@a.example\nhttp://a.example/2,u2@a.example\n",
    ],
)
def test_names_that_look_like_addresses_or_end_in_numbers_are_names(read: Read, text: str) -> None:
    assert read(text.encode()).report.header_line == 1
