"""Step 4 of 9: what each field of an event may hold. validate.py asks; nothing here looks beyond one field.

A check takes the value, its pointer and the run, and adds what is wrong to the run. Pointers into lists are
only written once there is a fault: most events have none, and this is on the way of every one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from traceability.epcis import vocabulary as words
from traceability.epcis.formats import is_time, is_uri
from traceability.epcis.run import Run, escape, kind_of
from traceability.gs1.canonical import judge

Check = Callable[[Any, str, Run], None]

_OFFSET = re.compile(r"[+\-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00)")
_PLAIN_URN = re.compile(r"urn:[a-z]+:[0-9A-Za-z\-]+")
_UOM = re.compile(r"[A-Z0-9]{2,3}")
_HEX = re.compile(r"[A-Fa-f0-9]+")
# CBV's words are bare in JSON; these spellings of them belong to XML.
_CBV_URI = re.compile(r"urn:epcglobal:cbv|https?://ns\.gs1\.org/cbv/")
_VOC_URI = re.compile(r"https?://(?:www\.)?gs1\.org/voc/")

_FIXES = {
    "gs1.check-digit": "Look for a mistyped digit, or compute the check digit again.",
    "gs1.company-prefix": "Put the first dot behind your GS1 company prefix of 6 to 12 digits.",
    "gs1.percent-encoding": "Write % only before two hexadecimal digits, as %2F for a slash.",
    "gs1.charset": "Use characters of GS1's set only, and in a URN escape \" % & / < > and ?.",
    "gs1.scheme": "Use a pure identity EPC, as urn:epc:id:sgtin:prefix.item.serial, in lower case.",
    "gs1.qualifier": "Keep qualifiers in GS1's order, and move other data behind a ? in the link.",
    "gs1.pattern": "Name one class: everything but the serial, and one * in its place.",
}
_GS1_FIX = "Compare the identifier with the label or the master data it came from."


def _is_string(value: Any, pointer: str, run: Run) -> bool:
    if type(value) is str:
        return True
    run.add("epcis.kind", pointer, f"expected a string, not {kind_of(value)}", "Put the value in quotes.")
    return False


def check_string(value: Any, pointer: str, run: Run) -> None:
    _is_string(value, pointer, run)


def check_uri(value: Any, pointer: str, run: Run) -> None:
    if type(value) is str and is_uri(value):
        return
    if _is_string(value, pointer, run):
        run.add(
            "epcis.uri",
            pointer,
            f"{value[:64]!r} is not a URI",
            "Write an absolute URI, with other characters escaped.",
        )


def _check_event_id(value: Any, pointer: str, run: Run) -> None:
    # Every event has another, so remembering them as is_uri() does would push out what comes back.
    if type(value) is not str or not _PLAIN_URN.fullmatch(value):
        check_uri(value, pointer, run)


def check_time(value: Any, pointer: str, run: Run) -> None:
    if type(value) is str and is_time(value):
        return
    if _is_string(value, pointer, run):
        run.add(
            "epcis.time",
            pointer,
            f"{value[:40]!r} is not a date and time with a zone",
            "Write it as 2026-11-20T08:15:00.000+01:00.",
        )


def check_number(value: Any, pointer: str, run: Run) -> None:
    if type(value) is not int and type(value) is not float:
        run.add(
            "epcis.kind",
            pointer,
            f"expected a number, not {kind_of(value)}",
            "Write the number without quotes.",
        )


def check_boolean(value: Any, pointer: str, run: Run) -> None:
    if type(value) is not bool:
        run.add(
            "epcis.kind", pointer, f"expected true or false, not {kind_of(value)}", "Write it without quotes."
        )


def check_identifier(value: Any, pointer: str, run: Run) -> None:
    """A URI that, if it claims to be GS1's, keeps GS1's rules."""
    if not _is_string(value, pointer, run):
        return
    name, code, detail = judge(value)
    if code:
        run.add(code, pointer, detail, _FIXES.get(code, _GS1_FIX))
    elif name[0] == "r":  # somebody's own name; a good GS1 identifier is always a URI
        check_uri(value, pointer, run)


def _is_array(value: Any, pointer: str, run: Run) -> bool:
    if type(value) is list:
        return True
    run.add(
        "epcis.kind", pointer, f"expected an array, not {kind_of(value)}", "Put the value between [ and ]."
    )
    return False


def _array_of(check: Check, *, items_min: int = 0, unique: bool = False) -> Check:
    def check_array(value: Any, pointer: str, run: Run) -> None:
        if not _is_array(value, pointer, run):
            return
        if len(value) < items_min:
            run.add(
                "epcis.empty", pointer, "the array is empty", "Give at least one, or leave the field out."
            )
        for index, item in enumerate(value):
            check(item, f"{pointer}/{index}", run)
        if unique:
            _check_unique(value, pointer, run)

    return check_array


def _check_unique(value: list[Any], pointer: str, run: Run) -> None:
    try:
        if len(set(value)) == len(value):
            return
    except TypeError:  # something unhashable among them, which is a fault of its own
        pass
    seen: dict[str, int] = {}
    for index, item in enumerate(value):
        if isinstance(item, str) and (first := seen.setdefault(item, index)) != index:
            run.add(
                "epcis.duplicate",
                f"{pointer}/{index}",
                f"{item[:64]!r} stands at {first} already",
                "Name it once.",
            )


def _identifiers(*, unique: bool) -> Check:
    def check_identifiers(value: Any, pointer: str, run: Run) -> None:
        if not _is_array(value, pointer, run):
            return
        for index, item in enumerate(value):
            # The common case in one line: a good GS1 identifier. Whatever else it is, is looked at closely.
            if type(item) is not str or judge(item)[0][0] == "r":
                check_identifier(item, f"{pointer}/{index}", run)
        if unique and len(value) > 1:
            _check_unique(value, pointer, run)

    return check_identifiers


def _word(vocabulary: Collection[str], what: str, foreign: re.Pattern[str] = _CBV_URI) -> Check:
    """A bare word of the standard, or a URI that is nobody's other spelling of one."""

    def check_word(value: Any, pointer: str, run: Run) -> None:
        if type(value) is str and value in vocabulary:
            return
        if not _is_string(value, pointer, run):
            return
        if foreign.match(value):
            run.add(
                "epcis.spelling",
                pointer,
                f"{value[:80]!r} is not how JSON spells a {what} of the standard",
                "Write the bare word, for instance shipping for urn:epcglobal:cbv:bizstep:shipping.",
            )
        elif not is_uri(value):
            run.add(
                "epcis.word",
                pointer,
                f"{value[:64]!r} is no {what} of the standard",
                f"Use a standard word ({', '.join(sorted(vocabulary)[:3])} …), or a URI for one of your own.",
            )

    return check_word


