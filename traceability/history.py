"""Step 8 of 9: what happened to one thing, in log order, whatever box it was in at the time.

While a pack is in a case, the case's events are the pack's too, and while the case is on a pallet, the
pallet's. Nothing is believed that is not in the statements themselves: the index only says where to look.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from keys import envelope
from keys.errors import Fault
from traceability.event import Event
from traceability.gs1.canonical import judge
from traceability.names import index_key, names_v1
from traceability.readers import read_content

ITEMS_MAX = 1_000  # what one answer shows, unless it is asked for more
PLACES_READ_MAX = 20_000  # statements read for one answer; a reused pallet has thousands
SIZE_READ_MAX = 64 * 1024 * 1024  # bytes of statements kept for one answer: sixty of the largest documents
PARSED_KEPT_MAX = 4  # statements whose events are at hand: a document is asked for one event after another
NESTING_MAX = 16  # packs in boxes in cases on pallets in containers on ships: six are common
_PAGE = 256
_READ_AT_ONCE = 16  # statements, each of a megabyte at most

Place = tuple[int, int]  # (seq, ordinal)
_BEGINNING: Place = (-1, -1)
_END: Place = (2**63, 0)


class HistoryReader(Protocol):
    """What history needs of a ledger; a LedgerStore is one."""

    def find_name(self, key: int, *, after: Place | None = None, limit: int) -> list[Place]: ...

    def read_records(self, seqs: Sequence[int]) -> Sequence[tuple[bytes, bytes | None]]:
        """Entry and statement at each of these positions; None for a statement that is erased."""
        ...


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One event, and how it concerns the thing asked for."""

    seq: int
    ordinal: int  # position within the statement
    event: Event
    statement_bytes: bytes  # exactly as signed
    entry: bytes  # canonical bytes of the ledger's entry
    via: tuple[str, ...]  # () for an event that names the thing; else the boxes around it, innermost first


@dataclass(frozen=True, slots=True)
class History:
    """Everything the ledger has about one thing, or its earliest part."""

    name: str
    items: tuple[HistoryItem, ...]  # in log order
    truncated: bool  # there is more than `items` shows
    withheld: int  # statements that the index points to and that are erased: nobody can say what they named


def history(
    reader: HistoryReader, name: str, *, through_aggregation: bool = True, limit: int = ITEMS_MAX
) -> History:
    """The events that name a thing, and those of whatever it was packed in at the time.

    name   a canonical name, or any spelling of the identifier
    limit  items at most, the earliest ones

    Aggregation is what AggregationEvents say: from ADD until DELETE of the child, or of all of the parent's
    children, or ADD to another parent, for a thing is in one box at a time. An OBSERVE changes nothing, and
    neither does an error declaration. At most PLACES_READ_MAX statements are read, and SIZE_READ_MAX bytes of
    them kept.
    """
    if not name.startswith(("raw:", "event:")):
        name = judge(name)[0]
    walk = _Walk(reader, name, through_aggregation)
    walk.collect(name, _BEGINNING, _END, ())
    places = sorted(walk.found)
    items = tuple(
        HistoryItem(
            *place,
            walk.read[place].event,
            walk.read[place].statement,
            walk.read[place].entry,
            walk.found[place],
        )
        for place in places[:limit]
    )
    return History(name, items, walk.exhausted or len(places) > limit, len(walk.withheld))


@dataclass(frozen=True, slots=True)
class _Read:
    event: Event
    entry: bytes
    statement: bytes
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Stay:
    """One child in one parent: after start, before end."""

    parent: str
    start: Place
    end: Place


