"""The column `_rescued`."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from handlers.csv_to_iceberg.csv.typed import Typed

TEXTS = st.text(st.characters(codec="utf-8")) | st.text(st.sampled_from('"\\/\b\f\n\r\t\x00\x1f\x7f\u2028é🦆,:{}'))


@given(
    st.integers(1, 8).flatmap(
        lambda rows: st.dictionaries(TEXTS, st.lists(st.none() | TEXTS, min_size=rows, max_size=rows), min_size=1)
    )
)
def test_each_row_has_an_object_of_its_texts_that_did_not_fit(misfits: dict[str, list[str | None]]) -> None:
    rows = len(next(iter(misfits.values())))
    typed = Typed(rows)
    for name, texts in misfits.items():
        fits = pa.array([text is not None for text in texts])
        typed.misfits[name] = (pa.array([text or "fits" for text in texts], pa.string()), fits)

    found = typed.rescued().to_pylist()

    expected = [
        {name: texts[row] or "fits" for name, texts in misfits.items() if texts[row] is not None} for row in range(rows)
    ]
    assert [None if text is None else json.loads(text) for text in found] == [row or None for row in expected]
    assert [list(json.loads(text)) for text in found if text] == [list(row) for row in expected if row]
