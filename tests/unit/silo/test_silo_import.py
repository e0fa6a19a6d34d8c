"""The command."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from handlers.silo_staging import config
from tests.silo_backend import record, serving

COMMAND = [sys.executable, "-c", "import sys; from handlers.silo_staging.cli import main; sys.exit(main())"]


def environment(**given: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3]), **given}


def test_once_imports_and_ends(tmp_path: Path) -> None:
    silo = tmp_path / "silo"
    silo.write_text(f"#!/bin/sh\n: >{tmp_path}/ran\n")
    silo.chmod(0o755)
    with serving() as backend:
        backend.release([record()])
        given = environment(
            BACKEND_BASE_URL=backend.url,
            ROOT_DIR=str(tmp_path),
            SILO_IMPORT_COORDINATION="direct",
            PATH_TO_SILO_BINARY=str(silo),
        )
        done = subprocess.run([*COMMAND, "--once"], env=given, capture_output=True, text=True, check=False)
        silo.write_text("#!/bin/sh\nexit 4\n")
        failed = subprocess.run([*COMMAND, "--once"], env=given, capture_output=True, text=True, check=False)

    assert (done.returncode, failed.returncode) == (0, 1), failed.stderr
    assert (tmp_path / "ran").exists()
    assert json.loads(done.stderr.splitlines()[-1])["outcome"] == "imported"
    last = json.loads(failed.stderr.splitlines()[-1])
    assert (last["event"], last["kind"]) == ("silo.run_failed", "SiloFailed")


def test_22_runs_that_fail_do_not_end_it_and_sigterm_does(tmp_path: Path) -> None:
    with serving() as backend:
        given = environment(
            BACKEND_BASE_URL=backend.url, ROOT_DIR=str(tmp_path), SILO_IMPORT_POLL_INTERVAL_SECONDS="0.01"
        )
        process = subprocess.Popen(COMMAND, env=given, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        lines = [json.loads(process.stderr.readline()) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=180)
    assert process.returncode == 143
    assert {line["event"] for line in lines} == {"silo.run_failed"}
    assert all("answers 404" in line["reason"] for line in lines)


def test_a_signal_whose_exception_python_drops_ends_it_after_the_run(tmp_path: Path) -> None:
    """As it is where the signal arrives while a finaliser runs, of a connection that is closed for instance."""
    code = """
import os, signal, sys, weakref
from handlers.silo_staging import cli
class Connection: pass
def run(importer):
    connection = Connection()
    weakref.finalize(connection, os.kill, os.getpid(), signal.SIGTERM)
    del connection
    print("dropped")
cli.run = run
sys.exit(cli.main())
"""
    with serving() as backend:
        given = environment(BACKEND_BASE_URL=backend.url, ROOT_DIR=str(tmp_path))
        done = subprocess.run(
            [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False, timeout=300
        )

    assert (done.returncode, done.stdout) == (143, "dropped\n"), done.stderr


def test_a_wrong_environment_is_told_line_by_line() -> None:
    given = environment(HARD_REFRESH_INTERVAL="x")
    done = subprocess.run(COMMAND, env=given, capture_output=True, text=True, check=False)

    assert done.returncode == 78
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["silo-import"] * 2
    assert "BACKEND_BASE_URL is not set" in done.stderr


def test_help_names_every_variable() -> None:
    done = subprocess.run([*COMMAND, "--help"], env=environment(), capture_output=True, text=True, check=True)
    read = re.findall(r'(?:read|get)\("([A-Z_]+)"', inspect.getsource(config))

    assert len(read) == 10
    assert set(read) <= set(done.stdout.split())


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, handlers.silo_staging.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}

    assert {"requests", "orjson", "zstandard", "structlog"} <= loaded
    assert not loaded & {
        *("pyarrow", "polars", "duckdb", "pyiceberg", "sqlalchemy", "pydantic", "numpy", "lxml", "trino"),
        *("aio_pika", "aiobotocore", "aiohttp", "grpc", "asyncpg", "click", "consumer"),
    }
