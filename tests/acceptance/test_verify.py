"""`lakedrop verify`: tables are counted against the receipts of the ledger."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from consumer import exits, ledger_receipts
from tests.acceptance.conftest import Home

CUSTOMERS = "id,name\n1,anna\n2,bert\n"


@pytest.fixture
def filled(home: Home) -> Home:
    """A home with two tables: three files in `customers`, one in `orders`, and one that failed."""
    home.configure('max_commit_latency = 0.1\nlisten = ""\nretry_delays = []\n')
    for number in range(3):
        home.drop(f"customers/{number}.csv", CUSTOMERS)
    home.drop("orders/a.csv", "id\n1\n")
    home.drop("orders/bad.csv", "")
    assert home.lakedrop("run", "--once").returncode == exits.FAILED
    return home


def delete(home: Home, table: str, condition: str) -> None:
    """Take rows out of a table, as somebody else might."""
    catalog = catalog_of(home.path)
    catalog.load_table(table).delete(condition)
    catalog.close()


def catalog_of(home: Path) -> SqlCatalog:
    return SqlCatalog("lakedrop", uri=f"sqlite:///{home}/catalog.db", warehouse=f"file://{home}/warehouse")


def test_tables_that_show_what_the_ledger_says_are_told_with_their_counts(filled: Home) -> None:
    done = filled.lakedrop("verify")

    assert (done.returncode, done.stdout.splitlines()) == (
        exits.OK,
        [
            "ok    lakehouse.customers  3 objects, 6 rows",
            "ok    lakehouse.orders  1 object, 1 row",
            "Tables were counted by their files; other sinks count themselves.",
        ],
    )


def test_missing_rows_are_told_with_the_command_that_brings_them_back(filled: Home) -> None:
    delete(filled, "lakehouse.customers", "_source_file == 'customers/1.csv' and id == 2")
    done = filled.lakedrop("verify")
    assert done.returncode == exits.FAILED
    assert "FAIL  lakehouse.customers  1 of 3 objects otherwise than the ledger says: 5 rows of 6" in done.stdout
    assert "customers/1.csv: table lakehouse.customers shows 1 rows, not 2" in done.stdout
    assert "ok    lakehouse.orders  1 object, 1 row" in done.stdout
    (command,) = (line for line in done.stdout.splitlines() if " replay " in line)
    _, *words = shlex.split(command)
    assert words[:-2] == ["replay", "--bucket", "csv-uploads", "--prefix", "customers/1.csv", "--force", "--yes"]

    assert filled.lakedrop(*words[:-2]).returncode == exits.OK
    assert filled.lakedrop("verify").returncode == exits.OK


def test_a_dropped_table_is_told_for_machines_and_made_anew_by_the_repair(filled: Home) -> None:
    catalog = catalog_of(filled.path)
    catalog.drop_table("lakehouse.customers")
    catalog.close()
    done = filled.lakedrop("verify", "--json")
    assert done.returncode == exits.FAILED

    told = json.loads(done.stdout)
    assert (told["ok"], told["counted_by"]) == (False, "files")
    customers, orders = told["tables"]
    assert (customers["target"], customers["wrong"], customers["expected"], customers["found"]) == (
        "lakehouse.customers",
        3,
        6,
        0,
    )
    assert customers["wrong_units"][0] == {
        "unit": "customers/0.csv",
        "expected": {"rows": 2},
        "found": {"rows": 0},
        "message": "there is no table lakehouse.customers",
    }
    assert (orders["wrong"], orders["repair"]) == (0, None)
    words = shlex.split(customers["repair"])
    assert words[words.index("--prefix") + 1] == "customers/"
    assert filled.lakedrop(*words[1:-2]).returncode == exits.OK
    assert filled.lakedrop("verify").returncode == exits.OK


@pytest.mark.parametrize(
    ("what", "tables"),
    [
        ("lakehouse.orders", ["lakehouse.orders"]),
        ("orders/", ["lakehouse.orders"]),
        ("csv-uploads/customers/2", ["lakehouse.customers"]),
        ("csv-uploads", ["lakehouse.customers", "lakehouse.orders"]),
        ("lakehouse.nothing", []),
    ],
)
def test_a_table_or_a_prefix_is_counted_alone(filled: Home, what: str, tables: list[str]) -> None:
    delete(filled, "lakehouse.customers", "_source_file == 'customers/0.csv'")
    done = filled.lakedrop("verify", what)

    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "FAIL "))]
    assert [line.split()[1] for line in lines] == tables
    assert done.returncode == (exits.FAILED if "FAIL" in done.stdout else exits.OK)
    assert ("FAIL" in done.stdout) == (what == "csv-uploads")
    if not tables:
        assert done.stdout == "The ledger has no receipt of such objects.\n"


def test_a_bucket_with_a_dot_in_its_name_is_not_taken_for_a_table(home: Home) -> None:
    home.configure('max_commit_latency = 0.1\nlisten = ""\n[[routes]]\nname = "dotted"\nbucket = "csv.uploads"\n')
    path = home.path / "buckets" / "csv.uploads" / "customers" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_text(CUSTOMERS)
    assert home.lakedrop("run", "--once").returncode == exits.OK

    assert "ok    lakehouse.customers  1 object, 2 rows" in home.lakedrop("verify", "csv.uploads").stdout


def test_rows_of_a_deleted_file_and_of_a_failed_version_are_what_their_receipts_say(filled: Home) -> None:
    (filled.bucket / "customers/0.csv").unlink()
    filled.drop("customers/1.csv", "")
    assert filled.lakedrop("run", "--once").returncode == exits.FAILED

    assert "ok    lakehouse.customers  3 objects, 6 rows" in filled.lakedrop("verify").stdout


def test_what_is_being_worked_on_is_not_called_wrong(filled: Home) -> None:
    delete(filled, "lakehouse.customers", "id == 1")
    filled.in_ledger("update units set wake_at = 1 where unit = 'customers/0.csv'")
    filled.in_ledger("update units set lease_token = 'other', lease_until = 1 where unit = 'customers/1.csv'")

    (customers,) = json.loads(filled.lakedrop("verify", "customers/", "--json").stdout)["tables"]

    assert (customers["under_way"], customers["units"], customers["wrong"]) == (2, 1, 1)
    assert [wrong["unit"] for wrong in customers["wrong_units"]] == ["customers/2.csv"]


def test_receipts_are_read_some_at_a_time(filled: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_receipts, "PAGE", 2)

    assert "ok    lakehouse.customers  3 objects, 6 rows" in filled.lakedrop("verify").stdout


def test_a_table_that_is_not_ours_any_more_is_told_and_others_are_counted(filled: Home) -> None:
    catalog = catalog_of(filled.path)
    with catalog.load_table("lakehouse.customers").transaction() as transaction:
        transaction.remove_properties("lakedrop.route")
    catalog.close()
    done = filled.lakedrop("verify")

    assert done.returncode == exits.FAILED
    assert "was not made by lakedrop" in done.stdout
    assert "ok    lakehouse.orders  1 object, 1 row" in done.stdout
