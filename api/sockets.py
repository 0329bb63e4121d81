"""Step 2 of 9: standing queries over WebSockets: GET /queries/{name}/events?stream=true, or ?hour=6.

Each message is an EPCISQueryDocument. What is wrong with the request is answered before the upgrade, as a
problem detail; what goes wrong later is a message, and the end of the connection. A receiver who does not
read is let go of: it comes back with the recordTime of the last event that it saw as initialRecordTime.

    1000  the receiver's own wish        1001  the query was deleted, or four hours are over
    1003  nothing is read here           1011  this query cannot be answered       1013  no index; try again
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import orjson

from api import problems
from api.epcis_headers import negotiate
from api.errors import NothingHere
from api.event_queries import EventQueries, query_document, shown
from api.subscribing import MIN_RECORD_TIME
from intake.errors import Busy
from keys.errors import Fault
from ledger.errors import StoreFailed
from projection.engine import Found
from projection.kept import KeptQuery
from subscriptions.controls import Controls, parse_arguments, verify_subscribable
from subscriptions.follow import ORDINAL_MAX, Follower, Place, Watch
from subscriptions.store import BATCH_EVENTS_MAX, rfc3339
from traceability.errors import NoSuchQuery
from traceability.queries.model import Query
from traceability.queries.parameters import parse_json

SOCKETS_MAX = 64  # of one worker
THREADS = 2  # that search for all of them
SEND_TIMEOUT_S = 20.0  # for a message to be read by the other side, or by the buffers between
LIFETIME_S = 4 * 3600.0  # a peer that vanished without a word is not kept for ever
TICK_S = 0.1  # between two looks whether more is covered
QUERY_CHECK_S = 2.0  # between two looks whether the query is still kept
BUILDING_MAX_S = 60.0  # without an index
MESSAGE_SIZE_MAX = 1024 * 1024  # bytes of one message of more than one event
GOING_AWAY, NOT_TAKEN, FAILED, TRY_AGAIN = 1001, 1003, 1011, 1013
_PATH = re.compile(r"/queries/([^/]+)/events")

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = Mapping[str, Any]
Result = TypeVar("Result")

logger = logging.getLogger("tallystick.sockets")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request for a socket asks for."""

    kept: KeptQuery
    query: Query
    controls: Controls
    epc_format: str


