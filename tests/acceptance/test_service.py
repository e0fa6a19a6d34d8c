"""`lakedrop run` as a real process, and its one-time form."""

import errno
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Home, Service
from tests.waits import PATIENCE, wait_for

GOOD = "id,name\n1,anna\n2,bert\n"
Serve = Callable[..., Service]


@pytest.fixture
def quick(home: Home) -> Home:
    home.configure("max_commit_latency = 0.1\nwaker_seconds = 0.2\n")
    return home


# run


def test_dropped_file_is_queryable_while_the_service_runs(quick: Home, serve: Serve) -> None:
    service = serve()
    service.until("run.started")

    quick.drop("customers/q1.csv", GOOD)
    service.until("delivery.settled", unit="customers/q1.csv", outcome="done")

    assert quick.query("select id, name from lakehouse.customers order by id") == [
        {"id": 1, "name": "anna"},
        {"id": 2, "name": "bert"},
    ]
    assert service.end() == 0
    assert [line["event"] for line in service.lines()][-1] == "run.ended"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_says_what_happens_and_ends_with_0(number: signal.Signals, serve: Serve) -> None:
    service = serve()
    service.until("run.started")

    assert service.end(number) == 0

    draining = service.until("run.draining", signal=number.name)
    assert "a second signal" in draining["next_step"]


def test_second_signal_puts_back_at_once_and_costs_no_attempt(home: Home, serve: Serve) -> None:
    home.configure(f"max_commit_latency = {2 * PATIENCE}\ndrain_seconds = {2 * PATIENCE}\n")
    service = serve()
    service.until("run.started")
    for number in range(2):  # the second waits for the window that the first one opened
        home.drop(f"t/{number}.csv", GOOD)
        service.until("delivery.settled", unit=f"t/{number}.csv") if number == 0 else None
    wait_for(lambda: home.in_ledger("select 1 from units where unit = 't/1.csv' and open and lease_token is not null"))
    service.process.send_signal(signal.SIGTERM)
    service.until("run.draining")

    assert service.end() == 0, "it drained, or waited for the window: `end` does so for half as long"

    service_lines = service.lines()
    assert [line for line in service_lines if line["event"] == "run.stopping_now"]
    ((status, attempts, token, due),) = home.in_ledger(
        "select status, attempts, lease_token, wake_at is not null from units where unit = 't/1.csv'"
    )
    assert (status, attempts, token, due) == ("pending", 0, None, 1)


def test_service_shows_a_person_where_to_drop_files_and_what_became_of_them(quick: Home) -> None:
    screen, stdout = pty.openpty()
    words = [sys.executable, "-m", "consumer", "run", "--home", str(quick.path)]
    environment = {**os.environ, "COLUMNS": "300", "TERM": "dumb"}
    process = subprocess.Popen(words, stdout=stdout, stderr=stdout, stdin=subprocess.DEVNULL, env=environment)
    os.close(stdout)
    output = b""  # what is read at a time may end in the middle of a letter
    try:
        while b"Ctrl-C" not in output:
            output += os.read(screen, 65536)
        quick.drop("customers/q1.csv", GOOD + "3\n")
        while b"rejected" not in output:
            output += os.read(screen, 65536)
    finally:
        process.terminate()
        with suppress(OSError):
            while chunk := os.read(screen, 65536):
                output += chunk
        os.close(screen)

    assert process.wait(PATIENCE) == 0
    seen = output.decode()
    assert f"{quick.bucket}/customers/q1.csv" in seen
    assert "lakedrop query 'from lakehouse.customers limit 5'" in seen
    assert "customers/q1.csv → lakehouse.customers  2 rows  1 rejected" in seen
    assert "run.draining" in seen
    assert '"event"' not in seen


# run --once


def test_once_makes_a_home_and_ends(home: Home) -> None:
    done = home.lakedrop("run", "--once")

    assert done.returncode == 0, done.stderr
    assert home.bucket.is_dir()


def test_once_works_until_nothing_is_left(quick: Home) -> None:
    for number in range(5):
        quick.drop(f"t{number}/a.csv", GOOD)

    done = quick.lakedrop("run", "--once")

    assert done.returncode == 0, done.stderr
    assert quick.in_ledger("select count(*) from units where status = 'done' and wake_at is null") == [(5,)]
    assert quick.query("select count(*) as n from lakehouse._ingest_registry") == [{"n": 5}]


def test_once_names_failed_units_and_ends_with_1_every_time(quick: Home) -> None:
    quick.drop("t/good.csv", GOOD)
    quick.drop("t/bad.csv", "")

    for _ in range(2):
        done = quick.lakedrop("run", "--once")

        assert done.returncode == 1
        assert "failed: csv-uploads/t/bad.csv: " in done.stdout
        assert done.stdout.count("bad.csv") == 1
        assert "good.csv: " not in done.stdout.partition("failed: ")[2]


