"""Step 2 of 9: the partners' door. Signed bytes in; positions, one checkpoint, exact faults out.

    POST /statements       one statement (application/jose) or many, one a line
    POST /keys             one key statement
    GET  /receipts/<seq>   the receipt of one entry, again

What `POST /statements` reads and says stands in api.submission; this is its way through Flask.
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from api import headers, submission
from api.metrics import Metrics
from api.reading import Reading, stored
from api.receipts import ReceiptWriter
from api.requests import (
    JOSE,
    parse_integer,
    read_arguments,
    read_body,
    read_flag,
    require_media_type,
)
from api.services import Services
from intake.service import Behaviour, Outcome, event_typs, key_typs
from keys.envelope import STATEMENT_SIZE_MAX
from ledger.checkpoint import parse_unverified

TLOG_PROOF = "text/plain; charset=utf-8"


def blueprint(services: Services, reading: Reading, metrics: Metrics) -> Blueprint:
    partners = Blueprint("partners", __name__)

    @partners.post(submission.PATH)
    def submit_statements() -> Response:
        """As api.door serves it. Requests whose path is spelled otherwise come this way, and tests."""
        head = submission.read_head(request.query_string.decode(), request.headers.get, services)
        body = read_body(head.length)
        submission.require_signed(body, services, submission.PATH)
        lines = head.lines(body)
        outcome = services.intake.submit(lines, behaviour=head.behaviour, allowed_typs=event_typs())
        return answer(outcome, head.behaviour, head.receipts)

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
        submission.require_accepted(outcome, behaviour)
        found = submission.read_receipts(services, outcome) if receipts else {}
        return submission.answer(outcome, found).as_flask()

    return partners
