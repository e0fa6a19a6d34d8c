"""Classes and options, as far as nothing but files is needed to know them."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from handlers.contract import PermanentError, Skip, Unit
from handlers.esco_index.joins import _WAYS
from handlers.esco_index.options import Options
from handlers.esco_index.placing import metadata_classes, place_of, refuse_taken
from handlers.esco_index.release import REQUIRED, Name
from handlers.esco_index.schema import CLASSES, METADATA, Place, classes, prefix_of
from handlers.esco_index.state import State, Status

EN = Name("1.2", "en")


def test_every_class_has_its_file_and_every_reference_a_class_and_a_relation() -> None:
    found = classes()
    made = {(way.source, way.forth, way.target) for way in _WAYS}
    made |= {(way.target, way.back, way.source) for way in _WAYS if way.back is not None}

    assert set(found) == {*CLASSES, METADATA}
    assert {found[name].source for name in CLASSES} < set(REQUIRED)
    assert {(name, one.name, one.target) for name in CLASSES for one in found[name].references} == made


def test_a_class_is_told_to_weaviate_in_its_language_and_without_what_is_ours() -> None:
    config = Place("De_", "de", "flat").config("Skill")

    assert (config["class"], config["vectorizer"], config["vectorIndexType"]) == ("De_Skill", "none", "flat")
    by_name = {prop["name"]: prop for prop in config["properties"]}
    assert by_name["altLabels_de"] == {"name": "altLabels_de", "dataType": ["text[]"], "tokenization": "word"}
    assert by_name["conceptUri"]["tokenization"] == "field"
    assert {"contentHash", "vectorHash"} < set(by_name)


def test_a_module_of_weaviate_reads_labels_and_descriptions_and_nothing_else() -> None:
    config = place_of(Options(embedder="weaviate"), EN).config("Skill")
    module = "text2vec-transformers"

    assert config["vectorizer"] == module
    assert config["moduleConfig"] == {module: {"vectorizeClassName": False}}
    read = {prop["name"] for prop in config["properties"] if "moduleConfig" not in prop}
    assert read == {"preferredLabel_en", "altLabels_en", "description_en"}
    assert place_of(Options(embedder="weaviate"), EN).config(METADATA)["vectorizer"] == "none"


def test_names_of_classes_may_have_language_and_version() -> None:
    assert prefix_of("", "1.2", "en") == ""
    assert prefix_of("{language}_", "1.2", "pt-br") == "Pt_br_"
    assert prefix_of("esco{version}_{language}_", "1.2", "en") == "Esco1_2_en_"


def test_classes_of_a_route_are_known_by_their_names() -> None:
    names = ["Metadata", "De_Metadata", "En_Metadata", "De_Skill", "Other"]

    assert metadata_classes(Options(), names) == ["Metadata"]
    assert metadata_classes(Options(class_prefix="{language}_"), names) == ["De_Metadata", "En_Metadata"]
    assert metadata_classes(Options(class_prefix="de_"), names) == ["De_Metadata"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "weaviate:8080"},
        {"class_prefix": "9_"},
        {"class_prefix": "{version}_"},
        {"class_prefix": "{other}_"},
        {"embedder": "openai"},
        {"stale_seconds": 0},
        {"unknown": 1},
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Options(**wrong)


@pytest.mark.parametrize("prefix", ["", "V{version}_", "{language}_{version}_", "esco_{language}"])
def test_prefixes_make_names_that_weaviate_takes(prefix: str) -> None:
    place = place_of(Options(class_prefix=prefix), EN)

    assert re.fullmatch("[A-Z][_0-9A-Za-z]*", place.collection("Skill"))


def held(version: str, language: str = "en") -> State:
    unit = f"esco/{version}/{language}/"
    details = {"bucket": "esco", "unit": unit, "version": version, "language": language}
    return State(Status.COMPLETED, 1, details)


def test_a_newer_release_takes_the_place_of_an_older_one_and_not_the_other_way() -> None:
    unit = Unit("esco", "esco/1.2/en/", "esco", "esco/", Options())
    for state in (State(Status.NOT_STARTED), held("1.2"), held("1.1.2")):
        refuse_taken(unit, EN, state)
    with pytest.raises(Skip, match=r"esco/esco/1\.10/en/, which is newer"):
        refuse_taken(unit, EN, held("1.10"))
    with pytest.raises(PermanentError, match="class_prefix"):
        refuse_taken(unit, EN, held("1.1", "de"))


def test_a_state_says_itself_and_is_alive_for_so_long() -> None:
    told = State(Status.IN_PROGRESS, 1_790_000_000_000, {"step": "writing", "progress": "3/5"})

    assert State.read(told.properties()) == told
    assert told.is_alive(told.at + 3_599_999, 3600)
    assert not told.is_alive(told.at + 3_600_000, 3600)
    assert not State(Status.COMPLETED, told.at).is_alive(told.at, 3600)
    assert told.json() == {
        "status": "in_progress",
        "timestamp": "2026-09-21T14:13:20.000+00:00",
        "step": "writing",
        "progress": "3/5",
    }


@pytest.mark.parametrize("wrong", [{}, {"status": "odd"}, {"status": "failed", "timestamp": "x", "details": "{}"}])
def test_a_state_that_nobody_can_read_is_unknown(wrong: dict[str, str]) -> None:
    assert State.read(wrong).status is Status.UNKNOWN
