"""Step 8 of 9: the pre-hash string of an event, and its hash. No JSON-LD expansion; nothing is fetched.

The standard's fields come in a fixed order, lists sorted and labelled once. What has no place in that
order (business transactions, sources, destinations, ILMD, fields of others) follows, sorted by code point.
Where the standard's text and its reference implementation differ, the implementation's published values
are what partners compare with, and these are reached: docs/formats/event-hash.md lists the places.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

from traceability.epcis import vocabulary as words
from traceability.errors import EventUnhashable
from traceability.event_hash.names import GS1_PREFIXES, Prefixes
from traceability.event_hash.values import canonical_time, canonical_value

ALGORITHM = "CBV2.0"
DEPTH_MAX = 64  # of nested fields; keys.strict_json reads 32 levels, our XML reader fewer

_CBV, _VOC = GS1_PREFIXES["cbv"], GS1_PREFIXES["gs1"]
_RDFS_COMMENT = f"{{{GS1_PREFIXES['rdfs']}}}comment"
_NOT_PART = frozenset(("@context", "type", "eventID", "recordTime", "errorDeclaration"))


def event_hash(
    event: Mapping[str, Any], context: Any = None, *, from_xml: bool = False, ignored: Collection[str] = ()
) -> str:
    """The event hash of CBV 2.0 as an ni: URI. It says that two events mean the same; it guards nothing.

    event     as keys.strict_json or epcis_xml read it; need not be valid
    context   the @context of the document around it, or Prefixes made of that once for many events
    from_xml  whether it was read from XML, where only GS1's own prefixes stand for something in values;
              Prefixes know it themselves
    ignored   names of fields to leave out: bare names of the standard, or "{namespace}local"

    Raises EventUnhashable "hash.kind", "hash.type", "hash.time", "hash.prefix" or "hash.depth".
    Pure, no I/O; about 20 µs for an event of five EPCs. Source: CBV 2.0, section 8.9; RFC 6920.
    """
    text = pre_hash(event, context, from_xml=from_xml, ignored=ignored)
    return f"ni:///sha-256;{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}?ver={ALGORITHM}"


def pre_hash(
    event: Mapping[str, Any], context: Any = None, *, from_xml: bool = False, ignored: Collection[str] = ()
) -> str:
    """The canonical string that event_hash() hashes; arguments and errors as there."""
    if type(event) is not dict:
        raise EventUnhashable("hash.kind", "an event is a JSON object")
    prefixes = context if isinstance(context, Prefixes) else Prefixes(context, from_xml=from_xml)
    if "@context" in event:
        prefixes = prefixes.within(event["@context"])
    event_type = event.get("type")
    if not isinstance(event_type, str) or not event_type:
        raise EventUnhashable("hash.type", "the event says no type", "/type")
    if "eventTime" not in event:
        raise EventUnhashable("hash.time", "the event says no eventTime", "/eventTime")
    state = _State(prefixes, ignored)
    parts = ["eventType=", prefixes.field(event_type, "/type")]
    for name, write in _FIELDS.items():
        value = event.get(name)
        if value is not None and name not in state.ignored:
            parts.append(write(name, value, "/" + name, state))
    rest = state.rest
    for name, value in event.items():
        if name not in _FIELDS and name not in _NOT_PART and value is not None:
            state.further(rest, name, value, "", prefixes)
    rest.sort()
    return "".join(parts + rest)


class _State:
    """What one event's writers share."""

    __slots__ = ("ignored", "prefixes", "rest")

    def __init__(self, prefixes: Prefixes, ignored: Collection[str]) -> None:
        self.prefixes = prefixes
        self.ignored = frozenset(ignored)
        self.rest: list[str] = []  # what has no place in the standard's order

    def text(self, value: Any, pointer: str) -> str:
        """A leaf as text, canonical; "" where there is nothing to say."""
        if type(value) is str:
            value = value.strip()
        elif type(value) is bool:
            return "true" if value else "false"
        elif type(value) in (int, float):
            value = str(value)
        else:
            raise EventUnhashable("hash.kind", "expected a text, a number or a boolean here", pointer)
        return canonical_value(self.prefixes.value(value)) if value else ""

    def leaf(self, name: str, value: Any, pointer: str) -> str:
        text = self.text(value, pointer)
        return f"{name}={text}" if text else ""

    def further(self, into: list[str], name: str, value: Any, where: str, prefixes: Prefixes) -> None:
        """A field without a place of its own: extensions at any level, lists of pairs, ILMD."""
        if name in _PAIRS and not where:
            if name not in self.ignored:
                into.append(_pairs(name, value, "/" + name, self))
            return
        self._field(into, name, value, f"{where}/{name}", prefixes, 0)

    def _field(
        self, into: list[str], name: str, value: Any, pointer: str, prefixes: Prefixes, depth: int
    ) -> None:
        if depth > DEPTH_MAX:
            raise EventUnhashable("hash.depth", f"nested deeper than {DEPTH_MAX} levels", pointer[:256])
        full = prefixes.field(name, pointer)
        if full in self.ignored or full == _RDFS_COMMENT or full == "comment":
            return
        for item in value if type(value) is list else (value,):
            if type(item) is dict:
                inner = prefixes.within(item.get("@context"))
                inside: list[str] = []
                for member, child in item.items():
                    if member not in ("@context", "#text"):
                        self._field(inside, member, child, f"{pointer}/{member}", inner, depth + 1)
                inside.sort()
                into.append(self._own_text(full, item, pointer) + "".join(inside))
            elif type(item) is list:
                self._field(into, name, item, pointer, prefixes, depth + 1)
            elif item is None:
                into.append(full)
            else:
                into.append(self.leaf(full, item, pointer) or full)

    def _own_text(self, full: str, item: Mapping[str, Any], pointer: str) -> str:
        text = self.text(item["#text"], pointer) if "#text" in item else ""
        return f"{full}={text}" if text else full


