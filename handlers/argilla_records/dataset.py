"""
A dataset of Argilla: found or made, with its fields, questions and metadata, and compared with the mapping.

Each part is looked up before it is made, and one that somebody made meanwhile (409) is looked up again: whoever comes
after a crash goes on where it happened. Parts cannot be changed after the dataset was published, hence the errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import Any, Final

from handlers.argilla_records.api import Api, Refused, Taken
from handlers.argilla_records.mapping import Mapping
from handlers.argilla_records.options import LABELLED, Question
from handlers.argilla_records.records import MetadataType
from handlers.contract import ClaimLost, PermanentError, TransientError

TAG: Final = "lakedrop"
"""Key in a dataset's metadata that tells which unit it is of."""

FEWEST_LABELS: Final = {"span": 1, "label_selection": 2, "multi_label_selection": 2}
MOST_LABELS: Final = 500
"""What argilla-server 2.8 takes, by default (`ARGILLA_{SPAN,LABEL_SELECTION}_OPTIONS_MAX_ITEMS`)."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that is there."""

    id: str
    name: str
    ready: bool
    """It was published."""
    tagged: str | None
    """The unit that it was made for, as `bucket/name`; None when nobody said."""


async def _nobody() -> None:
    """Refuse to write: nobody has a claim."""
    raise ClaimLost


class Datasets:
    """
    Finds and makes datasets.

    Args:
        api: Of the server.
        may_write: Asked before each call that writes; raises when the claim is lost. Not needed to read.
    """

    def __init__(self, api: Api, may_write: Callable[[], Awaitable[None]] = _nobody) -> None:
        self._api = api
        self._may_write = may_write

    async def find(self, workspace: str, name: str) -> Dataset | None:
        """Return a dataset; None when it, or its workspace, is not there."""
        place = await self._workspace(workspace)
        return None if place is None else await self._find(place, name)

    async def made(self, mapping: Mapping, unit: str) -> Dataset:
        """Return the dataset of a unit, which is made if need be."""
        place = await self._workspace(mapping.workspace)
        if place is None:
            await self._make("workspaces", {"name": mapping.workspace})
            place = await self._workspace(mapping.workspace)
        if place is None:
            raise PermanentError(
                f"workspace {mapping.workspace!r} is there, and the user of argilla_api_key cannot see it: make it a "
                "member"
            )
        found = await self._find(place, mapping.name)
        if found is None:
            body = {
                "name": mapping.name,
                "workspace_id": place,
                "allow_extra_metadata": True,
                "distribution": {"strategy": "overlap", "min_submitted": mapping.min_submitted},
                "metadata": {TAG: unit},
            }
            await self._make("datasets", {**body, **({"guidelines": mapping.guidelines} if mapping.guidelines else {})})
            found = await self._find(place, mapping.name)
        if found is None:
            raise TransientError(f"dataset {mapping.name!r} was made and is not to be found; somebody deleted it?")
        return found

    async def labels(self, dataset: Dataset) -> dict[str, frozenset[str]]:
        """Return the labels of those questions of a dataset that have some."""
        found = {}
        for question in await self._items(f"datasets/{dataset.id}/questions"):
            if question["settings"]["type"] in LABELLED:
                found[question["name"]] = frozenset(one["value"] for one in question["settings"]["options"])
        return found

    async def question_ids(self, dataset: Dataset) -> dict[str, str]:
        """Return the ids of all questions of a dataset by name."""
        return {one["name"]: one["id"] for one in await self._items(f"datasets/{dataset.id}/questions")}

    async def check(
        self, dataset: Dataset, mapping: Mapping, questions: Table[str, Question], types: Table[str, MetadataType]
    ) -> list[tuple[str, dict[str, Any]]]:
        """
        Compare a dataset with what the mapping says; return what it lacks, as calls to make it.

        Args:
            dataset: May be in any state between made and published.
            mapping: Of the unit.
            questions: Of the mapping, with their labels.
            types: Of the metadata properties.

        Raises:
            PermanentError: It has something else; the message says what, and what to do.
        """
        return [
            *await self._check_fields(dataset, mapping),
            *await self._check_questions(dataset, mapping, questions),
            *await self._check_metadata(dataset, types),
        ]

    async def shape(
        self, dataset: Dataset, mapping: Mapping, questions: Table[str, Question], types: Table[str, MetadataType]
    ) -> dict[str, str]:
        """Give a dataset what it lacks and publish it; return the ids of its questions. Raises as `check`."""
        for place, body in await self.check(dataset, mapping, questions, types):
            await self._make(place, body)
        if not dataset.ready:
            try:
                await self._may_write()
                await self._api.send("PUT", f"datasets/{dataset.id}/publish")
            except Refused as error:
                if "already been published" not in error.message:
                    raise PermanentError(f"dataset {dataset.name!r} cannot be published: {error.message}") from error
        return await self.question_ids(dataset)

    async def _check_fields(self, dataset: Dataset, mapping: Mapping) -> list[tuple[str, dict[str, Any]]]:
        place, name = f"datasets/{dataset.id}/fields", mapping.text_column
        fields = {one["name"]: one for one in await self._items(place)}
        if others := sorted(fields.keys() - {name}):
            raise _differs(dataset, f"it has fields that no column is for: {', '.join(others)}")
        if name in fields:
            if (kind := fields[name]["settings"]["type"]) != "text":
                raise _differs(dataset, f"field {name!r} is of type {kind}, not text")
            return []
        self._may_grow(dataset, f"no field {name!r}")
        settings = {"type": "text", "use_markdown": False}
        return [(place, {"name": name, "title": _title(name), "required": True, "settings": settings})]

    async def _check_questions(
        self, dataset: Dataset, mapping: Mapping, questions: Table[str, Question]
    ) -> list[tuple[str, dict[str, Any]]]:
        place = f"datasets/{dataset.id}/questions"
        there = {one["name"]: one for one in await self._items(place)}
        others = [one["name"] for one in there.values() if one["required"] and one["name"] not in questions]
        missing = []
        for name, question in questions.items():
            if name in there:
                _compare(dataset, name, question, there[name]["settings"])
            else:
                self._may_grow(dataset, f"no question {name!r}")
                missing.append((place, _question(name, question, mapping.text_column)))
        if others:
            raise _differs(dataset, f"it asks for answers that the mapping does not know: {', '.join(sorted(others))}")
        return missing

    async def _check_metadata(
        self, dataset: Dataset, types: Table[str, MetadataType]
    ) -> list[tuple[str, dict[str, Any]]]:
        there = {one["name"]: one for one in await self._items(f"me/datasets/{dataset.id}/metadata-properties")}
        missing = []
        for name, kind in types.items():
            if name not in there:
                body = {"name": name, "title": name, "settings": {"type": kind}, "visible_for_annotators": True}
                missing.append((f"datasets/{dataset.id}/metadata-properties", body))
            elif (found := there[name]["settings"]["type"]) != kind:
                raise _differs(dataset, f"metadata {name!r} is of type {found}, and the column is {kind}")
        return missing

    async def stored(self, dataset: Dataset) -> int:
        """Return how many records the database has."""
        answer = await self._api.get(f"datasets/{dataset.id}/records", {"limit": 1})
        total: int = answer["total"]
        return total

    async def indexed(self, dataset: Dataset) -> int:
        """
        Return how many records the search index has.

        Raises:
            TransientError: It cannot count: the engine is away, or has no such index.
        """
        answer = await self._api.get(f"datasets/{dataset.id}/progress")
        total: int = answer["total"]
        return total

    async def delete(self, dataset: Dataset) -> None:
        """Delete a dataset with all its records."""
        await self._may_write()
        await self._api.send("DELETE", f"datasets/{dataset.id}")

    async def _workspace(self, name: str) -> str | None:
        return next((one["id"] for one in await self._items("me/workspaces") if one["name"] == name), None)

    async def _find(self, workspace: str, name: str) -> Dataset | None:
        found = await self._items("me/datasets", {"workspace_id": workspace, "name": name})
        for one in found:
            if one["name"] == name and one["workspace_id"] == workspace:
                tagged = (one.get("metadata") or {}).get(TAG)
                return Dataset(one["id"], name, one["status"] == "ready", tagged if isinstance(tagged, str) else None)
        return None

    async def _items(self, path: str, query: Table[str, Any] | None = None) -> Sequence[dict[str, Any]]:
        answer = await self._api.get(path, query)
        items: Sequence[dict[str, Any]] = answer["items"]
        return items

    async def _make(self, path: str, body: Table[str, Any]) -> None:
        """Make something; that somebody did meanwhile is as good."""
        await self._may_write()
        try:
            await self._api.send("POST", path, body=body)
        except Taken:
            return
        except Refused as error:
            raise PermanentError(f"Argilla does not take {body['name']!r} into {path}: {error.message}") from error

    @staticmethod
    def _may_grow(dataset: Dataset, lack: str) -> None:
        if dataset.ready:
            raise _differs(dataset, f"it has {lack}, and a published dataset takes none")


