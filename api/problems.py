"""Step 2 of 9, on the way back: every error becomes a problem detail (RFC 9457).

The only module that knows status codes. A Fault says what is wrong in the ledger's terms; here it is
given a number, and the members type, title, status, detail, code, pointer and faults. `type` and `code`
are stable and programs may rely on them; `detail` is for people and may be reworded.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from api.answers import Answer
from api.errors import (
    ApiError,
    Erased,
    EventExists,
    LengthMissing,
    LineFault,
    MediaTypeNotTaken,
    MethodNotTaken,
    NotAcceptable,
    NothingHere,
    RecordDamaged,
    RequestMalformed,
    RequestSlow,
    RequestTooLarge,
    StatementsRefused,
    Unexpected,
    Withheld,
)
from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable
from ledger.errors import NotInLog, ReadOnly
from subscriptions.errors import NoSuchSubscription, SubscriptionRejected
from traceability.errors import (
    NoSuchQuery,
    QueryNameTaken,
    QueryRejected,
    QueryTooComplex,
    QueryTooLarge,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:tallystick:problem:"
RETRY_AFTER_S = 1  # where a fault does not say how long
FAULTS_SHOWN_MAX = 1000  # a request of ten thousand bad lines is answered with these, and a count

OK = int(HTTPStatus.OK)
CREATED = int(HTTPStatus.CREATED)
ACCEPTED = int(HTTPStatus.ACCEPTED)
NO_CONTENT = int(HTTPStatus.NO_CONTENT)
SEE_OTHER = int(HTTPStatus.SEE_OTHER)
NOT_FOUND = int(HTTPStatus.NOT_FOUND)
BAD_REQUEST = int(HTTPStatus.BAD_REQUEST)
SERVICE_UNAVAILABLE = int(HTTPStatus.SERVICE_UNAVAILABLE)

# The first that fits: the door's own errors before the ledger's, those before the four causes.
_STATUS_OF: tuple[tuple[type[Fault], HTTPStatus], ...] = (
    (RequestMalformed, HTTPStatus.BAD_REQUEST),
    (RequestSlow, HTTPStatus.REQUEST_TIMEOUT),
    (RequestTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (LengthMissing, HTTPStatus.LENGTH_REQUIRED),
    (MediaTypeNotTaken, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (MethodNotTaken, HTTPStatus.METHOD_NOT_ALLOWED),
    (NothingHere, HTTPStatus.NOT_FOUND),
    (NotAcceptable, HTTPStatus.NOT_ACCEPTABLE),
    (NoSuchQuery, HTTPStatus.NOT_FOUND),
    (NoSuchSubscription, HTTPStatus.NOT_FOUND),
    (QueryNameTaken, HTTPStatus.CONFLICT),
    (EventExists, HTTPStatus.CONFLICT),
    (QueryTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (QueryTooComplex, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (Erased, HTTPStatus.GONE),
    (Withheld, HTTPStatus.FORBIDDEN),
    (Unexpected, HTTPStatus.INTERNAL_SERVER_ERROR),
    (RecordDamaged, HTTPStatus.INTERNAL_SERVER_ERROR),
    (NotInLog, HTTPStatus.NOT_FOUND),
    # Not the caller's doing: another server, or this one after its operator has looked, takes the same bytes.
    (ReadOnly, HTTPStatus.SERVICE_UNAVAILABLE),
    (NotYet, HTTPStatus.SERVICE_UNAVAILABLE),
    (Malformed, HTTPStatus.BAD_REQUEST),
    (Refuted, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Unverifiable, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Refused, HTTPStatus.UNPROCESSABLE_ENTITY),
)

_TITLES: tuple[tuple[type[Fault], str], ...] = (
    (NothingHere, "There is no such thing here"),
    (NoSuchQuery, "There is no such thing here"),
    (NoSuchSubscription, "There is no such thing here"),
    (SubscriptionRejected, "This cannot be subscribed to in this way"),
    (QueryTooLarge, "More events answer than the query allows"),
    (QueryTooComplex, "The query asks for more than one question may cost"),
    (NotInLog, "There is no such thing here"),
    (Erased, "It was here and was erased"),
    (Unexpected, "This server made a mistake"),
    (RecordDamaged, "What is stored here is not what was written"),
    (NotYet, "Not now: the same request may be sent again"),
    (ReadOnly, "Nothing is recorded here at present"),
    (Malformed, "It cannot be read, or breaks a rule of its format"),
    (Refuted, "It reads well and is false"),
    (Unverifiable, "Something needed to decide is missing"),
    (Refused, "It is not accepted here"),
)

# What Flask and Werkzeug raise by themselves, in our terms.
_HTTP_CODES = {
    HTTPStatus.BAD_REQUEST: "http.request",
    HTTPStatus.NOT_FOUND: "http.path",
    HTTPStatus.METHOD_NOT_ALLOWED: "http.method",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "http.body.size",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "http.media-type",
}

_log = logging.getLogger("tallystick.api")


def register(app: Flask) -> None:
    """Let no error leave the app in any other form."""
    app.register_error_handler(Fault, problem)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _unexpected)


def status_of(fault: Fault) -> int:
    """The status that this fault is answered with."""
    if isinstance(fault, StatementsRefused):
        # 400 as soon as one line cannot be read; 422 if all can, and some are false or not allowed.
        unreadable = any(isinstance(item.fault, Malformed) for item in fault.faults)
        return int(HTTPStatus.BAD_REQUEST if unreadable else HTTPStatus.UNPROCESSABLE_ENTITY)
    for kind, status in _STATUS_OF:
        if isinstance(fault, kind):
            return int(status)
    return int(HTTPStatus.INTERNAL_SERVER_ERROR)


def title_of(fault: Fault) -> str:
    """One line for the cause; the same for every occurrence of a code."""
    return next((title for kind, title in _TITLES if isinstance(fault, kind)), "It is not accepted here")


def type_of(fault: Fault) -> str:
    """EPCIS's own name for the error where it has one, else ours."""
    exception = getattr(fault, "epcis_exception", None)
    return TYPE_PREFIX + fault.code if exception is None else f"epcisException:{exception}"


