"""Trino with the Iceberg connector: one server per test run, and a catalog for each lake that a test makes."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit
from uuid import uuid4

from tests.stack import ports, trino_jars
from tests.stack.certificates import certified
from tests.stack.container import Container
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.s3 import S3Server
from tests.stack.server import Elsewhere, Instance, Server

USER: Final = "lakedrop-tests"

HEAP: Final = "-Xmx1g"

MEMORY: Final = {
    "query.max-memory": "400MB",
    "query.max-memory-per-node": "400MB",
    "memory.heap-headroom-per-node": "250MB",
}
"""Of a heap that small; by default one query may have most of it."""

SETTINGS: Final = {
    # PyIceberg cannot read what Trino's writer makes of strings by default: the delete files of DELETE and UPDATE.
    "parquet.writer.delta-length-byte-array-encoding-enabled": "false",
    # By default nothing younger than a week may be expired or removed.
    "iceberg.expire-snapshots.min-retention": "0s",
    "iceberg.remove-orphan-files.min-retention": "0s",
}
"""Properties of every catalog, beside where it and its files are."""

JAVA_WORDS: Final = (
    # Of a server that lives for some minutes: what a better compiler would save later, it costs at the start.
    *(HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"),
    # As Trino's own launcher has it.
    *("-Djdk.attach.allowAttachSelf=true", "-Dfile.encoding=UTF-8", "--add-modules=jdk.incubator.vector"),
    *("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"),
)


class TrinoError(Exception):
    """A statement failed; the message is Trino's."""


class Trino(Server):
    """
    One coordinator that is its own worker; forgets its catalogs when it ends.

    Args:
        instance: what runs it.
        url: without a path.
        secure_url: the same by HTTPS; None where there is no telling.
        authority: certificate that vouches for it.
    """

    name = "trino"
    variable = "LAKEDROP_TEST_TRINO_URL"
    image = f"trinodb/trino:{trino_jars.VERSION}"

    def __init__(
        self, instance: Instance, url: str, secure_url: str | None = None, authority: Path | None = None
    ) -> None:
        super().__init__(instance)
        self.url = url
        self.secure_url = secure_url
        self.authority = authority
        self._catalogs: dict[str, Mapping[str, str]] = {}

    @classmethod
    def is_installed(cls) -> bool:
        return trino_jars.is_there()

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        """Return the one at an address; it must be one that takes CREATE CATALOG."""
        return cls(Elsewhere(cls.variable), url)

    @classmethod
    def native(cls, folder: Path) -> Self:
        port, secure_port = ports.reserve(), ports.reserve()
        jars, home = trino_jars.folder(), trino_jars.java_home()
        certificates = certified(folder)
        both = folder / "server.pem"
        both.write_text((certificates / "private.key").read_text() + (certificates / "public.crt").read_text())
        config = folder / "config.properties"
        config.write_text(_properties({**_config(port), **_https(secure_port, both)}))
        levels = folder / "log.properties"
        levels.write_text("io.trino=WARN\n")
        (folder / "data").mkdir()
        node = {
            **_node(),
            "node.data-dir": folder / "data",
            "config": config,
            "log.levels-file": levels,
            "plugin.dir": jars / "plugin",
        }
        process = Process(
            cls.name,
            [
                f"{home}/bin/java",
                *JAVA_WORDS,
                *(f"-D{name}={value}" for name, value in node.items()),
                *("-cp", f"{jars}:{jars}/lib/*", "TrinoServer", trino_jars.VERSION),
            ],
            log=folder / "trino.log",
            ready=lambda: _is_ready(f"http://{LOOPBACK}:{port}"),
            environment={"HOME": str(folder)},
        )
        return cls(process, f"http://{LOOPBACK}:{port}", f"https://{LOOPBACK}:{secure_port}", folder / "ca.crt")

    @classmethod
    def contained(cls, image: str) -> Self:
        port = ports.reserve()
        container = Container(
            cls.name,
            image,
            ready=lambda: _is_ready(f"http://{LOOPBACK}:{port}"),
            environment={},
            files={
                "/etc/trino/config.properties": _properties(_config(port)),
                "/etc/trino/node.properties": _properties({**_node(), "node.data-dir": "/data/trino"}),
                "/etc/trino/jvm.config": "\n".join([*JAVA_WORDS, ""]),
            },
        )
        return cls(container, f"http://{LOOPBACK}:{port}")

    def start(self) -> None:
        super().start()
        for name, properties in self._catalogs.items():
            self._create(name, properties)

    def create_catalog(self, lake: Mapping[str, str], store: S3Server) -> str:
        """
        Make a catalog of the lake that PyIceberg opens as `lakedrop` with these properties; return its name.

        Args:
            lake: of type `rest`, or of type `sql` in PostgreSQL.
            store: where its files are.
        """
        name = f"iceberg_{uuid4().hex[:12]}"
        kind = _rest(lake) if lake["type"] == "rest" else _jdbc(lake)
        properties = {**kind, **SETTINGS, **_files(store)}
        self._create(name, properties)
        self._catalogs[name] = properties
        return name

    def drop_catalog(self, name: str) -> None:
        """Let go of a catalog; nothing in it changes."""
        del self._catalogs[name]
        self.run(f"DROP CATALOG {name}")

    def _create(self, name: str, properties: Mapping[str, str]) -> None:
        given = ", ".join(f"\"{key}\" = '{value}'" for key, value in properties.items())
        self.run(f"CREATE CATALOG IF NOT EXISTS {name} USING iceberg WITH ({given})")

    def run(self, sql: str, catalog: str = "", schema: str = "lakehouse") -> list[tuple[Any, ...]]:
        """
        Run a statement to its end, by another client than the one under test; return its rows as JSON has them.

        Raises:
            TrinoError: it failed.
        """
        headers = {
            "X-Trino-User": USER,
            "X-Trino-Client-Capabilities": "PARAMETRIC_DATETIME",  # else microseconds come as milliseconds
            "X-Trino-Catalog": catalog,
            "X-Trino-Schema": schema if catalog else "",
        }
        request = urllib.request.Request(  # noqa: S310 (our own server)
            f"{self.url}/v1/statement", sql.encode(), {name: value for name, value in headers.items() if value}
        )
        rows: list[tuple[Any, ...]] = []
        page = _answer(request)
        while True:
            if "error" in page:
                raise TrinoError(page["error"]["message"])
            rows += map(tuple, page.get("data", ()))
            if "nextUri" not in page:
                return rows
            page = _answer(urllib.request.Request(page["nextUri"], headers={"X-Trino-User": USER}))  # noqa: S310


