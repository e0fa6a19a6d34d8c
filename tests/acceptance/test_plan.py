"""`lakedrop plan` says before what the service does after, and touches nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from tests.acceptance.conftest import BUCKET, Home
from tests.waits import PATIENCE

GOOD = "id,name\n1,anna\n2,bert\n"


@pytest.fixture
def quick(home: Home) -> Home:
    home.configure(
        "max_commit_latency = 0.1\nwaker_seconds = 0.2\nsmall_file_bytes = 20000\n"
        '[[routes]]\nname = "csv"\nbucket = "csv-uploads"\noptions = { on_delete = "remove" }\n'
    )
    return home


FIRST: dict[str, bytes] = {
    "customers/01.csv": b"id,name,joined\n1,anna,2024-01-05\n2,bert,2024-01-06\n",
    "customers/02.csv": "id;name;joined\n3;Müller;2024-01-07\n4;René;oops\n5;Zoë;2024-01-08\n".encode("cp1252"),
    "customers/03.csv.gz": gzip.compress(b"id\tname\tjoined\tscore\n6\tcora\t2024-02-01\t1.5\n7\tshort\n"),
    "customers/04.csv": b"id,name\n5000000000,dora\n",
    "customers/05.csv": b"\x1f\x8b\x08 broken",
    "customers/06.csv": b"1,2,3\n4,5,6\n",
    "customers/07.csv": b"id,name\n",
    "customers/notes.md": b"no route takes this",
    "large/01.csv": b"n,when,ok\n" + b"".join(b"%d,2024-01-0%d,yes\n" % (n, 1 + n % 9) for n in range(5000)) + b"x\n",
    "large/02.csv": b"n,when,ok\n" + b"".join(b"%d,,no\n" % n for n in range(5000)) + b"3000000000,,no\n",
    "large/03.csv.gz": gzip.compress(b"n,more\n" + b"7,a\n" * 50_000_0),
    "loose.csv": GOOD.encode(),
    "My Data!/a.csv": b"title of a report,,\n\nid,zip,ok\n1,01234,true\n2,00001,false\n",
    "empty/none.csv": b"",
}
"""Small and large, good, odd and broken: in their order they make, grow and widen tables."""

SECOND: dict[str, bytes | None] = {
    "customers/01.csv": b"id,name,joined\n1,anna,2024-01-05\n",  # a row less
    "customers/02.csv": None,  # deleted
    "customers/05.csv": b"id,name,joined\n9,emil,2024-03-01\n",  # repaired
    "customers/07.csv": b"name,id,note\nfritz,10,hello\nno,number,here\n",  # rows at last, and a new column
    "large/01.csv": b"",  # broken: the table keeps the old rows
    "fresh/a.csv": GOOD.encode(),
    "My Data!/b.csv": b"id,zip\n3,00003\n",
    "My Data!/c.csv": b"id,zip\n5000000000,00004\n",
    "My Data!/d.csv": b"id,zip\n6000000000,00005\n",
}


def put(home: Home, files: dict[str, bytes | None]) -> None:
    for key, content in files.items():
        path = home.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)


APART = ("columns", "dialect_reason")
"""Details that are not compared word for word."""


def content_of(home: Home) -> dict[str, str]:
    """Return a hash of every file but those that a reader of SQLite has beside a database."""
    return {
        str(path.relative_to(home.path)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(home.path.rglob("*"))
        if not path.name.endswith(("-wal", "-shm"))
    }


def planned(home: Home, *words: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Plan, and see that nothing was touched; return the whole and its units by key."""
    before = content_of(home)
    done = home.lakedrop("plan", *words, "--json")
    assert content_of(home) == before
    assert done.stderr == ""
    plan: dict[str, Any] = json.loads(done.stdout)
    failing = plan["totals"]["units"]["fail"] > 0
    assert done.returncode == (1 if failing else 0)
    return plan, {unit["unit"]: unit for unit in plan["units"]}


def tables(home: Home) -> dict[str, dict[str, str]]:
    """Return the columns of the files of each table, with their types in SQL's words."""
    words = {"int": "INTEGER", "long": "BIGINT", "double": "DOUBLE", "string": "VARCHAR", "boolean": "BOOLEAN"}
    if not (home.path / "catalog.db").exists():
        return {}
    catalog = SqlCatalog("lakedrop", uri=f"sqlite:///{home.path}/catalog.db", warehouse=f"file://{home.path}/warehouse")
    try:
        found = {}
        for name in (".".join(identifier) for identifier in catalog.list_tables("lakehouse")):
            if not name.startswith("lakehouse._ingest"):
                fields = catalog.load_table(name).schema().fields
                found[name] = {
                    field.name: words.get(str(field.field_type), str(field.field_type).upper())
                    for field in fields
                    if not field.name.startswith("_")
                }
        return found
    finally:
        catalog.close()


def rows_of(home: Home, key: str, table: str) -> int:
    (row,) = home.query(f"select count(*) as n from {table} where _source_file = '{key}'")
    return int(row["n"])


