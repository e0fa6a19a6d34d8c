"""Releases of ESCO of any size, with all that makes real ones hard to read."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

HOST: Final = "http://data.europa.eu/esco"

VERBS: Final = ("manage", "operate", "repair", "design", "teach", "measure", "paint", "weld", "bake", "drive", "plan")
NOUNS: Final = ("pumps", "lorries", "bread", "gardens", "pupils", "steel", "software", "budgets", "textiles", "forests")
WORDS: Final = (*VERBS, *NOUNS)


@dataclass
class Release:
    """
    Files of a release: the rows of each, ready to be changed and written.

    Args:
        skills: How many there are; so with the others.
        seed: The same seed makes the same release.
    """

    skills: int = 40
    occupations: int = 12
    relations: int = 150
    seed: int = 1
    language: str = "en"
    files: dict[str, list[list[str]]] = field(default_factory=dict)
    """Rows by name of the file, without language and ending; the first row has the names of the columns."""

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311 (the same release every time)
        groups = [f"{HOST}/isco/C{number}" for number in range(max(2, self.occupations // 5))]
        skill_groups = [f"{HOST}/skill/S{number}" for number in range(max(2, self.skills // 20))]
        skill_groups += [f"{HOST}/isced-f/{number:02}" for number in range(2)]
        skills = [self._uri("skill") for _ in range(self.skills)]
        occupations = [self._uri("occupation") for _ in range(self.occupations)]
        schemes = [f"{HOST}/concept-scheme/{name}" for name in ("digital", "green", "skills")]
        self._groups(groups)
        self._skill_groups(skill_groups)
        self._skills(skills, schemes)
        self._occupations(occupations, len(groups))
        self._schemes(schemes, skills)
        self._relations(occupations, skills)
        self._broader(groups, occupations, skill_groups, skills)

    def of(self, file: str, column: str) -> list[str]:
        """Return a column of a file."""
        header, *rows = self.files[file]
        at = header.index(column)
        return [row[at] for row in rows]

    def change(self, file: str, row: int, column: str, text: str) -> None:
        """Change a cell; rows count from 0 without the header."""
        header = self.files[file][0]
        self.files[file][row + 1][header.index(column)] = text

    def names(self) -> list[str]:
        """Name the files as they are dropped."""
        return [f"{name}_{self.language}.csv" for name in self.files]

    def write(self, folder: Path, only: Iterable[str] | None = None) -> None:
        """Write files into a folder: each appears whole."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.files if only is None else only:
            hidden = folder / f"{name}.part"
            with hidden.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(self.files[name])
            hidden.rename(folder / f"{name}_{self.language}.csv")

    def _uri(self, kind: str) -> str:
        return f"{HOST}/{kind}/{UUID(int=self._chance.getrandbits(128), version=4)}"

    def _label(self) -> str:
        return " ".join(self._chance.choices(WORDS, k=3))

    def _text(self) -> str:
        return "\n".join(" ".join(self._chance.choices(WORDS, k=12)) for _ in range(2)) + ', "quoted".'

    def _labels(self) -> str:
        return "\n".join(self._label() for _ in range(self._chance.randrange(4)))

    def _add(self, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.files[name] = [list(header), *(list(row) for row in rows)]

    def _groups(self, uris: Sequence[str]) -> None:
        header = (
            "conceptType",
            "conceptUri",
            "code",
            "preferredLabel",
            "status",
            "altLabels",
            "inScheme",
            "description",
        )
        rows = (
            ("ISCOGroup", uri, uri.rpartition("C")[2], self._label(), "released", "", "", self._text()) for uri in uris
        )
        self._add("ISCOGroups", header, rows)

    def _skill_groups(self, uris: Sequence[str]) -> None:
        header = ("conceptType", "conceptUri", "preferredLabel", "altLabels", "status", "description", "code")
        rows = (
            ("SkillGroup", uri, self._label(), self._labels(), "released", self._text(), uri.rpartition("/")[2])
            for uri in uris
        )
        self._add("skillGroups", header, rows)

    def _skills(self, uris: Sequence[str], schemes: Sequence[str]) -> None:
        header = (
            "conceptType", "conceptUri", "skillType", "reuseLevel", "preferredLabel", "altLabels", "hiddenLabels",
            "status", "modifiedDate", "scopeNote", "definition", "inScheme", "description",
        )  # fmt: skip
        rows = []
        for number, uri in enumerate(uris):
            within = [schemes[2], *(scheme for at, scheme in enumerate(schemes[:2]) if number % 10 == at)]
            rows.append(
                (
                    "KnowledgeSkillCompetence", uri, self._chance.choice(["skill/competence", "knowledge"]),
                    self._chance.choice(["cross-sector", "sector-specific"]), self._label(), self._labels(), "",
                    "released", "2024-01-01T00:00:00Z", "", "", ",\n".join(within), self._text(),
                )
            )  # fmt: skip
        self._add("skills", header, rows)

    def _occupations(self, uris: Sequence[str], groups: int) -> None:
        header = (
            "conceptType", "conceptUri", "iscoGroup", "preferredLabel", "altLabels", "status", "definition",
            "description", "code",
        )  # fmt: skip
        rows = (
            (
                "Occupation",
                uri,
                str(at % groups),
                self._label(),
                self._labels(),
                "released",
                "",
                self._text(),
                f"1.{at}",
            )
            for at, uri in enumerate(uris)
        )
        self._add("occupations", header, rows)

    def _schemes(self, schemes: Sequence[str], skills: Sequence[str]) -> None:
        header = (
            "conceptType",
            "conceptSchemeUri",
            "preferredLabel",
            "title",
            "status",
            "description",
            "hasTopConcept",
        )
        rows = [
            ("ConceptScheme", schemes[0], "Digital", "", "released", "", ", ".join(skills[::10])),
            ("ConceptScheme", schemes[1], "Green", "", "released", "", ""),
            # More than half a megabyte in a release of usual size.
            ("ConceptScheme", schemes[2], "Skills", "", "released", "", ", ".join(skills)),
            ("ConceptScheme", f"{HOST}/concept-scheme/label-role", "Label roles", "", "released", "", f"{HOST}/role/1"),
        ]
        self._add("conceptSchemes", header, rows)

    def _relations(self, occupations: Sequence[str], skills: Sequence[str]) -> None:
        pairs: dict[tuple[str, str], str] = {}
        most = min(self.relations, len(occupations) * len(skills))
        while len(pairs) < most:
            pair = (self._chance.choice(occupations), self._chance.choice(skills))
            pairs[pair] = self._chance.choice(["essential", "optional"])
        rows = [(one, kind, "skill/competence", other) for (one, other), kind in pairs.items()]
        self._add("occupationSkillRelations", ("occupationUri", "relationType", "skillType", "skillUri"), rows)
        header = ("originalSkillUri", "originalSkillType", "relationType", "relatedSkillType", "relatedSkillUri")
        related = [(one, "", "optional", "", other) for one, other in zip(skills[::2], skills[1::2], strict=False)]
        self._add("skillSkillRelations", header, related)

    def _broader(
        self, groups: Sequence[str], occupations: Sequence[str], skill_groups: Sequence[str], skills: Sequence[str]
    ) -> None:
        header = ("conceptType", "conceptUri", "broaderType", "broaderUri")
        above = [("ISCOGroup", uri, "ISCOGroup", groups[0]) for uri in groups[1:]]
        above += [("Occupation", uri, "ISCOGroup", groups[at % len(groups)]) for at, uri in enumerate(occupations[::2])]
        above += [("Occupation", uri, "Occupation", occupations[0]) for uri in occupations[1::2]]
        self._add("broaderRelationsOccPillar", header, above)
        kind = "KnowledgeSkillCompetence"
        below = [("SkillGroup", uri, "SkillGroup", skill_groups[0]) for uri in skill_groups[1:]]
        below += [(kind, uri, "SkillGroup", skill_groups[at % len(skill_groups)]) for at, uri in enumerate(skills)]
        below += [(kind, uri, kind, skills[at // 2]) for at, uri in enumerate(skills) if at % 3 == 2]
        self._add("broaderRelationsSkillPillar", header, below)


def whole(skills: int = 14_000, occupations: int = 3_000, relations: int = 126_000) -> Release:
    """Return a release of the size that ESCO 1.2 has."""
    return Release(skills, occupations, relations)
