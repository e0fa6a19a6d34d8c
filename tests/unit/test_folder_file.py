"""Reading exactly the version that was asked for."""

from pathlib import Path

import pytest

from consumer.folder_file import ExactReader, hash_file
from handlers.contract import ObjectChanged


def test_file_cut_short_before_it_is_read_whole_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id\n1\n2\n")
    stamp, etag = hash_file(bytes(path))

    with ExactReader(bytes(path), stamp, etag, doubt=lambda: None) as reader:
        path.write_bytes(b"id\n1\n")
        with pytest.raises(ObjectChanged):
            reader.readall()
