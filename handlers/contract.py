"""
The contract between the consumer and a handler. Standard library only.

A handler brings one kind of sink to the current state of a *unit*: usually one object, sometimes all objects below a
prefix. It is told which objects exist now, never what happened to them; calling it twice has the effect of calling it
once.

An error says what to do next:

    HandlerError
    ├── PermanentError       the unit is failed now; the message is what a person reads
    ├── TransientError       tried again later
    │   ├── OutcomeUnknown   tried again; the sink may or may not hold the write
    │   └── SinkAway         the sink does not answer; tried again when it does, no attempt charged (`Handler.ping`)
    │       └── SinkRefuses  it answers, and does not let us in: somebody has to correct that
    ├── Skip                 not our kind of object; looked at again when its content changes
    ├── ObjectChanged        the bytes are no longer the version asked for; looked at again, no attempt charged
    │   └── ObjectGone       the object was deleted while it was being read
    └── ClaimLost            the unit belongs to somebody else now; drop everything, write nothing

Anything else a handler raises is retried like a `TransientError` and logged with its traceback.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol, TypeVar

T = TypeVar("T")

ABSENT = ""
"""Fingerprint of a unit without objects."""

UNKNOWN = "?"
"""Fingerprint of what a sink holds when nobody can tell its version: others wrote it, or it is of two."""


class HandlerError(Exception):
    """The handler could not finish the unit."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        """The text for `why`, the registry and the log."""
        return str(self.args[0])


class PermanentError(HandlerError):
    """The object cannot be ingested as it is."""


class TransientError(HandlerError):
    """The sink or the store did not answer as it should; trying again may help."""

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds the other side asked us to wait; None leaves the delay to the retry policy."""


class OutcomeUnknown(TransientError):
    """The sink did not say whether the write happened."""


class SinkAway(TransientError):
    """The sink does not answer."""


class SinkRefuses(SinkAway):
    """The sink answers, and does not let us in."""


class Skip(HandlerError):
    """The object is not one this handler takes."""


class ObjectChanged(HandlerError):
    """The object was replaced while it was being read."""


class ObjectGone(ObjectChanged):
    """The object was deleted while it was being read."""


class ClaimLost(HandlerError):
    """The claim ended before its work did; somebody else holds the unit."""


class ObjectRef(NamedTuple):
    """A bucket and a key in it; nothing is known about its content. Sweeps make millions of it."""

    bucket: str
    key: str


class StoredObject(abc.ABC):
    """
    One version of one object, as a look at the store found it.

    Reading is conditional on `etag` (If-Match): `open` and `read`, and the reader they give, raise `ObjectChanged` or
    `ObjectGone` when the store no longer holds exactly these bytes. What was read to its end is what `etag` names;
    before the end it may be of two versions, so who finds it damaged opens it once more to learn whether it changed.
    """

    __slots__ = ("etag", "key", "modified", "size")

    def __init__(self, key: str, etag: str, size: int, modified: int) -> None:
        self.key = key
        self.etag = etag
        self.size = size
        """Bytes."""
        self.modified = modified
        """Epoch milliseconds."""

    @abc.abstractmethod
    async def open(self) -> BinaryIO:
        """
        Open the content as a blocking stream; read it in a thread, close it there.

        Raises:
            ObjectChanged: The object has another version now, or got one before the end was read.
            TransientError: The store did not answer.
        """

    @abc.abstractmethod
    async def read(self) -> bytes:
        """Return the whole content; meant for small objects. Raises as `open` does."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a handler reconciles as one: a key, or a prefix ending in `/`."""

    bucket: str
    name: str
    route: str
    prefix: str
    """The route's prefix; `name` begins with it."""
    options: Any
    """The handler's own validated options of the route."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the sink holds for a unit."""

    fingerprint: str
    handler_version: str
    target: str
    """Where it is, in the sink's own words: a table, a dataset, a class."""
    counts: Mapping[str, int]
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able facts for `why`; never needed for correctness."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a version of a unit is not in the sink."""

    fingerprint: str
    error_class: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of `Handler.verify`: what the receipt says against what the sink counts."""

    ok: bool
    expected: Mapping[str, int]
    found: Mapping[str, int]
    message: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write a unit's state, for as long as `HandlerContext.alive` says so."""

    token: str
    fingerprint: str
    """Of the objects handed over; `ABSENT` without objects."""
    previous: Receipt | None
    """What the sink held before, without its detail."""
    alone: bool = False
    """An earlier holder died over this unit: nothing else is being read in this process until `staged` is called."""
    staged: Callable[[], None] = lambda: None
    """To be called when the objects have been read and only the sink's commit is left. Optional; idempotent."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One processed version of a unit, for the sink's own records."""

    bucket: str
    unit: str
    token: str
    """The claim that processed it."""
    fingerprint: str
    status: Literal["success", "failed"]
    at: int
    """Epoch milliseconds; with `token` and `fingerprint` the identity of the outcome."""
    receipt: Receipt | None
    """Without its detail."""
    error_class: str | None
    error: str | None
    route: str


