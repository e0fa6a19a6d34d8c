"""
What a release says, decided before anything is written: the objects of each class, and what each of them refers to.

References are numbers of rows here; an object gets the UUIDs when it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from handlers.esco_index import reading
from handlers.esco_index.schema import CLASSES, Class, classes

SLICE: Final = 500
"""Objects that are made at once."""

PILLARS: Final = ("skills", "member-skills", "skills-hierarchy", "occupations", "member-occupations")
"""Concept schemes that hold a whole pillar of ESCO, and so are no collections; the ends of their addresses."""

URI: Final = "conceptUri"

ROW: Final = "row"

_BROADER: Final = ("conceptType", URI, "broaderType", "broaderUri")

_EXTRA: Final[Mapping[str, tuple[str, ...]]] = {
    "Occupation": ("iscoGroup",),
    "Skill": ("inScheme",),
    "SkillCollection": ("hasTopConcept",),
}
"""Columns that references are made of, of the files of classes."""

_CONCEPT_TYPES: Final[Mapping[str, str]] = {
    "Occupation": "Occupation",
    "ISCOGroup": "ISCOGroup",
    "KnowledgeSkillCompetence": "Skill",
    "Skill": "Skill",
    "SkillGroup": "SkillGroup",
}
"""Classes by `conceptType` and `broaderType`."""


class Way(NamedTuple):
    """A reference and its opposite."""

    source: str
    target: str
    forth: str
    """Property of the source."""
    back: str | None
    """Property of the target."""


ESSENTIAL: Final = Way("Occupation", "Skill", "hasEssentialSkill", "isEssentialForOccupation")
OPTIONAL: Final = Way("Occupation", "Skill", "hasOptionalSkill", "isOptionalForOccupation")
RELATED: Final = Way("Skill", "Skill", "hasRelatedSkill", None)
COLLECTED: Final = Way("Skill", "SkillCollection", "memberOfSkillCollection", "hasSkill")
GROUPED: Final = Way("Occupation", "ISCOGroup", "memberOfISCOGroup", "hasOccupation")

_OCCUPATIONS: Final = (
    GROUPED,
    Way("Occupation", "Occupation", "broaderOccupation", "narrowerOccupation"),
    Way("ISCOGroup", "ISCOGroup", "broaderISCOGroup", "narrowerISCOGroup"),
)
_SKILLS: Final = (
    Way("Skill", "SkillGroup", "memberOfSkillGroup", "hasSkill"),
    Way("Skill", "Skill", "broaderSkill", "narrowerSkill"),
    Way("SkillGroup", "SkillGroup", "broaderSkillGroup", "narrowerSkillGroup"),
)

_WAYS: Final = (ESSENTIAL, OPTIONAL, RELATED, COLLECTED, *_OCCUPATIONS, *_SKILLS)


@dataclass(slots=True)
class Concepts:
    """The objects of a class, a row each, and what they refer to."""

    described: Class
    frame: pl.DataFrame
    """The columns of its properties; lists where a property is one. Later a list of rows for each reference."""
    counts: dict[str, int] = field(default_factory=dict)
    """References by property."""

    def slices(self, rows: Sequence[int]) -> Iterator[list[dict[str, Any]]]:
        """Yield rows by their numbers, some at a time."""
        for begin in range(0, len(rows), SLICE):
            yield self.frame[rows[begin : begin + SLICE]].to_dicts()


@dataclass(slots=True)
class Joined:
    """A release, ready to be written."""

    concepts: Mapping[str, Concepts]
    outside: dict[str, int] = field(default_factory=dict)
    """Relations left out as an end of theirs is no concept of the release, by file."""
    unknown: dict[str, int] = field(default_factory=dict)
    """Relations left out as their kind is none that we know, by file."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Rows of concepts that have no address, or one that another row before them has, by file."""

    @property
    def counts(self) -> dict[str, int]:
        """Objects by class, and references by `class.property`."""
        found = {}
        for name, concepts in self.concepts.items():
            found[name] = concepts.frame.height
            for one in concepts.described.references:
                found[f"{name}.{one.name}"] = concepts.counts.get(one.name, 0)
        return found

    def is_referred_to(self, name: str) -> bool:
        """Tell whether an object of any class refers to one of this class."""
        return any(
            concepts.counts.get(one.name)
            for concepts in self.concepts.values()
            for one in concepts.described.references
            if one.target == name
        )

    @property
    def relations(self) -> int:
        """What the release says of two concepts, each once."""
        forth = {(way.source, way.forth) for way in _WAYS}
        return sum(self.concepts[name].counts.get(prop, 0) for name, prop in forth)


