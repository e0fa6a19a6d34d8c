"""When a person is asked, and what machines are told, as far as no server is needed for it."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest

from consumer import cli_esco_init, exits
from consumer.check import checked
from consumer.cli import main
from consumer.cli_esco_init import esco_init
from consumer.kinds import builtin_kinds
from consumer.kinds_esco import KIND, NAME, Esco, Standing
from consumer.routes import build_router
from consumer.settings import Settings
from consumer.settings_faults import ConfigurationError
from consumer.settings_routes import RouteSettings
from handlers.contract import TransientError
from handlers.esco_index.options import Options
from handlers.esco_index.rest import Rest
from handlers.esco_index.state import State, Status

pytestmark = pytest.mark.usefixtures("restored_logs")


@pytest.mark.parametrize("variable", ["DOCKER_ENV", "NON_INTERACTIVE"])
@pytest.mark.parametrize(("value", "unattended"), [("true", True), ("TRUE", True), ("false", False), (None, False)])
def test_a_person_before_a_terminal_is_asked_and_a_container_is_not(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, unattended: bool
) -> None:
    for name in ("DOCKER_ENV", "NON_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert cli_esco_init._is_unattended() is unattended

    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert cli_esco_init._is_unattended()


class Asked:
    """Knows how far ingestions are, as far as it matters to who asks whether to do them again."""

    def __init__(self, *, completed: bool) -> None:
        self._completed = completed

    async def standings(self) -> list[Standing]:
        return [Standing("http://weaviate:8080 *", {}, self._completed, False, Options(), None)]


@pytest.mark.parametrize(
    ("terminal", "completed", "answer", "again"),
    [
        (True, True, True, True),
        (True, True, False, False),
        (True, False, True, False),
        (False, True, True, False),
    ],
)
async def test_who_says_yes_has_all_written_again_and_nobody_else_is_asked(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, completed: bool, answer: bool, again: bool
) -> None:
    asked: list[str] = []

    def confirm(text: str, *, default: bool) -> bool:
        assert default is False
        asked.append(text)
        return answer

    for name in ("DOCKER_ENV", "NON_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal)
    monkeypatch.setattr("click.confirm", confirm)

    assert await cli_esco_init._wants_again(cast("Esco", Asked(completed=completed))) is again
    assert asked == (["http://weaviate:8080 * is there. Ingest it again?"] if terminal and completed else [])


def init(home: Path, *words: str) -> int:
    return main([*words, "--home", str(home)], entry=esco_init, name="esco-init")


def test_a_home_without_a_route_to_weaviate_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "--check") == 78
    assert 'handler = "esco_index"' in capsys.readouterr().err


def test_a_check_that_cannot_be_answered_says_that_an_ingestion_is_needed(tmp_path: Path) -> None:
    (tmp_path / "lakedrop.toml").write_text(
        '[[routes]]\nname = "esco"\nbucket = "esco"\nprefix = "esco/"\nhandler = "esco_index"\n'
        'options = { url = "http://127.0.0.1:9" }\n'
    )

    assert init(tmp_path, "--check") == 2


def test_help_shows_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], entry=esco_init, name="esco-init") == 0
    said = capsys.readouterr().out
    assert "Usage: esco-init" in said
    assert "esco-init --force-reingest" in said


def test_two_routes_that_fill_the_same_classes_are_refused() -> None:
    routes = [
        RouteSettings(name=name, bucket="esco", prefix=f"{name}/", handler="esco_index", options=options)
        for name, options in (("one", {}), ("two", {}), ("three", {"class_prefix": "Three"}))
    ]
    with pytest.raises(ConfigurationError) as caught:
        build_router(Settings.model_construct(routes=tuple(routes)), builtin_kinds())

    assert [fault for fault in caught.value.faults if "class_prefix" in fault] == caught.value.faults
    assert "one and two" in caught.value.faults[0]
    assert len(caught.value.faults) == 1


def test_two_routes_that_write_the_same_classes_in_other_ways_are_refused() -> None:
    routes = [
        RouteSettings(name=name, bucket="esco", prefix=f"{name}/", handler="esco_index", options=options)
        for name, options in (
            ("one", {"url": "http://weaviate:8080", "class_prefix": "x"}),
            ("two", {"url": "http://Weaviate:8080/", "class_prefix": "X"}),
        )
    ]
    with pytest.raises(ConfigurationError, match="one and two fill the same classes"):
        build_router(Settings.model_construct(routes=tuple(routes)), builtin_kinds())


@pytest.mark.parametrize(
    ("version", "fine"), [("1.35.9", False), ("0.99", False), ("1.36.0", True), ("2.0.0-rc.1", True)]
)
async def test_a_weaviate_that_is_too_old_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, version: str, fine: bool
) -> None:
    async def answer(_rest: Rest, method: str, path: str) -> dict[str, str]:
        assert (method, path) == ("GET", "meta")
        return {"version": version}

    monkeypatch.setattr(Rest, "call", answer)
    async with Rest("http://weaviate:8080", None) as rest:
        result = await checked("handler esco_index", rest.check_version, str, partial(KIND.repair, Settings()))

    assert result.ok is fine
    if not fine:
        assert result.message == f"Weaviate at http://weaviate:8080 is {version}; 1.36 or later is needed"
        assert (result.repair or "").startswith("update Weaviate to 1.36 or later")


def test_a_check_names_the_weaviate_that_is_away_and_what_starts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lakedrop.toml").write_text(
        '[[routes]]\nname = "esco"\nbucket = "esco"\nprefix = "esco/"\nhandler = "esco_index"\n'
        'options = { url = "http://127.0.0.1:9" }\n'
    )

    assert main(["check", "--home", str(tmp_path), "--json"]) == exits.UNAVAILABLE
    results = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert "127.0.0.1:9" in results["handler esco_index"]["message"]
    assert "up -d weaviate" in results["handler esco_index"]["repair"]


@pytest.mark.parametrize(("grace", "fine"), [("180", False), ("180.5", True)])
def test_a_grace_that_a_write_to_weaviate_may_outlive_is_named_by_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], grace: str, fine: bool
) -> None:
    (tmp_path / "lakedrop.toml").write_text(
        f'grace_seconds = {grace}\n[[routes]]\nname = "esco"\nbucket = "esco"\nprefix = "esco/"\n'
        'handler = "esco_index"\noptions = { url = "http://127.0.0.1:9" }\n'
    )

    assert main(["check", "--home", str(tmp_path), "--json"]) == exits.UNAVAILABLE
    results = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert ("grace" not in results) is fine
    assert fine or "set grace_seconds = 200" in results["grace"]["repair"]


def test_the_script_of_init_containers_is_esco_init(tmp_path: Path) -> None:
    (tmp_path / "esco-init").write_text('#!/bin/sh\necho "$@"\nexit 2\n')
    (tmp_path / "esco-init").chmod(0o755)
    script = Path(__file__).parents[3] / "scripts" / "init_ingestion.sh"

    done = subprocess.run(
        [str(script), "--check", "a b"], env={"PATH": f"{tmp_path}:/bin"}, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (2, "--check a b\n")


def test_progress_is_told_of_the_step_under_way() -> None:
    told: list[tuple[str, int, int]] = []

    class Handler:
        on_state: Callable[[State], None]

    handler = Handler()
    Esco({NAME: cast("Any", handler)}, lambda step, done, total: told.append((step, done, total)))
    handler.on_state(State(Status.IN_PROGRESS, 1, {"step": "writing", "objects": "250/18304"}))
    handler.on_state(State(Status.COMPLETED, 2, {"objects": 18304}))

    assert told == [("writing", 250, 18304)]


def test_the_client_of_weaviate_logs_no_objects() -> None:
    importlib.import_module("handlers.esco_index.index")

    assert not logging.getLogger("weaviate-client").isEnabledFor(logging.ERROR)


class Endless(BaseHTTPRequestHandler):
    """Answers with as much as is taken."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(ConnectionError):
            while True:
                self.wfile.write(bytes(1 << 20))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as the library has it)
        del format, args


async def test_an_answer_of_a_weaviate_without_an_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.esco_index.rest.MOST_BYTES", 4 << 20)
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            async with Rest(f"http://127.0.0.1:{server.server_port}", None) as rest:
                with pytest.raises(TransientError, match="more than 4 MiB: is `url`"):
                    await rest.call("GET", "schema")
        finally:
            server.shutdown()
            thread.join()
