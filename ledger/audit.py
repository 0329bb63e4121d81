"""Step 6 of 9: audit. After everything else in ledger/; reads a whole ledger again and believes nothing.

It checks the checkpoint's signature, every tile under its root, that every entry is the one whose hash
stands in the tree, that entries are canonical and chained (`seq`, `prev`, `keys`, `recorded_at`), and
that every statement has its entry's digest.

Promise: what was altered is named, and nothing else. One altered byte in a statement, an entry or a
tile gives one finding, with that entry's position or that tile's name; an entry that was removed,
inserted or moved is named, not its neighbours. Memory is bounded however long the ledger is.
Signatures, keys and anchors are checked by verifier.ledger_audit, which listens by `on_record`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from keys.errors import Fault, NotYet
from keys.note import NoteVerifier
from ledger import entry as entries
from ledger.arbiter import SHIFT_MAX, Arbiter, Expected, read_rows
from ledger.checkpoint import Checkpoint, open_checkpoint, parse_unverified
from ledger.entry import KINDS, ZERO_PREV, Entry
from ledger.errors import EntryMalformed
from ledger.findings import Cause, Finding, LedgerReader, cause_of, finding_of
from ledger.merkle import TREE_SIZE_MAX, CompactRange
from ledger.tiles import TILE_WIDTH

__all__ = [
    "FINDINGS_MAX",
    "AuditReport",
    "Cause",
    "Finding",
    "LedgerReader",
    "OnRecord",
    "Progress",
    "audit",
    "cause_of",
    "finding_of",
]

FINDINGS_MAX = 10_000  # kept; more are only counted
KEYS_SEQS_MAX = 1_000_000  # key statements are rare; a log of nothing else must not fill the memory

OnRecord = Callable[[int, Entry, bytes | None], Iterable[Finding]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit saw."""

    checkpoint: Checkpoint | None  # the claim that was audited; None if there was none to be read
    is_signed: bool  # a known key of the log signed that claim
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
    progress: Progress | None = None,
    chunk: int = 4096,
) -> AuditReport:
    """Read a whole ledger again and report everything that is not as its signed checkpoint says.

    verifiers   the log's keys, pinned by the caller
    checkpoint  an earlier (or later) signed checkpoint that the caller kept: the ledger must agree
                with it as well as with its own newest one
    on_record   called in log order with (seq, entry, statement) for each entry that the tree proves;
                the statement is None where it is missing or is not the entry's. Its findings are kept
    progress    called with (entries done, entries in all)
    chunk       entries held in memory at a time

    Faults of the ledger become findings; a reader that cannot read (a database or a network that is
    down) raises its own error. About 8 µs an entry, without signatures.
    """
    run = _Audit(reader, on_record, progress, max(1, chunk // TILE_WIDTH) * TILE_WIDTH)
    run.choose_claim(verifiers, origin, checkpoint)
    run.walk()
    return run.result()


class _Rows:
    """The entries as the reader has them, a chunk at a time, looked up by position."""

    def __init__(self, reader: LedgerReader, chunk: int) -> None:
        self._reader = reader
        self._chunk = chunk
        self._start = 0
        self._rows: list[bytes | None] = []

    def span(self, start: int, end: int, size: int) -> list[bytes | None]:
        """Give the rows start <= position < end, and read ahead up to `size`."""
        start_held = start - self._start
        if not 0 <= start_held <= end - self._start <= len(self._rows):
            self._start, start_held = start, 0
            self._rows = read_rows(self._reader.read_entries, start, max(end, min(start + self._chunk, size)))
        return self._rows[start_held : start_held + end - start]

    def at(self, position: int) -> bytes | None:
        """Give one row, from wherever."""
        if 0 <= position - self._start < len(self._rows):
            return self._rows[position - self._start]
        if position < 0:
            return None
        return read_rows(self._reader.read_entries, position, position + 1)[0]


class _Audit:
    """One audit's state: what is known of the chain so far, and what was found."""

    def __init__(
        self, reader: LedgerReader, on_record: OnRecord | None, progress: Progress | None, chunk: int
    ) -> None:
        self._reader = reader
        self._on_record = on_record
        self._progress = progress
        self._chunk = chunk
        self._claim: Checkpoint | None = None
        self._size = 0  # how many entries are audited
        self._root: bytes | None = None  # None unless it was signed
        self._older: Checkpoint | None = None  # a second signed claim, about the first part of the log
        self._is_own_claim = False
        self._findings: list[Finding] = []
        self._findings_count = 0
        self._entries_checked = 0
        self._statements_checked = 0
        self._keys_seqs: list[int] = []

        self._rows = _Rows(reader, chunk)
        self._statements: list[bytes | None] = []
        self._statements_start = 0
        self._shift = 0  # where row p + shift holds entry p, since entries were removed or inserted
        self._missing_from: int | None = None
        # What the next entry is held against. None: not known, since the entry before was altered.
        self._prev: bytes | None = ZERO_PREV
        self._keys = 0
        self._skipped_from: int | None = None  # since then, entries that may or may not be key entries
        self._recorded_at: datetime | None = None

    def report(self, finding: Finding) -> None:
        self._findings_count += 1
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(finding)

    def result(self) -> AuditReport:
        return AuditReport(
            checkpoint=self._claim,
            is_signed=self._root is not None,
            entries_checked=self._entries_checked,
            statements_checked=self._statements_checked,
            findings=tuple(self._findings),
            findings_count=self._findings_count,
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
            self._claim, self._root, self._is_own_claim = own, own.root_hash, True
        if pinned is not None and is_pinned_signed:
            if self._claim is None or pinned.tree_size > self._claim.tree_size:
                self._older, self._claim, self._root = self._claim, pinned, pinned.root_hash
                self._is_own_claim = False
            else:
                self._older = pinned
        if self._claim is not None:
            self._size = self._claim.tree_size
            return
        # Nothing signed is known: what can be held against each other is still checked. The size of
        # such a checkpoint may be as false as its signature.
        self._claim = own or pinned
        self._size = self._claim.tree_size if self._claim else 0
        if not self._size or not self._has_entry(self._size - 1) or self._has_entry(self._size):
            self._size = self._count_entries()

    def _open(
        self, read: Callable[[], bytes], verifiers: Sequence[NoteVerifier], origin: str
    ) -> tuple[Checkpoint | None, bool]:
        raw = b""
        try:
            raw = read()
            return open_checkpoint(raw, verifiers, origin), True
        except NotYet:
            raise  # the reader cannot read just now: that says nothing of the ledger
        except Fault as e:
            self.report(finding_of(e))
        try:
            return parse_unverified(raw), False
        except Fault:
            return None, False

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
        return low

    # The walk over the log.

    def walk(self) -> None:
        """Go through the log, one level-0 tile at a time, with the next one in view."""
        older_tree = CompactRange() if self._older is not None else None
        ahead = Arbiter(self._reader, self._size, self._root, self.report).expected()
        now = next(ahead, None)
        while now is not None:
            following = next(ahead, None)
            self._check_tile(now, following.hashes if following else ())
            if older_tree is not None:
                older_tree = self._grow_older(older_tree, now)
            done = now.start + len(now.hashes)
            if self._progress and (done % self._chunk == 0 or following is None):
                self._progress(done, self._size)
            now = following
        self._end_of_missing(self._size)
        self._check_beyond()

    def _grow_older(self, tree: CompactRange, expected: Expected) -> CompactRange | None:
        """Follow the tree up to the older claim's size, and hold its root against the claim there."""
        older = self._older
        if older is None:
            return None
        wanted = expected.hashes[: older.tree_size - expected.start]
        known = [hash_ for hash_ in wanted if hash_ is not None]
        if len(known) == len(wanted):
            tree.extend(known)
            if tree.size < older.tree_size:
                return tree
            if tree.root() != older.root_hash:
                detail = f"two signed checkpoints contradict each other at size {older.tree_size}"
                self.report(Finding(None, "checkpoint.inconsistent", detail, "refuted"))
        else:
            detail = f"too much was altered to compare with the checkpoint of size {older.tree_size}"
            self.report(Finding(None, "checkpoint.undecided", detail, "unverifiable"))
        return None

    def _check_tile(self, expected: Expected, lookahead: Sequence[bytes | None]) -> None:
        start, wanted = expected.start, expected.hashes
        rows = self._rows.span(start + self._shift, start + self._shift + len(wanted), self._size)
        hashes = [None if row is None else entries.leaf_hash(row) for row in rows]
        if hashes == list(wanted) and None not in hashes:
            for place, row in enumerate(rows):
                self._check_entry(start + place, row or b"", hashes[place])
            return
        in_view = [*wanted, *lookahead[: SHIFT_MAX + 1]]
        for place, want in enumerate(wanted):
            position = start + place
            proven = self._find_row(position, in_view[place:])
            if proven is not None:
                self._check_entry(position, proven, want)
            else:
                self._skip_entry(position, want)

    def _leaf_at(self, position: int) -> bytes | None:
        row = self._rows.at(position)
        return None if row is None else entries.leaf_hash(row)

    def _find_row(self, position: int, wanted: Sequence[bytes | None]) -> bytes | None:
        """Find the row that holds entry `position`; else report what stands in its place.

        wanted  leaf hashes of this entry and of those after it

        Where the rows go on as the tree says, but so many places later or earlier, entries were
        inserted or removed: then all later rows are read with that shift.
        """
        row, want = self._rows.at(position + self._shift), wanted[0]
        if row is None:
            self._is_missing(position)
            return None
        leaf = entries.leaf_hash(row)
        if want is not None and leaf != want:
            for shift in range(1, SHIFT_MAX + 1):
                if self._continues(position + shift, wanted):
                    self._end_of_missing(position)
                    detail = f"before entry {position} stands what is not in the tree; rows: {shift}"
                    self.report(Finding(position, "entry.inserted", detail, "refuted"))
                    self._shift += shift
                    return self._rows.at(position + self._shift)
                if self._continues(position, wanted[shift:]):
                    self._is_missing(position)
                    self._shift -= 1
                    return None
        if leaf == want:
            self._end_of_missing(position)
            return row
        self._end_of_missing(position)
        self.report(Finding(position, "entry.altered", self._describe(position, row, want), "refuted"))
        return None

    def _continues(self, position: int, wanted: Sequence[bytes | None]) -> bool:
        """Say whether the rows from here on are the wanted ones: this one, and the next if there is one."""
        if not wanted or wanted[0] is None or self._leaf_at(position + self._shift) != wanted[0]:
            return False
        following = self._leaf_at(position + self._shift + 1)
        return following is None if len(wanted) == 1 else following == wanted[1]

    def _describe(self, position: int, row: bytes, want: bytes | None) -> str:
        if want is None:
            return (
                f"the signed root does not follow from what is stored, and no later entry vouches for entry "
                f"{position}: it was altered, or the log was rewritten from further back"
            )
        try:
            claimed = entries.parse(row).seq
        except EntryMalformed as e:
            return f"entry {position} was altered: {e.detail}"
        if claimed != position:
            return f"where entry {position} belongs stands one that calls itself {claimed}"
        return f"entry {position} was altered: its hash is not the one in the tree"

    def _is_missing(self, position: int) -> None:
        if self._missing_from is None:
            self._missing_from = position

    def _end_of_missing(self, position: int) -> None:
        """Report entries that are missing in a row as one finding."""
        first, self._missing_from = self._missing_from, None
        if first is not None:
            which = f"entry {first} is" if position == first + 1 else f"entries {first} to {position - 1} are"
            self.report(Finding(first, "entry.missing", f"{which} in the tree and not stored", "refuted"))

    def _skip_entry(self, position: int, leaf: bytes | None) -> None:
        """Go on past an entry that is not there, by what the tree still says of it."""
        self._prev = leaf
        if self._skipped_from is None:
            self._skipped_from = position

    # One entry that the tree proves.

    def _check_entry(self, position: int, row: bytes, leaf: bytes | None) -> None:
        try:
            entry = entries.parse(row)
        except EntryMalformed as e:
            self.report(finding_of(e, position))
            self._skip_entry(position, leaf)
            return
        fault = self._fault_of(position, entry)
        if fault:
            code, detail, cause = fault
            self.report(Finding(position, code, detail, cause))
        else:
            self._entries_checked += 1
        statement = self._check_statement(position, entry)
        self._prev = leaf
        self._recorded_at = entry.recorded_at
        if self._may_be_keys(entry.keys):
            self._keys, self._skipped_from = entry.keys, None
        if entry.kind in ("genesis", "key"):
            self._keys, self._skipped_from = position, None
            if len(self._keys_seqs) < KEYS_SEQS_MAX:
                self._keys_seqs.append(position)
        if self._on_record is not None:
            for finding in self._on_record(position, entry, statement):
                self.report(finding)

    def _fault_of(self, position: int, entry: Entry) -> tuple[str, str, Cause] | None:
        """Hold a well-formed entry against those before it."""
        if entry.seq != position:
            return "entry.seq", f"the entry at {position} calls itself {entry.seq}", "refuted"
        if self._prev is not None and entry.prev != self._prev:
            return "entry.prev", f"prev is not the leaf hash of entry {position - 1}", "refuted"
        if not self._may_be_keys(entry.keys):
            detail = f"keys is {entry.keys}; the newest key entry below is {self._keys}"
            return "entry.keys", detail, "refuted"
        if self._recorded_at is not None and entry.recorded_at < self._recorded_at:
            return "entry.recorded_at", "the time is before that of an earlier entry", "refuted"
        if (entry.kind == "genesis") != (position == 0):
            return (
                "entry.kind",
                f"kind {entry.kind} at {position}; genesis is entry 0 and no other",
                "refuted",
            )
        if entry.kind not in KINDS:
            return (
                "entry.kind",
                f"kind {entry.kind} is not known here, so nothing vouches for it",
                "unverifiable",
            )
        return None

    def _may_be_keys(self, keys: int) -> bool:
        """Say whether the newest key entry may stand there, for all that is known of the entries below.

        An entry that was altered or is missing may have been a key entry; the next sound one tells.
        """
        return keys == self._keys or (self._skipped_from is not None and keys >= self._skipped_from)

    def _check_statement(self, position: int, entry: Entry) -> bytes | None:
        """Give the entry's statement, if it is there and is the one."""
        statement = self._statement_at(position)
        if self._shift and (statement is None or sha256(statement).digest() != entry.statement):
            # Rows that lost or gained an entry may have lost or gained its statement with it.
            moved = read_rows(
                self._reader.read_statements, position + self._shift, position + self._shift + 1
            )
            statement = moved[0]
        if statement is None:
            detail = f"the statement of entry {position} is erased, withheld or gone: it was not checked"
            self.report(Finding(position, "statement.missing", detail, "unverifiable"))
            return None
        digest = sha256(statement).digest()
        if digest != entry.statement:
            detail = f"the statement's digest is {digest.hex()}; entry {position} has {entry.statement.hex()}"
            self.report(Finding(position, "statement.altered", detail, "refuted"))
            return None
        self._statements_checked += 1
        return statement

    def _statement_at(self, position: int) -> bytes | None:
        if not 0 <= position - self._statements_start < len(self._statements):
            self._statements_start = position
            end = min(position + self._chunk, self._size)
            self._statements = read_rows(self._reader.read_statements, position, end)
        return self._statements[position - self._statements_start]

    def _check_beyond(self) -> None:
        """Look for rows after the last one that is signed for: nobody vouches for them."""
        if not self._is_own_claim or self._claim is None:
            return
        beyond = self._size + self._shift
        if read_rows(self._reader.read_entries, beyond, beyond + 1)[0] is None:
            return
        try:
            newest = parse_unverified(self._reader.read_checkpoint())
        except Fault:
            return
        # A ledger that is being written to has moved on meanwhile, and so has its checkpoint.
        if newest.tree_size == self._claim.tree_size:
            detail = f"entries from {self._size} on are stored, and no checkpoint covers them yet"
            self.report(Finding(self._size, "entry.unsigned", detail, "notyet"))
