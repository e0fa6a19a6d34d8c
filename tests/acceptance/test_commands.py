"""The other commands on a real home: exit codes, and what people and machines read."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Home
from tests.waits import PATIENCE, wait_for

GOOD = "id,name\n1,anna\n2,bert\n"


@pytest.fixture
def quick(home: Home) -> Home:
    home.configure("max_commit_latency = 0.1\nwaker_seconds = 0.2\n")
    return home


# sweep, replay, ledger


def test_sweep_works_off_what_it_finds(quick: Home) -> None:
    quick.drop("t/a.csv", GOOD)
    assert quick.lakedrop("run", "--once").returncode == 0
    quick.drop("t/b.csv", GOOD)

    report = quick.json("sweep", "--json")

    assert (report["listed"], report["matched"], report["new"], report["worked"]["done"]) == (2, 1, 1, 1)
    assert quick.json("sweep", "--json")["agrees"]


def test_braked_sweep_ends_with_1_and_names_the_way_on(home: Home) -> None:
    home.configure(
        'max_vanish_units = 1\nmax_vanish_share = 0\n[[routes]]\nname = "csv"\nbucket = "csv-uploads"\n'
        'options = { on_delete = "remove" }\n'
    )
    for number in range(3):
        home.drop(f"t/{number}.csv", GOOD)
    assert home.lakedrop("sweep").returncode == 0
    for number in range(3):
        (home.bucket / f"t/{number}.csv").unlink()

    braked = home.lakedrop("sweep")
    kept = home.query("select count(*) as n from lakehouse.t")
    accepted = home.lakedrop("sweep", "--accept-vanished")

    assert (braked.returncode, kept) == (1, [{"n": 6}])
    assert "3 deletions withheld" in braked.stdout
    assert f"lakedrop sweep --accept-vanished --home {home.path}" in braked.stdout
    assert (accepted.returncode, home.query("select count(*) as n from lakehouse.t")) == (0, [{"n": 0}])


def test_replay_only_tells_until_it_is_told_to(quick: Home) -> None:
    quick.drop("t/good.csv", GOOD)
    quick.drop("t/bad.csv", "")
    quick.lakedrop("run", "--once")
    before = quick.in_ledger("select unit, updated_at from units order by unit")

    told = quick.lakedrop("replay", "--status", "failed")

    assert told.returncode == 0
    assert "1 unit chosen" in told.stdout
    assert "again   csv-uploads/t/bad.csv" in told.stdout
    assert "good.csv" not in told.stdout
    assert quick.in_ledger("select unit, updated_at from units order by unit") == before

    done = quick.lakedrop("replay", "--status", "failed", "--yes")

    assert (done.returncode, "1 failed" in done.stdout) == (1, True)
    assert quick.in_ledger("select count(*) from history where unit = 't/bad.csv'") == [(2,)]


def test_forced_replay_does_a_current_unit_again(quick: Home) -> None:
    quick.drop("t/good.csv", GOOD)
    quick.lakedrop("run", "--once")

    left = quick.lakedrop("replay", "--prefix", "t/", "--yes")
    done = quick.lakedrop("replay", "--prefix", "t/", "--force", "--yes")

    assert "Nothing had to be done." in left.stdout
    assert (done.returncode, "1 done" in done.stdout) == (0, True)
    assert quick.query("select count(*) as n from lakehouse.t") == [{"n": 2}]


def test_signal_stops_a_replay_and_costs_no_attempt(quick: Home, tmp_path: Path) -> None:
    for number in range(20):
        quick.drop(f"t/{number:02}.csv", GOOD)
    assert quick.lakedrop("run", "--once").returncode == 0
    words = [sys.executable, "-m", "consumer", "replay", "--force", "--yes", "--rate", "0.2", "--home", str(quick.path)]
    with (tmp_path / "replay.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        replayed = "select unit from history group by unit having count(*) > 1"
        wait_for(lambda: process.poll() is not None or quick.in_ledger(replayed))
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
    finally:
        process.kill()
    said = (tmp_path / "replay.log").read_text()

    assert code == 75, said
    assert "stopped by a signal" in said
    assert quick.in_ledger("select count(*) from units where lease_token is not null or attempts > 0") == [(0,)]
    assert 0 < len(quick.in_ledger(replayed)) < 20
    assert quick.lakedrop("replay", "--prefix", "t/", "--force", "--yes").returncode == 0
    assert quick.query("select count(*) as n from lakehouse.t") == [{"n": 40}]


def test_rebuilt_ledger_needs_no_ingest(quick: Home) -> None:
    quick.drop("t/good.csv", GOOD)
    quick.drop("u/bad.csv", "")
    quick.lakedrop("run", "--once")
    for file in quick.path.glob("ledger.db*"):
        file.unlink()

    rebuilt = quick.lakedrop("ledger", "rebuild")
    report = quick.json("sweep", "--json")

    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "lakehouse.t  1 unit" in rebuilt.stdout
    assert "A sweep would find nothing to do" in rebuilt.stdout
    assert (report["matched"], sum(report["worked"].values())) == (2, 0)


# status, why, query, try


def test_status_and_why_speak_to_people_and_machines(quick: Home) -> None:
    quick.drop("t/good.csv", GOOD)
    quick.drop("t/bad.csv", "")
    quick.lakedrop("run", "--once")

    status = quick.json("status", "--json")
    why = quick.json("why", "csv-uploads/t/bad.csv", "--json")

    assert status["groups"][0]["states"]["done"] == status["failed"] == 1
    assert (why["state"], why["error_class"]) == ("failed", "EmptyFile")
    assert "EmptyFile" in quick.lakedrop("status").stdout
    assert "lakehouse.t holds exactly this version." in quick.lakedrop("why", "t/good.csv").stdout
    assert quick.lakedrop("why", "t/nothing.csv").returncode == 1


def test_query_answers_as_table_csv_and_json(quick: Home) -> None:
    quick.drop("t/a.csv", "id,name,day\n1,anna,2024-01-05\n2,,2024-01-06\n")
    quick.lakedrop("run", "--once")
    sql = "select id, name, day from lakehouse.t order by id"

    assert quick.lakedrop("query", sql, "--format", "csv").stdout == "id,name,day\n1,anna,2024-01-05\n2,,2024-01-06\n"
    assert quick.query(sql)[1] == {"id": 2, "name": None, "day": "2024-01-06"}
    assert [line.split() for line in quick.lakedrop("query", sql).stdout.splitlines()] == [
        ["id", "name", "day"],
        ["1", "anna", "2024-01-05"],
        ["2", "NULL", "2024-01-06"],
        ["(2", "rows)"],
    ]


def test_query_of_a_table_there_is_not_names_those_there_are(quick: Home) -> None:
    quick.drop("t/a.csv", GOOD)
    quick.lakedrop("run", "--once")

    done = quick.lakedrop("query", "from lakehouse.nope")

    assert done.returncode == 64
    assert "lakehouse.t" in done.stderr
    assert "Traceback" not in done.stderr


def test_reader_of_a_query_may_stop_early(quick: Home) -> None:
    quick.lakedrop("run", "--once")
    command = [sys.executable, "-m", "consumer", "query", "from range(1000000)", "--format", "csv"]
    with subprocess.Popen(
        [*command, "--home", str(quick.path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "range\n"
        process.stdout.close()
        assert (process.wait(PATIENCE), process.stderr.read()) == (0, "")


def test_try_needs_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("id;zip;when\n1;01234;2024-01-05\n2;9\n")
    nowhere = Home(tmp_path / "none")

    done = nowhere.lakedrop("try", "a.csv")
    found = json.loads(nowhere.lakedrop("try", "a.csv", "--json").stdout)

    assert done.returncode == 0, done.stderr
    assert "a leading zero" in done.stdout
    assert "rejected record 2, line 3" in done.stdout
    assert (found["records"], found["rows"], found["rejected"], found["delimiter"]) == (2, 1, 1, ";")
    assert [column[:2] for column in found["columns"]] == [["id", "INTEGER"], ["zip", "VARCHAR"], ["when", "DATE"]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_try_shows_the_rows_that_forced_a_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{n},{'0123' if n == 7 else 1000 + n},{'many' if n == 12 else n},{'x' if n % 2 else n}" for n in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["id,zip,n,mixed", *rows]) + "\n")

    shown = Home(tmp_path / "none").lakedrop("try", "a.csv").stdout

    assert "record 8, '0123': a leading zero; 19 of 20 values would have fitted" in shown
    assert "19 of 20 values; not record 13, 'many'; 1 rescued" in shown
    assert "record 2, 'x': no INTEGER; 10 of 20 values would have fitted" in shown


def test_try_of_a_file_that_cannot_be_read_is_1_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))

    done = Home(tmp_path / "none").lakedrop("try", "a.csv")

    assert done.returncode == 1
    assert "NotText" in done.stderr


def test_try_takes_the_options_of_a_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("1,2.5\n2,3.5\n3,4.5\n")
    nowhere = Home(tmp_path / "none")

    assert nowhere.lakedrop("try", "a.csv").returncode == 1
    generated = nowhere.lakedrop("try", "a.csv", "--option", "header=generate")
    assert "column_1" in generated.stdout
    wrong = nowhere.lakedrop("try", "a.csv", "--option", "header=invent")
    assert wrong.returncode == 78
    assert "options.header = 'invent'" in wrong.stderr


# demo


def test_demo_shows_everything_and_leaves_a_home_that_works(tmp_path: Path) -> None:
    demo = Home(tmp_path / "demo")

    done = demo.lakedrop("demo")

    assert done.returncode == 0, done.stdout + done.stderr
    out = done.stdout
    for words in (
        "cp1252, semicolon",
        "utf-16-le, comma",
        "gzip, utf-8, tab",
        "zstd, utf-8, tab",
        "header on line 4",
        "2 rejected  2 rescued",
        "order BIGINT",
        "currency VARCHAR",
        "noise/no-header.csv  failed: ",
        "noise/photo.csv  failed: ",
        "→ lakehouse.my_data",
        "240 before, 200 now",
        "1 new, 1 vanished",
        "lakehouse.prices  removed with its rows",
        "Try next",
    ):
        assert words in out
    assert done.stderr == ""
    assert demo.query("select count(*) as n from lakehouse.customers") == [{"n": 200 + 178 + 75}]
    assert demo.lakedrop("run", "--once").returncode == 1  # the two files that cannot be read
    assert demo.json("status", "--json")["failed"] == 2
