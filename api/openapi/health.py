"""Step 2 of 9, described: whether it is alive and ready, and this description itself."""

from __future__ import annotations

from api.openapi.log import IF_NONE_MATCH, NOT_MODIFIED
from api.openapi.parts import PAGE, Group, Json, Route, answer, closed, headers, query, schema, text
from api.services import Limits

GROUP = Group(
    "Operators", "For balancers, orchestrators and whoever is on call; and this description itself."
)

_PART: Json = {
    "type": "object",
    "required": ["ready"],
    "properties": {
        "ready": {"type": "boolean"},
        "tree_size": {"type": "integer", "minimum": 0},
        "code": text(),
        "reason": text(),
    },
}
SCHEMAS: Json = {
    "Readiness": closed(
        {
            "ready": {"type": "boolean"},
            "reads": _PART,
            "writes": _PART,
            "anchors": {
                "type": "object",
                "required": ["late"],
                "properties": {
                    "late": {"type": "boolean", "description": "Shown, and no reason to turn anybody away."},
                    "pending": {"type": "boolean"},
                    "anchored_size": {"type": "integer", "minimum": 0},
                    "anchored_at": {"type": ["string", "null"], "format": "date-time"},
                    "last_error": {"type": ["string", "null"]},
                    "code": text(),
                    "reason": text(),
                },
            },
        }
    ),
}
_READY = {
    "ready": True,
    "reads": {"ready": True, "tree_size": 7},
    "writes": {"ready": True},
    "anchors": {
        "late": False,
        "pending": False,
        "anchored_size": 0,
        "anchored_at": None,
        "last_error": None,
    },
}


def routes(_: Limits) -> list[Route]:
    return [
        Route(
            "/healthz",
            "get",
            "isAlive",
            "This process answers",
            answers={
                "200": answer(
                    "It does.",
                    "application/json",
                    closed({"status": {"const": "alive"}}),
                    example={"status": "alive"},
                )
            },
        ),
        Route(
            "/readyz",
            "get",
            "isReady",
            "Reads, writes and anchors, in words",
            parameters=[
                query("for", "What it should be ready for.", text(enum=["reads", "writes"], default="writes"))
            ],
            answers={
                "200": answer("Ready.", "application/json", schema("Readiness"), example=_READY),
                "503": {
                    "description": "Not ready, and why; or a problem detail where the request could not"
                    " be taken.",
                    "content": {
                        "application/json": {"schema": schema("Readiness")},
                        "application/problem+json": {"schema": schema("Problem")},
                    },
                },
            },
            problems={400: ""},
        ),
        Route(
            "/metrics",
            "get",
            "readMetrics",
            "Prometheus",
            "Of the worker that answers. To be kept from the public by whatever stands in front.",
            answers={"200": answer("Counters and gauges.", "text/plain", text())},
        ),
        Route(
            "/openapi.json",
            "get",
            "readDescription",
            "This description",
            parameters=[IF_NONE_MATCH],
            answers={
                "200": answer(
                    "An OpenAPI 3.1 document.",
                    "application/json",
                    {
                        "type": "object",
                        "required": ["openapi", "info", "paths"],
                        "additionalProperties": True,
                    },
                    headers=headers("ETag", "Cache-Control"),
                ),
                "304": NOT_MODIFIED,
            },
            problems={400: ""},
        ),
        Route(
            "/docs/api",
            "get",
            "showDescription",
            "This description as a page",
            parameters=[IF_NONE_MATCH],
            answers={
                "200": answer(
                    "A page without scripts.", "text/html", PAGE, headers=headers("ETag", "Cache-Control")
                ),
                "304": NOT_MODIFIED,
            },
            problems={400: ""},
        ),
    ]
