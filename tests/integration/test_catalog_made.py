"""Processes that open one catalog for the first time at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings

OPENERS = 8


def test_catalog_that_several_open_for_the_first_time_at_once_is_made_once(database: str, tmp_path: Path) -> None:
    uri = database.replace("postgresql://", "postgresql+psycopg2://")
    catalog = {"type": "sql", "uri": uri, "warehouse": f"file://{tmp_path}/warehouse"}
    together = threading.Barrier(OPENERS)

    def opened() -> list[str]:
        together.wait()
        lake = Lake(LakeSettings(home=tmp_path, catalog=catalog))
        try:
            return lake.table_names()
        finally:
            lake.close()

    with ThreadPoolExecutor(OPENERS) as pool:
        found = [one.result() for one in [pool.submit(opened) for _ in range(OPENERS)]]
    assert found == [[]] * OPENERS
