"""Step 5 of 9: what the door calls. Lines of bytes in; positions, one checkpoint and exact faults out.

Verification happens here, in parallel and outside the lock; order happens behind the gate.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from intake import authority, wire
from intake.errors import Busy, KindNotTaken
from intake.gate import Gate
from intake.prepare import Prepared, prepare
from intake.sequencer import replay
from keys.errors import Fault, NotYet, Unverifiable
from keys.registry import Registry
from ledger.errors import RecordDamaged
from traceability.errors import EventRejected

Behaviour = Literal["rollback", "proceed"]
Status = Literal["appended", "duplicate", "refused", "rolled-back"]


class LineResult(msgspec.Struct, frozen=True):
    """What became of one statement of a request.

    digest  SHA-256 of the statement that stands at seq: the first one's, if this is a duplicate
    faults  every fault found, for status "refused"
    """

    line: int
    status: Status
    seq: int | None = None
    digest: bytes | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """checkpoint covers every position named in results; empty if nothing was appended or found."""

    results: tuple[LineResult, ...]
    checkpoint: bytes
    tree_size: int


class KeyRecords(Protocol):
    """Where the registry is read from: any reader of the ledger."""

    def read_key_records(self, after_seq: int) -> Sequence[tuple[int, bytes, bytes]]: ...


Judged = Prepared | tuple[Fault, ...]  # ready to be put in order, or every fault that was found


class Intake:
    """The pipeline for callers that can wait: verify, validate, authorise, append.

    reader  of this process; may be slightly behind the head, which is why the gate judges again

    `intake.flow` is the same for callers on an event loop, and shares this one's key state.
    """

    def __init__(self, reader: KeyRecords, gate: Gate, clock: Callable[[], datetime]) -> None:
        self._reader = reader
        self._gate = gate
        self._clock = clock
        self._registry: Registry | None = None
        self._registry_lock = threading.Lock()

    @property
    def known_registry(self) -> Registry | None:
        """The key state as it was last read, without a look into the ledger."""
        return self._registry

    def registry(self) -> Registry:
        """The key state of the newest key statement in the ledger."""
        with self._registry_lock:
            known = self._registry
            self._registry = replay(
                known, self._reader.read_key_records(-1 if known is None else known.newest_seq)
            )
            return self._registry

    def require_registry(self) -> Registry:
        """The same, or a fault of the ledger's own: it must not be taken for one of a statement."""
        try:
            return self.registry()
        except NotYet:
            raise
        except Fault as fault:
            raise RecordDamaged(
                "ledger.damaged", f"this ledger's own records cannot be used: {fault.detail}"
            ) from fault

    def now(self) -> datetime:
        return self._clock()

    def submit(
        self, lines: Sequence[bytes], *, behaviour: Behaviour = "rollback", allowed_typs: Collection[str]
    ) -> Outcome:
        """Verify and append the statements of one request, in order.

        behaviour  "rollback": one refused statement, and none is appended; "proceed": the good ones are

        Raises Busy, ReadOnly or ClockBehind, and then nothing has been acknowledged. A key statement
        must come alone, since what follows it may depend on it.
        """
        registry = self._registry or self.require_registry()
        now = self._clock()
        judged = [judge(raw, registry, allowed_typs, now) for raw in lines]
        unknown = of_unknown_keys(judged)
        if unknown and (newer := self.require_registry()).newest_seq != registry.newest_seq:
            for index in unknown:
                judged[index] = judge(lines[index], newer, allowed_typs, now)
        judged = with_keys_alone(judged)
        good = to_append(judged, behaviour)
        if not good:
            return conclude(judged, None)
        return conclude(judged, self._gate.submit(wire.submission_of(good, rollback=behaviour == "rollback")))

    def require_writable(self) -> None:
        """Return if a statement could be appended now; raise Busy, ReadOnly or ClockBehind if not."""
        answer = self._gate.submit(wire.submission_of([], rollback=False))
        if answer.error is not None:
            raise wire.fault_of(answer.error)


def judge(raw: bytes, registry: Registry, allowed_typs: Collection[str], now: datetime) -> Judged:
    """One statement, ready to be put in order, or every fault that was found in it."""
    try:
        return prepare(raw, registry, allowed_typs, now)
    except EventRejected as rejected:
        return tuple(rejected.faults)
    except Fault as fault:
        return (fault,)


def of_unknown_keys(judged: Sequence[Judged]) -> list[int]:
    """Indexes of statements whose key may have been registered a moment ago, by another worker."""
    return [
        index
        for index, verdict in enumerate(judged)
        if not isinstance(verdict, Prepared) and isinstance(verdict[0], Unverifiable)
    ]


def with_keys_alone(judged: list[Judged]) -> list[Judged]:
    """The same verdicts, but key statements in company refused."""
    if len(judged) == 1 or not any(isinstance(p, Prepared) and p.kind == "key" for p in judged):
        return judged
    alone = KindNotTaken("statement.key-alone", "a key statement must be the only one of its request")
    return [(alone,) if isinstance(p, Prepared) and p.kind == "key" else p for p in judged]


def to_append(judged: Sequence[Judged], behaviour: Behaviour) -> list[Prepared]:
    """What goes to the sequencer: under rollback nothing, if there is a refused one among them."""
    good = [verdict for verdict in judged if isinstance(verdict, Prepared)]
    return [] if behaviour == "rollback" and len(good) != len(judged) else good


def conclude(judged: Sequence[Judged], answer: wire.Outcome | None) -> Outcome:
    """What became of every line, from the verdicts and the sequencer's answer, if it was asked.

    Raises what kept the sequencer from appending anything.
    """
    if answer is None:
        return Outcome(
            tuple(
                LineResult(line, "rolled-back")
                if isinstance(verdict, Prepared)
                else LineResult(line, "refused", faults=verdict)
                for line, verdict in enumerate(judged)
            ),
            b"",
            0,
        )
    if answer.error is not None:
        raise wire.fault_of(answer.error)
    results: list[LineResult] = []
    answers = iter(answer.results)
    for line, verdict in enumerate(judged):
        if not isinstance(verdict, Prepared):
            results.append(LineResult(line, "refused", faults=verdict))
            continue
        item = next(answers)
        if item.status == wire.APPENDED:
            results.append(LineResult(line, "appended", item.seq, item.digest))
        elif item.status == wire.DUPLICATE:
            results.append(LineResult(line, "duplicate", item.seq, item.digest))
        elif item.fault is not None:
            results.append(LineResult(line, "refused", faults=(wire.fault_of(item.fault),)))
        else:
            results.append(LineResult(line, "rolled-back"))
    return Outcome(tuple(results), answer.checkpoint, answer.tree_size)


def event_typs() -> frozenset[str]:
    """Classes that partners may submit."""
    return frozenset({authority.EVENT_TYP, authority.DOCUMENT_TYP})


def key_typs() -> frozenset[str]:
    return frozenset({authority.KEY_TYP})


def submit_own(intake: Intake, raw: bytes, typ: str) -> int:
    """Append a statement of the service's own (an anchor), and return its position.

    Idempotent: the same payload again returns the first position. Raises what refused it.
    """
    result = intake.submit([raw], allowed_typs=frozenset({typ})).results[0]
    if result.faults:
        raise result.faults[0]
    if result.seq is None:
        raise Busy("intake.no-position", "the statement was not appended; send it again")
    return result.seq
