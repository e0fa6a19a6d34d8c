"""A store whose certificate only its owner vouches for: looked at, read, and kept tables in over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from pydantic import SecretStr

from consumer.catalog import catalog_properties
from consumer.s3_access import S3Access
from consumer.s3_admin import open_admin
from consumer.s3_store import S3Store
from consumer.settings import Settings
from handlers.contract import TransientError
from handlers.csv_to_iceberg.lake.query import query
from tests.stack import cache, ports
from tests.stack.certificates import certified
from tests.stack.minio import SETTINGS, Minio
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.s3 import ACCESS_KEY, SECRET_KEY
from tests.unit.lake.upkeep import KeptBench

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

LARGE = b"".join(b"%d\n" % number for number in range(1_000_000))

pytestmark = pytest.mark.needs("minio")


class SecureMinio(Minio):
    """MinIO with a certificate of a CA of its own, `ca.crt` in its folder."""

    variable = "LAKEDROP_TEST_SECURE_MINIO_URL"
    image = None  # type: ignore[assignment]  # a container would not have the certificate
    ca: Path

    @classmethod
    def native(cls, folder: Path) -> Self:
        port = ports.reserve()
        certificates = certified(folder)
        process = Process(
            cls.name,
            [
                *(str(cache.binary("minio")), "server", "--quiet", "--address", f"{LOOPBACK}:{port}"),
                *("--certs-dir", str(certificates), str(folder / "data")),
            ],
            log=folder / "minio.log",
            ready=lambda: ports.answers(port),
            environment={"HOME": str(folder), **SETTINGS},
        )
        made = cls(process, f"https://{LOOPBACK}:{port}", ACCESS_KEY, SECRET_KEY, "")
        made.ca = folder / "ca.crt"
        return made


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureMinio]:
    server = SecureMinio.find(tmp_path_factory.mktemp("secure"))
    try:
        server.start()
        yield server
    finally:
        server.close()


def settings_of(server: SecureMinio, home: Path, *, ca: Path | None) -> Settings:
    catalog = {"type": "sql", "uri": f"sqlite:///{home}/tables.db", "warehouse": "s3://warehouse/"}
    return Settings(
        home=home,
        store="s3",
        s3_endpoint=server.url,
        s3_path_style=True,
        s3_ca_bundle=ca,
        s3_access_key=SecretStr(server.access_key),
        s3_secret_key=SecretStr(server.secret_key),
        catalog={name: SecretStr(value) for name, value in catalog.items()},
    )


@asynccontextmanager
async def client_of(settings: Settings) -> AsyncIterator[S3Client]:
    async with open_admin(S3Access.of(settings)) as admin:
        yield admin._client


@pytest.fixture
async def trusting(secure: SecureMinio, tmp_path: Path) -> Settings:
    """Return settings with which everything works."""
    settings = settings_of(secure, tmp_path, ca=secure.ca)
    async with open_admin(S3Access.of(settings)) as admin:
        for bucket in ("uploads", "warehouse"):
            await admin.create(bucket)
    return settings


async def test_a_store_that_a_bundle_vouches_for_is_listed_and_read(trusting: Settings) -> None:
    async with client_of(trusting) as client:
        await client.put_object(Bucket="uploads", Key="ünï/1.csv", Body=LARGE)
    store = S3Store.of(trusting)
    try:
        await store.ping()
        assert [(entry.key, entry.size) async for entry in store.list("uploads")] == [("ünï/1.csv", len(LARGE))]
        found = await store.head("uploads", "ünï/1.csv")
        assert found is not None
        assert await found.read() == LARGE
        with await found.open() as stream:
            assert await asyncio.to_thread(stream.read) == LARGE
    finally:
        await store.aclose()


async def listed(store: S3Store) -> list[str]:
    return [entry.key async for entry in store.list("uploads")]


async def test_a_store_that_nobody_vouches_for_names_the_setting(secure: SecureMinio, tmp_path: Path) -> None:
    settings = settings_of(secure, tmp_path, ca=None)
    store = S3Store.of(settings)
    try:
        async with open_admin(S3Access.of(settings)) as admin:
            for asked in (store.head("uploads", "k"), listed(store), store.ping(), admin.buckets(), admin.create("b")):
                with pytest.raises(TransientError, match=r"cannot be trusted.*certificate.*: set s3_ca_bundle"):
                    await asked
    finally:
        await store.aclose()


async def test_a_bundle_without_certificates_is_named(secure: SecureMinio, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    store = S3Store.of(settings_of(secure, tmp_path, ca=empty))
    try:
        with pytest.raises(TransientError, match=r"s3_ca_bundle .*empty\.pem cannot be read"):
            await store.head("uploads", "k")
    finally:
        await store.aclose()


async def test_tables_are_kept_in_a_store_that_a_bundle_vouches_for(trusting: Settings, tmp_path: Path) -> None:
    bench = KeptBench(tmp_path, catalog=catalog_properties(trusting))
    try:
        await bench.put({"t/a.csv": {"n": [1, 2]}})
        await bench.put({"t/a.csv": {"n": [3]}}, etag="e2")
        assert bench.rows("lakehouse.t", "n") == [("t/a.csv", 3)]
        assert query(bench.lake, "select n from t").to_pylist() == [{"n": 3}]
    finally:
        bench.close()


def test_tables_in_a_store_that_nobody_vouches_for_say_what_is_wrong(trusting: Settings, tmp_path: Path) -> None:
    bench = KeptBench(tmp_path, catalog=catalog_properties(trusting.model_copy(update={"s3_ca_bundle": None})))
    try:
        with pytest.raises(OSError, match=r"(?i)certificate"):
            bench.table().create({})
    finally:
        bench.close()
