"""Seeded load: signed events as packaging lines send them, and a sender that costs as little as it can.

The sender shares the machine with the server it measures, so it prepares every request beforehand and
reads answers only as far as their length: what it costs is part of every figure, and small.
"""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from keys import algorithms, envelope

EPCS_PER_EVENT = 5
RECEIVE_SIZE = 1 << 16
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Emitter:
    """A packaging line with its key."""

    party: str
    key: algorithms.PrivateKey
    company_prefix: str  # 7 digits


def emitters(count: int, seed: int) -> list[Emitter]:
    source = random.Random(seed)
    return [
        Emitter(f"line-{i:03}", algorithms.private_key_from_seed(source.randbytes(32)), f"{4_012_000 + i}")
        for i in range(count)
    ]


def events(emitter: Emitter, count: int, seed: int, epcs: int = EPCS_PER_EVENT) -> Iterator[bytes]:
    """Object events of a line: five packs shipped (about 600 bytes), or as many as asked commissioned.

    Serials of shipped packs are random, the worst case for an index; commissioned ones follow each other,
    as a line prints them. Times rise.
    """
    source = random.Random(f"{seed}/{emitter.party}")
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=source.randrange(86_400))
    for i in range(count):
        when = (start + timedelta(milliseconds=250 * i)).isoformat(timespec="milliseconds")
        first = source.randrange(10**11)
        born = epcs != EPCS_PER_EVENT
        serials = range(first, first + epcs) if born else [source.randrange(10**11) for _ in range(epcs)]
        yield orjson.dumps(
            {
                "@context": ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld"],
                "type": "ObjectEvent",
                "eventTime": when.replace("+00:00", "Z"),
                "eventTimeZoneOffset": "+00:00",
                "epcList": [
                    f"urn:epc:id:sgtin:{emitter.company_prefix}.011111.{serial}" for serial in serials
                ],
                "action": "ADD" if born else "OBSERVE",
                "bizStep": "commissioning" if born else "shipping",
                "disposition": "active" if born else "in_transit",
                "readPoint": {"id": f"urn:epc:id:sgln:{emitter.company_prefix}.00001.0"},
            }
        )


def statements(
    lines: Sequence[Emitter], count: int, origin: str, seed: int, epcs: int = EPCS_PER_EVENT
) -> list[bytes]:
    """count signed events, the emitters in turn."""
    each = -(-count // len(lines))
    streams = [events(emitter, each, seed, epcs) for emitter in lines]
    signed: list[bytes] = []
    while len(signed) < count:
        for emitter, stream in zip(lines, streams, strict=True):
            payload = next(stream, None)
            if payload is not None and len(signed) < count:
                signed.append(envelope.sign(emitter.key, typ="epcis-event+jws", aud=origin, payload=payload))
    return signed


def requests(signed: Sequence[bytes], batch: int, host: str) -> list[bytes]:
    """The statements as whole HTTP requests of `batch` statements each."""
    media = b"application/jose" if batch == 1 else b"application/vnd.tallystick.jws-lines"
    made = []
    for i in range(0, len(signed), batch):
        body = b"\n".join(signed[i : i + batch])
        made.append(
            b"POST /statements HTTP/1.1\r\nHost: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (host.encode(), media, len(body), body)
        )
    return made


@dataclass(frozen=True, slots=True)
class Sent:
    """seconds from the first byte sent to the last answer; latencies of each request, in seconds."""

    seconds: float
    latencies: list[float]
    failures: list[bytes]


class _Client:
    __slots__ = ("buffer", "out", "sock", "started")

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.buffer = bytearray()
        self.out = memoryview(b"")
        self.started = 0.0

    def begin(self, request: bytes) -> None:
        self.out = memoryview(request)
        self.started = time.perf_counter()

    def push(self) -> None:
        try:
            while self.out:
                self.out = self.out[self.sock.send(self.out) :]
        except BlockingIOError:
            return

    def answer(self) -> bytes | None:
        """The whole answer, once it is there."""
        chunk = self.sock.recv(RECEIVE_SIZE)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self.buffer += chunk
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        at = self.buffer.lower().find(b"content-length:", 0, head)
        length = int(self.buffer[at + 15 : self.buffer.find(b"\r", at)])
        if len(self.buffer) < head + 4 + length:
            return None
        whole = bytes(self.buffer)
        self.buffer.clear()
        return whole


def send(address: tuple[str, int], prepared: Sequence[bytes], clients: int) -> Sent:
    """Send every request over this many connections, each sending its next when its last is answered."""
    selector = selectors.DefaultSelector()
    waiting = iter(prepared)
    latencies: list[float] = []
    failures: list[bytes] = []
    open_clients = 0
    started = time.perf_counter()
    for _ in range(clients):
        request = next(waiting, None)
        if request is None:
            break
        client = _Client(address)
        client.begin(request)
        client.push()
        selector.register(
            client.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if client.out else 0), client
        )
        open_clients += 1
    while open_clients:
        ready = selector.select(TIMEOUT_S)
        if not ready:
            raise TimeoutError(f"no answer within {TIMEOUT_S} s")
        for key, mask in ready:
            client = key.data
            if mask & selectors.EVENT_WRITE:
                client.push()
                if not client.out:
                    selector.modify(client.sock, selectors.EVENT_READ, client)
            if not mask & selectors.EVENT_READ:
                continue
            whole = client.answer()
            if whole is None:
                continue
            latencies.append(time.perf_counter() - client.started)
            if not whole.startswith(b"HTTP/1.1 20"):
                failures.append(whole)
            request = next(waiting, None)
            if request is None:
                selector.unregister(client.sock)
                client.sock.close()
                open_clients -= 1
                continue
            client.begin(request)
            client.push()
            if client.out:
                selector.modify(client.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
    return Sent(time.perf_counter() - started, latencies, failures)
