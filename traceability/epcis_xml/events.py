"""Step 4 of 9: one event element to the value that the same event has in JSON-LD.

EPCIS 1.x hides later fields in <extension> and <baseExtension>; they are looked through. Values keep
their spelling but for what JSON spells otherwise: words of CBV become bare words, numbers numbers.
Source: EPCIS 2.0, sections 9.5 and 10; EPCIS 1.2, section 9.5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from keys.strict_json import INTEGER_MAX, NUMBER_LENGTH_MAX
from traceability.epcis.run import FAULTS_MAX
from traceability.epcis_xml import vocabulary as words
from traceability.epcis_xml.faults import XmlFault
from traceability.epcis_xml.names import SCHEMA_INSTANCE, Names, is_standard
from traceability.epcis_xml.parse import TEXT_MAX
from traceability.epcis_xml.paths import Paths

EXTENSION_DEPTH_MAX = 24  # an event stands four levels below a document's top; JSON is read to 32
EVENT_TYPES = frozenset(
    ("ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent")
)
QUANTITY_EVENT = "QuantityEvent"  # deprecated in 1.1, gone in 2.0

_INTEGER = re.compile(r"[+\-]?[0-9]+")
_DECIMAL = re.compile(r"[+\-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+\-]?[0-9]{1,3})?")
_DIGITS_EXACT = 15  # that many a double always gives back
# XML asks for these lists even where they are empty, and JSON leaves them out.
_REQUIRED_IN_XML = ("epcList", "childEPCs")
_LOOKED_THROUGH = frozenset(("extension", "baseExtension"))
_NIL = f"{{{SCHEMA_INSTANCE}}}nil"
_INSTANCE = f"{{{SCHEMA_INSTANCE}}}"


class Reading:
    """What the conversion of one document shares: its namespaces, its faults, and where things stand."""

    __slots__ = ("dropped", "faults", "names", "noted", "paths", "places")

    def __init__(self, names: Names, *, paths: Paths | None = None, trace: bool = False) -> None:
        self.names = names
        self.paths = paths or Paths()
        self.faults: list[XmlFault] = []
        self.noted = self.dropped = 0  # faults of the whole document; beyond FAULTS_MAX they are only counted
        # JSON pointer -> (element, attribute or ""); kept only where faults have to be found again.
        self.places: dict[str, tuple[Any, str]] | None = {} if trace else None

    def add(self, code: str, element: Any, pointer: str, detail: str, fix: str, attribute: str = "") -> None:
        if self.noted >= FAULTS_MAX:
            self.dropped += 1
            return
        self.noted += 1
        xpath = self.paths.of(element, attribute)
        self.faults.append(XmlFault(code, detail, pointer, fix, line=element.sourceline or 0, xpath=xpath))

    def at(self, pointer: str, element: Any, attribute: str = "") -> None:
        if self.places is not None:
            self.places[pointer] = (element, attribute)


Convert = Callable[[Any, str, Reading], Any]


def read_event(element: Any, pointer: str, reading: Reading) -> dict[str, Any]:
    """The JSON-LD value of an event element; what cannot be read is noted in reading.faults."""
    tag = element.tag
    event_type = tag if tag[0] != "{" else reading.names.of(element, tag)
    event: dict[str, Any] = {"type": "ObjectEvent" if event_type == QUANTITY_EVENT else event_type}
    reading.at(pointer, element)
    reading.at(pointer + "/type", element)
    _attributes(element, event, pointer, reading)
    if event_type == QUANTITY_EVENT:
        _children(element, event, pointer, reading, _QUANTITY_FIELDS, 0)
        _as_object_event(event, element, pointer, reading)
    else:
        _children(element, event, pointer, reading, _FIELDS, 0)
    for name in _REQUIRED_IN_XML:
        if event.get(name) == []:
            del event[name]
    return event


def _children(
    element: Any,
    into: dict[str, Any],
    pointer: str,
    reading: Reading,
    fields: Mapping[str, Convert],
    depth: int,
) -> None:
    for child in element:
        tag = child.tag
        convert = fields.get(tag)
        if convert is not None:
            here = f"{pointer}/{tag}"
            if tag in into:
                if tag == "certificationInfo":
                    _again(into, tag, convert(child, here, reading))
                else:
                    reading.add("xml.duplicate", child, here, f"<{tag}> stands there twice", "Give it once.")
                continue
            if reading.places is not None:
                reading.at(here, child)
            value = convert(child, here, reading)
            if value is not None:
                into[tag] = value
        elif tag in _LOOKED_THROUGH and depth < EXTENSION_DEPTH_MAX:
            _attributes(child, into, pointer, reading)
            _children(child, into, pointer, reading, fields, depth + 1)
        else:
            read_extension(child, into, pointer, reading, 0)


def _attributes(element: Any, into: dict[str, Any], pointer: str, reading: Reading) -> None:
    """Attributes that other namespaces add to an element of the standard."""
    if not element.attrib:
        return
    for name, value in element.attrib.items():
        if name[0] != "{":
            reading.add(
                "xml.attribute",
                element,
                pointer,
                f"<{_local(element)}> has no attribute {name[:64]!r}",
                "Leave it out, or give it a namespace of your own.",
                name,
            )
        elif not name.startswith(_INSTANCE):
            key = reading.names.of(element, name)
            reading.at(f"{pointer}/{key}", element, key)
            into[key] = _bounded(value, element, pointer, reading)


def _local(element: Any) -> str:
    tag: str = element.tag
    return tag.rpartition("}")[2]


def _again(into: dict[str, Any], name: str, value: Any) -> None:
    held = into[name]
    if type(held) is list:
        held.append(value)
    else:
        into[name] = [held, value]


def read_extension(element: Any, into: dict[str, Any], pointer: str, reading: Reading, depth: int) -> None:
    """An element of somebody else's: a text, or an object; repeated ones become an array."""
    tag = element.tag
    if tag[0] != "{" and depth == 0:
        reading.add(
            "xml.element",
            element,
            pointer,
            f"there is no element <{tag[:64]}> here in EPCIS",
            "Correct the spelling, or put a field of your own into a namespace of your own.",
        )
        return
    if tag[0] == "{" and is_standard(tag[1:].partition("}")[0]):
        reading.add(
            "xml.namespace",
            element,
            pointer,
            f"<{_local(element)[:64]}> stands in EPCIS's own namespace",
            "Write the standard's fields without namespace, and your own in one of yours.",
        )
        return
    name = reading.names.of(element, tag) if tag[0] == "{" else tag
    here = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
    if depth >= EXTENSION_DEPTH_MAX:
        reading.add(
            "xml.depth", element, here, f"nested deeper than {EXTENSION_DEPTH_MAX} levels", "Nest fewer."
        )
        return
    if name in into and reading.places is not None:
        held = into[name]
        here += f"/{len(held) if type(held) is list else 1}"
    reading.at(here, element)
    value: Any = _text(element, here, reading, mixed=True)
    attributes = [a for a in element.attrib.items() if not a[0].startswith(_INSTANCE)]
    if len(element) or attributes:
        inner: dict[str, Any] = {}
        for attribute, content in attributes:
            key = reading.names.of(element, attribute) if attribute[0] == "{" else attribute
            inner[key] = _bounded(content, element, here, reading)
        for child in element:
            read_extension(child, inner, here, reading, depth + 1)
        if value:
            inner["#text"] = value
        value = inner
    if name in into:
        _again(into, name, value)
    else:
        into[name] = value


