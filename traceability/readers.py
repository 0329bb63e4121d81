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


@dataclass(frozen=True, slots=True)
class Reader:
    """How one class of statement holds its events."""

    typ: str
    version: int
    events: Callable[[Any], Iterable[tuple[int, Any]]]  # parsed payload -> (position, event value); total


def _one_event(payload_value: Any) -> Iterable[tuple[int, Any]]:
    return ((0, payload_value),)


READERS = {reader.typ: reader for reader in (Reader("epcis-event+jws", 1, _one_event),)}


def event_values(typ: str, payload_value: Any) -> Iterable[tuple[int, Any]]:
    """(position, event value) of every event of a parsed payload; nothing where the typ has no events."""
    reader = READERS.get(typ)
    return () if reader is None else reader.events(payload_value)


def parse_payload(payload: bytes) -> Any:
    """The JSON value of a statement's payload. Raises Malformed."""
    return loads(payload, size_max=PAYLOAD_SIZE_MAX)


def read_events(typ: str, payload: bytes) -> tuple[tuple[int, Event], ...]:
    """(position, event) of every event in a payload that was admitted, and so is valid.

    Raises NoReader "typ.unknown", and Malformed if the payload is no JSON after all.
    """
    if typ not in READERS:
        raise NoReader("typ.unknown", f"nothing here reads events from statements of typ {typ[:64]!r}")
    return tuple((position, Event(event)) for position, event in event_values(typ, parse_payload(payload)))
