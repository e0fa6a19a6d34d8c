"""The folder of a release in a bucket: which files it has, whether they are all there, and a copy of them here."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from handlers.contract import HandlerContext, PermanentError, Skip, StoredObject, Unit

LANE: Final = "esco"

MANIFEST: Final = "manifest.json"

REQUIRED: Final = (
    "ISCOGroups",
    "occupations",
    "skills",
    "skillGroups",
    "conceptSchemes",
    "occupationSkillRelations",
    "skillSkillRelations",
    "broaderRelationsOccPillar",
    "broaderRelationsSkillPillar",
)
"""Files that objects and references are made of, as in ESCO's "structure of the downloadable datasets"."""

_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]{2,8})*", re.IGNORECASE)


class Manifest(BaseModel):
    """The content of `manifest.json`."""

    model_config = ConfigDict(extra="ignore")

    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """Which release a unit is."""

    version: str
    language: str

    @classmethod
    def of(cls, unit: Unit) -> Name:
        """
        Read `<version>/<language>/` below the prefix of the route.

        Raises:
            PermanentError: It is something else.
        """
        rest = unit.name.removeprefix(unit.prefix)
        if rest.count("/") != 2:  # noqa: PLR2004 (a version, a language)
            raise _misplaced(unit.name)
        return cls.parse(rest)

    @classmethod
    def parse(cls, rest: str) -> Name:
        """
        Read what follows the prefix of the route, whatever comes after the language.

        Raises:
            PermanentError: It does not begin so.
        """
        version, _, behind = rest.partition("/")
        language = behind.partition("/")[0]
        if not version or not _LANGUAGE.fullmatch(language):
            raise _misplaced(rest)
        return cls(version, language)

    @property
    def suffix(self) -> str:
        """The language, fit for the names of properties."""
        return self.language.lower().replace("-", "_")

    def is_before(self, other: str) -> bool:
        """Tell whether another version is newer; numbers count as numbers."""
        return _order(self.version) < _order(other)


def _misplaced(name: str) -> PermanentError:
    return PermanentError(
        f"{name} is not <version>/<language>/ below the prefix of the route, such as 1.2/en/: move it."
    )


def _order(version: str) -> tuple[tuple[int, ...], str]:
    return tuple(int(number) for number in re.findall(r"\d+", version)), version


async def choose(
    objects: Sequence[StoredObject], name: Name, required: Sequence[str]
) -> tuple[Mapping[str, StoredObject], Sequence[str]]:
    """
    Find the files of a release.

    Returns:
        Those that objects are made of, by their names without language and ending; and names of files that nothing is
        made of.

    Raises:
        Skip: Some are still missing.
        PermanentError: The manifest cannot be read.
        HandlerError: The manifest cannot be fetched.
    """
    by_file = {found.key.rpartition("/")[2]: found for found in objects}
    manifest = by_file.pop(MANIFEST, None)
    if manifest is not None:
        listed = _listed(await manifest.read())
        missing = [file for file in listed if file not in by_file]
        by_file = {file: by_file[file] for file in listed if file in by_file}
    by_stem = {stem: found for file, found in by_file.items() if (stem := _stem(file, name.language)) in REQUIRED}
    if manifest is None:
        missing = [f"{stem}_{name.language}.csv" for stem in required if stem not in by_stem]
    if missing:
        raise Skip(f"the release is not complete: {', '.join(missing)} missing; it is ingested when all are there")
    if not by_stem:
        raise PermanentError(f"{MANIFEST} names no file that objects are made of, such as skills_{name.language}.csv.")
    used = {id(found) for found in by_stem.values()}
    return by_stem, sorted(file for file, found in by_file.items() if id(found) not in used)


def _listed(text: bytes) -> Sequence[str]:
    try:
        return Manifest.model_validate(json.loads(text)).files
    except (ValueError, ValidationError) as error:
        raise PermanentError(f'{MANIFEST} is not {{"files": ["skills_en.csv", …]}}: {error}') from error


def _stem(file: str, language: str) -> str:
    """Return what a file has, whatever its case; its own name when it is of another language."""
    found = file.removesuffix(".csv")
    if found.lower().endswith(f"_{language.lower()}"):
        found = found[: -len(language) - 1]
    return next((stem for stem in REQUIRED if stem.lower() == found.lower()), file)


async def copy(objects: Mapping[str, StoredObject], folder: Path, context: HandlerContext) -> Mapping[str, Path]:
    """
    Copy the files of a release to a folder of this machine.

    Raises:
        HandlerError: One cannot be read, or was changed meanwhile.
    """
    placed = {}
    for stem, found in objects.items():
        placed[stem] = folder / found.key.rpartition("/")[2]
        stream = await found.open()
        await context.run(LANE, _take, placed[stem], stream)
    return placed


def _take(place: Path, stream: BinaryIO) -> None:
    with stream, place.open("wb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)
