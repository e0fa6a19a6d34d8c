"""Files as programs, instruments and databases write them."""

from __future__ import annotations

from tests.unit.csv.nasty import words
from tests.unit.csv.nasty.case import Case, nasty, plain, quoted, wrapped
from tests.unit.csv.nasty.words import COMMAS, TEXTS, TYPED, Rng, mixed, seldom, table


def _rows(rng: Rng) -> int:
    return rng.choice([3, 6, 20, 80])


@nasty
def web_server_log(rng: Rng) -> Case:
    rows = [
        [
            words.ip(rng),
            "-",
            "-",
            words.iso_stamp(rng),
            f"GET /{words.word(rng)}?a=1 HTTP/1.1",
            "200",
            words.number(rng),
        ]
        for _ in range(_rows(rng))
    ]
    names = ["ip", "ident", "user", "time", "request", "status", "bytes"]
    lines = [" ".join(quoted(cell) if " " in cell else cell for cell in row) for row in [names, *rows]]
    return Case("\n".join(lines) + "\n", rows, names, " ", '"')


@nasty
def columns_aligned_by_blanks(rng: Rng) -> Case:
    columns = {"station": words.code, "x": words.decimal, "y": words.decimal, "date": words.iso_date}
    rows = table(rng, columns, _rows(rng), gaps=0)
    text = "".join("".join(f"{cell:>12}" for cell in row) + "\n" for row in rows)
    return Case(text, rows[1:], rows[0], " ")


@nasty
def left_aligned_by_blanks(rng: Rng) -> Case:
    columns = {"PID": words.number, "TTY": words.code, "CPU": words.decimal, "CMD": words.word}
    rows = table(rng, columns, _rows(rng), gaps=0)
    text = "".join("".join(f"{cell:<14}" for cell in row).rstrip() + "\n" for row in rows)
    return Case(text, rows[1:], rows[0], " ")


@nasty
def single_blanks(rng: Rng) -> Case:
    columns = {"node": words.code, "x": words.scientific, "y": words.decimal, "n": words.small}
    rows = table(rng, columns, _rows(rng), gaps=0)
    return Case(plain(rows, " "), rows[1:], rows[0], " ")


@nasty
def scientific_table_with_comments(rng: Rng) -> Case:
    rows = table(rng, {"t": words.scientific, "flux": words.scientific, "err": words.scientific}, _rows(rng), gaps=0)
    lines = plain(rows, ",").splitlines()
    for _ in range(3):
        lines.insert(rng.randrange(2, len(lines)), "# instrument paused, see log, twice")
    return Case("# run 7\n" + "\n".join(lines) + "\n", rows[1:], rows[0], ",", rejected=3)


@nasty
def colons(rng: Rng) -> Case:
    columns = {"user": words.word, "uid": words.number, "gid": words.small, "home": words.letter, "shell": words.word}
    rows = table(rng, columns, _rows(rng), gaps=0)
    return Case(plain(rows, ":"), rows[1:], rows[0], ":")


@nasty
def rare_delimiters(rng: Rng) -> Case:
    rows = table(rng, mixed(rng, 5, TYPED, TEXTS, COMMAS), _rows(rng), gaps=0)
    delimiter = rng.choice("~^\x01\x1f¦")
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def double_pipes(rng: Rng) -> Case:
    columns = mixed(rng, 5, TYPED, TEXTS)
    rows = table(rng, columns, _rows(rng), gaps=0)
    delimiter = rng.choice(["||", "::", ";;"])
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def backslash_escapes(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "remark": words.quip, "by": words.comma_name}, _rows(rng), gaps=0)
    lines = [",".join(f'"{cell.replace(chr(34), chr(92) + chr(34))}"' for cell in row) for row in rows]
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], ",", '"', "\\")


@nasty
def backslash_escapes_beside_paths(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "remark": words.quip, "path": words.path}, _rows(rng), gaps=0)
    lines = [",".join(f'"{cell.replace(chr(34), chr(92) + chr(34))}"' for cell in row) for row in rows]
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], ",", '"', "\\")


@nasty
def backslashes_escaped_too(rng: Rng) -> Case:
    rows = table(rng, {"id": words.number, "remark": words.quip, "path": words.path}, _rows(rng), gaps=0)
    escape = str.maketrans({'"': '\\"', "\\": "\\\\"})
    lines = [",".join(f'"{cell.translate(escape)}"' for cell in row) for row in rows]
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], ",", '"', "\\")


@nasty
def escaped_delimiters_without_quotes(rng: Rng) -> Case:
    rows = table(
        rng, {"id": words.number, "who": words.comma_name, "n": words.small, "where": words.address}, _rows(rng), gaps=0
    )
    lines = [",".join(cell.replace(",", "\\,") for cell in row) for row in rows]
    return Case("\n".join(lines) + "\n", rows[1:], rows[0], ",", "", "\\")


@nasty
def paths_with_backslashes(rng: Rng) -> Case:
    rows = table(rng, {"path": words.path, "dir": lambda r: words.path(r) + "\\", "n": words.small}, _rows(rng), gaps=0)
    text = plain(rows, ",") if rng.random() < 0.5 else wrapped(rows, ",")
    return Case(text, rows[1:], rows[0], ",")


