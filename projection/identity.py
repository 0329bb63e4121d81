"""Step 8 of 9: is this event in the ledger already? By its eventID, or by what it says (its event hash).

The projection answers for what it covers, and the statements behind it are read one by one: nothing that was
committed before the question is overlooked, however far the projection lags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import quote

from keys.errors import NotYet
from ledger.store.protocol import Head
from projection.engine import Engine, Place, SearchedLedger
from projection.statements import events_of
from traceability.queries.parameters import parse_url

TAIL_MAX = 5_000  # entries behind the projection that are read for one question: about 0.2 s
READ_ENTRIES = 256
PER_PAGE = 1_000
KEY_SIZE = 16


class Behind(NotYet):
    """The projection has to catch up before the question can be answered."""

    def __init__(self, detail: str) -> None:
        super().__init__("projection.behind", detail)
        self.retry_after_s = 5


class HeadedLedger(SearchedLedger, Protocol):
    """The ledger itself, and no copy that lags."""

    def read_head(self) -> Head | None: ...


def key_of_hash(event_hash: str) -> bytes:
    """The key under which an event hash is kept. 128 bits, so that one key is one hash."""
    return sha256(event_hash.encode()).digest()[:KEY_SIZE]


class Identities:
    """Where events are that must not be recorded twice. Safe from any thread.

    hash_of  the event hash of an event with all of its @context, or None
    """

    def __init__(
        self, ledger: HeadedLedger, engine: Engine, hash_of: Callable[[dict[str, Any]], str | None]
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._hash_of = hash_of

    def find(self, event_id: str | None, event_hash: str | None) -> Place | None:
        """The first event that has this id or says the same, error declarations apart.

        Everything that was committed before the call is seen. Raises Behind, and StoreFailed while there is
        no projection.
        """
        head = self._ledger.read_head()
        size = 0 if head is None else head.tree_size
        with self._engine.projection.snapshot() as snapshot:
            covered = snapshot.state.next_seq
            place = None if event_hash is None else snapshot.find_hash(key_of_hash(event_hash))
        if place is not None:
            return place
        if size - covered > TAIL_MAX:
            raise Behind(f"the index of events is {size - covered} entries behind; ask again in a while")
        if event_id is not None:
            place = self._find_id(event_id)
        return place or self._find_in_tail(covered, size, event_id, event_hash)

    def name_at(self, place: Place) -> str | None:
        """The eventID that the event at this place has or was assigned; None if it was erased."""
        seq, wanted = place
        (raw,) = self._ledger.read_statements(seq, seq + 1)
        for ordinal, event in events_of(raw) if raw is not None else ():
            if ordinal == wanted:
                return event.get("eventID") or self._hash_of(event)
        return None

    def _find_id(self, event_id: str) -> Place | None:
        query = replace(parse_url(f"EQ_eventID={quote(event_id, safe='')}"), per_page=PER_PAGE)
        page = self._engine.search(query, lambda typ: True)
        return next(
            ((one.seq, one.ordinal) for one in page.events if "errorDeclaration" not in one.event), None
        )

    def _find_in_tail(
        self, covered: int, size: int, event_id: str | None, event_hash: str | None
    ) -> Place | None:
        for start in range(covered, size, READ_ENTRIES):
            statements = self._ledger.read_statements(start, min(size, start + READ_ENTRIES))
            for seq, raw in enumerate(statements, start):
                for ordinal, event in events_of(raw) if raw is not None else ():
                    if "errorDeclaration" not in event and (
                        (event_id is not None and event.get("eventID") == event_id)
                        or (event_hash is not None and self._hash_of(event) == event_hash)
                    ):
                        return seq, ordinal
        return None
