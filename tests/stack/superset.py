"""Superset in an environment of its own, its metadata in SQLite: made once, copied for each that is started."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

from tests.stack import cache, ports
from tests.stack.building import make_environment, run, version_of
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.server import Elsewhere, Instance, Server

REQUIREMENTS: Final = Path(__file__).with_name("superset-requirements.txt")
CONFIG: Final = Path(__file__).with_name("superset_config.py")

METADATA: Final = "superset.db"

USER: Final = "admin"
PASSWORD: Final = "of-tests"  # noqa: S105 (of a server on the loopback interface, for as long as the tests run)


def folder() -> Path:
    """Return where this version of it lies, or will: an environment, and metadata nobody has used yet."""
    return cache.folder() / f"superset-{version_of(REQUIREMENTS, CONFIG)}"


def is_there() -> bool:
    """Tell whether it is installed, whole."""
    return (folder() / METADATA).exists()


def build() -> None:
    """
    Install it, some 900 MB, and make its metadata; minutes.

    Raises:
        CannotInstall: Something of that fails.
    """
    place = folder()
    shutil.rmtree(place, ignore_errors=True)  # what an earlier attempt left: it has no metadata
    place.mkdir(parents=True)
    make_environment(place / "venv", REQUIREMENTS)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        environment = {**os.environ, **_environment(scratch)}
        superset = place / "venv/bin/superset"
        who = ("--username", USER, "--password", PASSWORD, "--firstname", "A", "--lastname", "B")
        for words in (("db", "upgrade"), ("fab", "create-admin", *who, "--email", "a@example.com"), ("init",)):
            run(superset, *words, environment=environment)
        shutil.copyfile(scratch / METADATA, place / "making")
    (place / "making").replace(place / METADATA)


class Superset(Server):
    """
    One Superset with an administrator.

    Args:
        instance: What runs it.
        url: Its address.
        user: The administrator.
        password: Of the administrator.
    """

    name = "superset"
    variable = "LAKEDROP_TEST_SUPERSET_URL"

    def __init__(self, instance: Instance, url: str, user: str = USER, password: str = PASSWORD) -> None:
        super().__init__(instance)
        self.url = url
        self.user = user
        self.password = password

    @classmethod
    def is_installed(cls) -> bool:
        return is_there()

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        """Return the one of an address such as `http://user:password@host:8088`."""
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return cls(Elsewhere(cls.variable), place, unquote(parts.username or USER), unquote(parts.password or PASSWORD))

    @classmethod
    def native(cls, folder_of_run: Path) -> Self:
        port = ports.reserve()
        url = f"http://{LOOPBACK}:{port}"
        shutil.copyfile(folder() / METADATA, folder_of_run / METADATA)
        process = Process(
            cls.name,
            [
                *(str(folder() / "venv/bin/gunicorn"), "--workers", "1", "--worker-class", "gthread", "--threads", "4"),
                *("--timeout", "120", "--bind", f"{LOOPBACK}:{port}", "superset.app:create_app()"),
            ],
            log=folder_of_run / "superset.log",
            ready=lambda: _answers(f"{url}/health"),
            environment=_environment(folder_of_run),
        )
        return cls(process, url)


class Api:
    """The API for what tests set up and look at; another client than the one under test."""

    def __init__(self, server: Superset) -> None:
        self._url = f"{server.url}/api/v1"
        self._http = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        self._headers = {"Content-Type": "application/json", "Referer": server.url}
        who = {"username": server.user, "password": server.password, "provider": "db"}
        token = self.call("POST", "security/login", who)["access_token"]
        self._headers["Authorization"] = f"Bearer {token}"
        self._headers["X-CSRFToken"] = self.call("GET", "security/csrf_token/")["result"]

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send one request; AssertionError with what was said when it fails."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/{path}", data, self._headers, method=method)  # noqa: S310
        try:
            with self._http.open(request, timeout=60) as response:
                found: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        return found

    def find(self, what: str, **columns: object) -> list[dict[str, Any]]:
        """Return the resources of a kind (`dataset`, `database`) whose columns have these values."""
        filters = [{"col": name, "opr": "eq", "value": value} for name, value in columns.items()]
        query = quote(json.dumps({"filters": filters, "page_size": 100}))
        found: list[dict[str, Any]] = self.call("GET", f"{what}/?q={query}")["result"]
        return found


def _environment(folder_of_run: Path) -> dict[str, str]:
    """Return what tells Superset where its metadata lies."""
    return {
        "HOME": str(folder_of_run),
        "SUPERSET_HOME": str(folder_of_run),
        "SUPERSET_CONFIG_PATH": str(CONFIG),
        "FLASK_APP": "superset",
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 (of this server)
            return bool(response.status == 200)
    except OSError:
        return False