def _answer(request: urllib.request.Request) -> dict[str, Any]:
    with urllib.request.urlopen(request, timeout=180) as answer:  # noqa: S310 (our own server)
        page: dict[str, Any] = json.load(answer)
    return page


def _is_ready(url: str) -> bool:
    try:
        return _answer(urllib.request.Request(f"{url}/v1/info"))["starting"] is False  # noqa: S310 (our own server)
    except OSError:
        return False


def _config(port: int) -> dict[str, str]:
    return {
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": str(port),
        "discovery.uri": f"http://{LOOPBACK}:{port}",
        "catalog.management": "dynamic",
        "catalog.store": "memory",
        **MEMORY,
    }


def _https(port: int, keystore: Path) -> dict[str, str]:
    return {
        "http-server.https.enabled": "true",
        "http-server.https.port": str(port),
        "http-server.https.keystore.path": str(keystore),
    }


def _node() -> dict[str, str]:
    # Without the address it listens on all of them.
    return {
        "node.environment": "test",
        "node.id": "one",
        "node.bind-ip": LOOPBACK,
        "node.internal-address": LOOPBACK,
    }


def _properties(settings: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _rest(lake: Mapping[str, str]) -> dict[str, str]:
    return {"iceberg.catalog.type": "rest", "iceberg.rest-catalog.uri": lake["uri"]}


def _jdbc(lake: Mapping[str, str]) -> dict[str, str]:
    parts = urlsplit(lake["uri"])
    return {
        "iceberg.catalog.type": "jdbc",
        # Catalogs that share a database know their tables by this name: PyIceberg's is the one of `load_catalog`.
        "iceberg.jdbc-catalog.catalog-name": "lakedrop",
        "iceberg.jdbc-catalog.driver-class": "org.postgresql.Driver",
        "iceberg.jdbc-catalog.connection-url": f"jdbc:postgresql://{parts.hostname}:{parts.port}{parts.path}",
        "iceberg.jdbc-catalog.connection-user": parts.username or "",
        "iceberg.jdbc-catalog.connection-password": parts.password or "",
        "iceberg.jdbc-catalog.default-warehouse-dir": lake["warehouse"],
    }


def _files(store: S3Server) -> dict[str, str]:
    return {
        "fs.s3.enabled": "true",
        "s3.endpoint": store.url,
        "s3.region": store.region,
        "s3.path-style-access": "true",
        "s3.aws-access-key": store.access_key,
        "s3.aws-secret-key": store.secret_key,
    }
