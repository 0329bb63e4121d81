"""Step 5 of 9: what the door calls. Lines of bytes in; positions, one checkpoint and exact faults out.

Verification happens here, in parallel and outside the lock; order happens behind the gate.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from intake import authority, wire
from intake.errors import Busy, KindNotTaken
from intake.gate import Gate
from intake.prepare import Prepared, prepare
from intake.sequencer import replay
from intake.turns import Turns
from keys.errors import Fault, NotYet, Unverifiable
from keys.registry import Registry
from ledger.errors import RecordDamaged
from traceability.errors import EventRejected

Behaviour = Literal["rollback", "proceed"]
Status = Literal["appended", "duplicate", "refused", "rolled-back"]


# Statements that one request judges before another gets its turn. One core's work is done by one thread at a
# time: threads that wrestle for the interpreter lock around each signature cost a third of the core.
TURN_COUNT = 128


@dataclass(frozen=True, slots=True)
class LineResult:
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


class Intake:
    """The pipeline: verify, validate, authorise, append.

    reader  of this process; may be slightly behind the head, which is why the gate judges again
    """

    def __init__(self, reader: KeyRecords, gate: Gate, clock: Callable[[], datetime]) -> None:
        self._reader = reader
        self._gate = gate
        self._clock = clock
        self._registry: Registry | None = None
        self._registry_lock = threading.Lock()
        self._turns = Turns()

    def registry(self) -> Registry:
        """The key state of the newest key statement in the ledger."""
        with self._registry_lock:
            known = self._registry
            self._registry = replay(
                known, self._reader.read_key_records(-1 if known is None else known.newest_seq)
            )
            return self._registry

    def submit(
        self, lines: Sequence[bytes], *, behaviour: Behaviour = "rollback", allowed_typs: Collection[str]
    ) -> Outcome:
        """Verify and append the statements of one request, in order.

        behaviour  "rollback": one refused statement, and none is appended; "proceed": the good ones are

        Raises Busy, ReadOnly or ClockBehind, and then nothing has been acknowledged. A key statement
        must come alone, since what follows it may depend on it.
        """
        registry = self._registry or self._require_registry()
        now = self._clock()
        judged: list[Prepared | tuple[Fault, ...]] = []
        for start in range(0, len(lines), TURN_COUNT):
            turn = lines[start : start + TURN_COUNT]
            with self._turns:
                judged += [self._prepare(raw, registry, allowed_typs, now) for raw in turn]
        if len(lines) > 1 and any(isinstance(p, Prepared) and p.kind == "key" for p in judged):
            alone = KindNotTaken("statement.key-alone", "a key statement must be the only one of its request")
            judged = [(alone,) if isinstance(p, Prepared) and p.kind == "key" else p for p in judged]
        refused = any(not isinstance(p, Prepared) for p in judged)
        good = [] if refused and behaviour == "rollback" else [p for p in judged if isinstance(p, Prepared)]
        answer = wire.Outcome()
        if good:
            submission = wire.submission_of(good, rollback=behaviour == "rollback")
            answer = self._gate.submit(submission)
            if answer.error is not None:
                raise wire.fault_of(answer.error)
        return Outcome(_line_results(judged, iter(answer.results)), answer.checkpoint, answer.tree_size)

    def require_writable(self) -> None:
        """Return if a statement could be appended now; raise Busy, ReadOnly or ClockBehind if not."""
        answer = self._gate.submit(wire.submission_of([], rollback=False))
        if answer.error is not None:
            raise wire.fault_of(answer.error)

    def _prepare(
        self, raw: bytes, registry: Registry, allowed_typs: Collection[str], now: datetime
    ) -> Prepared | tuple[Fault, ...]:
        judged = _judge(raw, registry, allowed_typs, now)
        if isinstance(judged, Prepared) or not isinstance(judged[0], Unverifiable):
            return judged
        # Perhaps a key that was registered a moment ago, by another worker.
        newer = self._require_registry()
        return judged if newer.newest_seq == registry.newest_seq else _judge(raw, newer, allowed_typs, now)

    def _require_registry(self) -> Registry:
        """The registry, or a fault of the ledger's own: it must not be taken for one of the statement."""
        try:
            return self.registry()
        except NotYet:
            raise
        except Fault as fault:
            raise RecordDamaged(
                "ledger.damaged", f"this ledger's own records cannot be used: {fault.detail}"
            ) from fault


def _judge(
    raw: bytes, registry: Registry, allowed_typs: Collection[str], now: datetime
) -> Prepared | tuple[Fault, ...]:
    try:
        return prepare(raw, registry, allowed_typs, now)
    except EventRejected as rejected:
        return tuple(rejected.faults)
    except Fault as fault:
        return (fault,)


def _line_results(
    judged: Sequence[Prepared | tuple[Fault, ...]], answers: Iterator[wire.ItemResult]
) -> tuple[LineResult, ...]:
    results = []
    for line, verdict in enumerate(judged):
        if not isinstance(verdict, Prepared):
            results.append(LineResult(line, "refused", faults=verdict))
            continue
        answer = next(answers, None)
        if answer is None or answer.status == wire.ROLLED_BACK:
            results.append(LineResult(line, "rolled-back"))
        elif answer.status == wire.REFUSED and answer.fault is not None:
            results.append(LineResult(line, "refused", faults=(wire.fault_of(answer.fault),)))
        else:
            status: Status = "duplicate" if answer.status == wire.DUPLICATE else "appended"
            results.append(LineResult(line, status, answer.seq, answer.digest))
    return tuple(results)


def event_typs() -> frozenset[str]:
    """Classes that partners may submit."""
    return frozenset({authority.EVENT_TYP})


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