def _bounded(text: str, element: Any, pointer: str, reading: Reading) -> str:
    if len(text) > TEXT_MAX:
        reading.add(
            "xml.text",
            element,
            pointer,
            f"a value of {len(text)} characters; at most {TEXT_MAX} are read",
            "Put it elsewhere, and refer to it.",
        )
        return ""
    return text


def _text(element: Any, pointer: str, reading: Reading, *, mixed: bool = False) -> str:
    text = element.text
    if not mixed and len(element):
        reading.add(
            "xml.element",
            element[0],
            pointer,
            f"<{_local(element)}> holds a text, and here it holds <{_local(element[0])}>",
            "Give the text alone.",
        )
    return _bounded(text.strip(), element, pointer, reading) if text else ""


def _no_attributes(element: Any, pointer: str, reading: Reading) -> None:
    for name in element.attrib:
        if not name.startswith(_INSTANCE):
            reading.add(
                "xml.attribute",
                element,
                pointer,
                f"<{_local(element)}> takes no attribute {name[:64]!r}",
                "Leave it out.",
                name.rpartition("}")[2],
            )


def _string(element: Any, pointer: str, reading: Reading) -> str:
    if element.attrib:
        _no_attributes(element, pointer, reading)
    return _text(element, pointer, reading)


def _word(spellings: Mapping[str, str]) -> Convert:
    def convert(element: Any, pointer: str, reading: Reading) -> str:
        text = _string(element, pointer, reading)
        return spellings.get(text, text)

    return convert


def number(text: str) -> int | float | None:
    """The number that a decimal or double of XML Schema says; None if I-JSON cannot say the same."""
    if len(text) > NUMBER_LENGTH_MAX:
        return None
    if _INTEGER.fullmatch(text):
        whole = int(text)
        return whole if abs(whole) <= INTEGER_MAX else None
    if not _DECIMAL.fullmatch(text):
        return None
    value = float(text)
    if not isfinite(value):
        return None
    if len(text) > _DIGITS_EXACT or "e" in text or "E" in text:
        said = Decimal(text)
        if said not in (Decimal(repr(value)), Decimal(f"{value:.16e}")):
            return None
    return value


