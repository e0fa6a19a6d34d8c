"""The documents say what the code does."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import click
import pytest

from consumer import exits, plan_report, status, sweep_certificate, sweep_report, task_report, why
from consumer.cli import cli
from consumer.settings import Settings, load_settings
from handlers.contract import PermanentError
from handlers.csv_to_iceberg.csv import errors
from handlers.csv_to_iceberg.lake import refusals
from tests.conftest import KNOWN_VARIABLES

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def blocks(page: Path, language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh(generator: ModuleType) -> None:
    stale = [name_of(path) for path, text in generator.pages().items() if path.read_text("utf-8") != text]

    assert stale == [], "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [
        target
        for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8")))
        if not target.startswith("https://")
    ]
    broken = []
    for target in targets:
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_configuration_examples_are_accepted(page: Path, tmp_path: Path, generator: ModuleType) -> None:
    for example in blocks(page, "toml"):
        (tmp_path / "lakedrop.toml").write_text(example)

        for route in load_settings(tmp_path).routes:
            generator.BUILTIN[route.handler].options.model_validate(route.options)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_variables_are_settings(page: Path) -> None:
    known = KNOWN_VARIABLES | {f"LAKEDROP_{name.upper()}" for name in Settings.model_fields}

    named = re.findall(r"LAKEDROP_[A-Z_]*[A-Z]", page.read_text("utf-8"))
    assert {name.partition("__")[0] for name in named} <= known


def test_every_reason_a_file_fails_for_is_explained() -> None:
    reasons = {
        name
        for module in (errors, refusals)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, PermanentError) and not value.__subclasses__()
    }

    explained = set(re.findall(r"`([A-Z]\w+)`", (ROOT / "docs" / "csv.md").read_text("utf-8")))

    assert reasons - explained == set()


def test_architecture_names_only_modules_that_exist() -> None:
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "architecture.md").read_text("utf-8"), re.MULTILINE)
    missing = []
    for row in table:
        names = re.findall(r"`([^`]+)`", row)
        folder = names[0].rpartition("/")[0]
        for name in names:
            path = name if "/" in name else f"{folder}/{name}"
            if not list(ROOT.glob(f"{path.rstrip('/')}.py" if not path.endswith("/") else path)):
                missing.append(path)

    assert missing == []


def commands_in(text: str) -> set[str]:
    """Return the `lakedrop ...` commands of a page or module: in code spans, in console examples, after a prompt."""
    spans = re.findall(r"`(?:\.venv/bin/)?lakedrop ([^`\n]+)`", text)
    prompts = re.findall(r"^\$ (?:\.venv/bin/)?lakedrop (.+)$", text, re.MULTILINE)
    return {found.partition(" #")[0].strip() for found in (*spans, *prompts)}


def fault_of(words: list[str]) -> str | None:
    """Return what is wrong with a command line, None when each command and option exists."""
    command: click.Command = cli
    for word in words:
        if word.startswith("--"):
            known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            if word.partition("=")[0] not in {*known, "--help"}:
                return f"no option {word}"
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            if found is None:
                return f"no command {word}"
            command = found
    return None


@pytest.mark.parametrize(
    "page",
    [*PAGES, *sorted(ROOT.glob("consumer/*.py")), *sorted(ROOT.glob("handlers/**/*.py"))],
    ids=name_of,
)
def test_commands_that_people_are_told_to_run_exist(page: Path) -> None:
    faults = {
        command: fault
        for command in sorted(commands_in(page.read_text("utf-8")))
        if (fault := fault_of(shlex.split(command)))
    }

    assert faults == {}


def test_every_exit_code_is_explained() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}

    page = (ROOT / "docs" / "operations.md").read_text("utf-8")

    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes


@pytest.mark.parametrize(
    "record",
    [
        status.StatusReport,
        status.Group,
        status.Unsettled,
        status.Failed,
        status.SinkAway,
        task_report.TaskGroup,
        task_report.TaskState,
        sweep_report.Report,
        sweep_certificate.Certificate,
        plan_report.Planned,
        plan_report.Target,
        plan_report.Totals,
        why.Why,
        why.Stored,
        why.Holding,
        why.Moment,
    ],
    ids=lambda record: record.__qualname__,
)
def test_every_key_of_the_json_is_described(record: type) -> None:
    section = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("## JSON of")[2]

    assert {field.name for field in fields(record)} <= set(re.findall(r"`(\w+)`", section))


@pytest.mark.parametrize(
    "lock",
    [*(f"requirements{which}.lock" for which in ("", "-dev", "-bench")), "tests/stack/superset-requirements.txt"],
)
def test_lock_files_are_hashed_and_name_no_index(lock: str) -> None:
    lines = (ROOT / lock).read_text("utf-8").splitlines()
    pins = [number for number, line in enumerate(lines) if re.match(r"[\w.-]+==", line)]

    assert pins
    assert all("--hash=sha256:" in lines[number + 1] for number in pins)
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    names = {
        re.split(r"[\[<>=!~;\s]", requirement, maxsplit=1)[0].lower()
        for requirement in project["project"]["dependencies"]
    }
    locked = {
        line.split("==")[0] for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if "==" in line
    }

    assert names <= locked
