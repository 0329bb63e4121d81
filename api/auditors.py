"""Step 9 of 9, seen from the server: what an auditor or a product's buyer takes home to check alone.

GET /statements/<seq>                 one statement, as it was signed
GET /statements?start=&end=           many, one a line; an empty line is one that is not shown
GET /statements/bundle/<index>        256 of them, numbered like the log's tiles: what a static copy has too
GET /entries/<seq>                    one entry's canonical bytes
GET /proof/inclusion?index=&size=     a path to the root of any past size
GET /proof/consistency?old=&new=      proof that one size continues another
GET /history?epc=                     what the ledger holds about one product
GET /evidence?epc=                    the same as one file that anyone can verify offline
GET /trust                            this server's public keys, which you should have from elsewhere
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Blueprint, Response

from api import headers
from api.errors import NothingHere, RequestMalformed
from api.packs import Packs, file_name
from api.reading import Reading, stored
from api.requests import JOSE, JWS_LINES, parse_integer, read_arguments, require_integer, require_text
from api.services import Services
from intake import disclosure
from intake.authority import EVENT_TYP
from keys import base64url, envelope
from ledger import entry as entry_format
from ledger import tiles
from ledger.errors import ProofMalformed
from traceability.history import History, HistoryItem
from verifier.trust import Trust

JSON = "application/json"
EVIDENCE = "application/vnd.tallystick.evidence+json"
EPC_LENGTH_MAX = 512
TRUST_WARNING = (
    "These are this server's own words about itself. Whoever could forge the ledger could forge this answer:"
    " compare it with what the operator published elsewhere before you pin it."
)
HISTORY_NOTE = (
    "What the ledger's index holds, not yet verified. GET /evidence gives the same with proofs; that"
    " nothing was left out is not proved by either."
)


def blueprint(services: Services, reading: Reading, packs: Packs) -> Blueprint:
    auditors = Blueprint("auditors", __name__)
    limits = services.limits
    prover = tiles.Prover(services.reader)

    @auditors.get("/statements/<seq>")
    def statement(seq: str) -> Response:
        read_arguments()
        raw = reading.statement(parse_integer(seq, "seq"), None)
        # Not to be kept by caches: a statement can be erased, and a policy can change.
        return Response(raw, content_type=JOSE)

    @auditors.get("/statements")
    def statements() -> Response:
        arguments = read_arguments("start", "end")
        start, end = _range(require_integer(arguments, "start"), require_integer(arguments, "end"))
        end = min(end, reading.head().tree_size, start + limits.statements_page_max)
        lines: list[bytes] = []
        size = 0
        found = services.reader.read_statements(start, end) if start < end else ()
        for raw in reading.shown(found, None):
            line = disclosure.line_of(raw)
            size += len(line)
            if lines and size > limits.statements_page_size_max:
                break
            lines.append(line)
        return Response(b"".join(lines), content_type=JWS_LINES)

    @auditors.get(f"/{disclosure.BUNDLES}<path:name>")
    def statement_bundle(name: str) -> Response:
        read_arguments()
        try:
            path = disclosure.parse_bundle_name(name)
        except ProofMalformed as error:
            raise NothingHere(error.code, error.detail) from error
        tree_size = reading.head().tree_size
        width = tiles.width_at(0, path.index, tree_size)
        if width < path.width:
            raise NothingHere(
                "bundle.missing", f"at size {tree_size} this bundle has {width} of {path.width} statements"
            )
        start = path.index * tiles.TILE_WIDTH
        lines: list[bytes] = []
        size = 0
        for raw in reading.shown(services.reader.read_statements(start, start + path.width), None):
            lines.append(disclosure.line_of(raw))
            size += len(lines[-1])
            if size > limits.statements_page_size_max:
                raise NothingHere(
                    "bundle.size", "these statements are too long for one answer: ask for a range of them"
                )
        # Other than a tile it can change: a statement can be erased, and a policy altered.
        return headers.tagged(b"".join(lines), JWS_LINES, headers.REVALIDATE)

    @auditors.get("/entries/<seq>")
    def entry(seq: str) -> Response:
        read_arguments()
        return _immutable_json(reading.entry(parse_integer(seq, "seq")))

    @auditors.get("/proof/inclusion")
    def inclusion() -> Response:
        arguments = read_arguments("index", "size")
        index, size = require_integer(arguments, "index"), require_integer(arguments, "size")
        if index >= size:
            raise RequestMalformed("proof.index", f"a tree of {size} entries has no index {index}", "/index")
        _require_size(size, "size")
        with stored():
            path, root_hash = prover.inclusion(index, size)
        leaf_hash = entry_format.leaf_hash(reading.entry(index))
        return _immutable_json(
            orjson.dumps(
                {
                    "index": index,
                    "size": size,
                    "leaf_hash": _base64(leaf_hash),
                    "path": [_base64(sibling) for sibling in path],
                    "root_hash": _base64(root_hash),
                }
            )
        )

    @auditors.get("/proof/consistency")
    def consistency() -> Response:
        arguments = read_arguments("old", "new")
        old, new = require_integer(arguments, "old"), require_integer(arguments, "new")
        if not 0 < old <= new:
            raise RequestMalformed(
                "proof.sizes",
                f"nothing is proved from {old} entries to {new}: old must be at least 1 and at most new",
                "/old",
            )
        _require_size(new, "new")
        with stored():
            path, *roots = prover.consistency(old, new)
        return _immutable_json(
            orjson.dumps(
                {
                    "old": old,
                    "new": new,
                    "path": [_base64(node) for node in path],
                    "old_root_hash": _base64(roots[0]),
                    "new_root_hash": _base64(roots[1]),
                }
            )
        )

    @auditors.get("/history")
    def show_history() -> Response:
        epc = packs.canonical(_epc(require_text(read_arguments("epc"), "epc")))
        found = packs.history(epc)
        with stored():
            return Response(orjson.dumps(_history(epc, found)), content_type=JSON)

    @auditors.get("/evidence")
    def evidence() -> Response:
        epc = packs.canonical(_epc(require_text(read_arguments("epc"), "epc")))
        bundle = packs.evidence(epc)
        response = Response(bundle, content_type=EVIDENCE)
        response.headers["Content-Disposition"] = f'attachment; filename="{file_name(epc)}"'
        return response

    @auditors.get("/trust")
    def trust() -> Response:
        read_arguments()
        return headers.tagged(
            trust_document(services.origin, services.trust, services.trust_files), JSON, headers.REVALIDATE
        )

    def _require_size(size: int, name: str) -> None:
        tree_size = reading.head().tree_size
        if size > tree_size:
            raise NothingHere("proof.size", f"{name} is {size}; the log has {tree_size} entries")

    return auditors


def _range(start: int, end: int) -> tuple[int, int]:
    if start > end:
        raise RequestMalformed("http.argument.range", f"start is {start} and end is {end}", "/start")
    return start, end


def _epc(text: str) -> str:
    if len(text) > EPC_LENGTH_MAX:
        raise RequestMalformed(
            "http.argument.length", f"epc has {len(text)} characters; at most {EPC_LENGTH_MAX}", "/epc"
        )
    return text


def _immutable_json(body: bytes) -> Response:
    response = Response(body, content_type=JSON)
    response.headers["Cache-Control"] = headers.IMMUTABLE
    return response


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _history(epc: str, found: History) -> dict[str, Any]:
    return {
        "epc": epc,
        "note": HISTORY_NOTE,
        "truncated": found.truncated,
        "withheld": found.withheld,
        "events": [_history_item(item) for item in found.items],
    }


def _history_item(item: HistoryItem) -> dict[str, Any]:
    entry = entry_format.parse(item.entry)
    members = {
        "seq": item.seq,
        "ordinal": item.ordinal,
        "via": list(item.via),
        "recorded_at": entry_format.render_time(entry.recorded_at),
        "statement": base64url.encode(entry.statement),
    }
    statement = envelope.parse(item.statement_bytes)
    if statement.typ == EVENT_TYP:
        return {**members, "event": orjson.Fragment(statement.payload)}  # as it was signed
    if item.event.derived_from is not None:
        members["derived_from"] = item.event.derived_from
    return {**members, "event": item.event.bare_value}


def trust_document(origin: str, trust: Trust, files: Mapping[str, str]) -> bytes:
    """What a ledger says about its own keys, as JSON: here, and in its published copy."""
    return orjson.dumps(
        {
            "warning": TRUST_WARNING,
            "origin": origin,
            "genesis_leaf_hash": None if trust.genesis is None else _base64(trust.genesis.leaf_hash),
            "log_keys": [verifier.vkey for verifier in trust.log_verifiers(origin)],
            "files": dict(files),
        }
    )
