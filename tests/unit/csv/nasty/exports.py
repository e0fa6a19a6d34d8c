"""Files as people export them from clients of databases, banks and instruments: with what stands around the table."""

from __future__ import annotations

from tests.unit.csv.nasty import words
from tests.unit.csv.nasty.case import Case, minimal, nasty, plain, quoted, wrapped
from tests.unit.csv.nasty.words import TEXTS, TYPED, Rng, mixed, table


def _rows(rng: Rng) -> int:
    return rng.choice([3, 5, 12, 40])


def _items(rng: Rng) -> list[list[str]]:
    return table(rng, {"item": words.word, "count": words.small, "price": words.decimal}, _rows(rng), gaps=0)


@nasty
def table_of_psql(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "name": words.name, "price": words.decimal}, _rows(rng), gaps=0)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " " for row in rows]
    lines.insert(1, "+".join("-" * (width + 2) for width in widths))
    lines.append(f"({len(rows) - 1} rows)\n")
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], "|", rejected=1)


@nasty
def lines_below_that_count_the_rows(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 4, TYPED, TEXTS), _rows(rng), gaps=0)
    text = wrapped(rows, ",") + f"\n{len(rows) - 1} rows selected.\n"
    return Case(text, rows[1:], rows[0], ",", '"', rejected=1)


@nasty
def statement_of_a_german_bank(rng: Rng) -> Case:
    rows = [["Buchungstag", "Auftraggeber", "Verwendungszweck", "Betrag (EUR)"]]
    rows += [
        [words.dotted_date(rng), words.name(rng), words.phrase(rng), words.thousands_dot(rng) + ",50"]
        for _ in range(_rows(rng))
    ]
    remarks = [
        ["Kontonummer:", "DE12 / Girokonto", ""],
        [],
        ["Von:", "01.01.2024", ""],
        ["Bis:", "31.01.2024", ""],
        ["Kontostand vom 31.01.2024:", "1.234,56 EUR", ""],
        [],
    ]
    head = "".join((";".join(quoted(cell) if cell else "" for cell in line)) + "\n" for line in remarks)
    body = "".join(";".join(map(quoted, row)) + ";\n" for row in rows)
    return Case(head + body, rows[1:], rows[0], ";", '"', rejected=0)


@nasty
def order_above_its_items(rng: Rng) -> Case:
    rows = _items(rng)
    head = [["order", "date", "customer"], [words.number(rng), words.iso_date(rng), words.city(rng)]]
    delimiter = rng.choice(",;\t|")
    return Case(plain(head, delimiter) + "\n" + plain(rows, delimiter), rows[1:], rows[0], delimiter, rejected=2)


@nasty
def pairs_of_names_and_values_above_a_table(rng: Rng) -> Case:
    rows = _items(rng)
    head = [["owner", words.city(rng)], *([words.word(rng), words.small(rng)] for _ in range(3))]
    delimiter = rng.choice(",;\t")
    return Case(plain(head, delimiter) + "\n" + plain(rows, delimiter), rows[1:], rows[0], delimiter, rejected=0)


@nasty
def rows_below_a_report_of_an_advertiser(rng: Rng) -> Case:
    rows = table(rng, {"Campaign": words.phrase, "Clicks": words.small, "Cost": words.decimal}, _rows(rng), gaps=0)
    rows.append(["Total: Account", "99", "1.5"])
    head = f'Campaign report\n"{words.long_date(rng)} - {words.long_date(rng)}"\n'
    return Case(head + minimal(rows, ","), rows[1:], rows[0], ",", rejected=0)


@nasty
def names_of_which_one_is_quoted_above_whole_numbers(rng: Rng) -> Case:
    rows = [["first value", "second", "third"]]
    rows += [["0", str(rng.randrange(100, 999)), str(rng.randrange(100, 999))] for _ in range(_rows(rng))]
    return Case('"first value" second third\n' + plain(rows[1:], " "), rows[1:], rows[0], " ", '"')


@nasty
def blanks_between_and_comments(rng: Rng) -> Case:
    rows = table(rng, {"station": words.code, "height": words.decimal}, _rows(rng), gaps=0)
    text = "# written by a program\n# version 3\n" + plain(rows[:2], " ") + "# checked\n" + plain(rows[2:], " ")
    return Case(text, rows[1:], rows[0], " ", rejected=1)


@nasty
def line_breaks_between_long_delimiters(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "note": words.paragraphs, "city": words.city}, _rows(rng), gaps=0)
    delimiter = rng.choice(("||", "~~", "^^", "::"))
    return Case(wrapped(rows, delimiter), rows[1:], rows[0], delimiter, '"')


@nasty
def blanks_at_the_ends_of_quoted_cells(rng: Rng) -> Case:
    rows = [["id", "kind", "note"]]
    rows += [[words.number(rng), words.word(rng), f" {words.word(rng)}, "] for _ in range(_rows(rng))]
    lines = [" | ".join(map(quoted, row)).ljust(40) + "\n" for row in rows]
    return Case("".join(lines), rows[1:], rows[0], "|", '"')


@nasty
def escaped_apostrophes_behind_blanks(rng: Rng) -> Case:
    rows = [["id", "who", "note"]]
    rows += [[words.number(rng), rng.choice(("O'Brien", "Lee", "D'Arcy")), words.sentence(rng)] for _ in range(9)]
    rows[1][1] = "O'Brien"
    lines = ["; ".join("'" + cell.replace("'", "\\'") + "'" for cell in row) + "\n" for row in rows]
    return Case("".join(lines), rows[1:], rows[0], ";", "'", "\\")


@nasty
def groups_above_names_that_end_in_a_delimiter(rng: Rng) -> Case:
    names = ["area", "2020 men", "2020 women", "2021 men", "2021 women"]
    rows = [[words.city(rng), *(words.small(rng) for _ in range(4))] for _ in range(_rows(rng))]
    head = [["", "2020", "", "2021", "", ""], ["area", "men", "women", "men", "women", ""]]
    delimiter = rng.choice(",;\t")
    return Case(plain([*head, *([*row, ""] for row in rows)], delimiter), rows, names, delimiter)


@nasty
def zeros_behind_the_last_line(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "name": words.name, "day": words.iso_date}, _rows(rng), gaps=0)
    return Case(plain(rows, ",") + "\0" * 512, rows[1:], rows[0], ",", rejected=1)
