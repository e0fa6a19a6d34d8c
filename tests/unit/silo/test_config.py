"""What the environment says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handlers.silo_staging.config import Config, ConfigurationError, Lineages, lineages
from handlers.silo_staging.paths import is_name


def test_only_the_backend_must_be_named() -> None:
    config = Config.from_environment({"BACKEND_BASE_URL": "http://backend:8079/ebola/", "POLL": "?"})

    assert config == Config(backend="http://backend:8079/ebola")
    assert (config.hard_refresh_seconds, config.poll_seconds, config.silo_timeout_seconds) == (3600, 30, 3600)
    assert (str(config.root), str(config.silo)) == ("/", "/usr/local/bin/silo")
    assert str(config.preprocessing_config) == "/app/preprocessing_config.yaml"


def test_every_setting_is_read() -> None:
    config = Config.from_environment(
        {
            "BACKEND_BASE_URL": "http://b",
            "ROOT_DIR": "/data",
            "LINEAGE_DEFINITIONS": '{"pango": {"1": "http://l/1.yaml"}}',
            "HIERARCHICAL_FILTERS": '{"host": "http://taxa"}',
            "HARD_REFRESH_INTERVAL": "60",
            "SILO_IMPORT_POLL_INTERVAL_SECONDS": "0.5",
            "SILO_RUN_TIMEOUT_SECONDS": "10",
            "SILO_IMPORT_COORDINATION": "direct",
            "PATH_TO_SILO_BINARY": "/silo",
            "PREPROCESSING_CONFIG": "/c.yaml",
        }
    )

    assert config == Config(
        backend="http://b",
        root=Path("/data"),
        lineages=Lineages(systems={"pango": {1: "http://l/1.yaml"}}),
        hierarchical_filters={"host": "http://taxa"},
        hard_refresh_seconds=60,
        poll_seconds=0.5,
        silo_timeout_seconds=10,
        coordination="direct",
        silo=Path("/silo"),
        preprocessing_config=Path("/c.yaml"),
    )


def test_lineages_of_one_system_may_come_without_its_name() -> None:
    found = lineages('{"2": "http://l/2.yaml"}')

    assert found == Lineages(systems={"lineage_definitions": {2: "http://l/2.yaml"}}, one_version=True)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("BACKEND_BASE_URL", " ", "is not set"),
        ("LINEAGE_DEFINITIONS", "{", "not JSON"),
        ("LINEAGE_DEFINITIONS", "[1]", "must be a JSON object"),
        ("LINEAGE_DEFINITIONS", '{"pango": 3}', "'pango' must be an object of addresses"),
        ("LINEAGE_DEFINITIONS", '{"pango": {"one": "http://l"}}', "whole numbers"),
        ("LINEAGE_DEFINITIONS", '{"../pango": {"1": "http://l"}}', "name of a file"),
        ("HIERARCHICAL_FILTERS", '{"host": 1}', "'host' must be a field"),
        ("HIERARCHICAL_FILTERS", '{"a/b": "http://l"}', "'a/b' must be a field"),
        ("HARD_REFRESH_INTERVAL", "hourly", "must be a number of seconds"),
        ("SILO_IMPORT_POLL_INTERVAL_SECONDS", "0", "above 0"),
        ("SILO_RUN_TIMEOUT_SECONDS", "inf", "above 0"),
        ("SILO_IMPORT_COORDINATION", "files", "sentinels"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_what_it_should_be(name: str, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}.*{reason}"):
        Config.from_environment({"BACKEND_BASE_URL": "http://b", name: text})


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config.from_environment({"LINEAGE_DEFINITIONS": json.dumps(7), "HARD_REFRESH_INTERVAL": "-1"})

    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("name", ["", ".", "..", ".lakedrop", "a/b", "../a", "/a"])
def test_what_is_no_name_of_a_file_is_told(name: str) -> None:
    assert not is_name(name)
