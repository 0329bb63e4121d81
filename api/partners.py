"""Step 2 of 9: the partners' door. Signed bytes in; positions, one checkpoint, exact faults out.

    POST /statements       one statement (application/jose) or many, one a line
    POST /keys             one key statement
    GET  /receipts/<seq>   the receipt of one entry, again

Bytes are handed on as they came: what is verified is what was sent, and nothing here reads inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import orjson
from flask import Blueprint, Response, request

from api import headers
from api.errors import LineFault, RecordDamaged, RequestMalformed, StatementsRefused
from api.metrics import Metrics
from api.problems import CREATED, FAULTS_SHOWN_MAX, OK, line_faults
from api.reading import Reading, stored
from api.receipts import ReceiptWriter
from api.requests import (
    JOSE,
    JWS_LINES,
    parse_integer,
    read_arguments,
    read_body,
    read_flag,
    require_media_type,
    split_lines,
)
from api.services import Services
from intake.service import Behaviour, LineResult, Outcome, event_typs, key_typs
from keys import base64url
from keys.envelope import STATEMENT_SIZE_MAX
from ledger.checkpoint import parse_unverified
from ledger.errors import NotInLog

BEHAVIOUR_HEADER = "GS1-Capture-Error-Behaviour"
JSON = "application/json"
TLOG_PROOF = "text/plain; charset=utf-8"


def blueprint(services: Services, reading: Reading, metrics: Metrics) -> Blueprint:
    partners = Blueprint("partners", __name__)

    @partners.post("/statements")
    def submit_statements() -> Response:
        arguments = read_arguments("receipts")
        receipts = read_flag(arguments, "receipts")
        behaviour = _behaviour()
        if require_media_type((JOSE, JWS_LINES)) == JOSE:
            lines = [read_body(STATEMENT_SIZE_MAX)]
        else:
            lines = split_lines(read_body(services.limits.request_size_max), services.limits.lines_max)
        outcome = services.intake.submit(lines, behaviour=behaviour, allowed_typs=event_typs())
        return answer(outcome, behaviour, receipts)

    @partners.post("/keys")
    def submit_key_statement() -> Response:
        arguments = read_arguments("receipts")
        receipts = read_flag(arguments, "receipts")
        require_media_type((JOSE,))
        line = read_body(STATEMENT_SIZE_MAX)
        outcome = services.intake.submit([line], behaviour="rollback", allowed_typs=key_typs())
        return answer(outcome, "rollback", receipts)

    @partners.get("/receipts/<seq>")
    def receipt(seq: str) -> Response:
        read_arguments()
        position = parse_integer(seq, "seq")
        reading.require_in_log(position)
        head = reading.head()
        # The published checkpoint is the one that auditors hold too; a fresh entry may be beyond it.
        with stored():
            published = parse_unverified(head.published).tree_size if head.published else 0
            checkpoint, size = (
                (head.published, published) if position < published else (head.checkpoint, head.tree_size)
            )
            body = ReceiptWriter(services.reader, checkpoint, size).write([position])[position]
        response = Response(body, content_type=TLOG_PROOF)
        # Later ones rest on a newer checkpoint, with more witnesses.
        response.headers["Cache-Control"] = headers.REVALIDATE
        response.headers["Content-Disposition"] = f'attachment; filename="{position}.tlog-proof"'
        return response

    def answer(outcome: Outcome, behaviour: Behaviour, receipts: bool) -> Response:
        metrics.count_statements(outcome.results)
        faults = [LineFault(result.line, fault) for result in outcome.results for fault in result.faults]
        if faults and behaviour == "rollback":
            raise StatementsRefused(faults)
        return _results(outcome, _receipts(services, outcome) if receipts else {})

    return partners


def _behaviour() -> Behaviour:
    """What one bad line does to the others. The header and its values are those of EPCIS 2.0."""
    given = request.headers.get(BEHAVIOUR_HEADER, "rollback").strip()
    if given not in ("rollback", "proceed"):
        raise RequestMalformed(
            "http.header.error-behaviour",
            f"{BEHAVIOUR_HEADER} is {given[:40]!r}; it must be rollback or proceed",
        )
    return cast(Behaviour, given)


def _receipts(services: Services, outcome: Outcome) -> dict[int, bytes]:
    seqs = [result.seq for result in outcome.results if result.seq is not None]
    if not seqs:
        return {}
    try:
        with stored():
            return ReceiptWriter(services.reader, outcome.checkpoint, outcome.tree_size).write(seqs)
    except NotInLog as fault:
        # They are: the ledger has just said so. What is wrong with them is nothing that was sent.
        raise RecordDamaged("record.damaged", f"the stored record does not hold: {fault.detail}") from fault


def _results(outcome: Outcome, receipts: dict[int, bytes]) -> Response:
    members: dict[str, Any] = {
        "results": [_result(result, receipts) for result in outcome.results],
        "checkpoint": outcome.checkpoint.decode() or None,
    }
    appended = any(result.status == "appended" for result in outcome.results)
    refused = any(result.status == "refused" for result in outcome.results)
    status = CREATED if appended and not refused else OK
    return Response(orjson.dumps(members), status=status, content_type=JSON)


def _result(result: LineResult, receipts: dict[int, bytes]) -> dict[str, Any]:
    members: dict[str, Any] = {"line": result.line, "status": result.status}
    if result.seq is not None and result.digest is not None:
        members["seq"] = result.seq
        members["digest"] = base64url.encode(result.digest)
        members["duplicate"] = result.status == "duplicate"
        if result.seq in receipts:
            members["receipt"] = receipts[result.seq].decode()
    elif result.faults:
        shown: Sequence[LineFault] = [LineFault(result.line, fault) for fault in result.faults]
        members["faults"] = line_faults(shown[:FAULTS_SHOWN_MAX])
    return members