def _many(value: Any) -> list[Any]:
    return value if type(value) is list else [value]


def _value(name: str, value: Any, pointer: str, state: _State) -> str:
    return state.leaf(name, value, pointer)


def _values(name: str, value: Any, pointer: str, state: _State) -> str:
    return "".join(sorted([state.leaf(name, item, pointer) for item in _many(value)]))


def _time(name: str, value: Any, pointer: str, state: _State) -> str:
    text = canonical_time(value.strip()) if type(value) is str else None
    if text is None:
        raise EventUnhashable(
            "hash.time", f"{name} is no time with a zone, so it has no form in UTC", pointer
        )
    return f"{name}={text}"


def _word(stem: str, vocabulary: Iterable[str]) -> Callable[[str, Any, str, _State], str]:
    full = {word: stem + word for word in vocabulary}

    def write(name: str, value: Any, pointer: str, state: _State) -> str:
        known = full.get(value.strip()) if type(value) is str else None
        return state.leaf(name, value, pointer) if known is None else f"{name}={known}"

    return write


_disposition = _word(_CBV + "Disp-", words.DISPOSITIONS)


def _epcs(name: str, value: Any, pointer: str, state: _State) -> str:
    found = sorted(filter(None, [state.leaf("epc", item, pointer) for item in _many(value)]))
    return name + "".join(found) if found else ""


def _ordered(
    label: str,
    value: Any,
    pointer: str,
    state: _State,
    fields: Mapping[str, Callable[[str, Any, str, _State], str]],
    path: str,
) -> str:
    """An object of the standard: its fields in order, then extensions; other bare names go to the rest."""
    if type(value) is not dict:
        raise EventUnhashable("hash.kind", f"expected an object for {label}", pointer)
    parts = [
        write(name, value[name], f"{pointer}/{name}", state)
        for name, write in fields.items()
        if value.get(name) is not None
    ]
    prefixes = state.prefixes.within(value.get("@context"))
    extensions: list[str] = []
    for name, item in value.items():
        if name in fields or name == "@context" or item is None:
            continue
        if ":" in name:
            state.further(extensions, name, item, pointer, prefixes)
        else:
            # As the reference has it: what the order forgot follows behind everything, with its path.
            forgotten: list[str] = []
            state.further(forgotten, name, item, pointer, prefixes)
            if forgotten:
                state.rest.append(path + "".join(sorted(forgotten)))
    extensions.sort()
    inner = "".join(parts + extensions)
    return label + inner if inner else ""


def _quantities(name: str, value: Any, pointer: str, state: _State) -> str:
    label = "quantityElement"
    found = [_ordered(label, v, pointer, state, _QUANTITY, name + label) for v in _many(value)]
    found.sort()
    inner = "".join(found)
    return name + inner if inner else ""


def _place(name: str, value: Any, pointer: str, state: _State) -> str:
    if type(value) is str:  # as draft examples of the standard had it
        value = {"id": value}
    return _ordered(name, value, pointer, state, _PLACE, name)


