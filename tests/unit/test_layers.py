"""Who may import whom, as docs/architecture.md draws it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PURE = frozenset(f"consumer/{name}.py" for name in ("events", "protocol", "retry", "router", "workitem"))
PURE_MODULES = frozenset(path.removesuffix(".py").replace("/", ".") for path in PURE)

INPUT_AND_OUTPUT = (
    "aiobotocore", "aiohttp", "aio_pika", "asyncio", "concurrent", "duckdb", "http", "io", "logging", "multiprocessing",
    "os", "pathlib", "pyarrow", "pyiceberg", "random", "secrets", "select", "shutil", "signal", "socket", "sqlalchemy",
    "sqlite3", "structlog", "subprocess", "tempfile", "threading", "time", "urllib.request", "uuid", "watchfiles",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """Files matching `of` may import nothing below `forbidden`, unless they match `but`."""

    name: str
    of: tuple[str, ...]
    forbidden: tuple[str, ...]
    but: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


EVERYTHING = ("consumer/*.py", "handlers/**/*.py")

RULES = (
    Rule("handlers know nothing of the consumer", ("handlers/**/*.py",), ("consumer",)),
    Rule(
        "reading files knows nothing of tables",
        ("handlers/csv_to_iceberg/csv/*.py",),
        ("handlers.csv_to_iceberg.lake", "pyiceberg", "duckdb"),
    ),
    Rule(
        "only kinds.py names a handler; the others know the contract",
        ("consumer/*.py",),
        ("handlers",),
        but=("consumer/kinds.py",),
        allowed=("handlers.contract",),
    ),
    Rule("SQL stands in the ledger alone", EVERYTHING, ("sqlalchemy",), but=("consumer/ledger*.py",)),
    Rule("no way around the ledger", ("consumer/*.py",), ("sqlite3",), but=("consumer/ledger*.py",)),
    Rule("RabbitMQ is spoken in broker.py alone", EVERYTHING, ("aio_pika", "aiormq"), but=("consumer/broker.py",)),
    Rule("S3 is spoken in store.py alone", EVERYTHING, ("aiobotocore", "botocore"), but=("consumer/store.py",)),
    Rule("folders are watched in one place", EVERYTHING, ("watchfiles",), but=("consumer/folder_events.py",)),
    Rule("decisions touch neither world, clock nor chance", tuple(PURE), INPUT_AND_OUTPUT),
    Rule("decisions stand on decisions", tuple(PURE), ("consumer",), allowed=tuple(PURE_MODULES)),
    Rule(
        "the contract stands on the standard library",
        ("handlers/contract.py",),
        ("pydantic", "pyarrow", "duckdb", "numpy"),
    ),
)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import; `from a import b` counts as both `a` and `a.b`, hence the last."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*package[: len(package) - node.level + 1], node.module or ""]) if node.level else node.module
            )
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def is_below(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def files(patterns: tuple[str, ...]) -> set[Path]:
    return {path for pattern in patterns for path in ROOT.glob(pattern)}


def breaches(rule: Rule, paths: set[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sorted(paths)
        for line, module in imports_of(path)
        if is_below(module, rule.forbidden) and not is_below(module, rule.allowed)
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_imports_point_one_way(rule: Rule) -> None:
    assert breaches(rule, files(rule.of) - files(rule.but)) == []


def test_every_rule_speaks_of_files_that_exist() -> None:
    later = {"consumer/broker.py"}  # names whose module comes with RabbitMQ

    missing = [pattern for rule in RULES for pattern in (*rule.of, *rule.but) if not files((pattern,))]

    assert set(missing) <= later


def test_a_forbidden_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    culprit = tmp_path / "handlers" / "some_sink" / "sink.py"
    culprit.parent.mkdir(parents=True)
    culprit.write_text("import os\ndef late():\n    from consumer import ledger\n    from ..contract import Unit\n")

    assert breaches(RULES[0], files(RULES[0].of)) == ["handlers/some_sink/sink.py:3 imports consumer.ledger"]
    assert list(imports_of(culprit)) == [(1, "os"), (3, "consumer.ledger"), (4, "handlers.contract.Unit")]
