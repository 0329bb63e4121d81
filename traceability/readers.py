"""Step 8 of 9: from a statement's payload to the events in it. The statement's typ selects the reader.

A reader never changes once a ledger holds statements of its typ: a new way of reading is a new typ, and
the old one keeps its meaning.

A document is JSON-LD or XML. Its first byte that counts says which, and nothing else is asked. What was
signed are its bytes; the events read from XML are derived from them, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from keys.envelope import PAYLOAD_SIZE_MAX
from keys.strict_json import loads
from traceability.errors import NoReader
from traceability.event import Event

TYP_EVENT = "epcis-event+jws"  # one bare event
TYP_DOCUMENT = "epcis-document+jws"  # an EPCISDocument or EPCISQueryDocument, signed whole, JSON-LD or XML
FROM_XML = "xml"

_BYTES_BEFORE_XML = b"\xef\xbb\xbf \t\r\n"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


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


class Content(NamedTuple):
    """What a statement's payload says, valid or not."""

    typ: str
    value: Any  # the JSON value that was signed, or the JSON-LD document derived from XML
    derived_from: str | None  # FROM_XML; None where the value is what was signed

    @property
    def document_context(self) -> Any:
        """The @context around the events; None where each has its own."""
        whole = self.typ == TYP_DOCUMENT and type(self.value) is dict
        return self.value.get("@context") if whole else None

    def events(self) -> Iterable[tuple[int, Event]]:
        """(position, event) of every event that is an object; read_content() says if they are valid."""
        context, derived_from = self.document_context, self.derived_from
        for position, value in event_values(self.typ, self.value):
            if type(value) is dict:
                yield position, Event(value, context, derived_from)

    def bare_events(self) -> Iterable[tuple[int, dict[str, Any]]]:
        """The same as values that stand for themselves: each with the document's @context, then its own."""
        for position, event in self.events():
            yield position, event.bare_value


def is_xml(payload: bytes) -> bool:
    """Whether a document's bytes mean to be XML: the first one that counts is a <, or it is UTF-16."""
    return payload.startswith(_UTF_16) or payload[:4096].lstrip(_BYTES_BEFORE_XML).startswith(b"<")


def read_content(typ: str, payload: bytes) -> Content:
    """A payload, parsed and not judged. Raises Malformed for what is no I-JSON, and no EPCIS XML either.

    Pure: nothing is asked but the bytes. XML costs about 60 µs for an event of 1.5 kB.
    """
    if typ == TYP_DOCUMENT and is_xml(payload):
        # Few need it, and verifiers of plain events should not have to load an XML library.
        from traceability.epcis_xml import read_document

        document = read_document(payload, size_max=PAYLOAD_SIZE_MAX, validate=False)
        return Content(typ, document.as_json(), FROM_XML)
    return Content(typ, parse_payload(payload), None)


def parse_payload(payload: bytes) -> Any:
    """The JSON value of a payload of JSON. Raises Malformed."""
    return loads(payload, size_max=PAYLOAD_SIZE_MAX)


def read_events(typ: str, payload: bytes) -> tuple[tuple[int, Event], ...]:
    """(position, event) of every event in a payload that was admitted, and so is valid.

    Raises NoReader "typ.unknown", and Malformed if the payload cannot be parsed after all.
    """
    if typ not in READERS:
        raise NoReader("typ.unknown", f"nothing here reads events from statements of typ {typ[:64]!r}")
    return tuple(read_content(typ, payload).events())
