"""`lakedrop table rebuild` with real commands, beside a real service."""

from __future__ import annotations

from collections.abc import Callable

from tests.acceptance.conftest import Home, Service
from tests.waits import wait_for

WHOLE = "id,amount\n1,1\n2,2\n"
BROKEN = "id,amount\n" + "".join(f"{n},{n}.5\n" for n in range(3, 30))


def ingested(home: Home) -> None:
    home.drop("t/a.csv", WHOLE)
    home.lakedrop("run", "--once")
    home.drop("t/b.csv", BROKEN)
    home.lakedrop("run", "--once")


def type_of_amount(home: Home) -> str:
    (found,) = home.query("select column_type from (describe from lakehouse.t) where column_name = 'amount'")
    kind: str = found["column_type"]
    return kind


def test_why_names_the_remedy_and_the_remedy_helps(home: Home) -> None:
    ingested(home)
    why = home.lakedrop("why", "t/b.csv").stdout
    assert "lakedrop table rebuild lakehouse.t" in why
    assert "Nothing to do" not in why

    done = home.json("table", "rebuild", "lakehouse.t", "--yes", "--json")
    (change,) = done["columns"]
    assert (change["old"], change["new"], change["rescued"], change["fit"]) == ("INTEGER", "DOUBLE", 27, 27)
    assert done["rescued"] == 0
    assert home.query("select count(amount) as n, count(_rescued) as r from lakehouse.t") == [{"n": 29, "r": 0}]
    assert home.json("rejects", "t/b.csv", "--json")["rescued_rows"] == 0
    assert home.lakedrop("run", "--once").returncode == 0
    assert home.json("why", "t/b.csv", "--json")["holds"]["current"]


def test_without_yes_and_without_a_terminal_it_only_says_what(home: Home) -> None:
    ingested(home)
    shown = home.lakedrop("table", "rebuild", "t").stdout

    assert "amount  INTEGER  DOUBLE" in shown
    assert "Nothing was done" in shown
    assert "--yes" in shown
    assert type_of_amount(home) == "INTEGER"
    assert home.json("table", "rebuild", "t", "--json")["snapshot"] is None


def test_a_table_with_the_right_types_is_left_alone(home: Home) -> None:
    home.drop("t/a.csv", WHOLE)
    home.lakedrop("run", "--once")

    assert "Nothing to do" in home.lakedrop("table", "rebuild", "t", "--yes").stdout


def test_an_unknown_table_is_named_with_the_way_to_find_the_right_one(home: Home) -> None:
    ingested(home)
    done = home.lakedrop("table", "rebuild", "nothing")

    assert done.returncode == 1
    assert "lakehouse.nothing" in done.stderr
    assert "show tables" in done.stderr


def test_it_works_beside_a_service_that_goes_on_working(home: Home, serve: Callable[..., Service]) -> None:
    ingested(home)
    service = serve()
    service.until("run.started")
    home.drop("t/c.csv", "id,amount\n100,100.5\n")
    done = home.lakedrop("table", "rebuild", "t", "--yes")
    assert done.returncode == 0, done.stderr
    home.drop("t/d.csv", "id,amount\n200,200.5\n")

    def all_there() -> bool:
        found = home.query("select _source_file, count(amount) as n from lakehouse.t group by 1")
        return {row["_source_file"]: row["n"] for row in found} == {
            "t/a.csv": 2,
            "t/b.csv": 27,
            "t/c.csv": 1,
            "t/d.csv": 1,
        }

    wait_for(all_there)
    assert service.end() == 0
    assert home.query("select count(*) as n from lakehouse.t where _rescued is not null") == [{"n": 0}]