class _Timeline:
    """One name's places as far as they were read, where it was packed, and when it was emptied."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.places: list[Place] = []
        self.stays: list[_Stay] = []  # disjoint and rising: a thing is in one box at a time
        self.emptied: list[Place] = []  # DELETEs that list no children, with this as parent
        self.complete = False
        self.cursor: Place | None = None

    def append(self, place: Place, event: Event) -> None:
        self.places.append(place)
        if event.type != "AggregationEvent" or event.parent is None or event.is_error_declaration:
            return
        parent = event.parent.name
        if (
            event.action == "DELETE"
            and parent == self.name
            and not event.children
            and not event.child_quantities
        ):
            self.emptied.append(place)
        if event.action not in ("ADD", "DELETE") or all(child.name != self.name for child in event.children):
            return
        if self.stays and self.stays[-1].end == _END:
            last = self.stays[-1]
            if event.action == "ADD" or parent == last.parent:
                self.stays[-1] = _Stay(last.parent, last.start, place)
        if event.action == "ADD":
            self.stays.append(_Stay(parent, place, _END))

    def between(self, start: Place, end: Place) -> list[Place]:
        """The places after start and before end."""
        return self.places[bisect_right(self.places, start) : bisect_left(self.places, end)]

    def stays_between(self, start: Place, end: Place) -> Iterator[_Stay]:
        """The stays that lie between the two places, if only in part."""
        first = bisect_right(self.stays, start, key=lambda stay: stay.end)
        for stay in self.stays[first:]:
            if stay.start >= end:
                return
            yield stay

    def end_of_stay(self, start: Place, end: Place) -> Place:
        """Just behind the event that took everything out, after start and before end; else `end`."""
        index = bisect_right(self.emptied, start)
        if index == len(self.emptied) or self.emptied[index] >= end:
            return end
        seq, ordinal = self.emptied[index]
        return seq, ordinal + 1


class _Walk:
    def __init__(self, reader: HistoryReader, root: str, through_aggregation: bool) -> None:
        self._reader = reader
        self._root = root
        self._through_aggregation = through_aggregation
        self._timelines: dict[str, _Timeline] = {}
        self._parsed: dict[int, dict[int, _Read]] = {}  # the last few statements, whole
        self._known: dict[Place, _Read | None] = {}
        self._kept: dict[int, tuple[bytes, bytes]] = {}  # entry and statement of what is known
        self._ahead: dict[int, tuple[bytes, bytes | None]] = {}  # of places that come next
        self._reads = 0
        self._size = 0
        self._steps = 0
        self.read: dict[Place, _Read] = {}
        self.found: dict[Place, tuple[str, ...]] = {}
        self.withheld: set[int] = set()
        self.exhausted = False

    def collect(self, name: str, start: Place, end: Place, via: tuple[str, ...]) -> None:
        """Note every event of this name between two places, and of its parents while it was in them."""
        self._steps += 1
        if self._steps > PLACES_READ_MAX:
            self.exhausted = True
            return
        timeline = self._read_timeline(name, end)
        for place in timeline.between(start, end):
            if place not in self.found or len(via) < len(self.found[place]):
                self.found[place] = via
        if not self._through_aggregation:
            return
        for stay in timeline.stays_between(start, end):
            # A box within itself is a lie or a mistake; either way, going round does not make it longer.
            if stay.parent in (self._root, name) or stay.parent in via:
                continue
            if len(via) >= NESTING_MAX:
                self.exhausted = True
                return
            first, last = max(start, stay.start), min(end, stay.end)
            last = self._read_timeline(stay.parent, last).end_of_stay(stay.start, last)
            if first < last:
                self.collect(stay.parent, first, last, (*via, stay.parent))

    def _read_timeline(self, name: str, end: Place) -> _Timeline:
        """The timeline of a name, read at least as far as `end`."""
        timeline = self._timelines.get(name)
        if timeline is None:
            timeline = self._timelines[name] = _Timeline(name)
        key = index_key(name)
        while not timeline.complete and (timeline.cursor is None or timeline.cursor < end):
            page = self._reader.find_name(key, after=timeline.cursor, limit=_PAGE)
            for index, place in enumerate(page):
                if index % _READ_AT_ONCE == 0:
                    self._read_ahead(page[index : index + _READ_AT_ONCE])
                # Keys are 64 bits, and made to collide they would put a stranger's events here.
                read = self._read_place(place)
                if read is not None and name in read.names:
                    timeline.append(place, read.event)
            timeline.cursor = page[-1] if page else timeline.cursor
            timeline.complete = len(page) < _PAGE or self.exhausted
        return timeline

    def _read_place(self, place: Place) -> _Read | None:
        if place not in self._known:
            if self._reads >= PLACES_READ_MAX or self._size > SIZE_READ_MAX:
                self.exhausted = True
                return None
            self._known[place] = self._find_event(place)
        read = self._known[place]
        if read is not None:
            self.read[place] = read
        return read

    def _find_event(self, place: Place) -> _Read | None:
        """One event. Of a document no other is kept for long: all its events are many times its bytes."""
        seq, ordinal = place
        events = self._parsed.pop(seq, None)
        if events is None:
            self._reads += 1
            entry, raw = self._kept.get(seq) or self._ahead.get(seq) or self._reader.read_records([seq])[0]
            if raw is None:
                self.withheld.add(seq)
                return None
            events = _read_events(entry, raw)
        self._parsed[seq] = events
        if len(self._parsed) > PARSED_KEPT_MAX:
            del self._parsed[next(iter(self._parsed))]
        read = events.get(ordinal)
        if read is not None and seq not in self._kept:
            self._kept[seq] = read.entry, read.statement
            self._size += len(read.statement)
        return read

    def _read_ahead(self, places: Sequence[Place]) -> None:
        """Read the statements of these places at once, if they were not read, and as far as they may be."""
        left = PLACES_READ_MAX - self._reads if self._size <= SIZE_READ_MAX else 0
        seqs = dict.fromkeys(place[0] for place in places if place not in self._known)
        wanted = [seq for seq in seqs if seq not in self._kept and seq not in self._parsed][:left]
        records = self._reader.read_records(wanted) if wanted else ()
        self._ahead = dict(zip(wanted, records, strict=True))


def _read_events(entry: bytes, raw: bytes) -> dict[int, _Read]:
    """The events of a statement by their positions in it."""
    try:
        statement = envelope.parse(raw)
        content = read_content(statement.typ, statement.payload)
    except Fault:
        # What was admitted can be read; what was altered since is the audit's to report.
        return {}
    names: dict[int, set[str]] = {}
    for ordinal, name in names_v1(content.typ, content.value):
        names.setdefault(ordinal, set()).add(name)
    return {
        ordinal: _Read(event, entry, raw, frozenset(names.get(ordinal, ())))
        for ordinal, event in content.events()
    }