class HandlerContext(Protocol):
    """What the consumer offers to a handler."""

    @property
    def home(self) -> str:
        """The folder of this installation."""
        ...

    def clock(self) -> int:
        """Epoch milliseconds."""
        ...

    def new_id(self) -> str:
        """A random UUID."""
        ...

    async def alive(self, tokens: Collection[str]) -> set[str]:
        """Return those of `tokens` that still hold their unit: one read of the ledger for all of them."""
        ...

    def run(self, lane: str, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Run blocking code on the named single-threaded lane (`cpu`, `stream`, `commit`, `maintain`, `ping`)."""
        ...


async def check_claim(context: HandlerContext, token: str) -> None:
    """
    Ask whether a claim still holds: directly before each write to a sink that cannot compare and swap.

    Raises:
        ClaimLost: It does not.
    """
    if token not in await context.alive([token]):
        raise ClaimLost


class Handler(Protocol):
    """Our code for one kind of sink."""

    name: str
    version: str
    max_in_flight: int
    fenced: bool
    """The sink has compare-and-swap and every commit checks its claims between load and swap."""

    def unit_of(self, ref: ObjectRef, options: Any) -> str:
        """Name the unit an object belongs to: its key, or a prefix of it ending in `/`. No unit inside another."""
        ...

    async def apply(self, unit: Unit, objects: Sequence[StoredObject], claim: Claim) -> Receipt:
        """
        Bring the sink to exactly `objects`.

        Without objects the unit is gone: remove it where the route says so, else leave the sink as it is; either way
        end with a commit and return what the sink holds.

        Raises:
            HandlerError: One of the tree above.
        """
        ...

    async def verify(self, bucket: str, receipts: Mapping[str, Receipt]) -> Mapping[str, Verdict]:
        """
        Count back from the sink what it holds of units of a bucket: some thousands at most, next to each other.

        A sink that refuses is a verdict; one that is away raises.

        Raises:
            TransientError: It cannot be asked now.
        """
        ...

    def inventory(self) -> AsyncIterator[tuple[str, str, Receipt | Failure]]:
        """
        Yield (bucket, unit, what the sink holds or why not), after fencing off commits already under way.

        In byte order of bucket and unit. A unit may have both: its receipt, of the version that the sink holds, and
        directly after it the failure of a newer one. A receipt whose fingerprint equals no object's ("?") says that
        there is something, of a version nobody can tell.
        """
        ...

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Append to the sink's own records those outcomes that they do not have yet."""
        ...

    async def ping(self) -> None:
        """
        Ask all servers of the sink cheaply, and raise with a reason when one cannot be used.

        It decides whether a failed attempt counts, so it must not wait for work of this handler.

        Raises:
            SinkAway: Waiting may mend it; `SinkRefuses` when somebody has to.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and files."""
        ...


def fingerprint(objects: Iterable[StoredObject], unit: str) -> str:
    """
    Return the version of a unit: the ETag of a one-object unit, else SHA-256 over `key NUL etag LF` in byte order.

    `objects` must come in byte order of their keys. Without objects it is `ABSENT`.
    """
    if not unit.endswith("/"):
        return next((found.etag for found in objects), ABSENT)
    digest = hashlib.sha256()
    empty = True
    for found in objects:
        empty = False
        digest.update(f"{found.key}\0{found.etag}\n".encode())
    return ABSENT if empty else digest.hexdigest()