def assert_came_true(home: Home, plan: dict[str, Any], units: dict[str, dict[str, Any]]) -> None:
    """Hold a plan against ledger and tables after the work was done."""
    for key, unit in units.items():
        ((status, error_class, error, text),) = home.in_ledger(
            "select status, error_class, error, receipt from units where unit = ?", key
        )
        receipt: dict[str, Any] = json.loads(text) if text else {}
        match unit["action"]:
            case "write":
                assert (status, receipt["target"], receipt["counts"]) == ("done", unit["target"], unit["counts"])
                # Types may be widened by files of the same batch; the reason may be that of a like file before.
                told = {name: value for name, value in unit["detail"].items() if name not in APART}
                assert told == {name: value for name, value in receipt["detail"].items() if name in told}
                assert [column[0] for column in unit["detail"]["columns"]] == [
                    column[0] for column in receipt["detail"]["columns"]
                ]
                assert rows_of(home, key, unit["target"]) == unit["rows_in"]
            case "remove":
                assert rows_of(home, key, unit["target"]) == 0
            case "fail":
                assert (status, error_class, error) == ("failed", unit["error_class"], unit["error"])
            case "skip":
                assert (status, error) == ("skipped", unit["error"])
            case other:
                assert other == "none"
    have = tables(home)
    for target in plan["totals"]["targets"]:
        columns = {**target["new"], **target["widened"]}
        assert columns.items() <= have[target["target"]].items()
        if target["created"]:
            assert have[target["target"]] == target["new"]


def test_plan_comes_true_and_writes_nothing(quick: Home) -> None:
    put(quick, dict(FIRST))

    plan, units = planned(quick)

    assert list(units) == sorted((key for key in FIRST if not key.endswith(".md")), key=str.encode)
    assert plan["totals"]["unrouted"] == 1
    assert [units[f"customers/0{n}.csv"]["error_class"] for n in (5, 6)] == ["BadCompression", "HeaderMissing"]
    assert units["customers/02.csv"]["detail"]["encoding"] == "cp1252"
    assert units["customers/03.csv.gz"]["changes"]["new"] == {"score": "DOUBLE"}
    assert units["customers/03.csv.gz"]["counts"]["rejected"] == 1
    assert units["customers/01.csv"]["changes"]["new"]["id"] == "BIGINT"  # the fourth needs it, in the same commit
    assert units["large/02.csv"]["changes"]["widened"] == {"n": "BIGINT"}
    assert units["large/03.csv.gz"]["rows_in"] == 500_000
    assert not (quick.path / "ledger.db").exists()
    assert not (quick.path / "catalog.db").exists()

    assert quick.lakedrop("run", "--once").returncode == 1
    assert_came_true(quick, plan, units)
    assert sum(target["rows_in"] for target in plan["totals"]["targets"]) == plan["totals"]["rows_in"]


def test_plan_of_a_second_round_comes_true(quick: Home) -> None:
    put(quick, dict(FIRST))
    quick.lakedrop("run", "--once")
    had = tables(quick)
    put(quick, SECOND)

    plan, units = planned(quick)

    changed = [key for key, unit in units.items() if unit["action"] in ("write", "remove", "fail")]
    assert {*SECOND, "customers/06.csv", "empty/none.csv"} == set(changed)
    assert units["customers/01.csv"] | {"rows_in": 1, "rows_out": 2, "reason": "changed"} == units["customers/01.csv"]
    assert (units["customers/02.csv"]["action"], units["customers/02.csv"]["rows_out"]) == ("remove", 3)
    assert units["customers/07.csv"]["counts"]["rescued"] == 1
    assert (units["large/01.csv"]["action"], units["large/01.csv"]["rows_now"]) == ("fail", 5000)
    assert (units["large/02.csv"]["reason"], units["large/02.csv"]["action"]) == ("current", "none")
    assert units["customers/06.csv"]["reason"] == "again"
    widened = [units[f"My Data!/{name}.csv"]["changes"]["widened"] for name in "bcd"]
    assert widened == [{}, {"id": "BIGINT"}, {}]
    for target in plan["totals"]["targets"]:
        assert target["created"] == (target["target"] not in had)

    assert quick.lakedrop("run", "--once").returncode == 1
    assert_came_true(quick, plan, units)


def test_plan_of_what_is_done_finds_all_unchanged(quick: Home) -> None:
    quick.drop("t/a.csv", GOOD)
    quick.lakedrop("run", "--once")

    plan, units = planned(quick)
    forced, again = planned(quick, "t/", "--force")

    assert [unit["action"] for unit in units.values()] == ["none"]
    assert plan["next"] == []
    assert (again["t/a.csv"]["action"], again["t/a.csv"]["rows_in"], again["t/a.csv"]["rows_out"]) == ("write", 2, 2)
    assert forced["next"] == [f"lakedrop replay --prefix t/ --force --yes --home {quick.path}"]


def test_commands_of_a_plan_do_it(quick: Home) -> None:
    put(quick, {"t/a.csv": GOOD.encode(), "t/b.csv": GOOD.encode(), "u/c.csv": GOOD.encode()})
    plan, _ = planned(quick, "t/")

    (command,) = plan["next"]
    words = command.split()[1:-2]
    assert quick.lakedrop(*words).returncode == 0

    assert quick.query("select distinct _source_file as f from lakehouse.t order by f") == [
        {"f": "t/a.csv"},
        {"f": "t/b.csv"},
    ]
    assert [unit["unit"] for unit in planned(quick)[0]["units"] if unit["action"] == "write"] == ["u/c.csv"]