class _Over(Exception):
    """The connection ends, with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Sockets:
    """All WebSockets of one worker. may_read: whether anybody may see payloads of a typ."""

    def __init__(
        self,
        queries: EventQueries,
        may_read: Callable[[str], bool],
        clock: Callable[[], datetime],
        *,
        sockets_max: int = SOCKETS_MAX,
        send_timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        self._queries = queries
        self._may_read = may_read
        self._clock = clock
        self._sockets_max = sockets_max
        self._send_timeout_s = send_timeout_s
        self._pool = ThreadPoolExecutor(THREADS, "sockets")
        self._watch = Watch(queries.engine)
        self._watching: asyncio.Task[None] | None = None
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        try:
            if self.open >= self._sockets_max:
                raise Busy("http.busy", f"{self._sockets_max} WebSockets are open here already")
            self.open += 1
        except Fault as fault:
            await _deny(send, fault)
            return
        try:
            asked = await self._in_pool(lambda: self._read(scope))
        except Exception as error:
            self.open -= 1
            await _deny(send, error if isinstance(error, Fault) else problems.incident(error))
            return
        try:
            await self._serve(asked, receive, send)
        finally:
            self.open -= 1

    def _read(self, scope: Scope) -> _Asked:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        match = _PATH.fullmatch(scope["path"])
        if match is None:
            raise NothingHere("http.path", "no WebSocket has this path; /queries/{name}/events has")
        epc_format = negotiate(lambda name: headers.get(name.lower()))
        kept = self._queries.kept.read(match[1])
        query = parse_json(kept.query)
        verify_subscribable(query)
        controls = parse_arguments(scope["query_string"].decode("latin-1"), self._clock())
        return _Asked(kept, query, controls, epc_format)

    # One connection -------------------------------------------------------------------------------

    async def _serve(self, asked: _Asked, receive: Receive, send: Send) -> None:
        since = rfc3339(asked.controls.initial_record_time).encode()
        try:
            await send({"type": "websocket.accept", "headers": [(MIN_RECORD_TIME.lower().encode(), since)]})
        except (RuntimeError, OSError):
            return  # it has gone already
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._look_for_more())
        tasks = [
            asyncio.create_task(self._report(asked, send)),
            asyncio.create_task(_listen(receive)),
            asyncio.create_task(self._check_query(asked.kept)),
        ]
        try:
            async with asyncio.timeout(LIFETIME_S):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            over = next(task.exception() for task in tasks if task.done())
        except TimeoutError:
            over = _Over(GOING_AWAY, "four hours are over; connect again")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if over is None:
            return
        with contextlib.suppress(TimeoutError, RuntimeError, OSError):
            async with asyncio.timeout(self._send_timeout_s):
                if not isinstance(over, _Over):
                    fault = over if isinstance(over, Fault) else problems.incident(over)
                    body = orjson.dumps(problems.body_of(fault)).decode()
                    await send({"type": "websocket.send", "text": body})
                    over = _Over(FAILED, "this query cannot be answered")
                await send({"type": "websocket.close", "code": over.code, "reason": over.reason})

    async def _report(self, asked: _Asked, send: Send) -> None:
        """Send what answers, until it cannot be sent. Raises _Over."""
        since = asked.controls.initial_record_time
        follower = Follower(self._queries.engine, asked.query, since, self._may_read)
        schedule, moment = asked.controls.schedule, self._clock()
        place = Place()
        while True:
            bound: int | None = None
            if schedule is not None:
                moment = await self._next_run(asked.controls, moment)
                bound = max(await self._patiently(follower.covered), place.seq + 1)
            elif place.ordinal == ORDINAL_MAX:
                await self._watch.beyond(place.seq + 1)
            reported, done = 0, False
            while not done:
                batch = await self._patiently(partial(follower.next, place, BATCH_EVENTS_MAX, bound))
                for events in _parts(batch.events):
                    await self._send(send, asked, events)
                    reported += len(events)
                place, done = batch.end, batch.done
            if asked.controls.report_if_empty and not reported:
                await self._send(send, asked, ())

    async def _next_run(self, controls: Controls, last: datetime) -> datetime:
        assert controls.schedule is not None
        at = controls.schedule.next_after(max(last, self._clock()))
        if at is None:
            raise _Over(GOING_AWAY, "this schedule never comes again")
        # Looked at again and again: the clock may be set meanwhile.
        while (left := (at - self._clock()).total_seconds()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left, 30.0))
        return at

    async def _patiently(self, work: Callable[[], Result]) -> Result:
        """Do it, and wait a while for an index that is being made. Raises _Over."""
        for _ in range(int(BUILDING_MAX_S)):
            try:
                return await self._in_pool(work)
            except StoreFailed:
                await asyncio.sleep(1.0)
        raise _Over(TRY_AGAIN, "the index of events is being made")

    async def _send(self, send: Send, asked: _Asked, events: Sequence[Found]) -> None:
        name, now = asked.kept.name, self._clock()

        def render() -> str:
            document = query_document([shown(one, asked.epc_format) for one in events], name, now)
            return orjson.dumps(document).decode()

        text = await self._in_pool(render)
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await send({"type": "websocket.send", "text": text})
        except TimeoutError:
            raise _Over(TRY_AGAIN, "messages are not read") from None
        except (RuntimeError, OSError):
            raise _Over(GOING_AWAY, "the connection is gone") from None

    async def _check_query(self, kept: KeptQuery) -> None:
        while True:
            await asyncio.sleep(QUERY_CHECK_S)
            try:
                now = await self._in_pool(lambda: self._queries.kept.read(kept.name))
            except NoSuchQuery:
                raise _Over(GOING_AWAY, "the query was deleted") from None
            except StoreFailed:
                continue
            if now.created_at != kept.created_at:
                raise _Over(GOING_AWAY, "the query was deleted")

    async def _look_for_more(self) -> None:
        while self.open:
            self._watch.note(await self._in_pool(self._watch.look))
            await asyncio.sleep(TICK_S)

    async def _in_pool(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


async def _listen(receive: Receive) -> None:
    """Wait for the other side to go. Pings are answered below us; nothing else is expected. Raises _Over."""
    message = await receive()
    if message["type"] != "websocket.disconnect":
        raise _Over(NOT_TAKEN, "nothing is read here")


def _parts(events: tuple[Found, ...]) -> list[tuple[Found, ...]]:
    """The events in parts of a bounded size, as far as single ones allow it."""
    parts: list[tuple[Found, ...]] = []
    begun: list[Found] = []
    size = 0
    for one in events:
        length = len(orjson.dumps(one.event))
        if begun and size + length > MESSAGE_SIZE_MAX:
            parts.append(tuple(begun))
            begun, size = [], 0
        begun.append(one)
        size += length
    return [*parts, tuple(begun)] if begun else parts


async def _deny(send: Send, fault: Fault) -> None:
    """Answer the request as if it were none for a WebSocket (ASGI's extension `websocket.http.response`)."""
    answer = problems.answer(fault)
    headers = [("content-type", answer.content_type), *answer.headers.items()]
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
    with contextlib.suppress(RuntimeError, OSError):
        await send({"type": "websocket.http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "websocket.http.response.body", "body": answer.body})
