"""A served ledger answers queries: its projector follows, comes back when killed, ends with the server."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import load
from bench.server import ORIGIN, Server
from keys.errors import Malformed
from tallystick import page_key

LINES = load.emitters(1, 3)
EVENTS = load.statements(LINES, 12, ORIGIN, 3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "ledger", workers=1, threads=2)
    yield made
    made.stop()


def events(server: Server) -> list[dict[str, object]]:
    try:
        with urllib.request.urlopen(server.url + "/events?perPage=100", timeout=5) as answer:
            return json.load(answer)["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return []


def wait_for(server: Server, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(events(server)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def projectors(server: Server) -> list[int]:
    """Process ids of this server's projectors."""
    return [
        pid
        for pid in server.children()
        if b"tallystick.projector_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@pytest.mark.server
def test_events_can_be_asked_for_soon_after_they_came_in(server: Server) -> None:
    server.start()
    server.register(LINES)
    server.post("/statements", b"\n".join(EVENTS[:6]), "application/vnd.tallystick.jws-lines")
    wait_for(server, 6)
    (pid,) = projectors(server)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    os.kill(pid, signal.SIGKILL)
    server.post("/statements", b"\n".join(EVENTS[6:]), "application/vnd.tallystick.jws-lines")
    wait_for(server, 12)
    server.stop()
    assert projectors(server) == []


def test_the_key_of_page_tokens_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    key = page_key.load_or_make(tmp_path)
    assert page_key.load_or_make(tmp_path) == key
    assert stat.S_IMODE((tmp_path / page_key.NAME).stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [page_key.NAME]
    (tmp_path / page_key.NAME).write_bytes(b"short")
    with pytest.raises(Malformed):
        page_key.load_or_make(tmp_path)
