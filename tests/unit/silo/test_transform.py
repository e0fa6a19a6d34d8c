"""Records of one shape to the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from handlers.silo_staging import frames
from handlers.silo_staging.frames import NotWhole
from handlers.silo_staging.transform import PARTS, TransformError, Unreadable, transform
from tests.silo_backend import packed, record


def text_of(path: Path) -> str:
    with zstandard.open(path, "rt", newline="") as file:
        return str(file.read())


def transformed(folder: Path, content: bytes) -> str:
    (folder / "in").write_bytes(zstandard.compress(content))
    transform(folder / "in", folder / "out")
    return text_of(folder / "out")


def test_a_record_becomes_flat_with_its_keys_in_order(tmp_path: Path) -> None:
    given = {
        "metadata": {"accessionVersion": "LOC_1.1", "country": None, "Zürich": True, "nested": {"b": 1, "a": 2}},
        "alignedNucleotideSequences": {"main": "ATCG", "S": None},
        "unalignedNucleotideSequences": {"main": "ATCGA", "S": None},
        "alignedAminoAcidSequences": {"gene1": "MD*", "gene2": None},
        "nucleotideInsertions": {"main": ["3:TT"]},
        "aminoAcidInsertions": {},
    }

    written = transformed(tmp_path, json.dumps(given).encode())

    assert written == (
        '{"S":null,"Zürich":true,"accessionVersion":"LOC_1.1","country":null,'
        '"gene1":{"insertions":[],"sequence":"MD*"},"gene2":null,"main":{"insertions":["3:TT"],"sequence":"ATCG"},'
        '"nested":{"a":2,"b":1},"unaligned_S":null,"unaligned_main":"ATCGA"}\n'
    )


@pytest.mark.parametrize("number", ["0.1", "1e+300", "-0.0", "5e-324", "1.7976931348623157e308", "9007199254740993"])
def test_numbers_are_those_that_came(tmp_path: Path, number: str) -> None:
    one = json.dumps(record()).replace('"pipelineVersion": 1', f'"pipelineVersion": 1, "qc": {number}')

    found = json.loads(transformed(tmp_path, one.encode()))["qc"]

    assert (found, type(found)) == (json.loads(number), type(json.loads(number)))


def test_blank_lines_are_no_records_and_the_last_line_needs_no_end(tmp_path: Path) -> None:
    one = json.dumps(record()).encode()
    (tmp_path / "in").write_bytes(zstandard.compress(b"\n" + one + b"\r\n \n" + one))

    assert transform(tmp_path / "in", tmp_path / "out").records == 2


def test_no_record_is_a_release_too(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(packed([]))

    assert transform(tmp_path / "in", tmp_path / "out").records == 0
    assert text_of(tmp_path / "out") == ""


@pytest.mark.parametrize("part", PARTS)
def test_a_record_without_a_part_is_refused(tmp_path: Path, part: str) -> None:
    wrong: dict[str, Any] = record()
    del wrong[part]

    with pytest.raises(TransformError, match=f"in, line 1: `{part}` is missing"):
        transformed(tmp_path, json.dumps(wrong).encode())


@pytest.mark.parametrize("line", ["[]", "7", "null", '"text"'])
def test_a_line_that_is_no_object_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(TransformError, match="line 1: a record is a JSON object"):
        transformed(tmp_path, line.encode())


def test_a_part_that_is_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="`metadata` is no object"):
        transformed(tmp_path, json.dumps({**record(), "metadata": []}).encode())


def test_a_pipeline_version_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="line 1"):
        transformed(tmp_path, json.dumps(record(pipelineVersion="new")).encode())


@pytest.mark.parametrize("line", [b"{", b'{"metadata": NaN}', b"\xff", b'{"metadata": "\\ud800"}'])
def test_a_line_that_is_no_json_is_worth_another_download(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(Unreadable, match="in, line 2"):
        transformed(tmp_path, json.dumps(record()).encode() + b"\n" + line)


def test_the_same_data_become_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(packed([record(f"LOC_{number}.1") for number in range(2000)]))
    transform(tmp_path / "in", tmp_path / "first")
    transform(tmp_path / "in", tmp_path / "second")

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.integers(1, 4))
def test_lines_are_those_that_were_packed_in_however_many_frames(
    tmp_path_factory: Any, lines: list[bytes], parts: int
) -> None:
    text = b"".join(line + b"\n" for line in lines)
    path = tmp_path_factory.getbasetemp() / "lines"
    size = len(text) // parts + 1
    path.write_bytes(b"".join(zstandard.compress(text[at : at + size]) for at in range(0, max(len(text), 1), size)))

    assert list(frames.lines(path)) == lines


@pytest.mark.parametrize("lost", [1, 4, 50])
def test_a_file_that_lost_its_end_is_not_whole(tmp_path: Path, lost: int) -> None:
    whole = packed([record(f"LOC_{number}.1") for number in range(200)])
    (tmp_path / "in").write_bytes(whole[:-lost])

    with pytest.raises(NotWhole, match="ends within"):
        list(frames.lines(tmp_path / "in"))
