"""Step 2 of 9, described: master data out of the headers of documents."""

from __future__ import annotations

from api.openapi.epcis import EXTENSIONS, NEXT_PAGE_TOKEN, PAGED, PER_PAGE, spoken
from api.openapi.parts import POSITION, Json, Route, answer, array, closed, integer, query, ref, schema, text
from api.openapi.queries import CONTEXT, GROUP, LD
from api.services import Limits
from traceability.queries.parameters import VALUE_LENGTH_MAX, VALUES_MAX

__all__ = ["GROUP", "SCHEMAS", "routes"]

_COUNT_MAX = 10**15 - 1
_VALUE = text(minLength=1, maxLength=VALUE_LENGTH_MAX, pattern="^[^|\\x00]+$")
_DOCUMENT = {
    "@context": [CONTEXT],
    "type": "EPCISQueryDocument",
    "schemaVersion": "2.0",
    "creationDate": "2026-11-20T12:10:29.000Z",
    "epcisBody": {
        "queryResults": {
            "queryName": "SimpleMasterDataQuery",
            "resultsBody": {
                "vocabularyList": [
                    {
                        "type": "urn:epcglobal:epcis:vtype:BusinessLocation",
                        "vocabularyElementList": [
                            {
                                "id": "urn:epc:id:sgln:9520123.00001.0",
                                "attributes": [{"id": "cbvmda:city", "attribute": "Riga"}],
                                "children": ["urn:epc:id:sgln:9520123.00001.1"],
                                "tallystick:seq": 6,
                                "@context": [{"tallystick": "urn:tallystick:proof:"}],
                            }
                        ],
                    }
                ]
            },
        }
    },
}
_ELEMENT: Json = {
    "type": "object",
    "required": ["id", "tallystick:seq"],
    "properties": {"id": text(), "tallystick:seq": POSITION},
    "additionalProperties": True,
    "description": "As it was signed. `tallystick:seq` is the entry that says it: see `/statements/{seq}`"
    " and `/receipts/{seq}`.",
}
SCHEMAS: Json = {
    "MasterDataDocument": {
        **closed(
            {
                "@context": array({"type": ["string", "object"], "additionalProperties": True}),
                "type": {"const": "EPCISQueryDocument"},
                "schemaVersion": text(),
                "creationDate": text(format="date-time"),
                "epcisBody": closed(
                    {
                        "queryResults": closed(
                            {
                                "queryName": {"const": "SimpleMasterDataQuery"},
                                "resultsBody": closed(
                                    {
                                        "vocabularyList": array(
                                            closed({"type": text(), "vocabularyElementList": array(_ELEMENT)})
                                        )
                                    }
                                ),
                            }
                        )
                    }
                ),
            }
        ),
        "description": "Vocabulary elements that answer a question.",
    },
}


def routes(_: Limits) -> list[Route]:
    return [
        Route(
            "/masterdata",
            "get",
            "queryMasterData",
            "Master data out of documents' headers",
            "EPCIS's SimpleMasterDataQuery. Of several documents that speak of one thing in one vocabulary,"
            " the last in the log counts.",
            [
                _list("vocabularyName", "Only of these vocabularies: `BusinessLocation`, or a URI."),
                _list("EQ_name", "Only these things, in any spelling of their identifiers."),
                _list("WD_name", "Only these things and those that lie below them."),
                _list("HASATTR", "Only what has one of these attributes: `city`, `cbvmda:city`, or a URI."),
                {
                    "name": "EQATTR",
                    "in": "query",
                    "style": "form",
                    "explode": True,
                    "required": False,
                    "description": "`EQATTR_<attribute>`: only what has one of these values there; several"
                    " are separated by `|`.",
                    "schema": {
                        "type": "object",
                        "additionalProperties": False,
                        "maxProperties": 20,
                        "patternProperties": {"^EQATTR_.+$": _VALUE},
                    },
                },
                query("includeAttributes", "Whether attributes are told.", _flag()),
                query("includeChildren", "Whether is told what lies within.", _flag()),
                _list("attributeNames", "Only these attributes are told."),
                query(
                    "maxElementCount",
                    "More elements than that are refused with 413.",
                    integer(minimum=1, maximum=_COUNT_MAX),
                ),
                PER_PAGE,
                NEXT_PAGE_TOKEN,
                ref("parameters", EXTENSIONS["name"]),
            ],
            answers={
                "200": answer(
                    "One page of vocabulary elements.",
                    LD,
                    schema("MasterDataDocument"),
                    example=_DOCUMENT,
                    headers=spoken(*PAGED, "Tallystick-Covered"),
                )
            },
            problems={
                400: "A parameter is unknown or has a value that it cannot have. All faults are told.",
                413: "More elements than `maxElementCount`, or too many to count.",
            },
        )
    ]


def _flag() -> Json:
    return {"type": "boolean", "default": True}


def _list(name: str, description: str) -> Json:
    found = query(name, description, array(_VALUE, minItems=1, maxItems=VALUES_MAX))
    return {**found, "style": "pipeDelimited", "explode": False}
