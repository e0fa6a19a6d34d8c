"""What speaks against a remembered dialect: asked of many texts at once, told of each."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.csv_to_iceberg.csv.layout import Dialect
from handlers.csv_to_iceberg.csv.quotes import speaks_against

PLAIN = b"1,a\n2,b\n"

pieces = st.sampled_from([b'"', b",", b"\n", b"\r", b"\r\n", b" ", b"#", b"//", b"'", b"\\", b"1", b'"a, b"', b'""'])
texts = st.lists(pieces, max_size=12).map(b"".join).filter(lambda text: not text.startswith((b"\n", b"\r")))


@given(st.lists(texts, min_size=1, max_size=6))
@example([b'1,"a', b'","\n', b'1,"b\n'])
@example([PLAIN, b"", PLAIN])
@example([b"1,a\n\n", PLAIN])
@example([b"1,a", b"#2,b"])
def test_a_text_is_judged_by_itself_whatever_it_is_looked_at_with(texts: list[bytes]) -> None:
    each = [speaks_against([text], Dialect())[0] for text in texts]

    assert speaks_against(texts, Dialect()) == each


def test_the_odd_one_among_many_is_found() -> None:
    odd = {5: b'1,"a\n', 40: b"1,a\n\n2,b\n", 77: b"#1,a\n2,b\n#3,c\n", 99: b"1, a\n2, b\n"}
    many = [odd.get(number, PLAIN) for number in range(100)]

    found = speaks_against(many, Dialect())

    assert [number for number, is_odd in enumerate(found) if is_odd] == sorted(odd)


@pytest.mark.parametrize("gap", [b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n", b"\r\n\n", b"\n\r", b"\n\n\n"])
def test_blank_line_speaks_against_whatever_ends_the_lines(gap: bytes) -> None:
    assert speaks_against([b"1,a" + gap + b"2,b", PLAIN, b"1,a" + gap], Dialect()) == [True, False, False]
    assert speaks_against([b'1,"a' + gap + b'"\n2,b', PLAIN], Dialect()) == [False, False]
