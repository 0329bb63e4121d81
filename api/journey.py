"""Step 9 of 9, in a consumer's words: one event, one line of the journey.

What an event says is its signer's word, and is told as that: who signed it, when and where they say it
was. Business steps of the standard (CBV 2.0) have a name here that needs no explanation; others are
shown as they are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC
from urllib.parse import unquote

from api.questions import Step, minute
from keys import envelope
from keys.registry import Registry
from traceability.event import Named
from traceability.history import HistoryItem

WORD_LENGTH_MAX = 48  # of a business step or a place that is shown as it stands
CONTAINER_TAIL = 5  # the last digits tell the containers of one journey apart

_STEPS = {
    "accepting": "Accepted",
    "arriving": "Arrived",
    "assembling": "Assembled",
    "collecting": "Collected",
    "commissioning": "Given its number",
    "consigning": "Handed over for transport",
    "creating_class_instance": "Made",
    "cycle_counting": "Counted in stock",
    "decommissioning": "Taken out of service",
    "departing": "Departed",
    "destroying": "Destroyed",
    "disassembling": "Taken apart",
    "dispensing": "Dispensed",
    "encoding": "Code written",
    "entering_exiting": "Passed through",
    "holding": "Held back",
    "inspecting": "Inspected",
    "installing": "Installed",
    "killing": "Code switched off",
    "loading": "Loaded",
    "other": "Recorded",
    "packing": "Packed",
    "picking": "Picked",
    "receiving": "Received",
    "removing": "Removed",
    "repackaging": "Repackaged",
    "repairing": "Repaired",
    "replacing": "Replaced",
    "reserving": "Reserved",
    "retail_selling": "Sold",
    "sampling": "Sampled",
    "sensor_reporting": "Measured on the way",
    "shipping": "Sent on",
    "staging_outbound": "Made ready to leave",
    "stock_taking": "Counted in stock",
    "stocking": "Put in stock",
    "storing": "Stored",
    "transporting": "In transport",
    "unloading": "Unloaded",
    "unpacking": "Unpacked",
    "void_shipping": "Shipment cancelled",
}
# Where the disposition says more than the step: it becomes the title.
_DISPOSITIONS = {
    "damaged": "Recorded as damaged",
    "destroyed": "Destroyed",
    "dispensed": "Dispensed",
    "expired": "Recorded as expired",
    "recalled": "Recalled",
    "stolen": "Recorded as stolen",
}
# Aggregation, by whether it is undone, and whether it is the pack's own or that of the box around it.
_PACKING = frozenset({None, "packing", "unpacking", "loading", "unloading"})
_PACKED = {
    (False, False): "Packed into a container",
    (False, True): "Its container packed into a larger one",
    (True, False): "Taken out of its container",
    (True, True): "Its container taken out of a larger one",
}
_GRAVE = frozenset({"damaged", "destroyed", "expired", "recalled", "stolen"})


def steps_of(items: Iterable[HistoryItem], registry: Registry) -> list[Step]:
    """The journey, in log order. Neighbours that differ in their time alone become one line."""
    steps: list[Step] = []
    for item in items:
        step = _step(item, registry)
        last = steps[-1] if steps else None
        if last is not None and replace(step, when=last.when, iso=last.iso) == replace(
            last, times=1, until=""
        ):
            steps[-1] = replace(last, times=last.times + 1, until=step.when)
        else:
            steps.append(step)
    return steps


def signer_of(statement: bytes, registry: Registry) -> str:
    """The name of the party whose key the statement names."""
    record = registry.keys.get(envelope.parse(statement).kid)
    party = None if record is None else registry.parties.get(record.party)
    return "a key nobody registered" if party is None else party.name


def _step(item: HistoryItem, registry: Registry) -> Step:
    event = item.event
    moment = event.event_time.astimezone(UTC)
    return Step(
        title=_title(item),
        who=signer_of(item.statement_bytes, registry),
        place=_place(event.read_point or event.biz_location),
        when=minute(moment),
        iso=moment.isoformat(timespec="seconds"),
        inside=f"inside container\u00a0{_tail(item.via[0])}" if item.via else "",
        ends=event.disposition in _GRAVE or event.biz_step in ("destroying", "decommissioning"),
    )


def _title(item: HistoryItem) -> str:
    event = item.event
    if event.is_error_declaration:
        return "Earlier entry declared wrong"
    by_disposition = _DISPOSITIONS.get(event.disposition or "")
    if by_disposition is not None:
        return by_disposition
    step = event.biz_step
    if event.type == "AggregationEvent" and step in _PACKING:
        return _PACKED[event.action == "DELETE", bool(item.via)]
    if step is not None:
        return _STEPS.get(step, _words(step))
    return "Made into something else" if event.type == "TransformationEvent" else "Recorded"


def _words(step: str) -> str:
    """A step that is not the standard's: its last part, in words."""
    tail = step.rpartition("/")[2].rpartition(":")[2] or step
    return tail.replace("_", " ").replace("-", " ").strip().capitalize()[:WORD_LENGTH_MAX] or "Recorded"


def _place(place: Named | None) -> str:
    """A location number where there is one: names of places are not in the ledger yet."""
    if place is None:
        return ""
    _, found, number = place.name.partition("id.gs1.org/414/")
    if found:
        return f"location {number.partition('/')[0]}"
    return f"at {place.original[:WORD_LENGTH_MAX]}"


def _tail(name: str) -> str:
    number = unquote(name.rpartition("/")[2])
    return f"…{number[-CONTAINER_TAIL:]}" if len(number) > CONTAINER_TAIL else number
