"""Step 8 of 9: follows the log and keeps the projection up to it. One process; it may lag, and says so.

A step reads a batch of entries, makes a segment of their events and commits it with the position reached.
Running it again over the same log gives the same rows; a step that was cut off never happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ledger import entry as entry_format
from ledger.store.protocol import Head
from projection import segments
from projection.findings import OTHER, Finding
from projection.identity import key_of_hash
from projection.statements import LedgerReader, content_of, microseconds, recorded_at
from projection.store import ProjectionWriter, State
from traceability.epcis.formats import parse_time
from traceability.queries.masterdata import Record, records_of
from traceability.queries.spelling import STANDARD_PREFIXES, identity, prefixes_of, word
from traceability.queries.terms import terms_of

BATCH_ENTRIES = 8_192
BATCH_SIZE_MAX = 16 * 1024 * 1024  # bytes of statements held at once, beyond one read
READ_ENTRIES = 256  # entries in one read: at most 256 large statements are held
SEEN_CACHED_MAX = 200_000

AssignId = Callable[[dict[str, Any]], "str | None"]


class FollowedLedger(LedgerReader, Protocol):
    """The ledger as the projector reads it."""

    def read_head(self) -> Head | None: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: covered of so many positions."""

    covered: int
    tree_size: int
    events: int

    @property
    def behind(self) -> int:
        return self.tree_size - self.covered