def _number_fault(element: Any, pointer: str, reading: Reading, text: str, attribute: str = "") -> None:
    reading.add(
        "xml.number",
        element,
        pointer,
        f"{text[:40]!r} is no number, or has more digits than are kept",
        "Write a decimal number of at most 17 digits.",
        attribute,
    )


def _number(element: Any, pointer: str, reading: Reading) -> int | float | None:
    if element.get(_NIL) in ("true", "1"):
        return None
    text = _string(element, pointer, reading)
    value = number(text)
    if value is None:
        _number_fault(element, pointer, reading, text)
    return value


def _items(tag: str, convert: Convert) -> Convert:
    """A list element of the standard: each child has this tag, and its extension adds nothing known."""

    def read(element: Any, pointer: str, reading: Reading) -> list[Any]:
        if element.attrib:
            _no_attributes(element, pointer, reading)
        found: list[Any] = []
        for child in element:
            if child.tag == tag:
                here = f"{pointer}/{len(found)}"
                if reading.places is not None:
                    reading.at(here, child)
                value = convert(child, here, reading)
                if value is not None:
                    found.append(value)
            elif child.tag != "extension":
                reading.add(
                    "xml.element",
                    child,
                    pointer,
                    f"<{_local(element)}> holds <{tag}>, and here it holds <{_local(child)[:64]}>",
                    f"Write each as <{tag}>.",
                )
        return found

    return read


def _typed(member: str, spellings: Mapping[str, str]) -> Convert:
    """<bizTransaction type="…">…</bizTransaction> and its like."""

    def read(element: Any, pointer: str, reading: Reading) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name, content in element.attrib.items():
            if name == "type":
                content = _bounded(content.strip(), element, pointer + "/type", reading)
                value["type"] = spellings.get(content, content)
                reading.at(pointer + "/type", element, "type")
            elif not name.startswith(_INSTANCE):
                reading.add(
                    "xml.attribute",
                    element,
                    pointer,
                    f"<{member}> takes no attribute {name[:64]!r}",
                    "Leave it out.",
                    name.rpartition("}")[2],
                )
        reading.at(f"{pointer}/{member}", element)
        value[member] = _text(element, f"{pointer}/{member}", reading)
        return value

    return read


def _object(fields: Mapping[str, Convert]) -> Convert:
    def read(element: Any, pointer: str, reading: Reading) -> dict[str, Any]:
        value: dict[str, Any] = {}
        _attributes(element, value, pointer, reading)
        _children(element, value, pointer, reading, fields, 0)
        return value

    return read


def _changes(element: Any, pointer: str, reading: Reading) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for child in element:
        if child.tag in ("set", "unset"):
            held = value.setdefault(child.tag, [])
            here = f"{pointer}/{child.tag}/{len(held)}"
            reading.at(here, child)
            held.append(_disposition(child, here, reading))
        else:
            read_extension(child, value, pointer, reading, 0)
    return value


def _ilmd(element: Any, pointer: str, reading: Reading) -> dict[str, Any]:
    return _ILMD(element, pointer, reading)  # type: ignore[no-any-return]


def _sensor(fields: Mapping[str, str | Mapping[str, str]]) -> Convert:
    """sensorMetadata and sensorReport, all in attributes: "text", "number", "boolean", or words."""

    def read(element: Any, pointer: str, reading: Reading) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name, content in element.attrib.items():
            kind = fields.get(name)
            if kind is None:
                continue
            here = f"{pointer}/{name}"
            reading.at(here, element, name)
            content = _bounded(content.strip(), element, here, reading)
            if kind == "text":
                value[name] = content
            elif kind == "number":
                found = number(content)
                if found is None:
                    _number_fault(element, here, reading, content, name)
                else:
                    value[name] = found
            elif kind == "boolean":
                if content in ("true", "1", "false", "0"):
                    value[name] = content in ("true", "1")
                else:
                    reading.add(
                        "xml.boolean",
                        element,
                        here,
                        f"{content[:40]!r} is neither true nor false",
                        "Write true or false.",
                        name,
                    )
            elif isinstance(kind, Mapping):
                value[name] = kind.get(content, content)
        others = {n: c for n, c in element.attrib.items() if n not in fields}
        for name, content in others.items():
            if name[0] != "{":
                reading.add(
                    "xml.attribute",
                    element,
                    pointer,
                    f"<{_local(element)}> has no attribute {name[:64]!r}",
                    "Correct the spelling, or give it a namespace of your own.",
                    name,
                )
            elif not name.startswith(_INSTANCE):
                key = reading.names.of(element, name)
                reading.at(f"{pointer}/{key}", element, key)
                value[key] = _bounded(content, element, pointer, reading)
        for child in element:
            read_extension(child, value, pointer, reading, 0)
        return value

    return read


