"""Many partners at once: single events and batches over many connections, until they are told to stop.

What was not answered is sent again, as a partner's client does, by any of the connections and to any of the
hosts; now and then something is sent again that was answered already. Nothing is forgotten: every answered
place, every checkpoint, and every answer that no partner should get.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from bench import load
from bench.server import ORIGIN
from keys import base64url

LINES = "application/vnd.tallystick.jws-lines"
JOSE = "application/jose"
# How many statements each of the connections sends in one request.
SIZES = (1,) * 20 + (100,) * 8 + (10,) * 4 + (1000, 1500)
WITH_RECEIPTS = 10  # the size of requests that ask for receipts
AGAIN = 0.02  # of the requests repeat one that was answered
ANSWER_TIMEOUT_S = 40.0  # longer than anything in the server waits
PAUSE_S = 0.05  # before a request is sent again
AWAY_S = 0.25  # before a host that was away is asked again


@dataclass(eq=False, slots=True)
class Job:
    """One request."""

    statements: list[bytes]
    times_sent: int = 0
    seqs: list[int] = field(default_factory=list)  # as first answered

    def render(self) -> bytes:
        body = b"\n".join(self.statements)
        kind = JOSE if len(self.statements) == 1 else LINES
        query = "?receipts=true" if len(self.statements) == WITH_RECEIPTS else ""
        return (
            f"POST /statements{query} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """What one request was told. receipts: with their statements, where they were asked for."""

    seqs: list[int]
    digests: list[bytes]
    checkpoint: bytes
    receipts: list[tuple[bytes, bytes]]


def signed(emitters: Sequence[load.Emitter], seed: int) -> Iterator[bytes]:
    """Events without end, each signed when it is asked for."""
    source = random.Random(f"{seed}/nonces")
    signers = [load.Signer(emitter, ORIGIN) for emitter in emitters]
    for part in itertools.count():
        for events in zip(*(load.events(emitter, 100, seed, part=part) for emitter in emitters), strict=True):
            for signer, event in zip(signers, events, strict=True):
                yield signer.sign(event, source.randbytes(16))


class Crowd(threading.Thread):
    """ports: of the hosts; the connections are shared out among them."""

    def __init__(
        self, ports: Sequence[int], emitters: Sequence[load.Emitter], seed: int, sizes: Sequence[int] = SIZES
    ) -> None:
        super().__init__(daemon=True)
        self._ports = ports
        self._sizes = sizes
        self._events = signed(emitters, seed)
        self._source = random.Random(f"{seed}/crowd")
        self._again: deque[Job] = deque()
        self._done: deque[Job] = deque(maxlen=200)
        self._stopping = False
        self.is_paused = True
        self._active = 0
        self.answered: list[Answered] = []
        self.answered_by = dict.fromkeys(ports, 0)  # how many statements
        self.count = 0  # of statements answered, repeated ones too
        self.repeated = 0  # statements answered as duplicates
        self.failures = 0  # connections that broke
        self.busy: dict[str, int] = {}  # answers with 503, by their code
        self.odd: list[str] = []

    def run(self) -> None:
        asyncio.run(self._run())

    def stop(self) -> None:
        self._stopping = True
        self.join(ANSWER_TIMEOUT_S + 10)
        assert not self.is_alive()

    def abandon(self) -> None:
        """Stop without waiting, where the test has failed already."""
        self._stopping = True

    def pause(self) -> None:
        """Return when no request is under way."""
        self.is_paused = True
        deadline = time.monotonic() + ANSWER_TIMEOUT_S + 10
        while self._active:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def go_on(self) -> None:
        self.is_paused = False

    def wait_for(self, count: int, timeout_s: float = 60.0, port: int | None = None) -> None:
        """Return when so many more statements were answered, by any host or this one."""
        before = self._count_of(port)
        deadline = time.monotonic() + timeout_s
        while self._count_of(port) < before + count:
            assert not self.odd, self.odd[:2]
            assert time.monotonic() < deadline, f"nothing is answered any more: {self.busy}"
            time.sleep(0.005)

    def _count_of(self, port: int | None) -> int:
        return self.count if port is None else self.answered_by[port]

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number, size in enumerate(self._sizes):
                group.create_task(self._partner(self._ports[number % len(self._ports)], size))

    async def _partner(self, port: int, size: int) -> None:
        line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopping:
            if self.is_paused:
                await asyncio.sleep(0.005)
                continue
            self._active += 1
            job = self._next(size)
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    if line is None:
                        line = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
                    job.times_sent += 1
                    is_kept = await self._ask(job, port, *line)
                if not is_kept:
                    self._again.append(job)
                    await asyncio.sleep(PAUSE_S)
            except (OSError, EOFError, TimeoutError):
                self.failures += 1
                self._again.append(job)
                is_away = line is None
                if line is not None:
                    line[1].close()
                line = None
                await asyncio.sleep(AWAY_S if is_away else PAUSE_S)
            finally:
                self._active -= 1
        if line is not None:
            line[1].close()

    def _next(self, size: int) -> Job:
        if self._again:
            return self._again.popleft()
        if self._done and self._source.random() < AGAIN:
            return self._source.choice(self._done)
        return Job(list(itertools.islice(self._events, size)))

    async def _ask(
        self, job: Job, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Send and read the answer; whether the statements are in the ledger now."""
        writer.write(job.render())
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length:") + 15
        body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        status = int(head.split()[1])
        told = json.loads(body)
        if status == 503:
            code = told["code"] if "code" in told else told["type"].rsplit("/", 1)[-1]
            self.busy[code] = self.busy.get(code, 0) + 1
            if b"retry-after:" not in head:
                self.odd.append(f"503 without Retry-After: {told}")
            return False
        if status not in (200, 201):
            self.odd.append(f"{status}: {body[:500]!r}")
            return True
        self._note(job, port, told)
        return True

    def _note(self, job: Job, port: int, told: dict[str, object]) -> None:
        results = told["results"]
        seqs = [result["seq"] for result in results]
        digests = [base64url.decode(result["digest"]) for result in results]
        if digests != [sha256(statement).digest() for statement in job.statements]:
            self.odd.append(f"another statement's receipt: {told}")
        repeated = sum(result["status"] == "duplicate" for result in results)
        if repeated and job.times_sent == 1:
            self.odd.append(f"never sent before, and there already: {told}")
        if repeated + sum(result["status"] == "appended" for result in results) != len(job.statements):
            self.odd.append(f"neither appended nor there: {told}")
        if job.seqs and job.seqs != seqs:
            self.odd.append(f"a second place for one statement: {job.seqs}, {seqs}")
        job.seqs = seqs
        receipts = [
            (statement, result["receipt"].encode())
            for statement, result in zip(job.statements, results, strict=True)
            if "receipt" in result
        ]
        self.answered.append(Answered(seqs, digests, told["checkpoint"].encode(), receipts))
        self._done.append(job)
        self.repeated += repeated
        self.count += len(seqs)
        self.answered_by[port] += len(seqs)
