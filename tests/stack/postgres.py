"""PostgreSQL 15 or newer; one database for each test."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import asyncpg

from tests.stack import ports
from tests.stack.container import Container
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.server import Elsewhere, Instance, Server

USER, PASSWORD = "lakedrop", "database-of-tests"

# Sorted as people sort, so that what relies on the order of bytes without saying so fails.
INITDB = ["--encoding=UTF8", "--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"]

LOWEST_VERSION = 15
"""The first that sorts a whole cluster by ICU."""

# What the kernel was given survives a killed process; only a fall of the machine would need fsync.
OPTIONS = ["fsync=off", "full_page_writes=off", "shared_buffers=64MB"]


class Postgres(Server):
    """
    One cluster.

    Args:
        instance: what runs it.
        url: address of a superuser, without a database.
        data: folder of its own to remove in the end, where the log's folder is closed to the user it runs as.
    """

    name = "postgres"
    variable = "LAKEDROP_TEST_POSTGRES_URL"
    image = "postgres:17"

    def __init__(self, instance: Instance, url: str, data: Path | None = None) -> None:
        super().__init__(instance)
        self.url = url
        self._data = data

    @classmethod
    def is_installed(cls) -> bool:
        return _programs() is not None

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        parts = urlsplit(url)
        return cls(Elsewhere(cls.variable), f"postgresql://{parts.netloc}")

    @classmethod
    def native(cls, folder: Path) -> Self:
        port = ports.reserve()
        programs = _programs()
        assert programs is not None
        user, owned = None, None
        data = folder / "data"
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, and pytest's folders are closed to all but root.
            account = pwd.getpwnam("postgres" if _has_account("postgres") else "nobody")
            user = account.pw_uid, account.pw_gid
            owned = Path(tempfile.mkdtemp(prefix="lakedrop-postgres-"))
            os.chown(owned, *user)
            data = owned / "data"
        password = data.parent / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        done = subprocess.run(
            [
                *(programs / "initdb", "--pgdata", data, "--username", USER, "--pwfile", password),
                *("--auth=scram-sha-256", "--no-sync", *INITDB),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=data.parent,
            user=user and user[0],
            group=user and user[1],
            extra_groups=user and [],
        )
        assert done.returncode == 0, done.stdout + done.stderr
        process = Process(
            cls.name,
            [str(programs / "postgres"), "-D", str(data), *_options(port), "-c", "unix_socket_directories="],
            log=folder / "postgres.log",
            ready=lambda: _accepts(port),
            environment={"LANG": "C.UTF-8"},
            user=user,
            ends_at=signal.SIGINT,  # does not wait for clients to go
        )
        return cls(process, f"postgresql://{USER}:{PASSWORD}@{LOOPBACK}:{port}", owned)

    @classmethod
    def contained(cls, image: str) -> Self:
        port = ports.reserve()
        container = Container(
            cls.name,
            image,
            ["postgres", *_options(port)],
            ready=lambda: _accepts(port),
            environment={
                "POSTGRES_USER": USER,
                "POSTGRES_PASSWORD": PASSWORD,
                "POSTGRES_INITDB_ARGS": " ".join(INITDB),
            },
        )
        return cls(container, f"postgresql://{USER}:{PASSWORD}@{LOOPBACK}:{port}")

    def close(self) -> None:
        super().close()
        if self._data is not None:
            shutil.rmtree(self._data)

    async def create_database(self, name: str) -> str:
        """Create an empty database; return its URL."""
        await self._run(f'CREATE DATABASE "{name}"')
        return f"{self.url}/{name}"

    async def drop_database(self, name: str) -> None:
        """Drop a database; closes its connections."""
        await self._run(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(f"{self.url}/postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _options(port: int) -> list[str]:
    settings = [f"listen_addresses={LOOPBACK}", f"port={port}", *OPTIONS]
    return [word for setting in settings for word in ("-c", setting)]


def _accepts(port: int) -> bool:
    """Tell whether a cluster takes clients: it asks for a password (R) instead of telling that it is starting (E)."""
    names = f"user\0{USER}\0database\0postgres\0\0".encode()
    try:
        with socket.create_connection((LOOPBACK, port), 1) as client:
            client.settimeout(5)
            client.sendall(struct.pack("!ii", 8 + len(names), 3 << 16) + names)  # protocol 3.0
            return client.recv(1) == b"R"
    except OSError:
        return False


def _programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`, which Debian keeps off PATH; the newest, if it is new enough."""
    packaged = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    packaged.sort(key=lambda path: int(path.parent.name))
    if packaged:
        return packaged[-1] if int(packaged[-1].parent.name) >= LOWEST_VERSION else None
    found = shutil.which("initdb")
    return Path(found).parent if found else None


def _has_account(name: str) -> bool:
    return any(account.pw_name == name for account in pwd.getpwall())
