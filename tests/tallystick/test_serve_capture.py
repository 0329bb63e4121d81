"""A capture job outlives its server: killed between 202 and execution, the next server runs it."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from bench import load
from bench.server import ORIGIN, Server

LINES = load.emitters(1, 4)
EVENTS = load.statements(LINES, 40, ORIGIN, 4)
LATE = load.statements(LINES, 1, ORIGIN, 5)


def post(server: Server, body: bytes) -> str:
    request = urllib.request.Request(
        server.url + "/capture",
        body,
        {"Content-Type": "application/vnd.tallystick.jws-lines", "GS1-Capture-Error-Behaviour": "proceed"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 202
        return str(answer.headers["Location"])


def one_event(server: Server, line: bytes) -> int:
    while True:
        request = urllib.request.Request(server.url + "/events", line, {"Content-Type": "application/jose"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            if error.code != 503:  # the projector has not begun yet
                return error.code
            time.sleep(0.2)


def job(server: Server, place: str) -> dict[str, object]:
    with urllib.request.urlopen(server.url + place, timeout=20) as answer:
        return dict(json.load(answer))


def finished(server: Server, place: str, within_s: float = 40) -> dict[str, object]:
    deadline = time.monotonic() + within_s
    while (shown := job(server, place))["running"]:
        assert time.monotonic() < deadline, shown
        time.sleep(0.05)
    return shown


@pytest.mark.server
def test_a_job_goes_on_after_its_server_was_killed(tmp_path: Path) -> None:
    server = Server(tmp_path / "ledger", workers=2, threads=2)
    try:
        server.start()
        server.register(LINES)
        assert finished(server, post(server, b"\n".join(EVENTS[:10])))["success"] is True
        # One event at a time: the other parties' way to be told what is there already.
        assert [one_event(server, line) for line in (EVENTS[0], LATE[0], LATE[0])] == [409, 201, 409]
        # With the sequencer stopped nothing can be executed: the kill comes after 202 and before that.
        (sequencer,) = [
            pid
            for pid in server.children()
            if b"tallystick.sequencer_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(sequencer, signal.SIGSTOP)
        place = post(server, b"\n".join([*EVENTS[10:], b"a.b.c"]))
        server.kill_group()
        server.spawn()
        server.wait_until_ready()
        shown = finished(server, place)
        assert shown["success"] is False
        assert [error["line"] for error in shown["errors"]] == [30]  # type: ignore[index, attr-defined]
        with urllib.request.urlopen(server.url + place + "/results", timeout=20) as answer:
            results = json.load(answer)["results"]
        assert [one["status"] in ("appended", "duplicate") for one in results] == [True] * 30 + [False]
        assert len({one["seq"] for one in results[:30]}) == 30
    finally:
        server.stop()
