"""Step 2 of 9: the door on an event loop (ASGI). Takes statements itself, hands everything else to Flask.

A request whose body trickles in holds no thread, and not for ever: bodies are read here, within bounds of
size and time. `POST /statements` stays on the loop from its first byte to its last. What Flask answers is
answered in a pool of threads, from a body that is there, into an answer that is sent from here.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from flask import Flask

from api import problems, submission
from api.answers import Answer
from api.bounds import SMALL_SIZE_MAX, Capacity, Held, Load
from api.errors import RequestSlow
from api.headers import on_every_answer
from api.metrics import UNMATCHED, Metrics
from api.requests import content_length, torn
from api.services import Services
from intake.errors import Busy
from intake.service import Behaviour, Outcome, event_typs
from keys.errors import Fault

BODY_TIMEOUT_S = 20.0  # for a body to arrive, and for each 64 KiB of it a second more
ANSWER_TIMEOUT_S = 60.0  # for an answer to be read, likewise
RATE_MIN = 64 * 1024  # bytes a second
CHUNK_SIZE = 64 * 1024

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = Mapping[str, Any]
RawHeaders = list[tuple[bytes, bytes]]


class Flow(Protocol):
    """intake.flow.Flow."""

    async def submit(
        self, lines: list[bytes], *, behaviour: Behaviour, allowed_typs: frozenset[str]
    ) -> Outcome: ...


class Door:
    """The ASGI app of one worker.

    pool      runs Flask, and reads the ledger for receipts
    capacity  how much may be held at once; beyond it requests are answered with 503 and Retry-After
    background  what runs beside requests: capture jobs
    sockets     takes WebSockets; without it they are not spoken
    """

    def __init__(
        self,
        services: Services,
        flow: Flow,
        flask: Flask,
        meters: Metrics,
        pool: Executor,
        *,
        capacity: Capacity | None = None,
        body_timeout_s: float = BODY_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        background: Callable[[], Coroutine[Any, Any, None]] | None = None,
        sockets: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None,
    ) -> None:
        self._sockets = sockets
        self._background = background
        self._services = services
        self._flow = flow
        self._flask = flask
        self._meters = meters
        self._pool = pool
        self.load = Load(capacity or Capacity())
        self._body_timeout_s = body_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._event_typs = event_typs()
        self._defaults = on_every_answer(services.base_url)
        self._default_headers = _encoded(self._defaults.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        if scope["type"] == "websocket" and self._sockets is not None:
            await self._sockets(scope, receive, send)
        if scope["type"] != "http":
            return
        if scope["path"] == submission.PATH and scope["method"] == "POST":
            await self._take_statements(scope, receive, send)
        else:
            await self._through_flask(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Run what runs beside requests, from the server's start to its end (ASGI, lifespan)."""
        task: asyncio.Task[None] | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self._background is not None:
                    task = asyncio.get_running_loop().create_task(self._background())
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                await send({"type": "lifespan.shutdown.complete"})
                return

    # POST /statements -----------------------------------------------------------------------------

    async def _take_statements(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        with self.load.hold() as held:
            try:
                answer = await self._statements_answer(scope, receive, held)
            except Fault as fault:
                answer = problems.answer(fault)
            except Exception as error:
                answer = problems.answer(problems.incident(error))
            held.release_statements()
            self._meters.count_request(submission.PATH, "POST", answer.status, time.perf_counter() - started)
            await self._send(send, answer.status, self._headers_of(answer), answer.body, held)

    async def _statements_answer(self, scope: Scope, receive: Receive, held: Held) -> Answer:
        head = submission.read_head(
            scope["query_string"].decode("latin-1"), _header(scope["headers"]), self._services
        )
        if head.receipts:
            held.require_room_for_answers()
        body = await self._read_body(receive, head.length, held)
        submission.require_signed(body, self._services, submission.PATH)
        lines = head.lines(body)
        held.add_statements(len(lines))
        outcome = await self._flow.submit(lines, behaviour=head.behaviour, allowed_typs=self._event_typs)
        self._meters.count_statements(outcome.results)
        submission.require_accepted(outcome, head.behaviour)
        receipts: dict[int, bytes] = {}
        if head.receipts:
            receipts = await self._in_pool(lambda: submission.read_receipts(self._services, outcome))
        return submission.answer(outcome, receipts)

    def _headers_of(self, answer: Answer) -> RawHeaders:
        own = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        if not answer.headers:
            return own + self._default_headers
        own += _encoded(answer.headers.items())
        return own + _encoded((n, v) for n, v in self._defaults.items() if n not in answer.headers)

    # Everything else ------------------------------------------------------------------------------

    async def _through_flask(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.load.hold() as held:
            try:
                environ = _environ(scope, await self._body_for_flask(scope, receive, held))
                status, headers, content = await self._in_pool(lambda: _call(self._flask, environ))
                if len(content) > SMALL_SIZE_MAX:
                    held.require_room_for_answers()
            except Exception as error:
                fault = error if isinstance(error, Fault) else problems.incident(error)
                answer = problems.answer(fault)
                status, headers, content = answer.status, self._headers_of(answer), answer.body
                self._meters.count_request(UNMATCHED, scope["method"], status, 0.0)
            await self._send(send, status, headers, content, held)

    async def _body_for_flask(self, scope: Scope, receive: Receive, held: Held) -> bytes:
        """The body, if it is one that Flask may read. Whoever announces too much is refused unread."""
        length = content_length(_header(scope["headers"]))
        if not length or length > self._services.limits.request_size_max:
            return b""
        return await self._read_body(receive, length, held)

    async def _in_pool(self, work: Callable[[], Any]) -> Any:
        if self.load.pooled >= self.load.capacity.pooled_max:
            raise Busy("http.busy", "too many requests wait here already; ask again in a moment")
        self.load.pooled += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.load.pooled -= 1

    # Bodies in and out ----------------------------------------------------------------------------

    async def _read_body(self, receive: Receive, length: int, held: Held) -> bytes:
        """Exactly length bytes. Raises RequestMalformed if they are fewer, RequestSlow if they are late."""
        try:
            async with asyncio.timeout(self._body_timeout_s + length / RATE_MIN):
                chunks: list[bytes] = []
                received = 0
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise torn("fewer", length)
                    chunk = message.get("body", b"")
                    received += len(chunk)
                    held.add_bytes(len(chunk))
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        break
        except TimeoutError as error:
            raise RequestSlow(
                "http.body.slow", f"{received} of {length} bytes came in time: nothing of them was used"
            ) from error
        if received != length:
            raise torn(str(received), length)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _send(self, send: Send, status: int, headers: RawHeaders, body: bytes, held: Held) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if len(body) <= SMALL_SIZE_MAX:
            await send({"type": "http.response.body", "body": body})
            return
        held.add_answer(len(body))
        view = memoryview(body)
        try:
            async with asyncio.timeout(self._answer_timeout_s + len(body) / RATE_MIN):
                for at in range(0, len(body), CHUNK_SIZE):
                    chunk = bytes(view[at : at + CHUNK_SIZE])
                    await send(
                        {
                            "type": "http.response.body",
                            "body": chunk,
                            "more_body": at + CHUNK_SIZE < len(body),
                        }
                    )
        except (TimeoutError, RuntimeError):
            return  # who does not read, or has gone, gets half an answer and the end of the connection


def _header(headers: RawHeaders) -> submission.Header:
    """Reads a header by its name; one that is given twice reads as both, with a comma between them."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = found[name] + b", " + value if name in found else value

    def get(name: str) -> str | None:
        value = found.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")

    return get


def _encoded(headers: Iterable[tuple[str, str]]) -> RawHeaders:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """A request as Flask's side of it (PEP 3333) expects it."""
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": str(client[0]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),  # what Flask has to say goes to the log, not here
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        if b"_" in name:
            continue  # PEP 3333 has one name for it and for the one with hyphens
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]}, {text}" if key in environ else text
    return environ


def _call(app: Flask, environ: dict[str, Any]) -> tuple[int, RawHeaders, bytes]:
    """One request through Flask, whole."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        started[:] = [(status, headers)]

    parts = app(environ, start_response)
    try:
        body = b"".join(parts)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    ((status, headers),) = started
    return int(status.partition(" ")[0]), _encoded(headers), body