@nasty
def json_in_doubled_quotes(rng: Rng) -> Case:
    def nested(r: Rng) -> str:
        return '{"text": "he said \\"' + words.word(r) + '\\", then left", "n": ' + words.small(r) + "}"

    rows = table(rng, {"id": words.number, "doc": nested, "at": words.stamp}, _rows(rng), gaps=0)
    return Case(wrapped(rows, ","), rows[1:], rows[0], ",", '"')


@nasty
def html_in_quotes(rng: Rng) -> Case:
    rows = table(
        rng,
        {"id": words.number, "html": lambda r: "\n".join(words.html(r) for _ in range(3)), "n": words.small},
        _rows(rng),
        gaps=0,
    )
    return Case(wrapped(rows, rng.choice([","])), rows[1:], rows[0], ",", '"')


@nasty
def database_dump(rng: Rng) -> Case:
    columns = {
        "id": words.number,
        "name": seldom(words.name, 0.3, ["\\N"]),
        "created": words.stamp,
        "ok": words.boolean,
    }
    rows = table(rng, columns, _rows(rng), gaps=0)
    return Case(plain(rows, "\t"), rows[1:], rows[0], "\t")


@nasty
def sensor_readings(rng: Rng) -> Case:
    columns = {"ts": words.iso_stamp, **{f"ch{i}": words.scientific for i in range(rng.randrange(1, 12))}}
    rows = table(rng, columns, _rows(rng))
    delimiter = rng.choice(",;\t")
    return Case(plain(rows, delimiter, rng.choice(["\n", "\r\n", "\r"])), rows[1:], rows[0], delimiter)


@nasty
def dates_and_times_apart(rng: Rng) -> Case:
    columns = {"Date": words.us_date, "Time": words.time, "Temp C": words.decimal, "Note": seldom(words.phrase, 0.7)}
    rows = table(rng, columns, _rows(rng), gaps=0)
    delimiter = rng.choice(",;\t|")
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def genomic_intervals(rng: Rng) -> Case:
    columns = {
        "chrom": lambda r: f"chr{r.randrange(1, 22)}", "start": words.number, "end": words.number,
        "attributes": lambda r: f'gene_id "G{words.number(r)}"; transcript_id "T{words.small(r)}";',
        "strand": lambda r: r.choice("+-"),
    }  # fmt: skip
    rows = table(rng, columns, _rows(rng), gaps=0)
    return Case(plain(rows, "\t"), rows[1:], rows[0], "\t")


@nasty
def wide_matrix(rng: Rng) -> Case:
    columns = {"gene": words.code, **{f"s{i}": words.decimal for i in range(300)}}
    rows = table(rng, columns, 12, gaps=0)
    delimiter = rng.choice(",\t;")
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter)


@nasty
def thousands_of_columns(rng: Rng) -> Case:
    columns = {"sample": words.code, **{f"probe {i}": words.decimal for i in range(3000)}}
    rows = table(rng, columns, 5)
    delimiter = rng.choice(",\t;")
    return Case(plain(rows, delimiter), rows[1:], rows[0], delimiter, rejected=0)


@nasty
def index_without_a_name(rng: Rng) -> Case:
    rows = [
        ["", *row] if i == 0 else [str(i - 1), *row]
        for i, row in enumerate(table(rng, mixed(rng, 4, TYPED, TEXTS), _rows(rng)))
    ]
    return Case(plain(rows, ","), rows[1:], rows[0], ",")


@nasty
def translations(rng: Rng) -> Case:
    rows = [
        ["key", "en", "de"],
        *([f"menu.{words.word(rng)}.{i}", words.sentence(rng), words.sentence(rng)] for i in range(_rows(rng))),
    ]
    return Case(wrapped(rows, ";"), rows[1:], rows[0], ";", '"')


@nasty
def tweets(rng: Rng) -> Case:
    def tweet(r: Rng) -> str:
        return f"@{words.word(r)} {words.sentence(r)} #{words.word(r)} 😀 {words.url(r)}" + r.choice(
            ["", '\n"RT"', " ;-)"]
        )

    rows = [
        ["id", "user", "text", "retweets"],
        *(
            [str(10**17 + rng.randrange(10**9)), "@" + words.word(rng), tweet(rng), words.small(rng)]
            for _ in range(_rows(rng))
        ),
    ]
    return Case(wrapped(rows, ",", end="\r\n"), rows[1:], rows[0], ",", '"')


@nasty
def lists_in_quotes(rng: Rng) -> Case:
    rows = table(
        rng, {"id": words.number, "genres": words.list_cell, "doc": words.json, "n": words.decimal}, _rows(rng), gaps=0
    )
    return Case(wrapped(rows, ","), rows[1:], rows[0], ",", '"')


@nasty
def cells_of_several_values(rng: Rng) -> Case:
    rows = table(
        rng,
        {"movie": words.phrase, "genres": words.tags, "cast": words.semicolons, "n": words.small},
        _rows(rng),
        gaps=0,
    )
    return Case(plain(rows, ","), rows[1:], rows[0], ",")
