"""Step 9 of 9, described: what auditors and buyers take home to check alone."""

from __future__ import annotations

from api.openapi.components import DIGEST_EXAMPLE, HASH_EXAMPLE
from api.openapi.log import IF_NONE_MATCH, NOT_MODIFIED
from api.openapi.parts import (
    POSITION,
    Group,
    Json,
    Route,
    answer,
    array,
    closed,
    headers,
    in_path,
    integer,
    query,
    schema,
    text,
)
from api.requests import JOSE, JWS_LINES
from api.services import Limits

GROUP = Group(
    "Auditors",
    "Statements, entries, proofs and evidence. Payloads are shown as far as the ledger's policy allows;"
    " entries,"
    " proofs and receipts are always public, for without them nobody could check anything.",
)

_SEQ = in_path("seq", "The place in the log.", POSITION, 6)
_EPC = query(
    "epc",
    "Any spelling of the product's identifier: an EPC URN, a GS1 Digital Link, or what a label says, as"
    " `(01)…(21)…`.",
    text(minLength=1, maxLength=512),
    required=True,
    example="(01)09520123456788(21)1000000042",
)
_HISTORY_PROBLEMS = {
    400: "The identifier breaks GS1's rules.",
    403: "This ledger's policy does not open its events to you.",
    404: "The ledger holds no event about it.",
}

SCHEMAS: Json = {
    "Entry": closed(
        {
            "seq": POSITION,
            "kind": text("What stands there: `event`, `document`, `key`, `anchor`, …"),
            "recorded_at": text("When, in UTC, with microseconds.", format="date-time"),
            "prev": schema("Hash"),
            "statement": schema("Hash"),
            "keys": {
                **POSITION,
                "description": "The newest key statement below: by it the signature was judged.",
            },
        },
    ),
    "InclusionProof": closed(
        {
            "index": POSITION,
            "size": POSITION,
            "leaf_hash": schema("Hash"),
            "path": {**array(schema("Hash"), maxItems=64), "description": "Nearest the leaf first."},
            "root_hash": schema("Hash"),
        }
    ),
    "ConsistencyProof": closed(
        {
            "old": POSITION,
            "new": POSITION,
            "path": array(schema("Hash"), maxItems=128),
            "old_root_hash": schema("Hash"),
            "new_root_hash": schema("Hash"),
        }
    ),
    "History": closed(
        {
            "epc": text("The one name of what was asked for.", format="uri"),
            "note": text(),
            "truncated": {"type": "boolean", "description": "Whether there is more than one answer holds."},
            "withheld": integer("Entries that the index points to and whose content was erased.", minimum=0),
            "events": array(schema("HistoryItem")),
        }
    ),
    "HistoryItem": closed(
        {
            "seq": POSITION,
            "ordinal": integer("The event's place in its statement.", minimum=0),
            "via": {
                **array(text()),
                "description": "The boxes that the product was in, innermost first; empty where the event"
                " names it.",
            },
            "recorded_at": text(format="date-time"),
            "statement": schema("Digest"),
            "event": schema("Event"),
            "derived_from": text("For events of documents: what they were read from."),
        },
        optional=("derived_from",),
    ),
    "Event": {
        "type": "object",
        "required": ["type", "eventTime", "eventTimeZoneOffset"],
        "properties": {
            "type": text(examples=["ObjectEvent"]),
            "eventTime": text(format="date-time"),
            "eventTimeZoneOffset": text(pattern="^[+-]([0-9]{2}):([0-9]{2})$"),
        },
        "additionalProperties": True,
        "description": "An event of EPCIS 2.0 in JSON-LD, with all the fields that the standard gives its"
        " type.",
    },
    "Evidence": {
        **closed(
            {
                "format": text(),
                "origin": text(),
                "subject": text(),
                "checkpoint": text(),
                "entries": array({"type": "object", "additionalProperties": True}),
                "consistency": array({"type": "object", "additionalProperties": True}),
                "digest": text(),
            }
        ),
        "additionalProperties": True,
        "description": "Everything that `tallystick verify` needs, offline.",
    },
    "Trust": closed(
        {
            "warning": text(),
            "origin": text("The log's name.", examples=["ledger.example/epcis"]),
            "genesis_leaf_hash": {"anyOf": [schema("Hash"), {"type": "null"}]},
            "log_keys": {**array(text()), "description": "As signed notes name them (vkey)."},
            "files": {
                "type": "object",
                "additionalProperties": text(),
                "description": "The files of a trust directory, by name; public parts only.",
            },
        }
    ),
}


