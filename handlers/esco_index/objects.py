"""Objects as Weaviate gets them: UUID, properties, references, and the hashes that tell whether one has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import NAMESPACE_DNS, uuid5

import orjson

from handlers.esco_index.joins import URI, Joined
from handlers.esco_index.schema import CONTENT_HASH, VECTOR_HASH, Place

_DIGITS: Final = 32
"""Of a hash, hexadecimal: half of SHA-256 is enough to tell some thousand objects apart."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An object of a class."""

    uuid: str
    properties: Mapping[str, Any]
    """With the hashes."""
    references: Mapping[str, Sequence[str]]
    """UUIDs by property; only properties that refer to something."""
    text: str
    """What its vector is made of."""

    @property
    def hashes(self) -> tuple[str, str]:
        """Of its content, and of what its vector is made of."""
        return self.properties[CONTENT_HASH], self.properties[VECTOR_HASH]


def uuid_of(uri: str) -> str:
    """Return the UUID of a concept, which is the same in every release: the client's own `generate_uuid5`."""
    return str(uuid5(NAMESPACE_DNS, uri))


class Objects:
    """
    The objects of a release.

    Args:
        joined: The release.
        place: Where they go.
        model: Who makes the vectors; with another one all vectors are made anew.
    """

    def __init__(self, joined: Joined, place: Place, model: str) -> None:
        self._joined = joined
        self._place = place
        self._model = model
        self._uuids = {
            name: [uuid_of(uri) for uri in concepts.frame[URI]] for name, concepts in joined.concepts.items()
        }

    def uuids(self, name: str) -> Sequence[str]:
        """Return the UUIDs of a class, in the order of its rows."""
        return self._uuids[name]

    def named(self, name: str, rows: Sequence[int]) -> list[tuple[str, str]]:
        """Return UUID and address of objects, which takes a small part of what making them takes."""
        addresses = self._joined.concepts[name].frame[URI][rows]
        return [(self._uuids[name][row], uri) for row, uri in zip(rows, addresses, strict=True)]

    def of(self, name: str, rows: Sequence[int]) -> Iterator[list[Prepared]]:
        """Yield objects of a class by the numbers of their rows, some at a time."""
        uuids = self._uuids[name]
        numbers = iter(rows)
        for some in self._joined.concepts[name].slices(rows):
            yield [self._prepared(name, row, uuids[next(numbers)]) for row in some]

    def _prepared(self, name: str, row: Mapping[str, Any], uuid: str) -> Prepared:
        described = self._joined.concepts[name].described
        properties = {
            self._place.named(one.name): row[one.column] for one in described.properties if one.column is not None
        }
        references = {
            one.name: sorted(self._uuids[one.target][number] for number in numbers)
            for one in described.references
            if (numbers := row[one.name])
        }
        text = "\n".join(part for column in described.embedded if (part := _line(row[column])))
        vector = _hash(self._model, text)
        content = _hash(properties, references, vector)
        return Prepared(uuid, {**properties, CONTENT_HASH: content, VECTOR_HASH: vector}, references, text)


def _line(cell: str | Sequence[str]) -> str:
    return cell if isinstance(cell, str) else ", ".join(cell)


def _hash(*parts: object) -> str:
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_DIGITS]
