"""The quick ways from text to values agree with the patterns that define the types."""

from __future__ import annotations

import datetime as dt
import re
import string

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.csv_to_iceberg.csv import commas
from handlers.csv_to_iceberg.csv.casts import Caster, Notation, trimmed
from handlers.csv_to_iceberg.csv.columns import ColumnType
from handlers.csv_to_iceberg.csv.commas import with_points
from handlers.csv_to_iceberg.csv.guards import DateOrder
from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.csv.strict import StrictCaster

TYPED = [to for to in ColumnType if to is not ColumnType.VARCHAR]
PATTERNED = [to for to in TYPED if to is not ColumnType.BOOLEAN]
ORDERS: list[tuple[DateOrder, ...]] = [(), ("dmy",), ("mdy",), ("dmy", "mdy")]

DAYS = st.builds(
    lambda year, month, day, order, separator, padded: separator.join(
        {"y": f"{year:04}", "m": f"{month:02}" if padded else str(month), "d": f"{day:02}" if padded else str(day)}[
            part
        ]
        for part in order
    ),
    st.one_of(st.integers(1890, 2110), st.integers(0, 9999)),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from(["ymd", "dmy", "mdy"]),
    st.sampled_from(["-", "/", ".", " ", ":"]),
    st.booleans(),
)
TIMES = st.builds(
    lambda blank, hour, minute, rest, end: f"{blank}{hour}:{minute}{rest}{end}",
    st.sampled_from([" ", "T", "  ", "t", ""]),
    st.sampled_from(["0", "00", "9", "09", "12", "13", "23", "24", "7x"]),
    st.sampled_from(["00", "5", "59", "60"]),
    st.sampled_from(
        ["", ":00", ":59", ":60", ":5", ":30.1", ":30.123456", ":30.1234567", ":30.1230000", ":30.", ":30,5"]
    ),
    st.sampled_from(["", " AM", " PM", "am", "pM", "  PM", " P", "Z", "+02:00", " x"]),
)
NUMBERS = st.builds(
    lambda sign, whole, rest, power: f"{sign}{whole}{rest}{power}",
    st.sampled_from(["", "-", "+", "--", " "]),
    st.sampled_from(
        ["", "0", "00", "7", "007", "12", "1234", "123456789012345", "9007199254740993", "9" * 18, "9" * 19]
    ),
    st.sampled_from(
        ["", ".", ".5", ".50", ",5", ",500", ".123", ".123.456", ".234,5", ",234.5", ".123456789012345678"]
    ),
    st.sampled_from(["", "", "e3", "E-400", "e400", "e", "%", " "]),
)
GROUPED = st.integers(-(10**17), 10**17).map(lambda number: f"{number:,}".replace(",", ".") + ",5")
ODD_WORDS = """
yes NO t F True fALSE nan inf NA 0x1A 1_0 20240115T103000Z 2024-01-15T10:30:00,5 -0 -0.0 0e5
"""
WORDS = st.sampled_from([*ODD_WORDS.split(), "", " ", "é"])
RUBBISH = st.text(st.sampled_from(string.digits + "-+/.,: TZeApm\0é\u0661"), max_size=24)
TEXTS = st.one_of(DAYS, st.tuples(DAYS, TIMES).map("".join), NUMBERS, WORDS, RUBBISH)


@pytest.mark.parametrize("types", ["lossless", "seed"])
@pytest.mark.parametrize("to", PATTERNED)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS | st.none(), min_size=1, max_size=30), orders=st.sampled_from(ORDERS))
def test_what_letters_tell_is_what_the_pattern_tells(
    types: str, to: ColumnType, texts: list[str | None], orders: tuple[DateOrder, ...]
) -> None:
    caster = Caster(Options.model_validate({"types": types, "null_tokens": []}))
    bare = trimmed(pa.array(texts, pa.string()))
    notation = Notation(orders)

    quick = caster._sure(bare, to, notation).to_pylist()
    defined = caster._guarded(bare, to, notation).to_pylist()

    for text, value, reference in zip(texts, quick, defined, strict=True):
        assert value is None or value == reference, text


@pytest.mark.parametrize("seed", [False, True])
@pytest.mark.parametrize("to", TYPED)
@settings(max_examples=100, deadline=None)
@given(text=TEXTS, same=st.integers(1, 3))
def test_what_a_strict_cast_takes_is_what_the_pattern_takes(seed: bool, to: ColumnType, text: str, same: int) -> None:
    caster = Caster(Options.model_validate({"types": "seed" if seed else "lossless", "null_tokens": []}))
    texts = pa.array([text] * same)

    values = StrictCaster(seed=seed).cast(texts, to)

    if values is not None:
        cells = caster._cell_by_cell(texts, to, Notation())
        assert values.to_pylist() == cells.values.to_pylist()
        assert cells.misfits is None


def test_most_dates_and_numbers_never_meet_a_pattern() -> None:
    caster = Caster(Options())
    for to, text in [
        (ColumnType.DATE, "15/01/2024"),
        (ColumnType.DATE, "5.1.2024"),
        (ColumnType.TIMESTAMP, "15.01.2024 10:30:00.5"),
        (ColumnType.TIMESTAMP, "1/15/2024 3:04 PM"),
        (ColumnType.DOUBLE, "-12.5"),
        (ColumnType.BIGINT, "-123456789012345"),
    ]:
        assert caster._sure(pa.array([text]), to, Notation(("dmy", "mdy"))).null_count == 0, text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(NUMBERS, RUBBISH, GROUPED).map(str.strip)))
def test_decimal_commas_are_rewritten_as_the_pattern_says(texts: list[str]) -> None:
    for text, found in zip(texts, with_points(pa.array(texts, pa.string())).to_pylist(), strict=True):
        if re.fullmatch(commas.NUMBER.strip("^$"), text):
            assert found == text.replace(".", "").replace(",", ".")
        else:
            cast = Caster(Options()).cast(pa.array([found]), ColumnType.DOUBLE)
            assert cast.values.null_count == 1, (text, found)


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)),  # noqa: DTZ001
    st.sampled_from(["%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S.%f", "%d-%m-%YT%I:%M:%S %p", "%d/%m/%Y %I:%M %p"]),
)
def test_times_are_those_that_python_reads(moment: dt.datetime, form: str) -> None:
    # Python writes the year 7 as 7.
    text = moment.strftime(form.replace("%Y", f"{moment.year:04}"))

    cast = Caster(Options()).cast(pa.array([text]), ColumnType.TIMESTAMP, Notation(("dmy",)))

    assert cast.values[0].as_py() == dt.datetime.strptime(text, form)  # noqa: DTZ007
