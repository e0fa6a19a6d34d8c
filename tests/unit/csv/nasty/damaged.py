"""Files that something went wrong with."""

from __future__ import annotations

from tests.unit.csv.nasty import words
from tests.unit.csv.nasty.case import Case, minimal, nasty, plain, wrapped
from tests.unit.csv.nasty.words import COMMAS, TEXTS, TYPED, Rng, mixed, table


def _rows(rng: Rng) -> int:
    return rng.choice([8, 20, 80])


@nasty
def inches_in_plain_cells(rng: Rng) -> Case:
    rows = table(rng, {"sku": words.code, "item": words.inches, "n": words.small}, _rows(rng), gaps=0)
    delimiter = rng.choice(",;\t")
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def inches_in_quoted_cells(rng: Rng) -> Case:
    rows = table(rng, {"sku": words.code, "item": words.inches, "n": words.small}, _rows(rng), gaps=0)
    text = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)
    return Case(text, rows[1:], rows[0], ",", '"')


@nasty
def stray_opening_quotes(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "title": words.phrase, "n": words.small}, _rows(rng), gaps=0)
    for at in rng.sample(range(1, len(rows)), 2):
        rows[at][1] = '"' + rows[at][1]
    return Case(plain(rows, ","), rows[1:], rows[0], ",")


@nasty
def stray_opening_quote_among_quoted_cells(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "title": words.phrase, "who": words.name}, _rows(rng), gaps=0)
    lines = wrapped(rows, ",").splitlines()
    at = rng.randrange(1, len(lines))
    a, b, c = rows[at]
    lines[at] = f'"{a}","{b},"{c}"'
    rows[at] = [a, '"' + b, c]
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], ",", '"')


@nasty
def stray_opening_quote_that_closes_much_later(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "title": words.comma_name, "n": words.small}, _rows(rng), gaps=0)
    lines = minimal(rows, ",").splitlines()
    at = rng.randrange(1, len(lines) - 2)
    lines[at] = f'{rows[at][0]},"plain,{rows[at][2]}'
    rows[at][1] = '"plain'
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], ",", '"')


@nasty
def quote_never_closed(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "title": words.phrase, "n": words.small}, _rows(rng), gaps=0)
    at = rng.randrange(1, len(rows))
    rows[at][1] = '"' + rows[at][1]
    return Case(plain(rows, ","), rows[1:], rows[0], ",")


@nasty
def quoted_words_at_the_beginning_of_cells(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "title": words.phrase, "n": words.small}, _rows(rng), gaps=0)
    for at in rng.sample(range(1, len(rows)), 4):
        rows[at][1] = f'"{rows[at][1]}" they said'
    return Case(plain(rows, ","), rows[1:], rows[0], ",")


@nasty
def rows_too_short_and_too_long(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TEXTS), 10 + _rows(rng), gaps=0)
    delimiter = rng.choice(",;\t|")
    lines = plain(rows, delimiter).splitlines()
    good = list(rows[1:])
    for at in sorted(rng.sample(range(4, len(lines)), 4), reverse=True):
        lines[at] = rng.choice([lines[at] + delimiter + "extra", lines[at].rpartition(delimiter)[0]])
        del good[at - 1]
    return Case("\n".join(lines) + "\n", good, rows[0], delimiter, rejected=4)


@nasty
def a_third_of_the_rows_is_broken(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 6, TYPED, TEXTS), 30, gaps=0)
    lines = plain(rows, ";").splitlines()
    good = list(rows[1:])
    for at in sorted(rng.sample(range(1, len(lines)), 10), reverse=True):
        lines[at] += ";x" * rng.randrange(1, 4)
        del good[at - 1]
    return Case("\n".join(lines) + "\n", good, rows[0], ";", rejected=10)


@nasty
def blank_lines_between(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 4, TYPED, TEXTS), _rows(rng), gaps=0)
    lines = plain(rows, ",").splitlines()
    for at in sorted(rng.sample(range(1, len(lines)), 3), reverse=True):
        lines.insert(at, "")
    return Case("\n" + "\n".join(lines) + "\n\n\n", rows[1:], rows[0], ",", rejected=0)


@nasty
def every_other_line_blank(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 4, TYPED, TEXTS), _rows(rng), gaps=0)
    return Case(plain(rows, ",", "\r\r\n"), rows[1:], rows[0], ",")


