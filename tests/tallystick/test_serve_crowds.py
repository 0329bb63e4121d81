"""The real server under crowds: a thousand connections, slow senders and readers, and an end under load."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import load
from bench.server import ORIGIN, Server
from ledger.store.sqlite import open_reader

pytestmark = [pytest.mark.server, pytest.mark.fault]

CONNECTIONS = 1000
LINES = load.emitters(2, 11)
EVENTS = load.statements(LINES, 5400, ORIGIN, 11)
MEMORY_MAX_MIB = 600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("crowds") / "ledger", workers=2, threads=4)
    made.start()
    made.register(LINES)
    yield made
    made.stop()
    assert b"Traceback" not in made.output.read_bytes()
    assert b"panicked" not in made.output.read_bytes()


def connect(server: Server, receive_buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", server.port))
    return connection


def request(body: bytes, *, lines: bool = False, length: int | None = None, query: str = "") -> bytes:
    kind = "application/vnd.tallystick.jws-lines" if lines else "application/jose"
    size = len(body) if length is None else length
    head = ("POST /statements{} HTTP/1.1", "Host: x", "Content-Type: {}", "Content-Length: {}", "", "")
    return "\r\n".join(head).format(query, kind, size).encode() + body


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer. Raises ConnectionError if it does not come whole."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(1 << 16)
        if not chunk:
            raise ConnectionError("closed before the answer")
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    at = head.lower().index(b"content-length:") + 15
    length = int(head[at:].split(b"\r\n")[0])
    while len(body) < length:
        chunk = connection.recv(1 << 20)
        if not chunk:
            raise ConnectionError("closed within the answer")
        body += chunk
    return int(head.split()[1]), body


def memory_mib(server: Server) -> float:
    """Proportional set size of all of the server's processes."""
    total = 0
    assert server.process is not None
    for pid in [*server.children(), server.process.pid]:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def test_a_thousand_connections_are_answered_within_bounds(server: Server) -> None:
    """Half of them announce a giant body and send nothing of it; the others each send one event."""
    connections = [connect(server) for _ in range(CONNECTIONS)]
    try:
        for stalled in connections[::2]:
            stalled.sendall(request(b"x" * 1000, lines=True, length=16_000_000))
        selector = selectors.DefaultSelector()
        for connection, event in zip(connections[1::2], EVENTS, strict=False):
            connection.sendall(request(event))
            selector.register(connection, selectors.EVENT_READ)
        statuses = [read_answer(connection)[0] for connection in connections[1::2]]
        selector.close()
        assert set(statuses) == {201}
        assert memory_mib(server) < MEMORY_MAX_MIB
    finally:
        for connection in connections:
            connection.close()


def test_slow_readers_of_giant_answers_hold_up_nobody_and_little(server: Server) -> None:
    body = b"\n".join(EVENTS[600:2600])
    slow = [connect(server, receive_buffer=4096) for _ in range(12)]
    try:
        for connection in slow:
            connection.sendall(request(body, lines=True, query="?receipts=true"))
        waits = []
        for event in EVENTS[2600:2700]:
            with connect(server) as connection:
                started = time.monotonic()
                connection.sendall(request(event))
                assert read_answer(connection)[0] == 201
                waits.append(time.monotonic() - started)
        assert sorted(waits)[len(waits) // 2] < 1.0
        assert memory_mib(server) < MEMORY_MAX_MIB
        # They may be slow, within bounds: what is read is read whole.
        status, answer = read_answer(slow[0])
        assert status in (200, 201, 503)
        if status != 503:
            assert len(json.loads(answer)["results"]) == 2000
    finally:
        for connection in slow:
            connection.close()


def test_whoever_tears_its_body_or_speaks_no_http_disturbs_nobody(server: Server) -> None:
    for sent in (
        request(EVENTS[2700][:-1], length=len(EVENTS[2700])),
        request(EVENTS[2700] + b"\n", lines=True, length=5000),
        b"POST /statements HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /statements HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"GET /nothing%ff%00 HTTP/1.1\r\nHost: x\r\nX-Odd: \xff\xfe\r\n\r\n",
        b"\x16\x03\x01 not HTTP\r\n\r\n",
    ):
        with connect(server) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while connection.recv(1 << 16):
                    pass
    with urllib.request.urlopen(server.url + "/readyz", timeout=10) as answer:
        assert json.load(answer)["ready"] is True
    reader = open_reader(server.folder / "ledger.db")
    head = reader.read_head()
    assert head is not None
    assert all(
        reader.read_statement(seq) != EVENTS[2700] for seq in range(head.tree_size - 5, head.tree_size)
    )
    reader.close()


def test_whoever_leaves_in_mid_request_or_says_nothing_holds_up_nobody(server: Server) -> None:
    """Batches whose sender resets the line at once, and lines on which nothing or half a head is sent."""
    body = b"\n".join(EVENTS[2701:2800])
    silent = [connect(server) for _ in range(200)]
    try:
        for connection in silent[::2]:
            connection.sendall(b"POST /statements HTTP/1.1\r\nHost: x\r\nContent-Le")
        for _ in range(60):
            with connect(server) as leaving:
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                leaving.sendall(request(body, lines=True, query="?receipts=true"))
        with connect(server) as connection:
            connection.sendall(request(body, lines=True))
            status, answer = read_answer(connection)
        assert status in (200, 201)
        seqs = [result["seq"] for result in json.loads(answer)["results"]]
        assert seqs == list(range(seqs[0], seqs[0] + 99))  # once, and whole, whoever's request it was
        assert memory_mib(server) < MEMORY_MAX_MIB
    finally:
        for connection in silent:
            connection.close()


class Sender(threading.Thread):
    """Sends one event after another until the server ends; keeps what was answered, and what was not."""

    def __init__(self, server: Server, events: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.events = events
        self.answered: list[tuple[int, bytes]] = []
        self.odd: list[bytes] = []

    def run(self) -> None:
        with contextlib.suppress(OSError), connect(self.server) as connection:
            for event in self.events:
                connection.sendall(request(event))
                status, body = read_answer(connection)
                if status == 201:
                    self.answered.append((json.loads(body)["results"][0]["seq"], event))
                elif status == 503:
                    return
                else:
                    self.odd.append(body)


def test_an_end_under_load_answers_what_it_took_and_loses_nothing(server: Server) -> None:
    """Last in this file: it stops the server, and starts it again to see that what was left can be sent."""
    senders = [Sender(server, EVENTS[2800 + n * 100 : 2900 + n * 100]) for n in range(24)]
    for sender in senders:
        sender.start()
    time.sleep(0.3)
    assert server.process is not None
    began = time.monotonic()
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert time.monotonic() - began < 10, "workers were killed instead of ending"
    for sender in senders:
        sender.join(10)
        assert not sender.is_alive()
        assert sender.odd == []
    answered = [pair for sender in senders for pair in sender.answered]
    assert answered
    assert len(answered) < 2400, "the server ended too late for this to prove anything"
    reader = open_reader(server.folder / "ledger.db")
    for seq, event in answered:
        assert reader.read_statement(seq) == event
    reader.close()
    server.start()
    for sender in senders:
        left = sender.events[len(sender.answered) :][:2]
        for event in left:
            told = json.loads(server.post("/statements", event, "application/jose"))
            assert told["results"][0]["status"] in ("appended", "duplicate")
