"""Step 2 of 9: what the query interface needs from the rooms behind it, and events as answers show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.errors import NotAcceptable
from projection.engine import Engine, Found
from projection.kept import KeptQueries
from projection.resources import Resources
from subscriptions.store import Subscriptions
from subscriptions.targets import TargetRules, look_up
from traceability.translation import ALWAYS_DIGITAL_LINK, ALWAYS_URN, translate, with_web_words

CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
PROOF_NAMESPACE = "urn:tallystick:proof:"  # of what is added to an event here
JSON_LD = "application/ld+json"
NEVER_TRANSLATES = "Never_Translates"
XML_URN, XML_WEB = "Always_URN", "Always_Web_URI"  # how XML spells CBV words


@dataclass(frozen=True, slots=True)
class EventQueries:
    """The parts of the query interface.

    subscriptions  without them, queries cannot be subscribed to
    rules          where subscriptions may be sent
    resolve        the addresses of a host name just now, within a bounded time
    """

    engine: Engine
    resources: Resources
    kept: KeptQueries
    subscriptions: Subscriptions | None = None
    rules: TargetRules = dataclasses.field(default_factory=TargetRules)
    resolve: Callable[[str, int], list[str]] = look_up


def shown(found: Found, epc_format: str) -> dict[str, Any]:
    """An event as an answer shows it: with recordTime, with the eventID it has or was assigned.

    What could not be brought into the format stays as it was, and tallystick:untranslated has its pointer and
    a code. The statement holds the bytes that were signed; this is what was read from them.
    """
    event = dict(found.event)
    event["recordTime"] = found.recorded_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if found.event_id is not None:
        event["eventID"] = found.event_id
    if epc_format in (ALWAYS_DIGITAL_LINK, ALWAYS_URN):
        event, left = translate(event, epc_format)
        if left:
            event["tallystick:untranslated"] = [f"{one.pointer} {one.code}" for one in left]
            declare(event)
    return event


def with_proof(event: dict[str, Any], found: Found, statement: bytes, receipt: bytes) -> dict[str, Any]:
    """The event with its statement and receipt in an extension's fields, and their prefix declared."""
    proved = {
        **event,
        "tallystick:seq": found.seq,
        "tallystick:ordinal": found.ordinal,
        "tallystick:statement": statement.decode("ascii", "replace"),
        "tallystick:receipt": receipt.decode("utf-8", "replace"),
    }
    declare(proved)
    return proved


def declare(event: dict[str, Any]) -> None:
    """Declare our prefix in the event's own @context."""
    context = event.get("@context", [])
    parts = context if isinstance(context, list) else [context]
    ours = {"tallystick": PROOF_NAMESPACE}
    if ours not in parts:
        event["@context"] = [*parts, ours]


def query_document(events: Sequence[dict[str, Any]], name: str, now: datetime) -> dict[str, Any]:
    """An EPCISQueryDocument. Each event brings the @context of its own that it was signed with."""
    return {
        "@context": [CONTEXT],
        "type": "EPCISQueryDocument",
        "schemaVersion": "2.0",
        "creationDate": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "epcisBody": {"queryResults": {"queryName": name, "resultsBody": {"eventList": list(events)}}},
    }


def masterdata_document(vocabularies: Mapping[str, list[dict[str, Any]]], now: datetime) -> dict[str, Any]:
    """The same of master data: vocabulary elements by the name of their vocabulary."""
    document = query_document([], "SimpleMasterDataQuery", now)
    document["epcisBody"]["queryResults"]["resultsBody"] = {
        "vocabularyList": [
            {"type": name, "vocabularyElementList": elements} for name, elements in vocabularies.items()
        ]
    }
    return document


def xml_document(events: Sequence[dict[str, Any]], name: str, now: datetime, words: str) -> bytes:
    """The same in EPCIS 2.0 XML. words: XML_WEB, or URNs where CBV has them.

    Raises NotAcceptable where an event holds what XML has no place for. About 100 µs an event.
    """
    # lxml is loaded by who is asked for XML.
    from traceability.epcis_xml import NotWritable, write_document

    moment = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        return write_document(
            [with_web_words(event) for event in events] if words == XML_WEB else events,
            CONTEXT,
            creation_date=moment,
            kind="EPCISQueryDocument",
            query={"queryName": name},
        )
    except NotWritable as e:
        raise NotAcceptable(
            "epcis.xml",
            f"an event of this answer has no form in XML ({e.detail}); ask for {JSON_LD}",
            e.pointer,
        ) from e


def collection(members: Sequence[Any]) -> dict[str, Any]:
    """A Collection, as resources are listed."""
    return {"@context": [CONTEXT], "type": "Collection", "member": list(members)}
