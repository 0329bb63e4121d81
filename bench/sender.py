"""The sender: many clients in one thread, each with one request under way, at little cost.

It shares the cores with the server it measures, so what it costs is part of every figure and stands beside
it. Requests are there before the clock runs. An answer is read as far as its status and its length; what is
not 200 or 201 is kept and told. A request's latency is from before its first byte is sent until the last
byte of its answer is read.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

RECEIVE_SIZE = 1 << 18
TIMEOUT_S = 60.0
FAILURES_MAX = 20

Body = bytes | memoryview
Answer = bytes | bytearray


@dataclass(slots=True)
class Sent:
    """What was answered.

    window      seconds between the end of the warm-up and the end of sending
    finished    when each request was answered, in seconds after the first was sent, ascending
    latencies   of the same requests, in seconds
    from_s      when the warm-up ended, on the same clock
    exhausted   the load ended before the time did
    """

    batch: int
    window: float = 0.0
    from_s: float = 0.0
    exhausted: bool = False
    finished: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    failures: list[bytes] = field(default_factory=list)

    def in_window(self) -> list[float]:
        """Latencies of what was answered between warm-up and end."""
        until = self.from_s + self.window
        return [
            latency
            for at, latency in zip(self.finished, self.latencies, strict=True)
            if self.from_s <= at <= until
        ]

    @property
    def events(self) -> int:
        """Statements answered within the window."""
        return len(self.in_window()) * self.batch

    @property
    def total(self) -> int:
        """Statements answered at all."""
        return len(self.latencies) * self.batch

    def timeline(self, step_s: float = 0.5) -> list[tuple[int, float]]:
        """(statements answered so far, statements a second) for every half second."""
        points, done, start = [], 0, 0.0
        while start + step_s <= self.from_s + self.window:
            here = 0
            while done + here < len(self.finished) and self.finished[done + here] < start + step_s:
                here += 1
            done += here
            start += step_s
            points.append((done * self.batch, here * self.batch / step_s))
        return points


def heads(bodies: Iterable[Body], batch: int, host: str) -> Iterator[tuple[bytes, Body]]:
    """Each body with the head of its request."""
    media = "application/jose" if batch == 1 else "application/vnd.tallystick.jws-lines"
    start = f"POST /statements HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media}\r\nContent-Length: "
    for body in bodies:
        yield f"{start}{len(body)}\r\n\r\n".encode(), body


def joined(requests: Iterable[tuple[bytes, Body]]) -> list[tuple[bytes, Body]]:
    """The same requests, head and body in one piece: cheaper to send where bodies are small."""
    return [(b"", head + bytes(body)) for head, body in requests]


class _Client:
    __slots__ = ("buffer", "missing", "out", "sock", "started")

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.buffer = b""  # of an answer that came in part; empty between answers
        self.missing = 0  # bytes to come, once that is known
        self.out = memoryview(b"")
        self.started = 0.0


def send(
    address: tuple[str, int],
    requests: Iterator[tuple[bytes, Body]],
    *,
    batch: int,
    clients: int,
    seconds: float,
    warm_up_s: float = 0.0,
    on_window: Callable[[], None] = lambda: None,
) -> Sent:
    """Send over so many connections, each its next request when its last is answered, for so long.

    on_window  called when the warm-up ends, and again when sending ends: to look at clocks
    """
    sent = Sent(batch)
    finished, latencies, clock = sent.finished.append, sent.latencies.append, time.perf_counter
    poll = select.epoll()
    crowd: dict[int, _Client] = {}
    inbox = bytearray(RECEIVE_SIZE)
    view = memoryview(inbox)
    taking = True
    began = clock()
    measuring_at, ends_at = began + warm_up_s, began + warm_up_s + seconds
    measured_from = 0.0

    def begin(client: _Client) -> bool:
        """Send the next request; False if there is none or no time left."""
        request = next(requests, None) if taking else None
        if request is None:
            return False
        head, body = request
        client.started = clock()
        try:
            if head:
                gone = client.sock.sendmsg((head, body)) - len(head)
                if gone < 0:
                    raise ConnectionError("a socket did not take a request's head")
            else:
                gone = client.sock.send(body)
        except BlockingIOError:
            gone, body = 0, head + bytes(body)
        if gone != len(body):
            client.out = memoryview(body)[gone:]
            poll.modify(client.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
        return True

    for _ in range(clients):
        client = _Client(address)
        poll.register(client.sock.fileno(), select.EPOLLIN)
        crowd[client.sock.fileno()] = client
    for fd, client in list(crowd.items()):
        if not begin(client):
            poll.unregister(fd)
            crowd.pop(fd).sock.close()
    while crowd:
        ready = poll.poll(TIMEOUT_S, clients)
        if not ready:
            raise TimeoutError(f"no answer within {TIMEOUT_S} s")
        now = clock()
        if not measured_from and now >= measuring_at:
            measured_from = now
            on_window()
        if taking and now >= ends_at:
            taking = False
            sent.window = now - measured_from
            on_window()
        for fd, mask in ready:
            client = crowd[fd]
            if mask & select.EPOLLOUT:
                _push(poll, client)
            if not mask & ~select.EPOLLOUT:
                continue
            size = client.sock.recv_into(inbox)
            if not size:
                raise ConnectionError("the server closed the connection")
            if client.missing:  # the rest of a long answer
                client.missing -= size
            elif client.buffer:  # the rest of a head that came in pieces
                client.buffer += bytes(view[:size])
                whole = _length(client.buffer)
                if not whole:
                    continue
                client.missing = whole - len(client.buffer)
            else:
                whole = _length(inbox, size)
                if whole != size:
                    client.buffer = bytes(view[:size])
                    if not whole:
                        continue
                    client.missing = whole - size
            if client.missing:
                if client.missing < 0:
                    raise ConnectionError("the server sent more than it announced")
                continue
            now = clock()
            latencies(now - client.started)
            finished(now - began)
            if not (client.buffer or inbox).startswith(b"HTTP/1.1 20") and len(sent.failures) < FAILURES_MAX:
                sent.failures.append(client.buffer or bytes(view[:size]))
            client.buffer = b""
            if not begin(client):
                poll.unregister(fd)
                crowd.pop(fd).sock.close()
    if taking:  # the load ended before the time
        sent.exhausted = True
        measured_from = measured_from or measuring_at
        sent.window = clock() - measured_from
        on_window()
    poll.close()
    sent.from_s = measured_from - began
    return sent


def _length(answer: Answer, size: int | None = None) -> int:
    """The length of the answer that begins here, head and body; 0 while its head is not complete."""
    end = answer.find(b"\r\n\r\n", 0, size)
    if end < 0:
        return 0
    at = answer.find(b"content-length: ", 0, end)
    if at < 0:
        at = answer.lower().find(b"content-length: ", 0, end)
        if at < 0:
            raise ConnectionError(f"an answer without a length: {bytes(answer[:end])!r}")
    return end + 4 + int(answer[at + 16 : answer.find(b"\r", at)])


def _push(poll: select.epoll, client: _Client) -> None:
    """Send more of a request that did not fit the socket."""
    try:
        client.out = client.out[client.sock.send(client.out) :]
    except BlockingIOError:
        return
    if not client.out:
        poll.modify(client.sock.fileno(), select.EPOLLIN)
