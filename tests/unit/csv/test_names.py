from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.csv_to_iceberg.csv.columns import OWN_COLUMNS
from handlers.csv_to_iceberg.csv.names import MAX_NAME, column_names, table_name


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("customers/q1.csv", "customers"),
        ("My Data!/x.csv", "my_data"),
        ("customers/2024/q1.csv", "customers"),
        ("2024/x.csv", "_2024"),
        ("Größe & Café/x.csv", "grosse_cafe"),
        ("_ingest_registry/x.csv", "ingest_registry"),
        ("x.csv", None),
        ("/x.csv", None),
        ("", None),
    ],
)
def test_first_folder_names_the_table(key: str, table: str | None) -> None:
    assert table_name(key) == table


def test_folder_without_latin_letters_gets_a_name_of_its_own() -> None:
    one, other = table_name("客户/x.csv"), table_name("订单/x.csv")

    assert one is not None
    assert one.startswith("t_")
    assert one != other
    assert one == table_name("客户/y.csv")


def test_long_folders_that_differ_at_the_end_stay_apart() -> None:
    one, other = table_name("a" * 900 + "1/x"), table_name("a" * 900 + "2/x")

    assert one != other
    assert one is not None
    assert len(one) == MAX_NAME


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["Order ID  #"], ["order_id"]),
        (["a", "A", "a"], ["a", "a_2", "a_3"]),
        (["a", "a", "a_2"], ["a", "a_3", "a_2"]),
        (["", "x", " "], ["column_1", "x", "column_3"]),
        (["", "column_1"], ["column_1", "column_1_2"]),
        (["2024", "1st"], ["col_2024", "col_1st"]),
        (["_source_file", "_rescued"], ["source_file", "rescued"]),
        (["Straße", "名前"], ["straße", "名前"]),
        (["ล\u0e33ดับ", "ชื่อ ที่", "เมือง"], ["ล\u0e33ดับ", "ชื่อ_ที่", "เมือง"]),
        (["क्रमांक", "ग्राहक का नाम", "क्ष"], ["क्रमांक", "ग्राहक_का_नाम", "क्ष"]),
        (["பெயர்", "விலை (₹)"], ["பெயர்", "விலை"]),
        (["مُحَمَّد"], ["مُحَمَّد"]),
        (["क्\u200dष", "क्ष"], ["क्ष", "क्ष_2"]),
        (["❤\ufe0f", "\u0301", "1\ufe0f\u20e3"], ["column_1", "column_2", "col_1"]),
    ],
)
def test_header_cells_become_columns(cells: list[str], names: list[str]) -> None:
    assert column_names(cells) == names


@given(st.lists(st.text(max_size=6), max_size=12))
def test_columns_are_unique_lower_case_and_never_our_own(cells: list[str]) -> None:
    names = column_names(cells)

    assert len(names) == len(cells)
    assert len({name.casefold() for name in names}) == len({*names})
    assert len({*names}) == len(names)
    assert not {*names} & {*OWN_COLUMNS}
    assert all(names)