def finding_routes(_: Limits) -> list[Route]:
    """What the projector noticed."""
    return [
        Route(
            "/findings",
            "get",
            "readFindings",
            "What was noticed about recorded events",
            "In the order of the log. Nothing of it changes what was recorded.",
            [
                query(
                    "after",
                    "Only of events behind this place, `<seq>.<ordinal>`: what `after` of the page before"
                    " said.",
                    text(pattern="^((0|[1-9][0-9]{0,17})\\.(0|[1-9][0-9]{0,17}))?$"),
                    example="41.0",
                )
            ],
            answers={
                "200": answer(
                    "A page of findings.",
                    "application/json",
                    schema("Findings"),
                    example={"findings": [], "after": None, "covered": 17},
                )
            },
            problems={400: "", 403: "This ledger's policy does not open its events to you."},
        )
    ]


FINDING_SCHEMAS: Json = {
    "Findings": closed(
        {
            "findings": array(
                closed(
                    {
                        "seq": POSITION,
                        "ordinal": integer("The event's place in its statement.", minimum=0),
                        "code": text("Stable; programs may rely on it."),
                        "detail": text("For people; may be reworded."),
                    }
                )
            ),
            "after": {
                "type": ["string", "null"],
                "description": "Where the next page begins; null on the last one.",
            },
            "covered": {**POSITION, "description": "Every entry below this position was looked at."},
        }
    ),
}


