"""
dlt, filesystem to Iceberg tables in a folder: `dlt_peer.py SOURCE TARGET`. Runs in an environment of its own.

Each file is read with DuckDB into Arrow, the fastest of dlt's readers, and all are loaded in one run.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt
from dlt.sources.filesystem import filesystem, read_csv_duckdb


def main(source: Path, target: Path) -> float:
    """Load all CSV files of a folder; return seconds."""
    target.mkdir(parents=True)
    pipeline = dlt.pipeline(
        "peer",
        pipelines_dir=str(target / "pipelines"),
        destination=dlt.destinations.filesystem(bucket_url=str(target / "lake")),
        dataset_name="peer",
    )
    start = time.perf_counter()
    files = filesystem(bucket_url=str(source), file_glob="*.csv") | read_csv_duckdb(use_pyarrow=True)
    pipeline.run(files.with_name("orders"), table_format="iceberg", write_disposition="append")
    return time.perf_counter() - start


if __name__ == "__main__":
    took = main(Path(sys.argv[1]), Path(sys.argv[2]))
    # Not `ru_maxrss`, which begins with what the process that started this one held.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    memory = int(status["VmHWM"].split()[0]) / 1024
    print(json.dumps({"seconds": took, "cpu": time.process_time(), "memory": memory}))
