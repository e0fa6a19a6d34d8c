"""Which files make a release, and whether they are all there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from handlers.contract import PermanentError, Skip, StoredObject, Unit
from handlers.esco_index.release import REQUIRED, Name, choose
from tests.objects import BytesObject

EN = Name("1.2", "en")


def listed(*names: str, manifest: str | None = None) -> list[StoredObject]:
    found: list[StoredObject] = [BytesObject(f"esco/1.2/en/{name}", b"") for name in names]
    return found if manifest is None else [*found, BytesObject("esco/1.2/en/manifest.json", manifest.encode())]


def whole(language: str = "en") -> list[str]:
    return [f"{name}_{language}.csv" for name in REQUIRED]


async def test_a_release_with_all_its_files_is_taken_and_says_which_it_has_no_use_for() -> None:
    files, unused = await choose(listed(*whole(), "greenShareOcc_en.csv", "skills_de.csv"), EN, REQUIRED)

    assert sorted(files) == sorted(REQUIRED)
    assert unused == ["greenShareOcc_en.csv", "skills_de.csv"]


async def test_a_release_that_is_not_complete_waits_and_names_what_is_missing() -> None:
    names = whole()
    names.remove("skills_en.csv")
    with pytest.raises(Skip, match=r"not complete: skills_en\.csv missing"):
        await choose(listed(*names), EN, REQUIRED)


async def test_names_may_lack_the_language_and_differ_in_case() -> None:
    files, unused = await choose(listed("SKILLS_EN.csv", "iscoGroups.csv"), EN, ("skills", "ISCOGroups"))

    assert (sorted(files), unused) == (["ISCOGroups", "skills"], [])


async def test_a_manifest_says_what_is_complete() -> None:
    manifest = '{"files": ["skills_en.csv", "notes.csv"]}'
    with pytest.raises(Skip, match=r"notes\.csv missing"):
        await choose(listed("skills_en.csv", "occupations_en.csv", manifest=manifest), EN, REQUIRED)
    files, unused = await choose(
        listed("skills_en.csv", "occupations_en.csv", "notes.csv", manifest=manifest), EN, REQUIRED
    )

    assert (list(files), unused) == (["skills"], ["notes.csv"])


@pytest.mark.parametrize("manifest", ["", "[]", '{"files": 3}', '{"files": ["notes.csv"]}'])
async def test_a_manifest_that_makes_no_sense_is_refused(manifest: str) -> None:
    with pytest.raises(PermanentError, match=r"manifest\.json"):
        await choose(listed("notes.csv", manifest=manifest), EN, REQUIRED)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("1.2/en/", Name("1.2", "en")),
        ("v1.2.0/pt-br/", Name("v1.2.0", "pt-br")),
        ("1.2/english!/", None),
        ("en/", None),
    ],
)
def test_a_folder_names_version_and_language(rest: str, expected: Name | None) -> None:
    unit = Unit("esco", f"esco/{rest}", "esco", "esco/", None)
    if expected is None:
        with pytest.raises(PermanentError, match=r"1\.2/en/"):
            Name.of(unit)
    else:
        assert Name.of(unit) == expected


@pytest.mark.parametrize(
    "ascending", [("1.1", "1.2"), ("1.9", "1.10"), ("1.1.1", "1.2"), ("1.2", "1.2.1"), ("v1.0.8", "v1.0.9")]
)
def test_versions_count_as_numbers(ascending: Sequence[str]) -> None:
    older, newer = ascending

    assert Name(older, "en").is_before(newer)
    assert not Name(newer, "en").is_before(older)
    assert not Name(newer, "en").is_before(newer)
