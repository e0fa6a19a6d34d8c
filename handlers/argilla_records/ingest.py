"""One version of a folder into its dataset: compared first, then written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from handlers.argilla_records.api import Api
from handlers.argilla_records.comparison import NAMED, Comparison, Tally, rejected_step, there_of
from handlers.argilla_records.dataset import MOST_LABELS, Dataset, Datasets, labels_fault
from handlers.argilla_records.listing import read_all
from handlers.argilla_records.log import Entry, IngestLog, folder_uri
from handlers.argilla_records.mapping import Mapping as DatasetMapping
from handlers.argilla_records.options import LABELLED, Options, Question
from handlers.argilla_records.records import RecordMaker
from handlers.argilla_records.scratch import Scratch, Step
from handlers.argilla_records.sending import MOST, MOST_BYTES, Annotated, Sending
from handlers.argilla_records.source import Source
from handlers.argilla_records.suggestions import labels_in
from handlers.contract import (
    Claim,
    HandlerContext,
    PermanentError,
    Receipt,
    SinkAway,
    TransientError,
    Unit,
    check_claim,
)

COMPARISONS: Final = 5
"""Times that a file is compared anew because somebody answered about a record that was to change."""

REINDEX: Final = "python -m argilla_server search-engine reindex"
"""What Argilla has for an index that lacks records."""


class Ingest:
    """
    Brings one dataset to the state of one version of a folder.

    Args:
        api: Of the server.
        log: What is known of the folder besides.
        context: What the consumer offers.
        lane: On which work blocks.
        unit: The folder.
        claim: On it.
        mapping: Of the folder.
        entries: Its objects, as the log has them.
        doubts: Records that the search index may lack.
        pauses: Seconds before a call that Argilla failed at is repeated.
    """

    def __init__(
        self,
        *,
        api: Api,
        log: IngestLog,
        context: HandlerContext,
        lane: str,
        unit: Unit,
        claim: Claim,
        mapping: DatasetMapping,
        entries: Sequence[Entry],
        doubts: Sequence[str],
        pauses: Sequence[float],
    ) -> None:
        self._api = api
        self._may_write = partial(check_claim, context, claim.token)
        self._datasets = Datasets(api, self._may_write)
        self._log = log
        self._context = context
        self._lane = lane
        self._claim = claim
        self._mapping = mapping
        self._entries = entries
        self._doubts = doubts
        self._pauses = pauses
        self._options: Options = unit.options
        self._name = f"{unit.bucket}/{unit.name}"
        self._folder = folder_uri(unit.bucket, unit.name)

    async def run(self, source: Source, version: str) -> Receipt:
        """
        Compare and write, and compare again where people worked meanwhile.

        Raises:
            PermanentError: The file, or the dataset, is not as it must be.
            HandlerError: See the contract.
        """
        for _ in range(COMPARISONS):
            scratch = await self._context.run(self._lane, Scratch, source.folder)
            try:
                return await self._once(source, scratch, version)
            except Annotated:
                continue
            finally:
                await self._context.run(self._lane, scratch.close)
        raise TransientError(f"{self._api.place}: people answer about records that are to change; tried again later")

    async def _once(self, source: Source, scratch: Scratch, version: str) -> Receipt:
        mapping = self._mapping
        types = await self._context.run(self._lane, source.metadata_types, mapping)
        dataset = await self._datasets.find(mapping.workspace, mapping.name)
        self._refuse_shared(dataset)
        if dataset is not None and await self._is_hollow(dataset):
            await self._datasets.delete(dataset)
            dataset = None
        questions = await self._labelled(source, dataset)
        if dataset is not None:
            await self._datasets.check(dataset, mapping, questions, types)
        again = dataset is not None and dataset.ready and await self._lacks_index(dataset)
        await self._list(scratch, dataset)
        labels = {name: frozenset(one.labels) for name, one in questions.items() if one.type in LABELLED}
        owned = dataset is None or dataset.tagged == self._name
        maker = RecordMaker(mapping, types, labels)
        comparison = Comparison(scratch, maker, mapping, self._options, again=again, owned=owned)
        await self._compare(source, scratch, comparison)
        await self._may_write()
        self._claim.staged()
        await self._log.mark(mapping.name, self._entries, "ingesting")
        dataset = await self._datasets.made(mapping, self._name)
        self._refuse_shared(dataset)
        ids = await self._datasets.shape(dataset, mapping, questions, types)
        await self._carry_out(scratch, dataset, ids, comparison.tally)
        return await self._finished(scratch, dataset, comparison.tally, version)

    def _refuse_shared(self, dataset: Dataset | None) -> None:
        if dataset is not None and dataset.tagged not in (None, self._name):
            raise PermanentError(
                f"dataset {dataset.name!r} is that of {dataset.tagged}, and two folders cannot share one: give this "
                "one another `name` in dataset.yaml"
            )

    async def _labelled(self, source: Source, dataset: Dataset | None) -> dict[str, Question]:
        """Return the questions with the labels that they have or get: the dataset's, the mapping's, the file's."""
        mapping = self._mapping
        there = {} if dataset is None else await self._datasets.labels(dataset)
        questions = dict(mapping.questions)
        open_ = [name for name, one in questions.items() if one.type in LABELLED and not one.labels]
        for name in [name for name in open_ if name in there]:
            questions[name] = replace_labels(questions[name], sorted(there[name]))
            open_.remove(name)
        if open_ and mapping.suggestions_column:
            found: dict[str, set[str]] = {name: set() for name in open_}
            batches = source.rows([mapping.suggestions_column])
            while await self._context.run(self._lane, self._gather, batches, found):
                pass
            for name in open_:
                questions[name] = replace_labels(questions[name], sorted(found[name]))
        for name in open_:
            if fault := labels_fault(name, questions[name]):
                raise PermanentError(fault)
        return questions

    def _gather(self, batches: Iterator[list[dict[str, Any]]], found: Mapping[str, set[str]]) -> bool:
        column = self._mapping.suggestions_column or ""
        rows = next(batches, None)
        for row in rows or ():
            for name, label in labels_in(row[column], self._mapping.questions):
                if name in found and len(found[name]) <= MOST_LABELS:
                    found[name].add(label)
        return rows is not None

    async def _is_hollow(self, dataset: Dataset) -> bool:
        """
        Tell whether a dataset of ours was published while the engine was away, and has nothing yet.

        Argilla marks it as published before it makes the index, so it would be without one for ever.
        """
        if not dataset.ready or dataset.tagged != self._name or await self._datasets.stored(dataset):
            return False
        try:
            await self._datasets.indexed(dataset)
        except SinkAway:
            raise
        except TransientError:
            await self._api.get("status")  # raises when the engine is away still
            return True
        return False

    async def _lacks_index(self, dataset: Dataset) -> bool:
        """Tell whether the search index has fewer records than the database; it may also be gone altogether."""
        try:
            return await self._datasets.indexed(dataset) < await self._datasets.stored(dataset)
        except SinkAway:
            raise
        except TransientError:
            await self._api.get("status")  # raises when the engine is away: what would be stored now is not indexed
            return True

    async def _list(self, scratch: Scratch, dataset: Dataset | None) -> None:
        """Have the records of the dataset, and those that its index may lack, in the scratch tables."""
        if dataset is None:
            return
        names = {identity: name for name, identity in (await self._datasets.question_ids(dataset)).items()}
        mapping = self._mapping

        def put(page: Sequence[dict[str, Any]]) -> None:
            found = [there_of(one, mapping.metadata_columns, names, mapping.text_column) for one in page]
            scratch.put_there(one for one in found if one is not None)
            scratch.put_nameless(one["id"] for one in page if one.get("external_id") is None)

        async def taken(page: Sequence[dict[str, Any]]) -> None:
            await self._context.run(self._lane, put, page)

        async def known() -> int:
            return await self._context.run(self._lane, scratch.count_there)

        await read_all(self._api, dataset.id, taken, known)
        if self._doubts:
            await self._context.run(self._lane, scratch.put_doubts, self._doubts)

    async def _compare(self, source: Source, scratch: Scratch, comparison: Comparison) -> None:
        batches = source.rows(self._mapping.columns)

        def step() -> bool:
            rows = next(batches, None)
            if rows is None:
                comparison.finish()
                return False
            comparison.take(rows)
            return True

        while await self._context.run(self._lane, step):
            pass
        if not comparison.tally.counts["rows"]:
            first = await self._context.run(self._lane, lambda: next(scratch.rejects(1), None))
            if first is not None:
                await self._may_write()
                kept = partial(scratch.rejects, self._options.max_rejects)
                await self._log.put_rejects(self._folder, self._claim.fingerprint, kept)
                said = f"None of its records can be taken; row {first.row}: {first.reason}"
                labels = _said(comparison.tally, "unknown_label")
                raise PermanentError(said if labels is None else f"{said}; {labels}")

    async def _carry_out(self, scratch: Scratch, dataset: Dataset, ids: Mapping[str, str], tally: Tally) -> None:
        async def rejected(step: Step, reason: str) -> None:
            tally.counts["rows"] -= 1
            await self._context.run(self._lane, scratch.reject, rejected_step(step, reason))

        sending = Sending(
            self._api,
            dataset.id,
            ids,
            may_write=self._may_write,
            rejected=rejected,
            doubtful=partial(self._log.put_doubts, self._folder),
            pauses=self._pauses,
        )
        done = 0
        while True:
            steps, last = await self._context.run(self._lane, scratch.parcel, done, MOST, MOST_BYTES)
            if not steps:
                return
            await sending.carry_out(steps)
            done = last

    async def _finished(self, scratch: Scratch, dataset: Dataset, tally: Tally, version: str) -> Receipt:
        """See that the index has what the database has, and write down what there is."""
        stored = await self._datasets.stored(dataset)
        try:
            indexed = await self._datasets.indexed(dataset)
        except TransientError as error:
            raise TransientError(
                f"{stored:,} records are stored, and the search index cannot be asked: {error.message}. If the "
                f"engine answers, its index is gone: {REINDEX}"
            ) from error
        if indexed < stored:
            raise TransientError(
                f"{stored:,} records are stored and {indexed:,} of them indexed; they are sent again. If it stays so: "
                f"{REINDEX}"
            )
        rejected, named = await self._context.run(
            self._lane, lambda: (scratch.count_rejects(), list(scratch.rejects(NAMED)))
        )
        rows = tally.counts["rows"]
        counts = {"rows": rows, "rejected": rejected, "others": max(stored - rows, 0)}
        counts |= {kind: tally.counts[kind] for kind in ("kept", "overwritten", "beside") if tally.counts[kind]}
        mapping = self._mapping
        message = {"workspace": mapping.workspace, **counts}
        await self._may_write()
        await self._log.ingested(
            self._folder,
            mapping.name,
            self._entries,
            message,
            fingerprint=self._claim.fingerprint,
            rejects=partial(scratch.rejects, self._options.max_rejects),
        )
        done = {kind: number for kind, number in tally.counts.items() if kind != "rows" and number}
        detail = {
            "dataset": dataset.id,
            "done": done,
            "warnings": list(_warnings(tally)),
            "rejects": [
                {"record": one.row, "line": None, "text": one.content[:1000], "reason": one.reason} for one in named
            ],
        }
        return Receipt(self._claim.fingerprint, version, f"{mapping.workspace}/{mapping.name}", counts, detail)


def replace_labels(question: Question, labels: Sequence[str]) -> Question:
    """Return a question with labels."""
    return question.model_copy(update={"labels": tuple(labels)})


_SAID: Final = {
    "unknown_label": "were rejected for labels that the dataset does not have, and Argilla takes none after it was "
    "published; give it another `name`, with all `labels` of its questions, or correct the records",
    "kept": "have responses, and keep their text though the file has another (on_text_change = keep)",
    "overwritten": "have responses to a text that was overwritten: their offsets are of the old one",
    "beside": "are beside annotated records whose text changed",
    "vanished_annotated": "are not in the file any more, and stay because they have responses",
}


def _said(tally: Tally, kind: str) -> str | None:
    number, named = tally.counts[kind], tally.named.get(kind, [])
    if not number:
        return None
    return f"{number:,} records {_SAID[kind]}: {', '.join(named)}{', …' if number > len(named) == NAMED else ''}"


def _warnings(tally: Tally) -> Iterator[str]:
    """Say what a person should know of records that people worked on."""
    yield from (said for kind in _SAID if (said := _said(tally, kind)) is not None)
    if number := tally.counts["vanished_kept"]:
        yield f"{number:,} records of the dataset are not in the file, and stay (on_vanished = keep)"
