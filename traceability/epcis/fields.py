"""Step 4 of 9: what each field of an event may hold. Nothing here looks beyond one; validate.py does."""

from __future__ import annotations

import re
from typing import Any

from traceability.epcis import vocabulary as words
from traceability.epcis.checks import (
    Check,
    array_of,
    check_boolean,
    check_extension,
    check_identifier,
    check_number,
    check_string,
    check_time,
    check_uri,
    identifiers,
    is_string,
    object_of,
    word,
)
from traceability.epcis.run import Run, kind_of

_OFFSET = re.compile(r"[+\-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00)")
_PLAIN_URN = re.compile(r"urn:[a-z]+:[0-9A-Za-z\-]+")
_UOM = re.compile(r"[A-Z0-9]{2,3}")
_HEX = re.compile(r"[A-Fa-f0-9]+")
_VOC_URI = re.compile(r"https?://(?:www\.)?gs1\.org/voc/")


def _check_event_id(value: Any, pointer: str, run: Run) -> None:
    # Every event has another, so remembering them as is_uri() does would push out what comes back.
    if type(value) is not str or not _PLAIN_URN.fullmatch(value):
        check_uri(value, pointer, run)


def _check_action(value: Any, pointer: str, run: Run) -> None:
    if type(value) is str and value in words.ACTIONS:
        return
    if is_string(value, pointer, run):
        run.add("epcis.action", pointer, f"{value[:40]!r} is no action", "Say ADD, OBSERVE or DELETE.")


def _check_offset(value: Any, pointer: str, run: Run) -> None:
    if type(value) is str and _OFFSET.fullmatch(value):
        return
    if is_string(value, pointer, run):
        run.add(
            "epcis.offset",
            pointer,
            f"{value[:40]!r} is no offset from UTC",
            "Write it as +01:00 (−14:00 to +14:00).",
        )


def _check_quantity(value: Any, pointer: str, run: Run) -> None:
    check_number(value, pointer, run)
    if type(value) in (int, float) and value < 0:
        run.add(
            "epcis.quantity",
            pointer,
            f"the quantity {value} is negative",
            "Say how many or how much there is.",
        )


def _check_uom(value: Any, pointer: str, run: Run) -> None:
    if is_string(value, pointer, run) and not _UOM.fullmatch(value):
        run.add(
            "epcis.uom",
            pointer,
            f"{value[:40]!r} is no unit code",
            "Use UN/CEFACT Recommendation 20, as KGM.",
        )


def _check_hex(value: Any, pointer: str, run: Run) -> None:
    if is_string(value, pointer, run) and not _HEX.fullmatch(value):
        run.add("epcis.hex", pointer, f"{value[:40]!r} is not hexadecimal", "Use 0 to 9 and A to F.")


def _check_ilmd(value: Any, pointer: str, run: Run) -> None:
    if type(value) is not dict:
        run.add(
            "epcis.kind", pointer, f"expected an object, not {kind_of(value)}", "Write ilmd as an object."
        )
        return
    for name, item in value.items():
        check_extension(name, item, pointer, run, "ilmd")


def _check_certification(value: Any, pointer: str, run: Run) -> None:
    if type(value) is list:
        for index, item in enumerate(value):
            check_uri(item, f"{pointer}/{index}", run)
    else:
        check_uri(value, pointer, run)


def check_context(value: Any, pointer: str, run: Run) -> None:
    parts = value if type(value) is list else [value]
    seen: set[Any] = set()
    for index, part in enumerate(parts):
        here = f"{pointer}/{index}" if type(value) is list else pointer
        if type(part) is str:
            check_uri(part, here, run)
        elif type(part) is not dict:
            run.add(
                "epcis.context",
                here,
                f"expected a URI or an object, not {kind_of(part)}",
                "Correct @context.",
            )
        if type(part) is str or type(part) is dict:
            known = part if type(part) is str else _hashable(part)
            if known in seen:
                run.add("epcis.duplicate", here, "this part of @context stands there twice", "Name it once.")
            seen.add(known)


def _hashable(value: Any) -> Any:
    """What equals another one's exactly if the values do: to compare each with each takes minutes."""
    if type(value) is dict:
        return frozenset((name, _hashable(item)) for name, item in value.items())
    return tuple(map(_hashable, value)) if type(value) is list else value


def _check_disposition_changes(value: Any, pointer: str, run: Run) -> None:
    _DISPOSITION_CHANGES(value, pointer, run)
    if type(value) is dict and "set" not in value and "unset" not in value:
        run.add(
            "epcis.required", pointer, "persistentDisposition has neither set nor unset", "Give one of them."
        )


_disposition = word(words.DISPOSITION)
_DISPOSITION_CHANGES = object_of(
    dict.fromkeys(("set", "unset"), array_of(_disposition, items_min=1, unique=True)),
    extensions="no",
    what="persistentDisposition",
)
_QUANTITY = object_of(
    {"epcClass": check_identifier, "quantity": _check_quantity, "uom": _check_uom},
    required=("epcClass",),
    extensions="no",
    what="a quantity element",
)


