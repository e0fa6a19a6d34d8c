"""Tables of a served home as datasets of a real Superset, which reads them through a real Trino."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from consumer.app import App
from consumer.check import Check
from consumer.checks import checks
from consumer.settings import Settings
from consumer.task_report import TaskState
from consumer.why import why_report
from handlers.csv_to_iceberg.superset import Superset as Client
from handlers.csv_to_iceberg.superset_settings import SupersetSettings
from tests.apps import served
from tests.integration.trino_lake import TrinoLake
from tests.stack.superset import Api, Superset
from tests.stack.trino import USER, Trino
from tests.waits import until

BUCKET = "csv-uploads"


@dataclass(frozen=True)
class Site:
    """A home whose tables Trino sees, and Superset through it."""

    home: Path
    lake: TrinoLake
    superset: Superset
    api: Api
    name: str
    """Of the database in Superset; tables are named after it, too, as Superset here takes a table's name once."""

    def settings(self, **others: Any) -> Settings:
        usual: dict[str, Any] = {
            "home": self.home,
            "catalog": {name: SecretStr(value) for name, value in self.lake.properties.items()},
            "listen": "",
            "max_commit_latency": 0.2,
            "retry_delays": (0.5,),
            "superset_url": self.superset.url,
            "superset_user": self.superset.user,
            "superset_password": SecretStr(self.superset.password),
            "superset_database": self.name,
        }
        return Settings(**{**usual, **others})

    def served(self, **others: Any) -> AbstractAsyncContextManager[App]:
        """Serve the home as `lakedrop run` does."""
        return served(self.settings(**others))

    def drop(self, table: str, file: str, text: str) -> str:
        """Put a file into the bucket; returns its key."""
        path = self.home / "buckets" / BUCKET / f"{self.name}_{table}" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return f"{path.parent.name}/{file}"

    def dataset(self, table: str) -> dict[str, Any]:
        """Return what Superset says of a table's dataset; there is one."""
        (found,) = self.api.find("dataset", table_name=f"{self.name}_{table}")
        result: dict[str, Any] = self.api.call("GET", f"dataset/{found['id']}")["result"]
        return result

    def columns(self, table: str) -> set[str]:
        """Return the columns of a dataset but for those that every table has."""
        return {column["column_name"] for column in self.dataset(table)["columns"]} - {
            *("_rescued", "_source_file", "_source_etag", "_ingested_at"),
        }

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Ask Superset for rows, as a chart does."""
        query = {"columns": list(columns), "row_limit": 1000, "orderby": [[columns[0], True]]}
        datasource = {"id": self.dataset(table)["id"], "type": "table"}
        answer = self.api.call(
            "POST", "chart/data", {"datasource": datasource, "queries": [query], "result_format": "json", "force": True}
        )
        return [tuple(row[name] for name in columns) for row in answer["result"][0]["data"]]


@pytest.fixture
def site(superset: Superset, rest_lake: TrinoLake, tmp_path: Path) -> Iterator[Site]:
    name = f"t{uuid4().hex[:12]}"
    api = Api(superset)
    address = f"trino://{USER}@{rest_lake.trino.url.removeprefix('http://')}/{rest_lake.catalog}"
    number = api.call("POST", "database/", {"database_name": name, "sqlalchemy_uri": address})["id"]
    home = tmp_path / "home"
    home.mkdir()
    yield Site(home, rest_lake, superset, api, name)
    superset.start()  # a test may have stopped it
    for dataset in Api(superset).find("dataset"):
        if dataset["table_name"].startswith(name):
            Api(superset).call("DELETE", f"dataset/{dataset['id']}")
    Api(superset).call("DELETE", f"database/{number}")


async def task_of(app: App, key: str) -> TaskState | None:
    """Return what `why` says of Superset, once the object is in its table."""
    why = await why_report(app, BUCKET, key)
    return why.tasks[0] if why.state == "done" and why.tasks else None


async def until_done(app: App, key: str) -> TaskState:
    """Wait until Superset was told of an object's table as it is now."""

    async def look() -> TaskState | None:
        task = await task_of(app, key)
        return task if task is not None and task.state == "done" else None

    return await until(look)


async def until_refused(app: App, key: str, words: str = "") -> str:
    """Wait until the object is in its table and Superset could not be told, with these words; returns why."""

    async def look() -> str | None:
        task = await task_of(app, key)
        return task.error if task is not None and task.error is not None and words in task.error else None

    return await until(look)


async def test_a_dropped_file_is_a_dataset_and_its_rows_are_those_of_a_chart(site: Site) -> None:
    async with site.served() as app:
        key = site.drop("customers", "a.csv", "id,name\n1,Ann\n2,Bob\n")
        task = await until_done(app, key)
        dataset = site.dataset("customers")
        assert task.detail is not None
        assert task.detail["dataset"] == dataset["id"]
        assert (dataset["schema"], dataset["database"]["database_name"]) == ("lakehouse", site.name)
        assert site.columns("customers") == {"id", "name"}
        assert site.rows("customers", "id", "name") == [(1, "Ann"), (2, "Bob")]

        key = site.drop("customers", "b.csv", "id,name,city\n3,Cy,Rome\n")

        async def knows_the_city() -> bool:
            return "city" in site.columns("customers")

        await until(knows_the_city)
        await until_done(app, key)
        assert site.dataset("customers")["id"] == dataset["id"], "the same one"
        assert site.rows("customers", "id", "city") == [(1, None), (2, None), (3, "Rome")]


