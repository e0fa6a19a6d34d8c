"""Options of a catalogue route: what a person may set in `[routes.options]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from handlers.dataset_catalogue.dropped import MOST
from handlers.dataset_catalogue.vectors import InTable, Vectors
from handlers.dataset_catalogue.vectors_weaviate import InWeaviate
from handlers.embedders import DEFAULT_KEY_VARIABLE, Embedder, Kind, make_embedder


class Options(BaseModel):
    """How the catalogue is seeded, enriched and searched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: dict[str, float] = Field(
        default_factory=dict,
        description="Seconds between two runs of a task, by its name, where the usual ones do not suit; 0: only when "
        'somebody asks. `{ "kaggle.fetch_latest" = 3600 }`.',
    )
    arguments: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description='What scheduled tasks are told: `{ "kaggle.enrich_pending" = { batch_size = 500 } }`.',
    )
    endpoints: dict[str, str] = Field(
        default_factory=dict,
        description='Where sources are asked, for mirrors: `{ huggingface = "https://hub.example" }`.',
    )
    pace_seconds: float = Field(default=1.0, ge=0, description="Time between two requests to one source.")
    timeout_seconds: float = Field(default=30.0, gt=0, description="How long a source may be silent.")
    max_uncompressed_bytes: int = Field(
        default=MOST, gt=0, description="A `.zip` or `.gz` that unpacks to more bytes fails, and a longer download."
    )
    embedder: Kind = Field(
        default="wordllama",
        description="What makes vectors to search by: `wordllama` is a light model in this process, `openai` a server "
        "that speaks OpenAI's words, `none` leaves the search to words.",
    )
    embedder_url: str = Field(default="", description="For `openai`: such as `https://api.openai.com/v1`.")
    embedder_model: str = Field(default="", description="For `openai`: the server's name of the model.")
    embedder_key_variable: str = Field(
        default=DEFAULT_KEY_VARIABLE, description="For `openai`: environment variable that holds the key."
    )
    vectors: Literal["table", "weaviate"] = Field(
        default="table",
        description="Where vectors are kept. `table`: beside the datasets, and a search compares all of them. "
        "`weaviate`: in a class of Weaviate, for catalogues of more than some hundred thousand datasets.",
    )
    weaviate_url: str = Field(
        default="http://localhost:8080", pattern=r"^https?://[^/@\s]+/?$", description="For `weaviate`: its address."
    )
    weaviate_key_variable: str = Field(
        default="WEAVIATE_API_KEY",
        description="For `weaviate`: environment variable that holds its API key; none is sent where it is not set.",
    )
    weaviate_class: str = Field(
        default="Dataset",
        pattern="^[A-Z][0-9A-Za-z_]*$",
        description="For `weaviate`: the class, which belongs to one catalogue.",
    )
    on_delete: Literal["keep", "remove"] = Field(
        default="keep",
        description="What becomes of datasets whose seed files are gone. `keep`: nothing. `remove`: they are no longer "
        "active, and not found by a search.",
    )

    @model_validator(mode="after")
    def _embedder_is_whole(self) -> Options:
        if self.embedder == "openai" and not (self.embedder_url and self.embedder_model):
            raise ValueError("`openai` needs embedder_url and embedder_model")
        return self


def embedder_of(options: Options, environment: Mapping[str, str]) -> Embedder | None:
    """Return what makes vectors; None where nothing does."""
    return make_embedder(
        options.embedder,
        url=options.embedder_url,
        model=options.embedder_model,
        key=environment.get(options.embedder_key_variable) or None,
    )


def vectors_of(options: Options, environment: Mapping[str, str]) -> Vectors:
    """Return what keeps vectors."""
    if options.vectors == "table":
        return InTable()
    key = environment.get(options.weaviate_key_variable) or None
    return InWeaviate(options.weaviate_url, key, options.weaviate_class)
