"""Which tables Superset is told of, and when: a served home on folders, and a small Superset."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from consumer.app import App
from consumer.settings import Settings
from consumer.why import why_report
from handlers.csv_to_iceberg import CsvToIceberg
from tests.apps import served as serving
from tests.fake_superset import PASSWORD, USER, FakeSuperset
from tests.waits import until

BUCKET = "csv-uploads"


def served(home: Path, url: str | None, **others: Any) -> AbstractAsyncContextManager[App]:
    """Serve a home that knows of Superset at `url`."""
    return serving(
        Settings(
            home=home,
            listen="",
            max_commit_latency=0.05,
            retry_delays=(0.1,),
            superset_url=url,
            superset_user=USER,
            superset_password=SecretStr(PASSWORD),
            **others,
        )
    )


def drop(app: App, key: str, text: str) -> None:
    path = app.settings.buckets / BUCKET / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def until_ingested(app: App, key: str) -> None:
    async def look() -> bool:
        return (await why_report(app, BUCKET, key)).state == "done"

    await until(look)


async def until_state(app: App, target: str, state: str) -> None:
    async def look() -> bool:
        return [row.state for row in await app.task_rows.all(target=target)] == [state]

    await until(look)


class Seeing(FakeSuperset):
    """Shows every table with the columns it is said to have, and those that each of ours has."""

    def show(self, table: str, *columns: str) -> None:
        self.tables[table] = [*columns, "_rescued", "_source_file", "_source_etag", "_ingested_at"]


async def test_a_new_table_and_new_columns_are_told_soon_and_nothing_else_is(tmp_path: Path) -> None:
    async with Seeing().running() as superset, served(tmp_path, superset.url) as app:
        superset.show("people", "id", "name")
        drop(app, "people/a.csv", "id,name\n1,Ann\n")
        await until_ingested(app, "people/a.csv")
        await until_state(app, "lakehouse.people", "done")
        asked = len(superset.asked)
        drop(app, "people/b.csv", "id,name\n2,Bob\n")
        await until_ingested(app, "people/b.csv")
        assert len(superset.asked) == asked, "the table is the same"

        superset.show("people", "id", "name", "city")
        drop(app, "people/c.csv", "id,name,city\n3,Cy,Rome\n")

        async def knows_the_city() -> bool:
            return "city" in superset.datasets[1][1]

        await until(knows_the_city)
        await until_state(app, "lakehouse.people", "done")

        assert list(superset.datasets) == [1]
        assert [row.target for row in await app.task_rows.all()] == ["lakehouse.people"], "no table of ours within"


async def test_without_a_superset_nobody_is_told_and_what_was_wanted_is_forgotten(tmp_path: Path) -> None:
    async with served(tmp_path, "http://127.0.0.1:1") as app:
        drop(app, "people/a.csv", "id,name\n1,Ann\n")
        await until_ingested(app, "people/a.csv")
        await until_state(app, "lakehouse.people", "retrying")
    async with served(tmp_path, "") as app:
        handler = app.handlers["csv_to_iceberg"]
        assert isinstance(handler, CsvToIceberg)
        listening = asyncio.ensure_future(handler.retargeted())
        drop(app, "places/a.csv", "id\n1\n")
        await until_ingested(app, "places/a.csv")
        await app.tasks.compare()

        assert not listening.done(), "it waits, and takes no turns"
        assert await app.task_rows.all() == []
        listening.cancel()


async def test_tables_from_before_superset_was_switched_on_are_told_of_at_once(tmp_path: Path) -> None:
    async with served(tmp_path, None) as app:
        drop(app, "people/a.csv", "id\n1\n")
        await until_ingested(app, "people/a.csv")
        assert await app.task_rows.all() == []
    async with Seeing().running() as superset, served(tmp_path, superset.url) as app:
        superset.show("people", "id")
        await until_state(app, "lakehouse.people", "done")

        assert superset.datasets[1][0] == "people"
