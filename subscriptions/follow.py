"""Step 8 of 9: the next events of a standing query, behind a place in the log. For webhooks and WebSockets.

A place is (seq, ordinal), so it stays right when the index of events is made again, or restored with the
ledger. Nothing is reported that the index has not covered yet, and nothing is left out: a search that would
have to read too much is done over a shorter stretch of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from ledger.errors import StoreFailed
from projection.engine import Engine, Found
from traceability.errors import QueryTooComplex
from traceability.queries.model import Family, Filter, OrderBy, Query
from traceability.queries.tokens import LIFETIME_S, Cursor, open_token, seal

ORDINAL_MAX = 2**31 - 1
STRETCH_MAX = 2**62  # positions searched at once: all


class Place(NamedTuple):
    """The last event that was dealt with."""

    seq: int = -1
    ordinal: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in the order in which they were recorded.

    end   everything up to it is in the batch or does not answer
    done  nothing more is below the bound
    """

    events: tuple[Found, ...]
    end: Place
    done: bool


class Follower:
    """One standing query. Not safe to share between threads."""

    def __init__(
        self, engine: Engine, query: Query, initial_record_time: datetime, may_read: Callable[[str], bool]
    ) -> None:
        from_then = Filter("GE_recordTime", Family.RECORD_TIME, "GE", (initial_record_time,))
        self._engine = engine
        self._query = replace(query, filters=(*query.filters, from_then), order=OrderBy())
        self._may_read = may_read
        self._stretch = STRETCH_MAX

    def covered(self) -> int:
        """Positions below it can be reported. Raises StoreFailed while there is no index."""
        return covered(self._engine)[1]

    def next(self, behind: Place, limit: int, bound: int | None = None) -> Batch:
        """At most `limit` events behind this place, below the bound or as far as the index is.

        Raises StoreFailed, and QueryTooComplex if a single position takes more reading than a search may.
        """
        generation, size = covered(self._engine)
        if bound is not None and size < bound:
            raise StoreFailed("projection.building", "the index of events is behind; ask again soon")
        end = size if bound is None else bound
        while True:
            stop = min(end, behind.seq + 1 + self._stretch)
            if stop <= behind.seq:
                return Batch((), behind, True)
            try:
                batch = self._search(behind, limit, stop)
            except QueryTooComplex:
                width = stop - behind.seq - 1
                if width <= 1:
                    raise
                self._stretch = width // 2
                continue
            break
        # An index that was made again meanwhile may have been shorter than what was taken for searched.
        if covered(self._engine)[0] != generation:
            raise StoreFailed("projection.building", "the index of events is being made; ask again soon")
        self._stretch = min(STRETCH_MAX, 2 * self._stretch)
        return batch if stop == end else replace(batch, done=False)

    def _search(self, behind: Place, limit: int, stop: int) -> Batch:
        engine, query = self._engine, self._query
        now = engine.now()
        # The engine's own page tokens say where to go on; this one is made rather than handed out before.
        cursor = Cursor(stop, 0, behind.seq, behind.ordinal)
        token = seal(cursor, query.digest, now + LIFETIME_S, engine.key)
        page = engine.search(replace(query, per_page=limit, next_page_token=token), self._may_read)
        if page.next_token is None:
            return Batch(page.events, max(behind, Place(stop - 1, ORDINAL_MAX)), True)
        reached = open_token(page.next_token, query.digest, now, engine.key)
        return Batch(page.events, Place(reached.seq, reached.ordinal), False)


class Watch:
    """Wakes who waits for more to be covered. Belongs to one event loop, but for look()."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._covered = 0
        self._more = asyncio.Event()

    def look(self) -> int | None:
        """How many positions are covered now; None if that cannot be told. From any thread."""
        try:
            return covered(self._engine)[1]
        except StoreFailed:
            return None

    def note(self, size: int | None) -> None:
        """Wake everybody if that has changed."""
        if size is not None and size != self._covered:
            self._covered = size
            self._more.set()
            self._more = asyncio.Event()

    async def beyond(self, size: int) -> None:
        """Wait until more than `size` positions are covered."""
        while self._covered <= size:
            await self._more.wait()


def covered(engine: Engine) -> tuple[bytes, int]:
    """The generation of the index, and how many positions it has covered."""
    with engine.projection.snapshot() as snapshot:
        return snapshot.state.generation, snapshot.state.next_seq
