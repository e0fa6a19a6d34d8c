"""Files that tools get wrong: regular text, irregular tables, few rows, marks of every kind in cells."""

from __future__ import annotations

from tests.unit.csv.nasty import words
from tests.unit.csv.nasty.case import Case, minimal, nasty, plain, quoted, wrapped
from tests.unit.csv.nasty.words import COMMAS, TEXTS, TYPED, Rng, mixed, seldom, table


def _rows(rng: Rng) -> int:
    return rng.choice([2, 4, 9, 30, 100])


def _simple(rng: Rng, columns: dict[str, words.Cell], delimiters: str, gaps: float = 0) -> Case:
    rows = table(rng, columns, _rows(rng), gaps)
    delimiter = rng.choice(delimiters)
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def long_preamble_of_prose(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TEXTS), 10 + _rows(rng), gaps=0)
    delimiter = rng.choice(";\t|,")
    head = "".join(words.sentence(rng).replace(delimiter, "") + "\n" for _ in range(rng.randrange(5, 12)))
    return Case(head + "\n" + plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def short_table_below_titles_with_commas(rng: Rng) -> Case:
    rows = table(rng, {"Date": words.iso_date, "Description": words.phrase, "Amount": words.decimal}, 3, gaps=0)
    head = f"Report generated: Monday, {words.long_date(rng)}\nAccount: 12345\n\n"
    return Case(head + plain(rows, ","), rows[1:], rows[0], ",")


@nasty
def trailing_cells_left_out(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 6, TYPED, TEXTS), 30, gaps=0)
    delimiter = rng.choice(",;\t|")
    lines = plain(rows, delimiter).splitlines()
    kept = [rows[0]]
    for at in range(1, len(lines)):
        if rng.random() < 0.25:
            lines[at] = delimiter.join(rows[at][: rng.randrange(2, 6)])
        else:
            kept.append(rows[at])
    return Case("\n".join(lines) + "\n", kept[1:], rows[0], delimiter)


@nasty
def lists_as_long_as_each_other_in_cells(rng: Rng) -> Case:
    columns = {
        "id": words.number,
        "rgb": lambda r: ";".join(words.small(r) for _ in range(3)),
        "tags": lambda r: "|".join(words.word(r) for _ in range(4)),
        "n": words.decimal,
    }
    return _simple(rng, columns, ",\t")


@nasty
def pairs_with_commas_between_pipes(rng: Rng) -> Case:
    columns = {
        "place": words.city,
        "lat,lon": lambda r: f"{r.uniform(-90, 90):.4f},{r.uniform(-180, 180):.4f}",
        "n": words.small,
    }
    return _simple(rng, columns, "|;\t")


@nasty
def json_between_pipes(rng: Rng) -> Case:
    columns = {
        "id": words.number,
        "doc": lambda r: f'{{"a": {r.randrange(9)}, "b": "{words.word(r)}", "c": [1, 2, 3]}}',
        "ok": words.boolean,
    }
    return _simple(rng, columns, "|;\t")


@nasty
def shapes_between_semicolons(rng: Rng) -> Case:
    def polygon(r: Rng) -> str:
        points = ", ".join(f"{words.decimal(r)} {words.decimal(r)}" for _ in range(4))
        return f"POLYGON (({points}))"

    return _simple(rng, {"id": words.code, "shape": polygon, "area": words.decimal}, ";\t|")


@nasty
def shapes_in_quotes(rng: Rng) -> Case:
    def polygon(r: Rng) -> str:
        return "POLYGON ((" + ", ".join(f"{words.decimal(r)} {words.decimal(r)}" for _ in range(4)) + "))"

    rows = table(rng, {"id": words.code, "the_geom": polygon, "area": words.decimal}, _rows(rng), gaps=0)
    return Case(minimal(rows, ","), rows[1:], rows[0], ",", '"')


