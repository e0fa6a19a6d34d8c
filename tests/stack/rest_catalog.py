"""Iceberg's own REST catalog, the one its tests use: one catalog for each bucket, in one process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Self

from tests.stack import maven, ports
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.s3 import S3Server
from tests.stack.server import Elsewhere, Instance, Server


class RestCatalog(Server):
    """
    Many catalogs on one store.

    Args:
        instance: what runs it.
        url: below it, `/BUCKET` is the catalog whose warehouse is `s3://BUCKET/warehouse`.
    """

    name = "rest_catalog"
    variable = "LAKEDROP_TEST_REST_CATALOG_URL"

    def __init__(self, instance: Instance, url: str) -> None:
        super().__init__(instance)
        self.url = url

    @classmethod
    def is_installed(cls) -> bool:
        return maven.is_there() and shutil.which("java") is not None

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        return cls(Elsewhere(cls.variable), url)

    @classmethod
    def native(cls, folder: Path) -> Self:
        port = ports.reserve()
        jars = maven.folder()
        (folder / "data").mkdir()
        process = Process(
            cls.name,
            [
                # Of a server that lives for some minutes and does little.
                *("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
                "-Djava.net.preferIPv4Stack=true",
                *("-cp", f"{jars}:{jars}/lib/*", "RestCatalog", str(port), str(folder / "data")),
            ],
            log=folder / "rest_catalog.log",
            ready=lambda: ports.answers(port),
            environment={"HOME": str(folder)},
        )
        return cls(process, f"http://{LOOPBACK}:{port}")

    def keep_in(self, store: S3Server) -> None:
        """Name the store of all warehouses; before the first start."""
        self.instance.configure(
            {
                "AWS_REGION": store.region,
                "AWS_ACCESS_KEY_ID": store.access_key,
                "AWS_SECRET_ACCESS_KEY": store.secret_key,
                "AWS_ENDPOINT_URL_S3": store.url,
            }
        )

    def catalog(self, bucket: str) -> str:
        """Return the address of a bucket's catalog; it comes into being when it is asked."""
        return f"{self.url}/{bucket}"
