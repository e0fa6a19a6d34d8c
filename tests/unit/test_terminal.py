"""What people read: on a terminal, and in files and pipes."""

from __future__ import annotations

import pytest

from consumer.terminal import PIPED_WIDTH, console


def test_a_line_in_a_pipe_is_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/home/" + "long/" * PIPED_WIDTH

    console().print(f"bucket {path}: let this user read it")

    assert capsys.readouterr().out == f"bucket {path}: let this user read it\n"


def test_who_names_the_width_gets_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    console().print("one word after another, far past forty columns")

    assert capsys.readouterr().out == "one word after another, far past forty \ncolumns\n"