@nasty
def line_ends_of_all_kinds(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 4, TYPED, TEXTS), _rows(rng), gaps=0)
    delimiter = rng.choice(",;\t")
    return Case(
        "".join(delimiter.join(row) + rng.choice(["\n", "\r\n", "\r"]) for row in rows), rows[1:], rows[0], delimiter
    )


@nasty
def another_table_below(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TEXTS), _rows(rng), gaps=0)
    other = table(rng, {"key": words.word, "total": words.number, "note": words.phrase}, 4, gaps=0)
    return Case(plain(rows, ",") + "\n" + plain(other, ","), rows[1:], rows[0], ",", rejected=5)


@nasty
def another_larger_table_below(rng: Rng) -> Case:
    rows = table(
        rng, {"id": words.number, "amount": words.decimal, "date": words.iso_date, "who": words.name}, 6, gaps=0
    )
    other = table(rng, mixed(rng, 7, TYPED, TEXTS), 12, gaps=0)
    return Case(plain(rows, ",") + "\n" + plain(other, ","), rows[1:], rows[0], ",", rejected=13)


@nasty
def another_table_of_the_same_width_below(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "amount": words.decimal, "date": words.iso_date}, _rows(rng), gaps=0)
    other = table(rng, {"name": words.name, "price": words.decimal, "city": words.city}, 6, gaps=0)
    return Case(plain(rows, ",") + "\n" + plain(other, ","), rows[1:], rows[0], ",", rejected=7)


@nasty
def whole_lines_in_quotes(rng: Rng) -> Case:
    rows = table(
        rng,
        {"id": words.number, "title": words.phrase, "who": words.comma_name, "n": words.decimal},
        _rows(rng),
        gaps=0,
    )
    inner = minimal(rows, ",").splitlines()
    return Case("".join('"' + line.replace('"', '""') + '"\n' for line in inner), rows[1:], rows[0], ",", '"')


@nasty
def semicolons_appended_to_lines(rng: Rng) -> Case:
    rows = table(
        rng, {"id": words.number, "title": words.phrase, "who": words.name, "n": words.decimal}, _rows(rng), gaps=0
    )
    return Case(
        plain(rows, ",", ";;;\n").replace(",n;;;", ",n;;;"),
        [[*row[:3], row[3] + ";;;"] for row in rows[1:]],
        [*rows[0][:3], "n"],
        ",",
    )


@nasty
def remarks_between(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TEXTS), 10 + _rows(rng), gaps=0)
    delimiter = rng.choice(",;\t|")
    lines = plain(rows, delimiter).splitlines()
    lines.insert(5, "--- page 2 ---")
    lines.insert(9, "continued")
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], delimiter, rejected=2)


@nasty
def text_in_doubled_quotes_and_backslashes(rng: Rng) -> Case:
    rows = table(
        rng,
        {
            "id": words.number,
            "text": lambda r: r.choice(['a\\"', 'Z\\"\n,', "x\\", '"\\', "plain, text"]),
            "n": words.small,
        },
        _rows(rng),
        gaps=0,
    )
    return Case(wrapped(rows, ","), rows[1:], rows[0], ",", '"')


@nasty
def blanks_before_some_quotes(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "who": words.comma_name, "where": words.address}, _rows(rng), gaps=0)
    lines = [", ".join(rows[0]), *(f'{a}, "{b}", "{c}"' for a, b, c in rows[1:])]
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], ",", '"')


@nasty
def names_and_unnamed_columns(rng: Rng) -> Case:
    delimiter = rng.choice(",;")
    rows = [["name", "", ""], *([words.name(rng), words.word(rng), words.word(rng)] for _ in range(_rows(rng)))]
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def repeated_and_empty_names(rng: Rng) -> Case:
    made = table(rng, {"id": words.number, "a": words.decimal, "b": words.decimal, "c": words.city}, _rows(rng), gaps=0)
    delimiter = rng.choice(",;\t|")
    rows = [["id", "amount", "Amount", ""], *made[1:]]
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter, rejected=0)


@nasty
def few_rows_of_texts_with_commas(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "address": words.address, "comment": words.sentence}, 2, gaps=0)
    delimiter = rng.choice(";\t|")
    return Case(minimal(rows, delimiter), rows[1:], rows[0], delimiter, '"')


@nasty
def all_kinds_between_tabs(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 9, TYPED, TEXTS, COMMAS), _rows(rng), gaps=0.2)
    return Case(plain(rows, "\t"), rows[1:], rows[0], "\t")