@pytest.mark.parametrize("text", ["t/", BUCKET + "/t/", "{bucket}/t/", "t/a.csv"])
def test_prefix_is_meant_as_it_is_written(quick: Home, text: str) -> None:
    put(quick, {"t/a.csv": GOOD.encode(), "u/b.csv": GOOD.encode()})

    _, units = planned(quick, text.format(bucket=quick.bucket))

    assert list(units) == ["t/a.csv"]


def test_plan_for_people_names_columns_reasons_and_the_next_command(quick: Home) -> None:
    put(quick, dict(FIRST))

    told = quick.lakedrop("plan").stdout

    for words in (
        "lakehouse.customers (new)",
        "+ customers/02.csv  3 rows in, 1 rescued  cp1252, semicolon, 3 columns",
        "new: score DOUBLE",
        "widened: n BIGINT",
        "rejected record 2, line 3: 2 cells, the file has 4 columns",
        "✗ customers/06.csv  HeaderMissing: ",
        "loose.csv lies in no folder",
        "1 object that no route takes",
        "Nothing was written. To do it:",
        f"lakedrop run --once --home {quick.path}",
    ):
        assert words in told


def test_plan_of_a_running_service_sees_what_it_did(quick: Home, serve: Any) -> None:
    service = serve()
    service.until("run.started")
    quick.drop("t/a.csv", GOOD)
    service.until("delivery.settled", unit="t/a.csv", outcome="done")

    done = quick.lakedrop("plan", "--json")

    assert [unit["reason"] for unit in json.loads(done.stdout)["units"]] == ["current"]
    assert service.end() == 0


def test_plan_needs_the_same_memory_for_an_object_of_any_size(quick: Home) -> None:
    def peak(megabytes: int) -> int:
        block = b"".join(b"%d,name of %d,2024-01-05,%d.5\n" % (n, n, n) for n in range(30_000))
        with (quick.bucket / "t" / "a.csv").open("wb") as file:
            file.write(b"id,name,day,price\n")
            for _ in range(megabytes):
                file.write(block)
        words = [sys.executable, "-m", "consumer", "plan", "--json", "--home", str(quick.path)]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            watched, highest = psutil.Process(process.pid), 0
            while process.poll() is None:
                with suppress(psutil.Error):
                    highest = max(highest, watched.memory_info().rss)
                time.sleep(0.01)
        assert process.returncode == 0
        return highest

    (quick.bucket / "t").mkdir(parents=True)
    small, large = peak(20), peak(180)

    # Held in memory it would be 160 MB more; allocators of a busy machine differ by half of the rest.
    assert large < small + (80 << 20), f"{small >> 20} MB for 20 MB, {large >> 20} MB for 180 MB"


def test_plan_shows_on_a_terminal_how_far_it_is_and_ends_at_ctrl_c(quick: Home) -> None:
    path = quick.bucket / "t" / "a.csv"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(b"id,name\n")
        for _ in range(400):
            file.write(b"1234567,some text to read\n" * 40_000)
    screen, stdout = pty.openpty()
    words = [sys.executable, "-m", "consumer", "plan", "--home", str(quick.path)]
    process = subprocess.Popen(words, stdout=stdout, stderr=stdout, stdin=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "120", "TERM": "xterm"})  # fmt: skip  # noqa: E501
    os.close(stdout)
    seen = ""
    try:
        while "reading t/a.csv" not in seen:
            seen += os.read(screen, 65536).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        with suppress(OSError):
            while chunk := os.read(screen, 65536).decode(errors="replace"):
                seen += chunk
        code = process.wait(PATIENCE)
    finally:
        process.kill()
        os.close(screen)

    assert code == 130
    assert "Traceback" not in seen


def test_bucket_that_cannot_be_listed_is_69_and_says_what(home: Home) -> None:
    home.configure('[[routes]]\nname = "a"\nbucket = "here"\n[[routes]]\nname = "b"\nbucket = "missing"\n'
                   'options = { namespace = "other" }\n')  # fmt: skip
    Path(home.path / "buckets" / "here" / "t").mkdir(parents=True)
    (home.path / "buckets" / "here" / "t" / "a.csv").write_text(GOOD)

    done = home.lakedrop("plan")

    assert done.returncode == 69
    assert "no bucket `missing`" in done.stdout
    assert "+ t/a.csv  2 rows in" in done.stdout


def test_ledger_of_another_schema_is_told_and_left_alone(quick: Home) -> None:
    quick.drop("t/a.csv", GOOD)
    quick.lakedrop("run", "--once")
    quick.in_ledger("insert into migrations (number, applied_at) values (99, 0)")
    before = content_of(quick)

    done = quick.lakedrop("plan")

    assert (done.returncode, content_of(quick)) == (69, before)
    assert "the ledger has schema 99" in done.stderr
