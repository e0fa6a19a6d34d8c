"""Argilla in an environment of its own, its records in SQLite: made once, copied for each that is started."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from tests.stack import cache, ports
from tests.stack.building import make_environment, run, version_of
from tests.stack.opensearch import OpenSearch
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.redis import Redis
from tests.stack.s3 import is_healthy
from tests.stack.server import Elsewhere, Instance, Server

REQUIREMENTS: Final = Path(__file__).with_name("argilla-requirements.txt")

RECORDS: Final = "argilla.db"

USER: Final = "owner"
PASSWORD: Final = "of-tests"  # noqa: S105 (of a server on the loopback interface, for as long as the tests run)
API_KEY: Final = "of-tests"


def folder() -> Path:
    """Return where this version of it lies, or will: an environment, and a database nobody has used yet."""
    return cache.folder() / f"argilla-{version_of(REQUIREMENTS)}"


def is_there() -> bool:
    """Tell whether it is installed, whole."""
    return (folder() / RECORDS).exists()


def build() -> None:
    """
    Install it, some 600 MB, and make its database; minutes.

    Raises:
        CannotInstall: Something of that fails.
    """
    place = folder()
    shutil.rmtree(place, ignore_errors=True)  # what an earlier attempt left: it has no database
    place.mkdir(parents=True)
    make_environment(place / "venv", REQUIREMENTS)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _command(scratch, {}, "database", "migrate")
        who = ("--username", USER, "--password", PASSWORD, "--role", "owner", "--first-name", "O")
        _command(scratch, {}, "database", "users", "create", *who, "--api-key", API_KEY)
        shutil.copyfile(scratch / RECORDS, place / "making")
    (place / "making").replace(place / RECORDS)


class Argilla(Server):
    """
    One Argilla with an owner.

    Args:
        instance: What runs it.
        url: Its address.
        api_key: The owner's.
        home: Its folder; None where it is not ours.
    """

    name = "argilla"
    variable = "LAKEDROP_TEST_ARGILLA_URL"

    def __init__(self, instance: Instance, url: str, api_key: str = API_KEY, home: Path | None = None) -> None:
        super().__init__(instance)
        self.url = url
        self.api_key = api_key
        self._home = home
        self._uses: dict[str, str] = {}

    @classmethod
    def is_installed(cls) -> bool:
        return is_there()

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        """Return the one of an address such as `http://KEY@host:6900`."""
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return cls(Elsewhere(cls.variable), place, unquote(parts.username or API_KEY))

    @classmethod
    def native(cls, folder_of_run: Path) -> Self:
        port = ports.reserve()
        url = f"http://{LOOPBACK}:{port}"
        shutil.copyfile(folder() / RECORDS, folder_of_run / RECORDS)
        process = Process(
            cls.name,
            [
                *(str(folder() / "venv/bin/python"), "-m", "argilla_server", "start"),
                *("--host", LOOPBACK, "--port", str(port)),
            ],
            log=folder_of_run / "argilla.log",
            ready=lambda: is_healthy(f"{url}/api/v1/version"),
            environment=_environment(folder_of_run),
        )
        return cls(process, url, home=folder_of_run)

    def use(self, engine: OpenSearch, redis: Redis) -> None:
        """Name what it stands on; before the first start, and both must run then."""
        self._uses = {"ARGILLA_ELASTICSEARCH": engine.url, "ARGILLA_REDIS_URL": redis.url}
        self.instance.configure(self._uses)

    def reindex(self) -> None:
        """Make its indexes anew from its database, with its own command."""
        assert self._home is not None, "it is not ours to command"
        _command(self._home, self._uses, "search-engine", "reindex")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send one request below `/api/v1` and return its JSON; AssertionError with what was said when it fails."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "X-Argilla-Api-Key": self.api_key}
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data, headers, method=method)  # noqa: S310 (its own)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
                content = response.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        return json.loads(content) if content else None


def _environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "ARGILLA_HOME_PATH": str(home),
        "ARGILLA_SEARCH_ENGINE": "opensearch",
        "HF_HUB_OFFLINE": "1",  # it would tell its makers that it runs
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def _command(home: Path, uses: dict[str, str], *words: str) -> None:
    environment = {"PATH": os.environ.get("PATH", os.defpath), **_environment(home), **uses}
    run(folder() / "venv/bin/python", "-m", "argilla_server", *words, environment=environment)
