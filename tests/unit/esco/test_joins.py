"""What a release says, whatever its files look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handlers.esco_index.joins import Joined, join
from handlers.esco_index.objects import Objects, uuid_of
from handlers.esco_index.reading import Damaged
from handlers.esco_index.schema import CLASSES, CONTENT_HASH, VECTOR_HASH, Place
from tests.esco_release import HOST, Release


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Release], Joined]:
    def read(release: Release) -> Joined:
        release.write(tmp_path)
        return join({name: tmp_path / f"{name}_en.csv" for name in release.files})

    return read


Read = Callable[[Release], Joined]


def objects(joined: Joined, name: str, model: str = "none") -> dict[str, dict[str, Any]]:
    """Return properties and references of a class by address."""
    made = Objects(joined, Place("", "en"), model)
    found = {}
    for some in made.of(name, range(len(made.uuids(name)))):
        for one in some:
            assert one.uuid == uuid_of(one.properties["conceptUri"])
            found[one.properties["conceptUri"]] = {**one.properties, **one.references, "text": one.text}
    return found


def test_every_concept_is_an_object_and_every_relation_a_reference_both_ways(read: Read) -> None:
    release = Release()
    joined = read(release)
    counts = joined.counts

    assert {name: counts[name] for name in CLASSES} == {
        "ISCOGroup": len(release.of("ISCOGroups", "conceptUri")),
        "Occupation": release.occupations,
        "Skill": release.skills,
        "SkillCollection": 2,
        "SkillGroup": len(release.of("skillGroups", "conceptUri")),
    }
    relations = release.files["occupationSkillRelations"][1:]
    essential = {(row[0], row[3]) for row in relations if row[1] == "essential"}
    assert counts["Occupation.hasEssentialSkill"] == counts["Skill.isEssentialForOccupation"] == len(essential)
    assert counts["Occupation.hasOptionalSkill"] + len(essential) == len(relations) == release.relations
    occupations, skills = objects(joined, "Occupation"), objects(joined, "Skill")
    for one, other in essential:
        assert uuid_of(other) in occupations[one]["hasEssentialSkill"]
        assert uuid_of(one) in skills[other]["isEssentialForOccupation"]
    assert (joined.outside, joined.unknown, joined.rejected) == ({}, {}, {})


def test_an_occupation_is_of_the_group_whose_code_it_has_and_of_those_above_it(read: Read) -> None:
    release = Release()
    found = objects(read(release), "Occupation")
    groups = release.of("ISCOGroups", "conceptUri")
    codes = release.of("ISCOGroups", "code")

    for uri, code in zip(release.of("occupations", "conceptUri"), release.of("occupations", "iscoGroup"), strict=True):
        assert uuid_of(groups[codes.index(code)]) in found[uri]["memberOfISCOGroup"]
    above = {row[1]: row[3] for row in release.files["broaderRelationsOccPillar"][1:] if row[2] == "Occupation"}
    assert above
    for uri, broader in above.items():
        assert found[uri]["broaderOccupation"] == [uuid_of(broader)]
        assert uuid_of(uri) in found[broader]["narrowerOccupation"]


def test_a_collection_has_the_skills_that_name_it_and_those_it_names(read: Read) -> None:
    release = Release()
    skills = release.of("skills", "conceptUri")
    release.change("skills", 7, "inScheme", f"{HOST}/concept-scheme/skills,\n\n {HOST}/concept-scheme/green\n")
    release.change("conceptSchemes", 0, "hasTopConcept", f"{skills[3]},{HOST}/occupation/elsewhere")
    found = objects(read(release), "SkillCollection")

    assert set(found) == {f"{HOST}/concept-scheme/digital", f"{HOST}/concept-scheme/green"}
    digital = {*skills[::10], skills[3]}
    green = {*skills[1::10], skills[7]}
    assert set(found[f"{HOST}/concept-scheme/digital"]["hasSkill"]) == {uuid_of(uri) for uri in digital}
    assert set(found[f"{HOST}/concept-scheme/green"]["hasSkill"]) == {uuid_of(uri) for uri in green}


def test_labels_are_one_a_line_and_a_cell_keeps_its_line_breaks_commas_and_quotes(read: Read) -> None:
    release = Release()
    release.change("skills", 0, "altLabels", "drive a lorry\n operate | a truck \n\ndrive a lorry\n")
    release.change("skills", 0, "description", 'first line\nsecond, "quoted", line\r\nthird')
    uri = release.of("skills", "conceptUri")[0]
    found = objects(read(release), "Skill")[uri]

    assert found["altLabels_en"] == ["drive a lorry", "operate | a truck"]
    assert found["description_en"] == 'first line\nsecond, "quoted", line\r\nthird'
    assert found["text"].splitlines()[1] == "drive a lorry, operate | a truck"


def test_a_cell_of_more_than_half_a_megabyte_is_read(read: Read) -> None:
    release = Release()
    many = [f"{HOST}/skill/{number:036}" for number in range(10_000)]
    release.change("conceptSchemes", 1, "hasTopConcept", ", ".join([*many, release.of("skills", "conceptUri")[5]]))
    assert len(release.of("conceptSchemes", "hasTopConcept")[1]) > 651_423

    green = objects(read(release), "SkillCollection")[f"{HOST}/concept-scheme/green"]
    assert uuid_of(release.of("skills", "conceptUri")[5]) in green["hasSkill"]


def test_relations_to_concepts_outside_of_the_release_are_left_out_and_counted(read: Read) -> None:
    release = Release()
    release.change("occupationSkillRelations", 0, "skillUri", f"{HOST}/skill/elsewhere")
    release.change("occupationSkillRelations", 1, "relationType", "desirable")
    release.change("broaderRelationsSkillPillar", 0, "broaderUri", f"{HOST}/skill/S999")
    release.change("broaderRelationsOccPillar", 0, "broaderType", "Continent")
    release.change("occupations", 2, "iscoGroup", "9999")
    joined = read(release)

    assert joined.outside == {"occupationSkillRelations": 1, "broaderRelationsSkillPillar": 1, "occupations": 1}
    assert joined.unknown == {"occupationSkillRelations": 1, "broaderRelationsOccPillar": 1}
    both = joined.counts["Occupation.hasEssentialSkill"] + joined.counts["Occupation.hasOptionalSkill"]
    assert both == release.relations - 2


def test_rows_without_an_address_or_with_one_a_second_time_are_counted_and_left_out(read: Read) -> None:
    release = Release()
    first = release.of("skills", "conceptUri")[0]
    release.change("skills", 1, "conceptUri", "")
    release.change("skills", 2, "conceptUri", first)
    joined = read(release)

    assert joined.rejected == {"skills": 2}
    assert joined.counts["Skill"] == release.skills - 2
    assert objects(joined, "Skill")[first]["preferredLabel_en"] == release.of("skills", "preferredLabel")[0]


def test_a_relation_that_is_told_twice_is_one_reference(read: Read) -> None:
    release = Release()
    rows = release.files["skillSkillRelations"]
    before = len(rows) - 1
    rows += rows[1:3]

    assert read(release).counts["Skill.hasRelatedSkill"] == before


def test_files_that_are_not_there_leave_their_classes_empty(tmp_path: Path) -> None:
    release = Release()
    release.write(tmp_path, ["ISCOGroups"])
    joined = join({"ISCOGroups": tmp_path / "ISCOGroups_en.csv"})

    assert {name: number for name, number in joined.counts.items() if number} == {
        "ISCOGroup": len(release.of("ISCOGroups", "conceptUri"))
    }
    assert not joined.is_referred_to("ISCOGroup")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"\x1f\x8b\x08 no text", "skills_en.csv"),
        (b'conceptUri,preferredLabel\nhttp://a,"cut sho', "ends within a quoted cell"),
        (b"conceptUri,label\nhttp://a,b\n", "no column preferredLabel; it has conceptUri, label"),
        (
            b"conceptUri,preferredLabel\nhttp://a,b,c,d,e\n",
            "cannot be read as CSV: the row that ends in line 2 has 5 cells",
        ),
        (b'conceptUri,preferredLabel\nhttp://a,"b\nc"\n\nhttp:', "line 5 has 1 cells instead of 2"),
        (b"conceptUri,preferredLabel\nhttp://a,\xff\xfe\n", "cannot be read as CSV"),
    ],
)
def test_a_damaged_file_says_what_is_wrong_with_it(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "skills_en.csv").write_bytes(content)
    with pytest.raises(Damaged, match=r"skills_en\.csv") as caught:
        join({"skills": tmp_path / "skills_en.csv"})

    assert said in caught.value.message


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "skills_en.csv").write_bytes(b"\xef\xbb\xbfconceptUri,preferredLabel\nhttp://a,b\n")

    assert join({"skills": tmp_path / "skills_en.csv"}).counts["Skill"] == 1


def test_addresses_that_are_no_uuids_have_the_uuid_that_the_client_would_give_them() -> None:
    assert uuid_of("http://data.europa.eu/esco/isco/C0") == "6853aeee-7609-51bf-adf8-f221013d8a2a"


def hashes(joined: Joined, name: str, model: str = "none") -> dict[str, tuple[str, str]]:
    return {uri: (one[CONTENT_HASH], one[VECTOR_HASH]) for uri, one in objects(joined, name, model).items()}


def test_a_changed_label_changes_the_hashes_of_one_object(read: Read) -> None:
    release = Release()
    before = hashes(read(release), "Skill")
    release.change("skills", 4, "preferredLabel", "something else")
    after = hashes(read(release), "Skill")

    changed = [uri for uri in before if before[uri] != after[uri]]
    assert changed == [release.of("skills", "conceptUri")[4]]
    assert before[changed[0]][1] != after[changed[0]][1]


def test_a_new_relation_changes_what_its_ends_hold_and_no_vector(read: Read) -> None:
    release = Release()
    joined = read(release)
    before = {name: hashes(joined, name) for name in CLASSES}
    skills = release.of("skills", "conceptUri")
    release.files["skillSkillRelations"].append([skills[1], "", "optional", "", skills[2]])
    joined = read(release)
    after = {name: hashes(joined, name) for name in CLASSES}

    changed = [(name, uri) for name in CLASSES for uri in before[name] if before[name][uri] != after[name][uri]]
    assert changed == [("Skill", skills[1])]
    assert before["Skill"][skills[1]][1] == after["Skill"][skills[1]][1]


def test_another_model_changes_every_vector(read: Read) -> None:
    joined = read(Release())
    one, other = hashes(joined, "Skill", "small"), hashes(joined, "Skill", "large")

    assert all(one[uri][1] != other[uri][1] for uri in one)


def test_the_order_of_rows_changes_no_hash(read: Read) -> None:
    release = Release()
    joined = read(release)
    before = {name: hashes(joined, name) for name in CLASSES}
    for name, rows in release.files.items():
        release.files[name] = [rows[0], *reversed(rows[1:])]
    joined = read(release)

    assert {name: hashes(joined, name) for name in CLASSES} == before
