"""Options of an ESCO route: what a person may set in `[routes.options]`."""

from __future__ import annotations

import re
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from handlers.embedders import DEFAULT_KEY_VARIABLE
from handlers.esco_index.release import REQUIRED
from handlers.esco_index.schema import VectorIndex

LONGEST_REQUEST: Final = 180
"""Seconds until a request that writes gives up. As long after a process died its last one may land."""

_PREFIX: Final = re.compile(r"(?:[A-Za-z]|\{language\})(?:[0-9A-Za-z_]|\{language\}|\{version\})*|")


class Options(BaseModel):
    """How the releases of a route become classes of Weaviate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default="http://localhost:8080", description="Address of Weaviate, 1.36 or later.")
    grpc_port: int = Field(default=50051, gt=0, lt=65536, description="Port of Weaviate's gRPC on the same host.")
    key_variable: str = Field(
        default="WEAVIATE_API_KEY",
        description="Environment variable that holds the API key of Weaviate; none is sent where it is not set.",
    )
    class_prefix: str = Field(
        default="",
        description="What the names of the classes begin with; may hold `{language}` and, not as the first, "
        "`{version}`. Releases whose classes are the same take each other's place, the newer the older's.",
    )
    required: tuple[str, ...] = Field(
        default=REQUIRED,
        description="Files, without language and ending, that a release must have before it is ingested, unless a "
        "`manifest.json` beside them names its files.",
    )
    embedder: Literal["none", "weaviate", "wordllama", "openai"] = Field(
        default="none",
        description="Who makes the vectors. `weaviate`: its own module `embedder_model`. `wordllama`: a light model "
        "in this process. `openai`: a server that speaks OpenAI's words. `none`: nobody; search is by words.",
    )
    embedder_url: str = Field(default="", description="Base address for `openai`, such as `http://vllm:8000/v1`.")
    embedder_model: str = Field(
        default="", description="Name of the model for `openai`; of the module for `weaviate`: text2vec-transformers."
    )
    embedder_key_variable: str = Field(
        default=DEFAULT_KEY_VARIABLE, description="Environment variable that holds the key for `openai`."
    )
    vector_index: VectorIndex = Field(
        default="hnsw", description="Of classes that are made. `flat` is quicker to fill and slower to search."
    )
    vanished: Literal["keep", "remove"] = Field(
        default="remove", description="What becomes of objects that a newer release no longer has."
    )
    stale_seconds: float = Field(
        default=3600, gt=0, description="After so long without a sign of life an ingestion counts as dead."
    )
    on_delete: Literal["keep", "remove"] = Field(
        default="keep",
        description="What becomes of the classes' objects when the folder of their release is gone.",
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, given: str) -> str:
        # A password in it would stand in receipts and messages; the key is in `key_variable`.
        if not re.fullmatch(r"https?://[^/@\s]+/?", given):
            raise ValueError("it is http://host:port or https://host:port, without a user")
        return given

    @field_validator("class_prefix")
    @classmethod
    def _names_classes(cls, given: str) -> str:
        if not _PREFIX.fullmatch(given):
            raise ValueError(
                "it is letters, digits and _, {language} and {version}, and begins with a letter or {language}"
            )
        return given

    @model_validator(mode="after")
    def _openai_is_told(self) -> Self:
        if self.embedder == "openai" and not (self.embedder_url and self.embedder_model):
            raise ValueError('embedder = "openai" needs embedder_url and embedder_model')
        return self