@nasty
def logger_stamps_with_commas(rng: Rng) -> Case:
    columns = {
        "when": lambda r: f"{words.stamp(r)},{r.randrange(1000):03}",
        "level": lambda r: r.choice(["INFO", "WARN", "ERROR"]),
        "logger": lambda r: f"org.app.{words.word(r)}", "message": words.sentence,
    }  # fmt: skip
    return _simple(rng, columns, "\t|")


@nasty
def thousands_between_tabs(rng: Rng) -> Case:
    return _simple(
        rng, {"country": words.city, "people": words.thousands, "gdp": words.dollars, "share": words.percent}, "\t|;"
    )


@nasty
def numbers_with_blanks_and_commas(rng: Rng) -> Case:
    columns = {
        "Département": words.city,
        "Population": lambda r: f"{r.randrange(1, 999)} {r.randrange(1000):03}",
        "Taux": lambda r: words.decimal_comma(r) + " %",
    }
    return _simple(rng, columns, ";\t")


@nasty
def time_series_with_decimal_commas(rng: Rng) -> Case:
    return _simple(rng, {"Zeit": words.stamp, "Kanal 1": words.decimal_comma, "Kanal 2": words.decimal_comma}, ";\t")


@nasty
def chemical_names(rng: Rng) -> Case:
    columns = {
        "CAS": lambda r: f"{r.randrange(10, 9999)}-{r.randrange(10, 99)}-{r.randrange(10)}",
        "name": lambda r: f"{r.randrange(1, 4)},{r.randrange(2, 6)}-di{words.word(r)}",
        "g/mol": words.decimal,
    }
    return _simple(rng, columns, "\t;|")


@nasty
def hardware_addresses(rng: Rng) -> Case:
    def mac(r: Rng) -> str:
        return ":".join(f"{r.randrange(256):02X}" for _ in range(6))

    return _simple(rng, {"host": words.word, "mac": mac, "ip": words.ip, "seen": words.clock}, ",;\t ")


@nasty
def one_column_of_hardware_addresses(rng: Rng) -> Case:
    rows = [["mac"], *([":".join(f"{rng.randrange(256):02X}" for _ in range(6))] for _ in range(_rows(rng)))]
    return Case(plain(rows, ""), rows[1:], rows[0], "")


@nasty
def one_column_of_addresses_of_mail(rng: Rng) -> Case:
    rows = [
        ["recipients"],
        *(["; ".join(words.email(rng) for _ in range(rng.randrange(1, 4)))] for _ in range(4 + _rows(rng))),
    ]
    return Case(plain(rows, ""), rows[1:], rows[0], "")


@nasty
def one_column_of_quoted_text(rng: Rng) -> Case:
    rows = [["quote"], *([words.quip(rng)] for _ in range(_rows(rng)))]
    return Case(wrapped(rows, ","), rows[1:], rows[0], "", '"')


@nasty
def one_column_of_urls(rng: Rng) -> Case:
    rows = [["url"], *([words.url(rng)] for _ in range(_rows(rng)))]
    return Case(plain(rows, ""), rows[1:], rows[0], "")


@nasty
def one_column_of_dates_in_words(rng: Rng) -> Case:
    rows = [["released"], *([words.long_date(rng)] for _ in range(_rows(rng)))]
    return Case(plain(rows, ""), rows[1:], rows[0], "")


@nasty
def one_column_of_amounts(rng: Rng) -> Case:
    cell = rng.choice([words.thousands, words.dollars, words.decimal_comma, words.euros])
    rows = [["amount"], *([cell(rng)] for _ in range(_rows(rng)))]
    return Case(plain(rows, ""), rows[1:], rows[0], "")


@nasty
def table_of_markdown(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 4, TYPED, TEXTS), _rows(rng), gaps=0)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return Case("\n".join(lines) + "\n", [["", *row, ""] for row in rows[1:]], ["", *rows[0], ""], "|")


@nasty
def values_of_a_statement(rng: Rng) -> Case:
    rows = table(
        rng, {"id": words.number, "name": words.comma_name, "city": words.word, "n": words.decimal}, _rows(rng), gaps=0
    )
    lines = [",".join(quoted(name, "'") for name in rows[0])]
    lines += [f"{a},{quoted(b, chr(39))},{quoted(c, chr(39))},{d}" for a, b, c, d in rows[1:]]
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], ",", "'")