def _check_quantity_element(value: Any, pointer: str, run: Run) -> None:
    _QUANTITY(value, pointer, run)
    if type(value) is dict and "uom" in value and "quantity" not in value:
        run.add(
            "epcis.uom",
            f"{pointer}/uom",
            "a unit without a quantity measures nothing",
            "Say quantity, or leave uom out.",
        )


_quantity_list = array_of(_check_quantity_element)
_biz_transaction = object_of(
    {
        "type": word(words.BIZ_TRANSACTION_TYPE),
        "bizTransaction": check_identifier,
    },
    required=("bizTransaction",),
    extensions="no",
    what="a business transaction",
)
_source_type = word(words.SOURCE_DEST_TYPE)
_source = object_of(
    {"type": _source_type, "source": check_identifier},
    required=("type", "source"),
    extensions="no",
    what="a source",
)
_destination = object_of(
    {"type": _source_type, "destination": check_identifier},
    required=("type", "destination"),
    extensions="no",
    what="a destination",
)
_place = object_of({"id": check_identifier}, required=("id",), extensions="any", what="a place")
_error_declaration = object_of(
    {
        "declarationTime": check_time,
        "reason": word(words.ERROR_REASON),
        "correctiveEventIDs": array_of(check_uri),
    },
    required=("declarationTime",),
    extensions="named",
    what="an error declaration",
)
_SENSOR_SOURCE: dict[str, Check] = {
    "time": check_time,
    "deviceID": check_identifier,
    "deviceMetadata": check_uri,
    "rawData": check_uri,
    "dataProcessingMethod": check_uri,
    "bizRules": check_uri,
}
_sensor_metadata = object_of(
    {**_SENSOR_SOURCE, "startTime": check_time, "endTime": check_time},
    extensions="named",
    what="sensor metadata",
)
_sensor_report = object_of(
    {
        **_SENSOR_SOURCE,
        "type": word(words.MEASUREMENT_TYPE, _VOC_URI),
        "exception": word(words.SENSOR_ALERT, _VOC_URI),
        "microorganism": check_uri,
        "chemicalSubstance": check_uri,
        "coordinateReferenceSystem": check_uri,
        "component": word(words.COMPONENT),
        "stringValue": check_string,
        "booleanValue": check_boolean,
        "hexBinaryValue": _check_hex,
        "uriValue": check_uri,
        "uom": check_string,
        **dict.fromkeys(
            ("value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue"), check_number
        ),
    },
    required=("type",),
    extensions="named",
    what="a sensor report",
)
_sensor_element = object_of(
    {"sensorMetadata": _sensor_metadata, "sensorReport": array_of(_sensor_report, items_min=1)},
    required=("sensorReport",),
    extensions="named",
    what="a sensor element",
)


def _check_nothing(value: Any, pointer: str, run: Run) -> None:
    """The type was looked at before any field."""


ANY_CHECKS: dict[str, Check] = {
    "@context": check_context,
    "type": _check_nothing,
    "eventTime": check_time,
    "recordTime": check_time,
    "eventTimeZoneOffset": _check_offset,
    "eventID": _check_event_id,
    "certificationInfo": _check_certification,
    "errorDeclaration": _error_declaration,
    "action": _check_action,
    "epcList": identifiers(unique=True),
    "quantityList": _quantity_list,
    "parentID": check_identifier,
    "childEPCs": identifiers(unique=False),
    "childQuantityList": _quantity_list,
    "inputEPCList": identifiers(unique=True),
    "inputQuantityList": _quantity_list,
    "outputEPCList": identifiers(unique=True),
    "outputQuantityList": _quantity_list,
    "transformationID": check_identifier,
    "bizStep": word(words.BIZ_STEP),
    "disposition": _disposition,
    "persistentDisposition": _check_disposition_changes,
    "readPoint": _place,
    "bizLocation": _place,
    "bizTransactionList": array_of(_biz_transaction),
    "sourceList": array_of(_source),
    "destinationList": array_of(_destination),
    "sensorElementList": array_of(_sensor_element),
    "ilmd": _check_ilmd,
}
_OF_TRANSACTION: dict[str, Check] = {
    "epcList": identifiers(unique=False),  # where schema 2.0.1 alone allows repetition
    "bizTransactionList": array_of(_biz_transaction, items_min=1),
}
CHECKS: dict[str, dict[str, Check]] = {
    event_type: {
        name: (_OF_TRANSACTION.get(name) if event_type == "TransactionEvent" else None) or check
        for name, check in ANY_CHECKS.items()
        if name in words.COMMON_FIELDS or name in words.EVENT_FIELDS[event_type]
    }
    for event_type in words.EVENT_TYPES
}
