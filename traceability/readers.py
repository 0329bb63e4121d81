"""Step 8 of 9: from a statement's payload to the events in it. The statement's typ selects the reader.

A reader never changes once a ledger holds statements of its typ: a new way of reading is a new typ, and
the old one keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from keys.envelope import PAYLOAD_SIZE_MAX
from keys.strict_json import loads
from traceability.errors import NoReader
from traceability.event import Event

TYP_EVENT = "epcis-event+jws"  # one bare event
TYP_DOCUMENT = "epcis-document+jws"  # an EPCISDocument or EPCISQueryDocument, signed whole


@dataclass(frozen=True, slots=True)
class Reader:
    """How one class of statement holds its events."""

    typ: str
    version: int
    events: Callable[[Any], Iterable[tuple[int, Any]]]  # parsed payload -> (position, event value); total


def _one_event(payload_value: Any) -> Iterable[tuple[int, Any]]:
    return ((0, payload_value),)


def _events_of_document(payload_value: Any) -> Iterable[tuple[int, Any]]:
    return enumerate(find_event_list(payload_value)[1])


READERS = {
    reader.typ: reader
    for reader in (Reader(TYP_EVENT, 1, _one_event), Reader(TYP_DOCUMENT, 1, _events_of_document))
}


def find_event_list(document: Any) -> tuple[str, list[Any]]:
    """(JSON pointer, events) of a parsed EPCISDocument or EPCISQueryDocument; total.

    The events of a document are the members of epcisBody.eventList, and those of a query document the
    members of epcisBody.queryResults.resultsBody.eventList. A document that has neither has no events.
    """
    query = type(document) is dict and document.get("type") == "EPCISQueryDocument"
    path = ("epcisBody", "queryResults", "resultsBody", "eventList") if query else ("epcisBody", "eventList")
    value = document
    for member in path:
        value = value.get(member) if type(value) is dict else None
    return "/" + "/".join(path), value if type(value) is list else []


def event_values(typ: str, payload_value: Any) -> Iterable[tuple[int, Any]]:
    """(position, event value) of every event of a parsed payload; nothing where the typ has no events."""
    reader = READERS.get(typ)
    return () if reader is None else reader.events(payload_value)


def document_context(typ: str, payload_value: Any) -> Any:
    """The @context that holds for all events of a parsed payload; None where each has its own alone."""
    return payload_value.get("@context") if typ == TYP_DOCUMENT and type(payload_value) is dict else None


def parse_payload(payload: bytes) -> Any:
    """The JSON value of a statement's payload. Raises Malformed."""
    return loads(payload, size_max=PAYLOAD_SIZE_MAX)


def read_events(typ: str, payload: bytes) -> tuple[tuple[int, Event], ...]:
    """(position, event) of every event in a payload that was admitted, and so is valid.

    Raises NoReader "typ.unknown", and Malformed if the payload is no JSON after all.
    """
    if typ not in READERS:
        raise NoReader("typ.unknown", f"nothing here reads events from statements of typ {typ[:64]!r}")
    value = parse_payload(payload)
    context = document_context(typ, value)
    return tuple((position, Event(event, context)) for position, event in event_values(typ, value))
