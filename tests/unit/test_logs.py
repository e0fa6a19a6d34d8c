"""Log lines: for people or machines, without secrets, and without the inner steps of libraries."""

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import structlog
from pyiceberg.catalog import delete_files
from pyiceberg.io.pyarrow import PyArrowFileIO

from consumer import logs

pytestmark = pytest.mark.usefixtures("restored_logs")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_json_line_holds_event_level_time_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")

    structlog.get_logger("lakedrop.worker").info("delivery.settled", unit="t/ä.csv", seconds=0.25)

    (line,) = lines(capsys)
    assert {**line, "timestamp": ""} == {
        "event": "delivery.settled",
        "level": "info",
        "timestamp": "",
        "unit": "t/ä.csv",
        "seconds": 0.25,
    }
    assert str(line["timestamp"]).endswith("Z")


def test_logger_made_before_the_configuration_obeys_it(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("lakedrop.early")
    logs.configure("json", "warning")

    log.info("too.quiet")
    log.warning("heard")

    assert [line["event"] for line in lines(capsys)] == ["heard"]


def test_console_lines_are_for_reading(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console")

    structlog.get_logger().warning("sweep.braked", vanished=7)

    text = capsys.readouterr().err
    assert "sweep.braked" in text
    assert "vanished=7" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("terminal", [True, False])
def test_auto_writes_json_unless_a_person_reads_along(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)

    assert logs.is_json("auto") is not terminal
    assert logs.is_json("json")
    assert not logs.is_json("console")


SECRETS: dict[str, dict[str, Any]] = {
    "field": {"password": "hunter2"},
    "field of another spelling": {"s3_secret_access_key": "hunter2"},
    "field inside a field": {"catalog": {"uri": "x", "apiKey": "hunter2"}},
    "user in a URL": {"url": "postgresql://lake:hunter2@db/ledger"},
    "signed URL": {"error": "GET http://s3/b/k?X-Amz-Signature=hunter2&x=1 failed"},
    "assignment in a text": {"error": 'cannot connect: password="hunter2" refused'},
    "list": {"urls": ["amqp://u:hunter2@mq/"]},
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("kind", ["json", "console"])
def test_secret_is_masked(name: str, kind: logs.Format, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(kind)

    structlog.get_logger().warning("event", **SECRETS[name])

    text = capsys.readouterr().err
    assert "hunter2" not in text
    assert "***" in text


@pytest.mark.parametrize("kind", ["json", "console"])
def test_secret_in_a_traceback_is_masked(kind: logs.Format, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(kind)

    try:
        raise ValueError("amqp://user:hunter2@mq refused")  # noqa: TRY301 (it is the exception that is logged)
    except ValueError:
        structlog.get_logger().exception("broken")

    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "hunter2" not in text


def test_keys_and_paths_are_no_secrets() -> None:
    plain = {"key": "a/b@c:d.csv", "unit": "t/password.csv", "token": "4f875b77", "url": "http://s3/bucket/key?x=1"}

    assert logs.mask(plain) == plain


def test_records_of_libraries_take_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")

    logging.getLogger("some.library").warning("%d tries left", 3)

    (line,) = lines(capsys)
    assert (line["event"], line["logger"], line["level"]) == ("3 tries left", "some.library", "warning")


@pytest.mark.parametrize("library", ["pyiceberg.table", "sqlalchemy.engine.Engine", "watchfiles.main", "asyncio"])
def test_chatty_library_is_heard_from_warnings_on(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "debug")

    logging.getLogger(library).info("one of ten thousand steps")
    logging.getLogger(library).warning("worth knowing")

    assert [line["event"] for line in lines(capsys)] == ["worth knowing"]


def test_old_metadata_that_the_catalog_itself_deleted_is_not_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("json")
    gone = f"file://{tmp_path}/gone"

    delete_files(PyArrowFileIO(), {gone}, "metadata")
    assert capsys.readouterr().err == ""
    delete_files(PyArrowFileIO(), {gone}, "data")
    assert "Failed to delete data file" in capsys.readouterr().err


def test_warnings_become_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old way of doing it", stacklevel=1)

    (line,) = lines(capsys)
    assert "old way of doing it" in str(line["event"])
    assert line["logger"] == "py.warnings"