@nasty
def apostrophes_around_texts_with_double_quotes(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "remark": words.quip, "who": words.name}, 2 + _rows(rng), gaps=0)
    return Case(wrapped(rows, ";", "'"), rows[1:], rows[0], ";", "'")


@nasty
def double_quotes_around_texts_with_apostrophes(rng: Rng) -> Case:
    rows = table(
        rng,
        {"id": words.number, "remark": lambda r: f"'{words.word(r)}', '{words.word(r)}'", "who": words.name},
        _rows(rng),
        gaps=0,
    )
    return Case(wrapped(rows, ","), rows[1:], rows[0], ",", '"')


@nasty
def quoted_header_only(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TEXTS), _rows(rng), gaps=0)
    delimiter = rng.choice(",;\t")
    return Case(wrapped(rows[:1], delimiter) + plain(rows[1:], delimiter), rows[1:], rows[0], delimiter, '"')


@nasty
def quoted_rows_only(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TEXTS, COMMAS), _rows(rng), gaps=0)
    return Case(plain(rows[:1], ",") + wrapped(rows[1:], ","), rows[1:], rows[0], ",", '"')


@nasty
def line_breaks_in_the_header(rng: Rng) -> Case:
    rows = table(
        rng,
        {"id\n(unique)": words.number, "amount\nin EUR": words.decimal, "name": words.comma_name},
        _rows(rng),
        gaps=0,
    )
    return Case(minimal(rows, rng.choice([","])), rows[1:], rows[0], ",", '"')


@nasty
def hardly_any_cell_filled(rng: Rng) -> Case:
    names = [f"c{i}" for i in range(20)]
    rows = [
        names,
        *(
            [words.number(rng), *(words.word(rng) if rng.random() < 0.08 else "" for _ in range(19))]
            for _ in range(4 + _rows(rng))
        ),
    ]
    delimiter = rng.choice(",;\t|")
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def word_and_definition(rng: Rng) -> Case:
    return _simple(rng, {"word": words.word, "definition": words.sentence}, "\t|")


@nasty
def matrix_without_header(rng: Rng) -> Case:
    rows = [[words.decimal(rng) for _ in range(6)] for _ in range(_rows(rng))]
    delimiter = rng.choice([",", ";", "\t", " ", ", "])
    return Case(plain(rows, delimiter), rows, None, delimiter.strip(" ") or " ")


@nasty
def accounts_of_a_system(rng: Rng) -> Case:
    rows = [
        [
            words.word(rng),
            "x",
            words.number(rng),
            words.small(rng),
            words.name(rng),
            f"/home/{words.word(rng)}",
            "/bin/sh",
        ]
        for _ in range(2 + _rows(rng))
    ]
    return Case(plain(rows, ":"), rows, None, ":")


@nasty
def two_rows_of_everything(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TEXTS, COMMAS), 2, gaps=0)
    delimiter = rng.choice(",;\t")
    return Case(minimal(rows, delimiter), rows[1:], rows[0], delimiter, '"')


@nasty
def one_row_of_everything(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 6, TYPED, TEXTS, COMMAS), 1, gaps=0)
    delimiter = rng.choice(",;\t")
    return Case(minimal(rows, delimiter), rows[1:], rows[0], delimiter, '"')


@nasty
def questionnaire(rng: Rng) -> Case:
    answers = ["Yes, often", "No", "Don't know", "Yes; rarely", "n/a"]
    rows = [
        ["Respondent", "Q1. Do you read news, daily?", "Q2. Do you vote?", "Q3: Other?"],
        *([words.number(rng), *(rng.choice(answers) for _ in range(3))] for _ in range(_rows(rng))),
    ]
    delimiter = rng.choice(",;")
    return Case(minimal(rows, delimiter), rows[1:], rows[0], delimiter, '"')


