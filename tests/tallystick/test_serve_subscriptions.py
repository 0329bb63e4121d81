"""A served ledger pushes what it records: by webhook, also through kill -9, and over WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from tt_receivers import Receiver

from bench import load
from bench.server import ORIGIN, Server
from projection.kept import open_kept
from subscriptions.store import Subscriptions
from tallystick import page_key

LINES = load.emitters(1, 3)
EVENTS = load.statements(LINES, 40, ORIGIN, 3)
JWS_LINES = "application/vnd.tallystick.jws-lines"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("served") / "ledger", workers=1, threads=2)
    with (made.folder / "tallystick.toml").open("a") as settings:
        settings.write('\n[subscriptions]\nallow_private = ["127.0.0.0/8"]\n')
    made.start()
    made.register(LINES)
    ask(made, "POST", "/queries", {"name": "all", "query": {}})
    ask(made, "POST", "/queries", {"name": "short", "query": {}})
    yield made
    made.stop()


def ask(server: Server, method: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        server.url + path, data=data, headers={"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def post(server: Server, numbers: range) -> None:
    server.post("/statements", b"\n".join(EVENTS[number] for number in numbers), JWS_LINES)


def projectors(server: Server) -> list[int]:
    return [
        pid
        for pid in server.children()
        if b"tallystick.projector_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@pytest.mark.server
def test_a_webhook_hears_of_every_event_through_kill_9(server: Server) -> None:
    receiver = Receiver()
    try:
        made = ask(
            server,
            "POST",
            "/queries/all/subscriptions",
            {"dest": receiver.url, "stream": True, "signatureToken": "13df38d8275b13f0"},
        )
        post(server, range(5))
        receiver.wait_for(lambda: len(receiver.taken) == 5, 20)
        started = time.monotonic()
        post(server, range(5, 6))
        receiver.wait_for(lambda: len(receiver.taken) == 6)
        assert receiver.requests[-1].at - started < 10.0
        # Cut it off in the middle of a report that nobody answers.
        receiver.script.append(-1)
        post(server, range(6, 10))
        receiver.wait_for(lambda: receiver.requests[-1].status == -1)
        cut_off = receiver.requests[-1]
        (pid,) = projectors(server)
        os.kill(pid, signal.SIGKILL)
        post(server, range(10, 12))
        receiver.wait_for(lambda: len(receiver.taken) == 12, 20)
        again = next(one for one in receiver.requests if one is not cut_off and one.body == cut_off.body)
        assert again.headers["Tallystick-Delivery"] == cut_off.headers["Tallystick-Delivery"]
        assert len(set(receiver.taken)) == 12
        assert all("GS1-Signature" in one.headers for one in receiver.requests)
        path = f"/queries/all/subscriptions/{made['subscriptionID']}"
        deadline = time.monotonic() + 10
        while ask(server, "GET", path)["state"] != "active" or not ask(server, "GET", path).get(
            "lastNotifiedAt"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ask(server, "GET", path)["minRecordTime"] > made["minRecordTime"]
        ask(server, "DELETE", path)
        kept = open_kept(server.folder / "ledger.db")
        key = page_key.load_or_make(server.folder, page_key.SUBSCRIPTIONS)
        assert Subscriptions(kept, key).ids() == set()
        kept.close()
    finally:
        receiver.close()


async def refused(address: str) -> tuple[int, dict[str, Any]]:
    try:
        async with websockets.connect(address):
            raise AssertionError("it was taken")
    except websockets.InvalidStatus as error:
        return error.response.status_code, json.loads(error.response.body or b"{}")


@pytest.mark.server
def test_a_websocket_hears_of_every_event(server: Server) -> None:
    address = server.url.replace("http", "ws", 1)

    async def events(socket: Any, count: int) -> list[str]:
        found: list[str] = []
        while len(found) < count:
            document = json.loads(await asyncio.wait_for(socket.recv(), 10))
            assert document["type"] == "EPCISQueryDocument"
            found += [
                event["eventID"]
                for event in document["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
            ]
        return found

    async def closing(socket: Any) -> int:
        """The code with which the server ends it."""
        async with asyncio.timeout(10):
            with contextlib.suppress(websockets.ConnectionClosed):
                async for _ in socket:
                    pass
            await socket.wait_closed()
        return socket.close_code

    async def talk() -> None:
        loop = asyncio.get_running_loop()
        short = f"{address}/queries/short/events"
        stream = f"{short}?stream=true"
        async with (
            websockets.connect(stream) as one,
            websockets.connect(
                f"{address}/queries/short/events?second=[0-59]&reportIfEmpty=true"
            ) as scheduled,
            websockets.connect(f"{stream}&initialRecordTime=2020-01-01T00:00:00Z") as early,
        ):
            await asyncio.wait_for(await one.ping(), 5)
            await loop.run_in_executor(None, post, server, range(20, 30))
            started = time.monotonic()
            heard = await events(one, 10)
            assert time.monotonic() - started < 10.0
            assert len(set(heard)) == 10
            assert await events(scheduled, 10) == heard
            assert (await events(early, 10))[-1] is not None
            await loop.run_in_executor(None, post, server, range(30, 31))
            assert not set(await events(one, 1)) & set(heard)
            # What is said to the server ends the connection; so does the end of the query.
            await early.send("hello")
            assert await closing(early) == 1003
            await loop.run_in_executor(None, ask, server, "DELETE", "/queries/short")
            for socket in (one, scheduled):
                assert await closing(socket) == 1001
        for path, status, kind in (
            ("/queries/short/events?stream=true", 404, "NoSuchNameException"),
            ("/queries/all/events", 400, "SubscriptionControlsException"),
            ("/queries/all/events?stream=true&hour=1", 400, "SubscriptionControlsException"),
            ("/queries/all/events?second=0/30", 400, "SubscriptionControlsException"),
            ("/queries/all/events?stream=true&perPage=1", 400, "SubscriptionControlsException"),
        ):
            found, problem = await refused(address + path)
            assert (found, problem["type"]) == (status, f"epcisException:{kind}")
        assert (await refused(f"{address}/statements"))[0] == 404

    asyncio.run(talk())


@pytest.mark.server
def test_loopback_is_refused_where_it_is_not_opened(server: Server) -> None:
    for dest in (
        "http://10.0.0.1/",
        "https://169.254.169.254/",
        "https://[::1]/",
        "http://[::ffff:127.0.0.1]/",
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, "POST", "/queries/all/subscriptions", {"dest": dest, "stream": True})
        assert caught.value.code == 400
        caught.value.close()
