"""What the part `catalogue` measures, in a process that loads nothing else."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from handlers.dataset_catalogue import meta_kaggle
from handlers.dataset_catalogue.database import FILE, Database
from handlers.dataset_catalogue.descriptions import Seed
from handlers.dataset_catalogue.handler import BATCH
from handlers.dataset_catalogue.seeding import Seeding
from tests.bench import memory


def main(folder: Path) -> None:
    """Seed once, and print what it took: seconds, and MB."""
    database = Database(None, folder.parent / f"{folder.name} {FILE}")
    database.make()
    began, worked = time.perf_counter(), time.process_time()
    found = meta_kaggle.batches(folder, BATCH)
    seed = Seed("bench", str(time.time_ns()))
    with Seeding(database, "kaggle", seed, found, datetime.now(UTC)) as seeding:
        while seeding.step():
            pass
        seeding.finish()
        seeding.commit()
    database.close()
    taken = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - worked}
    print(json.dumps({**taken, "datasets": seeding.processed, "memory": memory.peak()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
