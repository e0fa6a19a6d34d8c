"""What the commands say of Superset, and do about it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from consumer import exits
from tests.acceptance.conftest import Home
from tests.fake_superset import PASSWORD, USER, FakeSuperset
from tests.waits import PATIENCE

KEY = "people/a.csv"
COLUMNS = ["id", "name", "_rescued", "_source_file", "_source_etag", "_ingested_at"]


@pytest.fixture
def quick(home: Home) -> Home:
    home.drop(KEY, "id,name\n1,Ann\n")
    return home


def configure(home: Home, url: str, **others: str) -> None:
    settings = {"superset_url": url, "superset_user": USER, "superset_password": PASSWORD, **others}
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    home.configure("\n".join([*lines, "max_commit_latency = 0.1", 'listen = ""', ""]))


@contextmanager
def serving() -> Iterator[FakeSuperset]:
    """Serve a small Superset from another thread: commands need the main one."""
    superset = FakeSuperset()
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with superset.running():
            started.set()
            while not ended.is_set():  # noqa: ASYNC110 (it is set in another thread)
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(PATIENCE)
        yield superset
    finally:
        ended.set()
        thread.join()


def test_run_once_ingests_without_superset_and_tells_it_at_the_next_run(quick: Home) -> None:
    configure(quick, "http://127.0.0.1:1")
    done = quick.lakedrop("run", "--once")
    assert done.returncode == exits.OK, "the file is in its table"
    assert "not done: superset of lakehouse.people: Superset at http://127.0.0.1:1 does not answer" in done.stdout
    (task,) = (quick.json("why", KEY, "--json"))["tasks"]
    assert (task["state"], task["attempts"], task["error_class"]) == ("retrying", 1, "ServiceUnusable")

    with serving() as superset:
        superset.tables["people"] = COLUMNS
        configure(quick, superset.url)
        done = quick.lakedrop("run", "--once")
        assert (done.returncode, "not done" in done.stderr) == (exits.OK, False)
        assert superset.datasets == {1: ("people", COLUMNS)}
        (task,) = (quick.json("why", KEY, "--json"))["tasks"]
        assert (task["state"], task["detail"]["dataset"]) == ("done", 1)
        (group,) = (quick.json("status", "--json"))["tasks"]
        assert (group["name"], group["done"], group["worst"]) == ("superset", 1, None)


def test_check_tells_a_wrong_password_from_a_server_that_is_down(quick: Home) -> None:
    with serving() as superset:
        found = {}
        for name, settings in {
            "fine": {},
            "password": {"superset_password": "wrong"},
            "database": {"superset_database": "nowhere"},
            "down": {"superset_url": "http://127.0.0.1:1"},
        }.items():
            configure(quick, superset.url, **settings)
            checks = {check["name"]: check for check in results(quick)}
            found[name] = checks["superset"]

    assert [name for name, check in found.items() if check["ok"]] == ["fine"]
    assert "superset_password is wrong" in found["password"]["message"]
    assert "there are: 'Trino Lakehouse'" in found["database"]["message"]
    assert "does not answer" in found["down"]["message"]


def results(home: Home) -> Any:
    """Return what `check` found, whatever that is."""
    return json.loads(home.lakedrop("check", "--json").stdout)


def test_tasks_are_listed_and_done_again(quick: Home) -> None:
    with serving() as superset:
        superset.tables["people"] = COLUMNS
        configure(quick, superset.url)
        quick.lakedrop("run", "--once")
        listed = quick.lakedrop("tasks", "list")
        assert "lakehouse.people  superset  done, dataset 1" in listed.stdout
        superset.datasets.clear()  # somebody made it anew

        done = quick.lakedrop("tasks", "retry", "lakehouse.people")
        assert (done.returncode, superset.datasets) == (exits.OK, {1: ("people", COLUMNS)})
        done = quick.lakedrop("tasks", "retry", "lakehouse.nobody")
        assert (done.returncode, done.stderr.strip()) == (exits.FAILED, "no task is about lakehouse.nobody")
    done = quick.lakedrop("tasks", "retry")
    assert done.returncode == exits.TEMPORARY
    assert "1 task not done. What they need: lakedrop check" in done.stderr


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ('superset_url = "superset:8088"', "superset_url: not a URL"),
        ('superset_url = "http://a:b@superset:8088"', "superset_url: must not hold a password"),
        ('superset_url = "http://superset:8088"\nsuperset_user = "x"', "superset_password: missing"),
        ('superset_url = "http://superset:8088"\nsuperset_password = "x"', "superset_user: missing"),
    ],
)
def test_settings_that_cannot_be_used_are_named(home: Home, settings: str, fault: str) -> None:
    home.configure(settings)

    done = home.lakedrop("status")

    assert (done.returncode, fault in done.stderr) == (exits.CONFIGURATION, True), done.stderr