def _sensor_element(element: Any, pointer: str, reading: Reading) -> dict[str, Any]:
    value: dict[str, Any] = {}
    _attributes(element, value, pointer, reading)
    reports: list[Any] = []
    _sensor_parts(element, value, reports, pointer, reading, 0)
    if reports:
        value["sensorReport"] = reports
    return value


def _sensor_parts(
    element: Any, value: dict[str, Any], reports: list[Any], pointer: str, reading: Reading, depth: int
) -> None:
    for child in element:
        if child.tag == "sensorReport":
            here = f"{pointer}/sensorReport/{len(reports)}"
            reading.at(here, child)
            reports.append(_REPORT(child, here, reading))
        elif child.tag == "sensorMetadata":
            if "sensorMetadata" in value:
                reading.add(
                    "xml.duplicate", child, pointer, "<sensorMetadata> stands there twice", "Give it once."
                )
                continue
            reading.at(pointer + "/sensorMetadata", child)
            value["sensorMetadata"] = _METADATA(child, pointer + "/sensorMetadata", reading)
        elif child.tag == "extension" and depth < EXTENSION_DEPTH_MAX:
            _sensor_parts(child, value, reports, pointer, reading, depth + 1)
        else:
            read_extension(child, value, pointer, reading, 0)


def _as_object_event(event: dict[str, Any], element: Any, pointer: str, reading: Reading) -> None:
    """A QuantityEvent of 1.0: some of a class were seen, which 2.0 says as an ObjectEvent."""
    quantity = {name: event.pop(name) for name in ("epcClass", "quantity") if name in event}
    event["action"] = "OBSERVE"
    event["quantityList"] = [quantity]
    reading.at(pointer + "/quantityList", element)
    if reading.places is not None:
        for name in quantity:
            reading.places[f"{pointer}/quantityList/0/{name}"] = reading.places[f"{pointer}/{name}"]


_disposition = _word(words.DISPOSITIONS)
_epcs = _items("epc", _string)
_quantities = _items("quantityElement", _object({"epcClass": _string, "quantity": _number, "uom": _string}))
_place = _object({"id": _string})
_ILMD = _object({})
_ERROR_DECLARATION = _object(
    {
        "declarationTime": _string,
        "reason": _word(words.ERROR_REASONS),
        "correctiveEventIDs": _items("correctiveEventID", _string),
    }
)
_SENSOR_TEXTS = dict.fromkeys(
    ("time", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules"), "text"
)
_METADATA = _sensor({**_SENSOR_TEXTS, "startTime": "text", "endTime": "text"})
_REPORT = _sensor(
    {
        **_SENSOR_TEXTS,
        **dict.fromkeys(
            (
                "microorganism",
                "chemicalSubstance",
                "stringValue",
                "hexBinaryValue",
                "uriValue",
                "uom",
                "coordinateReferenceSystem",
            ),
            "text",
        ),
        **dict.fromkeys(
            ("value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue"), "number"
        ),
        "booleanValue": "boolean",
        "type": words.MEASUREMENT_TYPES,
        "exception": words.SENSOR_ALERTS,
        "component": words.COMPONENTS,
    }
)
_FIELDS: dict[str, Convert] = {
    "eventTime": _string,
    "recordTime": _string,
    "eventTimeZoneOffset": _string,
    "eventID": _string,
    "errorDeclaration": _ERROR_DECLARATION,
    "certificationInfo": _string,
    "epcList": _epcs,
    "parentID": _string,
    "childEPCs": _epcs,
    "inputEPCList": _epcs,
    "outputEPCList": _epcs,
    "quantityList": _quantities,
    "childQuantityList": _quantities,
    "inputQuantityList": _quantities,
    "outputQuantityList": _quantities,
    "transformationID": _string,
    "action": _string,
    "bizStep": _word(words.BIZ_STEPS),
    "disposition": _disposition,
    "persistentDisposition": _changes,
    "readPoint": _place,
    "bizLocation": _place,
    "bizTransactionList": _items("bizTransaction", _typed("bizTransaction", words.BIZ_TRANSACTION_TYPES)),
    "sourceList": _items("source", _typed("source", words.SOURCE_DEST_TYPES)),
    "destinationList": _items("destination", _typed("destination", words.SOURCE_DEST_TYPES)),
    "sensorElementList": _items("sensorElement", _sensor_element),
    "ilmd": _ilmd,
}
_QUANTITY_FIELDS: dict[str, Convert] = {**_FIELDS, "epcClass": _string, "quantity": _number}
