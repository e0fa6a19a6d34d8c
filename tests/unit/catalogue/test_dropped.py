"""Archives that were dropped, and are larger than they look."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from handlers.contract import HandlerContext
from handlers.dataset_catalogue.dropped import TooLarge, copy
from tests.objects import BytesObject

T = TypeVar("T")


class Context:
    """Runs work at once."""

    async def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> T:
        del lane
        return function(*args)


def zipped(**members: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in members.items():
            archive.writestr(name, bytes(size))
    return file.getvalue()


async def dropped(folder: Path, name: str, content: bytes, most: int) -> None:
    found = BytesObject(f"catalogue/kaggle/{name}", content)
    await copy([found], folder, cast("HandlerContext", Context()), "lane", most)


@pytest.mark.parametrize(
    ("name", "content"),
    [("all.zip", zipped(a=900, b=900, c=900)), ("Datasets.csv.gz", gzip.compress(bytes(2700)))],
)
async def test_an_archive_that_unpacks_to_more_than_it_may_names_the_setting(
    tmp_path: Path, name: str, content: bytes
) -> None:
    with pytest.raises(TooLarge, match=r"max_uncompressed_bytes = 2,699: raise that"):
        await dropped(tmp_path / "one", name, content, 2699)
    await dropped(tmp_path / "other", name, content, 2700)


async def test_a_packed_file_that_is_cut_is_told_of_by_its_reader(tmp_path: Path) -> None:
    whole = gzip.compress(bytes(2700))

    await dropped(tmp_path / "files", "Datasets.csv.gz", whole[:-9], 3000)

    assert (tmp_path / "files" / "Datasets.csv.gz").read_bytes() == whole[:-9]