def _differs(dataset: Dataset, how: str) -> PermanentError:
    return PermanentError(
        f"dataset {dataset.name!r} is not as the mapping says: {how}. Correct the mapping (the route's options, or "
        "dataset.yaml), or give the dataset another `name`"
    )


def _question(name: str, question: Question, field: str) -> dict[str, Any]:
    options = [{"value": label, "text": label} for label in question.labels]
    settings: dict[str, Any] = {"type": question.type}
    match question.type:
        case "span":
            settings |= {
                "field": field,
                "options": options,
                "allow_overlapping": question.allow_overlapping,
                "allow_character_annotation": True,
            }
        case "label_selection" | "multi_label_selection":
            settings["options"] = options
        case "rating":
            settings["options"] = [{"value": value} for value in question.ratings]
        case _:
            settings["use_markdown"] = False
    title = question.title or _title(name)
    about = {"description": question.description} if question.description else {}
    return {"name": name, "title": title, "required": question.required, "settings": settings, **about}


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _compare(dataset: Dataset, name: str, question: Question, there: Table[str, Any]) -> None:
    if there["type"] != question.type:
        raise _differs(dataset, f"question {name!r} is of type {there['type']}, not {question.type}")
    options = [one["value"] for one in there.get("options") or ()]
    wanted: Sequence[Any] = question.ratings if question.type == "rating" else question.labels
    if set(wanted) - set(options):
        lacking = ", ".join(str(one) for one in wanted if one not in options)
        raise _differs(dataset, f"question {name!r} lacks {lacking}, and its answers cannot be changed")
    if question.type == "span" and question.allow_overlapping and not there.get("allow_overlapping"):
        raise _differs(dataset, f"spans of question {name!r} must not overlap")


def labels_fault(name: str, question: Question) -> str | None:
    """Say why a question cannot be made with the labels it has."""
    fewest = FEWEST_LABELS.get(question.type, 0)
    if len(question.labels) < fewest:
        return (
            f"question {name!r} needs {fewest} labels, and the suggestions have {len(question.labels)}: name them, "
            f'`questions = {{ {name} = {{ type = "{question.type}", labels = ["…"] }} }}`'
        )
    if len(question.labels) > MOST_LABELS:
        return f"question {name!r}: the suggestions have more than {MOST_LABELS} labels, which is what Argilla takes"
    return None
