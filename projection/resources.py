"""Step 8 of 9: what the log holds of each top-level resource of EPCIS: types, EPCs, steps, places and so on.

Words and places are few, and listed from the projection in alphabetical order. EPCs are many, and nowhere
kept a second time: they are listed in the order in which the log first names them, which the ledger's index
of names tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from projection.engine import Engine, MayRead, Place
from projection.statements import content_of
from traceability.epcis.vocabulary import EVENT_TYPES
from traceability.errors import QueryTokenFault
from traceability.gs1.canonical import judge
from traceability.names import index_key
from traceability.queries.matches import EPC_FIELDS
from traceability.queries.spelling import STANDARD_PREFIXES, identity, word
from traceability.queries.tokens import LIFETIME_S, open_name, seal_name

KINDS = ("eventTypes", "epcs", "bizSteps", "bizLocations", "readPoints", "dispositions")
PARAMETERS = {  # what asks for the events of one
    "eventTypes": "eventType",
    "epcs": "MATCH_anyEPC",
    "bizSteps": "EQ_bizStep",
    "bizLocations": "EQ_bizLocation",
    "readPoints": "EQ_readPoint",
    "dispositions": "EQ_disposition",
}
STATEMENTS_READ_MAX = 2_000  # for one page of EPCs
LISTING_TIME_MAX_S = 2.0
_READ = 64


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a resource's values. It may be short, even empty, while there is a token for the next."""

    values: tuple[str, ...]
    next_token: str | None
    expires_at: int | None


class Resources:
    """Listings over one engine's ledger and projection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(self, kind: str, per_page: int, token: str | None, may_read: MayRead) -> Listing:
        """Values of one kind. Raises QueryTokenFault, and StoreFailed while there is no projection."""
        now = self._engine.now()
        after = "" if token is None else open_name(token, kind, now, self._engine.key)
        if not may_read("epcis-event+jws"):
            return Listing((), None, None)
        if kind == "epcs":
            return self._epcs(after, per_page, may_read, now)
        with self._engine.projection.snapshot() as snapshot:
            found = snapshot.seen(kind, after, per_page + 1)
        values = found[:per_page]
        return self._listing(kind, values, values[-1] if len(found) > per_page else None, now)

    def has(self, kind: str, value: str, may_read: MayRead) -> bool:
        """Whether any event that may be read has this value, in whatever spelling."""
        if not may_read("epcis-event+jws"):
            return False
        if kind == "epcs":
            name = identity(value, STANDARD_PREFIXES)
            return next(self._naming(name, may_read), None) is not None
        if kind in ("bizLocations", "readPoints"):
            value = identity(value, STANDARD_PREFIXES).removeprefix("raw:")
        else:
            value = word(value, STANDARD_PREFIXES)
        if kind == "eventTypes" and value in EVENT_TYPES:
            return True
        with self._engine.projection.snapshot() as snapshot:
            return snapshot.has_seen(kind, value)

    def _naming(self, name: str, may_read: MayRead) -> Iterator[Place]:
        """Places that really name a thing, not only its key."""
        for seq, ordinal in self._engine.ledger.find_name(index_key(name), limit=_READ):
            for found in self._named_in(seq, may_read):
                if found == (ordinal, name):
                    yield seq, ordinal

    def _named_in(self, seq: int, may_read: MayRead) -> Iterator[tuple[int, str]]:
        for raw in self._engine.ledger.read_statements(seq, seq + 1):
            yield from _epcs_of(raw, may_read)

    def _epcs(self, after: str, per_page: int, may_read: MayRead, now: int) -> Listing:
        seq, ordinal, skip, bound = _position(after)
        with self._engine.projection.snapshot() as snapshot:
            bound = bound or snapshot.state.next_seq
        deadline = time.monotonic() + LISTING_TIME_MAX_S
        values: list[str] = []
        first = seq
        while seq < bound:
            if seq - first >= STATEMENTS_READ_MAX or time.monotonic() > deadline:
                return self._listing("epcs", values, f"{seq}.{ordinal}.{skip}.{bound}", now)
            statements = self._engine.ledger.read_statements(seq, min(bound, seq + _READ))
            for raw in statements:
                for number, (at, name) in enumerate(_epcs_of(raw, may_read)):
                    if number < skip or not self._is_first(name, (seq, at)):
                        continue
                    if len(values) == per_page:
                        return self._listing("epcs", values, f"{seq}.{at}.{number}.{bound}", now)
                    values.append(name.removeprefix("raw:"))
                seq, ordinal, skip = seq + 1, 0, 0
            if not statements:
                break
        return self._listing("epcs", values, None, now)

    def _is_first(self, name: str, place: Place) -> bool:
        return self._engine.ledger.find_name(index_key(name), limit=1) == [place]

    def _listing(self, kind: str, values: list[str], behind: str | None, now: int) -> Listing:
        if behind is None:
            return Listing(tuple(values), None, None)
        expires_at = now + LIFETIME_S
        return Listing(tuple(values), seal_name(behind, kind, expires_at, self._engine.key), expires_at)


def _position(after: str) -> tuple[int, int, int, int]:
    if not after:
        return 0, 0, 0, 0
    try:
        seq, ordinal, skip, bound = (int(part) for part in after.split("."))
    except ValueError:  # never: the token is ours
        raise QueryTokenFault(
            "query.token.malformed", "this is no page token of this server", "nextPageToken"
        ) from None
    return seq, ordinal, skip, bound


def _epcs_of(raw: bytes | None, may_read: Callable[[str], bool]) -> list[tuple[int, str]]:
    """(ordinal, canonical name) of every EPC in a statement, each pair once."""
    content = None if raw is None else content_of(raw)
    if content is None or not may_read(content.typ):
        return []
    found: dict[tuple[int, str], None] = {}
    for ordinal, event in content.bare_events():
        for name in _names(event):
            found[ordinal, name] = None
    return list(found)


def _names(event: dict[str, Any]) -> Iterator[str]:
    for field in EPC_FIELDS["anyEPC"]:
        value = event.get(field)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                yield judge(one)[0]
