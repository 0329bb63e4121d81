"""Step 8 of 9: the event hashes of a whole JSON document: a bare event, a capture or a query document."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from traceability.errors import EventUnhashable
from traceability.event_hash.canonical import event_hash
from traceability.event_hash.names import Prefixes


@dataclass(frozen=True, slots=True)
class HashedEvent:
    """One event's hash, or why it has none."""

    pointer: str  # of the event within the document
    value: str | None  # "ni:///sha-256;…?ver=CBV2.0"
    fault: EventUnhashable | None = None
    says_another: bool = False  # its eventID is an ni: URI, and not this one


def hash_document(
    document: Any, *, from_xml: bool = False, ignored: Collection[str] = ()
) -> list[HashedEvent]:
    """The hash of every event in a document, in document order.

    document  the parsed JSON of an event, an EPCISDocument or an EPCISQueryDocument
    ignored   as in event_hash

    Fields that the document lists under a member named ignoreFields, in whatever namespace, are left out.
    Raises EventUnhashable "hash.document" if this is none of the three.
    """
    found = []
    prefixes, left_out = Prefixes(from_xml=from_xml), frozenset(ignored)
    if isinstance(document, dict):
        prefixes = Prefixes(document.get("@context"), from_xml=from_xml)
        left_out |= ignored_fields(document, prefixes)
    for pointer, event in events_of(document):
        try:
            value = event_hash(event, prefixes, ignored=left_out)
            claimed = event.get("eventID")
            another = isinstance(claimed, str) and claimed.startswith("ni:") and claimed != value
            found.append(HashedEvent(pointer, value, None, another))
        except EventUnhashable as e:
            fault = EventUnhashable(e.code, e.detail, pointer + e.pointer)
            found.append(HashedEvent(pointer, None, fault))
    return found


def events_of(document: Any) -> Iterator[tuple[str, Any]]:
    """(pointer, event value) of each event. Raises EventUnhashable "hash.document"."""
    if not isinstance(document, dict):
        raise EventUnhashable("hash.document", "neither an event nor a document: not a JSON object")
    body = document.get("epcisBody")
    if body is None and not str(document.get("type", "")).endswith("Document"):
        yield "", document
        return
    where = "/epcisBody"
    if isinstance(body, dict):
        if isinstance(body.get("queryResults"), dict):
            body, where = body["queryResults"], where + "/queryResults"
            if isinstance(body.get("resultsBody"), dict):
                body, where = body["resultsBody"], where + "/resultsBody"
        if isinstance(body.get("eventList"), list):
            for index, event in enumerate(body["eventList"]):
                yield f"{where}/eventList/{index}", event
            return
        if "event" in body:
            yield f"{where}/event", body["event"]
            return
    raise EventUnhashable("hash.document", "the document's body holds no list of events", where)


def ignored_fields(document: Mapping[str, Any], prefixes: Prefixes) -> frozenset[str]:
    """The names that a document asks to leave out of its hashes, as "{namespace}local" or bare."""
    found: set[str] = set()
    header, body = document.get("epcisHeader"), document.get("epcisBody")
    for part in (document, header, body):
        if isinstance(part, dict):
            for name, value in part.items():
                if name.rpartition(":")[2] == "ignoreFields":
                    found.update(prefixes.field(item, "") for item in _names(value))
    return frozenset(found)


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from value.replace(",", " ").split()
    elif isinstance(value, dict):
        yield from value
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)
