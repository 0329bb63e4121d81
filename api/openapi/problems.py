"""Step 2 of 9, described: every error, as a problem detail (RFC 9457), and what each status means.

api.problems gives them out; a test compares the statuses.
"""

from __future__ import annotations

from api.openapi.parts import PROBLEM, Json, array, closed, content, header, integer, schema, text

# What a status means wherever it is answered. An operation says what it means there.
MEANINGS = {
    400: "It cannot be read, or breaks a rule of its format. The same request will be refused again.",
    403: "This ledger's policy does not open it to you.",
    404: "There is no such thing here, or not yet.",
    405: "The path is right and the method is not; `Allow` lists those that are.",
    406: "What the request wants to be answered in is not spoken here.",
    408: "The body did not come in its time. Nothing of it was used.",
    409: "There is one under this name already.",
    410: "It was here, and its content was erased in the logged way.",
    411: "The body came without its `Content-Length`.",
    413: "Too much at once.",
    414: "The address is longer than any that is read here.",
    415: "A media type or coding that is not read here; `Accept` lists those that are.",
    422: "It reads well, and is false or not allowed.",
    500: "Our mistake. `instance` is the number under which the operator's log tells more.",
    501: "The standard offers it, and this server does not.",
    503: "Not now. The same bytes may be sent again after `Retry-After` seconds.",
}
_HEADERS = {405: ("Allow",), 409: ("Location",), 415: ("Accept",), 503: ("Retry-After",)}
_EXAMPLES: dict[int, tuple[str, str, str]] = {
    400: (
        "http.argument.integer",
        "It cannot be read, or breaks a rule of its format",
        "seq is '06'; it must be a whole number like 0 or 41",
    ),
    404: (
        "log.position",
        "There is no such thing here",
        "the log has 17 entries, 0 to 16; there is no 41",
    ),
    422: ("statements.refused", "It is not accepted here", "1 line was refused; see faults"),
    503: (
        "intake.full",
        "Not now: the same request may be sent again",
        "this server holds as much as it can; send it again in a moment",
    ),
}

CONTENT: Json = {PROBLEM: {"schema": schema("Problem")}}

FAULT: Json = {
    **closed(
        {
            "line": integer("The line of the request, from 0; absent where there are no lines.", minimum=0),
            "pointer": text("A JSON pointer (RFC 6901) to what is wrong.", examples=["/epcList/0"]),
            "code": text("Stable; programs may rely on it.", examples=["gs1.check-digit"]),
            "detail": text("For people; may be reworded."),
            "fix": text("How to put it right, where that is known."),
        },
        optional=("line", "fix"),
    ),
    "description": "One thing that is wrong. All that is wrong is told, not the first alone.",
}

PROBLEM_DETAIL: Json = {
    **closed(
        {
            "type": text(
                "`urn:tallystick:problem:<code>`, or `epcisException:<name>` where EPCIS 2.0 has a name"
                " for it.",
                pattern="^(urn:tallystick:problem:[a-z0-9.-]+|epcisException:[A-Za-z]+)$",
            ),
            "title": text("The cause in a line; the same for every occurrence of a code."),
            "status": integer("The status of the answer.", minimum=400, maximum=599),
            "detail": text("What was seen and what was expected. For people; may be reworded."),
            "code": text("Stable; programs may rely on it.", pattern="^[a-z0-9.-]+$"),
            "pointer": text(
                "A JSON pointer into what the code speaks of: the arguments, the event, the header."
            ),
            "instance": text("The number of the incident, for the operator.", format="uri"),
            "fix": text("How to put it right, where that is known."),
            "example": {
                "type": "object",
                "description": "How to do it instead, ready to be copied.",
                "additionalProperties": True,
            },
            "faults": array(schema("Fault"), maxItems=1000),
            "faults_omitted": integer("How many more faults there are than are shown.", minimum=1),
        },
        optional=("pointer", "instance", "fix", "example", "faults", "faults_omitted"),
    ),
    "description": "A problem detail (RFC 9457).",
}


def responses() -> Json:
    """A component for each status."""
    return {f"Problem{status}": _response(status, meaning) for status, meaning in MEANINGS.items()}


def refused(status: int, when: str = "") -> Json:
    """This status, and when it is answered here."""
    found: Json = {"$ref": f"#/components/responses/Problem{status}"}
    return {**found, "description": when} if when else found


def _response(status: int, meaning: str) -> Json:
    members = {"allOf": [schema("Problem"), {"properties": {"status": {"const": status}}}]}
    found: Json = {"description": meaning, "content": {PROBLEM: content(members, _example(status))}}
    if status in _HEADERS:
        found["headers"] = {name: header(name) for name in _HEADERS[status]}
    return found


def _example(status: int) -> Json | None:
    if status not in _EXAMPLES:
        return None
    code, title, detail = _EXAMPLES[status]
    return {
        "type": f"urn:tallystick:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
