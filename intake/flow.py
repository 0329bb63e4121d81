"""Step 5 of 9: the pipeline of `intake.service` on an event loop, one loop a worker.

Judging is the interpreter's work and happens in the loop itself: threads that wrestle for the interpreter
lock around each signature cost a third of a core. A large request judges one slice in each turn of the
loop, and two of them take turns, so whoever sends one event waits for one slice and not for a batch.
A statement that is large by itself is a document, which cannot be cut: a thread judges it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from intake import wire
from intake.prepare import Prepared
from intake.service import (
    Behaviour,
    Intake,
    Judged,
    Outcome,
    conclude,
    judge,
    of_unknown_keys,
    to_append,
    with_keys_alone,
)
from keys.registry import Registry

SLICE_COUNT = 48  # statements judged in one turn of the loop: about 4 ms
SLICE_SIZE = 64 * 1024  # bytes of them, for what is wrong with a document can cost some microseconds a byte
STATEMENT_IN_LOOP_MAX = 32 * 1024  # bytes: a document of some 20 events; the largest takes 0.1 s
PACKED_IN_LOOP_MAX = 2048  # statements of one message that are packed in the loop; more, and a thread does it

Result = TypeVar("Result")


class AsyncGate(Protocol):
    """intake.pipelined.PipelinedGate."""

    async def submit(self, submission: wire.Submission) -> wire.Outcome: ...


class Flow:
    """Verify, validate, authorise, append, for the coroutines of one loop.

    intake  whose key state is shared
    pool    where the ledger is read, for an answer may take long
    """

    def __init__(self, intake: Intake, gate: AsyncGate, pool: Executor) -> None:
        self._intake = intake
        self._gate = gate
        self._pool = pool
        self._turn = asyncio.Lock()  # handed on in the order in which it was asked for

    async def submit(
        self, lines: Sequence[bytes], *, behaviour: Behaviour, allowed_typs: Collection[str]
    ) -> Outcome:
        """As Intake.submit(), and with the same faults."""
        registry = self._intake.known_registry
        if registry is None:
            registry = await self._in_pool(self._intake.require_registry)
        now = self._intake.now()
        judged = await self._judge(lines, registry, allowed_typs, now)
        unknown = of_unknown_keys(judged)
        if unknown:
            newer = await self._in_pool(self._intake.require_registry)
            if newer.newest_seq != registry.newest_seq:
                again = await self._judge([lines[index] for index in unknown], newer, allowed_typs, now)
                for index, verdict in zip(unknown, again, strict=True):
                    judged[index] = verdict
        judged = with_keys_alone(judged)
        good = to_append(judged, behaviour)
        if not good:
            return conclude(judged, None)
        return conclude(judged, await self._gate.submit(await self._pack(good, behaviour == "rollback")))

    async def _judge(
        self, lines: Sequence[bytes], registry: Registry, allowed_typs: Collection[str], now: datetime
    ) -> list[Judged]:
        if max(map(len, lines), default=0) > STATEMENT_IN_LOOP_MAX:
            return await self._judge_large(lines, registry, allowed_typs, now)
        slices = slices_of(lines)
        if len(slices) == 1:
            return [judge(raw, registry, allowed_typs, now) for raw in lines]
        judged: list[Judged] = []
        for start, end in slices:
            async with self._turn:
                judged += [judge(raw, registry, allowed_typs, now) for raw in lines[start:end]]
                await asyncio.sleep(0)  # with the turn in hand: one slice a turn of the loop
        return judged

    async def _judge_large(
        self, lines: Sequence[bytes], registry: Registry, allowed_typs: Collection[str], now: datetime
    ) -> list[Judged]:
        """The same where large statements are among them: the large ones one by one in a thread."""
        judged: list[Judged] = []
        start = 0
        while start < len(lines):
            if len(lines[start]) > STATEMENT_IN_LOOP_MAX:
                large = lines[start]
                judged.append(await self._in_pool(partial(judge, large, registry, allowed_typs, now)))
                start += 1
                continue
            end = start
            while end < len(lines) and len(lines[end]) <= STATEMENT_IN_LOOP_MAX:
                end += 1
            judged += await self._judge(lines[start:end], registry, allowed_typs, now)
            start = end
        return judged

    async def _pack(self, good: Sequence[Prepared], rollback: bool) -> wire.Submission:
        if len(good) <= PACKED_IN_LOOP_MAX:
            return wire.submission_of(good, rollback=rollback)
        return await self._in_pool(lambda: wire.submission_of(good, rollback=rollback))

    async def _in_pool(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def slices_of(lines: Sequence[bytes]) -> list[tuple[int, int]]:
    """Where to cut: (start, end) of at most SLICE_COUNT neighbours and SLICE_SIZE bytes, but one at least."""
    slices: list[tuple[int, int]] = []
    start = size = 0
    for index, line in enumerate(lines):
        if index > start and (index - start == SLICE_COUNT or size + len(line) > SLICE_SIZE):
            slices.append((start, index))
            start, size = index, 0
        size += len(line)
    slices.append((start, len(lines)))
    return slices
