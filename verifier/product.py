"""Step 9 of 9: is all this about that product? After the signatures, within verifier.evidence.

A pack's evidence holds events that never name it: while it was in a case, the
case's events are its own. So the events are followed in log order, and each
must name the product or something that the product was in just then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keys.errors import Fault
from traceability.documents import read_document_content
from traceability.epcis.validate import read_event
from traceability.errors import NoReader
from traceability.event import Event
from traceability.names import names_v1
from traceability.readers import READERS, TYP_DOCUMENT, Content
from verifier.errors import EvidenceIncomplete, EvidenceRefuted

NESTING_MAX = 16  # packs in boxes in cases on pallets in containers on ships: six are common


@dataclass(frozen=True, slots=True)
class Told:
    """One statement of the file, an event or a document of events, whose signature was checked elsewhere."""

    seq: int
    typ: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Link:
    parent: str
    seq: int  # of the event that made it


def require_about(subject: str, events: Sequence[Told]) -> None:
    """Check that each statement is valid, and about the product.

    subject  canonical name
    events   ascending by seq

    Of a document one event must be about it: the others come with it, for nobody
    can take a part of what was signed. A statement that packs one of the product's
    later containers is welcome as far as a later one needs it. Raises
    EvidenceRefuted, EvidenceIncomplete or EventRejected. Linear in the events and
    what they name.
    """
    if not events:
        raise EvidenceIncomplete("subject.none", f"the file shows no event about {subject}")
    packing = Packing()
    unexplained: list[int] = []
    needed: set[int] = set()
    for told in events:
        is_about = False
        for event, names in _read(told):
            chain = packing.around(subject)
            reached = next((place for place, (name, _) in enumerate(chain) if name in names), None)
            if reached is not None:
                is_about = True
                needed.update(seq for _, seq in chain[: reached + 1])
            packing.follow(told.seq, event)
        if not is_about:
            unexplained.append(told.seq)
    for seq in unexplained:
        if seq not in needed:
            raise EvidenceRefuted(
                "subject.other",
                f"Entry {seq} is about something else than {subject} and what it was packed in.",
            )


def _read(told: Told) -> list[tuple[Event, frozenset[str]]]:
    """Each event with everything it names, if all of the statement is valid."""
    if told.typ not in READERS:
        raise NoReader("typ.unknown", f"entry {told.seq} is of class {told.typ!r}, which is not known here")
    try:
        if told.typ == TYP_DOCUMENT:
            content = read_document_content(told.payload)
        else:
            content = Content(told.typ, read_event(told.payload).value, None)
    except Fault as fault:
        raise EvidenceRefuted(
            "event.invalid", f"Entry {told.seq} is not a valid EPCIS event: {fault.detail}", fault.pointer
        ) from fault
    names: dict[int, set[str]] = {}
    for ordinal, name in names_v1(content.typ, content.value):
        names.setdefault(ordinal, set()).add(name)
    return [(event, frozenset(names.get(ordinal, ()))) for ordinal, event in content.events()]


def is_packing(event: Event) -> bool:
    """Whether the event puts things into a container."""
    return _is_aggregation(event) and event.action == "ADD"


def _is_aggregation(event: Event) -> bool:
    return event.type == "AggregationEvent" and not event.is_error_declaration


class Packing:
    """What is in what, as the events so far say."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}  # child -> its one parent
        self._children: dict[str, set[str]] = {}

    def around(self, name: str) -> list[tuple[str, int]]:
        """The thing and the containers around it, innermost first, each with the event that says so."""
        chain, seen = [(name, -1)], {name}
        while len(chain) <= NESTING_MAX:
            link = self._links.get(chain[-1][0])
            if link is None or link.parent in seen:
                break
            seen.add(link.parent)
            chain.append((link.parent, link.seq))
        return chain

    def parent_of(self, child: str) -> str | None:
        """What the thing is in, if it is in anything."""
        link = self._links.get(child)
        return None if link is None else link.parent

    def follow(self, seq: int, event: Event) -> None:
        """Take an event's packing or unpacking into account; the same rules as traceability.history."""
        if not _is_aggregation(event) or event.parent is None:
            return
        parent = event.parent.name
        children = [child.name for child in event.children]
        if event.action == "ADD":
            for child in children:
                self._remove(child)
                self._links[child] = _Link(parent, seq)
                self._children.setdefault(parent, set()).add(child)
        elif event.action == "DELETE":
            if not children and not event.child_quantities:
                children = list(self._children.get(parent, ()))
            for child in children:
                if child in self._links and self._links[child].parent == parent:
                    self._remove(child)

    def _remove(self, child: str) -> None:
        link = self._links.pop(child, None)
        if link is not None:
            self._children[link.parent].discard(child)