def routes(limits: Limits) -> list[Route]:
    cached = headers("Cache-Control")
    return [
        Route(
            "/statements/{seq}",
            "get",
            "readStatement",
            "One statement as it was signed",
            parameters=[_SEQ],
            answers={"200": answer("The exact bytes.", JOSE, text())},
            problems={400: "", 403: "", 404: "", 410: ""},
        ),
        Route(
            "/statements",
            "get",
            "readStatements",
            "Many statements, one a line",
            f"At most {limits.statements_page_max:,} and about"
            f" {limits.statements_page_size_max // (1024 * 1024)} MiB; ask again from where it ended. An"
            f" empty line"
            " is a statement that was erased or that you may not see: it keeps its place.",
            [
                query("start", "The first place.", POSITION, required=True, example=6),
                query(
                    "end", "The place behind the last; not below `start`.", POSITION, required=True, example=9
                ),
            ],
            answers={"200": answer("The statements, in order.", JWS_LINES, text())},
            problems={400: ""},
        ),
        Route(
            "/statements/bundle/{name}",
            "get",
            "readStatementBundle",
            "256 statements, numbered like tiles",
            "The statements beside one bundle of entries, under that bundle's number.",
            [
                in_path(
                    "name",
                    "As `000`, `x001/234`, `002.p/88`.",
                    text(pattern=r"^(x[0-9]{3}/)*[0-9]{3}(\.p/[0-9]{1,3})?$"),
                    "000.p/7",
                ),
                IF_NONE_MATCH,
            ],
            answers={
                "200": answer(
                    "The statements, one a line.", JWS_LINES, text(), headers=headers("ETag", "Cache-Control")
                ),
                "304": NOT_MODIFIED,
            },
            problems={400: "", 404: "There is no such bundle yet, or it is too large for one answer."},
        ),
        Route(
            "/entries/{seq}",
            "get",
            "readEntry",
            "One entry of the log",
            "Its canonical bytes (RFC 8785): the leaf of the tree is their hash.",
            [_SEQ],
            answers={
                "200": answer(
                    "The entry.",
                    "application/json",
                    schema("Entry"),
                    example={
                        "keys": 5,
                        "kind": "event",
                        "prev": HASH_EXAMPLE,
                        "recorded_at": "2026-11-20T12:00:17.000000Z",
                        "seq": 6,
                        "statement": HASH_EXAMPLE,
                    },
                    headers=cached,
                )
            },
            problems={400: "", 404: ""},
        ),
        Route(
            "/proof/inclusion",
            "get",
            "proveInclusion",
            "Proof that an entry is in the log",
            "The path from one leaf to the root of the tree at any size it ever had (RFC 9162, 2.1.3).",
            [
                query("index", "The entry's place.", POSITION, required=True, example=6),
                query("size", "The size of the tree; above `index`.", POSITION, required=True, example=9),
            ],
            answers={
                "200": answer(
                    "The proof.",
                    "application/json",
                    schema("InclusionProof"),
                    example={
                        "index": 6,
                        "size": 9,
                        "leaf_hash": HASH_EXAMPLE,
                        "path": [HASH_EXAMPLE, HASH_EXAMPLE],
                        "root_hash": HASH_EXAMPLE,
                    },
                    headers=cached,
                )
            },
            problems={400: "", 404: "The log is not that long yet."},
        ),
        Route(
            "/proof/consistency",
            "get",
            "proveConsistency",
            "Proof that nothing was changed since",
            "That the tree of one size continues that of a smaller one (RFC 9162, 2.1.4).",
            [
                query("old", "The smaller size.", {**POSITION, "minimum": 1}, required=True, example=3),
                query("new", "The larger size.", {**POSITION, "minimum": 1}, required=True, example=9),
            ],
            answers={
                "200": answer(
                    "The proof.",
                    "application/json",
                    schema("ConsistencyProof"),
                    example={
                        "old": 3,
                        "new": 9,
                        "path": [HASH_EXAMPLE],
                        "old_root_hash": HASH_EXAMPLE,
                        "new_root_hash": HASH_EXAMPLE,
                    },
                    headers=cached,
                )
            },
            problems={400: "", 404: "The log is not that long yet."},
        ),
        Route(
            "/history",
            "get",
            "readHistory",
            "What the index holds about a product",
            "Through the boxes that it was packed in. A history is what the index says, unproved.",
            [_EPC],
            answers={
                "200": answer(
                    "The history.",
                    "application/json",
                    schema("History"),
                    example={
                        "epc": "https://id.gs1.org/01/09520123456788/21/1000000042",
                        "note": "…",
                        "truncated": False,
                        "withheld": 0,
                        "events": [
                            {
                                "seq": 6,
                                "ordinal": 0,
                                "via": [],
                                "recorded_at": "2026-11-20T12:00:17.000000Z",
                                "statement": DIGEST_EXAMPLE,
                                "event": {
                                    "type": "ObjectEvent",
                                    "eventTime": "2026-11-15T12:00:00.000Z",
                                    "eventTimeZoneOffset": "+00:00",
                                    "epcList": ["urn:epc:id:sgtin:9520123.045678.1000000042"],
                                    "action": "ADD",
                                    "bizStep": "commissioning",
                                },
                            }
                        ],
                    },
                )
            },
            problems=_HISTORY_PROBLEMS,
        ),
        Route(
            "/evidence",
            "get",
            "readEvidence",
            "The history with every proof, as one file",
            "For `tallystick verify`, which needs nothing of ours but the file and the keys that you pinned.",
            [_EPC],
            answers={
                "200": answer(
                    "The bundle.",
                    "application/vnd.tallystick.evidence+json",
                    schema("Evidence"),
                    headers=headers("Content-Disposition"),
                )
            },
            problems={**_HISTORY_PROBLEMS, 422: "The history is too long for one file."},
        ),
        Route(
            "/trust",
            "get",
            "readTrust",
            "This server's public keys",
            "Its own words about itself: compare them with what the operator published elsewhere.",
            [IF_NONE_MATCH],
            answers={
                "200": answer(
                    "The keys, and a warning.",
                    "application/json",
                    schema("Trust"),
                    headers=headers("ETag", "Cache-Control"),
                ),
                "304": NOT_MODIFIED,
            },
            problems={400: ""},
        ),
    ]
