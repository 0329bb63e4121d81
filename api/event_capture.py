"""Step 2 of 9: `POST /events` of EPCIS 2.0: one signed event, recorded before the answer, once.

An event that is there already, by its eventID or by what it says (its event hash), is answered with 409. An
error declaration has the eventID of the event that it corrects, and is recorded beside it.

Of two requests that bring one event at once, one holds the claim on its identities while it looks and
records; the other is asked to come again, and finds it there. Statements that come by other doors at the same
moment claim nothing: there the projection finds what came twice, and says so (GET /findings).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import orjson
from flask import Blueprint, Response, request

from api import problems
from api.answers import JSON
from api.captures import limit_headers, named_as_in_epcis
from api.epcis_headers import negotiated
from api.errors import EventExists, LineFault, StatementsRefused
from api.event_queries import NEVER_TRANSLATES
from api.metrics import Metrics
from api.requests import JOSE, read_arguments, read_body
from api.services import Captures, Services
from api.submission import check_signed_type, require_signed
from intake.authority import EVENT_TYP
from intake.errors import Busy, KindNotTaken
from intake.service import LineResult
from keys import envelope
from keys.envelope import STATEMENT_SIZE_MAX
from keys.errors import Fault
from projection.identity import Identities
from traceability.epcis.validate import read_event
from traceability.errors import EventFault, EventRejected, EventUnhashable
from traceability.event_hash import event_hash

PATH = "/events"


def blueprint(services: Services, captures: Captures, identities: Identities, metrics: Metrics) -> Blueprint:
    events = Blueprint("event_capture", __name__)
    negotiated(events, lambda: limit_headers(services.limits))
    named_as_in_epcis(events)

    @events.post(PATH)
    def create() -> Response:
        read_arguments()
        check_signed_type((JOSE,), request.headers.get, services, PATH)
        line = read_body(min(STATEMENT_SIZE_MAX, services.limits.capture_size_max))
        require_signed(line, services, PATH)
        value = _read(line)
        event_id, computed = value.get("eventID"), _hash_of(value)
        if event_id is None and computed is None:
            raise StatementsRefused([LineFault(0, _nameless())])
        name = event_id if event_id is not None else computed
        location = _location(str(name))
        # A correction is known by the event it corrects: neither its id nor what it repeats are its own.
        result = (
            record(line) if "errorDeclaration" in value else record_once(line, event_id, computed, location)
        )
        if result.status == "duplicate":
            raise _exists(f"entry {result.seq} holds this event, from the same party", location)
        response = Response(
            orjson.dumps({**value, "eventID": name}), status=problems.CREATED, content_type=JSON
        )
        response.headers["Location"] = location
        response.headers["Tallystick-Seq"] = str(result.seq)
        response.headers["GS1-EPC-Format"] = NEVER_TRANSLATES  # it is told as it was signed
        return response

    def record_once(line: bytes, event_id: str | None, computed: str | None, location: str) -> LineResult:
        names = [name for name in (event_id, computed) if name is not None]
        owner = captures.jobs.hold(names, int(1000 * services.clock().timestamp()))
        if owner is None:
            raise Busy("epcis.event.contended", "another request brings this event just now; send it again")
        try:
            place = identities.find(event_id, computed)
            if place is not None:
                there = identities.name_at(place)
                raise _exists(
                    f"event {place[1]} of entry {place[0]} has this eventID or says the same",
                    location if there is None else _location(there),
                )
            return record(line)
        finally:
            captures.jobs.let_go(owner)

    def record(line: bytes) -> LineResult:
        outcome = services.intake.submit([line], allowed_typs=frozenset({EVENT_TYP}))
        metrics.count_statements(outcome.results)
        (result,) = outcome.results
        if result.faults:
            raise StatementsRefused([LineFault(0, fault) for fault in result.faults])
        return result

    return events


def _read(line: bytes) -> dict[str, Any]:
    """The event in a statement whose signature is still to check. Raises StatementsRefused."""
    try:
        statement = envelope.parse(line)
        if statement.typ != EVENT_TYP:
            raise KindNotTaken(
                "statement.typ", f"typ is {statement.typ!r}; one {EVENT_TYP} is taken here", "/typ"
            )
        return dict(read_event(statement.payload).value)
    except EventRejected as rejected:
        raise StatementsRefused([LineFault(0, fault) for fault in rejected.faults]) from rejected
    except Fault as fault:
        raise StatementsRefused([LineFault(0, fault)]) from fault


def _location(event_id: str) -> str:
    return f"{PATH}/{quote(event_id, safe='')}"


def _hash_of(value: dict[str, Any]) -> str | None:
    try:
        return event_hash(value)
    except EventUnhashable:
        return None


def _exists(detail: str, location: str) -> EventExists:
    fault = EventExists(detail, location)
    fault.fix = (
        "If it was wrong, send it once more with the same eventID and an errorDeclaration; if it is another"
        " event, say what makes it one."
    )
    return fault


def _nameless() -> EventFault:
    return EventFault(
        "epcis.event.nameless",
        "the event has no eventID, and no event hash can stand in for it: a prefix in it is declared nowhere",
        "/eventID",
        "Give it an eventID, such as a urn:uuid, or declare its prefixes in @context.",
    )
