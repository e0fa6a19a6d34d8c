"""
Kill an importer at every line it comes by, and begin it again: `python -m tests.silo_kills FOLDER` tells of each.

A process of its own, for it forks: nothing else may run in it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import zstandard

from handlers.silo_staging.config import Config
from handlers.silo_staging.downloader import NO_ETAG, Released
from handlers.silo_staging.importer import Importer, Outcome
from handlers.silo_staging.paths import Paths
from tests.silo_backend import packed, record

OURS = str(Path(__file__).parents[1] / "handlers" / "silo_staging")
OLD = [record("LOC_1.1"), record("LOC_2.1")]
NEW = [*OLD, record("LOC_3.1")]

Line = tuple[str, int]


class Releases:
    """The first release once, and from then on the second; sent in two pieces."""

    def __init__(self, *releases: Sequence[dict[str, Any]]) -> None:
        self._left = list(releases)

    def download(self, place: Path, etag: str = NO_ETAG) -> Released | None:
        release = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        if etag == str(len(release)):
            return None
        body = packed(release)
        with place.open("wb") as file:
            file.write(body[:40])
            file.flush()
            file.write(body[40:])
        return Released(str(len(release)), len(release))


def importer(root: Path, *releases: Sequence[dict[str, Any]]) -> Importer:
    def silo() -> None:
        read = staged(root)
        assert read is not None
        (root / "read").write_text(str(read))
        (Paths(root).output / str(read)).mkdir(exist_ok=True)

    made = Importer(Config(backend="", root=root), Releases(*releases), silo)
    made.prepare()
    return made


def staged(root: Path) -> int | None:
    """
    Return how many records SILO would read now; None when there is no input.

    Raises:
        ValueError: The file is not whole.
        zstandard.ZstdError: The same.
    """
    data = Paths(root).data
    if not data.exists():
        return None
    with zstandard.open(data, "rt") as file:
        found = [json.loads(line)["accessionVersion"] for line in file]
    if found not in ([one["metadata"]["accessionVersion"] for one in release] for release in (OLD, NEW)):
        raise ValueError(f"{data} has {found}")
    return len(found)


def lines_of(run: Callable[[], object]) -> list[Line]:
    """Return the lines of the importer that a run comes by, each as often as twice."""
    found: list[Line] = []
    watch(found.append)
    try:
        run()
    finally:
        sys.settrace(None)
    return found


def watch(see: Callable[[Line], object]) -> None:
    """Have each line seen before it runs, the first two times."""
    times: Counter[Line] = Counter()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        del argument
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        line = Path(frame.f_code.co_filename).name, frame.f_lineno
        if event == "line" and times[line] < 2:
            times[line] += 1
            see(line)
        return trace

    sys.settrace(trace)


def in_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; return how it ended, as `os.waitstatus_to_exitcode` tells it."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except BaseException:  # noqa: BLE001 (the parent tells of it)
        os._exit(1)
    os._exit(0)


def second_run(root: Path) -> Importer:
    """Return an importer that has imported the old release, and gets the new one."""
    made = importer(root, OLD, NEW)
    assert made.run().outcome is Outcome.IMPORTED
    return made


def killed_at(place: int, root: Path) -> None:
    """Import the new release, and be killed at that of its lines."""
    made = second_run(root)
    left = iter(range(place))

    def see(line: Line) -> None:
        del line
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    watch(see)
    made.run()


def again(root: Path) -> None:
    """Begin again after a kill: the new release is imported, whatever there was, and SILO reads it."""
    (root / "read").unlink()
    run = importer(root, NEW).run()
    assert (run.outcome, run.records) == (Outcome.IMPORTED, len(NEW))
    assert (root / "read").read_text() == str(len(NEW)) == str(staged(root))
    assert not list(Paths(root).input.glob("*.part"))


def main(folder: Path) -> None:
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=lambda *_: structlog.ReturnLogger()
    )
    lines = lines_of(second_run(folder / "whole").run)
    root = folder / "killed"
    for place, (file, number) in enumerate(lines):
        ended = in_child(partial(killed_at, place, root))
        left: int | str | None
        try:
            left = staged(root)
        except (ValueError, zstandard.ZstdError) as error:
            left = str(error)
        told = {"at": f"{file}:{number}", "ended": ended, "staged": left, "again": in_child(partial(again, root))}
        sys.stdout.write(f"{json.dumps(told)}\n")
        shutil.rmtree(root)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
