"""The catalog of a home, which whoever comes first makes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from handlers.csv_to_iceberg.lake.lake import Lake, LakeSettings

OPENERS = 4
HOMES = 15


def test_a_home_that_several_open_for_the_first_time_at_once_gets_one_catalog(tmp_path: Path) -> None:
    together = threading.Barrier(OPENERS)

    def opened(home: Path) -> list[str]:
        together.wait()
        lake = Lake(LakeSettings(home=home))
        try:
            return lake.table_names()
        finally:
            lake.close()

    with ThreadPoolExecutor(OPENERS) as pool:
        for number in range(HOMES):
            home = tmp_path / str(number)
            found = [one.result() for one in [pool.submit(opened, home) for _ in range(OPENERS)]]
            assert found == [[]] * OPENERS
