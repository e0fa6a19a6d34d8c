"""docs/catalogue.md says what the tasks are, and its code works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from handlers.dataset_catalogue.named import NamedTask
from handlers.dataset_catalogue.registry import TASKS
from handlers.tasks import BadArguments
from tests.catalogue_site import Made
from tests.catalogue_sources import Sources

PAGE = Path(__file__).parents[3] / "docs" / "catalogue.md"

INTERVALS = {"": None, "hour": 3600, "day": 86_400}
"""Seconds, by the table's words."""

ASKED_FOR: dict[str, tuple[int | None, dict[str, Any]]] = {
    "hf.fetch_datasets": (86_400, {"limit": 10_000, "days_back": 1}),
    "kaggle.seed_initial": (None, {"batch_size": 1000, "force_redownload": False}),
    "kaggle.enrich_pending": (3600, {"batch_size": 50}),
    "kaggle.fetch_latest": (86_400, {"limit": 100, "sort_by": "updated"}),
}
"""Interval in seconds, and what a task does unless it is told otherwise."""


def defaults(task: NamedTask[..., Any]) -> dict[str, Any]:
    return {name: one.default for name, one in task.parameters.items()}


def block(beginning: str) -> str:
    """Return the one block of Python that has a line which begins so."""
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (one,) = [text for text in found if re.search(f"^{re.escape(beginning)}", text, re.MULTILINE)]
    return str(one)


def run(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(text, str(PAGE), "exec"), names)  # noqa: S102 (it is ours, and the point of the test)
    return names


@pytest.mark.parametrize("name", ASKED_FOR)
def test_tasks_run_as_often_and_with_such_arguments_as_was_asked_for(name: str) -> None:
    assert (TASKS[name].every, defaults(TASKS[name])) == ASKED_FOR[name]


def test_the_table_of_the_page_has_the_intervals_and_defaults_of_all_tasks() -> None:
    rows = re.findall(r"^\| `(\w+\.\w+)` \| ([^|]*)\| ([^|]*)\|", PAGE.read_text("utf-8"), re.MULTILINE)
    told = {
        name: (
            INTERVALS[every.partition(",")[0].strip()],
            "after files" in every,
            {argument: json.loads(value) for argument, value in re.findall(r"`(\w+) = ([^`]+)`", arguments)},
        )
        for name, every, arguments in rows
    }

    assert told == {name: (task.every, task.after_seeds, defaults(task)) for name, task in TASKS.items()}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("kaggle.enrich_pending", {"batch_size": "0"}),
        ("kaggle.seed_initial", {"batch_size": "-1"}),
        ("kaggle.fetch_latest", {"limit": "-5"}),
        ("kaggle.fetch_latest", {"sort_by": "size"}),
        ("hf.fetch_datasets", {"limit": "-5"}),
        ("hf.fetch_datasets", {"days_back": "-1"}),
        ("zenodo.fetch_datasets", {"limit": "0"}),
        ("enrich.generate_embeddings", {"batch_size": "0"}),
        ("cleanup.check_broken_links", {"batch_size": "0"}),
        ("cleanup.remove_old_cache", {"max_age_days": "-1"}),
        ("cleanup.remove_old_cache", {"max_age_days": "nan"}),
    ],
)
def test_a_task_takes_no_argument_that_makes_no_sense(name: str, wrong: dict[str, str]) -> None:
    with pytest.raises(BadArguments, match=f"{name}: {next(iter(wrong))} = "):
        TASKS[name].arguments(wrong)


def test_limits_of_values_are_not_in_the_signature_that_people_read() -> None:
    assert TASKS["kaggle.enrich_pending"].signature == {"batch_size": "int = 50"}
    assert TASKS["cleanup.remove_old_cache"].signature == {"max_age_days": "float = 7"}
    assert TASKS["hf.fetch_datasets"].arguments({"limit": "0"}) == {"limit": 0, "days_back": 1}


def test_a_task_is_called_in_python_as_the_page_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    names = run(block("result = enrich_pending"))

    assert names["result"] == {"enriched": 0, "failed": 0, "source": "kaggle"}
    assert (tmp_path / "lakedrop-home" / "catalogue.db").exists()


def test_the_source_of_the_page_takes_in_datasets(asking: Made, sources: Sources) -> None:
    text = block('@task("birds.fetch_datasets"')
    assert text.count("https://birds.example/") == 1
    sources.hub = [{"id": "r", "name": "Robins"}, {"id": "w", "name": "Wrens"}]

    task = run(text.replace("https://birds.example/", f"{sources.url}/"))["fetch_datasets"]
    done = task(asking.site, **task.arguments({"limit": "2"}))

    assert isinstance(task, NamedTask)
    assert (task.name, task.every, task.summary) == (
        "birds.fetch_datasets", 86_400, "Take in the datasets of a register of birds.",
    )  # fmt: skip
    assert done == {"total_fetched": 2, "total_inserted": 2, "source": "birds"}
    assert sources.requests[0][2] == {"limit": "2"}
    assert {(row.source_name, row.title) for row in asking.rows()} == {("birds", "Robins"), ("birds", "Wrens")}
