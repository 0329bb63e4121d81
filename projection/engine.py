"""Step 8 of 9: answers to queries, page by page. Between traceability.queries, which says what, and the door.

The index proposes, the event decides: every event shown was read from the ledger and asked again by
traceability.queries.matches. What the index has no terms for is decided by reading, within bounds.

    names       MATCH_ by exact EPCs: the ledger's own name index gives the places
    postings    everything else: for each segment, the rows that have one term of every group
    order       recordTime is the order of the log; eventTime merges segments, newest or oldest first, and
                opens only those whose times can come next

A page looks at positions below `bound`, which its token carries on: what was recorded after the first page is
not in later ones. The last page costs what the first one does.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Protocol

import numpy as np

from projection import segments
from projection.cache import Cache
from projection.segments import Ints, Rows
from projection.statements import (
    RecordsReader,
    content_of,
    microseconds,
    moment_of,
    read_many,
    recorded_at,
)
from projection.store import Extent, Projection, Snapshot
from traceability.epcis.formats import parse_time
from traceability.errors import QueryTokenFault, QueryTooComplex, QueryTooLarge
from traceability.names import index_key
from traceability.queries.matches import Look, holds, sort_value
from traceability.queries.model import Family, Filter, Query
from traceability.queries.terms import groups_of, names_of
from traceability.queries.tokens import LIFETIME_S, Cursor, open_token, seal

READS_MAX = 20_000  # events read for one page that are not in it
SEARCH_TIME_MAX_S = 5.0
PLACES_MAX = 100_000  # of one exact name; a pallet that comes back daily for a lifetime has fewer
PLACES_DIRECT_MAX = 256  # up to here the events are read and sorted, without the columns
ORDERED_MAX = 10_000  # events that are read and sorted by an extension's field
READ_AHEAD_MAX = 256
NAMES_PAGE = 10_000
_FIX = "narrow it: by time (GE_eventTime, LT_eventTime), bizStep, place or EPC"

MayRead = Callable[[str], bool]
Place = tuple[int, int]


class SearchedLedger(RecordsReader, Protocol):
    """The ledger as answers read it."""

    def find_name(
        self, key: int, *, after: Place | None = None, limit: int, descending: bool = False
    ) -> list[Place]: ...


@dataclass(frozen=True, slots=True)
class Found:
    """One event of an answer."""

    seq: int
    ordinal: int
    event: dict[str, Any]
    recorded_at: datetime
    event_id: str | None  # its own, or the one assigned to it
    key: int = 0  # what it is ordered by: microseconds since 1970


@dataclass(frozen=True, slots=True)
class Page:
    """A part of an answer.

    covered  every position below was looked at; what was recorded since is not in the answer
    """

    events: tuple[Found, ...]
    next_token: str | None
    expires_at: int | None  # of the token, Unix seconds
    covered: int


@dataclass(frozen=True, slots=True, order=True)
class _Candidate:
    """An event that may answer: what it is ordered by, and where it is."""

    key: int
    seq: int
    ordinal: int
    recorded: int = -1  # -1: not known yet


class Engine:
    """Answers queries over one ledger and its projection. Safe from any thread.

    key        KEY_SIZE secret bytes for page tokens, the same in every process of a server
    assign_id  as the projector's
    """

    def __init__(
        self,
        ledger: SearchedLedger,
        projection: Projection,
        key: bytes,
        *,
        clock: Callable[[], datetime],
        assign_id: Callable[[dict[str, Any]], str | None] = lambda event: None,
        cache: Cache | None = None,
    ) -> None:
        self.ledger = ledger
        self.projection = projection
        self.key = key
        self._clock = clock
        self._assign_id = assign_id
        self._cache = cache or Cache()

    def search(self, query: Query, may_read: MayRead) -> Page:
        """One page of the answer.

        may_read  whether this caller may see payloads of a typ; what it refuses is neither shown nor counted

        Raises QueryTokenFault, QueryTooLarge, QueryTooComplex, and StoreFailed while there is no projection.
        """
        now = self.now()
        with self.projection.snapshot() as snapshot:
            cursor = Cursor(snapshot.state.next_seq, left=query.event_count_limit)
            first = True
            if query.next_page_token is not None:
                cursor = open_token(query.next_page_token, query.digest, now, self.key)
                first = False
            search = _Search(self, snapshot, query, cursor, None if first else cursor, may_read)
            return self._page(search, query, cursor, now)

    def _page(self, search: _Search, query: Query, cursor: Cursor, now: int) -> Page:
        wanted = query.per_page if cursor.left is None else min(query.per_page, cursor.left)
        answers = search.answers()
        shown: list[Found] = []
        more = False
        try:
            for found in answers:
                if len(shown) == wanted:
                    more = cursor.left is None or cursor.left > wanted
                    break
                shown.append(found)
            if query.max_event_count is not None and not cursor.counted:
                count = len(shown) + (1 if more else 0)
                count += sum(1 for _ in islice(answers, max(0, query.max_event_count + 1 - count)))
                if count > query.max_event_count:
                    raise QueryTooLarge(
                        "query.too-large", f"more than {query.max_event_count} events answer this query"
                    )
        except _Exhausted as exhausted:
            # What was found is shown, and the next page goes on behind what was read in vain.
            counting = query.max_event_count is not None and not cursor.counted
            if not shown or counting or exhausted.last is None:
                raise QueryTooComplex(
                    "query.complex",
                    f"to answer this query, more than {READS_MAX} events would have to be read one by one",
                    fix=_FIX,
                ) from None
            return self._sealed(shown, exhausted.last, query, cursor, now, search.bound)
        if not more:
            return Page(tuple(shown), None, None, search.bound)
        last = shown[-1]
        behind = _Candidate(last.key, last.seq, last.ordinal)
        return self._sealed(shown, behind, query, cursor, now, search.bound)

    def _sealed(
        self, shown: list[Found], last: _Candidate, query: Query, cursor: Cursor, now: int, bound: int
    ) -> Page:
        left = None if cursor.left is None else cursor.left - len(shown)
        expires_at = now + LIFETIME_S
        behind = Cursor(bound, last.key, last.seq, last.ordinal, left, query.max_event_count is not None)
        return Page(tuple(shown), seal(behind, query.digest, expires_at, self.key), expires_at, bound)

    # What a search needs of the stores.

    def extents(self, snapshot: Snapshot) -> list[Extent]:
        state = snapshot.state
        return self._cache.get(
            (state.generation, "directory", state.version), lambda: snapshot.extents(), 16_384
        )

    def column(self, snapshot: Snapshot, extent: Extent, name: str) -> Ints:
        return self._cache.get(
            (snapshot.state.generation, extent.first_row, extent.rows, name),
            lambda: segments.read_column(name, snapshot.column(extent.first_row, name)),
            8 * extent.rows,
        )

    def rows(self, snapshot: Snapshot, extent: Extent, term: int) -> Rows | None:
        number = segments.bucket_of(term, extent.bits)
        bucket = self._cache.get(
            (snapshot.state.generation, extent.first_row, extent.rows, number),
            lambda: _bucket(snapshot.bucket(extent.first_row, number)),
            segments.BUCKET_SIZE,
        )
        return None if bucket is None else bucket.rows(term)

    def places(self, name: str, bound: int) -> list[Place]:
        """Every place that names a thing. Raises QueryTooComplex beyond PLACES_MAX."""
        key = index_key(name)
        found: list[Place] = []
        after: Place | None = None
        while True:
            page = self.ledger.find_name(key, after=after, limit=NAMES_PAGE)
            found += page
            if len(page) < NAMES_PAGE or page[-1][0] >= bound:
                break
            after = page[-1]
            if len(found) > PLACES_MAX:
                raise QueryTooComplex(
                    "query.complex", f"{name} is named by more than {PLACES_MAX} events", fix=_FIX
                )
        return [place for place in found if place[0] < bound]

    def now(self) -> int:
        """Unix seconds."""
        return int(self._clock().timestamp())

    def assigned_id(self, event: dict[str, Any]) -> str | None:
        return self._assign_id(event)


def _bucket(body: bytes | None) -> segments.Bucket | None:
    return None if body is None else segments.Bucket(body)


class _Exhausted(Exception):
    """The search has read what one page may; `last` is the last candidate looked at."""

    def __init__(self, last: _Candidate | None) -> None:
        super().__init__()
        self.last = last


class _Search:
    """One page being made."""

    def __init__(
        self,
        engine: Engine,
        snapshot: Snapshot,
        query: Query,
        cursor: Cursor,
        resume: Cursor | None,
        may_read: MayRead,
    ) -> None:
        self._engine = engine
        self._snapshot = snapshot
        self._query = query
        self._resume = resume
        self._may_read = may_read
        self._read = 0
        self._deadline = time.monotonic() + SEARCH_TIME_MAX_S
        self.bound = cursor.bound
        self._descending = query.order.descending
        self._by_time = query.order.field == "eventTime"
        self._time = _window(query, Family.EVENT_TIME)
        self._recorded = _window(query, Family.RECORD_TIME)
        self._groups = groups_of(query, snapshot)
        # The cheap and the telling ones first: what an event fails by, it fails by soon.
        self._asks_id = any(one.family is Family.EVENT_ID for one in query.filters)
        self._filters = sorted(query.filters, key=lambda one: one.family in _DEAR)

    def answers(self) -> Iterator[Found]:
        """The events that answer, in order, behind the cursor. Raises _Exhausted."""
        if self._query.order.by_extension:
            return self._ordered_by_extension()
        places = self._exact_places()
        if places is not None and len(places) <= PLACES_DIRECT_MAX:
            return iter(self._direct(places))
        return self._checked(self._candidates(places))

    # --- candidates -----------------------------------------------------------------------------

    def _exact_places(self) -> set[Place] | None:
        """The places that every filter by exact names allows; None if there is no such filter."""
        allowed: set[Place] | None = None
        for one in self._query.filters:
            names = names_of(one)
            if names is not None:
                found = {place for name in names for place in self._engine.places(name, self.bound)}
                allowed = found if allowed is None else allowed & found
        return allowed

    def _direct(self, places: set[Place]) -> list[Found]:
        """Few places: read them all, and sort."""
        found = []
        resume = None if self._resume is None else self._resume_key()
        for one in self._read_events(sorted(places), known=None):
            if resume is None or self._is_behind(_Candidate(one.key, one.seq, one.ordinal), resume):
                found.append(one)
        found.sort(key=lambda one: (one.key, one.seq, one.ordinal), reverse=self._descending)
        return found

    def _candidates(self, places: set[Place] | None) -> Iterator[_Candidate]:
        by_segment = None if places is None else np.array(sorted(places), dtype=np.int64).reshape(-1, 2)
        extents = [extent for extent in self._engine.extents(self._snapshot) if self._may_have(extent)]
        if by_segment is not None:
            extents = [
                extent
                for extent in extents
                if np.searchsorted(by_segment[:, 0], extent.first_seq)
                < np.searchsorted(by_segment[:, 0], extent.last_seq, side="right")
            ]
        if self._by_time:
            return self._merged_by_time(extents, by_segment)
        if self._descending:
            extents.reverse()
        return (one for extent in extents for one in self._in_order(extent, by_segment))

    def _may_have(self, extent: Extent) -> bool:
        """Whether anything in a segment can be within the windows, below the bound and behind the cursor."""
        if extent.first_seq >= self.bound:
            return False
        if extent.time_max < self._time[0] or extent.time_min >= self._time[1]:
            return False
        if extent.recorded_max < self._recorded[0] or extent.recorded_min >= self._recorded[1]:
            return False
        if self._resume is None:
            return True
        if self._by_time:
            edge = extent.time_min if self._descending else extent.time_max
            return edge <= self._resume.time if self._descending else edge >= self._resume.time
        edge = extent.first_seq if self._descending else extent.last_seq
        return edge <= self._resume.seq if self._descending else edge >= self._resume.seq

    def _rows(self, extent: Extent, places: Ints | None) -> Ints:
        """The rows of a segment that may answer, ascending: by terms, places and windows."""
        found: Rows | None = None
        groups: list[Rows] = []
        for group in self._groups:
            of_terms = [
                rows
                for rows in (self._engine.rows(self._snapshot, extent, term) for term in group)
                if rows is not None
            ]
            if not of_terms:
                return np.empty(0, np.int64)
            groups.append(segments.union(of_terms))
        if groups:
            found = segments.intersection(groups)
        rows: Ints = np.arange(extent.rows, dtype=np.int64) if found is None else found.astype(np.int64)
        if places is not None:
            rows = rows[self._named(extent, places, rows)]
        if extent.last_seq >= self.bound:
            rows = rows[self._column(extent, "seq")[rows] < self.bound]
        for name, (low, high), least, most in (
            ("event_time", self._time, extent.time_min, extent.time_max),
            ("recorded_at", self._recorded, extent.recorded_min, extent.recorded_max),
        ):
            if least < low or most >= high:
                values = self._column(extent, name)[rows]
                rows = rows[(values >= low) & (values < high)]
        return rows

    def _named(self, extent: Extent, places: Ints, rows: Ints) -> Any:
        """Which of the rows are among the places."""
        low = np.searchsorted(places[:, 0], extent.first_seq)
        high = np.searchsorted(places[:, 0], extent.last_seq, side="right")
        # One number for a place: statements hold fewer than 2**20 events.
        wanted = (places[low:high, 0] << 20) | places[low:high, 1]
        has = (self._column(extent, "seq")[rows] << 20) | self._column(extent, "ordinal")[rows]
        return np.isin(has, wanted, assume_unique=True)

    def _in_order(self, extent: Extent, places: Ints | None) -> Iterator[_Candidate]:
        """The candidates of one segment in log order."""
        rows = self._rows(extent, places)
        if not len(rows):
            return
        seqs, ordinals = self._column(extent, "seq"), self._column(extent, "ordinal")
        recorded = self._column(extent, "recorded_at")
        if self._resume is not None:
            cursor = (self._resume.seq, self._resume.ordinal)
            # Rows are in log order, so the cursor cuts them in two.
            cut_at = int(np.searchsorted(seqs[rows], cursor[0], side="left"))
            while cut_at < len(rows) and (int(seqs[rows[cut_at]]), int(ordinals[rows[cut_at]])) <= cursor:
                cut_at += 1
            if not self._descending:
                rows = rows[cut_at:]
            else:
                if cut_at and (int(seqs[rows[cut_at - 1]]), int(ordinals[rows[cut_at - 1]])) == cursor:
                    cut_at -= 1
                rows = rows[:cut_at]
        if self._descending:
            rows = rows[::-1]
        for row in _by_chunks(rows):
            yield _Candidate(int(recorded[row]), int(seqs[row]), int(ordinals[row]), int(recorded[row]))

    def _merged_by_time(self, extents: list[Extent], places: Ints | None) -> Iterator[_Candidate]:
        """Candidates by eventTime, over segments that are opened when their times can come next."""
        sign = -1 if self._descending else 1
        waiting = sorted(
            ((sign * (e.time_max if self._descending else e.time_min), e.first_row, e) for e in extents),
            reverse=True,  # so that pop() takes the next one
        )
        heap: list[tuple[int, int, int, int, _Candidate, Iterator[_Candidate]]] = []
        while heap or waiting:
            while waiting and (not heap or waiting[-1][0] <= heap[0][0]):
                extent = waiting.pop()[2]
                self._push(heap, self._by_event_time(extent, places), sign)
            if heap:
                *_, candidate, rest = heapq.heappop(heap)
                yield candidate
                self._push(heap, rest, sign)

    @staticmethod
    def _push(heap: list[Any], candidates: Iterator[_Candidate], sign: int) -> None:
        one = next(candidates, None)
        if one is not None:
            heapq.heappush(heap, (sign * one.key, sign * one.seq, sign * one.ordinal, 0, one, candidates))

    def _by_event_time(self, extent: Extent, places: Ints | None) -> Iterator[_Candidate]:
        """The candidates of one segment by eventTime, best first; sorted as far as they are taken."""
        rows = self._rows(extent, places)
        if not len(rows):
            return
        times = self._column(extent, "event_time")[rows]
        if self._resume is not None:
            behind = times <= self._resume.time if self._descending else times >= self._resume.time
            rows, times = rows[behind], times[behind]
        seqs, ordinals = self._column(extent, "seq"), self._column(extent, "ordinal")
        recorded = self._column(extent, "recorded_at")
        sign = -1 if self._descending else 1
        keys = sign * times
        resume = None if self._resume is None else self._resume_key()
        size = 4 * self._query.per_page + 64
        while len(rows):
            if len(rows) > size:
                edge = np.partition(keys, size)[size]
                best = keys <= edge
            else:
                best = np.ones(len(rows), dtype=bool)
            now_rows, now_keys = rows[best], keys[best]
            order = np.lexsort((sign * now_rows, now_keys))
            for row in now_rows[order].tolist():
                one = _Candidate(
                    int(self._column(extent, "event_time")[row]),
                    int(seqs[row]),
                    int(ordinals[row]),
                    int(recorded[row]),
                )
                if resume is None or self._is_behind(one, resume):
                    yield one
            rows, keys = rows[~best], keys[~best]
            size *= 4

    def _column(self, extent: Extent, name: str) -> Ints:
        return self._engine.column(self._snapshot, extent, name)

    def _resume_key(self) -> tuple[int, int, int]:
        assert self._resume is not None
        if self._by_time:
            return (self._resume.time, self._resume.seq, self._resume.ordinal)
        return (0, self._resume.seq, self._resume.ordinal)

    def _is_behind(self, one: _Candidate, resume: tuple[int, int, int]) -> bool:
        key = (one.key if self._by_time else 0, one.seq, one.ordinal)
        return key < resume if self._descending else key > resume

    # --- reading and asking again ---------------------------------------------------------------

    def _checked(self, candidates: Iterator[_Candidate]) -> Iterator[Found]:
        """Those of the candidates that answer, read a few at a time."""
        size = min(READ_AHEAD_MAX, self._query.per_page + 1)
        while True:
            chunk = list(islice(candidates, size))
            if not chunk:
                return
            places = {(one.seq, one.ordinal): one for one in chunk}
            found = {(one.seq, one.ordinal): one for one in self._read_events(sorted(places), known=places)}
            for candidate in chunk:
                one = found.get((candidate.seq, candidate.ordinal))
                if one is not None:
                    yield one
            self._read += len(chunk) - len(found)
            if self._read > READS_MAX or time.monotonic() > self._deadline:
                raise _Exhausted(chunk[-1])
            size = READ_AHEAD_MAX if not found else size

    def _read_events(self, places: Sequence[Place], known: dict[Place, _Candidate] | None) -> Iterator[Found]:
        """The events at these places, ascending, that may be seen and that answer.

        known  the candidates of the places, with when they were recorded; else the entries are read
        """
        wanted: dict[int, list[int]] = {}
        for seq, ordinal in places:
            wanted.setdefault(seq, []).append(ordinal)
        for seq, entry, raw in read_many(self._engine.ledger, wanted):
            content = None if raw is None else content_of(raw)
            if content is None or not self._may_read(content.typ):
                continue
            events = dict(content.bare_events())
            for ordinal in wanted[seq]:
                event = events.get(ordinal)
                if event is None:
                    continue
                recorded = recorded_at(entry) if known is None else known[seq, ordinal].recorded
                one = self._ask(seq, ordinal, event, recorded)
                if one is not None:
                    yield one

    def _ask(self, seq: int, ordinal: int, event: dict[str, Any], recorded: int) -> Found | None:
        event_id = event.get("eventID")
        # Working out an eventID costs more than all else, so it comes last where nothing asks for it.
        if event_id is None and self._asks_id:
            event_id = self._engine.assigned_id(event)
        look = Look(event, moment_of(recorded), event_id, self._snapshot)
        if not all(holds(one, look) for one in self._filters):
            return None
        if event_id is None and not self._asks_id:
            event_id = self._engine.assigned_id(event)
        key = recorded
        if self._by_time:
            moment = _event_time(event)
            key = recorded if moment is None else moment
        return Found(seq, ordinal, event, look.recorded_at, event_id, key)

    # --- ordered by an extension's field ----------------------------------------------------------

    def _ordered_by_extension(self) -> Iterator[Found]:
        """All that answer, read and sorted: bounded, and the same work for every page."""
        places = self._exact_places()
        in_log_order = replace(
            self._query, order=replace(self._query.order, field="recordTime", descending=False)
        )
        inner = _Search(self._engine, self._snapshot, in_log_order, Cursor(self.bound), None, self._may_read)
        try:
            if places is not None and len(places) <= PLACES_DIRECT_MAX:
                found = inner._direct(places)
            else:
                found = list(islice(inner._checked(inner._candidates(places)), ORDERED_MAX + 1))
        except _Exhausted:
            raise QueryTooComplex(
                "query.complex", "too many events would have to be read to order them", fix=_FIX
            ) from None
        if len(found) > ORDERED_MAX:
            raise QueryTooComplex(
                "query.complex",
                f"more than {ORDERED_MAX} events would have to be read to order them by an extension's field",
                fix=_FIX,
            )
        having: list[tuple[tuple[int, Decimal | str], Found]] = []
        lacking: list[Found] = []
        for one in found:
            look = Look(one.event, one.recorded_at, one.event_id, self._snapshot)
            value = sort_value(self._query.order, look)
            if value is None:
                lacking.append(one)
            else:
                having.append((value, one))
        having.sort(key=lambda pair: (pair[0], pair[1].seq, pair[1].ordinal), reverse=self._descending)
        ordered = [*(one for _, one in having), *lacking]
        return iter(ordered if self._resume is None else self._behind_last(ordered, self._resume))

    @staticmethod
    def _behind_last(ordered: list[Found], resume: Cursor) -> list[Found]:
        # Below the bound nothing moves, so the last event shown still has its place; unless it was erased.
        for number, one in enumerate(ordered):
            if (one.seq, one.ordinal) == (resume.seq, resume.ordinal):
                return ordered[number + 1 :]
        raise QueryTokenFault(
            "query.token.expired",
            "the event at which the last page ended is not shown any more",
            "nextPageToken",
            fix="start at the first page",
        )


# Filters that look at much of an event.
_DEAR = frozenset((Family.EXTENSION, Family.MATCH, Family.HAS_ATTRIBUTE, Family.EQUALS_ATTRIBUTE))
_LEAST, _MOST = -(2**62), 2**62


def _window(query: Query, family: Family) -> tuple[int, int]:
    """low <= value < high, in microseconds since 1970, that all filters of this family allow."""
    low, high = _LEAST, _MOST
    for one in query.filters:
        if one.family is family:
            low, high = _narrowed(one, low, high)
    return low, high


def _narrowed(one: Filter, low: int, high: int) -> tuple[int, int]:
    bound = one.values[0]
    assert isinstance(bound, datetime), "times are read as moments"
    value = microseconds(bound)
    return (max(low, value), high) if one.operator == "GE" else (low, min(high, value))


def _by_chunks(rows: Ints) -> Iterator[int]:
    for start in range(0, len(rows), 1024):
        yield from rows[start : start + 1024].tolist()


def _event_time(event: dict[str, Any]) -> int | None:
    value = event.get("eventTime")
    moment = parse_time(value) if isinstance(value, str) else None
    return None if moment is None else microseconds(moment)
