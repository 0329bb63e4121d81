"""Receivers of subscriptions on loopback, which answer as a test tells them to, and a log with its runner."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tt_epcis import object_event
from tt_projection import START, Asked, PaperLog, anyone

from api.subscribing import Documents
from projection.kept import open_kept
from subscriptions.controls import parse_body
from subscriptions.pace import Pace
from subscriptions.runner import Runner
from subscriptions.store import Subscription, Subscriptions
from subscriptions.targets import TargetRules
from subscriptions.webhook import Sender, Timeouts
from traceability.queries.parameters import parse_json

LOOPBACK = TargetRules.of(["127.0.0.0/8"])
KEY = b"s" * 32
HANG = -1
# Failures are tried again at once: a test of five of them must not take a minute.
QUICK = Pace(tick_s=0.01, refresh_s=0.02, backoff_s=0.02, backoff_max_s=0.1)


@dataclass
class Received:
    """One request."""

    at: float
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The eventIDs in it."""
        results = self.document["epcisBody"]["queryResults"]["resultsBody"]
        return [event["eventID"] for event in results["eventList"]]


@dataclass
class Receiver:
    """An HTTP server. script: the statuses of its answers, one after the other; then 200."""

    script: list[int] = field(default_factory=list)
    limit: int | None = None  # events in one report that it takes; for more it answers 413
    pause_s: float = 0.0
    location: str = ""
    requests: list[Received] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver = self
        self._guard = threading.Condition()
        self._leave = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.note(dict(self.headers), body, self.path)
                if status == HANG:
                    receiver._leave.wait(20)
                    return
                receiver._leave.wait(receiver.pause_s)
                self.send_response(status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Whoever goes in the middle is no error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def note(self, headers: dict[str, str], body: bytes, path: str) -> int:
        with self._guard:
            status = self.script.pop(0) if self.script else 200
            one = Received(time.monotonic(), headers, body, status)
            if self.limit is not None and len(one.events) > self.limit:
                one.status = 413
            self.requests.append(one)
            self.paths.append(path)
            self._guard.notify_all()
            return one.status

    def wait_for(self, enough: Callable[[], bool], timeout_s: float = 10.0) -> None:
        with self._guard:
            assert self._guard.wait_for(enough, timeout_s), [(r.status, len(r.body)) for r in self.requests]

    def wait(self, count: int) -> list[Received]:
        """So many requests, once there are as many."""
        self.wait_for(lambda: len(self.requests) >= count)
        return self.requests[:count]

    @property
    def taken(self) -> list[str]:
        """eventIDs of all reports that were answered with 200, in order."""
        return [name for one in self.requests if one.status == 200 for name in one.events]

    def close(self) -> None:
        self._leave.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def numbered(number: int, **fields: Any) -> dict[str, Any]:
    """An event that is known by its eventID."""
    return object_event(
        f"urn:epc:id:sgtin:9521141.012345.{number}", eventID=f"urn:test:event:{number}", **fields
    )


def names(numbers: Iterable[int]) -> list[str]:
    return [f"urn:test:event:{number}" for number in numbers]


class Pushing:
    """A log, its index, a kept query `all`, and a runner that can be stopped and started."""

    def __init__(self, folder: Path, *, rules: TargetRules = LOOPBACK, pace: Pace = QUICK) -> None:
        self.asked = Asked(folder, PaperLog())
        self.projector = self.asked.projector()
        self.append(0)  # there is an index from now on
        self.kept = open_kept(self.asked.database)
        self.subscriptions = Subscriptions(self.kept, KEY)
        self.rules = rules
        self.pace = pace
        self.timeouts = Timeouts(0.5, 0.5, 0.7)
        self.names: dict[str, list[str]] = {}
        self.may_read = anyone
        self._receivers: list[Receiver] = []
        self._thread: threading.Thread | None = None
        self.keep("all", {})

    def keep(self, name: str, query: dict[str, Any]) -> None:
        self.kept.create(name, query, START)

    def append(self, *numbers: int, **fields: Any) -> None:
        for number in numbers:
            self.asked.log.append(numbered(number, **fields))
        self.projector.catch_up()

    def receiver(self, *script: int, **options: Any) -> Receiver:
        made = Receiver(list(script), **options)
        self._receivers.append(made)
        return made

    def subscribe(self, dest: str, query: str = "all", **members: Any) -> Subscription:
        """A stream of everything, unless members say otherwise."""
        if "schedule" not in members:
            members.setdefault("stream", True)
        # What is in the log already, but for the first event, is reported too.
        members.setdefault("initialRecordTime", "2026-11-20T12:00:01Z")
        now = datetime.now(UTC)
        webhook = parse_body({"dest": dest, **members}, now, self.rules)
        return self.subscriptions.create(query, webhook, "Never_Translates", now)

    def look(self, subscription: Subscription) -> Subscription:
        return self.subscriptions.read(subscription.query, subscription.id)

    def wait_until(self, subscription: Subscription, holds: Callable[[Any], bool]) -> Any:
        """Wait until this holds for the progress as it is kept."""
        deadline = time.monotonic() + 10
        while not holds(self.look(subscription).progress):
            assert time.monotonic() < deadline, self.look(subscription).progress
            time.sleep(0.01)
        return self.look(subscription).progress

    async def _resolve(self, host: str, port: int) -> list[str]:
        if host == "slow.example":
            await asyncio.sleep(30)
        return self.names.get(host, [])

    def start(self) -> None:
        engine = self.asked.engine()
        started = threading.Event()

        async def work() -> None:
            self._stop = asyncio.Event()
            self._loop = asyncio.get_running_loop()
            runner = Runner(
                self.subscriptions,
                engine,
                lambda name: parse_json(self.kept.read(name).query),
                lambda typ: self.may_read(typ),
                Documents(),
                Sender(self.rules, self._resolve, self.timeouts),
                lambda: datetime.now(UTC),
                self.pace,
            )
            started.set()
            await runner.run(self._stop)

        self._thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
        self._thread.start()
        started.wait(5)

    def stop(self) -> None:
        """End it in the middle of whatever it does."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)
            assert not self._thread.is_alive()
            self._thread = None

    def close(self) -> None:
        self.stop()
        for one in self._receivers:
            one.close()
        self.kept.close()
        self.asked.close()
