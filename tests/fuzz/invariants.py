"""What must hold for whatever bytes somebody uploads."""

from __future__ import annotations

import io
import resource
import time
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from handlers.contract import PermanentError
from handlers.csv_to_iceberg.csv.columns import Pins
from handlers.csv_to_iceberg.csv.cook import NO_ROWS, cook
from handlers.csv_to_iceberg.csv.decompress import unpacked
from handlers.csv_to_iceberg.csv.inspection import inspect
from handlers.csv_to_iceberg.csv.memory import Memory
from handlers.csv_to_iceberg.csv.options import MIB, Options
from handlers.csv_to_iceberg.csv.results import Report, SmallFile, Source
from tests.fuzz.case import Case, case_of
from tests.fuzz.judge import judged
from tests.unit.csv.reading import streamed

MOST_SECONDS: Final = 5.0
"""Of processor time for a case of a few kB."""
MOST_MEMORY: Final = 200 * MIB
"""Growth of the process over one case."""


class Broken(AssertionError):
    """An invariant that does not hold. `rule` is its name; findings of one rule and place are one."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    failure: str | None
    table: pa.Table | None = None
    report: Report | None = None


def examine(data: bytes) -> None:
    """
    Read what the bytes stand for in every way there is.

    Raises:
        Broken: An invariant does not hold.
        Exception: The reader did not expect these bytes.
    """
    case = case_of(data)
    began, resident = time.process_time(), _peak()
    _examine(case)
    seconds = time.process_time() - began
    if seconds > MOST_SECONDS:
        raise Broken("time is bounded", f"{seconds:.1f} s for {len(data)} bytes")
    if (grown := _peak() - resident) > MOST_MEMORY:
        raise Broken("memory is bounded", f"{grown >> 20} MiB for {len(data)} bytes")


def _examine(case: Case) -> None:
    alone = [_examine_file(file, case) for file in case.files]
    if len(case.files) > 1:
        _examine_batch(case, alone)


def _examine_file(data: bytes, case: Case) -> Outcome:
    memory = Memory()
    pins: Pins = {}
    cooked, pins = _cooked(data, pins, memory, case.options)
    _same("a stream reads what a cook reads", cooked, _streamed(data, case))
    _same("trying a file says what ingesting it does", cooked, _inspected(data, case))
    if cooked.report is not None and cooked.table is not None and cooked.report.rows:
        again, _ = _cooked(data, pins, memory, case.options)
        _same_rows("a remembered layout changes nothing", cooked, again)
        _judge(data, cooked, case)
    return cooked


def _examine_batch(case: Case, alone: list[Outcome]) -> None:
    files = [SmallFile(Source(f"t/{i}.csv", "e"), data) for i, data in enumerate(case.files)]
    result = cook(files, {}, Memory(), case.options)
    parts = {part.source.key: part for part in result.parts}
    for file, single in zip(files, alone, strict=True):
        key = file.source.key
        found = sum((key in parts, key in result.failures, key in result.too_large))
        if found != 1:
            raise Broken("each file of a batch has one outcome", f"{key} has {found}")
        if key in result.failures:
            outcome = Outcome(type(result.failures[key]).__name__)
        else:
            outcome = Outcome(None, parts[key].table, parts[key].report)
            _accounted(outcome)
        if (outcome.failure is None) != (single.failure is None):
            raise Broken("neighbours do not decide whether a file fails", f"{outcome.failure} and {single.failure}")
        if outcome.report and single.report and _layout(outcome.report) == _layout(single.report):
            counts = (outcome.report.records, outcome.report.rejected)
            if counts != (single.report.records, single.report.rejected):
                raise Broken("neighbours change no count", f"{counts} and {single.report}")


def _cooked(data: bytes, pins: Pins, memory: Memory, options: Options) -> tuple[Outcome, Pins]:
    result = cook([SmallFile(Source("t/f.csv", "e"), data)], pins, memory, options)
    if result.too_large:
        raise Broken("small files are cooked", "too large")
    for failure in result.failures.values():
        return Outcome(type(failure).__name__), result.pins
    (part,) = result.parts
    outcome = Outcome(None, part.table, part.report)
    _accounted(outcome)
    return outcome, result.pins


def _streamed(data: bytes, case: Case) -> Outcome:
    try:
        reading = streamed(data, step=case.step, block=case.block, **case.options.model_dump())
    except PermanentError as error:
        return Outcome(type(error).__name__)
    outcome = Outcome(None, reading.table, reading.report)
    _accounted(outcome)
    return outcome


def _inspected(data: bytes, case: Case) -> Outcome:
    try:
        inspection = inspect(lambda: io.BytesIO(data), "f.csv", case.options)
    except PermanentError as error:
        return Outcome(type(error).__name__)
    return Outcome(None, None, inspection.report)


def _accounted(outcome: Outcome) -> None:
    report, table = outcome.report, outcome.table
    if report is None or table is None:
        return
    if report.records != report.rows + report.rejected or report.rows != table.num_rows:
        raise Broken("every record is a row or rejected", f"{report}, {table.num_rows} rows")
    if len(report.rejects) != min(report.rejected, 20):
        raise Broken("rejected records are told", f"{report}")
    table.validate(full=True)


def _same(rule: str, one: Outcome, other: Outcome) -> None:
    if one.failure != other.failure:
        raise Broken(rule, f"{one.failure} and {other.failure}")
    if one.report is None or other.report is None:
        return
    mine, others = _told(one.report), _told(other.report)
    if apart := [f"{name}: {mine[name]!r} and {others[name]!r}" for name in mine if mine[name] != others[name]]:
        raise Broken(rule, "; ".join(apart))
    if one.table is not None and other.table is not None and one.report.rows:
        _same_rows(rule, one, other)


def _same_rows(rule: str, one: Outcome, other: Outcome) -> None:
    if one.table is None or other.table is None:
        raise Broken(rule, f"{one.failure} and {other.failure}")
    if one.table.schema.names != other.table.schema.names or repr(one.table.to_pylist()) != repr(
        other.table.to_pylist()
    ):
        raise Broken(rule, f"{one.table.to_pylist()} and {other.table.to_pylist()}")


def _layout(report: Report) -> tuple[object, ...]:
    return report.delimiter, report.quote, report.escape, report.header_line, report.encoding, report.compression


def _told(report: Report) -> dict[str, object]:
    """Return what a report says, without the lines of rejects: a stream cannot always tell them."""
    told = {name: getattr(report, name) for name in Report.__slots__}
    told["kept"] = None if report.kept is None else report.kept.drop_columns(["line"]).to_pylist()
    told["columns"] = [(column.name, column.type) for column in report.columns] if report.rows else []
    told["rejects"] = [(reject.record, reject.text, reject.reason) for reject in report.rejects]
    told["warnings"] = [warning for warning in report.warnings if warning != NO_ROWS]
    return told


def _judge(data: bytes, outcome: Outcome, case: Case) -> None:
    report, table = outcome.report, outcome.table
    assert report is not None
    assert table is not None
    records = judged(_text(data, report, case.options), report)
    if records is None:
        return
    # Records above the header are none that Python is shown.
    if len(records) != report.records - sum(reject.record == 0 for reject in report.rejects):
        raise Broken("as many records as Python finds", f"{len(records)} for {report}")
    cells = table.drop_columns(["_rescued"])
    if (
        case.options.types != "varchar"
        or report.rejected
        or any(len(record) != cells.num_columns for record in records)
    ):
        return
    if [list(row.values()) for row in cells.to_pylist()] != [[cell or None for cell in record] for record in records]:
        raise Broken("cells are what Python finds", f"{cells.to_pylist()} for {records}")


def _text(data: bytes, report: Report, options: Options) -> str:
    _, chunks = unpacked(iter([data]), options)
    plain = b"".join(chunks)
    return plain.decode(report.encoding).removeprefix("\ufeff")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
