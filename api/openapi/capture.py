"""Step 2 of 9, described: the capture interface of EPCIS 2.0, for signed statements."""

from __future__ import annotations

from api.openapi.components import CHECKPOINT_EXAMPLE, DIGEST_EXAMPLE
from api.openapi.epcis import NEXT_PAGE_TOKEN, PAGED, PER_PAGE, spoken
from api.openapi.partners import BEHAVIOUR, JWS, JWS_EACH_LINE, JWS_EXAMPLE
from api.openapi.parts import (
    Group,
    Json,
    Route,
    answer,
    array,
    body,
    closed,
    content,
    header,
    in_path,
    integer,
    schema,
    text,
)
from api.requests import JOSE, JWS_LINES
from api.services import Limits
from keys.envelope import STATEMENT_SIZE_MAX

GROUP = Group(
    "Capture",
    "The capture interface of EPCIS 2.0. What is captured is signed: a statement of each event, or one of"
    " a whole"
    " EPCIS document. Plain EPCIS is refused with an example of how to sign it.",
    epcis=True,
)

_ID = in_path("job_id", "The job's id, as `Location` told it.", text(minLength=1), "01JD4T7ZK3W9Q6")
_JOB: Json = {
    "captureID": "01JD4T7ZK3W9Q6",
    "createdAt": "2026-11-20T12:10:29.000Z",
    "finishedAt": "2026-11-20T12:10:29.410Z",
    "running": False,
    "success": True,
    "captureErrorBehaviour": "rollback",
    "errors": [],
}
LIMIT_HEADERS = ("GS1-EPCIS-Capture-Limit", "GS1-EPCIS-Capture-File-Size-Limit")

SCHEMAS: Json = {
    "CaptureJob": {
        **closed(
            {
                "captureID": text(),
                "createdAt": text(format="date-time"),
                "finishedAt": text("Absent while it runs.", format="date-time"),
                "running": {"type": "boolean"},
                "success": {
                    "type": "boolean",
                    "description": "No error yet, while it runs; that all was recorded, when it has ended.",
                },
                "captureErrorBehaviour": text(enum=["rollback", "proceed"]),
                "errors": array(schema("JobError")),
            },
            optional=("finishedAt",),
        ),
        "description": "How far a capture job is.",
    },
    "JobError": {
        "allOf": [
            schema("Problem"),
            {"properties": {"line": integer("Of the request's statements, from 0.", minimum=0)}},
        ],
        "description": "A problem detail, and the line that has it.",
    },
}


def event_routes(_: Limits) -> list[Route]:
    """One event, at once."""
    return [
        Route(
            "/events",
            "post",
            "createEvent",
            "Record one event, once",
            "Answered when it is on the disk. An event that is there already, by its eventID or by what"
            " it says,"
            " is refused with 409; an error declaration is recorded beside the event that it corrects.",
            body=body(
                f"One signed event of at most {STATEMENT_SIZE_MAX:,} bytes, uncompressed, with"
                f" `Content-Length`.",
                {JOSE: content(JWS, JWS_EXAMPLE)},
            ),
            answers={
                "201": answer(
                    "The event as it was read, with the eventID that it has or was given.",
                    "application/json",
                    schema("Event"),
                    headers={
                        **spoken(*LIMIT_HEADERS),
                        "Location": header("Location"),
                        "Tallystick-Seq": header("Tallystick-Seq"),
                    },
                )
            },
            problems={
                400: "It cannot be read, is not signed, or is no valid event. All faults are told.",
                403: "The signature, the key or what its party may say.",
                408: "",
                409: "The event is there already, at `Location`.",
                411: "",
                413: "",
                415: "It is not signed, or of a media type that is not read here.",
            },
        )
    ]


def routes(limits: Limits) -> list[Route]:
    size = f"{limits.capture_size_max // (1024 * 1024)} MiB"
    job = schema("CaptureJob")
    limited = spoken(*LIMIT_HEADERS)
    return [
        Route(
            "/capture",
            "post",
            "capture",
            "Record statements as a job",
            "Answered once the job itself is durable. `POST /statements` takes the same and answers when"
            " it is done.",
            [BEHAVIOUR],
            body(
                f"Uncompressed, with `Content-Length`. At most {limits.capture_events_max:,} events and"
                f" {size};"
                f" one statement has at most {STATEMENT_SIZE_MAX:,} bytes.",
                {JOSE: content(JWS, JWS_EXAMPLE), JWS_LINES: content(JWS_EACH_LINE, f"{JWS_EXAMPLE}\n")},
            ),
            {
                "202": answer(
                    "The job is durable; it is at `Location`.",
                    headers={
                        **limited,
                        "Location": header("Location"),
                        "GS1-Capture-Error-Behaviour": header("GS1-Capture-Error-Behaviour"),
                    },
                )
            },
            {
                400: "The request cannot be read, or brings what is not signed; nothing was kept.",
                408: "",
                411: "",
                413: "More events or bytes than one job may bring.",
                415: "It is not signed, or of a media type that is not read here.",
            },
        ),
        Route(
            "/capture",
            "get",
            "listJobs",
            "Capture jobs, newest first",
            "Where the ledger shows its events to everybody; elsewhere the list is empty.",
            [PER_PAGE, NEXT_PAGE_TOKEN],
            answers={
                "200": answer(
                    "A page of them.",
                    "application/json",
                    array(job),
                    example=[_JOB],
                    headers=spoken(*LIMIT_HEADERS, *PAGED),
                )
            },
            problems={400: ""},
        ),
        Route(
            "/capture/{job_id}",
            "get",
            "readJob",
            "One job",
            parameters=[_ID],
            answers={"200": answer("The job.", "application/json", job, example=_JOB, headers=limited)},
            problems={400: "", 404: "There is no such job, or not any more."},
        ),
        Route(
            "/capture/{job_id}/results",
            "get",
            "readJobResults",
            "What became of each statement",
            "As `POST /statements` would have answered. Not of the standard.",
            [_ID],
            answers={
                "200": answer(
                    "The outcome.",
                    "application/json",
                    schema("Outcome"),
                    example={
                        "results": [
                            {
                                "line": 0,
                                "status": "appended",
                                "seq": 6,
                                "digest": DIGEST_EXAMPLE,
                                "duplicate": False,
                            }
                        ],
                        "checkpoint": CHECKPOINT_EXAMPLE,
                    },
                    headers=limited,
                )
            },
            problems={400: "", 404: "There is no such job, or it has not ended."},
        ),
    ]
