"""Step 8 of 9: what happened to one thing, in log order, whatever box it was in at the time.

While a pack is in a case, the case's events are the pack's too, and while the case is on a pallet, the
pallet's. Nothing is believed that is not in the statements themselves: the index only says where to look.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from keys import envelope
from keys.errors import Malformed
from traceability.event import Event
from traceability.gs1.canonical import judge
from traceability.names import index_key, names_v1
from traceability.readers import event_values, parse_payload

ITEMS_MAX = 1_000  # what one answer shows, unless it is asked for more
PLACES_READ_MAX = 20_000  # statements read for one answer; a reused pallet has thousands
NESTING_MAX = 16  # packs in boxes in cases on pallets in containers on ships: six are common
_PAGE = 256

Place = tuple[int, int]  # (seq, ordinal)
_BEGINNING: Place = (-1, -1)
_END: Place = (2**63, 0)


class HistoryReader(Protocol):
    """What history needs of a ledger; a LedgerStore is one."""

    def find_name(self, key: int, *, after: Place | None = None, limit: int) -> list[Place]: ...

    def read_statement(self, seq: int) -> bytes | None: ...

    def read_entry(self, seq: int) -> bytes: ...


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
    neither does an error declaration. At most PLACES_READ_MAX statements are read.
    """
    if not name.startswith("raw:"):
        name = judge(name)[0]
    walk = _Walk(reader, through_aggregation)
    walk.collect(name, _BEGINNING, _END, ())
    places = sorted(walk.found)
    items = tuple(
        HistoryItem(
            *place,
            walk.read[place].event,
            walk.read[place].statement,
            reader.read_entry(place[0]),
            walk.found[place],
        )
        for place in places[:limit]
    )
    return History(name, items, walk.exhausted or len(places) > limit, len(walk.withheld))


@dataclass(frozen=True, slots=True)
class _Read:
    event: Event
    statement: bytes
    names: frozenset[str]


@dataclass(slots=True)
class _Timeline:
    """The places of one name as far as they were read, and where it was packed."""

    places: list[Place]
    complete: bool


@dataclass(frozen=True, slots=True)
class _Stay:
    """One child in one parent: after start, before end."""

    parent: str
    start: Place
    end: Place


class _Walk:
    def __init__(self, reader: HistoryReader, through_aggregation: bool) -> None:
        self._reader = reader
        self._through_aggregation = through_aggregation
        self._timelines: dict[str, _Timeline] = {}
        self._statements: dict[int, dict[int, _Read] | None] = {}
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
        places = self._places(name, end)
        inside = places[bisect_right(places, start) : bisect_left(places, end)]
        for place in inside:
            if place not in self.found or len(via) < len(self.found[place]):
                self.found[place] = via
        if not self._through_aggregation:
            return
        if len(via) >= NESTING_MAX:
            self.exhausted = True
            return
        for stay in self._stays(name, places, end):
            first, last = max(start, stay.start), min(end, stay.end)
            # A box within itself is a lie or a mistake; either way, going round does not make it longer.
            if first < last and stay.parent != name and stay.parent not in via:
                self.collect(stay.parent, first, last, (*via, stay.parent))

    def _stays(self, child: str, places: list[Place], end: Place) -> Iterator[_Stay]:
        parent, since = "", _BEGINNING
        for place in places[: bisect_left(places, end)]:
            event = self.read[place].event
            if event.type != "AggregationEvent" or event.parent is None or event.is_error_declaration:
                continue
            if event.action not in ("ADD", "DELETE") or child not in {c.name for c in event.children}:
                continue
            if event.action == "ADD":
                if parent:
                    yield _Stay(parent, since, self._emptied(parent, since, place))
                parent, since = event.parent.name, place
            elif parent == event.parent.name:
                yield _Stay(parent, since, self._emptied(parent, since, place))
                parent = ""
        if parent:
            yield _Stay(parent, since, self._emptied(parent, since, end))

    def _emptied(self, parent: str, start: Place, end: Place) -> Place:
        """Where a DELETE that lists no children took everything out of the parent; `end` if nothing did."""
        places = self._places(parent, end)
        for place in places[bisect_right(places, start) : bisect_left(places, end)]:
            event = self.read[place].event
            if (
                event.type == "AggregationEvent"
                and event.action == "DELETE"
                and not event.is_error_declaration
                and event.parent is not None
                and event.parent.name == parent
                and not event.children
                and not event.child_quantities
            ):
                return place
        return end

    def _places(self, name: str, end: Place) -> list[Place]:
        """The places of a name in log order: all before `end`, and perhaps some behind it."""
        timeline = self._timelines.setdefault(name, _Timeline([], complete=False))
        key = index_key(name)
        after = timeline.places[-1] if timeline.places else None
        while not timeline.complete and (after is None or after < end):
            page = self._reader.find_name(key, after=after, limit=_PAGE)
            timeline.complete = len(page) < _PAGE
            for place in page:
                # Keys are 64 bits, and made to collide they would put a stranger's events here.
                read = self._read_place(place)
                if read is not None and name in read.names:
                    timeline.places.append(place)
            if page:
                after = page[-1]
            if self.exhausted:
                timeline.complete = True
        return timeline.places

    def _read_place(self, place: Place) -> _Read | None:
        seq, ordinal = place
        if seq not in self._statements:
            if len(self._statements) >= PLACES_READ_MAX:
                self.exhausted = True
                return None
            self._statements[seq] = self._read_statement(seq)
        events = self._statements[seq]
        if events is None:
            self.withheld.add(seq)
            return None
        read = events.get(ordinal)
        if read is not None:
            self.read[place] = read
        return read

    def _read_statement(self, seq: int) -> dict[int, _Read] | None:
        raw = self._reader.read_statement(seq)
        if raw is None:
            return None
        try:
            statement = envelope.parse(raw)
            value = parse_payload(statement.payload)
        except Malformed:
            # What was admitted can be read; what was altered since is the audit's to report.
            return {}
        names: dict[int, set[str]] = {}
        for ordinal, name in names_v1(statement.typ, value):
            names.setdefault(ordinal, set()).add(name)
        return {
            ordinal: _Read(Event(event), raw, frozenset(names.get(ordinal, ())))
            for ordinal, event in event_values(statement.typ, value)
            if isinstance(event, dict)
        }
