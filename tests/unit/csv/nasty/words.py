"""What stands in the cells of real files."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

Rng = random.Random
Cell = Callable[[Rng], str]

FIRST: Final = [
    "Ann",
    "Bob",
    "Carla",
    "Dmitri",
    "Eve",
    "Frank",
    "Grace",
    "Hülya",
    "Ivo",
    "Jean-Luc",
    "Zoë",
    "Seán",
    "María",
]
LAST: Final = ["Smith", "O'Brien", "Müller", "van", "der-Berg", "Nguyen", "D'Arcy", "García", "Lee", "Ødegård", "Jones"]
CITIES: Final = [
    "Springfield", "São Paulo", "St. Gallen", "New York", "Zürich", "'s-Hertogenbosch", "Paris", "Köln", "Rome", "Oslo",
]  # fmt: skip
WORDS: Final = (
    "the", "road", "was", "closed", "for", "repair", "works", "and", "all", "lights", "of", "this", "district",
    "were", "out", "during", "night", "while", "nobody", "came", "to", "see", "why", "water", "pressure",
    "dropped", "below", "limits", "new", "pump", "ordered", "delivery", "expected", "soon",
)  # fmt: skip


def number(rng: Rng) -> str:
    return str(rng.randrange(100_000))


def small(rng: Rng) -> str:
    return str(rng.randrange(100))


def decimal(rng: Rng) -> str:
    return f"{rng.uniform(-50, 900):.2f}"


def scientific(rng: Rng) -> str:
    return f"{rng.uniform(-1, 1) * 10 ** rng.randrange(-9, 9):.4e}"


def decimal_comma(rng: Rng) -> str:
    return f"{rng.uniform(-50, 900):.2f}".replace(".", ",")


def thousands(rng: Rng) -> str:
    return f"{rng.randrange(1000, 9_000_000):,}"


def thousands_dot(rng: Rng) -> str:
    return f"{rng.uniform(1000, 900_000):,.2f}".translate(str.maketrans(",.", ".,"))


def dollars(rng: Rng) -> str:
    return f"${rng.uniform(1, 90_000):,.2f}"


def euros(rng: Rng) -> str:
    return f"{rng.uniform(1, 900):.2f} €".replace(".", ",")


def percent(rng: Rng) -> str:
    return f"{rng.uniform(0, 100):.1f}%"


def iso_date(rng: Rng) -> str:
    return f"20{rng.randrange(10, 25)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"


def dotted_date(rng: Rng) -> str:
    return f"{rng.randrange(1, 29):02}.{rng.randrange(1, 13):02}.20{rng.randrange(10, 25)}"


def us_date(rng: Rng) -> str:
    return f"{rng.randrange(1, 13)}/{rng.randrange(1, 29)}/20{rng.randrange(10, 25)}"


def long_date(rng: Rng) -> str:
    month = rng.choice(["January", "February", "March", "April", "May", "June"])
    return f"{month} {rng.randrange(1, 29)}, 20{rng.randrange(10, 25)}"


def clock(rng: Rng) -> str:
    return f"{rng.randrange(24):02}:{rng.randrange(60):02}"


def time(rng: Rng) -> str:
    return f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"


def stamp(rng: Rng) -> str:
    return f"{iso_date(rng)} {time(rng)}"


def iso_stamp(rng: Rng) -> str:
    return f"{iso_date(rng)}T{time(rng)}.{rng.randrange(1000):03}Z"


def name(rng: Rng) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def comma_name(rng: Rng) -> str:
    return f"{rng.choice(LAST)}, {rng.choice(FIRST)}"


def word(rng: Rng) -> str:
    return rng.choice(WORDS)


def city(rng: Rng) -> str:
    return rng.choice(CITIES)


def address(rng: Rng) -> str:
    return (
        f"{rng.randrange(1, 999)} {rng.choice(WORDS).title()} St, {rng.choice(CITIES)}, {rng.randrange(10_000, 99_999)}"
    )


def email(rng: Rng) -> str:
    return f"{rng.choice(FIRST).lower()}.{rng.randrange(99)}@example.org"


def url(rng: Rng) -> str:
    end = rng.choice(["", "?a=1&b=2;c=3", "/x,y", "?q=a|b", "#top", ":8080/index.html"])
    return f"https://example.org/{rng.choice(WORDS)}/{rng.randrange(999)}{end}"


def plain_url(rng: Rng) -> str:
    return f"http://www.example.com/{rng.choice(WORDS)}?id={rng.randrange(999)}"


def phone(rng: Rng) -> str:
    return f"+49 {rng.randrange(100, 999)} {rng.randrange(10_000, 99_999)}"


def us_phone(rng: Rng) -> str:
    return f"({rng.randrange(200, 999)}) 555-{rng.randrange(1000, 9999)}"


def ip(rng: Rng) -> str:
    return ".".join(str(rng.randrange(256)) for _ in range(4))


def guid(rng: Rng) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128)))


def code(rng: Rng) -> str:
    return f"{rng.choice('ABCDEF')}{rng.choice('XYZ')}-{rng.randrange(10_000):04}"


def boolean(rng: Rng) -> str:
    return rng.choice(["true", "false"])


def letter(rng: Rng) -> str:
    return rng.choice("ABCDE")


def json(rng: Rng) -> str:
    return f'{{"id": {rng.randrange(99)}, "tags": ["{rng.choice(WORDS)}", "{rng.choice(WORDS)}"]}}'


def html(rng: Rng) -> str:
    return f'<p class="x; y">{rng.choice(WORDS)}, <a href="http://a.b/?c=1">{rng.choice(WORDS)}</a></p>'


def list_cell(rng: Rng) -> str:
    return "[" + ", ".join(f"'{rng.choice(WORDS)}'" for _ in range(rng.randrange(1, 5))) + "]"


def tags(rng: Rng) -> str:
    return "|".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 5)))


def semicolons(rng: Rng) -> str:
    return "; ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 4)))


def phrase(rng: Rng) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 5)))


def sentence(rng: Rng) -> str:
    words = [rng.choice(WORDS) for _ in range(rng.randrange(4, 18))]
    for _ in range(rng.randrange(3)):
        words[rng.randrange(len(words))] += rng.choice([",", ",", ";", ":", " -"])
    return " ".join(words).capitalize() + rng.choice([".", ".", "!", "?", ""])


def quip(rng: Rng) -> str:
    return f'{rng.choice(FIRST)} said "{rng.choice(WORDS)}, {rng.choice(WORDS)}" and left'


def inches(rng: Rng) -> str:
    return rng.choice(
        [f'{rng.randrange(1, 60)}" pipe', f'pipe {rng.randrange(1, 9)}"', "steel plate", f"{small(rng)} cm"]
    )


def paragraphs(rng: Rng) -> str:
    return "\n".join(sentence(rng) for _ in range(rng.randrange(1, 4)))


def coordinates(rng: Rng) -> str:
    return f"({rng.uniform(-90, 90):.5f}, {rng.uniform(-180, 180):.5f})"


def path(rng: Rng) -> str:
    return f"C:\\{rng.choice(WORDS)}\\new\\{rng.choice(WORDS)}.txt"


def seldom(cell: Cell, share: float = 0.3, otherwise: Sequence[str] = ("",)) -> Cell:
    """Leave a cell out now and then."""
    return lambda rng: rng.choice(otherwise) if rng.random() < share else cell(rng)


TYPED: Final[dict[str, Cell]] = {
    "id": number, "count": small, "amount": decimal, "date": iso_date, "Start Date": us_date, "time": clock,
    "created_at": stamp, "updated": iso_stamp, "share": percent, "email": email, "ip": ip, "uuid": guid,
    "active": boolean, "flux": scientific, "Sku": code, "phone": us_phone, "website": plain_url,
}  # fmt: skip
TEXTS: Final[dict[str, Cell]] = {
    "name": name, "city": city, "status": word, "Category": phrase, "grade": letter, "Tel.": phone,
}  # fmt: skip
COMMAS: Final[dict[str, Cell]] = {
    "full name": comma_name, "address": address, "price": dollars, "population": thousands, "comment": sentence,
    "location": coordinates, "link": url, "payload": json, "body": html, "released": long_date, "items": list_cell,
    "remark": quip, "tags": tags, "keywords": semicolons,
}  # fmt: skip


def table(rng: Rng, columns: Mapping[str, Cell], rows: int, gaps: float = 0.05) -> list[list[str]]:
    """Make a header and rows."""
    cells = [seldom(cell, gaps) for cell in columns.values()]
    made = [[cell(rng) for cell in cells] for _ in range(rows)]
    for row in made:
        if not any(row):
            row[0] = "1"
    return [[*columns], *made]


def pick(rng: Rng, columns: dict[str, Cell], count: int) -> dict[str, Cell]:
    """Choose some columns."""
    return dict(rng.sample(sorted(columns.items(), key=lambda item: item[0]), count))


def mixed(rng: Rng, count: int, *kinds: dict[str, Cell]) -> dict[str, Cell]:
    """Choose columns of several kinds, in any order, at least one of each."""
    chosen: dict[str, Cell] = {}
    for kind in kinds:
        chosen |= pick(rng, kind, 1)
    everything = {key: value for kind in kinds for key, value in kind.items() if key not in chosen}
    chosen |= pick(rng, everything, max(0, count - len(chosen)))
    items = list(chosen.items())
    rng.shuffle(items)
    return dict(items)
