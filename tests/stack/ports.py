"""
Ports for servers that are started again on the same port.

A port that the kernel gives out may go to a client's connection while its server is down. So these lie below the
ephemeral range (32768 and up on Linux), and a lock file keeps other test runs of this user away from them; the kernel
takes the lock back when this process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOWEST, HIGHEST = 20_000, 32_000
LOOPBACK = "127.0.0.1"


def reserve() -> int:
    """Return a port on which nothing listens, for this process alone until it ends."""
    folder = Path(tempfile.gettempdir(), f"lakedrop-ports-{os.geteuid()}")
    folder.mkdir(exist_ok=True)
    # Which one does not matter, only that test runs side by side seldom try the same.
    for port in random.SystemRandom().sample(range(LOWEST, HIGHEST), 1_000):
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT)  # open until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        if not answers(port):
            return port
        os.close(lock)
    raise RuntimeError(f"no free port between {LOWEST} and {HIGHEST}")


@contextmanager
def deaf() -> Iterator[int]:
    """Keep a port on which nobody listens; connections to it are refused."""
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        yield int(taken.getsockname()[1])


def answers(port: int) -> bool:
    """Tell whether somebody accepts connections on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
