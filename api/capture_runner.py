"""Step 2 of 9: runs capture jobs on a worker's event loop, through the same intake as `POST /statements`.

Each worker takes one job at a time, judged in slices between the requests of others. A worker that is killed
leaves a lease behind, which ends; the next one runs the job again. What had been appended is found again as a
duplicate, so running twice changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from datetime import datetime
from typing import Any, Protocol, TypeVar

import orjson

from api import epcis_problems, problems, submission
from api.errors import LineFault
from api.requests import split_lines
from intake.capture_jobs import ATTEMPTS_MAX, LEASE_MS, Jobs, Work
from intake.service import Behaviour, LineResult, Outcome
from keys.errors import Fault, NotYet

POLL_S = 1.0  # how late a job is seen that another worker left behind
RENEW_S = LEASE_MS / 1000 / 3
RETRY_MS = 1_000  # after the sequencer was away, or the clock behind
CHUNK_COUNT = 1_000  # statements under `proceed` between two looks at how it goes
CLEAN_INTERVAL_S = 600.0
KEEP_S = 7 * 24 * 3600.0  # outcomes, unless the configuration says otherwise

logger = logging.getLogger("tallystick.capture")
Result = TypeVar("Result")


class Flow(Protocol):
    """intake.flow.Flow."""

    async def submit(
        self, lines: list[bytes], *, behaviour: Behaviour, allowed_typs: Collection[str]
    ) -> Outcome: ...


class CaptureRunner:
    """The jobs of one worker. run() is a task of its loop; nudge() may be called from any thread."""

    def __init__(
        self,
        jobs: Jobs,
        flow: Flow,
        pool: Executor,
        clock: Callable[[], datetime],
        allowed_typs: frozenset[str],
        *,
        keep_s: float = KEEP_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._jobs = jobs
        self._flow = flow
        self._pool = pool
        self._clock = clock
        self._allowed_typs = allowed_typs
        self._keep_s = keep_s
        self._poll_s = poll_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        """There is a new job: look now."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and so has this worker
                self._loop.call_soon_threadsafe(self._nudged.set)

    async def run(self) -> None:
        """Run jobs until cancelled."""
        self._loop = asyncio.get_running_loop()
        clean_at = self._loop.time()
        while True:
            try:
                if self._loop.time() >= clean_at:
                    clean_at = self._loop.time() + CLEAN_INTERVAL_S
                    await self._in_pool(self._clean)
                if await self.step():
                    continue
            except NotYet as fault:
                logger.warning("capture jobs wait: %s", fault.detail)
            except Exception as error:
                problems.incident(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), self._poll_s)
            self._nudged.clear()

    async def step(self) -> bool:
        """Run one job, if there is one that nobody runs."""
        work = await self._in_pool(lambda: self._jobs.claim(self._now()))
        if work is None:
            return False
        keeping = asyncio.create_task(self._keep(work))
        try:
            await self._execute(work)
        except NotYet as fault:
            # Not the job's fault: it waits, and its turn comes again.
            logger.info("capture job put back: %s", fault.detail)
            await self._in_pool(lambda: self._jobs.release(work, self._now() + RETRY_MS))
            await asyncio.sleep(RETRY_MS / 1000)
        except asyncio.CancelledError:
            self._jobs.release(work, 0)  # for the next worker, at once; there is no loop to wait on any more
            raise
        finally:
            keeping.cancel()
        return True

    async def _execute(self, work: Work) -> None:
        attempts = await self._in_pool(lambda: self._jobs.attempts(work))
        if attempts > ATTEMPTS_MAX:
            logger.error("a capture job was begun %d times and never ended", attempts - 1)
            await self._finish(work, [_given_up(attempts - 1)], b"")
            return
        try:
            lines = [work.body] if work.is_single else split_lines(work.body, len(work.body) + 1)
            results = await self._submit(work, lines)
        except NotYet:
            raise
        except Exception as error:
            fault = error if isinstance(error, Fault) else problems.incident(error)
            await self._finish(work, [epcis_problems.members_of(fault)], b"")
            return
        told = submission.answer(Outcome(tuple(results), b"", 0), {}).body
        await self._finish(work, _errors_of(results), told)

    async def _submit(self, work: Work, lines: list[bytes]) -> list[LineResult]:
        """What became of every line. Under `rollback` in one piece, for it stands or falls as one."""
        size = len(lines) if work.behaviour == "rollback" else CHUNK_COUNT
        results: list[LineResult] = []
        for start in range(0, len(lines), size):
            outcome = await self._flow.submit(
                lines[start : start + size], behaviour=work.behaviour, allowed_typs=self._allowed_typs
            )
            results += [
                LineResult(start + r.line, r.status, r.seq, r.digest, r.faults) for r in outcome.results
            ]
            if start + size < len(lines) and any(result.faults for result in outcome.results):
                errors = orjson.dumps(_errors_of(results))
                await self._in_pool(lambda errors=errors: self._jobs.note_errors(work, errors))  # type: ignore[misc]
        return results

    async def _finish(self, work: Work, errors: list[dict[str, Any]], results: bytes) -> None:
        body = orjson.dumps(errors)
        await self._in_pool(
            lambda: self._jobs.finish(work, success=not errors, errors=body, results=results, now=self._now())
        )

    async def _keep(self, work: Work) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self._in_pool(lambda: self._jobs.renew(work, self._now()))
            except NotYet as fault:
                logger.warning("a capture job's lease was not renewed: %s", fault.detail)

    def _clean(self) -> None:
        before = self._now() - int(1000 * self._keep_s)
        while self._jobs.clean(before):
            pass

    def _now(self) -> int:
        return int(1000 * self._clock().timestamp())

    async def _in_pool(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _errors_of(results: list[LineResult]) -> list[dict[str, Any]]:
    return epcis_problems.job_errors(
        LineFault(result.line, fault) for result in results for fault in result.faults
    )


def _given_up(attempts: int) -> dict[str, Any]:
    return {
        "type": epcis_problems.PREFIX + "ImplementationException",
        "title": "This server made a mistake",
        "status": 500,
        "detail": f"the job was begun {attempts} times and never came to an end; some of it may be recorded",
        "code": "capture.given-up",
    }
