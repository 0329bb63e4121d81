"""Step 9 of 9: a ledger in ranges, and one report. After verifier.crew, before ledger_audit.

Ranges are given out in log order, a few ahead, and joined in log order. Each
began from an expected state. Where the ranges below truly ended in that very
state, it counts as it is; where they did not, for something is damaged there,
it is audited again from the true state. So the report is the one that a single
process gives, finding for finding, however many processes share the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anchoring.rfc3161 import TokenVerifier
from keys import envelope
from keys.errors import Fault
from keys.note import NoteVerifier
from ledger.audit import Audit, AuditReport, LedgerReader, Plan, Progress
from ledger.checkpoint import open_checkpoint
from ledger.entry import Entry
from ledger.merkle import HASH_SIZE
from ledger.tiles import TILE_WIDTH
from ledger.walk import WalkState, expect_state
from verifier.anchors import Anchor, judge_anchor
from verifier.crew import Crew
from verifier.ranges import Done, Task, read_key_records
from verifier.resume import AuditState, next_trail, read_anchor_rows, write_state
from verifier.signature_audit import KeyRecord, KeyWalk, SignatureResult

RANGE_TILES = 8  # 2048 entries: a tenth of a second of signatures
CHUNK = 4096  # entries held at once
REFUSED_TREE = "the state file could not be held against the signed root: all was audited anew"
SAVE_INTERVAL_S = 5.0  # so much is done again, at most, after an interruption


@dataclass(slots=True)
class Audited:
    """What all ranges together came to."""

    report: AuditReport
    signatures: SignatureResult
    keys: KeyWalk
    events: list[tuple[int, int, int]]  # (start, end, how many events) of each range, in log order
    resumed_from: int = 0  # entries below were audited before
    resume_refused: str = ""  # why a state file was of no use


@dataclass(frozen=True, slots=True)
class Resume:
    """A state file: what it says, if it says something, and where the next state goes."""

    path: Path
    scope: bytes
    state: AuditState | None


class RangeAudit:
    """One audit, driven range by range."""

    def __init__(
        self,
        reader: LedgerReader,
        verifiers: Sequence[NoteVerifier],
        origin: str,
        *,
        checkpoint: bytes | None = None,
        tokens: TokenVerifier | None = None,
        with_signatures: bool = True,
        resume: Resume | None = None,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._verifiers = verifiers
        self._origin = origin
        self._checkpoint = checkpoint
        self._tokens = tokens
        self._with_signatures = with_signatures
        self._resume = resume
        self._progress = progress
        self._clock = clock
        self._start_over()

    def _start_over(self) -> None:
        self._run = Audit(self._reader)
        self._signatures = SignatureResult()
        self._keys = KeyWalk(self._origin)
        self._key_records: list[KeyRecord] = []  # applied
        self._events: list[tuple[int, int, int]] = []
        self._resumed_from = 0
        self._refused = ""
        self._anchors_trail, self._anchors_count = bytes(HASH_SIZE), 0
        self._saved_at = self._clock()

    def audit(self, make_crew: Callable[[int], Crew]) -> Audited:
        """Audit everything. make_crew is asked once, with how many entries there are to audit."""
        kept = self._checkpoint
        state = self._usable_state()
        if state is not None and kept is None:
            kept = state.checkpoint  # what held then must hold now
        crew = self._audit_from(state, kept, make_crew)
        if self._resumed_from and not self._arrived():
            # The file was about other entries than these. So nobody has audited them yet.
            self._start_over()
            self._refused = REFUSED_TREE
            self._audit_from(None, self._checkpoint, lambda _: crew)
        self._run.finish()
        return Audited(
            self._run.result(),
            self._signatures,
            self._keys,
            self._events,
            self._resumed_from,
            self._refused,
        )

    def _audit_from(
        self, state: AuditState | None, kept: bytes | None, make_crew: Callable[[int], Crew]
    ) -> Crew:
        self._run.choose_claim(self._verifiers, self._origin, kept)
        plan = self._run.plan(CHUNK)
        records = read_key_records(self._reader, plan.size) if self._with_signatures else []
        if state is not None:
            self._go_on(state, plan, records or [])
        crew = make_crew(plan.size - self._resumed_from if records is not None else 0)
        self._drive(crew, plan, records or [])
        return crew

    def _drive(self, crew: Crew, plan: Plan, records: Sequence[KeyRecord]) -> None:
        run, window = self._run, crew.tasks_max
        self._begin(crew, plan, records)
        following, under_way, to_the_end = run.tiles_done, 0, False
        waiting: dict[int, Done] = {}
        while run.tiles_done < plan.tile_count:
            while following < plan.tile_count and under_way + len(waiting) < window:
                end = plan.tile_count if to_the_end else self._end_after(following, plan, crew.tasks_max)
                is_next = following == run.tiles_done
                crew.submit(
                    Task(
                        following,
                        end,
                        run.state.shift,
                        run.state if is_next else None,
                        run.combinations_left if is_next else None,
                    )
                )
                following, under_way = end, under_way + 1
            done = waiting.pop(run.tiles_done, None)
            if done is None:
                done = crew.take()
                under_way -= 1
                if done.task.first != run.tiles_done:
                    waiting[done.task.first] = done
                    continue
            if self._holds(done, plan):
                self._join(done)
                window = min(window + 1, crew.tasks_max)
                continue
            # What was guessed ahead was guessed wrong, and so may be all that is under way.
            for _ in range(under_way):
                crew.take()
            waiting.clear()
            to_the_end = done.task.state is not None and self._is_as_expected(done)
            following, under_way, window = run.tiles_done, 0, 1
            self._begin(crew, plan, records)

    def _begin(self, crew: Crew, plan: Plan, records: Sequence[KeyRecord]) -> None:
        start = self._run.tiles_done * TILE_WIDTH
        ahead = [record for record in records if record[0].seq >= start]
        crew.begin(plan, [*self._key_records, *ahead], self._keys.place.gap)

    @staticmethod
    def _end_after(first: int, plan: Plan, tasks_max: int) -> int:
        """Give the range's end: whole tiles, then the partial one by itself, so that both can be resumed.

        The last ranges are smaller and smaller: all are at work until the end.
        """
        left = plan.size // TILE_WIDTH - first
        return first + max(1, min(RANGE_TILES, left // tasks_max)) if left else plan.tile_count

    def _holds(self, done: Done, plan: Plan) -> bool:
        outcome = done.outcome
        if outcome is None or not self._is_as_expected(done):
            return False
        # Near the arbiter's bound on a whole audit, what follows cannot be apart from this.
        is_bounded = bool(outcome.combinations) and self._run.is_near_bound(outcome)
        return not is_bounded or (done.task.state is not None and done.task.end == plan.tile_count)

    def _is_as_expected(self, done: Done) -> bool:
        """Whether the range began as those below it truly ended."""
        outcome = done.outcome
        return outcome is not None and outcome.begun == self._run.state and done.begun == self._keys.place

    def _join(self, done: Done) -> None:
        assert done.outcome is not None
        self._run.join(done.outcome)
        for entry, statement in done.key_records:
            self._keys.apply(entry, statement)  # what came of it is in the range's result already
        self._key_records += done.key_records
        self._keys.place = done.ended
        self._signatures.add(done.signatures)
        size = min(self._run.tiles_done * TILE_WIDTH, self._run.size)
        self._events.append((done.outcome.first * TILE_WIDTH, size, done.outcome.events))
        if self._progress:
            self._progress(size, self._run.size)
        is_last = self._run.tiles_done == self._run.size // TILE_WIDTH
        if self._resume and (is_last or self._clock() - self._saved_at >= SAVE_INTERVAL_S):
            self._save(self._resume, size)

    # Going on from where an earlier audit ended.

    def _usable_state(self) -> AuditState | None:
        """Give the file's state, if it is of the same question."""
        state = self._resume.state if self._resume else None
        if self._resume is None or state is None:
            return None
        if state.scope != self._resume.scope:
            self._refused = "the state file is of an audit with other trust or options: all was audited anew"
            return None
        try:
            open_checkpoint(state.checkpoint, self._verifiers, self._origin)
        except Fault:
            self._refused = "the state file's checkpoint is not this ledger's: all was audited anew"
            return None
        return state

    def _go_on(self, state: AuditState, plan: Plan, records: Sequence[KeyRecord]) -> None:
        below = [record for record in records if record[0].seq < state.size]
        keys = KeyWalk(self._origin)
        for entry, statement in below:
            keys.apply(entry, statement)
        anchored = self._judge_again(state)
        if plan.root is None or plan.size < state.size:
            self._refused = "the ledger is shorter than the state file says: all was audited anew"
        elif plan.older_size is not None and plan.older_size < state.size:
            self._refused = (
                "whether the ledger agrees with a checkpoint older than the state file only its entries show:"
                " all was audited anew"
            )
        elif self._with_signatures and (keys.place.trail != state.keys_trail or keys.place.gap is not None):
            self._refused = "the key statements are not those of the state file: all was audited anew"
        elif expect_state(self._reader, state.size) != state.walk:
            self._refused = "the entry below is not that of the state file: all was audited anew"
        elif anchored is None:
            self._refused = "the time-stamps are not those of the state file: all was audited anew"
        else:
            self._signatures.anchors = anchored
            self._run.resume(state.tree, state.walk, [entry.seq for entry, _ in below])
            self._keys, self._key_records = keys, below
            if self._with_signatures:
                self._signatures.verified_count = state.size - state.unpinned_count
                self._signatures.unpinned_count = state.unpinned_count
            self._resumed_from = state.size

    def _judge_again(self, state: AuditState) -> list[tuple[Entry, Anchor]] | None:
        """Take the times from the anchors that were good; None if they are not any more."""
        rows = read_anchor_rows(self._reader, state)
        try:
            return (
                None
                if rows is None
                else [
                    (entry, judge_anchor(entry, _payload_of(statement), self._tokens, self._origin))
                    for entry, statement in rows
                ]
            )
        except Fault:
            return None

    def _arrived(self) -> bool:
        """Whether what the file says and what was read since lead to the signed root."""
        tree = self._run.tree()
        return tree is not None and tree.root() == self._run.root

    def _save(self, resume: Resume, size: int) -> None:
        """Write down that all is well up to here, if it is."""
        tree, walk = self._run.tree(), self._run.state
        if tree is None or self._run.root is None or size % TILE_WIDTH or not size or walk.prev is None:
            return
        if walk != WalkState(walk.prev, walk.keys, None, walk.recorded_at):
            return
        signatures = self._signatures
        if self._run.findings_count or signatures.findings_count or signatures.unjudged_count:
            return
        anchors = [entry for entry, _ in signatures.anchors]
        for entry in anchors[self._anchors_count :]:
            self._anchors_trail = next_trail(self._anchors_trail, entry)
        self._anchors_count = len(anchors)
        state = AuditState(
            scope=resume.scope,
            checkpoint=self._run.note,
            tree=tree,
            walk=walk,
            keys_trail=self._keys.place.trail,
            anchors=tuple(entry.seq for entry in anchors),
            anchors_trail=self._anchors_trail,
            unpinned_count=signatures.unpinned_count,
        )
        write_state(resume.path, state)
        self._saved_at = self._clock()


def _payload_of(statement: bytes) -> bytes:
    return envelope.parse(statement).payload