def _changes(name: str, value: Any, pointer: str, state: _State) -> str:
    return _ordered(name, value, pointer, state, _CHANGES, name)


def _dispositions(name: str, value: Any, pointer: str, state: _State) -> str:
    return "".join(sorted([_disposition(name, item, pointer, state) for item in _many(value)]))


def _sensor_elements(name: str, value: Any, pointer: str, state: _State) -> str:
    path = name + "sensorElement"
    found = [_ordered("sensorElement", v, pointer, state, _ELEMENT, path) for v in _many(value)]
    found.sort()
    inner = "".join(found)
    return name + inner if inner else ""


def _metadata(name: str, value: Any, pointer: str, state: _State) -> str:
    return _ordered(name, value, pointer, state, _METADATA, "sensorElementListsensorElement" + name)


def _reports(name: str, value: Any, pointer: str, state: _State) -> str:
    path = "sensorElementListsensorElement" + name
    return "".join(sorted([_ordered(name, v, pointer, state, _REPORT, path) for v in _many(value)]))


def _pairs(name: str, value: Any, pointer: str, state: _State) -> str:
    """Business transactions, sources and destinations: the type, if there is one, then the thing."""
    member, write_type = _PAIRS[name]
    found = []
    for item in _many(value):
        if type(item) is not dict:
            raise EventUnhashable("hash.kind", f"expected an object in {name}", pointer)
        pair = write_type("type", item["type"], pointer, state) if item.get("type") is not None else ""
        if item.get(member) is not None:
            pair += state.leaf(member, item[member], pointer)
        more: list[str] = []
        for key, child in item.items():
            if key not in ("type", member) and child is not None:
                state.further(more, key, child, pointer, state.prefixes)
        found.append(pair + "".join(sorted(more)))
    return name + "".join(sorted(found))


_BTT = _word(_CBV + "BTT-", words.BIZ_TRANSACTION_TYPES)
_SDT = _word(_CBV + "SDT-", words.SOURCE_DEST_TYPES)
_PAIRS: dict[str, tuple[str, Callable[[str, Any, str, _State], str]]] = {
    "bizTransactionList": ("bizTransaction", _BTT),
    "sourceList": ("source", _SDT),
    "destinationList": ("destination", _SDT),
}
_QUANTITY = dict.fromkeys(("epcClass", "quantity", "uom"), _value)
_PLACE = {"id": _value}
_CHANGES = {"set": _dispositions, "unset": _dispositions}
_METADATA = {
    "time": _time,
    "startTime": _time,
    "endTime": _time,
    **dict.fromkeys(("deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules"), _value),
}
_REPORT = {
    "type": _word(_VOC, words.MEASUREMENT_TYPES),
    "exception": _word(_VOC, words.SENSOR_ALERTS),
    **dict.fromkeys(("deviceID", "deviceMetadata", "rawData", "dataProcessingMethod"), _value),
    "time": _time,
    **dict.fromkeys(("microorganism", "chemicalSubstance", "value"), _value),
    "component": _word(_CBV + "Comp-", words.COMPONENTS),
    **dict.fromkeys(
        (
            "stringValue",
            "booleanValue",
            "hexBinaryValue",
            "uriValue",
            "minValue",
            "maxValue",
            "meanValue",
            "sDev",
            "percRank",
            "percValue",
            "uom",
            "coordinateReferenceSystem",
        ),
        _value,
    ),
}
_ELEMENT = {"sensorMetadata": _metadata, "sensorReport": _reports}
_FIELDS: dict[str, Callable[[str, Any, str, _State], str]] = {
    "eventTime": _time,
    "eventTimeZoneOffset": _value,
    "certificationInfo": _values,
    "epcList": _epcs,
    "parentID": _value,
    "inputEPCList": _epcs,
    "childEPCs": _epcs,
    "quantityList": _quantities,
    "childQuantityList": _quantities,
    "inputQuantityList": _quantities,
    "outputEPCList": _epcs,
    "outputQuantityList": _quantities,
    "action": _value,
    "transformationID": _value,
    "bizStep": _word(_CBV + "BizStep-", words.BIZ_STEPS),
    "disposition": _disposition,
    "persistentDisposition": _changes,
    "readPoint": _place,
    "bizLocation": _place,
    "sensorElementList": _sensor_elements,
}
