"""Step 2 of 9, described: the query interface of EPCIS 2.0."""

from __future__ import annotations

from api.openapi.epcis import ASKED, NEXT_PAGE_TOKEN, PAGED, PER_PAGE, PROOF, XML_FORMAT, spoken
from api.openapi.parts import (
    Group,
    Json,
    Route,
    answer,
    array,
    body,
    closed,
    content,
    in_path,
    ref,
    schema,
    text,
)
from api.services import Limits
from projection.kept import QUERY_SIZE_MAX
from projection.resources import KINDS

GROUP = Group(
    "Query",
    "The query interface of EPCIS 2.0. Answers are EPCISQueryDocuments in JSON-LD; `Tallystick-Covered` says"
    " up to which position of the log an answer looked. Pages stay right while events arrive. With"
    " `?proof=true`"
    " each event brings what its reader needs to check it alone.",
    epcis=True,
)

LD = "application/ld+json"
CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
_WHAT = {
    "eventTypes": ("type", "types of events", "ObjectEvent"),
    "epcs": ("thing", "things that events are about", "urn:epc:id:sgtin:9520123.045678.1000000042"),
    "bizSteps": ("business step", "business steps", "shipping"),
    "bizLocations": ("business location", "business locations", "urn:epc:id:sgln:9520123.00001.0"),
    "readPoints": ("read point", "read points", "urn:epc:id:sgln:9520123.00001.0"),
    "dispositions": ("disposition", "dispositions", "in_transit"),
}
_NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._~\\-]{0,127}$"
QUERY_NAME = in_path("name", "The query's name.", text(pattern=_NAME_PATTERN), "shipped-today")
_QUERY: Json = {"EQ_bizStep": ["shipping"], "GE_eventTime": "2026-11-20T00:00:00Z"}
_NAMED = {"name": "shipped-today", "query": _QUERY}
_ASKING = {
    400: "A parameter is unknown, contradicts another or has a value that it cannot have. All faults are"
    " told.",
    413: "More events than `maxEventCount`, or more than one question may read.",
}
_DOCUMENT = {
    "@context": [CONTEXT],
    "type": "EPCISQueryDocument",
    "schemaVersion": "2.0",
    "creationDate": "2026-11-20T12:10:29.000Z",
    "epcisBody": {
        "queryResults": {
            "queryName": "SimpleEventQuery",
            "resultsBody": {
                "eventList": [
                    {
                        "@context": [CONTEXT],
                        "type": "ObjectEvent",
                        "eventID": "urn:uuid:4f9bd9c8-1c38-4b8e-9a3c-5a0f0a1f7c11",
                        "eventTime": "2026-11-15T15:00:00.000Z",
                        "eventTimeZoneOffset": "+00:00",
                        "recordTime": "2026-11-20T12:00:20.000000Z",
                        "epcList": ["urn:epc:id:sscc:9520123.0000000002"],
                        "action": "OBSERVE",
                        "bizStep": "shipping",
                        "disposition": "in_transit",
                    }
                ]
            },
        }
    },
}

SCHEMAS: Json = {
    "EPCISQueryDocument": {
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
                                "queryName": text(),
                                "resultsBody": closed({"eventList": array(schema("Event"))}),
                            }
                        )
                    }
                ),
            }
        ),
        "description": "Events that answer a question. Each brings the `@context` that it was signed with.",
    },
    "Collection": {
        **closed(
            {
                "@context": array({"type": ["string", "object"], "additionalProperties": True}),
                "type": {"const": "Collection"},
                "member": array(text()),
            }
        ),
        "description": "A list of values, or of what there is below one.",
    },
    "NamedQuery": {
        **closed({"name": text(pattern=_NAME_PATTERN), "query": schema("Query")}),
        "description": "A query that is kept under a name.",
    },
    "Query": {
        "type": "object",
        "additionalProperties": True,
        "description": "The parameters of `GET /events`, with lists as arrays, numbers as numbers and"
        " times as"
        " text.",
    },
}


