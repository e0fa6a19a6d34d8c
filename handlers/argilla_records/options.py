"""Options of an Argilla route: what a person may set in `[routes.options]`."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Task = Literal["TokenClassification", "TextClassification", "MultiLabelTextClassification", "TextGeneration"]

QuestionType = Literal["span", "label_selection", "multi_label_selection", "rating", "text"]

LABELLED: Final = ("span", "label_selection", "multi_label_selection")
"""Questions whose answers are labels."""

RATINGS: Final = (0, 10)
"""Least and greatest rating that Argilla takes."""


class Question(BaseModel):
    """A question to annotators, by its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: QuestionType
    title: str | None = None
    """None: the name."""
    description: str | None = None
    required: bool = True
    labels: tuple[str, ...] = ()
    """Of a question with labels; none: those that its suggestions have."""
    ratings: tuple[int, ...] = (1, 2, 3, 4, 5)
    allow_overlapping: bool = False
    """Spans may share characters."""

    @model_validator(mode="after")
    def _has_answers(self) -> Question:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must not be repeated")
        if self.type == "rating" and not all(RATINGS[0] <= one <= RATINGS[1] for one in self.ratings):
            raise ValueError(f"ratings are whole numbers from {RATINGS[0]} to {RATINGS[1]}")
        return self


TASKS: Final[dict[Task, dict[str, Question]]] = {
    "TokenClassification": {"entities": Question(type="span")},
    "TextClassification": {"label": Question(type="label_selection")},
    "MultiLabelTextClassification": {"labels": Question(type="multi_label_selection")},
    "TextGeneration": {"text": Question(type="text")},
}
"""The question of a task that names none."""


class Options(BaseModel):
    """How the folders of a route become datasets of Argilla."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workspace: str = Field(default="argilla", min_length=1, description="Workspace of the datasets; made when missing.")
    workspaces: tuple[str, ...] = Field(
        default=(),
        description="Further workspaces that a `dataset.yaml` may name, for who may write below the prefix can put "
        "records into each of them.",
    )
    task: Task = Field(
        default="TokenClassification",
        description="What annotators do, which decides the one question where `questions` names none: `entities` "
        "(spans), `label`, `labels` or `text`.",
    )
    id_column: str = Field(default="id", description="Column with the identifier of a record.")
    text_column: str = Field(default="text", description="Column with the text; the field of this name in Argilla.")
    metadata_columns: tuple[str, ...] = Field(
        default=("doc_id", "page_num", "text_sha256"), description="Columns that annotators can filter by."
    )
    suggestions_column: str | None = Field(
        default="suggestions_json",
        description="Column with the suggestions of a record: a list, or JSON; empty for none.",
    )
    questions: dict[str, Question] = Field(
        default_factory=dict,
        description='Questions by name: `{ entities = { type = "span", labels = ["FLAG"] } }`. `type` is `span`, '
        "`label_selection`, `multi_label_selection`, `rating` or `text`; without `labels` they are those found in "
        "the suggestions. Empty: the question of `task`.",
    )
    guidelines: str | None = Field(default=None, max_length=10_000, description="What annotators are told.")
    min_submitted: int = Field(default=1, ge=1, description="Responses that make a record complete.")
    on_text_change: Literal["keep", "new_record", "overwrite"] = Field(
        default="keep",
        description="What becomes of a record that has responses when its text changes. `keep`: it stays as it is. "
        "`new_record`: it stays, and the new text is a record beside it. `overwrite`: it gets the new text; the "
        "responses stay, with offsets of the old one.",
    )
    on_vanished: Literal["keep", "delete", "delete_annotated"] = Field(
        default="keep",
        description="What becomes of records that are in the dataset and not in the file any more. `delete` spares "
        "those with responses, `delete_annotated` does not.",
    )
    on_delete: Literal["keep", "remove"] = Field(
        default="keep",
        description="What becomes of a dataset whose folder is gone. `remove`: it is deleted; when records have "
        "responses these stay, unless `on_vanished` says `delete_annotated`.",
    )
    max_rejects: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="Rejected records that are kept of a file, each cell with its first 2,000 characters; all are "
        "counted.",
    )


class ArgillaSettings(BaseModel):
    """The server, who asks it, and where the ingest log is."""

    model_config = ConfigDict(frozen=True)

    url: str
    api_key: SecretStr
    log: str
    """Path of a DuckDB file, or `md:` and the name of a MotherDuck database."""
    motherduck_token: SecretStr | None = None
