"""Where the ingest log is: what of it is told, and how it comes back."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import duckdb
import pytest
from pydantic import SecretStr

from handlers.argilla_records.database import Database
from handlers.contract import SinkAway
from tests.unit.argilla.bench import Bench


def test_a_token_is_in_no_message(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(place: str, **more: Any) -> Any:
        raise duckdb.InvalidInputException(f"cannot open {place} with {more}")

    monkeypatch.setattr(duckdb, "connect", refused)
    settings = {"log": "md:log?motherduck_token=hidden-a", "motherduck_token": SecretStr("hidden-b")}
    database = Database(bench.settings.model_copy(update=settings))

    with pytest.raises(SinkAway, match="the ingest log md:log") as caught, database.transaction():
        pass

    assert "hidden" not in caught.value.message


def test_a_log_whose_database_broke_is_opened_anew(bench: Bench) -> None:
    with closing(Database(bench.settings)) as database:
        with pytest.raises(SinkAway), database.transaction():
            raise duckdb.FatalException("database has been invalidated")

        with database.transaction() as db:
            assert db.execute("SELECT count(*) FROM argilla_ingest_log").fetchall() == [(0,)]
