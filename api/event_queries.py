"""Step 2 of 9: what the query interface needs from the rooms behind it, and events as answers show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from projection.engine import Engine, Found
from projection.kept import KeptQueries
from projection.resources import Resources
from subscriptions.store import Subscriptions
from subscriptions.targets import TargetRules, look_up
from traceability.gs1.canonical import judge

CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
PROOF_NAMESPACE = "urn:tallystick:proof:"  # of what ?proof=true adds to an event
NEVER_TRANSLATES = "Never_Translates"
ALWAYS_DIGITAL_LINK = "Always_GS1_Digital_Link"

_LISTS = ("epcList", "childEPCs", "inputEPCList", "outputEPCList")
_QUANTITIES = ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList")


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

    Its statement holds the bytes that were signed; this is what was read from them.
    """
    event = dict(found.event)
    event["recordTime"] = found.recorded_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if found.event_id is not None:
        event["eventID"] = found.event_id
    if epc_format == ALWAYS_DIGITAL_LINK:
        _translate(event, _as_link)
    return event


def with_proof(event: dict[str, Any], found: Found, statement: bytes, receipt: bytes) -> dict[str, Any]:
    """The event with its statement and receipt in an extension's fields, and their prefix declared."""
    context = event.get("@context", [])
    parts = context if isinstance(context, list) else [context]
    return {
        **event,
        "@context": [*parts, {"tallystick": PROOF_NAMESPACE}],
        "tallystick:seq": found.seq,
        "tallystick:ordinal": found.ordinal,
        "tallystick:statement": statement.decode("ascii", "replace"),
        "tallystick:receipt": receipt.decode("utf-8", "replace"),
    }


def query_document(events: Sequence[dict[str, Any]], name: str, now: datetime) -> dict[str, Any]:
    """An EPCISQueryDocument. Each event brings the @context of its own that it was signed with."""
    return {
        "@context": [CONTEXT],
        "type": "EPCISQueryDocument",
        "schemaVersion": "2.0",
        "creationDate": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "epcisBody": {"queryResults": {"queryName": name, "resultsBody": {"eventList": list(events)}}},
    }


def collection(members: Sequence[Any]) -> dict[str, Any]:
    """A Collection, as resources are listed."""
    return {"@context": [CONTEXT], "type": "Collection", "member": list(members)}


def _as_link(identifier: str) -> str:
    name = judge(identifier)[0]
    return identifier if name.startswith("raw:") else name


def _translate(event: dict[str, Any], to: Callable[[str], str]) -> None:
    for field in _LISTS:
        if isinstance(event.get(field), list):
            event[field] = [to(one) if isinstance(one, str) else one for one in event[field]]
    if isinstance(event.get("parentID"), str):
        event["parentID"] = to(event["parentID"])
    for field in ("readPoint", "bizLocation"):
        place = event.get(field)
        if isinstance(place, dict) and isinstance(place.get("id"), str):
            event[field] = {**place, "id": to(place["id"])}
    for field, member in (
        *((field, "epcClass") for field in _QUANTITIES),
        ("sourceList", "source"),
        ("destinationList", "destination"),
        ("bizTransactionList", "bizTransaction"),
    ):
        if isinstance(event.get(field), list):
            event[field] = [
                {**one, member: to(one[member])}
                if isinstance(one, dict) and isinstance(one.get(member), str)
                else one
                for one in event[field]
            ]
