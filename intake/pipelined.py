"""Step 5 of 9: the workers' end of the gate, for an event loop. One connection, many submissions at once.

Whatever becomes ready in one turn of the loop leaves as one frame, and while the sequencer is busy with
what it has, the next frame gathers. Answers are matched by number. When the sequencer was started again,
what it had not answered is asked once more: what was appended is answered as a duplicate.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import cast

import msgspec

from intake.errors import Busy
from intake.gate import ANSWER_TIMEOUT_S, is_answer_to
from intake.wire import FRAME_SIZE_MAX, LENGTH, Outcome, Submission, decode_answer, encode_frame

FRAME_COUNT_MAX = 4096  # statements in one frame, unless one submission alone has more
FRAMES_UNDER_WAY_MAX = 2  # one that is being committed, and one that waits for its turn behind it
ASKED_MAX = 2  # how often one submission is sent: a second time to a sequencer that was started again


class _Asked:
    """A submission whose answer is awaited."""

    __slots__ = ("answer", "at", "submission", "times")

    def __init__(self, submission: Submission, answer: asyncio.Future[Outcome], at: float) -> None:
        self.submission = submission
        self.answer = answer
        self.at = at
        self.times = 0

    def fail(self, fault: Busy) -> None:
        if not self.answer.done():
            self.answer.set_exception(fault)


class PipelinedGate(asyncio.Protocol):
    """The sequencer's socket, for the coroutines of one event loop. Nothing here is safe from other threads.

    How much may be under way is its callers' to bound; everything given to it is answered or fails as Busy
    within ANSWER_TIMEOUT_S.
    """

    def __init__(self, path: Path, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._path = path
        self._answer_timeout_s = answer_timeout_s
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}  # in the order in which they came; sent or not
        self._unsent: list[_Asked] = []
        self._frames: list[set[int]] = []  # numbers not yet answered of each frame under way
        self._flush_is_due = False
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._incoming = bytearray()

    async def submit(self, submission: Submission) -> Outcome:
        """What became of it, after the commit. Raises Busy; sending again is safe."""
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        asked = _Asked(msgspec.structs.replace(submission, number=number), loop.create_future(), loop.time())
        self._asked[number] = asked
        self._unsent.append(asked)
        if not self._flush_is_due:
            self._flush_is_due = True
            loop.call_soon(self._flush)
        if self._limit is None:
            self._limit = loop.call_later(self._answer_timeout_s, self._look_at_the_oldest)
        return await asked.answer

    def close(self) -> None:
        """End the connection; submissions under way become Busy."""
        self._fail(list(self._asked), Busy("intake.closed", "this worker is ending; send it again"))
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    # What the loop calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._incoming.clear()
        self._frames.clear()

    def data_received(self, data: bytes) -> None:
        self._incoming += data
        try:
            while (body := self._take_frame()) is not None:
                for outcome in decode_answer(body):
                    self._settle(outcome)
        except (msgspec.MsgspecError, ValueError):
            # Whatever stands behind it cannot be told apart any more: ask again on a new connection.
            self._abort()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._frames.clear()
        sent = [asked for asked in self._asked.values() if asked.times]
        lost = [asked.submission.number for asked in sent if asked.times >= ASKED_MAX]
        # Whether they were appended is unknown here. The caller's retry finds its receipt if they were.
        self._fail(lost, Busy("intake.sequencer-lost", "the sequencer ended without an answer"))
        self._unsent = list(self._asked.values())
        self._flush()

    # Sending --------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._flush_is_due = False
        if not self._unsent:
            return
        if self._transport is None:
            if self._connecting is None:
                self._connecting = asyncio.get_running_loop().create_task(self._connect())
            return
        while self._unsent and len(self._frames) < FRAMES_UNDER_WAY_MAX:
            taken: list[_Asked] = []
            count = 0
            for asked in self._unsent:
                if taken and count + len(asked.submission) > FRAME_COUNT_MAX:
                    break
                taken.append(asked)
                count += len(asked.submission)
            del self._unsent[: len(taken)]
            self._send(taken)

    def _send(self, taken: list[_Asked]) -> None:
        try:
            frame = encode_frame([asked.submission for asked in taken])
        except Busy as fault:
            if len(taken) > 1:
                for asked in taken:
                    self._send([asked])
            else:
                self._fail([taken[0].submission.number], fault)
            return
        for asked in taken:
            asked.times += 1
        self._frames.append({asked.submission.number for asked in taken})
        if self._transport is not None:
            self._transport.write(frame)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: self, str(self._path))
        except OSError:
            away = Busy("intake.sequencer-away", "the sequencer is not running; it is being started again")
            self._fail(list(self._asked), away)
        finally:
            self._connecting = None
        self._flush()

    # Receiving ------------------------------------------------------------------------------------

    def _take_frame(self) -> bytes | None:
        if len(self._incoming) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack_from(self._incoming)
        if size > FRAME_SIZE_MAX:
            raise ValueError("a frame beyond the bound")
        end = LENGTH.size + size
        if len(self._incoming) < end:
            return None
        body = bytes(memoryview(self._incoming)[LENGTH.size : end])
        del self._incoming[:end]
        return body

    def _settle(self, outcome: Outcome) -> None:
        """Hand an answer to whoever waits for it. Raises ValueError if nobody asked that."""
        asked = self._asked.get(outcome.number)
        if asked is None or not asked.times or not is_answer_to(asked.submission, outcome):
            raise ValueError("an answer to a question that was not asked")
        del self._asked[outcome.number]
        for frame in self._frames:
            if outcome.number in frame:
                frame.discard(outcome.number)
                if not frame:
                    self._frames.remove(frame)
                break
        if not asked.answer.done():  # whoever asked may have gone
            asked.answer.set_result(outcome)

    def _fail(self, numbers: list[int], fault: Busy) -> None:
        for number in numbers:
            asked = self._asked.pop(number)
            asked.fail(Busy(fault.code, fault.detail))
        self._unsent = [asked for asked in self._unsent if asked.submission.number in self._asked]

    def _abort(self) -> None:
        self._incoming.clear()
        if self._transport is not None:
            self._transport.abort()

    def _look_at_the_oldest(self) -> None:
        """Give up what has waited too long, and the connection that it waited on."""
        loop = asyncio.get_running_loop()
        self._limit = None
        overdue = loop.time() - self._answer_timeout_s
        late = [number for number, asked in self._asked.items() if asked.at <= overdue]
        if late:
            self._fail(late, Busy("intake.sequencer-lost", "the sequencer did not answer in time"))
            self._abort()
        oldest = next(iter(self._asked.values()), None)
        if oldest is not None:
            self._limit = loop.call_at(oldest.at + self._answer_timeout_s, self._look_at_the_oldest)
