"""Step 5 of 9: put submissions in order. After intake.prepare, before ledger.log.

One sequencer serves many requests with one transaction: whatever has arrived is appended together. It
holds no truth: the head in the database decides, and a second sequencer costs retries, never a fork.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime

from intake.errors import Busy
from intake.prepare import objection
from intake.wire import (
    APPENDED,
    DUPLICATE,
    REFUSED,
    ROLLED_BACK,
    FaultMessage,
    ItemResult,
    Outcome,
    Submission,
    fault_message,
)
from keys.errors import Fault, NotYet
from keys.registry import Registry
from ledger import entry as entry_format
from ledger.errors import HeadMoved, KeyTaken, LedgerError, ReadOnly, RecordDamaged
from ledger.log import Appended, Columns, Log, Pending, Placed
from ledger.store.protocol import Head

logger = logging.getLogger(__name__)

HEAD_RACES_MAX = 50  # lost races in a row before a caller is told to come back
APPEND_COUNT_MAX = 4096  # statements in one transaction: bounds its memory and the wait of those behind it


class Sequencer:
    """Judges, appends and answers submissions, in the order in which they came.

    log  the writer; open. A log that is read-only answers every submission with its reason.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._registry: Registry | None = None

    def registry(self) -> Registry:
        """The key state at the log's head, as far as this sequencer has read."""
        self._registry = follow(self._registry, self._log)
        return self._registry

    def process(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Answer every submission, in order. Raises nothing a submission could cause.

        Events of neighbouring submissions share a transaction; a key statement has one of its own,
        for what follows it must be judged by it.
        """
        outcomes: list[Outcome] = []
        for group in _groups(submissions):
            outcomes.extend(self._answer_group(group))
        return outcomes

    def _answer_group(self, group: Sequence[Submission]) -> list[Outcome]:
        try:
            return self._process_group(group)
        except RecordDamaged as fault:
            if len(group) > 1:  # it stops whoever depends on that record, and none of their neighbours
                return [outcome for one in group for outcome in self._answer_group([one])]
            return [_error(fault)]
        except Fault as fault:
            return [_error(fault) for _ in group]
        except Exception:
            # A mistake of ours. Ending here would let one submission that brings it out, sent again and
            # again, keep everybody from writing.
            logger.exception("a submission could not be processed")
            if len(group) > 1:
                return [outcome for one in group for outcome in self._answer_group([one])]
            return [_error(Busy("intake.unexpected", "an unexpected error; the operator's log has it"))]

    def _process_group(self, group: Sequence[Submission]) -> list[Outcome]:
        if self._log.read_only_reason is not None:
            # Also the answer to an empty submission: that is how a worker asks whether writing works.
            raise ReadOnly("ledger.read-only", self._log.read_only_reason)
        is_common = any(one.count for one in group)
        for _ in range(HEAD_RACES_MAX):
            head = self._log.head
            registry = self.registry()
            # One time for the judgement and the entry: who reads the ledger later has only the entry's.
            now = self._log.record_time()
            if is_common and _is_beyond_doubt(group, registry, now):
                try:
                    new = self._log.append_columns(_columns(group), expected=head, recorded_at=now)
                except KeyTaken:
                    is_common = False  # one of them is a duplicate: find out which, one by one
                    continue
                except HeadMoved:
                    continue
                return _all_appended(group, head.tree_size, new)
            judged = [self._judge(submission, registry, now) for submission in group]
            pending = [
                item
                for submission, faults in zip(group, judged, strict=True)
                for item, fault in zip(_items(submission), faults, strict=True)
                if fault is None
            ]
            try:
                # An append of nothing only looks whether the head has moved: nobody is refused for a key that
                # was registered, or a party that was changed, on another machine a moment ago.
                appended = (
                    self._log.append(pending, expected=head, recorded_at=now)
                    if pending or any(map(any, judged))
                    else Appended([], head)
                )
            except HeadMoved:
                continue  # another sequencer was first: judge again by the state it left
            placed = iter(appended.placed)
            return [
                _outcome(submission, faults, placed, appended.head)
                for submission, faults in zip(group, judged, strict=True)
            ]
        raise Busy(
            "intake.head-races", f"the head moved {HEAD_RACES_MAX} times in a row under this submission"
        )

    def _judge(self, submission: Submission, registry: Registry, now: datetime) -> list[FaultMessage | None]:
        """One fault or None for each item; under rollback one fault takes all others with it."""
        faults: list[FaultMessage | None] = []
        doubtful: list[int] = []
        for index, which in enumerate(submission.sort_indexes()):
            kind, typ, kid = submission.sorts[which]
            fault = submission.objections.get(index)
            if kind == "key":
                fault = self._judge_key_statement(submission.statements()[index], registry, now)
            elif (
                fault is not None
                or submission.keys_seq != registry.newest_seq
                # It may have expired on the way here.
                or registry.keys[kid].not_after is not None
            ):
                found = objection(registry, kid, typ, now)
                fault = None if found is None else fault_message(found)
            faults.append(fault)
            if fault is not None:
                doubtful.append(index)
        if doubtful:
            # A statement that is in the ledger already is answered with its first receipt, even if its
            # key has ended since: the partner that lost the answer must be able to get it.
            keys = submission.key_list()
            known = self._log.store.find_unique([keys[index] for index in doubtful])
            for index in doubtful:
                if keys[index] in known:
                    faults[index] = None
        if submission.rollback and any(faults):
            rolled_back = FaultMessage(
                "refused", ROLLED_BACK, "another statement of this request was refused", ""
            )
            return [rolled_back if fault is None else fault for fault in faults]
        return faults

    def _judge_key_statement(self, raw: bytes, registry: Registry, now: datetime) -> FaultMessage | None:
        try:
            registry.apply(self._log.head.tree_size, now, raw)
        except Fault as fault:
            return fault_message(fault)
        return None


def _error(fault: Fault) -> Outcome:
    """Why nothing of a submission was appended. What is wrong in the ledger's records blames no sender."""
    if not isinstance(fault, NotYet | ReadOnly):
        fault = RecordDamaged("ledger.damaged", f"this ledger's own records cannot be used: {fault.detail}")
    return Outcome(error=fault_message(fault))


def follow(registry: Registry | None, log: Log) -> Registry:
    """The registry after every key statement below the log's head. Cheap if there is none new."""
    if registry is not None and registry.newest_seq == log.head.keys_seq:
        return registry
    return replay(registry, log.store.read_key_records(-1 if registry is None else registry.newest_seq))


def replay(registry: Registry | None, records: Sequence[tuple[int, bytes, bytes]]) -> Registry:
    """Apply (seq, entry bytes, statement bytes) of genesis and key entries, in order."""
    for seq, entry_bytes, statement in records:
        if registry is None:
            registry = Registry.from_genesis(statement)
        elif seq > registry.newest_seq:
            registry = registry.apply(seq, entry_format.parse(entry_bytes).recorded_at, statement)
    if registry is None:
        raise LedgerError("ledger.empty", "this ledger has no genesis entry yet")
    return registry


def _groups(submissions: Sequence[Submission]) -> list[list[Submission]]:
    """Neighbours that may share one transaction: up to APPEND_COUNT_MAX events, or one key submission."""
    groups: list[list[Submission]] = []
    size = 0
    open_group = False
    for submission in submissions:
        alone = "key" in [kind for kind, _, _ in submission.sorts]
        if alone or not open_group or size + len(submission) > APPEND_COUNT_MAX:
            groups.append([])
            size = 0
        groups[-1].append(submission)
        size += len(submission)
        open_group = not alone
    return groups


def _is_beyond_doubt(group: Sequence[Submission], registry: Registry, now: datetime) -> bool:
    """Whether nothing speaks against any of them: then nobody needs to look at them one by one."""
    for submission in group:
        if submission.objections:
            return False
        for kind, typ, kid in submission.sorts:
            if kind != "event":
                return False
            # A key statement has come in between, or the key may have expired on the way here.
            is_open = submission.keys_seq != registry.newest_seq or registry.keys[kid].not_after is not None
            if is_open and objection(registry, kid, typ, now) is not None:
                return False
    return True


def _columns(group: Sequence[Submission]) -> Columns:
    """All of them as one, for the log."""
    if len(group) == 1:
        (one,) = group
        return Columns("event", one.digest_list(), one.key_list(), one.names_of_each(), one.parts)
    return Columns(
        "event",
        [digest for one in group for digest in one.digest_list()],
        [key for one in group for key in one.key_list()],
        [names for one in group for names in one.names_of_each()],
        [part for one in group for part in one.parts],
    )


def _all_appended(group: Sequence[Submission], first_seq: int, head: Head) -> list[Outcome]:
    outcomes = []
    for submission in group:
        outcomes.append(
            Outcome(
                first_seq=first_seq,
                digests=submission.digests,
                checkpoint=head.checkpoint,
                tree_size=head.tree_size,
                number=submission.number,
            )
        )
        first_seq += submission.count
    return outcomes


def _outcome(
    submission: Submission,
    faults: Sequence[FaultMessage | None],
    placed: Iterator[Placed],
    head: Head,
) -> Outcome:
    results = []
    for fault in faults:
        if fault is None:
            place = next(placed)
            status = DUPLICATE if place.duplicate else APPENDED
            results.append(ItemResult(status, place.seq, place.statement_digest))
        elif fault.code == ROLLED_BACK:
            results.append(ItemResult(ROLLED_BACK))
        else:
            results.append(ItemResult(REFUSED, fault=fault))
    return Outcome(
        each=results, checkpoint=head.checkpoint, tree_size=head.tree_size, number=submission.number
    )


def _items(submission: Submission) -> list[Pending]:
    columns = zip(
        submission.sort_indexes(),
        submission.statements(),
        submission.key_list(),
        submission.names_of_each(),
        strict=True,
    )
    return [Pending(submission.sorts[which][0], raw, key, names) for which, raw, key, names in columns]
