"""What becomes of a folder: the options of its route, overridden by the `dataset.yaml` beside the records."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handlers.argilla_records.options import TASKS, Options, Question, Task
from handlers.contract import PermanentError

FILE: Final = "dataset.yaml"

MAX_NAME: Final = 200
"""Characters of the name of a dataset (argilla-server 2.8, `DATASET_NAME_MAX_LENGTH`)."""


MOST_BYTES: Final = 256 << 10
"""Of a `dataset.yaml`; some hundred labels with room to spare."""


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: str = "parquet"
    path: str | None = None
    id_column: str | None = None
    text_column: str | None = None
    metadata_columns: tuple[str, ...] | None = None
    suggestions_column: str | None = None


class _File(BaseModel):
    """A `dataset.yaml`; what it does not name, the route says."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    task: Task | None = None
    workspace: str | None = Field(default=None, min_length=1)
    guidelines: str | None = None
    min_submitted: int | None = None
    questions: dict[str, Question] | None = None
    source: _Source = Field(default_factory=_Source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """How the columns of a file become a dataset."""

    name: str
    workspace: str
    guidelines: str | None
    min_submitted: int
    id_column: str
    text_column: str
    metadata_columns: tuple[str, ...]
    suggestions_column: str | None
    questions: Table[str, Question]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        wanted = [self.id_column, self.text_column, *self.metadata_columns, self.suggestions_column]
        return tuple(dict.fromkeys(column for column in wanted if column))


def mapping_of(folder: str, options: Options, text: bytes | None, places: tuple[str, ...]) -> Mapping:
    """
    Return the mapping of a folder.

    Args:
        folder: The last segment of its name, which names the dataset.
        options: Of the route.
        text: The `dataset.yaml`; None when there is none.
        places: Addresses of the records, `s3://bucket/key`, one of which `source.path` may repeat.

    Raises:
        PermanentError: The file cannot be used, its workspace is not one of the route's, or the name cannot be that of
            a dataset.
    """
    given = _File() if text is None else _read(text)
    source = given.source
    if source.type != "parquet":
        raise PermanentError(f"{FILE}: source.type = {source.type!r}: records are read from parquet")
    if source.path and "<" not in source.path and source.path not in places:
        raise PermanentError(f"{FILE}: source.path = {source.path!r}: the records beside it are {', '.join(places)}")
    workspace = given.workspace or options.workspace
    if workspace not in (allowed := (options.workspace, *options.workspaces)):
        raise PermanentError(
            f"{FILE}: workspace = {workspace!r} is none that the route allows, {', '.join(allowed)}: leave it out, or "
            "have it added to the option `workspaces` of the route"
        )
    task = given.task or options.task
    questions = given.questions or (TASKS[task] if given.task else options.questions or TASKS[task])
    columns = {
        "id_column": source.id_column or options.id_column,
        "text_column": source.text_column or options.text_column,
        "metadata_columns": options.metadata_columns if source.metadata_columns is None else source.metadata_columns,
        "suggestions_column": (
            source.suggestions_column if "suggestions_column" in source.model_fields_set else options.suggestions_column
        ),
    }
    return Mapping(
        name=_name(folder if given.name is None else given.name),
        workspace=workspace,
        guidelines=given.guidelines or options.guidelines,
        min_submitted=given.min_submitted or options.min_submitted,
        questions=questions,
        **columns,  # type: ignore[arg-type]  # each has the type of its field
    )


def _read(text: bytes) -> _File:
    try:
        found: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none is a ValueError
        raise PermanentError(f"{FILE} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise PermanentError(f"{FILE}: write a table, such as `name: vessels`; see docs/argilla.md")
    try:
        return _File.model_validate(found)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise PermanentError(f"{FILE}: {'; '.join(faults)}") from error


def _name(name: str) -> str:
    """Refuse what would be no name in Argilla, or another one than a person reads."""
    if "<" in name or ">" in name:
        raise PermanentError(f"{FILE}: name = {name!r}: put something in place of <…>, or leave `name` out")
    if (
        name in (".", "..")
        or "/" in name
        or name != name.strip()
        or not name.isprintable()
        or not 0 < len(name) <= MAX_NAME
    ):
        raise PermanentError(
            f"{name!r} cannot name a dataset: 1 to {MAX_NAME} printable characters, no slash, no space at its ends, "
            "not . or .."
        )
    return name
