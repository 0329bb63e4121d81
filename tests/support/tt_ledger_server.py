"""A small ledger behind real HTTP on loopback, which can be told to misbehave. For the partner's side.

It speaks the wire format of docs/http.md with real entries, a real tree, real checkpoints and real
receipts. It keeps everything in memory and remembers every byte it was ever sent, so that a test can ask
afterwards: was anything signed twice, did anything overtake, is anything missing?
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import tt_keys

from keys import base64url, envelope, note
from keys.algorithms import PrivateKey
from keys.errors import Fault, Malformed
from keys.registry import Registry, possession_statement, register_statement
from ledger import entry as entry_format
from ledger import merkle
from ledger.entry import Entry

JOSE, JWS_LINES = "application/jose", "application/vnd.tallystick.jws-lines"


class Busy(Exception):
    """Answered with 503."""


@dataclass
class MemoryLedger:
    """A ledger in lists. Not thread-safe: the server holds a lock."""

    origin: str = tt_keys.ORIGIN
    entries: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    statements: list[bytes] = field(default_factory=list)
    contents: dict[bytes, int] = field(default_factory=dict)
    keys_seq: int = 0
    recorded_at: datetime = tt_keys.START

    def __post_init__(self) -> None:
        self.signer = tt_keys.log_signer(self.origin)
        genesis = tt_keys.make_genesis(origin=self.origin)
        self.registry = Registry.from_genesis(genesis)
        self._append("genesis", genesis)

    def _append(self, kind: str, raw: bytes) -> int:
        seq = len(self.entries)
        self.recorded_at += timedelta(milliseconds=1)
        data = entry_format.render(
            Entry(
                seq=seq,
                kind=kind,
                recorded_at=self.recorded_at,
                prev=self.leaves[-1] if self.leaves else entry_format.ZERO_PREV,
                statement=envelope.parse(raw).digest,
                keys=self.keys_seq,
            )
        )
        self.entries.append(data)
        self.leaves.append(entry_format.leaf_hash(data))
        self.statements.append(raw)
        if kind in ("genesis", "key"):
            self.keys_seq = seq
        return seq

    def register(self, key: PrivateKey, party: str) -> int:
        known = self.registry.parties.get(party)
        possession = possession_statement(key, origin=self.origin, party=party)
        return self.apply(
            register_statement(
                tt_keys.registrar_key(),
                origin=self.origin,
                party=party,
                name=party.title(),
                roles=["emitter"],
                possession=possession,
                previous=known.last_digest if known else None,
            )
        )

    def apply(self, raw: bytes) -> int:
        self.registry = self.registry.apply(len(self.entries), self.recorded_at, raw)
        return self._append("key", raw)

    def judge(self, raw: bytes) -> envelope.Statement:
        statement = envelope.parse(raw)
        envelope.require_audience(statement, self.origin)
        record = self.registry.active_key(statement.kid, self.recorded_at)
        envelope.verify(statement, record.public_key)
        return statement

    def record(self, statement: envelope.Statement) -> tuple[int, bool]:
        party = self.registry.keys[statement.kid].party
        identity = json.dumps([party, statement.typ]).encode() + statement.payload
        if identity in self.contents:
            return self.contents[identity], True
        self.contents[identity] = self._append("event", statement.raw)
        return self.contents[identity], False

    def checkpoint(self, size: int | None = None) -> bytes:
        size = len(self.leaves) if size is None else size
        root = base64.b64encode(merkle.root_hash(self.leaves[:size])).decode()
        return note.sign(f"{self.origin}\n{size}\n{root}\n", self.signer)

    def receipt(self, seq: int, size: int | None = None) -> bytes:
        size = len(self.leaves) if size is None else size
        path = merkle.inclusion_path(self.leaves[:size], seq)
        return b"".join(
            [
                b"c2sp.org/tlog-proof@v1\n",
                b"extra " + base64.b64encode(self.entries[seq]) + b"\n",
                b"index %d\n" % seq,
                *(base64.b64encode(sibling) + b"\n" for sibling in path),
                b"\n",
                self.checkpoint(size),
            ]
        )

    def rewind(self, size: int) -> None:
        """Yesterday's backup: everything from `size` on is forgotten."""
        del self.entries[size:], self.leaves[size:], self.statements[size:]
        self.contents = {content: seq for content, seq in self.contents.items() if seq < size}


