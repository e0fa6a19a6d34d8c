"""What has to be done so that a dataset shows a file: record by record against what the dataset has. Blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from handlers.argilla_records.mapping import Mapping as DatasetMapping
from handlers.argilla_records.options import Options
from handlers.argilla_records.records import (
    Record,
    RecordMaker,
    external_id,
    metadata_digest,
    suggestion_digest,
    text_digest,
)
from handlers.argilla_records.scratch import Reject, Scratch, Step, There
from handlers.argilla_records.suggestions import BadRecord, Suggestion

LONGEST: Final = 2000
"""Characters of a rejected row that are kept of each of its cells, of its identifier, and of the reason."""

SHOWN: Final = 100
"""Characters of a label that are named."""

NAMED: Final = 20
"""Records of a kind that are named; all are counted."""


def there_of(
    answer: Mapping[str, Any], columns: Collection[str], questions: Mapping[str, str], text: str
) -> There | None:
    """
    Return what is remembered of a record as Argilla tells it; None of one without an identifier of ours.

    Args:
        answer: An item of `GET /datasets/{id}/records`, with suggestions and responses.
        columns: Names of the mapping's metadata.
        questions: Names of the mapping's questions by their ids.
        text: Name of the text's field.
    """
    if answer.get("external_id") is None:
        return None
    metadata = {name: value for name, value in (answer.get("metadata") or {}).items() if value is not None}
    ours = {name: value for name, value in metadata.items() if name in columns}
    others = {name: value for name, value in metadata.items() if name not in columns}
    suggestions = {
        questions[one["question_id"]]: (
            one["id"],
            suggestion_digest(one["value"], one.get("score"), one.get("agent"), one.get("type")),
        )
        for one in answer.get("suggestions") or ()
        if one["question_id"] in questions
    }
    return There(
        answer["external_id"],
        answer["id"],
        text_digest(str(answer["fields"].get(text))),
        metadata_digest(ours),
        orjson.dumps(others).decode() if others else None,
        int(bool(answer.get("responses"))),
        orjson.dumps(suggestions).decode(),
    )


@dataclass(slots=True)
class Tally:
    """What came of the rows of a file."""

    counts: Counter[str] = field(default_factory=Counter)
    """`rows` that are records, and what is done with them: `new`, `changed`, `unchanged`, `kept`, ..."""
    named: dict[str, list[str]] = field(default_factory=dict)
    """The first identifiers, or labels, of kinds that a person should look at."""

    def name(self, kind: str, identity: str) -> None:
        """Count a record of a kind that a person should look at, and name what it is about."""
        self.counts[kind] += 1
        names = self.named.setdefault(kind, [])
        if len(names) < NAMED and identity not in names:
            names.append(identity)


class Comparison:
    """
    Compares the rows of a file with the records of a dataset, and notes what is to be done.

    Args:
        scratch: Knows the records of the dataset.
        maker: Makes records of rows.
        mapping: Of the file.
        options: Of the route: what happens to annotated and to vanished records.
        again: All records are sent once more, so that the search index has them.
        owned: The dataset was made for this file; records of one that was there before do not vanish.
    """

    def __init__(
        self,
        scratch: Scratch,
        maker: RecordMaker,
        mapping: DatasetMapping,
        options: Options,
        *,
        again: bool,
        owned: bool,
    ) -> None:
        self.tally = Tally()
        self._scratch = scratch
        self._maker = maker
        self._mapping = mapping
        self._options = options
        self._again = again
        self._on_vanished = options.on_vanished if owned else "keep"
        self._row = 0

    def take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Compare the next rows."""
        for row in rows:
            self._row += 1
            try:
                self._see(row)
                record = self._maker.make(row)
            except BadRecord as error:
                self._reject(row, error)
                continue
            self.tally.counts["rows"] += 1
            self._compare(record)

    def finish(self) -> None:
        """Note what is to be done with records that the file does not have."""
        for there in self._scratch.vanished():
            if self._on_vanished == "keep":
                self.tally.counts["vanished_kept"] += 1
            elif there.annotated and self._on_vanished == "delete":
                self.tally.name("vanished_annotated", there.external_id)
            else:
                self.tally.counts["deleted"] += 1
                spares = self._on_vanished == "delete"
                self._scratch.put_step(Step(there.external_id, 0, id=there.id, deletes=True, spares=spares))

    def _see(self, row: Mapping[str, Any]) -> None:
        """Remember that the file has a record, also one that is rejected: what the dataset has of it did not vanish."""
        identity = external_id(row[self._mapping.id_column])
        first = self._scratch.see(identity, self._row)
        if first != self._row:
            raise BadRecord(f"the identifier {identity!r} is that of row {first:,} too; the first one counts")

    def _reject(self, row: Mapping[str, Any], error: BadRecord) -> None:
        if error.label is not None:
            self.tally.name("unknown_label", error.label[:SHOWN])
        identity = row[self._mapping.id_column]
        self._scratch.reject(_rejected(self._row, None if identity is None else str(identity), str(error), row))

    def _compare(self, record: Record) -> None:
        there = self._scratch.there(record.external_id)
        if there is None:
            self._new(record.external_id, record)
            return
        digest = text_digest(record.text)
        if there.text == digest:
            self._update(there, record)
        elif not there.annotated:
            self._retext(there, record, spares=True)
        elif self._options.on_text_change == "overwrite":
            self.tally.name("overwritten", record.external_id)
            self._retext(there, record, spares=False)
        elif self._options.on_text_change == "new_record":
            self._beside(f"{record.external_id}@{digest[:8]}", record)
        else:
            self.tally.name("kept", record.external_id)
            self._index(there)

    def _beside(self, identity: str, record: Record) -> None:
        """Have the new text beside an annotated record, under a name that follows from it."""
        self._scratch.see(identity, self._row)
        self.tally.name("beside", identity)
        there = self._scratch.there(identity)
        if there is None:
            self._new(identity, record)
        else:
            self._update(there, record)

    def _new(self, identity: str, record: Record) -> None:
        self.tally.counts["new"] += 1
        item = {
            "external_id": identity,
            "fields": {self._mapping.text_column: record.text},
            "metadata": record.metadata,
            "suggestions": [_suggestion(one) for one in record.suggestions],
        }
        self._scratch.put_step(Step(identity, self._row, item=item))

    def _retext(self, there: There, record: Record, *, spares: bool) -> None:
        fields = {self._mapping.text_column: record.text}
        changes = self._changes(there, record)
        # All suggestions are sent again, for they are of the new text.
        changes["suggestions"] = [_suggestion(one) for one in record.suggestions]
        self._step(there, changes, self._gone(there, record), fields, spares=spares)

    def _update(self, there: There, record: Record) -> None:
        changes = self._changes(there, record)
        gone = self._gone(there, record)
        if changes or gone:
            self._step(there, changes, gone)
            return
        self.tally.counts["unchanged"] += 1
        self._index(there)

    def _index(self, there: There) -> None:
        """Have a record that stays as it is sent all the same, if the search index may lack it."""
        if self._again or self._scratch.is_doubtful(there.external_id):
            self._scratch.put_step(Step(there.external_id, self._row, item={"external_id": there.external_id}))

    def _step(
        self,
        there: There,
        changes: Mapping[str, Any],
        gone: Sequence[str],
        fields: dict[str, str] | None = None,
        *,
        spares: bool = False,
    ) -> None:
        self.tally.counts["changed"] += 1
        item = {"external_id": there.external_id, **changes} if changes else None
        self._scratch.put_step(
            Step(there.external_id, self._row, id=there.id, fields=fields, item=item, suggestions=gone, spares=spares)
        )

    def _changes(self, there: There, record: Record) -> dict[str, Any]:
        """Return metadata and suggestions, as far as they are not there already."""
        changes: dict[str, Any] = {}
        if metadata_digest(record.metadata) != there.metadata:
            changes["metadata"] = {**(orjson.loads(there.others) if there.others else {}), **record.metadata}
        known = orjson.loads(there.suggestions)
        others = [one for one in record.suggestions if known.get(one.question, ("", ""))[1] != _digest(one)]
        if others:
            changes["suggestions"] = [_suggestion(one) for one in others]
        return changes

    @staticmethod
    def _gone(there: There, record: Record) -> list[str]:
        """Return the ids of suggestions that the file does not have any more; sending others leaves them."""
        named = {one.question for one in record.suggestions}
        return [found[0] for question, found in orjson.loads(there.suggestions).items() if question not in named]


def rejected_step(step: Step, reason: str) -> Reject:
    """Return the row of a record that Argilla does not take."""
    content = {**(step.item or {}), **({"fields": step.fields} if step.fields else {})}
    return _rejected(step.row, step.external_id, f"Argilla: {reason}", content)


def _rejected(row: int, identity: str | None, reason: str, content: Mapping[str, Any]) -> Reject:
    """Cut what nobody reads to its end; what it was is in the file."""
    text = orjson.dumps({name: _shortened(value) for name, value in content.items()}, default=str).decode()
    return Reject(row, None if identity is None else identity[:LONGEST], reason[:LONGEST], text)


def _shortened(value: Any) -> Any:
    if isinstance(value, list | dict):
        text = orjson.dumps(value, default=str).decode()
        return value if len(text) <= LONGEST else text[:LONGEST]
    return value[:LONGEST] if isinstance(value, str | bytes) else value


def _suggestion(one: Suggestion) -> dict[str, Any]:
    """Return a suggestion as it is sent, but for the name of its question in place of the id."""
    return {"question": one.question, "value": one.value, "score": one.score, "agent": one.agent, "type": one.type}


def _digest(one: Suggestion) -> str:
    return suggestion_digest(one.value, one.score, one.agent, one.type)
