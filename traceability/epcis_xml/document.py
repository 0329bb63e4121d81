"""Step 4 of 9: an EPCIS XML document, 2.0 or 1.x, to the events, header and master data in it.

What its sender signed are the document's exact bytes. What is read here is derived from them, and every
result says so: derived_from is "xml".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from keys.errors import Fault
from traceability.epcis.formats import is_time
from traceability.epcis.run import FAULTS_MAX
from traceability.epcis.validate import validate_event
from traceability.epcis_xml.events import EVENT_TYPES, QUANTITY_EVENT, Reading, read_event
from traceability.epcis_xml.faults import XmlFault
from traceability.epcis_xml.master_data import read_xml
from traceability.epcis_xml.names import Names
from traceability.epcis_xml.parse import SIZE_MAX, XmlRefused, parse
from traceability.event_hash import Prefixes, event_hash
from traceability.master_data import MasterDataRecord, as_json
from traceability.readers import is_xml

__all__ = ["XmlDocument", "XmlEvent", "is_xml", "read_document"]

_DOCUMENTS = {
    "{urn:epcglobal:epcis:xsd:2}EPCISDocument": ("EPCISDocument", "2"),
    "{urn:epcglobal:epcis:xsd:1}EPCISDocument": ("EPCISDocument", "1"),
    "{urn:epcglobal:epcis-query:xsd:2}EPCISQueryDocument": ("EPCISQueryDocument", "2"),
    "{urn:epcglobal:epcis-query:xsd:1}EPCISQueryDocument": ("EPCISQueryDocument", "1"),
    "{urn:epcglobal:epcis-query:xsd:2}QueryResults": ("EPCISQueryDocument", "2"),
    "{urn:epcglobal:epcis-query:xsd:1}QueryResults": ("EPCISQueryDocument", "1"),
    "{urn:epcglobal:epcis-masterdata:xsd:2}EPCISMasterDataDocument": ("EPCISDocument", "2"),
    "{urn:epcglobal:epcis-masterdata:xsd:1}EPCISMasterDataDocument": ("EPCISDocument", "1"),
}
_ENVELOPES = (
    "{http://schemas.xmlsoap.org/soap/envelope/}",
    "{http://www.w3.org/2003/05/soap-envelope}",
)
_SBDH = "{http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader}"
_VERSIONS = {"1": ("1", "1.0", "1.1", "1.2"), "2": ("2", "2.0", "2.0.0", "2.0.1")}


@dataclass(frozen=True, slots=True)
class XmlEvent:
    """One event derived from XML, and where it stands there."""

    value: dict[str, Any]  # as JSON-LD has it, without @context: the document's applies
    pointer: str  # into the JSON document derived: "/epcisBody/eventList/3"
    line: int  # of its element, counted from 1
    faults: tuple[Fault, ...]  # of this event alone; empty if it is valid
    derived_from: Literal["xml"] = "xml"


@dataclass(frozen=True, slots=True)
class XmlDocument:
    """What one XML document says."""

    kind: str  # "EPCISDocument" or "EPCISQueryDocument"
    schema_version: str  # "2.0", "1.2"
    creation_date: str | None
    context: list[Any]  # the @context of the events
    events: tuple[XmlEvent, ...]
    master_data: tuple[MasterDataRecord, ...]
    header: Mapping[str, str]  # sender, receiver, instanceIdentifier, where the document names them
    query: Mapping[str, str]  # queryName, subscriptionID of a query document
    ignored: frozenset[str]  # fields that the document asks to leave out of event hashes
    faults: tuple[
        Fault, ...
    ]  # the document's own, then its events'; at most run.FAULTS_MAX and a count of the rest
    derived_from: Literal["xml"] = field(default="xml")

    @property
    def is_valid(self) -> bool:
        """Whether nothing at all was found wrong."""
        return not self.faults

    def hashes(self) -> list[str]:
        """The event hash of each event; raises EventUnhashable for the first that has none."""
        prefixes = Prefixes(self.context, from_xml=True)
        return [event_hash(event.value, prefixes, ignored=self.ignored) for event in self.events]

    def as_json(self) -> dict[str, Any]:
        """The whole document as JSON-LD. It is a derived one: nobody signed its bytes."""
        document: dict[str, Any] = {
            "@context": self.context,
            "type": self.kind,
            "schemaVersion": "2.0",
        }
        if self.creation_date is not None:
            document["creationDate"] = self.creation_date
        document.update(self.header)
        events = [event.value for event in self.events]
        vocabularies = as_json(self.master_data)
        if self.kind == "EPCISDocument":
            if vocabularies:
                document["epcisHeader"] = {"epcisMasterData": {"vocabularyList": vocabularies}}
            document["epcisBody"] = {"eventList": events}
        else:
            results: dict[str, Any] = {"eventList": events}
            if vocabularies:
                results["vocabularyList"] = vocabularies
            document["epcisBody"] = {"queryResults": {**self.query, "resultsBody": results}}
        return document


def read_document(
    data: bytes, *, size_max: int = SIZE_MAX, now: datetime | None = None, validate: bool = True
) -> XmlDocument:
    """Read an EPCISDocument, an EPCISQueryDocument or query results, bare or in a SOAP envelope.

    now       as in validate_event
    validate  whether the events are judged by the JSON validator; without it only the XML itself is

    Everything wrong with a document that is one is in its faults, each with line and XPath.
    Raises XmlRefused for bytes that are none: "xml.…" of parse(), "xml.root", "xml.version", "xml.body".
    About 60 µs for an event of 1.5 kB.
    """
    root = parse(data, size_max=size_max)
    top = _unwrapped(root)
    kind, generation = _kind(top)
    version = _version(top, generation)
    names = Names()
    reading = Reading(names)
    stem = (
        "/epcisBody/eventList" if kind == "EPCISDocument" else "/epcisBody/queryResults/resultsBody/eventList"
    )
    header, records, query, elements, ignored = _parts(top, kind, reading)
    _check_top(top, kind, reading)
    found = _events(elements, stem, reading)
    context = names.context()
    faults: list[Fault] = list(reading.faults)
    dropped = reading.dropped
    events = []
    for element, pointer, value, own in found:
        verdict: list[Fault] = list(own)
        if validate:
            listed = len(faults) < FAULTS_MAX
            verdict += _judged(element, pointer, value, context, now, reading if listed else None)
        room = max(0, FAULTS_MAX - len(faults))
        faults.extend(verdict[:room])
        dropped += len(verdict[room:])
        events.append(XmlEvent(value, pointer, element.sourceline or 0, tuple(verdict)))
    if dropped:
        more = f"{dropped} more faults are not listed"
        faults.append(XmlFault("epcis.faults", more, fix="Correct the listed ones first."))
    return XmlDocument(
        kind,
        version,
        top.get("creationDate"),
        context,
        tuple(events),
        records,
        header,
        query,
        ignored,
        tuple(faults),
    )


def _unwrapped(root: Any) -> Any:
    """The EPCIS element of a SOAP message, or the root itself."""
    for envelope in _ENVELOPES:
        if root.tag == envelope + "Envelope":
            body = root.find(envelope + "Body")
            inside = [] if body is None else list(body)
            if len(inside) != 1:
                raise XmlRefused(
                    "xml.root",
                    f"the SOAP body holds {len(inside)} elements; expected one EPCIS document",
                    fix="Put one document into the body.",
                    line=root.sourceline or 0,
                )
            return inside[0]
    return root


def _kind(top: Any) -> tuple[str, str]:
    known = _DOCUMENTS.get(top.tag)
    if known is None:
        raise XmlRefused(
            "xml.root",
            f"the document is a <{top.tag[:120]}>, which is none of EPCIS",
            fix='Start with <epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:2" …>, '
            "or :1 for EPCIS 1.2.",
            line=top.sourceline or 0,
        )
    return known


def _version(top: Any, generation: str) -> str:
    version: str = top.get("schemaVersion", generation + (".0" if generation == "2" else ".2"))
    if version not in _VERSIONS[generation]:
        raise XmlRefused(
            "xml.version",
            f"schemaVersion {version[:20]!r} in the namespace of EPCIS {generation}",
            fix=f"Write one of {', '.join(_VERSIONS[generation])}, or change the namespace.",
            line=top.sourceline or 0,
        )
    return version


def _check_top(top: Any, kind: str, reading: Reading) -> None:
    """What a document says about itself; bare query results say nothing."""
    if top.tag.endswith("QueryResults"):
        return
    for name in ("schemaVersion", "creationDate"):
        if name not in top.attrib:
            reading.add("epcis.required", top, "", f"{name} is missing in <{kind}>", f'Say {name}="…".', name)
    date = top.get("creationDate")
    if date is not None and not is_time(date):
        reading.add(
            "epcis.time",
            top,
            "/creationDate",
            f"{date[:40]!r} is not a date and time with a zone",
            "Write it as 2026-11-20T08:15:00.000+01:00.",
            "creationDate",
        )


def _parts(
    top: Any, kind: str, reading: Reading
) -> tuple[dict[str, str], tuple[MasterDataRecord, ...], dict[str, str], list[Any], frozenset[str]]:
    """Header, master data, query, the <EventList>s and the fields to ignore."""
    header: dict[str, str] = {}
    query: dict[str, str] = {}
    records: tuple[MasterDataRecord, ...] = ()
    lists: list[Any] = []
    ignored: set[str] = set()
    has_body = top.tag.endswith("QueryResults")

    def walk(element: Any, depth: int) -> None:
        nonlocal records, has_body
        for child in element:
            tag = child.tag
            if tag == "EventList":
                has_body = True
                lists.append(child)
            elif tag == "VocabularyList":
                pointer = (
                    "/epcisHeader/epcisMasterData/vocabularyList"
                    if kind == "EPCISDocument"
                    else "/epcisBody/queryResults/resultsBody/vocabularyList"
                )
                records += read_xml(child, pointer, reading)
            elif tag == _SBDH + "StandardBusinessDocumentHeader":
                header.update(_business_header(child))
            elif tag in ("queryName", "subscriptionID"):
                query[tag] = (child.text or "").strip()
            elif tag.endswith("}ignoreFields"):
                ignored.update(part.tag for part in child)
            elif tag in _CONTAINERS and depth < len(_CONTAINERS):
                has_body = has_body or tag in ("EPCISBody", "resultsBody")
                walk(child, depth + 1)
            elif tag[0] != "{" or tag.startswith("{urn:epcglobal:epcis"):
                reading.add(
                    "xml.element",
                    child,
                    "",
                    f"there is no <{tag[:80]}> in <{element.tag.rpartition('}')[2][:80]}>",
                    "Write EPCIS's own elements without prefix, and your own in a namespace of yours.",
                )

    walk(top, 0)
    if not has_body:
        raise XmlRefused(
            "xml.body",
            "the document has no <EPCISBody>",
            fix="Put the events into <EPCISBody><EventList>, these two without prefix or default namespace.",
            line=top.sourceline or 0,
        )
    return header, records, query, lists, frozenset(ignored)


_CONTAINERS = frozenset(
    (
        "EPCISHeader",
        "EPCISBody",
        "EPCISMasterData",
        "QueryResults",
        "{urn:epcglobal:epcis-query:xsd:1}QueryResults",
        "{urn:epcglobal:epcis-query:xsd:2}QueryResults",
        "resultsBody",
        "extension",
    )
)


def _business_header(element: Any) -> dict[str, str]:
    found = {}
    for name, path in (
        ("sender", f"{_SBDH}Sender/{_SBDH}Identifier"),
        ("receiver", f"{_SBDH}Receiver/{_SBDH}Identifier"),
        ("instanceIdentifier", f"{_SBDH}DocumentIdentification/{_SBDH}InstanceIdentifier"),
    ):
        part = element.find(path)
        if part is not None and part.text and part.text.strip():
            found[name] = part.text.strip()[:1024]
    return found


def _events(
    lists: Sequence[Any], stem: str, reading: Reading
) -> list[tuple[Any, str, dict[str, Any], list[Fault]]]:
    """(element, pointer, value, faults of reading it), in document order, through <extension>s."""
    found: list[tuple[Any, str, dict[str, Any], list[Fault]]] = []

    def walk(element: Any, depth: int) -> None:
        for child in element:
            tag = child.tag
            if tag == "extension" and depth < len(_CONTAINERS):
                walk(child, depth + 1)
            elif tag in EVENT_TYPES or tag == QUANTITY_EVENT or tag[0] == "{":
                if tag.startswith("{urn:epcglobal:epcis"):
                    _not_an_event(child, reading)
                    continue
                pointer = f"{stem}/{len(found)}"
                before, dropped = len(reading.faults), reading.dropped
                value = read_event(child, pointer, reading)
                own: list[Fault] = list(reading.faults[before:])
                del reading.faults[before:]
                if reading.dropped > dropped and not own:
                    # Nothing wrong with an event may make it look right, however many there were before.
                    reading.dropped -= 1
                    detail = "the event has faults that are not listed"
                    own.append(XmlFault("epcis.faults", detail, pointer, line=child.sourceline or 0))
                found.append((child, pointer, value, own))
            else:
                _not_an_event(child, reading)

    for element in lists:
        walk(element, 0)
    return found


def _not_an_event(element: Any, reading: Reading) -> None:
    reading.add(
        "xml.element",
        element,
        "",
        f"<{element.tag[:80]}> is no event",
        f"Write one of {', '.join(sorted(EVENT_TYPES))}, without prefix or default namespace.",
    )


def _judged(
    element: Any,
    pointer: str,
    value: dict[str, Any],
    context: list[Any],
    now: datetime | None,
    first: Reading | None,
) -> list[Fault]:
    """The validator's faults of one event, each with its line and path in the XML.

    first  the reading that gave the value; None where there are too many faults to look for their places
    """
    faults = validate_event(value, now=now, document_context=context)
    if not faults:
        return []
    places: dict[str, tuple[Any, str]] = {}
    if first is not None:
        reading = Reading(first.names, paths=first.paths, trace=True)
        read_event(element, "", reading)
        places = reading.places or {}
    found: list[Fault] = []
    for fault in faults:
        at: str = fault.pointer
        while at and at not in places:
            at = at.rpartition("/")[0]
        node, attribute = places.get(at, (element, ""))
        detail, fix = fault.detail, getattr(fault, "fix", "")
        if fault.code == "epcis.spelling":  # every spelling of every word of the standard was read
            said = (node.get(attribute) if attribute else node.text) or ""
            detail = f"{said.strip()[:80]!r} is no word of the standard"
            fix = "Correct the word, or use a URI of your own that does not claim to be GS1's."
        found.append(
            XmlFault(
                fault.code,
                detail,
                pointer + fault.pointer,
                fix,
                line=node.sourceline or 0,
                xpath=first.paths.of(node, attribute) if first is not None else "",
            )
        )
    return found
