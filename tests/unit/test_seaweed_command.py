"""What `lakedrop bridge seaweedfs` refuses before it connects to anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer import exits
from consumer.cli import main
from consumer.router import Route, Router
from consumer.seaweed import path_prefix


@pytest.mark.parametrize(
    ("settings", "words", "fault"),
    [
        ("", (), "which filer?"),
        ("", ("--filer", "localhost"), "write HOST:PORT"),
        ("", ("--filer", "localhost:http"), "write HOST:PORT"),
        ("", ("--filer", "localhost:18888"), "broker_url is missing"),
        ('bridge_filer = "localhost:18888"', (), "broker_url is missing"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, words: tuple[str, ...], fault: str
) -> None:
    (tmp_path / "lakedrop.toml").write_text(settings)

    assert main(["bridge", "seaweedfs", *words, "--home", str(tmp_path)]) == exits.CONFIGURATION
    assert fault in capsys.readouterr().err


def test_the_bridge_makes_no_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bridge", "seaweedfs", "--filer", "h:1", "--home", str(tmp_path / "typo")]) == exits.CONFIGURATION
    assert "no home" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    ("buckets", "prefix"),
    [(["one"], "/buckets/one"), (["orders", "orbits"], "/buckets/or"), (["a", "b"], "/buckets/")],
)
def test_the_filer_is_asked_for_no_more_than_the_buckets_share(buckets: list[str], prefix: str) -> None:
    assert path_prefix(Router([Route(name, name, "", (), "h") for name in buckets])) == prefix
