"""Step 6 of 9: audit. After everything else in ledger/; reads a whole ledger again and believes nothing.

It checks the checkpoint's signature, every tile under its root, that every entry is the one whose hash
stands in the tree, that entries are canonical and chained (`seq`, `prev`, `keys`, `recorded_at`), and
that every statement has its entry's digest.

Promise: what was altered is named, and nothing else. One altered byte in a statement, an entry or a
tile gives one finding, with that entry's position or that tile's name; an entry that was removed,
inserted or moved is named, not its neighbours. Memory is bounded however long the ledger is.
Signatures, keys and anchors are checked by verifier.ledger_audit, which listens by `on_record`.

audit() does it in one go. audit_range() does a part of it, from an expected state on, and Audit.join()
puts the parts together in log order: what comes out is the same, finding for finding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from secrets import randbelow

from keys.errors import Fault, NotYet
from keys.note import NoteVerifier
from ledger.arbiter import COMBINATIONS_MAX, Arbiter, Edge, Expected, read_rows
from ledger.checkpoint import Checkpoint, open_checkpoint, parse_unverified
from ledger.findings import Cause, Finding, LedgerReader, cause_of, finding_of
from ledger.merkle import TREE_SIZE_MAX, CompactRange, root_hash
from ledger.tiles import TILE_WIDTH
from ledger.walk import KEYS_SEQS_MAX, OnEvents, OnRecord, Walk, WalkState

__all__ = [
    "FINDINGS_MAX",
    "Audit",
    "AuditReport",
    "Cause",
    "Finding",
    "LedgerReader",
    "OnRecord",
    "Plan",
    "Progress",
    "RangeOutcome",
    "audit",
    "audit_range",
    "cause_of",
    "finding_of",
]

FINDINGS_MAX = 10_000  # kept; more are only counted
LOST_MAX = 1 << 20  # entries that are looked for one by one, whether they are there or not
PROBES = 64  # at random: of a log that has lost one half, all of them miss once in 2**64 times

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit saw."""

    checkpoint: Checkpoint | None  # the claim that was audited; None if there was none to be read
    size: int  # how many entries were audited: fewer than claimed where the claim is not to be believed
    is_signed: bool  # a known key of the log signed that claim, and it was audited
    entries_checked: int  # entries that are in the tree where they should be, and well-formed
    statements_checked: int  # statements that have their entry's digest
    findings: tuple[Finding, ...]  # the first FINDINGS_MAX
    findings_count: int  # all of them
    keys_seqs: tuple[int, ...]  # positions of genesis and key entries

    @property
    def is_clean(self) -> bool:
        """Say whether everything was checked and nothing was found."""
        return self.findings_count == 0


