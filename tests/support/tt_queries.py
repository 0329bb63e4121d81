"""Questions to which an event is an answer, as URLs ask them, made from the event by other code than ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tt_epcis import CONTEXT, object_event

LISTS = {
    "epcList": ("MATCH_epc", "MATCH_anyEPC"),
    "childEPCs": ("MATCH_epc", "MATCH_anyEPC"),
    "inputEPCList": ("MATCH_inputEPC", "MATCH_anyEPC"),
    "outputEPCList": ("MATCH_outputEPC", "MATCH_anyEPC"),
}
CLASSES = {
    "quantityList": ("MATCH_epcClass", "MATCH_anyEPCClass"),
    "childQuantityList": ("MATCH_epcClass", "MATCH_anyEPCClass"),
    "inputQuantityList": ("MATCH_inputEPCClass", "MATCH_anyEPCClass"),
    "outputQuantityList": ("MATCH_outputEPCClass", "MATCH_anyEPCClass"),
}
NUMBERS = ("value", "minValue", "maxValue", "meanValue", "sDev", "percValue")
SENSOR_TEXTS = (
    "deviceID", "dataProcessingMethod", "microorganism", "chemicalSubstance", "bizRules",
    "stringValue", "hexBinaryValue", "uriValue", "type",
)  # fmt: skip


def ask(name: str, value: Any) -> str:
    """One parameter as it stands in a URL."""
    return f"{quote(name, safe='')}={quote(str(value), safe='')}"


def questions(event: dict[str, Any]) -> Iterator[str]:
    """Every single question that comes to mind to which this event must be an answer."""
    yield ask("eventType", event["type"])
    yield ask("GE_eventTime", event["eventTime"])
    for name in ("action", "eventID", "transformationID"):
        if name in event:
            yield ask(f"EQ_{name}", event[name])
    for name in ("bizStep", "disposition"):
        if name in event:
            yield ask(f"EQ_{name}", event[name])
    for which, words in event.get("persistentDisposition", {}).items():
        for word in words:
            yield ask(f"EQ_persistentDisposition_{which}", word)
    for name in ("readPoint", "bizLocation"):
        if name in event:
            yield ask(f"EQ_{name}", event[name]["id"])
            yield ask(f"WD_{name}", event[name]["id"])
            yield from fields(f"{name}_", event[name])
    for list_name, item in (
        ("bizTransactionList", "bizTransaction"),
        ("sourceList", "source"),
        ("destinationList", "destination"),
    ):
        for one in event.get(list_name, ()):
            if "type" in one:
                yield ask(f"EQ_{item}_{one['type']}", one[item])
    yield from identifiers(event)
    declaration = event.get("errorDeclaration")
    if declaration:
        yield ask("EXISTS_errorDeclaration", "true")
        yield ask("GE_errorDeclarationTime", declaration["declarationTime"])
        if "reason" in declaration:
            yield ask("EQ_errorReason", declaration["reason"])
        for corrective in declaration.get("correctiveEventIDs", ()):
            yield ask("EQ_correctiveEventID", corrective)
        yield from fields("ERROR_DECLARATION_", declaration)
    if event.get("sensorElementList"):
        yield from sensors(event["sensorElementList"])
    yield from fields("", event)
    yield from fields("ILMD_", event.get("ilmd", {}))


def identifiers(event: dict[str, Any]) -> Iterator[str]:
    for field, names in LISTS.items():
        for epc in event.get(field, ()):
            for name in names:
                yield ask(name, epc)
                yield from (ask(name, pattern) for pattern in patterns(epc))
    if "parentID" in event:
        yield ask("MATCH_parentID", event["parentID"])
        yield ask("MATCH_anyEPC", event["parentID"])
    for field, names in CLASSES.items():
        for one in event.get(field, ()):
            for name in names:
                yield ask(name, one["epcClass"])
            if "quantity" in one:
                for operator in ("EQ", "GE", "LE"):
                    yield ask(f"{operator}_quantity", one["quantity"])
                    if "uom" in one:
                        yield ask(f"{operator}_quantity_{one['uom']}", one["quantity"])


def patterns(epc: str) -> Iterator[str]:
    """The patterns that cover an EPC URN: its parts, one after the other from behind, made *."""
    parts = epc.split(":")
    if (
        parts[:3] == ["urn", "epc", "id"]
        and len(parts) == 5
        and parts[3] in ("sgtin", "sscc", "grai", "giai")
    ):
        values = parts[4].split(".")
        if len(values) <= 3:
            for kept in range(len(values)):
                yield f"urn:epc:idpat:{parts[3]}:" + ".".join(
                    value if i < kept else "*" for i, value in enumerate(values)
                )


def sensors(elements: list[dict[str, Any]]) -> Iterator[str]:
    yield ask("EXISTS_sensorElementList", "true")
    for element in elements:
        yield from fields("SENSORELEMENT_", element)
        metadata = element.get("sensorMetadata", {})
        yield from fields("SENSORMETADATA_", metadata)
        for name in ("time", "startTime", "endTime"):
            if name in metadata:
                yield ask(f"GE_{name}", metadata[name])
        for name in ("deviceID", "dataProcessingMethod", "bizRules"):
            if name in metadata:
                yield ask(f"EQ_{name}", metadata[name])
        for report in element.get("sensorReport", ()):
            yield from fields("SENSORREPORT_", report)
            yield from (ask(f"EQ_{name}", report[name]) for name in SENSOR_TEXTS if name in report)
            if "booleanValue" in report:
                yield ask("EQ_booleanValue", str(report["booleanValue"]).lower())
            if "percRank" in report:
                yield ask("GE_percRank", report["percRank"])
            for name in NUMBERS:
                if name in report and "uom" in report:
                    for operator in ("EQ", "GE", "LE"):
                        yield ask(f"{operator}_{name}_{report['uom']}", report[name])


def fields(scope: str, container: dict[str, Any]) -> Iterator[str]:
    for name, value in container.items():
        if ":" in name:
            yield ask(f"EXISTS_{scope}{name}", "true")
            yield from leaves(f"EQ_{scope}{name}", value)
            yield from inner(scope, value)


def leaves(name: str, value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool):
            yield ask(name, str(one).lower())
        elif isinstance(one, str | int | float) and "|" not in str(one) and one != "":
            yield ask(name, one)


def inner(scope: str, value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict):
            for name, below in one.items():
                if ":" in name:
                    yield ask(f"EXISTS_INNER_{scope}{name}", "true")
                    yield from leaves(f"EQ_INNER_{scope}{name}", below)
                yield from inner(scope, below)


FULL = object_event(
    "urn:epc:id:sgtin:9521141.012345.100",
    "https://id.example.org/01/09521141123454/21/200",
    **{
        "@context": [CONTEXT, {"ex": "https://ns.example/ex/", "two": "https://ns.example/two#"}],
        "action": "ADD",
        "bizStep": "commissioning",
        "eventID": "urn:uuid:2f8c2a5e-6ab1-4c53-9d13-2e6a3a1f0a01",
        "disposition": "active",
        "persistentDisposition": {"set": ["completeness_verified"], "unset": ["completeness_inferred"]},
        "readPoint": {"id": "urn:epc:id:sgln:9521141.00012.dock7", "ex:gate": "north"},
        "bizLocation": {"id": "urn:epc:id:sgln:9521141.00012.0", "ex:floor": 2},
        "bizTransactionList": [
            {"type": "po", "bizTransaction": "urn:epc:id:gdti:9521141.00001.77"},
            {"type": "inv", "bizTransaction": "urn:epcglobal:cbv:bt:9521141000012:I-1"},
        ],
        "quantityList": [
            {"epcClass": "urn:epc:class:lgtin:9521141.012345.L1", "quantity": 12.5, "uom": "KGM"},
            {"epcClass": "urn:epc:idpat:sgtin:9521141.012345.*", "quantity": 3},
        ],
        "sourceList": [{"type": "owning_party", "source": "urn:epc:id:pgln:9521141.00012"}],
        "destinationList": [{"type": "location", "destination": "urn:epc:id:sgln:9521141.00013.0"}],
        "sensorElementList": [
            {
                "sensorMetadata": {
                    "time": "2026-11-05T08:00:00Z",
                    "deviceID": "urn:epc:id:giai:9521141.7",
                    "bizRules": "https://rules.example/1",
                    "ex:calibrated": "2026-01-01T00:00:00Z",
                },
                "sensorReport": [
                    {"type": "Temperature", "value": 4.5, "minValue": 2, "maxValue": 8, "uom": "CEL"},
                    {"type": "Dimensionless", "booleanValue": True, "stringValue": "fine", "percRank": 50},
                ],
                "ex:room": "cold 1",
            }
        ],
        "ilmd": {"cbvmda:lotNumber": "L1", "ex:box": {"ex:colour": "red", "two:size": [1, "2"]}},
        "ex:line": "7",
        "ex:shift": {"ex:leader": "A. N. Other", "ex:since": "2026-11-05T06:00:00+01:00"},
        "two:weight": 3.5,
    },
)
"""An event with nearly everything that may be asked about."""
