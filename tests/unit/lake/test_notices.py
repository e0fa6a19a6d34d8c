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