class Projector:
    """Keeps one projection.

    assign_id  the event hash (CBV 2.0, 8.9), which is the eventID of an event that has none; None for no hash
    """

    def __init__(
        self, ledger: FollowedLedger, writer: ProjectionWriter, assign_id: AssignId = lambda event: None
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._assign_id = assign_id
        self._state: State | None = None
        self._seen: set[tuple[str, str]] = set()

    def step(self) -> Progress:
        """Cover one more batch, if there is one. About 35 µs an event. Raises StoreFailed."""
        head = self._ledger.read_head()
        if head is None or head.tree_size == 0:
            return Progress(0, 0, 0)
        state = self._state or self._open(head)
        if (
            state.next_seq > head.tree_size
        ):  # a restored backup: what was made of the rest is not there any more
            state = self._writer.restart(state.ledger)
            self._seen.clear()
        self._state = None  # until it is known again: whatever happens now, the next step asks
        if state.next_seq < head.tree_size:
            state = self._project(state, min(head.tree_size, state.next_seq + BATCH_ENTRIES))
            if self._writer.merge_tail():
                state = replace(state, version=state.version + 1)
        self._state = state
        return Progress(state.next_seq, head.tree_size, state.rows)

    def catch_up(self) -> Progress:
        """Step until everything that is in the log now is covered."""
        progress = self.step()
        target = progress.tree_size
        while progress.covered < target:
            progress = self.step()
        return progress

    def _open(self, head: Head) -> State:
        genesis = self._ledger.read_entries(0, 1)[0]
        self._seen.clear()
        return self._writer.prepare(entry_format.leaf_hash(genesis))

    def _project(self, state: State, end: int) -> State:
        batch = _Batch(self._assign_id)
        position = state.next_seq
        while position < end and batch.size < BATCH_SIZE_MAX and batch.has_room:
            stop = min(end, position + READ_ENTRIES)
            entries = self._ledger.read_entries(position, stop)
            statements = self._ledger.read_statements(position, stop)
            for entry, statement in zip(entries, statements, strict=True):
                batch.add(position, entry, statement)
                position += 1
        new = batch.seen - self._seen
        after = self._writer.append(
            state,
            batch.segments(),
            next_seq=position,
            recorded_to=max(batch.recorded_to, state.recorded_to),
            seen=sorted(new),
            records=batch.records,
            hashes=batch.hashes,
            findings=batch.findings,
        )
        if len(self._seen) + len(new) > SEEN_CACHED_MAX:
            self._seen.clear()
        self._seen |= new
        return after


_RESOURCES = (
    ("eventTypes", "type"),
    ("bizSteps", "bizStep"),
    ("dispositions", "disposition"),
    ("readPoints", "readPoint"),
    ("bizLocations", "bizLocation"),
)


class _Batch:
    """Rows of one segment in the making."""

    def __init__(self, assign_id: AssignId) -> None:
        self._assign_id = assign_id
        self._times: list[int] = []
        self._recorded: list[int] = []
        self._seqs: list[int] = []
        self._ordinals: list[int] = []
        self._terms: list[set[int]] = []
        self._noted: set[tuple[str, str]] = set()
        self.seen: set[tuple[str, str]] = set()
        self.records: list[tuple[int, Record]] = []
        self.hashes: list[tuple[bytes, int, int]] = []
        self.findings: list[Finding] = []
        self.size = 0
        self.recorded_to = 0

    @property
    def has_room(self) -> bool:
        return len(self._seqs) < BATCH_ENTRIES

    def add(self, seq: int, entry: bytes, statement: bytes | None) -> None:
        recorded = recorded_at(entry)
        self.recorded_to = max(self.recorded_to, recorded)
        if statement is None:
            return
        self.size += len(statement)
        content = content_of(statement)
        if content is None:
            return
        for ordinal, event in content.bare_events():
            self._add_event(seq, ordinal, event, recorded)
        if isinstance(content.value, dict) and "epcisHeader" in content.value:
            self.records += [(seq, record) for record in records_of(content.value)]

    def _add_event(self, seq: int, ordinal: int, event: dict[str, Any], recorded: int) -> None:
        time = event.get("eventTime")
        moment = parse_time(time) if isinstance(time, str) else None
        self._times.append(recorded if moment is None else microseconds(moment))
        self._recorded.append(recorded)
        self._seqs.append(seq)
        self._ordinals.append(ordinal)
        computed = self._assign_id(event)
        self._terms.append(terms_of(event, None if "eventID" in event else computed))
        if computed is not None:
            self._note_hash(seq, ordinal, event, computed)
        self._note_seen(event)

    def _note_hash(self, seq: int, ordinal: int, event: dict[str, Any], computed: str) -> None:
        # A correction says what it corrects once more, and an error declaration is no part of the hash.
        if "errorDeclaration" not in event:
            self.hashes.append((key_of_hash(computed), seq, ordinal))
        claimed = event.get("eventID")
        if isinstance(claimed, str) and claimed.startswith("ni:") and claimed != computed:
            detail = f"its eventID is {claimed[:120]!r}; its event hash is {computed}"
            self.findings.append(Finding(seq, ordinal, OTHER, detail))

    def _note_seen(self, event: dict[str, Any]) -> None:
        """The values that top-level resources list: bare words, and places under their canonical names."""
        prefixes = prefixes_of(event.get("@context"))
        # What is spelled as another event of the batch spelled it is not worked out again.
        known = self._noted if prefixes is STANDARD_PREFIXES else set()
        for kind, field in _RESOURCES:
            value = event.get(field)
            if type(value) is dict:
                value = value.get("id")
            if type(value) is str and (kind, value) not in known:
                known.add((kind, value))
                is_place = kind in ("readPoints", "bizLocations")
                name = identity(value, prefixes).removeprefix("raw:") if is_place else word(value, prefixes)
                self.seen.add((kind, name))

    def segments(self) -> list[segments.Segment]:
        """One, as a rule; a document can bring more events than a segment holds."""
        return [
            segments.build(
                self._times[start : start + segments.SEGMENT_ROWS],
                self._recorded[start : start + segments.SEGMENT_ROWS],
                self._seqs[start : start + segments.SEGMENT_ROWS],
                self._ordinals[start : start + segments.SEGMENT_ROWS],
                self._terms[start : start + segments.SEGMENT_ROWS],
            )
            for start in range(0, len(self._seqs), segments.SEGMENT_ROWS)
        ]
