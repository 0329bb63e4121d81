"""Step 6 of 9: the chain. Below ledger.audit: holds entries against the tree and against each other.

A Walk goes through the log one level-0 tile at a time. The arbiter says which leaf hashes must stand
there; the walk finds the rows that have them, names what stands there instead, and holds each entry
against those before it. What it must remember from one tile to the next is a WalkState, a small value:
so a walk can begin anywhere, by a state that somebody expects, and what it found counts if the walk up
to there ends in the very same state.

Promise: an entry that is in order costs a rendering and a comparison, nothing else. What must stand
there follows from the entry before, the position and the statement; only the time and the kind are read.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger import entry as entries
from ledger.arbiter import SHIFT_MAX, Expected, read_rows
from ledger.entry import KINDS, ZERO_PREV, Entry
from ledger.errors import EntryMalformed
from ledger.findings import Cause, Finding, LedgerReader, Report, finding_of
from ledger.merkle import leaf_hashes

KEYS_SEQS_MAX = 1_000_000  # key statements are rare; a log of nothing else must not fill the memory
_TIME_LENGTH = len("2026-11-20T12:00:00.123456Z")
_SECOND_LENGTH = len("2026-11-20T12:00:00.")
_FROM_PREV_TO_TIME = 44 + len('","recorded_at":"')

OnRecord = Callable[[int, Entry, bytes | None], Iterable[Finding]]
# (seq of the first, the `keys` link of all, the `recorded_at` of each as written, their statements)
OnEvents = Callable[[int, int, Sequence[bytes], Sequence[bytes]], None]


@dataclass(frozen=True, slots=True)
class WalkState:
    """What is known of the chain at a position. None: not known, since the entry before was altered."""

    prev: bytes | None = ZERO_PREV  # leaf hash of the entry below
    keys: int = 0  # the newest key entry below
    skipped_from: int | None = None  # since then, entries that may or may not be key entries
    recorded_at: bytes = b""  # of the newest sound entry below, as written
    shift: int = 0  # row p + shift holds entry p, since entries were removed or inserted
    missing_from: int | None = None  # the first of a row of entries that are not stored


def expect_state(reader: LedgerReader, position: int, shift: int = 0) -> WalkState | None:
    """Say in which state a walk arrives at this position if all is well just below it; None if it is not."""
    if position == 0:
        return WalkState()
    rows = read_rows(reader.read_entries, position - 1 + shift, position + shift)
    if rows[0] is None:
        return None
    try:
        below = entries.parse(rows[0])
    except EntryMalformed:
        return None
    return WalkState(
        prev=entries.leaf_hash(rows[0]),
        keys=position - 1 if below.kind in ("genesis", "key") else below.keys,
        recorded_at=entries.render_time(below.recorded_at).encode(),
        shift=shift,
    )


class _Rows:
    """The entries as the reader has them, a chunk at a time, looked up by position."""

    def __init__(self, reader: LedgerReader, chunk: int) -> None:
        self._reader = reader
        self._chunk = chunk
        self._start = 0
        self._rows: list[bytes | None] = []

    def span(self, start: int, end: int, ahead: int) -> list[bytes | None]:
        """Give the rows start <= position < end, and read ahead up to `ahead`."""
        start_held = start - self._start
        if not 0 <= start_held <= end - self._start <= len(self._rows):
            self._start, start_held = start, 0
            self._rows = read_rows(
                self._reader.read_entries, start, max(end, min(start + self._chunk, ahead))
            )
        return self._rows[start_held : start_held + end - start]

    def at(self, position: int) -> bytes | None:
        """Give one row, from wherever."""
        if 0 <= position - self._start < len(self._rows):
            return self._rows[position - self._start]
        if position < 0:
            return None
        return read_rows(self._reader.read_entries, position, position + 1)[0]


class Walk:
    """One walk over a range of the log: what is known of the chain so far, and what was checked.

    end        where it will end: nothing is read ahead beyond
    on_record  called in log order with each entry that the tree proves; its findings are reported
    on_events  called instead for neighbouring events that are in order in every respect, for less
    """

    def __init__(
        self,
        reader: LedgerReader,
        end: int,
        chunk: int,
        report: Report,
        *,
        state: WalkState,
        on_record: OnRecord | None = None,
        on_events: OnEvents | None = None,
    ) -> None:
        self._reader = reader
        self._end = end
        self._chunk = chunk
        self.report = report
        self._on_record = on_record
        self._on_events = on_events
        self._rows = _Rows(reader, chunk)
        self._read_statements = getattr(reader, "read_signed_statements", reader.read_statements)
        self._statements: list[bytes | None] = []
        self._statements_start = 0
        self._prev = state.prev
        self._keys = state.keys
        self._skipped_from = state.skipped_from
        self._recorded_at = state.recorded_at
        self._shift = state.shift
        self._missing_from = state.missing_from
        self._second = b""  # the beginning of a time that is known to be one
        self.entries_checked = 0  # in the tree where they should be, and well-formed
        self.statements_checked = 0  # that have their entry's digest
        self.events = 0  # entries of that kind, as far as the tree proves them
        self.keys_seqs: list[int] = []  # positions of genesis and key entries

    @property
    def state(self) -> WalkState:
        """Where the walk stands now."""
        return WalkState(
            self._prev, self._keys, self._skipped_from, self._recorded_at, self._shift, self._missing_from
        )

    def finish(self, size: int) -> None:
        """Say what is missing at the log's end."""
        self._end_of_missing(size)

    def check_tile(self, expected: Expected, lookahead: Sequence[bytes | None]) -> None:
        """Check the entries under one level-0 tile; lookahead are leaf hashes of the next one."""
        start, wanted = expected.start, expected.hashes
        rows = self._rows.span(start + self._shift, start + self._shift + len(wanted), self._end)
        held = [row for row in rows if row is not None]
        leaves = leaf_hashes(held)
        if leaves == list(wanted):
            self._check_rows(start, held, leaves, self._statements_from(start, len(held)))
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

    # Entries that the tree proves.

    def _check_rows(
        self,
        start: int,
        rows: Sequence[bytes],
        leaves: Sequence[bytes],
        statements: Sequence[bytes | None],
    ) -> None:
        """Check them all at once where they are events in order, and by halves where one is not."""
        if self._are_in_order(start, rows, leaves, statements):
            return
        if len(rows) == 1:
            self._check_entry(start, rows[0], leaves[0])
            return
        middle = len(rows) // 2
        self._check_rows(start, rows[:middle], leaves[:middle], statements[:middle])
        self._check_rows(start + middle, rows[middle:], leaves[middle:], statements[middle:])

    def _are_in_order(
        self,
        start: int,
        rows: Sequence[bytes],
        leaves: Sequence[bytes],
        statements: Sequence[bytes | None],
    ) -> bool:
        """Take events that are exactly what must stand here. False: _check_entry() says what they are.

        Each costs two hashes, a rendering and a comparison; nothing is parsed.
        """
        prev, held = self._prev, [statement for statement in statements if statement is not None]
        if prev is None or self._skipped_from is not None or self._shift or not start:
            return False
        if len(held) < len(rows):
            return False
        head = b'{"keys":%d,"kind":"event","prev":"' % self._keys
        at = len(head) + _FROM_PREV_TO_TIME
        times = [row[at : at + _TIME_LENGTH] for row in rows]
        text = head + b'%b","recorded_at":"%b","seq":%d,"statement":"%b"}'
        columns = zip((prev, *leaves), times, held, strict=False)
        wanted = [
            text
            % (
                b2a_base64(prev, newline=False),
                time,
                seq,
                b2a_base64(sha256(statement).digest(), newline=False),
            )
            for seq, (prev, time, statement) in enumerate(columns, start)
        ]
        # The texts of times have the order of the times.
        if rows != wanted or times[0] < self._recorded_at or times != sorted(times):
            return False
        if not all(map(self._is_time, dict.fromkeys(times))):
            return False
        self.entries_checked += len(rows)
        self.statements_checked += len(rows)
        self.events += len(rows)
        self._prev = leaves[-1]
        self._recorded_at = times[-1]
        if self._on_events is not None:
            self._on_events(start, self._keys, times, held)
        elif self._on_record is not None:
            for position, (row, statement) in enumerate(zip(rows, held, strict=True), start):
                self._tell(position, entries.parse(row), statement)
        return True

    def _is_time(self, time: bytes) -> bool:
        """Whether an entry may write a time so. In one second, six digits and a Z always end a time."""
        if time[:_SECOND_LENGTH] == self._second and time[_SECOND_LENGTH:-1].isdigit():
            return time.endswith(b"Z")
        try:
            entries.parse_time(time.decode("ascii", "replace"))
        except EntryMalformed:
            return False
        self._second = time[:_SECOND_LENGTH]
        return True

    def _check_entry(self, position: int, row: bytes, leaf: bytes | None) -> None:
        try:
            entry = entries.parse(row)
        except EntryMalformed as e:
            self.report(finding_of(e, position))
            self._skip_entry(position, leaf)
            return
        time = entries.render_time(entry.recorded_at).encode()
        fault = self._fault_of(position, entry, time)
        if fault:
            code, detail, cause = fault
            self.report(Finding(position, code, detail, cause))
        else:
            self.entries_checked += 1
        self.events += entry.kind == "event"
        statement = self._check_statement(position, entry)
        self._prev = leaf
        self._recorded_at = time
        if self._may_be_keys(entry.keys):
            self._keys, self._skipped_from = entry.keys, None
        if entry.kind in ("genesis", "key"):
            self._keys, self._skipped_from = position, None
            if len(self.keys_seqs) < KEYS_SEQS_MAX:
                self.keys_seqs.append(position)
        self._tell(position, entry, statement)

    def _tell(self, position: int, entry: Entry, statement: bytes | None) -> None:
        if self._on_record is not None:
            for finding in self._on_record(position, entry, statement):
                self.report(finding)

    def _fault_of(self, position: int, entry: Entry, time: bytes) -> tuple[str, str, Cause] | None:
        """Hold a well-formed entry against those before it."""
        if entry.seq != position:
            return "entry.seq", f"the entry at {position} calls itself {entry.seq}", "refuted"
        if self._prev is not None and entry.prev != self._prev:
            return "entry.prev", f"prev is not the leaf hash of entry {position - 1}", "refuted"
        if not self._may_be_keys(entry.keys):
            detail = f"keys is {entry.keys}; the newest key entry below is {self._keys}"
            return "entry.keys", detail, "refuted"
        if time < self._recorded_at:
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
            detail = (
                f"the statement stored for entry {position} is not the one that was recorded:"
                f" its digest is {digest.hex()}, the entry's is {entry.statement.hex()}"
            )
            self.report(Finding(position, "statement.altered", detail, "refuted"))
            return None
        self.statements_checked += 1
        return statement

    def _statements_from(self, start: int, count: int) -> list[bytes | None]:
        self._statement_at(start)
        offset = start - self._statements_start
        held = self._statements[offset : offset + count]
        return held if len(held) == count else [self._statement_at(start + place) for place in range(count)]

    def _statement_at(self, position: int) -> bytes | None:
        if not 0 <= position - self._statements_start < len(self._statements):
            self._statements_start = position
            end = max(position + 1, min(position + self._chunk, self._end))
            self._statements = read_rows(self._read_statements, position, end)
        return self._statements[position - self._statements_start]