def join(files: Mapping[str, Path]) -> Joined:
    """
    Read a release and decide what refers to what.

    Args:
        files: Those that are there, by their names without language and ending.

    Raises:
        Damaged: One is not as a release has it.
    """
    joiner = _Joiner(files)
    joiner.read_concepts()
    joiner.relate()
    return joiner.joined


class _Joiner:
    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._rows: dict[str, pl.DataFrame] = {}
        """Address and number of each row, by class."""
        self._edges: dict[tuple[str, str], list[pl.DataFrame]] = {}
        """Pairs of rows (`s`, `t`), by class and property."""
        self._extra: dict[str, pl.DataFrame] = {}
        self.joined = Joined({})

    def read_concepts(self) -> None:
        found = {name: self._concepts(classes()[name]) for name in CLASSES}
        self.joined.concepts = found
        for name, concepts in found.items():
            self._rows[name] = concepts.frame.select(pl.col(URI), pl.int_range(pl.len(), dtype=pl.UInt32).alias(ROW))

    def _concepts(self, described: Class) -> Concepts:
        columns = {one.column: one for one in described.properties if one.column is not None}
        extra = _EXTRA.get(described.name, ())
        path = self._files.get(described.source or "")
        if path is None:
            empty: dict[str, list[str]] = {name: [] for name in (*columns, *extra)}
            schema = {name: pl.List(pl.String) if one.is_list else pl.String for name, one in columns.items()}
            frame = pl.DataFrame(empty, schema={**schema, **dict.fromkeys(extra, pl.String)})
        else:
            frame = self._read_concepts(path, described, [*columns, *extra])
            listed = [name for name, one in columns.items() if one.is_list]
            frame = frame.with_columns(reading.lines(name).alias(name) for name in listed)
        self._extra[described.name] = frame.select(URI, *extra, *(["code"] if "code" in columns else []))
        return Concepts(described, frame.select(*columns))

    def _read_concepts(self, path: Path, described: Class, columns: list[str]) -> pl.DataFrame:
        if described.source == "conceptSchemes":
            frame = reading.read(path, ("conceptSchemeUri", "preferredLabel"), ("description", "hasTopConcept"))
            frame = frame.rename({"conceptSchemeUri": URI})
            frame = self._collecting(frame.filter(~pl.col(URI).str.split("/").list.last().is_in(PILLARS)))
        else:
            needed = [name for name in (URI, "preferredLabel") if name in columns]
            frame = reading.read(path, needed, [name for name in columns if name not in needed])
        good = frame.with_columns(pl.col(URI).str.strip_chars()).filter(pl.col(URI) != "")
        good = good.unique(URI, keep="first", maintain_order=True)
        if left := frame.height - good.height:
            self.joined.rejected[described.source or ""] = left
        return good

    def _collecting(self, schemes: pl.DataFrame) -> pl.DataFrame:
        """Leave out schemes that have no skill: those of types, of relations, and so on."""
        skills = self._extra["Skill"]
        named = skills.select(reading.uris("inScheme").explode()).to_series()
        naming = schemes.select(URI, reading.uris("hasTopConcept").alias("s")).explode("s")
        naming = naming.join(skills.select(s=URI), on="s", how="semi")
        return schemes.filter(pl.col(URI).is_in(named.implode()) | pl.col(URI).is_in(naming[URI].implode()))

    def relate(self) -> None:
        self._occupation_skills()
        self._related_skills()
        self._broader("broaderRelationsOccPillar", _OCCUPATIONS)
        self._broader("broaderRelationsSkillPillar", _SKILLS)
        self._by_isco_code()
        self._collections()
        for (name, prop), pairs in self._edges.items():
            self._attach(self.joined.concepts[name], prop, pl.concat(pairs).unique())
        for concepts in self.joined.concepts.values():
            lacking = [one.name for one in concepts.described.references if one.name not in concepts.frame.columns]
            empty = [pl.lit([], dtype=pl.List(pl.UInt32)).alias(name) for name in lacking]
            concepts.frame = concepts.frame.with_columns(empty)

    def _attach(self, concepts: Concepts, prop: str, pairs: pl.DataFrame) -> None:
        lists = pairs.group_by("s").agg(pl.col("t").sort().alias(prop))
        numbered = concepts.frame.with_row_index("s")
        joined = numbered.join(lists, on="s", how="left", maintain_order="left").drop("s")
        concepts.frame = joined.with_columns(pl.col(prop).fill_null([]))
        concepts.counts[prop] = pairs.height

    def _occupation_skills(self) -> None:
        name = "occupationSkillRelations"
        frame = self._read(name, ("occupationUri", "relationType", "skillUri"))
        kinds = {"essential": ESSENTIAL, "optional": OPTIONAL}
        for kind, way in kinds.items():
            some = frame.filter(pl.col("relationType") == kind)
            self._relate(name, way, some.select(s="occupationUri", t="skillUri"))
        self._leave(name, frame.filter(~pl.col("relationType").is_in(list(kinds))).height)

    def _related_skills(self) -> None:
        name = "skillSkillRelations"
        frame = self._read(name, ("originalSkillUri", "relatedSkillUri"))
        self._relate(name, RELATED, frame.select(s="originalSkillUri", t="relatedSkillUri"))

    def _broader(self, name: str, ways: Iterable[Way]) -> None:
        frame = self._read(name, _BROADER)
        known = pl.lit(value=False)
        for way in ways:
            some = _is(way.source, "conceptType") & _is(way.target, "broaderType")
            self._relate(name, way, frame.filter(some).select(s=URI, t="broaderUri"))
            known = known | some
        self._leave(name, frame.filter(~known).height)

    def _by_isco_code(self) -> None:
        """An occupation names the code of its group; the broader relations have it for the uppermost ones only."""
        groups = self._extra["ISCOGroup"].select(t=URI, code="code").unique("code", keep="first")
        named = self._extra["Occupation"].filter(pl.col("iscoGroup") != "")
        pairs = named.join(groups, left_on="iscoGroup", right_on="code", how="left")
        self._relate("occupations", GROUPED, pairs.select(s=URI, t=pl.col("t").fill_null("")))

    def _collections(self) -> None:
        """A skill names its collections, and a collection its skills; either may be silent."""
        schemes = self._extra["SkillCollection"]
        skills = self._extra["Skill"]
        by_skill = skills.select(URI, reading.uris("inScheme").alias("t")).explode("t").drop_nulls()
        is_pillar = pl.col("t").str.split("/").list.last().is_in(PILLARS)
        if schemes.height:
            self._relate("skills", COLLECTED, by_skill.filter(~is_pillar).select(s=URI, t="t"))
        by_scheme = schemes.select(URI, reading.uris("hasTopConcept").alias("s")).explode("s").drop_nulls()
        of_skills = by_scheme.join(skills.select(s=URI), on="s", how="semi")  # some hold groups, or occupations
        self._relate("conceptSchemes", COLLECTED, of_skills.select("s", t=URI))

    def _read(self, name: str, columns: tuple[str, ...]) -> pl.DataFrame:
        path = self._files.get(name)
        if path is None:
            return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
        return reading.read(path, columns).with_columns(pl.all().str.strip_chars())

    def _relate(self, name: str, way: Way, pairs: pl.DataFrame) -> None:
        """Take pairs of addresses (`s`, `t`) in, both ways; count those with an end outside of the release."""
        sources = self._rows[way.source].rename({URI: "s", ROW: "source"})
        targets = self._rows[way.target].rename({URI: "t", ROW: "target"})
        inside = pairs.join(sources, on="s").join(targets, on="t").select(s="source", t="target")
        if left := pairs.height - inside.height:
            self.joined.outside[name] = self.joined.outside.get(name, 0) + left
        if not inside.height:
            return
        self._edges.setdefault((way.source, way.forth), []).append(inside)
        if way.back is not None:
            self._edges.setdefault((way.target, way.back), []).append(inside.select(s="t", t="s"))

    def _leave(self, name: str, number: int) -> None:
        if number:
            self.joined.unknown[name] = number


def _is(name: str, column: str) -> pl.Expr:
    """Tell whether a column of relations says this class."""
    return pl.col(column).is_in([kind for kind, found in _CONCEPT_TYPES.items() if found == name])
