"""Step 9 of 9: one range of a ledger, chain and signatures together. Between signature_audit and crew.

A range is audited as if all were well below it: from the state in which a
sound log would arrive there, and by the key statements that the links lead
to. Whether it truly was so is for the one to say who joins the ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509

from keys.errors import Fault, NotYet
from ledger import audit as ledger_audit
from ledger import entry as entries
from ledger.arbiter import read_rows
from ledger.audit import LedgerReader, Plan, RangeOutcome
from ledger.tiles import TILE_WIDTH
from ledger.walk import WalkState, expect_state
from verifier.anchors import token_verifier
from verifier.event_judge import EventJudge
from verifier.signature_audit import KeyPlace, KeyRecord, KeyWalk, SignatureAudit, SignatureResult
from verifier.statements import KEY_KINDS

# Each process follows the key history for itself, and holds it: 1 KB a statement. Beyond this, a
# ledger of key statements, they are all applied by one process, which then need not hold them.
KEY_RECORDS_MAX = 20_000
DAMAGED_STEPS_MAX = 1_000  # entries stepped over where a link of the key history is broken


@dataclass(frozen=True, slots=True)
class Setup:
    """What does not change during an audit.

    size_seen  of the ledger's own checkpoint: a reader that sees less is behind, and decides nothing
    """

    origin: str
    roots: tuple[bytes, ...]  # certificates of time-stamp authorities, DER
    with_signatures: bool
    size_seen: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """Tiles first <= number < end.

    state              if it is known; else it is guessed from the entry below, read `shift` rows on
    combinations_left  of the arbiter's, if they are known
    """

    first: int
    end: int
    shift: int = 0
    state: WalkState | None = None
    combinations_left: int | None = None


@dataclass(slots=True)
class Done:
    """What a task came to; `outcome` is None if nothing could be expected of the entry below."""

    task: Task
    outcome: RangeOutcome | None
    begun: KeyPlace
    ended: KeyPlace
    signatures: SignatureResult
    key_records: list[KeyRecord]


class RangeAuditor:
    """Audits ranges of one ledger, the key history at hand."""

    def __init__(self, reader: LedgerReader, setup: Setup) -> None:
        self._reader = reader
        self._setup = setup
        self._tokens = token_verifier([x509.load_der_x509_certificate(root) for root in setup.roots])
        self._plan: Plan | None = None
        self._records: Sequence[KeyRecord] = ()
        self._gap: int | None = None
        self._keys = KeyWalk(setup.origin)  # after the first _used of the records
        self._used = 0
        self._judge: EventJudge | None = None  # of the key state that the last range ended in

    def begin(self, plan: Plan, records: Sequence[KeyRecord], gap: int | None) -> None:
        """Take what holds for all ranges from now on.

        records  the key history, as far as anybody knows it, ascending
        gap      where it is known to have one
        """
        self._plan, self._records, self._gap = plan, records, gap
        self._forget()

    def audit(self, task: Task) -> Done:
        """Audit one range. Raises what the reader raises."""
        assert self._plan is not None
        start = task.first * TILE_WIDTH
        state = task.state or expect_state(self._reader, start, task.shift)
        keys = self._keys_below(start)
        signatures = SignatureAudit(self._setup.origin, self._tokens, keys.copy(), self._judge)
        outcome = None
        if state is not None:
            listens = self._setup.with_signatures
            outcome = ledger_audit.audit_range(
                self._reader,
                self._plan,
                task.first,
                task.end,
                state=state,
                on_record=signatures.on_record if listens else None,
                on_events=signatures.on_events if listens else None,
                combinations_left=task.combinations_left,
            )
        self._judge = signatures.judge
        return Done(
            task, outcome, keys.place, signatures.keys.place, signatures.result, signatures.key_records
        )

    def _keys_below(self, start: int) -> KeyWalk:
        """Follow the key history up to here; ranges mostly come in order, so it is followed once."""
        if self._used and self._records[self._used - 1][0].seq >= start:
            self._forget()
        while self._used < len(self._records) and self._records[self._used][0].seq < start:
            self._keys.apply(*self._records[self._used])
            self._used += 1
        return self._keys

    def _forget(self) -> None:
        self._keys, self._used = KeyWalk(self._setup.origin), 0
        if self._gap is not None:
            self._keys.note_gap(self._gap)


def read_key_records(reader: LedgerReader, size: int) -> list[KeyRecord] | None:
    """Follow the links from the last entry to the first: all key statements, if all is well.

    None if there are more than KEY_RECORDS_MAX. Nothing here is believed: each range tells which key
    statements it came by, and those count.
    """
    records: list[KeyRecord] = []
    seq, steps_left = size - 1, DAMAGED_STEPS_MAX
    while seq >= 0 and steps_left:
        row = read_rows(reader.read_entries, seq, seq + 1)[0]
        try:
            entry = entries.parse(row or b"")
        except Fault as fault:
            if isinstance(fault, NotYet):
                raise
            entry = None
        if entry is None or entry.seq != seq:
            seq, steps_left = seq - 1, steps_left - 1
            continue
        if entry.kind in KEY_KINDS:
            if len(records) >= KEY_RECORDS_MAX:
                return None
            statement = read_rows(reader.read_statements, seq, seq + 1)[0]
            is_its_own = statement is not None and sha256(statement).digest() == entry.statement
            records.append((entry, statement if is_its_own else None))
        if seq == 0:
            break
        seq = entry.keys
    records.reverse()
    return records
