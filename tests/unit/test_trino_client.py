"""Trino's protocol, spoken with a server that answers as a test says, and which statements are let through."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handlers.csv_to_iceberg.lake.query import QueryError
from handlers.csv_to_iceberg.lake.rewrite import CalledOff
from handlers.csv_to_iceberg.trino_client import (
    TrinoAway,
    TrinoClient,
    TrinoFailed,
    TrinoRefused,
    TrinoSettings,
)
from handlers.csv_to_iceberg.trino_query import query
from tests.fake_trino import Answer, FakeTrino, column, fake_trino, last_page
from tests.stack.certificates import certified


@pytest.fixture
def trino() -> Iterator[FakeTrino]:
    with fake_trino() as server:
        yield server


def client(trino: FakeTrino, **settings: Any) -> TrinoClient:
    return TrinoClient(TrinoSettings(url=trino.url, **settings))


def test_rows_of_all_pages_come_and_the_statement_says_who_asks(trino: FakeTrino) -> None:
    columns = [column("n", "integer")]
    trino.answers = [
        trino.page(1),
        trino.page(2, columns=columns, data=[[1], [2]]),
        trino.page(3, columns=columns),
        last_page(columns=columns, data=[[3]]),
    ]

    result = client(trino, user="ann", catalog="lake").run("SELECT n FROM t", schema="s")

    assert ([column.name for column in result.columns], result.rows) == (["n"], [[1], [2], [3]])
    assert trino.asked == [
        ("POST", "/v1/statement", "SELECT n FROM t"),
        *(("GET", f"/page/{number}", "") for number in (1, 2, 3)),
    ]
    told = trino.headers[0]
    assert (told["X-Trino-User"], told["X-Trino-Catalog"], told["X-Trino-Schema"]) == ("ann", "lake", "s")
    assert "PARAMETRIC_DATETIME" in told["X-Trino-Client-Capabilities"], "else times are cut to milliseconds"
    assert (told["X-Trino-Source"], told["X-Trino-Client-Tags"], told["X-Trino-Time-Zone"]) == (
        *("lakedrop", "lakedrop"),
        "UTC",
    )
    assert "X-Trino-Query-Data-Encoding" not in told, "else rows may lie in a store, fetched without a timeout"


def test_a_server_that_is_busy_is_asked_again(trino: FakeTrino) -> None:
    trino.answers = [
        (503, "busy"),
        trino.page(1),
        (502, ""),
        (504, ""),
        last_page(columns=[column("n", "integer")], data=[[1]]),
    ]

    assert client(trino).run("SELECT 1").rows == [[1]]
    assert trino.answers == []
    assert [method for method, _, _ in trino.asked] == ["POST", "POST", "GET", "GET", "GET"]


@pytest.mark.parametrize("answer", [(502, ""), (503, "busy"), (504, ""), (429, "not so fast"), (200, "")])
def test_a_server_that_stays_busy_is_given_up(trino: FakeTrino, answer: Answer) -> None:
    trino.answers = [answer] * 4

    with pytest.raises(TrinoAway, match="does not answer"):
        client(trino).run("SELECT 1")
    assert len(trino.asked) == 3


def test_a_statement_that_is_called_off_is_ended_and_told_as_that(trino: FakeTrino) -> None:
    trino.answers = [trino.page(1), trino.page(2), (204, "")]
    looks = iter([False, True])

    with pytest.raises(CalledOff):
        client(trino).run("SELECT 1", called_off=lambda: next(looks))
    assert [(method, path) for method, path, _ in trino.asked] == [
        ("POST", "/v1/statement"),
        ("GET", "/page/1"),
        ("DELETE", "/page/2"),
    ]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_user_is_told_which_settings_say_who_it_is(trino: FakeTrino, status: int) -> None:
    trino.answers = [(status, "no")]

    with pytest.raises(TrinoRefused, match=rf"refuses user ann \(error {status}.*\): set `trino_user`"):
        client(trino, user="ann").run("SELECT 1")
    assert len(trino.asked) == 1


def test_a_password_goes_over_https_only(tmp_path: Path) -> None:
    with fake_trino() as plain:
        with pytest.raises(TrinoRefused, match="TLS/SSL is required"):
            client(plain, user="ann", password="secret").run("SELECT 1")
        assert plain.asked == []

    certificates = certified(tmp_path)
    with fake_trino(certificates) as server:
        server.answers = [last_page(data=[[1]])]
        asked = client(server, user="ann", password="secret", ca_bundle=tmp_path / "ca.crt").run("SELECT 1")
        assert asked.rows == [[1]]
        assert server.headers[0]["Authorization"] == f"Basic {b64encode(b'ann:secret').decode()}"


def test_a_server_that_nobody_vouches_for_names_the_setting(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    with fake_trino(certified(tmp_path)) as server:
        for bundle in (None, empty, tmp_path / "not-there.pem"):
            with pytest.raises(TrinoAway, match=r"cannot be trusted: .*: set `trino_ca_bundle`"):
                client(server, ca_bundle=bundle).run("SELECT 1")
        assert server.asked == []


@pytest.mark.parametrize(
    "answer", [(500, "broken"), (404, ""), (200, "<html>not Trino</html>"), (200, "{}"), (200, "[]"), (200, "null")]
)
def test_an_answer_that_is_not_trinos_counts_as_none(trino: FakeTrino, answer: Answer) -> None:
    trino.answers = [answer]

    with pytest.raises(TrinoAway, match="does not answer"):
        client(trino).run("SELECT 1")
    assert trino.answers == []


def test_an_error_is_for_good_only_if_the_statement_is_wrong(trino: FakeTrino) -> None:
    wrong = {"errorName": "SYNTAX_ERROR", "errorType": "USER_ERROR", "message": "mismatched input"}
    full = {"errorName": "EXCEEDED_CLUSTER_MEMORY", "errorType": "INSUFFICIENT_RESOURCES", "message": "too much"}
    trino.answers = [last_page(error=wrong), trino.page(1), last_page(error=full)]

    with pytest.raises(TrinoRefused, match=r"mismatched input \(SYNTAX_ERROR\)"):
        client(trino).run("SELEC 1")
    with pytest.raises(TrinoFailed, match="too much"):
        client(trino).run("SELECT 1")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1;",
        " -- what is there\nselect 1",
        "/* so */ (select 1)",
        "with a as (select 1 as n) select * from a",
        "SHOW TABLES",
        "describe t",
        "EXPLAIN SELECT 1",
        "VALUES 1",
        "TABLE t",
    ],
)
def test_statements_that_read_are_passed_on(trino: FakeTrino, sql: str) -> None:
    trino.answers = [last_page(columns=[column("n", "bigint")], data=[[1]])]

    assert query(client(trino), sql, "lakehouse").to_pylist() == [{"n": 1}]
    assert not trino.asked[0][2].endswith(";")


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM t",
        "-- SELECT\nDROP TABLE t",
        "/* SELECT 1 */ INSERT INTO t SELECT 1",
        "EXPLAIN ANALYZE DELETE FROM t",
        "explain /* so */ analyze delete from t",
        "EXPLAIN -- so\n ANALYZE DELETE FROM t",
        "CALL system.sync_partition_metadata()",
        "",
        ";",
    ],
)
def test_statements_that_may_change_something_are_refused(trino: FakeTrino, sql: str) -> None:
    with pytest.raises(QueryError, match="tables cannot be changed here"):
        query(client(trino), sql, "lakehouse")
    assert trino.asked == []