def body_of(fault: Fault) -> dict[str, Any]:
    """The members of the problem detail."""
    members: dict[str, Any] = {
        "type": type_of(fault),
        "title": title_of(fault),
        "status": status_of(fault),
        "detail": fault.detail,
        "code": fault.code,
    }
    if fault.pointer:
        members["pointer"] = fault.pointer
    if isinstance(fault, Unexpected):
        members["instance"] = f"urn:tallystick:incident:{fault.incident}"
    fix = getattr(fault, "fix", "")
    if fix:
        members["fix"] = fix
    example = getattr(fault, "example", None)
    if example:
        members["example"] = example
    if isinstance(fault, QueryRejected | SubscriptionRejected):
        members["faults"] = [
            {"pointer": one.pointer, "code": one.code, "detail": one.detail, "fix": one.fix}
            for one in fault.faults
        ]
    if isinstance(fault, StatementsRefused):
        members["faults"] = line_faults(fault.faults[:FAULTS_SHOWN_MAX])
        if len(fault.faults) > FAULTS_SHOWN_MAX:
            members["faults_omitted"] = len(fault.faults) - FAULTS_SHOWN_MAX
    return members


def line_faults(faults: Iterable[LineFault]) -> list[dict[str, Any]]:
    """Faults of single lines, as problem details and per-line results hold them."""
    return [_line_fault(item) for item in faults]


def _line_fault(item: LineFault) -> dict[str, Any]:
    fault = item.fault
    members = {"line": item.line, "pointer": fault.pointer, "code": fault.code, "detail": fault.detail}
    fix = getattr(fault, "fix", "")  # faults of an event say how to put it right
    return {**members, "fix": fix} if fix else members


def problem(fault: Fault) -> Response:
    """Flask's response for a fault."""
    return answer(fault).as_flask()


def answer(fault: Fault) -> Answer:
    """The answer for a fault. Never cached: what is missing now may be there in a second."""
    members = body_of(fault)
    headers = {"Cache-Control": "no-store"}
    if isinstance(fault, MethodNotTaken):
        headers["Allow"] = ", ".join(fault.allowed)
    if isinstance(fault, MediaTypeNotTaken) and fault.taken:
        # RFC 9110, section 12.5.1: in a response, Accept says what the next request could bring.
        headers["Accept"] = ", ".join(fault.taken)
    if isinstance(fault, NotYet):
        headers["Retry-After"] = str(getattr(fault, "retry_after_s", RETRY_AFTER_S))
    if isinstance(fault, ReadOnly):
        headers["Retry-After"] = "60"  # somebody has to look at it first
    return Answer(members["status"], orjson.dumps(members), MEDIA_TYPE, headers)


def fault_of_http(error: HTTPException) -> Fault:
    """What Flask or Werkzeug objected to, as a fault of ours. Their texts are not passed on."""
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    code = _HTTP_CODES.get(status, f"http.{status.phrase.lower().replace(' ', '-')}")
    if status == HTTPStatus.NOT_FOUND:
        return NothingHere(code, "no resource has this path")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = sorted(getattr(error, "valid_methods", None) or ())
        return MethodNotTaken(
            f"this path does not answer {request.method}; it answers {', '.join(allowed)}", allowed
        )
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return RequestTooLarge(code, "the request's body is larger than one request may bring")
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return MediaTypeNotTaken(code, "a body of this media type is not read here")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return RequestMalformed(code, "the request cannot be read")
    return incident(error)


def _http_exception(error: HTTPException) -> Response:
    return problem(fault_of_http(error))


def _unexpected(error: Exception) -> Response:
    return problem(incident(error))


def incident(error: BaseException) -> ApiError:
    """A fault for a mistake of ours, logged under a number: the caller is told that, and nothing else."""
    number = secrets.token_hex(8)
    # The traceback shows code, never values; the environment, the headers and the body are not logged.
    _log.error("incident %s: %s", number, type(error).__name__, exc_info=error)
    return Unexpected(number)
