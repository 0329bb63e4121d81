"""Step 5 of 9: everything a statement names. Between validation and the append, and again in every audit.

names_v1 is total, pure and frozen: the same typ and payload give the same names for ever, whatever they
hold, so a stranger can recompute the index and see that nothing was left out. docs/formats/names.md says
what names something, what does not, and why. A better function is names_v2, beside this one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from keys.errors import Malformed
from traceability.gs1.canonical import judge
from traceability.readers import event_values, read_content

NAMES_VERSION = "names_v1"  # as genesis declares it
PACKED = struct.Struct("<qI")  # one name in the index: key, position of its event in the statement

LISTS = frozenset(("epcList", "childEPCs", "inputEPCList", "outputEPCList"))
SINGLES = frozenset(("parentID", "transformationID"))
QUANTITIES = frozenset(("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList"))
_CORRECTION = frozenset(("eventID", "errorDeclaration"))


def names_v1(typ: str, payload_value: Any) -> tuple[tuple[int, str], ...]:
    """(position in the statement, canonical name) of all things that the statement's events are about.

    typ            the statement's typ header; one without events names nothing
    payload_value  the parsed payload, valid or not; of XML the document derived from it

    In document order, each pair once. A string that is no good GS1 identifier names itself: "raw:" and the
    exact string. About 4 µs for five EPCs never seen before.
    """
    found: dict[tuple[int, str], None] = {}
    for position, event in event_values(typ, payload_value):
        if type(event) is dict:
            for field, said in named_strings(event):
                found[position, name_of(field, said)] = None
    return tuple(found)


def names_of_payload(typ: str, payload: bytes) -> tuple[tuple[int, str], ...]:
    """names_v1 of a payload's bytes. What is neither I-JSON nor EPCIS XML names nothing. Total and pure."""
    try:
        value = read_content(typ, payload).value
    except Malformed:
        return ()
    return names_v1(typ, value)


def named_strings(event: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """(member of the event, string in it) of everything that names something, in document order."""
    corrects = "errorDeclaration" in event
    for field, value in event.items():
        if field in LISTS:
            if type(value) is list:
                for item in value:
                    if type(item) is str:
                        yield field, item
        elif field in SINGLES:
            if type(value) is str:
                yield field, value
        elif field in QUANTITIES:
            if type(value) is list:
                for item in value:
                    if type(item) is dict and type(item.get("epcClass")) is str:
                        yield field, item["epcClass"]
        elif corrects and field in _CORRECTION:
            for said in _corrected(field, value):
                yield field, said


def _corrected(field: str, value: Any) -> Iterable[str]:
    """The events that an error declaration is about: the one it takes back, and those in its place."""
    if field == "eventID":
        return (value,) if type(value) is str else ()
    events = value.get("correctiveEventIDs") if type(value) is dict else None
    return [said for said in events if type(said) is str] if type(events) is list else ()


def name_of(field: str, said: str) -> str:
    """The name under which a string of named_strings() is known."""
    # An event's id is nobody's pack, though both may be a urn:uuid: the two never share a name.
    return "event:" + said if field in _CORRECTION else judge(said)[0]


def index_key(name: str) -> int:
    """The signed 64-bit key under which a name stands in the index: the head of its SHA-256.

    Keys collide where somebody wants them to; whoever looks up a key compares the full names afterwards.
    """
    return int.from_bytes(sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big", signed=True)


def pack_names(names: Iterable[tuple[int, str]]) -> bytes:
    """(position, name) as the index takes them: "<qI", key and position, 12 bytes each, each pair once."""
    # Two names can be made to share a key, and one row twice would fail for the whole transaction.
    keys = dict.fromkeys((index_key(name), position) for position, name in names)
    return b"".join([PACKED.pack(*pair) for pair in keys])
