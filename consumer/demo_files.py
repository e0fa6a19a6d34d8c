"""The sample files of `lakedrop demo`: small, messy in the ways of real exports, and the same every time."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import zstandard

NAMES: Final = ("Ada", "Grace", "Edsger", "Barbara", "Zoë", "José", "Anne-Marie", "Łukasz", "Søren", "Miyuki")
CITIES: Final = ("London", "New York", "Rotterdam", "Boston", "Genève", "Córdoba", "Liège", "Łódź", "Århus", "京都")
PARTS: Final = ("valve", "gasket", "bearing", "flange", "gear", "washer", "piston")


@dataclass(frozen=True, slots=True)
class Sample:
    """A file, and what is wrong with it."""

    key: str
    content: bytes
    note: str


def text(header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",") -> str:
    """Return a CSV text."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def customers(first: int, count: int) -> str:
    """Return customers with consecutive numbers."""
    start = date(2024, 1, 3)
    rows = [
        (
            number,
            NAMES[number % len(NAMES)],
            CITIES[number * 7 % len(CITIES)],
            f"0{number * 37 % 9000 + 1000}",
            start + timedelta(days=number * 5 % 360),
            "yes" if number % 3 else "no",
        )
        for number in range(first, first + count)
    ]
    return text(("ID", "Name", "City", "Post Code", "Joined", "Newsletter?"), rows)


def _orders(first: int, count: int, *, scale: int = 1) -> list[tuple[object, ...]]:
    return [
        (number * scale, number % 240 + 1, PARTS[number % len(PARTS)], number % 9 + 1)
        for number in range(first, first + count)
    ]


def _readings(hour: int, count: int) -> str:
    start = datetime(2024, 5, 1, hour, tzinfo=UTC)
    rows = [
        (f"S{number % 12:02}", (start + timedelta(seconds=30 * number)).isoformat(), f"{18 + number % 70 / 10:.1f}")
        for number in range(count)
    ]
    return text(("sensor", "measured at", "°C"), rows, "\t")


def _damaged_customers() -> str:
    lines = customers(241, 180).splitlines()
    lines[17] += ",one,cell,too,many"
    lines[40] = "280,cut off"
    lines[63] = lines[63].replace(lines[63].split(",")[4], "in spring")
    lines[90] = lines[90].replace(lines[90].split(",")[0], "n° 330", 1)
    return "\n".join(lines) + "\n"


def _prices() -> str:
    rows = [(part, f"{number * 13 % 90 + 1},{number * 7 % 100:02}", "Stück") for number, part in enumerate(PARTS * 6)]
    return text(("Artikel", "Preis", "Einheit"), rows, ";")


def _report() -> str:
    rows = [(month, f"{month * 1234.5:.2f}", month % 4 * 3) for month in range(1, 13)]
    return "Quarterly report\nprinted 2024-07-01\n\n" + text(("month", "turnover", "returns"), rows, ";")


def _reviews() -> str:
    words = ('Good, "really" good.', "First line\nsecond line\n\nand; a, last", "fine", "It's 5 o'clock")
    return text(("id", "stars", "review"), [(n, n % 5 + 1, words[n % len(words)]) for n in range(1, 41)])


def samples() -> list[Sample]:
    """Return the files in the order of their arrival."""
    stock = text(("part", "shelf", "level"), [(part, f"00{n}", n * 17 % 400) for n, part in enumerate(PARTS * 8)], "|")
    drifted = [(*row, "EUR") for row in _orders(121, 60, scale=100_000_000)]
    noise = bytes(number * number * 31 % 256 for number in range(6000))
    return [
        Sample("customers/2024-q1.csv", customers(1, 240).encode(), "plain, with leading zeros to be kept"),
        Sample("Preise & Co/märz.csv", _prices().encode("cp1252"), "semicolons, decimal commas, Windows encoding"),
        Sample("sensors/plant-a.tsv", _readings(6, 400).encode(), "tabs, times with offsets"),
        Sample("stock/levels.txt", stock.encode(), "pipes"),
        Sample("My Data!/Été 2024.csv", customers(1, 60).encode("utf-16"), "UTF-16, an unruly folder name"),
        Sample(
            "customers/2024-q2.csv", _damaged_customers().encode("utf-8-sig"), "byte order mark, broken rows and cells"
        ),
        Sample("sensors/plant-b.tsv.gz", gzip.compress(_readings(7, 900).encode(), mtime=0), "gzip"),
        Sample("sensors/plant-c.tsv.zst", zstandard.compress(_readings(8, 900).encode()), "Zstandard"),
        Sample("reports/2024.csv", _report().encode(), "a title above the header"),
        Sample("reviews/spring.csv", _reviews().encode(), "line breaks, commas and quotes inside cells"),
        Sample("orders/week-1.csv", text(("order", "customer", "part", "pieces"), _orders(1, 120)).encode(), "plain"),
        Sample(
            "orders/week-2.csv",
            text(("order", "customer", "part", "pieces", "currency"), drifted).encode(),
            "drift: a new column, and numbers that need 64 bits",
        ),
        Sample("mirror/prices/today.csv", _prices().encode(), "a route that follows deletions"),
        Sample("noise/no-header.csv", b"1,2.5,2024-01-01\n2,3.5,2024-01-02\n3,4.5,2024-01-03\n", "no header"),
        Sample("noise/photo.csv", b"\xff\xd8\xff\xe0" + noise, "an image that calls itself CSV"),
    ]