@nasty
def match_results(rng: Rng) -> Case:
    columns = {
        "date": words.dotted_date,
        "home": words.city,
        "away": words.city,
        "score": lambda r: f"{r.randrange(6)}:{r.randrange(6)}",
        "kick-off": words.clock,
    }
    return _simple(rng, columns, ",;\t|")


@nasty
def days_as_names(rng: Rng) -> Case:
    days = [f"{month}/{day}/20" for month in (1, 2) for day in range(1, 12)]
    rows = [
        ["Province", "Country", "Lat", *days],
        *(
            [rng.choice(["", words.word(rng)]), words.word(rng), words.decimal(rng), *(words.small(rng) for _ in days)]
            for _ in range(_rows(rng))
        ),
    ]
    return Case(plain(rows, ","), rows[1:], rows[0], ",")


@nasty
def hours_as_names(rng: Rng) -> Case:
    hours = [f"{hour:02}:00" for hour in range(24)]
    rows = [
        ["meter", "date", *hours],
        *([words.code(rng), words.iso_date(rng), *(words.decimal(rng) for _ in hours)] for _ in range(_rows(rng))),
    ]
    delimiter = rng.choice(",;\t")
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def ranges_and_ratios(rng: Rng) -> Case:
    columns = {
        "age": lambda r: f"{r.randrange(10) * 10}-{r.randrange(10) * 10 + 9}",
        "ratio": lambda r: f"1:{r.randrange(2, 9)}",
        "mean ± sd": lambda r: f"{words.small(r)} ± {words.small(r)}",
        "p": lambda r: r.choice(["<0.001", "0.5", ">0.9"]),
    }
    return _simple(rng, columns, ",;\t|")


@nasty
def footnotes_below(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TEXTS), 8 + _rows(rng), gaps=0)
    foot = "\n* Preliminary, subject to revision; see notes\n1) Source: Office of Statistics, 2024\n"
    delimiter = rng.choice(",;\t")
    return Case(plain(rows, delimiter) + foot, rows[1:], rows[0], delimiter, rejected=2)


@nasty
def pages_that_repeat_the_header(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TYPED, TEXTS), 12, gaps=0)
    pages = [plain([rows[0], *rows[begin : begin + 4]], ",") for begin in (1, 5, 9)]
    return Case("\n".join(pages), rows[1:], rows[0], ",", rejected=2)


@nasty
def source_code_in_cells(rng: Rng) -> Case:
    rows = table(
        rng,
        {
            "id": words.number,
            "code": lambda r: f'int {words.word(r)}(int a, char *b) {{\n\tprintf("%d, %s\\n", a, b);\n}}',
            "lang": words.letter,
        },
        _rows(rng),
        gaps=0,
    )
    return Case(minimal(rows, ","), rows[1:], rows[0], ",", '"')


@nasty
def emoticons_and_marks(rng: Rng) -> Case:
    rows = table(
        rng,
        {
            "user": words.word,
            "text": lambda r: words.phrase(r) + r.choice([" :-)", " ;)", " :|", " <3", " (:", '"', "'"]),
            "likes": words.small,
        },
        _rows(rng),
        gaps=0,
    )
    return Case(minimal(rows, ","), rows[1:], rows[0], ",")


@nasty
def blank_after_some_delimiters(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "name": words.name, "city": words.word}, 4 + _rows(rng), gaps=0)
    lines = [",".join(rows[0]), *((", " if rng.random() < 0.4 else ",").join(row) for row in rows[1:])]
    kept = [line.split(",") for line in lines]
    return Case("\n".join(lines) + "\n", kept[1:], kept[0], ",")


@nasty
def null_bytes_of_text_in_tabs(rng: Rng) -> Case:
    columns = {
        "id": words.number,
        "a": seldom(words.sentence, 0.5, ["\\N"]),
        "b": seldom(words.url, 0.5, ["\\N"]),
        "c": words.stamp,
    }
    return _simple(rng, columns, "\t")
