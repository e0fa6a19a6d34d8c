"""Whatever is dropped ends in its table or in the ledger with a reason; the service and its neighbours live on."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import zstandard
from pyiceberg.catalog.sql import SqlCatalog

from consumer.app import App, open_app
from consumer.protocol import Row, Status
from consumer.settings import Settings, load_settings

GOOD = b"id,name\n1,anna\n2,bert\n"


@dataclass
class Home:
    """A home with its bucket, worked by an app in this process."""

    app: App
    settings: Settings

    @property
    def bucket(self) -> Path:
        return self.settings.buckets / "csv-uploads"

    def drop(self, key: str, content: bytes) -> None:
        path = self.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    async def settle(self) -> None:
        await self.app.sweeper.sweep()
        await self.app.worked_off()
        await self.app.recorder.flush()

    async def row(self, key: str) -> Row:
        (row,) = await self.app.units.find("csv-uploads", key)
        return row

    def table(self, name: str) -> list[dict[str, Any]]:
        catalog = SqlCatalog(
            "lakedrop",
            uri=f"sqlite:///{self.settings.home}/catalog.db",
            warehouse=f"file://{self.settings.home}/warehouse",
        )
        try:
            rows: list[dict[str, Any]] = catalog.load_table(f"lakehouse.{name}").scan().to_arrow().to_pylist()
        finally:
            catalog.close()
        return rows

    def registry(self, key: str) -> list[dict[str, Any]]:
        return [row for row in self.table("_ingest_registry") if row["file_key"] == key]


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[Home]:
    settings = load_settings(home)
    async with open_app(settings) as app:
        app.start_workers()
        yield Home(app, settings)
        await app.stop(10)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    (tmp_path / "lakedrop.toml").write_text("max_commit_latency = 0.1\nretry_delays = []\n")
    async with opened(tmp_path) as home:
        yield home


def bomb() -> bytes:
    return gzip.compress(b"id,name\n" + b"1,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n" * 6_000_000, 9)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "EmptyFile"),
    "binary": (lambda: bytes(range(256)) * 64, "NotText"),
    "png": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(200) + b"\x00\xff" * 500, "NotText"),
    "300,000 columns": (lambda: b",".join(b"c%d" % number for number in range(300_000)) + b"\n", "TooManyColumns"),
    "headerless": (lambda: b"1,2,3\n4,5,6\n7,8,9\n", "HeaderMissing"),
    "wrong gz": (lambda: b"\x1f\x8b\x08\x00 this is not gzip at all", "BadCompression"),
    "truncated zst": (lambda: zstandard.compress(GOOD * 5000)[:-20], "BadCompression"),
    "truncated gz": (lambda: gzip.compress(GOOD * 5000)[:-20], "BadCompression"),
    "bomb": (bomb, "DecompressionBomb"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_file_that_cannot_be_read_fails_with_its_reason_in_ledger_and_registry(home: Home, name: str) -> None:
    content, error_class = REFUSED[name]
    home.drop("t/bad.csv", content())
    home.drop("t/good.csv", GOOD)
    await home.settle()
    row = await home.row("t/bad.csv")
    (record,) = home.registry("t/bad.csv")

    assert (row.status, row.error_class) == (Status.FAILED, error_class)
    assert row.error
    assert (record["status"], record["error_message"], record["etag"]) == ("failed", row.error, row.observed_etag)
    assert (await home.row("t/good.csv")).status is Status.DONE
    assert [found["name"] for found in home.table("t")] == ["anna", "bert"]


TAKEN: dict[str, tuple[Callable[[], bytes], int, int]] = {
    "header only": (lambda: b"id,name\n", 0, 0),
    "one column": (lambda: b"name\nanna\nbert\n", 2, 0),
    "one row": (lambda: b"id,name\n1,anna\n", 1, 0),
    "10 MB cell": (lambda: b'id,name\n1,"' + b"x" * 10_000_000 + b'"\n2,bert\n', 2, 0),
    "mixed line ends": (lambda: b"id,name\r\n1,anna\n2,bert\r3,cora\r\n", 3, 0),
    "NUL in a cell": (lambda: b"id,name\n1,an\x00na\n2,bert\n", 2, 0),
    "UTF-16": (lambda: "id,name\n1,änna\n2,bért\n".encode("utf-16"), 2, 0),
    "cp1252": (lambda: "id,name\n1,Müller\n2,Straße\n3,René\n".encode("cp1252"), 3, 0),
    "BOM": (lambda: b"\xef\xbb\xbf" + GOOD, 2, 0),
    "ragged": (lambda: b"id,name\n1,anna\n2\n3,cora,extra\n4,dora\n", 2, 2),
    "gz": (lambda: gzip.compress(GOOD), 2, 0),
    "bz2": (lambda: bz2.compress(GOOD), 2, 0),
    "xz": (lambda: lzma.compress(GOOD), 2, 0),
    "zst": (lambda: zstandard.compress(GOOD), 2, 0),
    "no last line end": (lambda: b"id,name\n1,anna", 1, 0),
}


@pytest.mark.parametrize("name", TAKEN)
async def test_odd_file_is_taken_whole(home: Home, name: str) -> None:
    content, rows, rejected = TAKEN[name]
    home.drop("t/odd.csv", content())
    await home.settle()
    row = await home.row("t/odd.csv")
    (record,) = home.registry("t/odd.csv")

    assert row.status is Status.DONE, row.error
    assert row.receipt is not None
    assert (row.receipt.counts["rows"], row.receipt.counts["rejected"]) == (rows, rejected)
    assert row.receipt.counts["records"] == rows + rejected
    assert len(home.table("t")) == rows
    assert (record["status"], record["row_count"], record["etag"]) == ("success", rows, row.applied_etag)


async def test_unterminated_quote_accounts_for_every_record(home: Home) -> None:
    home.drop("t/odd.csv", b'id,name\n1,anna\n2,"bert\n3,cora\n4,dora\n')
    await home.settle()
    row = await home.row("t/odd.csv")

    assert row.status in (Status.DONE, Status.FAILED)
    if row.receipt is not None:
        counts = row.receipt.counts
        assert counts["records"] == counts["rows"] + counts["rejected"]
        assert len(home.table("t")) == counts["rows"]
    else:
        assert row.error


ODD_KEYS = (
    "t/with space.csv",
    "t/plus+and%20percent.csv",
    "t/new\nline.csv",
    "t/emoji-\N{SNOWMAN}\U0001f680.csv",
    "t/" + "/".join(["d" * 200] * 4) + "/" + "f" * 90 + ".csv",
    "t/quote'and\"double.csv",
    "t/back\\slash.csv",
    "t/&?#=.csv",
)


async def test_any_legal_key_reaches_its_table_under_its_own_name(home: Home) -> None:
    for key in ODD_KEYS:
        home.drop(key, GOOD)
    await home.settle()

    assert {row["_source_file"] for row in home.table("t")} == set(ODD_KEYS)
    for key in ODD_KEYS:
        assert (await home.row(key)).status is Status.DONE


async def test_object_without_a_folder_is_skipped_with_a_reason(home: Home) -> None:
    home.drop("loose.csv", GOOD)
    await home.settle()
    row = await home.row("loose.csv")

    assert row.status is Status.SKIPPED
    assert "no folder" in (row.error or "")


async def test_folder_name_is_sanitised(home: Home) -> None:
    home.drop("My Data!/a.csv", GOOD)
    await home.settle()

    assert len(home.table("my_data")) == 2


async def test_bad_version_leaves_the_last_good_one_in_the_table(home: Home) -> None:
    home.drop("t/a.csv", GOOD)
    await home.settle()
    good = (await home.row("t/a.csv")).applied_etag
    home.drop("t/a.csv", b"\x1f\x8b\x08 broken")
    await home.settle()
    row = await home.row("t/a.csv")

    assert (row.status, row.applied_etag) == (Status.FAILED, good)
    assert len(home.table("t")) == 2


async def test_memory_stays_flat_over_many_files(home: Home) -> None:
    def content(number: int) -> bytes:
        return b"id,name\n" + b"".join(b"%d,n%d\n" % (row, number) for row in range(200))

    process = psutil.Process()
    for number in range(400):
        home.drop(f"t/{number}.csv", content(number))
    await home.settle()
    before = process.memory_info().rss
    for turn in range(1, 6):
        for number in range(400):
            home.drop(f"t/{number}.csv", content(number + turn))
        await home.settle()
    grown = process.memory_info().rss - before

    assert len(home.table("t")) == 400 * 200
    assert grown < 100 << 20, f"grew by {grown >> 20} MB over 2,000 replacements"


async def test_losing_the_ledger_costs_no_ingest(tmp_path: Path) -> None:
    (tmp_path / "lakedrop.toml").write_text("max_commit_latency = 0.1\nretry_delays = []\n")
    async with opened(tmp_path) as home:
        home.drop("t/a.csv", GOOD)
        home.drop("t/empty.csv", b"id,name\n")
        home.drop("t/bad.csv", b"")
        home.drop("u/b.csv", GOOD)
        home.drop("u/was-good.csv", GOOD)
        await home.settle()
        home.drop("u/was-good.csv", b"")
        await home.settle()
        before = {
            key: await home.row(key) for key in ("t/a.csv", "t/empty.csv", "t/bad.csv", "u/b.csv", "u/was-good.csv")
        }
        records = len(home.table("_ingest_registry"))
    for file in tmp_path.glob("ledger.db*"):
        file.unlink()
    async with opened(tmp_path) as home:
        from consumer.rebuild import rebuild  # noqa: PLC0415

        await rebuild(home.app)
        report = await home.app.sweeper.sweep()
        await home.app.worked_off()
        after = {key: await home.row(key) for key in before}

        assert (report.new, report.changed, report.vanished) == (0, 0, 0)
        assert {key: row.status for key, row in after.items()} == {key: row.status for key, row in before.items()}
        assert {key: row.applied_etag for key, row in after.items()} == {
            key: row.applied_etag for key, row in before.items()
        }
        assert {key: row.error for key, row in after.items()} == {key: row.error for key, row in before.items()}
        await home.app.recorder.flush()
        assert len(home.table("_ingest_registry")) == records
