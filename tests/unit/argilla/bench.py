"""A handler on the small Argilla, and the objects it is given."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from handlers.argilla_records.database import Database
from handlers.argilla_records.handler import ArgillaRecords
from handlers.argilla_records.log import IngestLog
from handlers.argilla_records.options import ArgillaSettings, Options
from handlers.contract import Claim, Receipt, Unit, fingerprint
from tests.argilla import parquet
from tests.fake_argilla import FakeArgilla
from tests.objects import BytesObject

T = TypeVar("T")

BUCKET = "data"
PREFIX = "argilla/in/"


class Context:
    """Runs work at once."""

    def __init__(self, home: Path) -> None:
        self.home = str(home)
        self.lost: set[str] = set()
        self._times = itertools.count(1_790_000_000_000)

    def clock(self) -> int:
        return next(self._times)

    def new_id(self) -> str:
        return str(next(self._times))

    async def alive(self, tokens: Collection[str]) -> set[str]:
        return set(tokens) - self.lost

    async def _run(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        return function(*args)

    def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        del lane
        return self._run(function, args)


class Bench:
    """One home, one Argilla."""

    def __init__(self, home: Path, fake: FakeArgilla) -> None:
        self.home = home
        self.fake = fake
        self.context = Context(home)
        self.settings = ArgillaSettings(url=fake.url, api_key=SecretStr(fake.api_key), log=str(home / "argilla.duckdb"))
        self.handler = ArgillaRecords(self.settings, self.context, pauses=(0.0, 0.0))
        self._tokens = itertools.count()
        self.receipt: Receipt | None = None

    def unit(self, folder: str = "vessels", **options: Any) -> Unit:
        return Unit(BUCKET, f"{PREFIX}{folder}/", "argilla", PREFIX, Options(**options))

    async def apply(
        self,
        rows: Sequence[Mapping[str, Any]] | bytes | None,
        *,
        folder: str = "vessels",
        yaml: str | None = None,
        token: str | None = None,
        **options: Any,
    ) -> Receipt:
        """Have the handler bring the dataset to these records; None: there are no objects."""
        unit = self.unit(folder, **options)
        objects = []
        if rows is not None:
            content = rows if isinstance(rows, bytes) else parquet(rows)
            objects.append(BytesObject(f"{unit.name}argilla_records.parquet", content))
        if yaml is not None:
            objects.append(BytesObject(f"{unit.name}dataset.yaml", yaml.encode()))
        claim = Claim(token or f"t{next(self._tokens)}", fingerprint(objects, unit.name), self.receipt)
        self.receipt = await self.handler.apply(unit, objects, claim)
        return self.receipt

    def asked(self) -> list[str]:
        """Return what was asked of Argilla beyond reading, since the last call."""
        asked = [one for one in self.fake.asked if not one.startswith("GET ")]
        self.fake.asked.clear()
        return asked

    def logged(self) -> list[dict[str, Any]]:
        with closing(Database(self.settings)) as database, database.transaction() as db:
            found = db.execute("SELECT * FROM argilla_ingest_log ORDER BY object_uri")
            names = [one[0] for one in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def log(self) -> IngestLog:
        return IngestLog(self.settings, self.context, "1")


@asynccontextmanager
async def benched(home: Path) -> AsyncIterator[Bench]:
    """Have a bench; connections are let go of at the end."""
    async with FakeArgilla().running() as fake:
        bench = Bench(home, fake)
        try:
            yield bench
        finally:
            await bench.handler.aclose()
