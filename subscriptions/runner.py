"""Step 8 of 9: every subscription by webhook, one report at a time each. One process runs them all.

    look for the next events -> keep which ones (pending) -> POST -> on 2xx keep that they were taken

What is cut off between the second and the last step is sent again, the same report under the same id. The
place, and with it minRecordTime, moves only after a 2xx. A receiver that fails is asked again after a pause
that doubles, with a random part; after an hour of that once an hour. One that hangs holds its own turn and
one of many connections; those that failed last share a smaller number of these, so that they cannot take
them all.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from keys.errors import Fault, Unverifiable
from ledger.errors import StoreFailed
from projection.engine import Engine, Found
from subscriptions.errors import NoSuchSubscription, TargetRefused
from subscriptions.follow import ORDINAL_MAX, Batch, Follower, Place, Watch
from subscriptions.pace import Pace, is_suspended
from subscriptions.store import (
    BATCH_EVENTS_MAX,
    Pending,
    Progress,
    Subscription,
    Subscriptions,
    moment_of,
    rfc3339,
)
from subscriptions.targets import parse_target
from subscriptions.webhook import SUCCESS, Answer, DeliveryFailed, Sender, sign
from traceability.queries.model import Query

REPORT_SIZE_MAX = 1024 * 1024  # bytes of one report of more than one event
HEALTHY_MAX, FAILING_MAX = 128, 64  # connections at once
THREADS = 4  # for the stores
SEARCHES_MAX = 2  # at once; after each, as long a rest as it took
REST_MAX_S = 0.5
SAVE_EVERY = 10_000  # positions looked at in vain
SLEEP_MAX_S = 30.0  # so that a clock that was set is noticed
TOO_LARGE = 413
_DELIVERIES = uuid.UUID("2f0c1f1e-54cb-4b52-9d8a-6f3d4d6d6a75")  # names of deliveries, by RFC 9562

Result = TypeVar("Result")

logger = logging.getLogger("tallystick.subscriptions")


class Documents(Protocol):
    """How reports look: the door's business."""

    def report(self, subscription: Subscription, events: Sequence[Found], made_at: datetime) -> bytes:
        """An EPCISQueryDocument; the same bytes for the same arguments."""

    def problem(self, fault: Fault) -> bytes:
        """A problem detail."""


@dataclass(slots=True)
class _Line:
    """One subscription as it is being served."""

    subscription: Subscription
    follower: Follower
    progress: Progress
    saved_seq: int
    complained_at: float = float("-inf")  # on the loop's clock
    building_since: float | None = None


