"""Step 2 of 9, described: subscriptions of kept queries, and the reports that they bring."""

from __future__ import annotations

from api.openapi.epcis import NEXT_PAGE_TOKEN, PAGED, PER_PAGE, spoken
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
    integer,
    schema,
    text,
)
from api.openapi.queries import LD, QUERY_NAME
from api.services import Limits
from api.subscribing import HIDDEN
from subscriptions.controls import BODY_SIZE_MAX, TOKEN_LENGTH_MAX, TOKEN_LENGTH_MIN
from subscriptions.schedule import FIELD_LENGTH_MAX, FIELDS

GROUP = Group(
    "Subscriptions",
    "Kept queries that answer by themselves: by webhook, as here, or over a WebSocket at"
    " `/queries/{name}/events` with `stream=true` or the fields of a schedule. Every event is reported"
    " once, and"
    " what was not taken is sent again.",
    epcis=True,
)

_ID = in_path("subscription_id", "The subscription's id.", text(minLength=1), "sub-01")
_ELEMENT = "([0-9]{1,2}|\\[[0-9]{1,2}-[0-9]{1,2}\\])"
_SCHEDULE: Json = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        name: text(
            f"Numbers from {least} to {most} and ranges of them.",
            pattern=f"^{_ELEMENT}(,{_ELEMENT})*$",
            maxLength=FIELD_LENGTH_MAX,
        )
        for name, least, most in FIELDS
    },
    "description": "When, in UTC. All fields must match; those left out below the smallest one are at"
    " their least.",
}
_TIME = text(format="date-time")
_ASKED: Json = {
    "dest": "https://partner.example/events",
    "stream": True,
    "signatureToken": "4ad1f3e0c7b94e55a1b2c3d4e5f60718",
}
_SHOWN: Json = {
    "subscriptionID": "sub-01",
    "queryName": "shipped-today",
    "dest": "https://partner.example/events",
    "createdAt": "2026-11-20T12:10:29.000Z",
    "initialRecordTime": "2026-11-20T12:10:29.000Z",
    "minRecordTime": "2026-11-20T12:10:29.000Z",
    "epcFormat": "Never_Translates",
    "stream": True,
    "signatureToken": HIDDEN,
    "state": "active",
}

SCHEMAS: Json = {
    "SubscriptionControls": {
        **closed(
            {
                "dest": text("Where reports are sent: an address that is open to the world.", format="uri"),
                "signatureToken": {
                    **text(
                        "A secret. With it, each report is signed in `GS1-Signature`; it is never shown"
                        " again.",
                        pattern="^[!-~]+$",
                        minLength=TOKEN_LENGTH_MIN,
                        maxLength=TOKEN_LENGTH_MAX,
                    ),
                    "type": ["string", "null"],
                },
                "initialRecordTime": text("Events recorded before it are not reported.", format="date-time"),
                "reportIfEmpty": {"type": "boolean", "default": False},
                "stream": {"const": True, "description": "Report each event as it is recorded."},
                "schedule": schema("Schedule"),
                "@context": {},
            },
            optional=(
                "signatureToken",
                "initialRecordTime",
                "reportIfEmpty",
                "stream",
                "schedule",
                "@context",
            ),
        ),
        "additionalProperties": False,
        "oneOf": [{"required": ["stream"]}, {"required": ["schedule"]}],
        "description": "What a subscriber asks for: `stream`, or a `schedule`.",
    },
    "Schedule": _SCHEDULE,
    "Subscription": {
        **closed(
            {
                "subscriptionID": text(),
                "queryName": text(),
                "dest": text(),
                "createdAt": _TIME,
                "initialRecordTime": _TIME,
                "minRecordTime": {
                    **_TIME,
                    "description": "Moves on only when the receiver has taken what was sent.",
                },
                "epcFormat": text(),
                "stream": {"const": True},
                "schedule": schema("Schedule"),
                "reportIfEmpty": {"type": "boolean"},
                "signatureToken": {"const": HIDDEN},
                "state": text(enum=["active", "retrying", "suspended"]),
                "lastNotifiedAt": _TIME,
                "nextRunAt": _TIME,
                "failures": integer(minimum=1),
                "failingSince": _TIME,
                "lastError": text(),
                "nextAttemptAt": _TIME,
            },
            optional=(
                "stream",
                "schedule",
                "reportIfEmpty",
                "signatureToken",
                "lastNotifiedAt",
                "nextRunAt",
                "failures",
                "failingSince",
                "lastError",
                "nextAttemptAt",
            ),
        ),
        "description": "A subscription, and how delivery goes.",
    },
}

_REPORT: Json = {
    "report": {
        "{$request.body#/dest}": {
            "post": {
                "summary": "A report",
                "description": "Sent again, later, until it is taken.",
                "parameters": [
                    {
                        "name": "GS1-Signature",
                        "in": "header",
                        "description": "Over the exact body, if there is a `signatureToken`.",
                        "schema": text(),
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": schema("EPCISQueryDocument")},
                        "application/problem+json": {"schema": schema("Problem")},
                    },
                },
                "responses": {
                    "2XX": {"description": "It is taken; the next one follows."},
                    "413": {"description": "Send fewer events at once."},
                },
            }
        }
    }
}


def routes(_: Limits) -> list[Route]:
    shown = schema("Subscription")
    return [
        Route(
            "/queries/{name}/subscriptions",
            "get",
            "listSubscriptions",
            "Subscriptions of a query",
            parameters=[QUERY_NAME, PER_PAGE, NEXT_PAGE_TOKEN],
            answers={
                "200": answer(
                    "A page of them.",
                    "application/json",
                    array(shown),
                    example=[_SHOWN],
                    headers=spoken(*PAGED),
                )
            },
            problems={404: "No query is kept under this name."},
        ),
        Route(
            "/queries/{name}/subscriptions",
            "post",
            "subscribe",
            "Subscribe by webhook",
            parameters=[QUERY_NAME],
            body=body(
                f"At most {BODY_SIZE_MAX // 1024} KiB.",
                {name: content(schema("SubscriptionControls"), _ASKED) for name in ("application/json", LD)},
            ),
            answers={
                "201": answer(
                    "It is kept, and reports begin.",
                    "application/json",
                    shown,
                    example=_SHOWN,
                    headers=spoken("Location"),
                )
            },
            problems={
                400: "The body is no subscription, or asks for what cannot be. All faults are told.",
                404: "No query is kept under this name.",
                408: "",
                411: "",
                413: "",
                415: "",
            },
            callbacks=_REPORT,
        ),
        Route(
            "/queries/{name}/subscriptions/{subscription_id}",
            "get",
            "readSubscription",
            "One subscription",
            parameters=[QUERY_NAME, _ID],
            answers={
                "200": answer(
                    "The subscription.",
                    "application/json",
                    shown,
                    example=_SHOWN,
                    headers=spoken("GS1-Query-Min-Record-Time"),
                )
            },
            problems={404: "There is no such subscription, or none any more."},
        ),
        Route(
            "/queries/{name}/subscriptions/{subscription_id}",
            "delete",
            "unsubscribe",
            "End a subscription",
            parameters=[QUERY_NAME, _ID],
            answers={"204": answer("It is gone.", headers=spoken())},
            problems={404: "There is no such subscription, or none any more."},
        ),
    ]
