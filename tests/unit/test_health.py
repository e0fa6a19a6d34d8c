"""`lakedrop health`, asking real status pages."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from consumer import exits
from consumer.cli import main
from consumer.metrics import Metrics
from consumer.web import Web
from tests.apps import opened
from tests.stack.ports import LOOPBACK, deaf

pytestmark = pytest.mark.usefixtures("restored_logs")

TOKEN = "secret-token"  # noqa: S105 (of this test)

PATIENT_HEALTH = """
import sys
from consumer import cli, cli_health
cli_health.SECONDS = 300.0
sys.exit(cli.main(["health"]))
"""
"""The command; a machine that is busy is no page that does not answer."""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "[::1]", "0.0.0.0", "[::]"])  # noqa: S104
async def test_health_asks_where_the_page_is(host: str, tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        web = Web(app, Metrics(), address=f"{host}:0", token=TOKEN)
        task = asyncio.create_task(web.run())
        try:
            await asyncio.wait_for(web.listening.wait(), timeout=60)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PATIENT_HEALTH),
                env={
                    **os.environ,
                    "LAKEDROP_LISTEN": f"{host}:{web.url.rpartition(':')[2]}",
                    "LAKEDROP_LISTEN_TOKEN": TOKEN,
                    "http_proxy": "http://127.0.0.1:9",  # a proxy would not find this machine
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            printed, _ = await process.communicate()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    assert (process.returncode, printed.decode()) == (exits.OK, "ok\n")


def test_page_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with deaf() as port:
        listen = f"{LOOPBACK}:{port}"
        monkeypatch.setenv("LAKEDROP_LISTEN", listen)
        assert main(["health", "--home", str(tmp_path)]) == exits.UNAVAILABLE
    assert f"http://{listen}/healthz does not answer" in capsys.readouterr().err


def test_nothing_is_asked_where_there_is_no_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKEDROP_LISTEN", "")
    assert main(["health", "--home", str(tmp_path)]) == exits.OK
