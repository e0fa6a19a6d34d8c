"""The page of the benchmark: parts are measured alone, and none loses another's figures."""

from pathlib import Path

from tests.bench.report import Section, written


def section(name: str, figure: str) -> Section:
    made = Section(name, f"Part {name}", "Some data.")
    made.note("what", figure)
    made.observations.append("True whatever comes out.")
    return made


def test_part_that_is_measured_again_takes_its_own_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    order = ("one", "two", "three")
    written(page, [section("two", "2 MB/s")], order, 1.0)
    written(page, [section("three", "3 MB/s"), section("one", "1 MB/s")], order, 1.0)
    written(page, [section("two", "22 MB/s")], order, 0.5)

    text = page.read_text("utf-8")

    assert [text.index(figure) for figure in ("1 MB/s", "22 MB/s", "3 MB/s")] == sorted(
        text.index(figure) for figure in ("1 MB/s", "22 MB/s", "3 MB/s")
    )
    assert "| what | 2 MB/s |" not in text
    assert text.count("# Benchmarks\n") == 1
    assert text.count("at 0.5 of the usual amounts") == 1
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Part one",
        "## Part two",
        "## Part three",
    ]
