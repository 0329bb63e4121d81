"""Step 2 of 9, described: headers and values that several groups share."""

from __future__ import annotations

from api.openapi import problems
from api.openapi.parts import POSITION, SEQ_MAX, Json, array, closed, integer, schema, text

DIGEST_EXAMPLE = "24K-plLyJg21SMEkDe0n9XIEmyCZIwFIIj_YFb_cPm4"
HASH_EXAMPLE = "XjpUrXv8+K4Sdg1MmrsA5ldW9aZuw+etJAgV6BbjTDM="
CHECKPOINT_EXAMPLE = "ledger.example/epcis\n7\nXjpUrXv8+K4Sdg1MmrsA5ldW9aZuw+etJAgV6BbjTDM=\n\n— …\n"


def _header(description: str, of: Json, example: object = None) -> Json:
    found: Json = {"description": description, "schema": of}
    return found if example is None else {**found, "example": example}


HEADERS: Json = {
    "Allow": _header("The methods that this path answers.", text(), "GET, HEAD, OPTIONS"),
    "Accept": _header("What the next request could bring (RFC 9110, 12.5.1).", text(), "application/jose"),
    "Retry-After": _header(
        "After so many seconds the same request may be sent again.", integer(minimum=0), 1
    ),
    "ETag": _header("Of these bytes. Sent back as `If-None-Match`, it is answered with 304.", text()),
    "Cache-Control": _header("How long this may be kept.", text()),
    "Content-Disposition": _header("A name for the download.", text()),
    "Location": _header("Where it is.", text(format="uri-reference")),
    "Link": _header(
        'Where the next page is, as `<…>; rel="next"` (RFC 8288). Absent on the last page.', text()
    ),
    "GS1-Next-Page-Token-Expires": _header(
        "Until when the next page can be asked for.", text(format="date-time")
    ),
    "GS1-EPCIS-Version": _header("The version of EPCIS that is spoken.", text(), "2.0.0"),
    "GS1-EPCIS-Min": _header("The oldest version of EPCIS that is spoken.", text(), "2.0.0"),
    "GS1-EPCIS-Max": _header("The newest version of EPCIS that is spoken.", text(), "2.0.0"),
    "GS1-CBV-Version": _header(
        "The version of the Core Business Vocabulary that is spoken.", text(), "2.0.0"
    ),
    "GS1-CBV-Min": _header("The oldest version of the vocabulary that is spoken.", text(), "2.0.0"),
    "GS1-CBV-Max": _header("The newest version of the vocabulary that is spoken.", text(), "2.0.0"),
    "GS1-EPC-Format": _header(
        "How identifiers are written: as they were signed, or as Digital Links.", text()
    ),
    "GS1-CBV-XML-Format": _header("How words of the vocabulary are written in XML.", text()),
    "GS1-Vendor-Version": _header("The version of this implementation.", text()),
    "GS1-Capture-Error-Behaviour": _header("What one bad line does to the others.", text(), "rollback"),
    "GS1-EPCIS-Capture-Limit": _header("So many events one job may bring.", integer(minimum=1), 10_000),
    "GS1-EPCIS-Capture-File-Size-Limit": _header(
        "So many bytes one job may bring.", integer(minimum=1), 16_777_216
    ),
    "GS1-Query-Min-Record-Time": _header("All before it was reported.", text(format="date-time")),
    "Tallystick-Seq": _header("The statement's place in the ledger.", integer(minimum=0, maximum=SEQ_MAX), 6),
    "Tallystick-Covered": _header(
        "The answer looked at every entry below this position of the log.",
        integer(minimum=0, maximum=SEQ_MAX),
        17,
    ),
}

SCHEMAS: Json = {
    "Problem": problems.PROBLEM_DETAIL,
    "Fault": problems.FAULT,
    "Digest": text("SHA-256, in base64url without padding.", pattern="^[A-Za-z0-9_-]{43}$"),
    "Hash": text("SHA-256, in standard base64.", pattern="^[A-Za-z0-9+/]{43}=$"),
    "LineResult": {
        **closed(
            {
                "line": integer("The line of the request, from 0.", minimum=0),
                "status": text(
                    "`rolled-back` is a good line beside a bad one that the writer found.",
                    enum=["appended", "duplicate", "refused", "rolled-back"],
                ),
                "seq": {**POSITION, "description": "The statement's place in the ledger, for ever."},
                "digest": schema("Digest"),
                "duplicate": {
                    "type": "boolean",
                    "description": "Whether it stood there already. Then place, digest and receipt are"
                    " the first one's.",
                },
                "receipt": text("A tlog-proof, if asked for."),
                "faults": array(schema("Fault"), maxItems=1000),
            },
            optional=("seq", "digest", "duplicate", "receipt", "faults"),
        ),
        "description": "What became of one statement.",
    },
    "Outcome": {
        **closed(
            {
                "results": array(schema("LineResult")),
                "checkpoint": {
                    "type": ["string", "null"],
                    "description": "The log's signed claim about itself, over a tree that holds every"
                    " place named"
                    " here; null if none is.",
                },
            }
        ),
        "description": "What became of every statement of a request.",
    },
}
