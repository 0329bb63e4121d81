"""Step 2 of 9, on the way back: errors under the names that EPCIS 2.0 gives them, on the routes of EPCIS.

`code`, `pointer`, `faults` and `fix` are as everywhere; `type` is the standard's, and the status is one that
its OpenAPI lists. Source: EPCIS 2.0, REST binding.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson

from api import problems
from api.answers import Answer
from api.errors import (
    ApiError,
    EventExists,
    LengthMissing,
    LineFault,
    MediaTypeNotTaken,
    MethodNotTaken,
    NotAcceptable,
    NothingHere,
    RequestSlow,
    RequestTooLarge,
    StatementsRefused,
)
from intake.errors import KindNotTaken
from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable

PREFIX = "epcisException:"
SECURITY = "SecurityException"

# The first that fits. What is not here keeps the type and the status that it has elsewhere.
_EXCEPTIONS: tuple[tuple[type[Fault], str, HTTPStatus | None], ...] = (
    (RequestTooLarge, "CaptureLimitExceededException", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (MediaTypeNotTaken, "UnsupportedMediaTypeException", HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (NotAcceptable, "NotAcceptableException", HTTPStatus.NOT_ACCEPTABLE),
    (EventExists, "ResourceAlreadyExistsException", HTTPStatus.CONFLICT),
    (NothingHere, "NoSuchResourceException", HTTPStatus.NOT_FOUND),
    (LengthMissing, "ValidationException", None),
    (RequestSlow, "ValidationException", None),
    (NotYet, "ImplementationException", None),
    (KindNotTaken, "ValidationException", HTTPStatus.BAD_REQUEST),
    (Malformed, "ValidationException", HTTPStatus.BAD_REQUEST),
)


def exception_of(fault: Fault) -> tuple[str | None, int]:
    """(EPCIS's name for it, status); None where EPCIS has no name for it."""
    if isinstance(fault, StatementsRefused):
        # What cannot be read comes first, as it does for its status.
        inner = [exception_of(item.fault) for item in fault.faults]
        return next((one for one in inner if one[1] == problems.BAD_REQUEST), inner[0])
    for kind, name, own in _EXCEPTIONS:
        if isinstance(fault, kind):
            return name, problems.status_of(fault) if own is None else int(own)
    if not isinstance(fault, ApiError) and isinstance(fault, Refuted | Unverifiable | Refused):
        return SECURITY, int(HTTPStatus.FORBIDDEN)  # a key, a signature, or what its party may say
    status = problems.status_of(fault)
    server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return "ImplementationException" if server else None, status


def members_of(fault: Fault) -> dict[str, Any]:
    """The members of the problem detail."""
    members = problems.body_of(fault)
    name, status = exception_of(fault)
    if name is not None and not isinstance(fault, MethodNotTaken):
        members["type"] = PREFIX + name
    members["status"] = status
    return members


def answer(fault: Fault) -> Answer:
    """The answer for a fault."""
    plain = problems.answer(fault)
    members = members_of(fault)
    headers = dict(plain.headers)
    if isinstance(fault, EventExists):
        headers["Location"] = fault.location
    return Answer(members["status"], orjson.dumps(members), problems.MEDIA_TYPE, headers)


def job_errors(faults: Iterable[LineFault]) -> list[dict[str, Any]]:
    """The `errors` of a capture job: one problem a fault, at most FAULTS_SHOWN_MAX, and how many are left."""
    shown: list[dict[str, Any]] = []
    left = 0
    for item in faults:
        if len(shown) == problems.FAULTS_SHOWN_MAX:
            left += 1
            continue
        shown.append({**members_of(item.fault), "pointer": item.fault.pointer, "line": item.line})
    if left:
        shown.append(
            {
                "type": PREFIX + "ValidationException",
                "title": "There are more",
                "status": problems.BAD_REQUEST,
                "detail": f"{left} more faults are not listed",
                "code": "statements.faults",
            }
        )
    return shown
