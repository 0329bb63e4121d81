"""Step 8 of 9, seen from outside: what the projector noticed about events that were taken in.

    GET /findings?after=<seq>.<ordinal>   those of the events behind that place, in log order

Codes stand in projection.findings and docs/http.md. Nothing here changes what was recorded.
"""

from __future__ import annotations

import orjson
from flask import Blueprint, Response

from api.answers import JSON
from api.errors import Withheld
from api.event_queries import EventQueries
from api.reading import Reading
from api.requests import parse_integer, read_arguments
from intake.authority import EVENT_TYP

PAGE_SIZE = 1_000
_LAST_CODE = "\U0010ffff"  # behind every code


def blueprint(queries: EventQueries, reading: Reading) -> Blueprint:
    findings = Blueprint("findings", __name__)

    @findings.get("/findings")
    def show() -> Response:
        arguments = read_arguments("after")
        seq, ordinal = _place(arguments.get("after", ""))
        if not reading.may_read_typ(EVENT_TYP, None):
            raise Withheld("findings.withheld", "this ledger's policy does not open its events to you")
        with queries.engine.projection.snapshot() as snapshot:
            found = snapshot.findings((seq, ordinal, _LAST_CODE), PAGE_SIZE + 1)
            covered = snapshot.state.next_seq
        shown = found[:PAGE_SIZE]
        after = None
        if len(found) > PAGE_SIZE:
            # An event has few findings: those of the one at the edge go onto the next page together.
            edge = (found[-1].seq, found[-1].ordinal)
            shown = [one for one in shown if (one.seq, one.ordinal) != edge]
            after = f"{shown[-1].seq}.{shown[-1].ordinal}"
        items = [
            {"seq": one.seq, "ordinal": one.ordinal, "code": one.code, "detail": one.detail} for one in shown
        ]
        return Response(
            orjson.dumps({"findings": items, "after": after, "covered": covered}), content_type=JSON
        )

    return findings


def _place(text: str) -> tuple[int, int]:
    """An event's place, "41.0"; before all of them where nothing is said."""
    if not text:
        return -1, 0
    seq, _, ordinal = text.partition(".")
    return parse_integer(seq, "after"), parse_integer(ordinal, "after")
