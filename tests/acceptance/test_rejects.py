"""What a person asks of rejected and rescued data, with the real commands on real homes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

from tests.acceptance.conftest import Home, Service
from tests.waits import wait_for

TABLE = "lakehouse._ingest_rejects"
RAGGED = "id,amount\n1,1\nonly one\n2,2\n3,3,too many\n"


def test_rejected_records_are_shown_and_kept_beside_their_table(home: Home) -> None:
    home.drop("t/a.csv", RAGGED)
    assert home.lakedrop("run", "--once").returncode == 0

    shown = home.lakedrop("rejects", "t/a.csv").stdout
    assert "2 rejected records" in shown
    assert "record 2, line 3: 1 cell, the file has 2 columns\n    only one" in shown
    found = home.json("rejects", "t/a.csv", "--json", "--limit", "1")
    assert found["counts"] == {"records": 4, "rows": 2, "rejected": 2, "rescued": 0}
    assert found["kept"] == 2
    assert found["rejected"] == [
        {"record": 2, "line": 3, "text": "only one", "reason": "1 cell, the file has 2 columns"}
    ]
    assert home.query(f"select file_key, record, line from {TABLE} order by record") == [
        {"file_key": "t/a.csv", "record": 2, "line": 3},
        {"file_key": "t/a.csv", "record": 4, "line": 5},
    ]


def test_rescued_cells_are_shown_with_the_row_they_are_missing_in(home: Home) -> None:
    home.drop("t/a.csv", "id,amount\n1,1\n2,2\n")
    home.lakedrop("run", "--once")
    home.drop("t/b.csv", "id,amount\n7,n/a?\n8,8\n")
    home.lakedrop("run", "--once")

    assert "amount: n/a?\n    in the row id 7" in home.lakedrop("rejects", "t/b.csv").stdout
    found = home.json("rejects", "t/b.csv", "--json")
    assert (found["rescued_rows"], found["rescued"]) == (1, [{"column": "amount", "text": "n/a?", "row": {"id": 7}}])


def test_a_replaced_file_shows_the_rejects_of_its_new_version_only(home: Home) -> None:
    home.drop("t/a.csv", RAGGED)
    home.drop("t/b.csv", RAGGED)
    home.lakedrop("run", "--once")
    home.drop("t/a.csv", "id,amount\n1,1\n")
    home.lakedrop("run", "--once")

    assert "Nothing was rejected and nothing rescued: 1 row." in home.lakedrop("rejects", "t/a.csv").stdout
    assert home.query(f"select distinct file_key from {TABLE}") == [{"file_key": "t/b.csv"}]


def test_a_removed_file_has_no_rejects_left(home: Home) -> None:
    home.configure(
        '[[routes]]\nname = "csv"\nbucket = "csv-uploads"\nhandler = "csv_to_iceberg"\n'
        'options = { on_delete = "remove" }\n'
    )
    home.drop("t/a.csv", RAGGED)
    home.lakedrop("run", "--once")
    (home.bucket / "t/a.csv").unlink()
    home.lakedrop("run", "--once")

    assert home.query(f"select count(*) as n from {TABLE}") == [{"n": 0}]


def test_a_version_that_failed_altogether_says_so_and_shows_the_last_good_one(home: Home) -> None:
    home.drop("t/a.csv", RAGGED)
    home.lakedrop("run", "--once")
    home.drop("t/a.csv", "")
    home.lakedrop("run", "--once")

    shown = home.lakedrop("rejects", "t/a.csv").stdout
    assert "the newest version failed altogether" in shown
    assert "EmptyFile" in shown
    assert "the last good version" in shown
    assert "2 rejected records" in shown


def test_an_unknown_file_is_an_error_that_names_the_next_step(home: Home) -> None:
    home.drop("t/a.csv", RAGGED)
    home.lakedrop("run", "--once")
    done = home.lakedrop("rejects", "t/nothing.csv")

    assert done.returncode == 1
    assert "there never was one" in done.stderr
    assert "lakedrop status" in done.stderr or "status --home" in done.stderr


def test_rejects_survive_kills_of_the_service(home: Home, serve: Callable[..., Service]) -> None:
    texts = {f"t{n % 3}/{n}.csv": "id,amount\n1,1\n" + "bad\n" * (n % 4) for n in range(40)}
    for key, text in texts.items():
        home.drop(key, text)
    for _ in range(2):
        service = serve()
        wait_for(lambda: list(home.path.glob("warehouse/**/*.parquet")))
        service.end(signal.SIGKILL)
        for key, text in texts.items():
            home.drop(key, text + "2,2\n")
            texts[key] = text + "2,2\n"
    assert home.lakedrop("run", "--once").returncode == 0

    for key, text in texts.items():
        found = json.loads(home.lakedrop("rejects", key, "--json").stdout)
        assert len(found["rejected"]) == found["counts"]["rejected"] == text.count("bad"), key
    kept = home.query(f"select file_key, count(*) as n, count(distinct etag) as e from {TABLE} group by 1")
    assert {row["file_key"]: (row["n"], row["e"]) for row in kept} == {
        key: (text.count("bad"), 1) for key, text in texts.items() if "bad" in text
    }