def _check_action(value: Any, pointer: str, run: Run) -> None:
    if type(value) is str and value in words.ACTIONS:
        return
    if _is_string(value, pointer, run):
        run.add("epcis.action", pointer, f"{value[:40]!r} is no action", "Say ADD, OBSERVE or DELETE.")


def _check_offset(value: Any, pointer: str, run: Run) -> None:
    if type(value) is str and _OFFSET.fullmatch(value):
        return
    if _is_string(value, pointer, run):
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
    if _is_string(value, pointer, run) and not _UOM.fullmatch(value):
        run.add(
            "epcis.uom",
            pointer,
            f"{value[:40]!r} is no unit code",
            "Use UN/CEFACT Recommendation 20, as KGM.",
        )


def _check_hex(value: Any, pointer: str, run: Run) -> None:
    if _is_string(value, pointer, run) and not _HEX.fullmatch(value):
        run.add("epcis.hex", pointer, f"{value[:40]!r} is not hexadecimal", "Use 0 to 9 and A to F.")


def _object(
    checks: Mapping[str, Check], *, required: tuple[str, ...] = (), extensions: str, what: str
) -> Check:
    """An object with these members.

    extensions  "no", "named" (with a declared prefix), or "any" (where GS1's schema takes bare ones too)
    """

    def check_object(value: Any, pointer: str, run: Run) -> None:
        if type(value) is not dict:
            run.add(
                "epcis.kind",
                pointer,
                f"expected an object, not {kind_of(value)}",
                f"Write {what} as an object.",
            )
            return
        for name in required:
            if name not in value:
                run.add("epcis.required", pointer, f"{name} is missing in {what}", f"Say {name}.")
        for name, item in value.items():
            check = checks.get(name)
            if check is not None:
                check(item, f"{pointer}/{name}", run)
            elif extensions == "no":
                run.add(
                    "epcis.field",
                    f"{pointer}/{escape(name)}",
                    f"{what} has no field {name[:64]!r}",
                    f"Leave it out; {what} takes {', '.join(checks)} and nothing else.",
                )
            elif extensions == "named" or ":" in name:
                check_extension(name, item, pointer, run, what)

    return check_object


def check_extension(name: str, value: Any, pointer: str, run: Run, where: str) -> None:
    """A field that is not the standard's: its name and all names within need a declared namespace."""
    pointer = f"{pointer}/{escape(name)}"
    if ":" not in name:
        run.add(
            "epcis.field",
            pointer,
            f"{where} has no field {name[:64]!r}",
            "Correct the spelling, or give a field of your own a prefix, as example:field.",
        )
        return
    run.check_name(name, pointer)
    if type(value) is dict or type(value) is list:
        _check_nested(value, pointer, run)


def _check_nested(value: Any, pointer: str, run: Run) -> None:
    if type(value) is list:
        for index, item in enumerate(value):
            _check_nested(item, f"{pointer}/{index}", run)
    elif type(value) is dict:
        inner = run.nested(value["@context"]) if "@context" in value else run
        for name, item in value.items():
            here = f"{pointer}/{escape(name)}"
            if ":" in name:
                inner.check_name(name, here)
            if name != "@context":
                _check_nested(item, here, inner)
        run.dropped = max(run.dropped, inner.dropped)


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


