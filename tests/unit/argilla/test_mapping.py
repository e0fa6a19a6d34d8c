"""Routes and dataset.yaml say what becomes of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handlers.argilla_records.mapping import Mapping, mapping_of
from handlers.argilla_records.options import Options
from handlers.contract import PermanentError

EXAMPLE = Path(__file__).parents[3] / "configs/argilla/dataset.example.yaml"
PLACE = "s3://data/argilla/in/vessels_ocr_7/argilla_records.parquet"


def mapped(text: str | None = None, folder: str = "vessels", **options: Any) -> Mapping:
    return mapping_of(folder, Options(**options), None if text is None else text.encode(), (PLACE,))


def test_without_a_file_the_route_and_the_folder_say_all() -> None:
    found = mapped(workspace="ocr", questions={"what": {"type": "text"}})

    assert (found.name, found.workspace, list(found.questions)) == ("vessels", "ocr", ["what"])
    assert found.columns == ("id", "text", "doc_id", "page_num", "text_sha256", "suggestions_json")


def test_the_example_says_what_the_route_says_by_itself() -> None:
    text = EXAMPLE.read_text().replace("<batch_id>", "7").replace("<bucket>", "data")

    assert mapped(text, "vessels_ocr_7") == mapped(folder="vessels_ocr_7")


def test_what_the_file_does_not_name_the_route_says() -> None:
    found = mapped("name: ships\nsource: {text_column: body, metadata_columns: []}", workspace="ocr", id_column="key")

    assert (found.name, found.workspace) == ("ships", "ocr")
    assert found.columns == ("key", "body", "suggestions_json")


def test_a_file_names_a_workspace_that_the_route_allows() -> None:
    assert mapped("workspace: ships", workspaces=["ships", "planes"]).workspace == "ships"
    assert mapped("workspace: ocr", workspace="ocr").workspace == "ocr"


def test_a_file_that_names_another_workspace_is_told_which_option_allows_it() -> None:
    with pytest.raises(PermanentError) as caught:
        mapped("workspace: payroll", workspace="ocr", workspaces=["ships"])

    assert caught.value.message == (
        "dataset.yaml: workspace = 'payroll' is none that the route allows, ocr, ships: leave it out, or have it added "
        "to the option `workspaces` of the route"
    )


def test_a_task_in_the_file_has_its_own_question() -> None:
    found = mapped("task: TextClassification", questions={"what": {"type": "text"}})

    assert list(found.questions) == ["label"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [", "dataset.yaml is not YAML"),
        ("name: 2026-02-30", "dataset.yaml is not YAML"),
        ("[" * 10_000, "dataset.yaml is not YAML"),
        ("- a", "write a table"),
        ("nmae: x", "nmae: Extra inputs are not permitted"),
        ("task: Chat", "task: Input should be"),
        ("source: {type: csv}", "records are read from parquet"),
        ("source: {path: s3://data/other.parquet}", f"the records beside it are {PLACE}"),
        ("name: vessels_ocr_<batch_id>", "put something in place of <…>"),
        ("name: ' x'", "cannot name a dataset"),
        ("name: ''", "cannot name a dataset"),
        ("name: a/b", "cannot name a dataset"),
        ("questions: {entities: {type: span, labels: [A, A]}}", "labels must not be repeated"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, reason: str) -> None:
    with pytest.raises(PermanentError) as caught:
        mapped(text)

    assert reason in caught.value.message


@pytest.mark.parametrize("folder", ["..", ".", "", "a\tb", "x" * 201])
def test_folders_that_cannot_name_a_dataset_are_refused(folder: str) -> None:
    with pytest.raises(PermanentError, match="cannot name a dataset"):
        mapped(folder=folder)
