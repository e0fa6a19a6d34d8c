"""Parquet files of any size and shape are read in the same memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

LETTERS = 4000
MANY = 25_000

GROWTH = """
import json, sys
from pathlib import Path
from handlers.argilla_records.source import Source
from tests.bench import memory

def read(path):
    source = Source(Path("."), "data/in/", "t")
    source._files = [("records", Path(path))]
    sizes = [len(batch) for batch in source.rows(["id", "text"])]
    return sum(sizes), max(sizes)

read(sys.argv[1])
before = memory.peak()
rows, most = read(sys.argv[2])
print(json.dumps({"rows": rows, "most": most, "grown": memory.peak() - before}))
"""


def _write(path: Path, count: int, letters: int = LETTERS) -> Path:
    texts = (f"{number:08d}" * (letters // 8) for number in range(count))
    frame = pl.DataFrame({"id": [str(number) for number in range(count)], "text": texts})
    frame.write_parquet(path, row_group_size=count)
    return path


def _grown(*files: Path) -> dict[str, float]:
    command = [sys.executable, "-c", GROWTH, *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_a_row_group_larger_than_memory_should_be_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    small, large = _write(tmp_path / "small", MANY // 5), _write(tmp_path / "large", MANY)
    footer = pq.read_metadata(large)

    found = _grown(small, large)

    assert footer.num_row_groups == 1
    assert footer.row_group(0).total_byte_size > MANY * LETTERS
    assert (found["rows"], found["most"]) == (MANY, 500)
    assert found["grown"] < MANY * LETTERS / (2 << 20)


def test_large_records_come_in_smaller_batches(tmp_path: Path) -> None:
    found = _grown(_write(tmp_path / "small", 10), _write(tmp_path / "large", 20, 1_000_000))

    assert found["rows"] == 20
    assert found["most"] <= 4
