"""Data of the benchmark: made here, the same at every run."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb

ROWS, COLUMNS = 100, 10
"""Of a small file."""

ROWS_PER_MB = 9_400
SLOW_ROWS_PER_MB = 15_000

_WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "jetty")


def small_file(seed: int) -> bytes:
    """Return a CSV of `ROWS` x `COLUMNS`: numbers, dates, times, booleans, text with quotes; about 10 kB."""
    rng = random.Random(seed)  # noqa: S311 (repeatable data)
    lines = ["id,customer,amount,rate,placed,shipped,paid,status,note,country"]
    for number in range(ROWS):
        words = f"{rng.choice(_WORDS)} {rng.choice(_WORDS)}"
        note = '"said ""now"", then left"' if rng.random() < 0.02 else words
        placed = f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
        shipped = f"2026-01-02T{rng.randrange(24):02}:15:00"
        paid = rng.choice(("true", "false"))
        land = rng.choice(("DE", "FR", "NL", "PL"))
        numbers = f"{number},{rng.randrange(1 << 40)},{rng.random() * 1000:.2f},{rng.random():.6f}"
        lines.append(f"{numbers},{placed},{shipped},{paid},{rng.choice(_WORDS)},{note},{land}")
    return ("\n".join(lines) + "\n").encode()


def small_files(folder: Path, count: int, *, seed: int) -> None:
    """Write `count` small files; another seed gives other content under the same names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:06}.csv").write_bytes(small_file(seed * 1_000_000 + number))


def large_file(path: Path, megabytes: int) -> int:
    """Write one CSV of about this size: ten columns of all types, 2 % quoted text, some nulls; return its rows."""
    rows = megabytes * ROWS_PER_MB
    path.parent.mkdir(parents=True, exist_ok=True)
    query = f"""
        SELECT i AS id,
               (hash(i) % 2000000000)::INTEGER AS small_number,
               (hash(i, 1) >> 1)::BIGINT AS big_number,
               (hash(i, 2) % 100000000) / 1000.0 AS measure,
               DATE '2020-01-01' + (hash(i, 3) % 2000)::INTEGER AS day,
               TIMESTAMP '2024-01-01' + to_seconds((hash(i, 4) % 60000000)::BIGINT) AS moment,
               hash(i, 5) % 2 = 0 AS flag,
               CASE WHEN i % 50 = 0 THEN 'a "quoted", longer text' ELSE 'text ' || (hash(i, 6) % 100000) END AS note,
               CASE WHEN i % 20 = 0 THEN NULL ELSE ['DE', 'FR', 'NL', 'PL'][1 + (hash(i, 7) % 4)::INTEGER] END AS land,
               (hash(i, 8) % 1000000) / 100.0 AS price
        FROM range({rows}) AS r(i)
    """
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (HEADER, DELIMITER ',')")
    return rows


def slow_file(path: Path, megabytes: int) -> int:
    """Write one CSV with columns no strict cast takes: DD/MM/YYYY, yes/no, decimal commas; return its rows."""
    rows = megabytes * SLOW_ROWS_PER_MB
    query = f"""
        SELECT i AS id,
               strftime(DATE '2020-01-01' + (hash(i, 1) % 2000)::INTEGER, '%d/%m/%Y') AS day,
               CASE WHEN hash(i, 2) % 2 = 0 THEN 'yes' ELSE 'no' END AS paid,
               replace(((hash(i, 3) % 100000000) / 1000.0)::VARCHAR, '.', ',') AS price,
               'text ' || (hash(i, 4) % 100000) AS note,
               (hash(i, 5) % 2000000000)::INTEGER AS number,
               DATE '2020-01-01' + (hash(i, 6) % 2000)::INTEGER AS plain_day
        FROM range({rows}) AS r(i)
    """
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (HEADER, DELIMITER ';')")
    return rows
