"""Who may import whom, as docs/architecture.md draws it."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PURE_NAMES = (
    "event_dialects", "event_records", "events", "notify", "protocol", "retry", "router", "seaweed_events",
    "seaweed_pb2", "workitem",
)  # fmt: skip
PURE = frozenset(f"consumer/{name}.py" for name in PURE_NAMES)
PURE_MODULES = frozenset(path.removesuffix(".py").replace("/", ".") for path in PURE)

INPUT_AND_OUTPUT = (
    "aiobotocore", "aiohttp", "aio_pika", "asyncio", "concurrent", "duckdb", "grpc", "http", "io", "logging",
    "multiprocessing", "os", "pathlib", "pyarrow", "pyiceberg", "random", "secrets", "select", "shutil", "signal",
    "socket", "sqlalchemy", "sqlite3", "structlog", "subprocess", "tempfile", "threading", "time", "urllib.request",
    "uuid", "inotify_simple", "watchfiles",
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
        "only kinds*.py name a handler; the others know the contract",
        ("consumer/*.py",),
        ("handlers",),
        but=("consumer/kinds*.py",),
        allowed=("handlers.contract", "handlers.planner", "handlers.tasks", "handlers.upkeep"),
    ),
    Rule(
        "SQL stands in the ledger alone",  # and one place knows the errors of PyIceberg's
        EVERYTHING,
        ("sqlalchemy",),
        but=("consumer/ledger*.py", "handlers/csv_to_iceberg/lake/away.py", "handlers/dataset_catalogue/*.py"),
    ),
    Rule("no way around the ledger", ("consumer/*.py",), ("sqlite3",), but=("consumer/ledger*.py",)),
    Rule(
        "RabbitMQ is spoken behind the broker alone",
        EVERYTHING,
        ("aio_pika", "aiormq", "pamqp"),
        but=("consumer/broker*.py",),
    ),
    Rule("the port knows no broker", ("consumer/broker_port.py",), ("aio_pika", "aiormq", "pamqp")),
    Rule("S3 is spoken in s3_*.py alone", EVERYTHING, ("aiobotocore", "botocore", "boto3"), but=("consumer/s3_*.py",)),
    Rule("the filer is spoken to in one place", EVERYTHING, ("grpc",), but=("consumer/seaweed*.py",)),
    Rule(
        "REST is spoken in one place for each server",
        ("handlers/**/*.py",),
        ("aiohttp",),
        but=(
            "handlers/once.py",
            "handlers/csv_to_iceberg/superset*.py",
            "handlers/esco_index/rest.py",
            "handlers/argilla_records/api.py",
        ),
    ),
    Rule("Weaviate's client has one place", EVERYTHING, ("weaviate",), but=("handlers/esco_index/index.py",)),
    Rule(
        "what a release says is decided without Weaviate",
        ("handlers/esco_index/joins.py", "handlers/esco_index/objects.py", "handlers/esco_index/reading.py"),
        ("weaviate", "aiohttp", "handlers.esco_index.index", "handlers.esco_index.rest"),
    ),
    Rule(
        "blocking HTTP is spoken in few places",  # and one knows the errors of PyIceberg's
        EVERYTHING,
        ("requests", "trino", "urllib3"),
        but=(
            "handlers/csv_to_iceberg/trino_client.py",
            "handlers/csv_to_iceberg/lake/away.py",
            "handlers/answers.py",
            "handlers/embedders.py",
            "handlers/silo_staging/downloader.py",
            "handlers/silo_staging/lineage.py",
            "handlers/dataset_catalogue/web.py",
            "handlers/dataset_catalogue/vectors_weaviate.py",
            "handlers/dataset_catalogue/kaggle_client.py",
        ),
    ),
    Rule(
        "Kaggle is spoken to in one place",
        EVERYTHING,
        ("kagglesdk",),
        but=("handlers/dataset_catalogue/kaggle_client.py",),
    ),
    Rule(
        "Hugging Face is spoken to in one place",
        EVERYTHING,
        ("huggingface_hub", "httpx2"),
        but=("handlers/dataset_catalogue/hub_client.py",),
    ),
    Rule(
        "folders are watched in one place",
        EVERYTHING,
        ("inotify_simple", "watchfiles"),
        but=("consumer/watch_inotify.py", "consumer/watch_anywhere.py"),
    ),
    Rule("decisions touch neither world, clock nor chance", tuple(PURE), INPUT_AND_OUTPUT),
    Rule("decisions stand on decisions", tuple(PURE), ("consumer",), allowed=tuple(PURE_MODULES)),
    Rule(
        "the contract stands on the standard library",
        ("handlers/contract.py", "handlers/planner.py", "handlers/tasks.py", "handlers/upkeep.py"),
        ("pydantic", "pyarrow", "duckdb", "numpy"),
    ),
)


@functools.cache
def imports_of(path: Path) -> list[tuple[int, str]]:
    """Return line and dotted name of every import; `from a import b` counts as both `a` and `a.b`, hence the last."""
    return list(_imports_of(path))


def _imports_of(path: Path) -> Iterator[tuple[int, str]]:
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
    missing = [pattern for rule in RULES for pattern in (*rule.of, *rule.but) if not files((pattern,))]

    assert missing == []


def test_a_forbidden_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    culprit = tmp_path / "handlers" / "some_sink" / "sink.py"
    culprit.parent.mkdir(parents=True)
    culprit.write_text("import os\ndef late():\n    from consumer import ledger\n    from ..contract import Unit\n")

    assert breaches(RULES[0], files(RULES[0].of)) == ["handlers/some_sink/sink.py:3 imports consumer.ledger"]
    assert imports_of(culprit) == [(1, "os"), (3, "consumer.ledger"), (4, "handlers.contract.Unit")]
