"""Step 2 of 9, described: what partners send, and what they get for it."""

from __future__ import annotations

from api.openapi.components import CHECKPOINT_EXAMPLE, DIGEST_EXAMPLE
from api.openapi.parts import (
    POSITION,
    Group,
    Json,
    Route,
    answer,
    body,
    content,
    headers,
    in_header,
    in_path,
    query,
    schema,
    text,
)
from api.requests import JOSE, JWS_LINES
from api.services import Limits
from keys.envelope import STATEMENT_SIZE_MAX

GROUP = Group(
    "Partners",
    "Signed statements in; places in the ledger, receipts and exact faults out. What is verified is what was"
    " sent, byte for byte. Nobody logs in: the signature says who speaks.",
)

JWS_EXAMPLE = "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJAY29udGV4dCI6….5bMm0T…"
_APPENDED: Json = {
    "results": [
        {"line": 0, "status": "appended", "seq": 6, "digest": DIGEST_EXAMPLE, "duplicate": False},
    ],
    "checkpoint": CHECKPOINT_EXAMPLE,
}
_MIXED: Json = {
    "results": [
        {"line": 0, "status": "duplicate", "seq": 6, "digest": DIGEST_EXAMPLE, "duplicate": True},
        {
            "line": 1,
            "status": "refused",
            "faults": [
                {
                    "line": 1,
                    "pointer": "/epcList/0",
                    "code": "gs1.check-digit",
                    "detail": "the check digit of 09520123456789 is 9 and should be 8",
                    "fix": "write 09520123456788",
                }
            ],
        },
    ],
    "checkpoint": CHECKPOINT_EXAMPLE,
}
RECEIPTS = query("receipts", "Whether each line that has a place gets its receipt.", {"type": "boolean"})
BEHAVIOUR = in_header(
    "GS1-Capture-Error-Behaviour",
    "What one bad line does to the others. Under `rollback` nothing is appended; under `proceed` the good"
    " ones are,"
    " and each line says what became of it.",
    {"type": "string", "enum": ["rollback", "proceed"], "default": "rollback"},
)
JWS = text("A compact JWS (RFC 7515): three parts of base64url, joined by dots.")
JWS_EACH_LINE = text("A compact JWS on each line.")
BODY_PROBLEMS = {408: "", 411: "", 415: "", 422: ""}


def routes(limits: Limits) -> list[Route]:
    size = f"{limits.request_size_max // (1024 * 1024)} MiB"
    return [
        Route(
            "/statements",
            "post",
            "submitStatements",
            "Record signed events or documents",
            "One statement, or many, one a line. The answer leaves the server only once all that it names"
            " is on"
            " the disk. Sending the same bytes again is safe: it is answered with the first one's place.",
            [
                RECEIPTS,
                BEHAVIOUR,
            ],
            body(
                f"Uncompressed, with `Content-Length`. One statement has at most {STATEMENT_SIZE_MAX:,}"
                f" bytes; lines"
                f" are at most {limits.lines_max:,}, of {size} together.",
                {
                    JOSE: content(JWS, JWS_EXAMPLE),
                    JWS_LINES: content(JWS_EACH_LINE, f"{JWS_EXAMPLE}\n{JWS_EXAMPLE}\n"),
                },
            ),
            {
                "200": answer(
                    "Nothing new was appended, or not every line was.",
                    "application/json",
                    schema("Outcome"),
                    example=_MIXED,
                ),
                "201": answer(
                    "Something was appended and nothing refused.",
                    "application/json",
                    schema("Outcome"),
                    example=_APPENDED,
                ),
            },
            {
                400: "A header, an argument or the body cannot be read; or, under `rollback`, a line of it.",
                413: "More bytes or lines than one request may bring.",
                **BODY_PROBLEMS,
                422: "Under `rollback`: all lines can be read, and some are false or not allowed. See"
                " `faults`.",
            },
        ),
        Route(
            "/keys",
            "post",
            "submitKeyStatement",
            "Register, rotate or revoke a key",
            "One key statement, signed by whoever may say so.",
            [RECEIPTS],
            body("One key statement.", {JOSE: content(JWS, JWS_EXAMPLE)}),
            {
                "200": answer(
                    "It stands there already.", "application/json", schema("Outcome"), example=_APPENDED
                ),
                "201": answer("It was appended.", "application/json", schema("Outcome"), example=_APPENDED),
            },
            {400: "", 413: "", **BODY_PROBLEMS},
        ),
        Route(
            "/receipts/{seq}",
            "get",
            "readReceipt",
            "The receipt of one entry",
            "A tlog-proof (C2SP): the entry, its path to the root, and the newest checkpoint that covers"
            " it. Asked"
            " for later, it rests on a newer checkpoint, with more witnesses.",
            [in_path("seq", "The entry's place in the log.", POSITION, 6)],
            answers={
                "200": answer(
                    "The receipt.",
                    "text/plain",
                    text(pattern="^c2sp\\.org/tlog-proof@v1\\n"),
                    example="c2sp.org/tlog-proof@v1\nextra …\nindex 6\n…\n\nledger.example/epcis\n7\n…\n",
                    headers=headers("Cache-Control", "Content-Disposition"),
                ),
            },
            problems={400: "", 404: "The log does not reach that far."},
        ),
    ]
