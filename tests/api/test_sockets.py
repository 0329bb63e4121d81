"""A WebSocket is told everything in order, at the pace at which it reads, and let go of when it does not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tt_receivers import Pushing, names

from api import sockets as sockets_module
from api.event_queries import EventQueries
from api.sockets import Sockets
from projection.resources import Resources
from subscriptions.follow import Follower
from traceability.errors import QueryTooComplex


@pytest.fixture
def pushing(tmp_path: Path) -> Iterator[Pushing]:
    made = Pushing(tmp_path)
    yield made
    made.close()


def sockets(pushing: Pushing, **options: Any) -> Sockets:
    engine = pushing.asked.engine()
    queries = EventQueries(engine, Resources(engine), pushing.kept)
    return Sockets(queries, lambda typ: pushing.may_read(typ), lambda: datetime.now(UTC), **options)


class Peer:
    """The other side of one connection, as the HTTP server shows it to an ASGI app."""

    def __init__(self, app: Sockets, query: str = "stream=true", name: str = "all", **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.read_s = 0.0
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": f"/queries/{name}/events",
            "query_string": query.encode(),
            "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()],
        }
        self.task = asyncio.create_task(app(scope, self._inbox.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        await asyncio.sleep(self.read_s)
        self.sent.append(message)

    def say(self, message: dict[str, Any]) -> None:
        self._inbox.put_nowait(message)

    @property
    def events(self) -> list[str]:
        return [
            event["eventID"]
            for message in self.sent
            if message["type"] == "websocket.send"
            for event in json.loads(message["text"])["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
        ]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def leave(self) -> None:
        self.say({"type": "websocket.disconnect"})
        async with asyncio.timeout(5):
            await self.task


EARLY = "stream=true&initialRecordTime=2026-11-20T12:00:01Z"


def test_a_thousand_events_reach_a_slow_reader_in_order(pushing: Pushing) -> None:
    async def talk() -> None:
        app = sockets(pushing)
        peer = Peer(app, EARLY)
        peer.read_s = 0.02
        pushing.append(*range(1, 501))
        await peer.until(lambda: len(peer.events) >= 1)
        pushing.append(*range(501, 1001))
        await peer.until(lambda: len(peer.events) >= 1000)
        assert peer.events == names(range(1, 1001))
        assert peer.sent[0]["type"] == "websocket.accept"
        await peer.leave()
        assert app.open == 0

    asyncio.run(talk())


def test_one_that_does_not_read_is_let_go_of_and_holds_nobody_up(pushing: Pushing) -> None:
    async def talk() -> None:
        app = sockets(pushing, send_timeout_s=0.3)
        stuck, reading = Peer(app, EARLY), Peer(app, EARLY)
        await stuck.until(lambda: len(stuck.sent) == 1 and len(reading.sent) == 1)
        stuck.read_s = 60.0
        started = time.monotonic()
        pushing.append(1)
        await reading.until(lambda: reading.events == names([1]))
        assert time.monotonic() - started < 5.0
        async with asyncio.timeout(3):
            await stuck.task  # neither its message nor its farewell was read
        assert stuck.events == []
        assert app.open == 1
        await reading.leave()

    asyncio.run(talk())


def test_there_are_so_many_and_no_more(pushing: Pushing) -> None:
    async def talk() -> None:
        app = sockets(pushing, sockets_max=1)
        first = Peer(app)
        await first.until(lambda: bool(first.sent))
        second = Peer(app)
        async with asyncio.timeout(10):
            await second.task
        assert second.sent[0]["type"] == "websocket.http.response.start"
        assert second.sent[0]["status"] == 503
        assert (b"retry-after", b"1") in second.sent[0]["headers"]
        await first.leave()
        third = Peer(app)
        await third.until(lambda: bool(third.sent))
        assert third.sent[0]["type"] == "websocket.accept"
        assert dict(third.sent[0]["headers"])[b"gs1-query-min-record-time"].startswith(b"20")
        await third.leave()

    asyncio.run(talk())


def test_what_is_wrong_is_answered_before_the_upgrade(pushing: Pushing) -> None:
    pushing.keep("last", {"maxEventCount": 1})

    async def talk() -> None:
        app = sockets(pushing)
        for query, name, status, headers in (
            ("stream=true", "nobody", 404, {}),
            ("stream=true", "last", 400, {}),
            ("stream=true", "..%2fall", 404, {}),
            ("", "all", 400, {}),
            ("stream=true&second=1", "all", 400, {}),
            ("second=0/30", "all", 400, {}),
            ("stream=true", "all", 406, {"gs1_epcis_min": "2.1"}),
            ("stream=true", "all", 406, {"gs1_epcis_max": "1.2"}),
        ):
            peer = Peer(app, query, name, **headers)
            async with asyncio.timeout(10):
                await peer.task
            assert [one["type"] for one in peer.sent] == [
                "websocket.http.response.start",
                "websocket.http.response.body",
            ]
            assert peer.sent[0]["status"] == status
            assert json.loads(peer.sent[1]["body"])["type"].startswith("epcisException:")
        assert app.open == 0

    asyncio.run(talk())


def test_each_end_has_its_code(pushing: Pushing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_module, "QUERY_CHECK_S", 0.05)
    pushing.keep("short", {})

    async def code(peer: Peer) -> int:
        async with asyncio.timeout(5):
            await peer.task
        assert peer.sent[-1]["type"] == "websocket.close"
        return peer.sent[-1]["code"]

    async def talk() -> None:
        app = sockets(pushing)
        deleted, remade, speaking, broken = (Peer(app, name=n) for n in ("short", "short", "all", "all"))
        await deleted.until(lambda: all(one.sent for one in (deleted, remade, speaking, broken)))
        pushing.kept.delete("short")
        assert await code(deleted) == 1001
        assert await code(remade) == 1001
        speaking.say({"type": "websocket.receive", "text": "x" * 100_000})
        assert await code(speaking) == 1003

        def too_much(self: Follower, *rest: object) -> None:
            raise QueryTooComplex("query.complex", "too much to read")

        monkeypatch.setattr(Follower, "next", too_much)
        pushing.append(1)
        assert await code(broken) == 1011
        assert json.loads(broken.sent[-2]["text"])["type"] == "epcisException:QueryTooComplexException"
        assert app.open == 0

    asyncio.run(talk())


def test_what_may_not_be_read_is_not_told(pushing: Pushing) -> None:
    pushing.may_read = lambda typ: False

    async def talk() -> None:
        app = sockets(pushing)
        peer = Peer(app, EARLY)
        pushing.append(1)
        await asyncio.sleep(0.3)
        assert [one["type"] for one in peer.sent] == ["websocket.accept"]
        await peer.leave()

    asyncio.run(talk())
