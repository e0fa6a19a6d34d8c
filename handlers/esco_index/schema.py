"""The classes of a release, read from `schemas/*.yaml`, in the words of Weaviate's REST schema."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

METADATA: Final = "Metadata"

CLASSES: Final = ("ISCOGroup", "Occupation", "Skill", "SkillCollection", "SkillGroup")
"""Those that a release fills, in the order in which they are written."""

CONTENT_HASH: Final = "contentHash"
"""Property of what an object holds, references included: who has the same is not written again."""

VECTOR_HASH: Final = "vectorHash"
"""Property of what an object's vector was made of: who has the same keeps its vector."""

HASHES: Final = (CONTENT_HASH, VECTOR_HASH)

VectorIndex = Literal["hnsw", "flat"]

_HASHES: Final = [
    {"name": name, "dataType": ["text"], "tokenization": "field", "indexFilterable": False, "indexSearchable": False}
    for name in HASHES
]

_INDEXES: Final[Mapping[VectorIndex, Mapping[str, Any]]] = {
    "hnsw": {"distance": "cosine", "ef": 128, "maxConnections": 64},
    "flat": {"distance": "cosine"},
}


class Property(BaseModel):
    """A property; what the model does not name is Weaviate's own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    column: str | None = None
    """Of the file; None: not from a file."""
    data_type: tuple[str] = Field(alias="dataType")

    @property
    def is_list(self) -> bool:
        """Tell whether its cells hold several values."""
        return self.data_type[0].endswith("[]")


class Reference(BaseModel):
    """A property that refers to objects of a class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    target: str


class Class(BaseModel):
    """A class as its file describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(alias="class")
    description: str
    source: str | None = None
    """The file of a release that has its objects, without language and ending."""
    embedded: tuple[str, ...] = ()
    """Columns that vectors are made of, most telling first."""
    properties: tuple[Property, ...]
    references: tuple[Reference, ...] = ()


@functools.cache
def classes() -> Mapping[str, Class]:
    """Return all classes by their names, `Metadata` among them."""
    found = [
        Class.model_validate(yaml.safe_load(file.read_text("utf-8")))
        for file in (files(__package__) / "schemas").iterdir()
        if file.name.endswith(".yaml")
    ]
    return {one.name: one for one in found}


@dataclass(frozen=True, slots=True)
class Place:
    """Which classes of a Weaviate a release goes to, and how they are made."""

    prefix: str
    """Of their names."""
    language: str
    """Of the release, fit for the name of a property."""
    vector_index: VectorIndex = "hnsw"
    vectorizer: str | None = None
    """Module of Weaviate that makes the vectors; None: it makes none."""

    def collection(self, name: str) -> str:
        """Return the name that a class has in Weaviate."""
        return self.prefix + name

    def named(self, template: str) -> str:
        """Return the name of a property of this language."""
        return template.format(language=self.language)

    def config(self, name: str) -> dict[str, Any]:
        """Return a class without its references in the words of `POST /v1/schema`; those need their targets first."""
        described = classes()[name]
        filled = name != METADATA
        module = self.vectorizer if filled else None
        own = [self._property(one, described, module) for one in described.properties]
        hashes = [{**one, **_skipped(module)} for one in _HASHES] if filled else []
        return {
            "class": self.collection(name),
            "description": described.description,
            "vectorizer": module or "none",
            **({} if module is None else {"moduleConfig": {module: {"vectorizeClassName": False}}}),
            "vectorIndexType": self.vector_index,
            "vectorIndexConfig": dict(_INDEXES[self.vector_index]),
            "properties": [*own, *hashes],
        }

    def _property(self, one: Property, described: Class, module: str | None) -> dict[str, Any]:
        given = one.model_dump(by_alias=True, exclude={"name", "column"})
        skipped = {} if one.column in described.embedded else _skipped(module)
        return {"name": self.named(one.name), **given, "dataType": list(one.data_type), **skipped}


def _skipped(module: str | None) -> dict[str, Any]:
    """Return what keeps a property out of the vectors that Weaviate makes."""
    return {} if module is None else {"moduleConfig": {module: {"skip": True}}}


def prefix_of(template: str, version: str, language: str) -> str:
    """Return the prefix of class names for a release: Weaviate's names are `[A-Z][_0-9A-Za-z]*`."""
    filled = template.replace("{version}", version).replace("{language}", language)
    fit = re.sub(r"[^0-9A-Za-z_]", "_", filled)
    return fit[:1].upper() + fit[1:]