def _check_context(value: Any, pointer: str, run: Run) -> None:
    parts = value if type(value) is list else [value]
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
        if part in parts[:index] and type(part) in (str, dict):
            run.add("epcis.duplicate", here, "this part of @context stands there twice", "Name it once.")


def _check_disposition_changes(value: Any, pointer: str, run: Run) -> None:
    _DISPOSITION_CHANGES(value, pointer, run)
    if type(value) is dict and "set" not in value and "unset" not in value:
        run.add(
            "epcis.required", pointer, "persistentDisposition has neither set nor unset", "Give one of them."
        )


_disposition = _word(words.DISPOSITIONS, "disposition")
_DISPOSITION_CHANGES = _object(
    dict.fromkeys(("set", "unset"), _array_of(_disposition, items_min=1, unique=True)),
    extensions="no",
    what="persistentDisposition",
)
_quantity_list = _array_of(
    _object(
        {"epcClass": check_identifier, "quantity": _check_quantity, "uom": _check_uom},
        required=("epcClass",),
        extensions="no",
        what="a quantity element",
    )
)
_biz_transaction = _object(
    {
        "type": _word(words.BIZ_TRANSACTION_TYPES, "business transaction type"),
        "bizTransaction": check_identifier,
    },
    required=("bizTransaction",),
    extensions="no",
    what="a business transaction",
)
_source_type = _word(words.SOURCE_DEST_TYPES, "source or destination type")
_source = _object(
    {"type": _source_type, "source": check_identifier},
    required=("type", "source"),
    extensions="no",
    what="a source",
)
_destination = _object(
    {"type": _source_type, "destination": check_identifier},
    required=("type", "destination"),
    extensions="no",
    what="a destination",
)
_place = _object({"id": check_identifier}, required=("id",), extensions="any", what="a place")
_error_declaration = _object(
    {
        "declarationTime": check_time,
        "reason": _word(words.ERROR_REASONS, "error reason"),
        "correctiveEventIDs": _array_of(check_uri),
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
_sensor_metadata = _object(
    {**_SENSOR_SOURCE, "startTime": check_time, "endTime": check_time},
    extensions="named",
    what="sensor metadata",
)
_sensor_report = _object(
    {
        **_SENSOR_SOURCE,
        "type": _word(words.MEASUREMENT_TYPES, "measurement type", _VOC_URI),
        "exception": _word(words.SENSOR_ALERTS, "sensor alert", _VOC_URI),
        "microorganism": check_uri,
        "chemicalSubstance": check_uri,
        "coordinateReferenceSystem": check_uri,
        "component": _word(words.COMPONENTS, "component"),
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
_sensor_element = _object(
    {"sensorMetadata": _sensor_metadata, "sensorReport": _array_of(_sensor_report, items_min=1)},
    required=("sensorReport",),
    extensions="named",
    what="a sensor element",
)


def _check_nothing(value: Any, pointer: str, run: Run) -> None:
    """The type was looked at before any field."""


ANY_CHECKS: dict[str, Check] = {
    "@context": _check_context,
    "type": _check_nothing,
    "eventTime": check_time,
    "recordTime": check_time,
    "eventTimeZoneOffset": _check_offset,
    "eventID": _check_event_id,
    "certificationInfo": _check_certification,
    "errorDeclaration": _error_declaration,
    "action": _check_action,
    "epcList": _identifiers(unique=True),
    "quantityList": _quantity_list,
    "parentID": check_identifier,
    "childEPCs": _identifiers(unique=False),
    "childQuantityList": _quantity_list,
    "inputEPCList": _identifiers(unique=True),
    "inputQuantityList": _quantity_list,
    "outputEPCList": _identifiers(unique=True),
    "outputQuantityList": _quantity_list,
    "transformationID": check_identifier,
    "bizStep": _word(words.BIZ_STEPS, "business step"),
    "disposition": _disposition,
    "persistentDisposition": _check_disposition_changes,
    "readPoint": _place,
    "bizLocation": _place,
    "bizTransactionList": _array_of(_biz_transaction),
    "sourceList": _array_of(_source),
    "destinationList": _array_of(_destination),
    "sensorElementList": _array_of(_sensor_element),
    "ilmd": _check_ilmd,
}
_OF_TRANSACTION: dict[str, Check] = {
    "epcList": _identifiers(unique=False),  # where schema 2.0.1 alone allows repetition
    "bizTransactionList": _array_of(_biz_transaction, items_min=1),
}
CHECKS: dict[str, dict[str, Check]] = {
    event_type: {
        name: (_OF_TRANSACTION.get(name) if event_type == "TransactionEvent" else None) or check
        for name, check in ANY_CHECKS.items()
        if name in words.COMMON_FIELDS or name in words.EVENT_FIELDS[event_type]
    }
    for event_type in words.EVENT_TYPES
}
