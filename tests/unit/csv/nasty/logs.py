"""Logs and exports whose names stand where nobody would look first, or not at all."""

from __future__ import annotations

from tests.unit.csv.nasty import words
from tests.unit.csv.nasty.case import Case, minimal, nasty, plain
from tests.unit.csv.nasty.words import COMMAS, TEXTS, TYPED, Rng, mixed, table


def _rows(rng: Rng) -> int:
    return rng.choice([4, 6, 20, 80])


@nasty
def web_server_log_that_names_its_fields(rng: Rng) -> Case:
    rows = [
        [
            words.iso_date(rng),
            words.time(rng),
            words.ip(rng),
            "GET",
            f"/{words.word(rng)}",
            "-",
            words.small(rng),
        ]
        for _ in range(_rows(rng))
    ]
    names = ["date", "time", "c-ip", "cs-method", "cs-uri-stem", "cs(Referer)", "time-taken"]
    begun = f"#Version: 1.0\n#Date: 2024-01-01 00:00:00\n#Fields: {' '.join(names)}\n"
    middle = len(rows) // 2
    text = (
        "#Software: Some Web Server For All 10.0\n"
        + begun
        + plain(rows[:middle], " ")
        + begun
        + plain(rows[middle:], " ")
    )
    return Case(text, rows, names, " ", rejected=3)


@nasty
def fields_between_blanks_above_values_between_tabs(rng: Rng) -> Case:
    columns = {
        "date": words.iso_date,
        "sc-bytes": words.number,
        "cs(User-Agent)": words.sentence,
        "x-note": words.phrase,
    }
    rows = table(rng, columns, _rows(rng), gaps=0)
    text = f"#Version: 1.0\n#Fields: {' '.join(rows[0])}\n" + plain(rows[1:], "\t")
    return Case(text, rows[1:], rows[0], "\t", rejected=0)


@nasty
def fields_between_commas(rng: Rng) -> Case:
    columns = {
        "date-time": words.iso_stamp,
        "client-ip": words.ip,
        "recipient": words.comma_name,
        "bytes": words.number,
    }
    rows = table(rng, columns, _rows(rng), gaps=0)
    text = f"#Software: Mail Server\r\n#Fields: {','.join(rows[0])}\r\n" + minimal(rows[1:], ",", end="\r\n")
    return Case(text, rows[1:], rows[0], ",", rejected=0)


@nasty
def network_monitor_log(rng: Rng) -> Case:
    columns = {"ts": words.decimal, "uid": words.code, "id.orig_h": words.ip, "service": words.word, "tags": words.tags}
    rows = table(rng, columns, _rows(rng), gaps=0)
    head = "#separator \\x09\n#set_separator\t,\n#path\tconn\n#fields\t" + "\t".join(rows[0]) + "\n"
    types = "#types\ttime\tstring\taddr\tstring\tset[string]\n"
    return Case(head + types + plain(rows[1:], "\t") + "#close\t2024-01-01\n", rows[1:], rows[0], "\t", rejected=1)


@nasty
def last_column_without_a_name(rng: Rng) -> Case:
    columns = {"Date and Time": words.us_date, "Source": words.word, "Event ID": words.small, "": words.paragraphs}
    rows = [
        [rng.choice(["Error", "Warning"]) if number else "Level", *row]
        for number, row in enumerate(table(rng, columns, _rows(rng), gaps=0))
    ]
    text = minimal([rows[0][:-1], *rows[1:]], ",", end="\r\n")
    return Case(text, rows[1:], rows[0], ",", rejected=0)


@nasty
def delimiters_with_something_on_both_sides(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 4, TYPED, TEXTS, COMMAS), _rows(rng))
    delimiter = rng.choice(["|~|", "~|~", "#|#", "|^|", "@;@"])
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter, rejected=0)


@nasty
def comments_between_two_tables(rng: Rng) -> Case:
    rows = table(rng, {"day": words.small, "users": words.number}, _rows(rng), gaps=0)
    other = table(rng, {"Country": words.city, "users": words.number}, 3, gaps=0)
    remarks = "# Account: A, B\n# Start: 20240101\n"
    text = remarks + plain(rows, ",") + "\n" + remarks + plain(other, ",")
    return Case(text, rows[1:], rows[0], ",", rejected=6)


@nasty
def remark_as_wide_as_the_table(rng: Rng) -> Case:
    columns = {"Konto": words.number, "Beleg": words.code, "Text": words.comma_name, "Datum": words.iso_date}
    rows = table(rng, columns, _rows(rng), gaps=0)
    return Case(f'"EXTF";700;"ledger";{words.iso_date(rng)}\n' + plain(rows, ";"), rows[1:], rows[0], ";", rejected=0)