async def test_a_column_that_somebody_else_adds_is_found_by_comparing(site: Site) -> None:
    async with site.served() as app:
        key = site.drop("orders", "a.csv", "id\n1\n")
        await until_done(app, key)
        site.lake.run(f"ALTER TABLE {site.name}_orders ADD COLUMN note varchar")
        site.lake.run("CREATE TABLE not_ours (id integer)")
        await app.tasks.compare()

        async def knows_the_note() -> bool:
            return "note" in site.columns("orders")

        await until(knows_the_note)
        targets = [row.target for row in await app.task_rows.all()]
        assert targets == [f"lakehouse.{site.name}_orders"], "a table that is not ours has no dataset"


async def test_files_go_into_tables_while_superset_is_down_and_it_is_told_when_it_is_back(site: Site) -> None:
    site.superset.stop()
    async with site.served() as app:
        keys = [site.drop(f"t{number}", "a.csv", f"id\n{number}\n") for number in range(3)]
        for key in keys:
            assert "does not answer" in await until_refused(app, key)
        assert all([(await why_report(app, BUCKET, key)).state == "done" for key in keys])

        await asyncio.to_thread(site.superset.start)
        for key in keys:
            await until_done(app, key)
        assert [site.rows(f"t{number}", "id") for number in range(3)] == [[(0,)], [(1,)], [(2,)]]


async def test_what_superset_was_not_told_of_survives_the_service_that_could_not(site: Site) -> None:
    site.superset.kill()
    async with site.served() as app:
        key = site.drop("t", "a.csv", "id\n1\n")
        await until_refused(app, key)
    await asyncio.to_thread(site.superset.start)
    async with site.served() as app:
        await until_done(app, key)

        assert site.columns("t") == {"id"}


async def test_a_superset_that_hangs_delays_no_file_and_one_that_was_restarted_is_told_of_the_next(site: Site) -> None:
    async with site.served() as app:
        first = site.drop("a", "a.csv", "id\n1\n")
        await until_done(app, first)
        site.superset.pause()
        second = site.drop("b", "a.csv", "id\n2\n")

        async def is_in_its_table() -> bool:
            return (await why_report(app, BUCKET, second)).state == "done"

        await until(is_in_its_table)
        task = await task_of(app, second)
        assert task is None or task.state != "done", "nobody has answered"
        site.superset.kill()
        await asyncio.to_thread(site.superset.start)

        await until_done(app, second)
        assert site.columns("b") == {"id"}


async def test_a_wrong_password_is_told_apart_and_mended_by_settings(site: Site) -> None:
    wrong = {"superset_password": SecretStr("wrong")}
    async with site.served(**wrong) as app:
        key = site.drop("t", "a.csv", "id\n1\n")
        assert "superset_password is wrong" in await until_refused(app, key)
    async with site.served() as app:
        await until_done(app, key)


async def test_check_says_what_is_wrong_with_superset(site: Site) -> None:
    async def checked(**others: Any) -> Check:
        (found,) = [check async for check in checks(site.settings(**others)) if check.name == "superset"]
        return found

    fine = await checked()
    assert (fine.ok, f"has the database '{site.name}'" in fine.message) == (True, True)
    assert "superset_password is wrong" in (await checked(superset_password=SecretStr("wrong"))).message
    message = (await checked(superset_database="nowhere")).message
    assert "no database 'nowhere' (superset_database)" in message
    assert repr(site.name) in message
    site.superset.stop()
    down = await checked()
    assert (down.ok, "does not answer" in down.message) == (False, True)
    assert down.repair is not None


async def test_tokens_sessions_and_many_at_once_on_the_real_one(site: Site) -> None:
    site.lake.run("CREATE SCHEMA IF NOT EXISTS lakehouse")
    site.lake.run(f"CREATE TABLE {site.name}_many (id integer)")
    settings = SupersetSettings(site.superset.url, site.superset.user, SecretStr(site.superset.password), site.name)
    clients = [Client(settings) for _ in range(6)]
    try:
        found = await asyncio.gather(*(one.register("lakehouse", f"{site.name}_many", ["id"]) for one in clients))
        assert len({dataset.id for dataset in found}) == 1
        assert len(site.api.find("dataset", table_name=f"{site.name}_many")) == 1

        session = clients[0]._session
        for spoil in ("damaged token", "foreign token", "damaged CSRF token", "lost cookie"):
            login = session._login
            assert login is not None
            match spoil:
                case "damaged token":
                    login.token = "damaged"  # noqa: S105 (it opens nothing)
                case "foreign token":
                    login.token = f"{login.token.rpartition('.')[0]}.AAAA"
                case "damaged CSRF token":
                    login.csrf = "damaged"
                case "lost cookie":
                    login.http.cookie_jar.clear()
            await clients[0].register("lakehouse", f"{site.name}_many", ["id"])
            renewed = session._login
            assert renewed is not None
            assert (renewed is login) == ("token" not in spoil or "CSRF" in spoil), spoil
    finally:
        for one in clients:
            await one.aclose()


async def test_superset_is_told_later_when_trino_was_down(site: Site, trino: Trino) -> None:
    trino.stop()
    async with site.served() as app:
        key = site.drop("t", "a.csv", "id\n1\n")
        await until_refused(app, key, site.name)  # before Superset says so, it may be slow to find out
        await asyncio.to_thread(trino.start)

        await until_done(app, key)
        assert site.rows("t", "id") == [(1,)]
