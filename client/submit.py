"""Step 1 of 9: send. From the outbox to the ledger's door, and the receipt back into the outbox.

The Sender takes the oldest statements, hands them over whole (all or none, so their order holds),
checks every receipt, and only then lets go of anything. What it meets, it sorts:

    receipts that verify        kept; the next batch follows
    faults in single lines      those are set aside with their faults; the others go again
    a key not registered yet    nothing is set aside; the queue waits for the registration
    no answer, "later"          tried again with growing pauses, then left for the next run
    a receipt that is no good   the queue stops until a person has looked; the evidence is kept
    a fork or a rollback        the same, with both checkpoints
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from client.duplicates import read_first_statement
from client.errors import (
    AnswerMalformed,
    ClientError,
    LedgerUnreachable,
    LineFault,
    LogForked,
    ReceiptMalformed,
    ReceiptRefuted,
    ReceiptUnverifiable,
    RequestRefused,
)
from client.http import LedgerDoor, LineAnswer, Patience, SubmitAnswer
from client.outbox import Outbox, Settled, Waiting
from client.receipts import Receipt, ReceiptChecker, SeenCheckpoint, kind_of_typ
from client.registration import read_registry
from keys.registry import Registry

BATCH_COUNT_MAX = 500
BATCH_SIZE_MAX = 8 << 20  # half of what a ledger takes in one request

# Refusals that say nothing against the statement: it will be right as it is once the key is known.
HOLDING_CODES = frozenset({"key.unknown"})
# The request was read and its content judged. Any other refusal is about the way there (address,
# permission, media type), and setting statements aside for it would blame the wrong one.
_JUDGED = frozenset({400, 413, 422})


@dataclass(slots=True)
class Summary:
    """What one run did, so far."""

    receipted: int = 0
    duplicates: int = 0  # of those, how many the ledger held before
    refused: int = 0
    seq_first: int | None = None  # the lowest and highest position of this run's receipts
    seq_last: int | None = None
    tree_size: int | None = None
    growth_unproved: str | None = None  # why the ledger's growth could not be proved this time
    ended_by: ClientError | None = None  # None: everything that waited was dealt with


@dataclass(frozen=True, slots=True)
class Watch:
    """What a caller may want to see while it runs."""

    on_progress: Callable[[Summary], None] = lambda _summary: None
    on_refused: Callable[[Waiting, Sequence[LineFault]], None] = lambda _waiting, _faults: None
    on_wait: Callable[[LedgerUnreachable, float], None] = lambda _fault, _wait_s: None


class _Hold(Exception):
    """Stop here without blaming anything."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(str(error))
        self.error = error


