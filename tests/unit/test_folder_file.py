"""Reading exactly the version that was asked for."""

import os
from pathlib import Path

import pytest

from consumer.folder_file import ExactReader, hash_file, read_exactly
from handlers.contract import ObjectChanged


def test_file_cut_short_before_it_is_read_whole_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id\n1\n2\n")
    stamp, etag = hash_file(bytes(path))

    with ExactReader(bytes(path), stamp, etag, doubt=lambda: None) as reader:
        path.write_bytes(b"id\n1\n")
        with pytest.raises(ObjectChanged):
            reader.readall()


def test_small_file_of_the_same_stamp_and_other_content_has_changed_and_is_doubted(tmp_path: Path) -> None:
    """Two writes within one tick of the file system's clock leave the stamp as it was."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"id\n1\n")
    stamp, etag = hash_file(bytes(path))
    doubts: list[str] = []

    assert read_exactly(bytes(path), stamp, etag, lambda: doubts.append("right")) == b"id\n1\n"
    with pytest.raises(ObjectChanged):
        read_exactly(bytes(path), stamp, "0" * 32, lambda: doubts.append("wrong"))

    assert doubts == ["wrong"]


def test_small_file_is_read_whole_where_the_system_hands_it_over_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems in user space may answer with less than was asked for."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"id\n1\n2\n")
    stamp, etag = hash_file(bytes(path))
    reads: list[int] = []
    read = os.read

    def read_a_piece(file: int, size: int) -> bytes:
        reads.append(size)
        return read(file, min(size, 3))

    monkeypatch.setattr(os, "read", read_a_piece)

    assert hash_file(bytes(path)) == (stamp, etag)
    assert read_exactly(bytes(path), stamp, etag, lambda: None) == b"id\n1\n2\n"
    assert len(reads) > 4
