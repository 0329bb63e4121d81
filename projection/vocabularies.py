"""Step 8 of 9: vocabulary elements that answer a question for master data.

The projection proposes them; what is shown is read from the signed document that says it, so that an erased
one is not shown, and nothing that the projection has no place for is lost. Of several documents that speak of
one thing in one vocabulary the last one in the log counts.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from projection.engine import Engine, MayRead
from projection.statements import content_of
from projection.store import LOOKUP_BATCH, Snapshot
from traceability.errors import QueryTooComplex, QueryTooLarge
from traceability.queries.families import attribute_name
from traceability.queries.masterdata import Record, elements_of
from traceability.queries.masterdata_query import MasterDataQuery
from traceability.queries.spelling import STANDARD_PREFIXES, prefixes_of
from traceability.queries.tokens import LIFETIME_S, open_name, seal_name

DOCUMENT_TYP = "epcis-document+jws"
SEARCH_TIME_MAX_S = 2.0
DOCUMENTS_HELD_MAX = 8
_READ = 500
_Place = tuple[str, str]  # (id, type), by which elements are ordered


@dataclass(frozen=True, slots=True)
class Element:
    """One vocabulary element, as signed but for what was not to be shown.

    context  its document's @context, where that declares prefixes of its own; else None
    """

    type: str
    seq: int
    value: dict[str, Any]
    context: Any


@dataclass(frozen=True, slots=True)
class ElementPage:
    """One page, by id and vocabulary. It may be short, even empty, while there is a token for the next."""

    elements: tuple[Element, ...]
    next_token: str | None
    expires_at: int | None
    covered: int


def find_elements(engine: Engine, query: MasterDataQuery, may_read: MayRead) -> ElementPage:
    """Answer a question; where documents may not be read, with nothing.

    Raises QueryTokenFault, QueryTooLarge, QueryTooComplex, and StoreFailed while there is no projection.
    """
    now = engine.now()
    listing = f"masterdata {query.digest}"
    after = ("", "")
    if query.token is not None:
        name, kind = json.loads(open_name(query.token, listing, now, engine.key))
        after = (name, kind)
    deadline = time.monotonic() + SEARCH_TIME_MAX_S
    with engine.projection.snapshot() as snapshot:
        covered = snapshot.state.next_seq
        if not may_read(DOCUMENT_TYP):
            return ElementPage((), None, None, covered)
        names = _names(snapshot, query)
        if query.element_count_max is not None and query.token is None:
            _require_few(snapshot, query, names, deadline)
        documents = _Documents(engine)
        found: list[Element] = []
        is_more = is_begun = False
        for place, seq, record in _candidates(snapshot, after, names):
            # One step at least: a token that leads nowhere further would be asked with for ever.
            if len(found) == query.per_page or (is_begun and time.monotonic() > deadline):
                is_more = True
                break
            after, is_begun = place, True
            if query.matches(record):
                element = documents.find(seq, place)
                if element is not None:
                    found.append(_shown(element, query))
    if not is_more:
        return ElementPage(tuple(found), None, None, covered)
    expires_at = now + LIFETIME_S
    token = seal_name(json.dumps(after, ensure_ascii=False), listing, expires_at, engine.key)
    return ElementPage(tuple(found), token, expires_at, covered)


def _names(snapshot: Snapshot, query: MasterDataQuery) -> list[str] | None:
    """The things that may answer, in order; None for all."""
    names = query.names
    if query.within is not None:
        within = set(query.within)
        for name in query.within:
            within |= snapshot.descendants(name)
        names = frozenset(within) if names is None else names & within
    return None if names is None else sorted(names, key=lambda name: name.encode("utf-8", "surrogatepass"))


def _candidates(
    snapshot: Snapshot, after: _Place, names: list[str] | None
) -> Iterator[tuple[_Place, int, Record]]:
    starts = [0] if names is None else range(0, len(names), LOOKUP_BATCH)
    for start in starts:
        some = None if names is None else names[start : start + LOOKUP_BATCH]
        while True:
            rows = snapshot.records(after, _READ, some)
            for seq, record in rows:
                after = (record.id, record.type)
                yield after, seq, record
            if len(rows) < _READ:
                break


def _require_few(
    snapshot: Snapshot, query: MasterDataQuery, names: list[str] | None, deadline: float
) -> None:
    """Raise QueryTooLarge where more answer than the query takes."""
    assert query.element_count_max is not None
    count = 0
    for _, _, record in _candidates(snapshot, ("", ""), names):
        count += query.matches(record)
        if count > query.element_count_max:
            raise QueryTooLarge(
                "query.size", f"more than {query.element_count_max} vocabulary elements answer"
            )
        if time.monotonic() > deadline:
            raise QueryTooComplex(
                "query.cost",
                "counting the vocabulary elements takes too long",
                fix="name a vocabulary or things, or leave out maxElementCount",
            )


class _Documents:
    """The documents of one answer, a few of them held: neighbours often stand in one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: OrderedDict[int, dict[_Place, Element]] = OrderedDict()

    def find(self, seq: int, place: _Place) -> Element | None:
        """The element there; None where its content is no longer kept."""
        elements = self._held.get(seq)
        if elements is None:
            elements = self._held[seq] = self._read(seq)
            if len(self._held) > DOCUMENTS_HELD_MAX:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(seq)
        return elements.get(place)

    def _read(self, seq: int) -> dict[_Place, Element]:
        raw = next(iter(self._engine.ledger.read_statements(seq, seq + 1)), None)
        content = None if raw is None else content_of(raw)
        if content is None or content.typ != DOCUMENT_TYP or not isinstance(content.value, dict):
            return {}
        context = content.value.get("@context")
        own = None if prefixes_of(context) is STANDARD_PREFIXES else context
        # A later element of a document stands above an earlier one, as in the projection.
        return {
            (record.id, record.type): Element(record.type, seq, element, own)
            for record, element in elements_of(content.value)
        }


def _shown(element: Element, query: MasterDataQuery) -> Element:
    """Without what the query does not want to see."""
    value = dict(element.value)
    if not query.with_children:
        value.pop("children", None)
    if not query.with_attributes:
        value.pop("attributes", None)
    elif query.shown is not None and isinstance(value.get("attributes"), list):
        prefixes = prefixes_of(element.context)
        value["attributes"] = [
            one
            for one in value["attributes"]
            if isinstance(one, dict) and attribute_name(str(one.get("id", "")), prefixes) in query.shown
        ]
    return Element(element.type, element.seq, value, element.context)