def test_once_writes_nothing_but_json_to_standard_error_and_its_result_to_standard_output(quick: Home) -> None:
    quick.drop("t/good.csv", GOOD)
    quick.drop("t/bad.csv", "")

    done = quick.lakedrop("run", "--once")

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["outcome"] for line in lines if line.get("unit") == "t/bad.csv"] == ["failed"]
    failed, summed, worked = done.stdout.splitlines()
    assert failed.startswith("failed: csv-uploads/t/bad.csv: ")
    assert summed.startswith("1 unit failed; ")
    assert worked == "Worked on 2 units: 1 done, 1 failed"


def test_once_that_could_not_list_everything_is_69_and_says_what(quick: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.drop("secret/a.csv", GOOD)
    quick.drop("t/a.csv", GOOD)
    scandir = os.scandir

    def refused(path: str | bytes) -> Any:
        if os.fsencode(path).endswith(b"/secret"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    done = quick.lakedrop("run", "--once")
    swept = quick.lakedrop("sweep")
    checked = quick.lakedrop("check")
    status = quick.lakedrop("status")

    assert (done.returncode, swept.returncode, checked.returncode, status.returncode) == (69, 69, 69, 0)
    for told in (done.stdout, swept.stdout, checked.stdout, status.stdout):
        assert f"{quick.bucket}/secret: Permission denied: let this user read it" in told
    assert done.stdout.splitlines()[1:] == ["Worked on 1 unit: 1 done"]


def test_once_says_that_deletions_are_withheld_and_ends_with_1(home: Home) -> None:
    home.configure(
        'max_vanish_units = 0\nmax_vanish_share = 0\n[[routes]]\nname = "csv"\nbucket = "csv-uploads"\n'
        'options = { on_delete = "remove" }\n'
    )
    home.drop("t/a.csv", GOOD)
    assert home.lakedrop("run", "--once").returncode == 0
    (home.bucket / "t/a.csv").unlink()

    done = home.lakedrop("run", "--once")

    assert done.returncode == 1
    withheld, worked = done.stdout.splitlines()
    assert withheld.startswith("1 deletion withheld")
    assert f"lakedrop sweep --accept-vanished --home {home.path}" in withheld
    assert worked == "Nothing had to be done."


def test_check_finds_a_warehouse_that_cannot_be_written(quick: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.drop("t/a.csv", GOOD)
    quick.lakedrop("run", "--once")
    good = quick.lakedrop("check")
    temporary_file = tempfile.TemporaryFile

    def refused(dir: Path) -> Any:  # noqa: A002 (its name there)
        if dir.name == "warehouse":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), dir)
        return temporary_file(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    done = quick.lakedrop("check")

    assert (good.returncode, done.returncode) == (0, 69)
    assert f"{quick.path}/warehouse: Permission denied" in done.stdout
    assert f'chown -R "$USER" {quick.path}/warehouse' in done.stdout


def test_once_sums_up_what_became_of_the_units(quick: Home) -> None:
    quick.drop("t/good.csv", GOOD)
    quick.drop("t/bad.csv", "")

    assert quick.lakedrop("run", "--once").stdout.splitlines()[-1] == "Worked on 2 units: 1 done, 1 failed"


def test_once_ignores_failures_that_no_route_takes_any_more(quick: Home) -> None:
    quick.drop("t/bad.csv", "")
    assert quick.lakedrop("run", "--once").returncode == 1
    quick.configure('[[routes]]\nname = "csv"\nbucket = "csv-uploads"\nprefix = "other/"\n')

    assert quick.lakedrop("run", "--once").returncode == 0


def test_once_waits_for_units_that_a_dead_process_held(quick: Home) -> None:
    quick.drop("t/a.csv", GOOD)
    assert quick.lakedrop("run", "--once").returncode == 0
    until = round(time.time() * 1000) + 3000
    quick.in_ledger("update units set lease_token = 'dead', lease_until = ?, open = 1", until)

    done = quick.lakedrop("run", "--once", "--wait", "0")

    assert done.returncode == 0, done.stderr
    assert time.time() * 1000 > until
    assert quick.in_ledger("select lease_token, wake_at, status from units") == [(None, None, "done")]


def test_once_works_retries_that_are_due_soon(quick: Home) -> None:
    quick.drop("t/a.csv", GOOD)
    assert quick.lakedrop("run", "--once").returncode == 0
    due = round(time.time() * 1000) + 4000
    quick.in_ledger("update units set status = 'retrying', wake_at = ?, attempts = 1, open = 1", due)

    done = quick.lakedrop("run", "--once", "--wait", "30")

    assert done.returncode == 0, done.stderr
    assert time.time() * 1000 > due
    assert quick.in_ledger("select status, wake_at from units") == [("done", None)]


def test_once_lists_retries_that_are_due_later_and_ends_with_75(quick: Home) -> None:
    quick.drop("t/a.csv", GOOD)
    assert quick.lakedrop("run", "--once").returncode == 0
    due = round(time.time() * 1000) + 3_600_000
    quick.in_ledger("update units set status = 'retrying', wake_at = ?, open = 1, error = 'catalog away'", due)

    done = quick.lakedrop("run", "--once", "--wait", "1")

    assert done.returncode == 75
    assert "csv-uploads/t/a.csv: catalog away" in done.stdout
    assert "1 unit due later than --wait" in done.stdout