def audit(
    reader: LedgerReader,
    verifiers: Sequence[NoteVerifier],
    origin: str,
    *,
    checkpoint: bytes | None = None,
    on_record: OnRecord | None = None,
    on_events: OnEvents | None = None,
    progress: Progress | None = None,
    chunk: int = 4096,
) -> AuditReport:
    """Read a whole ledger again and report everything that is not as its signed checkpoint says.

    verifiers   the log's keys, pinned by the caller
    checkpoint  an earlier (or later) signed checkpoint that the caller kept: the ledger must agree
                with it as well as with its own newest one
    on_record   called in log order with (seq, entry, statement) for each entry that the tree proves;
                the statement is None where it is missing or is not the entry's. Its findings are kept
    on_events   called instead with (first seq, keys, each recorded_at as written, statements) for
                neighbouring events that are in order in every respect: it saves making Entries
    progress    called with (entries done, entries in all)
    chunk       entries held in memory at a time

    Faults of the ledger become findings; a reader that cannot read (a database or a network that is
    down) raises its own error. About 5 µs an entry, without signatures.
    """
    run = Audit(reader)
    run.choose_claim(verifiers, origin, checkpoint)
    plan = run.plan(max(1, chunk // TILE_WIDTH) * TILE_WIDTH)
    outcome = audit_range(
        reader, plan, 0, plan.tile_count, state=WalkState(), on_record=on_record, on_events=on_events,
        combinations_left=run.combinations_left, progress=progress, is_whole=True,
    )  # fmt: skip
    run.join(outcome)
    run.finish()
    return run.result()


@dataclass(frozen=True, slots=True)
class Plan:
    """What all ranges of one audit must agree on."""

    size: int  # how many entries are audited
    root: bytes | None  # None unless it was signed
    edge: Edge  # the partial tiles, as the arbiter found them
    older_size: int | None  # of a second signed claim, about the first part of the log
    chunk: int = 4096  # entries held at a time

    @property
    def tile_count(self) -> int:
        """How many level-0 tiles there are, the last one perhaps partial."""
        return -(-self.size // TILE_WIDTH)


@dataclass(slots=True)
class _Meeting:
    """Where a range meets the older claim's end, or the first hash that nobody knows."""

    tile: int  # number of the tile
    leaves: list[bytes] | None  # of it, up to the older claim's size; None if not all are known
    findings_count: int  # so many findings of the range come before


@dataclass(slots=True)
class RangeOutcome:
    """What auditing a range of tiles came to. It holds if the range truly begins in state `begun`."""

    first: int  # number of the first tile
    end: int  # and of the one after the last
    begun: WalkState
    ended: WalkState = field(default_factory=WalkState)
    entries_checked: int = 0
    statements_checked: int = 0
    findings: list[Finding] = field(default_factory=list)
    findings_count: int = 0
    events: int = 0  # entries of that kind, as far as the tree proves them
    keys_seqs: list[int] = field(default_factory=list)
    combinations: int = 0  # that the arbiter tried
    roots: list[bytes] = field(default_factory=list)  # one for each full tile, up to the first unknown one
    tail: list[bytes] = field(default_factory=list)  # leaf hashes of a partial last tile
    is_known: bool = True  # every leaf hash of the range is
    meeting: _Meeting | None = None

    def report(self, finding: Finding) -> None:
        """Keep a finding, or at least count it."""
        self.findings_count += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)


def audit_range(
    reader: LedgerReader,
    plan: Plan,
    first: int,
    end: int,
    *,
    state: WalkState,
    on_record: OnRecord | None = None,
    on_events: OnEvents | None = None,
    combinations_left: int | None = None,
    progress: Progress | None = None,
    is_whole: bool = False,
) -> RangeOutcome:
    """Audit the entries under tiles first <= number < end, as if the walk up to there had ended in `state`.

    is_whole  keep no roots: nobody will join this with other ranges, unless an older claim needs them

    Reads one tile more, which the last one of the range may need as a witness; what is wrong with that
    one is reported here, and what is wrong with tile `first` by the range before.
    """
    outcome = RangeOutcome(first, end, state)
    arbiter = Arbiter(
        reader, plan.size, plan.root, outcome.report, edge=plan.edge, combinations_left=combinations_left
    )
    combinations_left = arbiter.combinations_left
    last = min(end * TILE_WIDTH, plan.size)
    walk = Walk(
        reader, last, plan.chunk, outcome.report, state=state, on_record=on_record, on_events=on_events
    )
    ahead = arbiter.expected(first) if first < end else iter(())
    now = next(ahead, None)
    while now is not None and now.start < last:
        following = next(ahead, None)
        walk.check_tile(now, following.hashes if following else ())
        _grow(outcome, now, plan, is_whole)
        done = now.start + len(now.hashes)
        if progress and (done % plan.chunk == 0 or following is None):
            progress(done, plan.size)
        now = following
    if last == plan.size:
        walk.finish(plan.size)
    outcome.ended = walk.state
    outcome.entries_checked = walk.entries_checked
    outcome.statements_checked = walk.statements_checked
    outcome.events = walk.events
    outcome.keys_seqs = walk.keys_seqs
    outcome.combinations = combinations_left - arbiter.combinations_left
    return outcome


def _grow(outcome: RangeOutcome, expected: Expected, plan: Plan, is_whole: bool) -> None:
    """Keep what the tree is made of, up to the first hash that nobody knows."""
    tile = expected.start // TILE_WIDTH
    older_size = plan.older_size if outcome.meeting is None else None
    if older_size is not None and (expected.start < older_size or not tile):
        leaves = [hash_ for hash_ in expected.hashes[: older_size - expected.start] if hash_ is not None]
        is_known = len(leaves) == min(len(expected.hashes), older_size - expected.start)
        if not is_known or older_size <= expected.start + len(expected.hashes):
            outcome.meeting = _Meeting(tile, leaves if is_known else None, outcome.findings_count)
    if not outcome.is_known or (is_whole and (plan.older_size is None or outcome.meeting is not None)):
        return
    known = [hash_ for hash_ in expected.hashes if hash_ is not None]
    if len(known) < len(expected.hashes):
        outcome.is_known = False
    elif len(known) < TILE_WIDTH:
        outcome.tail = known
    else:
        outcome.roots.append(expected.above or root_hash(known))


class Audit:
    """One audit's state: which claim is audited, and what was found so far, in log order."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self.claim: Checkpoint | None = None
        self.size = 0  # how many entries are audited
        self.root: bytes | None = None  # None unless it was signed
        self._notes: dict[Checkpoint, bytes] = {}  # that were signed by a known key
        self.older: Checkpoint | None = None  # a second signed claim, about the first part of the log
        self._is_own_claim = False
        self._findings: list[Finding] = []
        self.findings_count = 0
        self._entries_checked = 0
        self._statements_checked = 0
        self._keys_seqs: list[int] = []
        self.combinations_left = 0
        self.tiles_done = 0
        self.state = WalkState()
        self._tree: CompactRange | None = CompactRange()  # of tiles' roots; None once one was not known
        self._tail: list[bytes] = []

    def report(self, finding: Finding) -> None:
        """Keep a finding, or at least count it."""
        self._add([finding], 1)

    def _add(self, findings: Sequence[Finding], count: int) -> None:
        self.findings_count += count
        self._findings += findings[: max(0, FINDINGS_MAX - len(self._findings))]

    def result(self) -> AuditReport:
        """Give the report."""
        return AuditReport(
            checkpoint=self.claim,
            size=self.size,
            is_signed=self.root is not None,
            entries_checked=self._entries_checked,
            statements_checked=self._statements_checked,
            findings=tuple(self._findings),
            findings_count=self.findings_count,
            keys_seqs=tuple(self._keys_seqs),
        )

    # Which claim is audited.

    def choose_claim(self, verifiers: Sequence[NoteVerifier], origin: str, kept: bytes | None) -> None:
        """Open the ledger's own checkpoint and the caller's; audit the larger, compare with the other."""
        own, is_own_signed = self._open(self._reader.read_checkpoint, verifiers, origin)
        if kept is None:
            pinned, is_pinned_signed = None, False
        else:
            pinned, is_pinned_signed = self._open(lambda: kept, verifiers, origin)
        if own is not None and is_own_signed:
            self.claim, self.root, self._is_own_claim = own, own.root_hash, True
        if pinned is not None and is_pinned_signed:
            if self.claim is None or pinned.tree_size > self.claim.tree_size:
                self.older, self.claim, self.root = self.claim, pinned, pinned.root_hash
                self._is_own_claim = False
            else:
                self.older = pinned
        if self.claim is not None:
            self.size = self.claim.tree_size
            self._require_rows()
            return
        # Nothing signed is known: what can be held against each other is still checked. The size of
        # such a checkpoint may be as false as its signature.
        self.claim = own or pinned
        self.size = self.claim.tree_size if self.claim else 0
        if not self.size or not self._has_entry(self.size - 1) or self._has_entry(self.size):
            self.size = self._count_entries()

    def _open(
        self, read: Callable[[], bytes], verifiers: Sequence[NoteVerifier], origin: str
    ) -> tuple[Checkpoint | None, bool]:
        raw = b""
        try:
            raw = read()
            opened = open_checkpoint(raw, verifiers, origin)
            self._notes[opened] = raw
            return opened, True
        except NotYet:
            raise  # the reader cannot read just now: that says nothing of the ledger
        except Fault as e:
            self.report(finding_of(e))
        try:
            return parse_unverified(raw), False
        except Fault:
            return None, False

    def _require_rows(self) -> None:
        """Give up the signed size where it speaks of far more entries than there are.

        A log's key signs any size it likes, up to 2**63 - 1; to look for each of them would take for ever.
        """
        if self._is_stored(self.size):
            return  # perhaps not all of it: then every gap will be named
        size, self.size, self.root = self.size, self._count_entries(), None
        detail = (
            f"entries {self.size} to {size - 1} are signed for and not stored: none of {PROBES} looked for"
        )
        self.report(Finding(self.size, "entry.missing", detail, "refuted"))

    def _is_stored(self, size: int) -> bool:
        """Say whether it is worth while to look for each of so many entries."""
        return size <= LOST_MAX or any(self._has_entry(randbelow(size)) for _ in range(PROBES))

    def _has_entry(self, position: int) -> bool:
        return read_rows(self._reader.read_entries, position, position + 1)[0] is not None

    def _count_entries(self) -> int:
        """Count the entries there are, by doubling and halving: as if none were missing but at the end."""
        low, high = 0, 1
        while high < TREE_SIZE_MAX and self._has_entry(high - 1):
            low, high = high, high * 2
        while low < high:
            middle = (low + high) // 2
            if self._has_entry(middle):
                low = middle + 1
            else:
                high = middle
        # Rows may have been placed just where this looks.
        return low if self._is_stored(low) else LOST_MAX

    # The walk over the log, in one range or in many.

    def plan(self, chunk: int) -> Plan:
        """Settle the tree's edge, which every range hangs from. Once, after choose_claim()."""
        arbiter = Arbiter(self._reader, self.size, self.root, self.report)
        edge = arbiter.settle_edge()
        self.combinations_left = arbiter.combinations_left
        return Plan(self.size, self.root, edge, self.older.tree_size if self.older else None, chunk)

    def holds(self, outcome: RangeOutcome) -> bool:
        """Say whether the range was begun as it had to be, and no bound was near that spans ranges."""
        return (
            outcome.first == self.tiles_done
            and outcome.begun == self.state
            and (not outcome.combinations or not self.is_near_bound(outcome))
        )

    def is_near_bound(self, outcome: RangeOutcome) -> bool:
        """Say whether what follows this range can no longer be audited apart from it."""
        return self.combinations_left - outcome.combinations < COMBINATIONS_MAX

    def join(self, outcome: RangeOutcome) -> None:
        """Go on to the end of the next range, by what auditing it came to."""
        self._meet(outcome)
        self._entries_checked += outcome.entries_checked
        self._statements_checked += outcome.statements_checked
        self._keys_seqs += outcome.keys_seqs[: KEYS_SEQS_MAX - len(self._keys_seqs)]
        self.combinations_left -= outcome.combinations
        self.tiles_done, self.state = outcome.end, outcome.ended
        if not outcome.is_known:
            self._tree = None
        if self._tree is not None:
            self._tree.extend(outcome.roots)
            self._tail = outcome.tail

    def _meet(self, outcome: RangeOutcome) -> None:
        """Take the findings, and hold the tree against the older claim where the two meet."""
        meeting, older = outcome.meeting, self.older
        if meeting is None or older is None:
            self._add(outcome.findings, outcome.findings_count)
            return
        before = min(meeting.findings_count, len(outcome.findings))
        self._add(outcome.findings[:before], meeting.findings_count)
        if meeting.leaves is None or self._tree is None:
            detail = f"too much was altered to compare with the checkpoint of size {older.tree_size}"
            self.report(Finding(None, "checkpoint.undecided", detail, "unverifiable"))
        else:
            tree = self._tree.copy()
            tree.extend(outcome.roots[: meeting.tile - outcome.first])
            tree = CompactRange(tree.size * TILE_WIDTH, tree.hashes)
            tree.extend(meeting.leaves)
            if tree.root() != older.root_hash:
                detail = f"two signed checkpoints contradict each other at size {older.tree_size}"
                self.report(Finding(None, "checkpoint.inconsistent", detail, "refuted"))
        self.older = None
        self._add(outcome.findings[before:], outcome.findings_count - meeting.findings_count)

    @property
    def note(self) -> bytes:
        """The signed note whose claim is audited."""
        return b"" if self.claim is None else self._notes.get(self.claim, b"")

    def resume(self, tree: CompactRange, state: WalkState, keys_seqs: Sequence[int]) -> None:
        """Begin behind whole tiles that were audited before, all was well, and this is their tree.

        It remains for the caller to compare tree() with the signed root, once all ranges are joined.
        """
        self.tiles_done, self.state = tree.size // TILE_WIDTH, state
        self._tree = CompactRange(self.tiles_done, tree.hashes)
        self._entries_checked = self._statements_checked = tree.size
        self._keys_seqs = list(keys_seqs[:KEYS_SEQS_MAX])

    def tree(self) -> CompactRange | None:
        """Give the tree of all entries up to here, made of what was audited; None if not all is known."""
        if self._tree is None:
            return None
        tree = CompactRange(self._tree.size * TILE_WIDTH, self._tree.hashes)
        tree.extend(self._tail)
        return tree

    def finish(self) -> None:
        """Look beyond the last range, once all are joined."""
        self._check_beyond()

    def _check_beyond(self) -> None:
        """Look for rows after the last one that is signed for: nobody vouches for them."""
        if not self._is_own_claim or self.claim is None:
            return
        beyond = self.size + self.state.shift
        if read_rows(self._reader.read_entries, beyond, beyond + 1)[0] is None:
            return
        try:
            newest = parse_unverified(self._reader.read_checkpoint())
        except Fault:
            return
        # A ledger that is being written to has moved on meanwhile, and so has its checkpoint.
        if newest.tree_size == self.claim.tree_size:
            detail = f"entries from {self.size} on are stored, and no checkpoint covers them yet"
            self.report(Finding(self.size, "entry.unsigned", detail, "notyet"))
