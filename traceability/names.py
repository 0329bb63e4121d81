"""Step 5 of 9: everything a statement names. Between validation and the append, and again in every audit.

names_v1 is total and pure: the same typ and payload give the same names for ever, whatever they hold, so a
stranger can recompute the index and see that nothing was left out. It freezes when EPCIS is whole; until
then docs/formats/names.md says what it covers.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from traceability.gs1.canonical import judge
from traceability.readers import event_values

NAMES_VERSION = "names_v1"  # as genesis declares it

_LISTS = ("epcList", "childEPCs", "inputEPCList", "outputEPCList")
_SINGLES = ("parentID", "transformationID")
_QUANTITIES = ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList")
_FIELDS = frozenset((*_LISTS, *_SINGLES, *_QUANTITIES))


def names_v1(typ: str, payload_value: Any) -> tuple[tuple[int, str], ...]:
    """(position in the statement, canonical name) of all things that the statement's events are about.

    typ            the statement's typ header; one without events names nothing
    payload_value  the parsed payload, valid or not

    In document order, each pair once. A string that is no good GS1 identifier names itself: "raw:" and the
    exact string. About 2 µs for five EPCs seen lately.
    """
    found: dict[tuple[int, str], None] = {}
    for position, event in event_values(typ, payload_value):
        if type(event) is not dict:
            continue
        for field, value in event.items():
            if field not in _FIELDS:
                continue
            if type(value) is str:
                if field in _SINGLES:
                    found[position, judge(value)[0]] = None
            elif type(value) is list:
                if field in _LISTS:
                    for item in value:
                        if type(item) is str:
                            found[position, judge(item)[0]] = None
                elif field in _QUANTITIES:
                    for item in value:
                        if type(item) is dict and type(item.get("epcClass")) is str:
                            found[position, judge(item["epcClass"])[0]] = None
    return tuple(found)


def index_key(name: str) -> int:
    """The signed 64-bit key under which a name stands in the index: the head of its SHA-256.

    Keys collide where somebody wants them to; whoever looks up a key compares the full names afterwards.
    """
    return int.from_bytes(sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big", signed=True)