class LedgerServer:
    """The ledger on a loopback port. Attributes may be changed while it runs; each is a misbehaviour."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.lock = threading.RLock()
        self.lines_received: list[bytes] = []  # every statement that ever arrived, in order of arrival
        self.requests: list[str] = []  # "POST /statements" and so on
        self.slow_s = 0.0
        self.busy_answers = 0  # how many POSTs are answered 503 first
        self.retry_after: str | None = "1"
        self.drops_after_commit = 0  # how many POSTs are committed and then not answered
        self.refuse: Callable[[envelope.Statement], Fault | None] = lambda _statement: None
        self.refuse_request: tuple[int, dict[str, Any]] | None = None
        self.twist_receipt: Callable[[bytes], bytes | None] = lambda receipt: receipt
        self.twist_answer: Callable[[dict[str, Any]], Any] = lambda answer: answer
        self.twist_consistency: Callable[[list[str]], list[str]] | None = lambda path: path  # None: 503
        self.may_read = True
        self.garbage: bytes | None = None  # answers everything with this as text/html
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    # Up and down ------------------------------------------------------------------------------

    def start(self) -> LedgerServer:
        server = self

        class Handler(_Handler):
            ledger_server = server

        class Http(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that was killed in the middle is what we are here for."""

        self._http = Http(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()
            self._http = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def vkey(self) -> str:
        return self.ledger.signer.vkey

    # Answers ----------------------------------------------------------------------------------

    def post(self, path: str, media_type: str, body: bytes) -> tuple[int, dict[str, Any]]:
        is_keys = path.startswith("/keys")
        if media_type not in ((JOSE,) if is_keys else (JOSE, JWS_LINES)):
            return 415, _problem(415, "http.media-type", "a body of this type is not read here")
        lines = [body] if media_type == JOSE else body.removesuffix(b"\n").split(b"\n")
        with self.lock:
            self.lines_received += lines
            if self.busy_answers:
                self.busy_answers -= 1
                raise Busy
            if self.refuse_request:
                return self.refuse_request
            results, faults = [], []
            judged: list[tuple[int, envelope.Statement]] = []
            for number, raw in enumerate(lines):
                try:
                    if is_keys:
                        seq = self.ledger.apply(raw)
                        results.append((number, seq, False, envelope.parse(raw).digest))
                        continue
                    statement = self.ledger.judge(raw)
                    if fault := self.refuse(statement):
                        raise fault
                    judged.append((number, statement))
                except Fault as e:
                    faults.append((number, e))
            if faults:
                status = 400 if any(isinstance(e, Malformed) for _n, e in faults) else 422
                listed = [
                    {"line": n, "pointer": e.pointer, "code": e.code, "detail": e.detail} for n, e in faults
                ]
                return status, {**_problem(status, "statements.refused", "some lines"), "faults": listed}
            for number, statement in judged:
                seq, duplicate = self.ledger.record(statement)
                digest = envelope.parse(self.ledger.statements[seq]).digest
                results.append((number, seq, duplicate, digest))
            return 201, self.twist_answer(self._results(results))

    def _results(self, results: list[tuple[int, int, bool, bytes]]) -> dict[str, Any]:
        listed = []
        for number, seq, duplicate, digest in results:
            one = {
                "line": number,
                "status": "duplicate" if duplicate else "appended",
                "seq": seq,
                "digest": base64url.encode(digest),
                "duplicate": duplicate,
            }
            receipt = self.twist_receipt(self.ledger.receipt(seq))
            listed.append(one if receipt is None else {**one, "receipt": receipt.decode()})
        return {"results": listed, "checkpoint": self.ledger.checkpoint().decode()}

    def get(self, path: str, query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        with self.lock:
            kind, _, rest = path.removeprefix("/").partition("/")
            if path == "/checkpoint":
                return 200, "text/plain; charset=utf-8", self.ledger.checkpoint()
            if path == "/proof/consistency" and self.twist_consistency is not None:
                old, new = int(query["old"][0]), int(query["new"][0])
                hashes = merkle.consistency_path(self.ledger.leaves[:new], old)
                shown = self.twist_consistency([base64.b64encode(item).decode() for item in hashes])
                return 200, "application/json", json.dumps({"old": old, "new": new, "path": shown}).encode()
            if path == "/proof/consistency":
                return 503, *_problem_bytes(503, "ledger.busy", "not now")
            if kind == "statements" and not self.may_read:
                return 403, *_problem_bytes(403, "statement.withheld", "not open to you")
            if kind in ("statements", "entries") and rest.isdigit() and int(rest) < len(self.ledger.entries):
                found = self.ledger.statements if kind == "statements" else self.ledger.entries
                return 200, JOSE if kind == "statements" else "application/json", found[int(rest)]
            return 404, *_problem_bytes(404, "http.path", "no resource has this path")


def _problem(status: int, code: str, detail: str) -> dict[str, Any]:
    title = "It is not accepted here"
    type_ = f"urn:tallystick:problem:{code}"
    return {"type": type_, "title": title, "status": status, "detail": detail, "code": code}


def _problem_bytes(status: int, code: str, detail: str) -> tuple[str, bytes]:
    return "application/problem+json", json.dumps(_problem(status, code, detail)).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go out apart; waiting for an ACK costs 40 ms each
    ledger_server: LedgerServer

    def log_message(self, *_args: Any) -> None:
        pass

    def _reply(self, status: int, media_type: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _misbehaves(self) -> bool:
        server = self.ledger_server
        server.requests.append(f"{self.command} {urlsplit(self.path).path}")
        if server.slow_s:
            time.sleep(server.slow_s)
        if server.garbage is not None:
            self._reply(200, "text/html", server.garbage)
        return server.garbage is not None

    def do_POST(self) -> None:
        server = self.ledger_server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._misbehaves():
            return
        try:
            status, answer = server.post(self.path, self.headers["Content-Type"], body)
        except Busy:
            retry = {} if server.retry_after is None else {"Retry_After": server.retry_after}
            self._reply(503, *_problem_bytes(503, "ledger.busy", "the ledger is busy"), **retry)
            return
        if status == 201 and server.drops_after_commit:
            server.drops_after_commit -= 1
            self.close_connection = True
            return
        media_type = "application/json" if status == 201 else "application/problem+json"
        self._reply(status, media_type, json.dumps(answer).encode())

    def do_GET(self) -> None:
        if self._misbehaves():
            return
        parts = urlsplit(self.path)
        self._reply(*self.ledger_server.get(parts.path, parse_qs(parts.query)))
