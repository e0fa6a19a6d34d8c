"""What is said of an object beside its rows: in the log, and with its receipt."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.lake.test_handler import Service, opened


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    with opened(tmp_path, large_file_warning=1000) as made:
        yield made
        await made.handler.aclose()


async def test_a_large_file_is_warned_about_and_processed(
    service: Service, logs: list[MutableMapping[str, Any]]
) -> None:
    receipt = await service.put("t/a.csv", b"id,name\n" + b"1,x\n" * 300)

    assert receipt.counts["rows"] == 300
    assert any("large file" in warning for warning in receipt.detail["warnings"])
    (line,) = [line for line in logs if line["event"] == "csv.large_file"]
    assert (line["log_level"], line["key"], line["bytes"]) == ("warning", "t/a.csv", 1208)


async def test_a_column_of_which_much_was_rescued_names_the_remedy(
    service: Service, logs: list[MutableMapping[str, Any]]
) -> None:
    await service.put("t/a.csv", b"id,n\n1,1\n2,2\n")
    receipt = await service.put("t/b.csv", b"id,n\n" + b"1,x\n" * 2 + b"2,2\n" * 10)

    assert receipt.detail["warnings"][-1].endswith("lakedrop table rebuild lakehouse.t")
    (line,) = [line for line in logs if line["event"] == "csv.rescued"]
    assert (line["columns"], line["remedy"]) == (["n"], "lakedrop table rebuild lakehouse.t")


async def test_a_few_rescued_cells_are_no_reason_for_a_remedy(
    service: Service, logs: list[MutableMapping[str, Any]]
) -> None:
    await service.put("t/a.csv", b"id,n\n1,1\n2,2\n")
    receipt = await service.put("t/b.csv", b"id,n\n1,x\n" + b"2,2\n" * 20)

    assert receipt.counts["rescued"] == 1
    assert receipt.detail["warnings"] == []
    assert [line for line in logs if line["event"] == "csv.rescued"] == []


async def test_a_header_that_lacks_a_name_is_warned_of_in_log_and_receipt(
    service: Service, logs: list[MutableMapping[str, Any]]
) -> None:
    receipt = await service.put("t/a.csv", b"mpg,cyl\nMazda RX4,21,6\nDatsun 710,22.8,4\n")

    (warning,) = receipt.detail["warnings"]
    assert "add the missing name to the header" in warning
    (line,) = [line for line in logs if line["event"] == "csv.doubtful"]
    assert (line["log_level"], line["key"], line["doubts"]) == ("warning", "t/a.csv", (warning,))


async def test_a_file_that_leaves_no_doubt_is_not_called_doubtful(
    service: Service, logs: list[MutableMapping[str, Any]]
) -> None:
    receipt = await service.put("t/a.csv", b"id,name\n1,Ann\n2\n")

    assert receipt.counts["rejected"] == 1
    assert [line for line in logs if line["event"] == "csv.doubtful"] == []