class Runner:
    """Serves all subscriptions of one ledger.

    read_query  the query kept under a name. Raises Fault
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        engine: Engine,
        read_query: Callable[[str], Query],
        may_read: Callable[[str], bool],
        documents: Documents,
        sender: Sender,
        clock: Callable[[], datetime],
        pace: Pace | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._engine = engine
        self._read_query = read_query
        self._may_read = may_read
        self._documents = documents
        self._sender = sender
        self._clock = clock
        self._pace = pace or Pace()
        self._watch = Watch(engine)
        self._healthy = asyncio.Semaphore(HEALTHY_MAX)
        self._failing = asyncio.Semaphore(FAILING_MAX)
        self._searching = asyncio.Semaphore(SEARCHES_MAX)
        self._pool = ThreadPoolExecutor(THREADS, "subscriptions")

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until told to stop. What is under way then is cut off, and sent again by the next run."""
        tasks: dict[str, asyncio.Task[None]] = {}
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        try:
            while not stopping.is_set():
                if loop.time() >= look_at:
                    look_at = loop.time() + self._pace.refresh_s
                    await self._refresh(tasks)
                if tasks:
                    self._watch.note(await self._in_pool(self._watch.look))
                await self._pause(stopping, self._pace.tick_s if tasks else self._pace.refresh_s)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            self._pool.shutdown()

    async def _refresh(self, tasks: dict[str, asyncio.Task[None]]) -> None:
        try:
            there = await self._in_pool(self._subscriptions.ids)
        except StoreFailed as fault:
            logger.warning("subscriptions cannot be read: %s", fault.detail)
            return
        for name, task in list(tasks.items()):
            if task.done():
                del tasks[name]
                error = None if task.cancelled() else task.exception()
                if error is not None and not isinstance(error, NoSuchSubscription):
                    logger.error(
                        "subscription %s stopped for %s; beginning again", name, type(error).__name__
                    )
            elif name not in there:
                task.cancel()
        for name in there - tasks.keys():
            tasks[name] = asyncio.create_task(self._serve(name))

    # One subscription -----------------------------------------------------------------------------

    async def _serve(self, name: str) -> None:
        subscription = await self._in_pool(lambda: self._subscriptions.find(name))
        if subscription is None:
            return
        query = await self._in_pool(lambda: self._read_query(subscription.query))
        since = subscription.controls.initial_record_time
        follower = Follower(self._engine, query, since, self._may_read)
        line = _Line(subscription, follower, subscription.progress, subscription.progress.seq)
        while True:
            if line.progress.retry_at is not None:
                await self._sleep_until(moment_of(line.progress.retry_at))
            try:
                await self._until_due(line)
                await self._report(line)
                line.building_since = None
            except StoreFailed as fault:
                await self._wait_for_index(line, fault)
            except (NoSuchSubscription, DeliveryFailed, TargetRefused):
                raise
            except Fault as fault:
                await self._complain(line, fault)
                await self._failed(line, fault.code, None)

    async def _until_due(self, line: _Line) -> None:
        """A stream is due when more is covered, a schedule at its time; what was begun, at once."""
        progress, schedule = line.progress, line.subscription.controls.schedule
        if schedule is not None:
            if progress.run_bound is None:
                if progress.next_run_at is None:  # never again
                    await asyncio.Event().wait()
                else:
                    await self._sleep_until(moment_of(progress.next_run_at))
                # Of an index that is being made again, only what is new waits for it.
                bound = max(await self._in_pool(line.follower.covered), progress.seq + 1)
                await self._save(line, replace(progress, run_bound=bound, run_reported=0))
        elif progress.pending is None and progress.ordinal == ORDINAL_MAX:
            await self._watch.beyond(progress.seq + 1)

    async def _report(self, line: _Line) -> None:
        """Send what comes next, if anything does."""
        progress = line.progress
        place = Place(progress.seq, progress.ordinal)
        pending = progress.pending
        if pending is not None:
            upto = Place(pending.seq, pending.ordinal)
            batch = await self._next(line, place, BATCH_EVENTS_MAX, pending.seq + 1)
            events = tuple(one for one in batch.events if (one.seq, one.ordinal) <= upto)
            if not events:  # erased since, or not to be shown any more
                await self._save(line, _moved(replace(progress, pending=None), upto))
                return
            end = upto
            body = await self._render(line, events, pending.made_at)
        else:
            batch = await self._next(line, place, progress.batch_max, progress.run_bound)
            if not batch.events:
                await self._nothing(line, batch)
                return
            made_at = rfc3339(self._clock())
            events, body = await self._fitting(line, batch.events, made_at)
            last = Place(events[-1].seq, events[-1].ordinal)
            end = batch.end if len(events) == len(batch.events) else last
            name = f"{line.subscription.id} {place.seq}.{place.ordinal} {last.seq}.{last.ordinal}"
            pending = Pending(str(uuid.uuid5(_DELIVERIES, name)), last.seq, last.ordinal, made_at)
            # Before it is sent: whatever happens then, this very report is the one that is sent again.
            await self._save(line, replace(progress, pending=pending))
        answer = await self._deliver(line, body, pending.id)
        if answer is None:
            return
        if answer.status == TOO_LARGE and len(events) > 1:
            await self._save(line, replace(line.progress, pending=None, batch_max=len(events) // 2))
        elif await self._was_taken(line, answer):
            taken = _moved(_healed(line.progress, self._clock()), end)
            await self._save(
                line,
                replace(
                    taken,
                    pending=None,
                    min_record_time=rfc3339(max(moment_of(taken.min_record_time), events[-1].recorded_at)),
                    run_reported=taken.run_reported + 1,
                ),
            )

    async def _nothing(self, line: _Line, batch: Batch) -> None:
        progress = _moved(line.progress, batch.end)
        schedule = line.subscription.controls.schedule
        if schedule is None or not batch.done:
            line.progress = progress
            if progress.seq - line.saved_seq >= SAVE_EVERY:
                await self._save(line, progress)
            return
        if line.subscription.controls.report_if_empty and not progress.run_reported:
            at = progress.next_run_at or ""
            body = await self._render(line, (), at)
            delivery = str(uuid.uuid5(_DELIVERIES, f"{line.subscription.id} empty {at}"))
            answer = await self._deliver(line, body, delivery)
            if answer is None or not await self._was_taken(line, answer):
                return
            progress = _healed(progress, self._clock())
        # Runs that were missed meanwhile are made up for by one.
        next_run = schedule.next_after(self._clock())
        next_run_at = None if next_run is None else rfc3339(next_run)
        await self._save(line, replace(progress, run_bound=None, run_reported=0, next_run_at=next_run_at))

    async def _next(self, line: _Line, place: Place, limit: int, bound: int | None) -> Batch:
        async with self._searching:
            loop = asyncio.get_running_loop()
            started = loop.time()
            batch = await self._in_pool(lambda: line.follower.next(place, limit, bound))
            # A thousand streams would search all the time, and keep the index itself from its work.
            await asyncio.sleep(min(loop.time() - started, REST_MAX_S))
            return batch

    async def _render(self, line: _Line, events: Sequence[Found], made_at: str) -> bytes:
        moment = moment_of(made_at)
        return await self._in_pool(lambda: self._documents.report(line.subscription, events, moment))

    async def _fitting(
        self, line: _Line, events: tuple[Found, ...], made_at: str
    ) -> tuple[tuple[Found, ...], bytes]:
        """As many of the events as make a report of bounded size, but one at least."""
        body = await self._render(line, events, made_at)
        while len(body) > REPORT_SIZE_MAX and len(events) > 1:
            events = events[: len(events) // 2]
            body = await self._render(line, events, made_at)
        return events, body

    # Sending --------------------------------------------------------------------------------------

    async def _deliver(
        self, line: _Line, body: bytes, delivery: str, content_type: str = "application/json"
    ) -> Answer | None:
        """POST it. None if nobody answered: then that is noted already."""
        subscription = line.subscription
        headers = {
            "Content-Type": content_type,
            "GS1-EPCIS-Version": "2.0.0",
            "GS1-CBV-Version": "2.0.0",
            "GS1-EPC-Format": subscription.epc_format,
            "Tallystick-Delivery": delivery,
        }
        async with self._failing if line.progress.failures else self._healthy:
            try:
                token = self._subscriptions.token_of(subscription)
                if token is not None:
                    headers["GS1-Signature"] = sign(token, body, int(self._clock().timestamp()))
                return await self._sender.post(subscription.dest, body, headers)
            except (DeliveryFailed, TargetRefused, Unverifiable) as fault:
                reason = fault.code
        await self._failed(line, reason, None)
        return None

    async def _was_taken(self, line: _Line, answer: Answer) -> bool:
        if answer.status in SUCCESS:
            return True
        await self._failed(line, f"http.{answer.status}", answer.retry_after_s)
        return False

    async def _failed(self, line: _Line, reason: str, wait_s: float | None) -> None:
        now, pace, progress = self._clock(), self._pace, line.progress
        since = progress.failing_since or rfc3339(now)
        if is_suspended(progress, now, pace):
            pause = pace.probe_s
        else:
            pause = min(pace.backoff_max_s, pace.backoff_s * 2.0 ** min(progress.failures, 30))
        # A random part, so that receivers that fell over together are not asked together.
        pause = max(pause * (0.5 + 0.5 * random.random()), wait_s or 0.0)  # noqa: S311
        if progress.last_error != reason:
            origin = parse_target(line.subscription.dest).origin
            logger.warning("subscription %s to %s fails: %s", line.subscription.id, origin, reason)
        await self._save(
            line,
            replace(
                progress,
                failures=progress.failures + 1,
                failing_since=since,
                last_error=reason,
                retry_at=rfc3339(now + timedelta(seconds=pause)),
            ),
        )

    async def _wait_for_index(self, line: _Line, fault: StoreFailed) -> None:
        now = asyncio.get_running_loop().time()
        line.building_since = line.building_since or now
        if now - line.building_since >= self._pace.complain_s:
            await self._complain(line, fault)
        await asyncio.sleep(self._pace.refresh_s)

    async def _complain(self, line: _Line, fault: Fault) -> None:
        """Tell the receiver that there is something wrong here, as the standard asks, and not too often."""
        now = asyncio.get_running_loop().time()
        if now - line.complained_at < self._pace.complain_s:
            return
        line.complained_at = now
        body = await self._in_pool(lambda: self._documents.problem(fault))
        await self._deliver(line, body, str(uuid.uuid4()), "application/problem+json")

    async def _save(self, line: _Line, progress: Progress) -> None:
        """Keep it. Raises NoSuchSubscription, StoreFailed."""
        await self._in_pool(lambda: self._subscriptions.save(line.subscription.id, progress))
        line.progress, line.saved_seq = progress, progress.seq

    # Time -----------------------------------------------------------------------------------------

    async def _in_pool(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _sleep_until(self, moment: datetime) -> None:
        # Looked at again and again: the clock may be set meanwhile.
        while (left := (moment - self._clock()).total_seconds()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left, SLEEP_MAX_S))

    @staticmethod
    async def _pause(stopping: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await stopping.wait()
        except TimeoutError:
            return


def _moved(progress: Progress, place: Place) -> Progress:
    return replace(progress, seq=place.seq, ordinal=place.ordinal)


def _healed(progress: Progress, now: datetime) -> Progress:
    return replace(
        progress,
        last_notified_at=rfc3339(now),
        failures=0,
        failing_since=None,
        retry_at=None,
        last_error=None,
    )