def routes(_: Limits) -> list[Route]:
    return [
        Route(
            "/events",
            "get",
            "queryEvents",
            "Events that answer a question",
            "Newest first, unless `orderBy` says otherwise. Lists are one parameter with `|` between its"
            " values:"
            " `EQ_bizStep=shipping|receiving`.",
            ASKED,
            answers=_events(),
            problems=_ASKING,
        ),
        Route(
            "/events/{event_id}",
            "get",
            "readEvent",
            "One event, with its error declarations",
            "An error declaration has the id of the event that it corrects, so there may be several.",
            [
                in_path(
                    "event_id",
                    "Its eventID, percent-encoded.",
                    text(minLength=1),
                    f"ni:///sha-256;{'0123456789abcdef' * 4}?ver=CBV2.0",
                ),
                *ASKED,
            ],
            answers=_events(),
            problems={**_ASKING, 404: "There is no event with this id."},
        ),
        *(route for kind in KINDS for route in _resource(kind)),
        Route(
            "/queries",
            "get",
            "listQueries",
            "Queries that are kept",
            parameters=[PER_PAGE, NEXT_PAGE_TOKEN],
            answers={
                "200": answer(
                    "A page of them, by name.",
                    "application/json",
                    array(schema("NamedQuery")),
                    example=[_NAMED],
                    headers=spoken(*PAGED),
                )
            },
            problems={400: ""},
        ),
        Route(
            "/queries",
            "post",
            "createQuery",
            "Keep a query under a name",
            body=body(
                f"At most {QUERY_SIZE_MAX // 1024} KiB.",
                {name: content(schema("NamedQuery"), _NAMED) for name in ("application/json", LD)},
            ),
            answers={
                "201": answer(
                    "It is kept.",
                    "application/json",
                    schema("NamedQuery"),
                    example=_NAMED,
                    headers=spoken("Location"),
                )
            },
            problems={
                400: "The body is no named query, or its query has faults. All of them are told.",
                408: "",
                409: "There is a query of this name.",
                411: "",
                413: "The query is too long, or too many are kept.",
                415: "",
            },
        ),
        Route(
            "/queries/{name}",
            "get",
            "readQuery",
            "One query",
            parameters=[QUERY_NAME],
            answers={
                "200": answer(
                    "The query.", "application/json", schema("NamedQuery"), example=_NAMED, headers=spoken()
                )
            },
            problems={404: "No query is kept under this name."},
        ),
        Route(
            "/queries/{name}",
            "delete",
            "deleteQuery",
            "Keep a query no longer",
            parameters=[QUERY_NAME],
            answers={"204": answer("It is gone.", headers=spoken())},
            problems={404: "No query is kept under this name."},
        ),
        Route(
            "/queries/{name}/events",
            "get",
            "runQuery",
            "Events that answer a kept query",
            "What it asks stands in it; only pages and proofs are asked for here. As a WebSocket, with"
            " `stream=true` or the"
            " fields of a schedule, it reports events as they are recorded.",
            [QUERY_NAME, PER_PAGE, NEXT_PAGE_TOKEN, PROOF, ref("parameters", XML_FORMAT["name"])],
            answers=_events(),
            problems={**_ASKING, 404: "No query is kept under this name."},
        ),
    ]


def _events() -> Json:
    page = answer(
        "One page of events.",
        LD,
        schema("EPCISQueryDocument"),
        example=_DOCUMENT,
        headers=spoken(*PAGED, "Tallystick-Covered"),
    )
    page["content"]["application/xml"] = content(text())  # an EPCISQueryDocument of EPCIS 2.0 XML
    return {"200": page}


def _collection(member: str) -> Json:
    return {"@context": [CONTEXT], "type": "Collection", "member": [member]}


def _resource(kind: str) -> list[Route]:
    one, many, example = _WHAT[kind]
    value = in_path("value", f"The {one}, percent-encoded.", text(minLength=1), example)
    unknown = f"No event here has such a {one}."
    title = kind[0].upper() + kind[1:]
    return [
        Route(
            f"/{kind}",
            "get",
            f"list{title}",
            f"All {many}",
            parameters=[PER_PAGE, NEXT_PAGE_TOKEN],
            answers={
                "200": answer(
                    "A page of them.",
                    LD,
                    schema("Collection"),
                    example=_collection(example),
                    headers=spoken(*PAGED),
                )
            },
            problems={400: ""},
        ),
        Route(
            f"/{kind}/{{value}}",
            "get",
            f"read{title[:-1]}",
            f"What there is below one {one}",
            parameters=[value],
            answers={
                "200": answer(
                    "Its events.", LD, schema("Collection"), example=_collection("events"), headers=spoken()
                )
            },
            problems={404: unknown},
        ),
        Route(
            f"/{kind}/{{value}}/events",
            "get",
            f"query{title[:-1]}Events",
            f"Events of one {one}",
            parameters=[value, *ASKED],
            answers=_events(),
            problems={**_ASKING, 404: unknown},
        ),
    ]