class Sender:
    """Empties one outbox into one ledger. One run() at a time for each outbox, in whatever process."""

    def __init__(
        self,
        outbox: Outbox,
        door: LedgerDoor,
        checker: ReceiptChecker,
        *,
        patience: Patience | None = None,
        batch_count_max: int = BATCH_COUNT_MAX,
        batch_size_max: int = BATCH_SIZE_MAX,
        watch: Watch | None = None,
    ) -> None:
        self._outbox = outbox
        self._door = door
        self._checker = checker
        self._patience = patience or Patience()
        self._count_max = batch_count_max
        self._size_max = batch_size_max
        self._watch = watch or Watch()
        self._registry: Registry | None = None  # read at the first duplicate of another statement

    def run(self) -> Summary:
        """Send what waits, until nothing waits or something ends it; Summary.ended_by says what.

        Raises OutboxBusy if another process is sending. An interrupt at any moment loses nothing.
        """
        summary = Summary()
        self._registry = None
        with self._outbox.sending():
            try:
                self._outbox.require_no_alarm()
                self._prove_growth(summary)
                count_max = self._count_max
                while batch := self._outbox.next_batch(count_max, self._size_max):
                    count_max = self._send_batch(batch, summary) or self._count_max
                    self._watch.on_progress(summary)
            except _Hold as hold:
                summary.ended_by = hold.error
            except (LogForked, ReceiptMalformed, ReceiptRefuted, ReceiptUnverifiable) as e:
                if isinstance(e, LogForked) or self._outbox.find_alarm() is None:
                    self._outbox.raise_alarm(e)
                summary.ended_by = e
            except ClientError as e:
                summary.ended_by = e
        return summary

    # One batch ---------------------------------------------------------------------------------

    def _send_batch(self, batch: Sequence[Waiting], summary: Summary) -> int | None:
        """Hand over one batch; returns how many to try next time, if that is not as usual."""
        lines = [waiting.statement for waiting in batch]
        try:
            answer = self._patience.call(lambda: self._door.submit(lines), self._watch.on_wait)
        except RequestRefused as refusal:
            return self._sort_out(batch, refusal, summary)
        self._settle(batch, answer, summary)
        self._prove_growth(summary)
        return None

    def _sort_out(self, batch: Sequence[Waiting], refusal: RequestRefused, summary: Summary) -> int | None:
        if refusal.status not in _JUDGED or _is_about_the_way(refusal):
            raise _Hold(refusal)
        by_line: dict[int, list[LineFault]] = {}
        for fault in refusal.faults:
            line = 0 if fault.line is None and len(batch) == 1 else fault.line
            if line is None:
                # It does not say which one: a smaller request will.
                return max(1, len(batch) // 2)
            if line >= len(batch):
                raise AnswerMalformed("answer.faults", f"the refusal speaks of line {line} of {len(batch)}")
            by_line.setdefault(line, []).append(fault)
        aside = {n: f for n, f in by_line.items() if not HOLDING_CODES.issuperset(x.code for x in f)}
        for line, faults in sorted(aside.items()):
            self._aside(batch[line], faults, summary)
        if not aside:
            raise _Hold(refusal)
        return None

    def _aside(self, waiting: Waiting, faults: Sequence[LineFault], summary: Summary) -> None:
        self._outbox.set_aside(waiting.position, faults)
        summary.refused += 1
        self._watch.on_refused(waiting, faults)

    def _settle(self, batch: Sequence[Waiting], answer: SubmitAnswer, summary: Summary) -> None:
        """Check every receipt of an answer, and keep those that hold, even if a later one does not."""
        settled: list[Settled] = []
        unseen: list[tuple[Waiting, LineFault]] = []
        bad: ClientError | None = None
        evidence: bytes | None = None
        seen: dict[bytes, SeenCheckpoint] = {}
        try:
            for waiting, result in zip(batch, answer.results, strict=True):
                evidence = result.receipt
                one = self._check(waiting, result)
                if isinstance(one, LineFault):
                    unseen.append((waiting, one))
                    continue
                settled.append(one)
                seen[one.receipt.checkpoint.note] = one.receipt.checkpoint
                summary.duplicates += result.duplicate
            evidence = answer.checkpoint
            if answer.checkpoint is not None:
                seen[answer.checkpoint] = self._checker.open_checkpoint(answer.checkpoint)
        except (ReceiptMalformed, ReceiptRefuted, ReceiptUnverifiable) as e:
            bad = e
        self._outbox.settle(settled, list(seen.values()))
        summary.receipted += len(settled)
        for one in settled:
            seq = one.receipt.seq
            summary.seq_first = seq if summary.seq_first is None else min(seq, summary.seq_first)
            summary.seq_last = seq if summary.seq_last is None else max(seq, summary.seq_last)
        for waiting, fault in unseen:
            self._aside(waiting, [fault], summary)
        if seen:
            summary.tree_size = max(checkpoint.tree_size for checkpoint in seen.values())
        if bad is not None:
            self._outbox.raise_alarm(bad, evidence)
            raise bad

    def _read_registry(self) -> Registry:
        # Once a run: duplicates come in crowds, after a disk was lost, and the walk asks for every key entry.
        if self._registry is None:
            self._registry = read_registry(self._door, self._checker, self._outbox.origin)
        return self._registry

    def _check(self, waiting: Waiting, result: LineAnswer) -> Settled | LineFault:
        """The receipt, checked; or why this statement can have none that means anything."""
        if result.receipt is None:
            raise AnswerMalformed("answer.receipt", f"the ledger gave no receipt for {waiting.source}")
        first: bytes | None = None
        if result.digest != waiting.digest:
            try:
                first = self._patience.call(
                    lambda: read_first_statement(
                        self._door, waiting.statement, result, waiting.source, self._read_registry
                    ),
                    self._watch.on_wait,
                )
            except (RequestRefused, AnswerMalformed) as e:
                return LineFault(
                    None,
                    "duplicate.unseen",
                    f"the ledger says that position {result.seq} holds this content already, "
                    f"and does not show it: {e.detail}",
                )
        try:
            receipt = self._checker.check(
                result.receipt, statement_digest=result.digest, kind=kind_of_typ(waiting.typ)
            )
            _require_position(receipt, result)
        except (ReceiptMalformed, ReceiptRefuted, ReceiptUnverifiable) as e:
            raise type(e)(e.code, f"the receipt for {waiting.source} does not verify: {e.detail}") from e
        return Settled(waiting.position, receipt, result.receipt, first)

    # Growth ------------------------------------------------------------------------------------

    def _prove_growth(self, summary: Summary) -> None:
        """Ask for the consistency proofs still owed. A ledger that cannot give them now owes them on."""
        summary.growth_unproved = None
        while step := self._outbox.find_growth_step():
            older, newer = step
            try:
                path = self._door.read_consistency(older.tree_size, newer.tree_size)
            except (LedgerUnreachable, RequestRefused, AnswerMalformed) as e:
                summary.growth_unproved = e.detail
                return
            self._outbox.prove_growth(older, newer, path)


def _is_about_the_way(refusal: RequestRefused) -> bool:
    """Whether the door objects to the request as such: that is no word against any statement in it."""
    return refusal.status == 400 and all(
        f.line is None and f.code.startswith("http.") for f in refusal.faults
    )


def _require_position(receipt: Receipt, result: LineAnswer) -> None:
    if receipt.entry.seq != result.seq:
        raise ReceiptRefuted(
            "receipt.seq", f"the answer says position {result.seq}, its receipt {receipt.entry.seq}"
        )
