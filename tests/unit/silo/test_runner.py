"""SILO run by the importer itself."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from handlers.silo_staging.runner import DirectRunner
from handlers.silo_staging.sentinels import SiloFailed


def silo(folder: Path, script: str) -> Path:
    path = folder / "silo"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_20_silo_is_told_its_configuration_by_one_variable(tmp_path: Path) -> None:
    program = silo(tmp_path, f'echo "$SILO_PREPROCESSING_CONFIG $*" >{tmp_path}/told')

    DirectRunner(program, Path("/app/config.yaml"), 30)()

    assert (tmp_path / "told").read_text() == "/app/config.yaml preprocessing\n"


def test_20_a_silo_that_fails_is_quoted(tmp_path: Path) -> None:
    program = silo(tmp_path, "echo 'no reference genome' >&2; exit 3")

    with pytest.raises(SiloFailed, match="exit code 3: no reference genome"):
        DirectRunner(program, Path("c.yaml"), 30)()


def test_20_a_silo_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    class Noted(subprocess.Popen[str]):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    program = silo(tmp_path, "exec sleep 300")

    with pytest.raises(TimeoutError, match=r"within 0\.5 s"):
        DirectRunner(program, Path("c.yaml"), 0.5)()

    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_20_a_silo_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SiloFailed, match=r"no-silo.*PATH_TO_SILO_BINARY"):
        DirectRunner(tmp_path / "no-silo", Path("c.yaml"), 30)()
