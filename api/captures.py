"""Step 2 of 9: the capture interface of EPCIS 2.0, for signed statements.

    POST /capture               statements of events and documents, as a job: 202 once it is durable
    GET  /capture               jobs, the newest first, where the ledger is open to everybody
    GET  /capture/{id}          one job, for whoever knows its id
    GET  /capture/{id}/results  what became of each statement, as POST /statements would have answered

A job is run by api.capture_runner. Source: EPCIS 2.0, REST binding.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from binascii import Error as BadBase64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Blueprint, Response, request

from api import epcis_problems, problems
from api.answers import JSON
from api.epcis_headers import link_next, negotiated, paging
from api.errors import LineFault, NoSuchResource, RequestMalformed, RequestTooLarge, StatementsRefused
from api.reading import Reading
from api.requests import JOSE, JWS_LINES, read_arguments, read_body, split_lines
from api.services import Captures, Limits, Services
from api.submission import BEHAVIOUR_HEADER, check_signed_type, read_behaviour, require_signed
from intake.authority import DOCUMENT_TYP, EVENT_TYP
from intake.capture_jobs import Job
from keys.envelope import STATEMENT_SIZE_MAX
from keys.errors import Fault, Malformed
from traceability.queries.tokens import LIFETIME_S, open_name, seal_name
from traceability.readers import find_event_list, is_xml

PATH = "/capture"
_LISTING = "capture"
_DOCUMENT = b'"typ":"' + DOCUMENT_TYP.encode() + b'"'


def blueprint(services: Services, captures: Captures, reading: Reading) -> Blueprint:
    capture = Blueprint("capture", __name__)
    limits, jobs = services.limits, captures.jobs
    negotiated(capture, lambda: limit_headers(limits))
    named_as_in_epcis(capture)

    def now() -> int:
        return int(1000 * services.clock().timestamp())

    @capture.post(PATH)
    def create() -> Response:
        read_arguments()
        behaviour = read_behaviour(request.headers.get(BEHAVIOUR_HEADER))
        is_single = check_signed_type((JOSE, JWS_LINES), request.headers.get, services, PATH) == JOSE
        body = read_body(STATEMENT_SIZE_MAX if is_single else limits.capture_size_max)
        require_signed(body, services, PATH)
        lines = [body] if is_single else split_lines(body, limits.capture_events_max)
        _require_statements(lines)
        _require_events(lines, limits.capture_events_max)
        job_id = jobs.create(behaviour, is_single, body, now())
        captures.nudge()
        response = Response(status=problems.ACCEPTED)
        response.headers["Location"] = f"{PATH}/{job_id}"
        response.headers[BEHAVIOUR_HEADER] = behaviour
        return response

    @capture.get(PATH)
    def list_jobs() -> Response:
        per_page, token = paging()
        at = int(services.clock().timestamp())
        before = None if token is None else _place(open_name(token, _LISTING, at, captures.key))
        # Whoever lists jobs gets their ids, and with them what is wrong in statements that nobody recorded.
        # Where the ledger shows its events to everybody, so did their senders; elsewhere nobody can prove yet
        # which jobs are theirs, and the id that they were given is their way.
        shown = reading.may_read_typ(EVENT_TYP, None)
        found = jobs.page(before, per_page + 1) if shown else []
        response = Response(orjson.dumps([_members(job) for job in found[:per_page]]), content_type=JSON)
        if len(found) > per_page:
            last = found[per_page - 1]
            expires = at + LIFETIME_S
            name = seal_name(f"{last.created_at}.{last.id}", _LISTING, expires, captures.key)
            link_next(response, services.base_url + PATH, name, expires)
        return response

    @capture.get(f"{PATH}/<job_id>")
    def show(job_id: str) -> Response:
        read_arguments()
        job = jobs.find(job_id)
        if job is None:
            raise _unknown()
        return Response(orjson.dumps(_members(job)), content_type=JSON)

    @capture.get(f"{PATH}/<job_id>/results")
    def results(job_id: str) -> Response:
        read_arguments()
        found = jobs.find_results(job_id)
        if not found:
            raise _unknown()
        return Response(found, content_type=JSON)

    return capture


def named_as_in_epcis(blueprint: Blueprint) -> None:
    """Give a blueprint's errors the names that EPCIS has for them."""

    @blueprint.errorhandler(Fault)
    def problem(fault: Fault) -> Response:
        return epcis_problems.answer(fault).as_flask()


def limit_headers(limits: Limits) -> Mapping[str, str]:
    """What is announced, and enforced."""
    return {
        "GS1-EPCIS-Capture-Limit": str(limits.capture_events_max),
        "GS1-EPCIS-Capture-File-Size-Limit": str(limits.capture_size_max),
        **({BEHAVIOUR_HEADER: "all"} if request.method == "OPTIONS" else {}),
    }


def _require_statements(lines: Sequence[bytes]) -> None:
    """Raise StatementsRefused unless each line has the parts of a JWS: a job is made of statements only."""
    bad = [
        LineFault(at, Malformed("jws.parts", "this line is no JWS: header, payload and signature, with dots"))
        for at, line in enumerate(lines)
        if line.count(b".") != 2
    ]
    if bad:
        raise StatementsRefused(bad)


def _require_events(lines: Sequence[bytes], events_max: int) -> None:
    """Raise RequestTooLarge for more events than one job may bring. Counts, and judges nothing."""
    count = sum(map(count_events, lines))
    if count > events_max:
        raise RequestTooLarge(
            "capture.events", f"{count} events at once; at most {events_max} are taken: send several requests"
        )


def count_events(line: bytes) -> int:
    """How many events a statement claims to hold. What cannot be read counts as one, and is refused later."""
    header, payload, _ = line.split(b".")
    try:
        if _DOCUMENT not in _decoded(header).replace(b" ", b""):
            return 1
        document = _decoded(payload)
        if is_xml(document):
            # Each event says its time once; UTF-16 is the same with zeros between.
            return document.replace(b"\0", b"").count(b"<eventTime>")
        return len(find_event_list(orjson.loads(document))[1])
    except (BadBase64, ValueError):
        return 1


def _decoded(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _place(name: str) -> tuple[int, str]:
    moment, _, job_id = name.partition(".")
    if not moment.isdigit():
        raise RequestMalformed("epcis.parameters", "this token is of another listing", "/nextPageToken")
    return int(moment), job_id


def _members(job: Job) -> dict[str, Any]:
    members: dict[str, Any] = {"captureID": job.id, "createdAt": _moment(job.created_at)}
    if job.finished_at is not None:
        members["finishedAt"] = _moment(job.finished_at)
    return {
        **members,
        "running": job.is_running,
        "success": job.success,
        "captureErrorBehaviour": job.behaviour,
        "errors": orjson.Fragment(job.errors),
    }


def _moment(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unknown() -> NoSuchResource:
    return NoSuchResource("capture.unknown", "there is no capture job with this id, or not any more")
