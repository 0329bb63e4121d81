"""Step 5 of 9: the sequencer's end of the gate. One thread reads whatever has arrived, appends it, answers.

While a transaction commits, the next submissions gather in the sockets: that is the group commit.
Nothing is handed between threads, which at single events would cost more than the work.

Whatever is kept here has a bound. A peer that does not read its answers, or sends half a frame and no
more, costs itself its connection and nobody else a moment: sockets are never waited for.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from intake.errors import Busy
from intake.sequencer import APPEND_COUNT_MAX, Sequencer
from intake.wire import (
    FRAME_SIZE_MAX,
    LENGTH,
    Outcome,
    Submission,
    decode_frame,
    encode_answer,
    fault_message,
)

RECEIVE_SIZE = 1 << 18
LINGER_S = 0.002  # how long a crowd is waited for; a lone sender never waits
IDLE_TICK_S = 0.25  # how late the newest checkpoint may be published when nothing else arrives
QUIET_S = 0.001  # when nothing has come for so long, what can wait has its turn
CONNECTIONS_MAX = 1024
ACCEPT_PAUSE_S = 0.01
STOP_FLUSH_S = 1.0  # how long the last answers are pushed into sockets that are full

# Statements of a submission that waits until the small ones of its moment are done, and then has a
# transaction of its own. What comes while it commits waits for it, and for no second one.
LARGE_COUNT = 1025
GROUP_COUNT_MAX = APPEND_COUNT_MAX

READ_ROUNDS_MAX = 8  # times RECEIVE_SIZE from one peer before the next has its turn
WAITING_SIZE_MAX = 96 * 1024 * 1024  # bytes of submissions that wait; beyond it nothing more is read
INCOMPLETE_SIZE_MAX = 2 * FRAME_SIZE_MAX  # bytes of half frames of all peers; who goes beyond it is cut off
UNREAD_SIZE_MAX = 16 * 1024 * 1024  # bytes of answers that a peer leaves unread; beyond it is cut off


class GateServer:
    """Listens on a Unix socket that only this user may open, and serves it in the thread that calls serve().

    idle: called after each group and at least every IDLE_TICK_S, for what is due by time.
    spare: called while nothing arrives, for a few milliseconds of what can wait; whether there is more.
    """

    def __init__(
        self,
        path: Path,
        sequencer: Sequencer,
        idle: Callable[[], None],
        spare: Callable[[], bool] = lambda: False,
    ) -> None:
        self._spare = spare
        self._sequencer = sequencer
        self._idle = idle
        self._path = path
        self._stopping = False
        self._small: deque[_Waiting] = deque()
        self._large: deque[_Waiting] = deque()
        self._waiting_size = 0
        self._incomplete_size = 0
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # ours from before a kill: the writer's lock says no other sequencer lives
        previous = os.umask(0o177)  # the socket appends to the ledger: for this user alone
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(previous)
        self._listener.listen(CONNECTIONS_MAX)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def stop(self) -> None:
        """Ask the loop to answer what it has and end. Safe from a signal handler."""
        self._stopping = True

    def serve(self) -> None:
        """Run until stop()."""
        ticked = time.monotonic()
        crowded = False
        has_spare_work = True
        while not self._stopping:
            waits = bool(self._small or self._large)
            arrived = self._receive(0 if waits else QUIET_S if has_spare_work else IDLE_TICK_S)
            if arrived and crowded and not waits:
                # Several came at once a moment ago: the others of them are on their way, and one commit
                # for all costs little more than one for the first.
                time.sleep(LINGER_S)
                arrived += self._receive(0)
            crowded = arrived > 1
            worked = self._work()
            if worked or time.monotonic() - ticked >= IDLE_TICK_S:
                self._idle()
                ticked = time.monotonic()
                has_spare_work = True
            if not worked and has_spare_work:
                has_spare_work = self._spare()
        while self._work():
            pass
        self._push_out()
        self.close()

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _work(self) -> bool:
        """Append one group of small submissions and one large one. False if there was nothing to do."""
        group: list[_Waiting] = []
        count = 0
        while self._small and (not group or count + len(self._small[0].submission) <= GROUP_COUNT_MAX):
            group.append(self._small.popleft())
            count += len(group[-1].submission)
        if group:
            self._answer(group)
        if self._large:
            self._answer([self._large.popleft()])
        elif not group:
            return False
        return True

    def _answer(self, group: list[_Waiting]) -> None:
        outcomes = self._sequencer.process([waiting.submission for waiting in group])
        answers: dict[_Peer, list[Outcome]] = {}
        for waiting, outcome in zip(group, outcomes, strict=True):
            self._waiting_size -= waiting.size
            numbered = msgspec.structs.replace(outcome, number=waiting.submission.number)
            answers.setdefault(waiting.peer, []).append(numbered)
        for peer, outgoing in answers.items():
            peer.queue(_frames(outgoing))
            self._flush(peer)

    def _flush(self, peer: _Peer) -> None:
        if peer.flush() and len(peer.outgoing) <= UNREAD_SIZE_MAX:
            self._interest(peer)
        else:
            self._close(peer)

    def _push_out(self) -> None:
        """Give the last answers a moment to leave: their events are in the ledger."""
        peers = [key.data for key in self._selector.get_map().values() if key.data is not None]
        deadline = time.monotonic() + STOP_FLUSH_S
        while any(peer.outgoing and peer.flush() for peer in peers) and time.monotonic() < deadline:
            time.sleep(ACCEPT_PAUSE_S)

    def _receive(self, timeout_s: float) -> int:
        """Take in what has arrived, and return how many submissions that were."""
        if self._waiting_size > WAITING_SIZE_MAX:
            return 0  # what waits is worked off first; the rest waits in the sockets, and in its senders
        arrived = 0
        for key, mask in self._selector.select(timeout_s):
            peer: _Peer | None = key.data
            if peer is None:
                self._accept()
                continue
            if mask & selectors.EVENT_WRITE:
                self._flush(peer)
            if mask & selectors.EVENT_READ and peer.is_open:
                arrived += self._read(peer)
        return arrived

    def _read(self, peer: _Peer) -> int:
        before = len(peer.incoming)
        alive = peer.read()
        arrived = 0
        try:
            while (body := peer.take_frame()) is not None:
                submissions = decode_frame(body)
                for submission in submissions:
                    waiting = _Waiting(peer, submission, len(body) // len(submissions))
                    (self._large if len(submission) >= LARGE_COUNT else self._small).append(waiting)
                    self._waiting_size += waiting.size
                    arrived += 1
        except (msgspec.MsgspecError, ValueError):
            alive = False  # not one of our workers, or not of our version
        self._incomplete_size += len(peer.incoming) - before
        if not alive or self._incomplete_size > INCOMPLETE_SIZE_MAX:
            self._close(peer)
        return arrived

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # No descriptor left, for one: who waits is served later, who is connected meanwhile.
                time.sleep(ACCEPT_PAUSE_S)
                return
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, _Peer(connection))

    def _interest(self, peer: _Peer) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outgoing else 0)
        if peer.is_open and peer.interest != wanted:
            peer.interest = wanted
            self._selector.modify(peer.connection, wanted, peer)

    def _close(self, peer: _Peer) -> None:
        if peer.is_open:
            self._selector.unregister(peer.connection)
            peer.connection.close()
            self._incomplete_size -= len(peer.incoming)
            peer.incoming.clear()


class _Waiting:
    """A submission that was read and not yet appended. size: the bytes counted for it."""

    __slots__ = ("peer", "size", "submission")

    def __init__(self, peer: _Peer, submission: Submission, size: int) -> None:
        self.peer = peer
        self.submission = submission
        self.size = size


class _Peer:
    """One connection of a worker: bytes that arrived, bytes that must still leave."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.interest = selectors.EVENT_READ

    @property
    def is_open(self) -> bool:
        return self.connection.fileno() >= 0

    def read(self) -> bool:
        """Take what has arrived, up to a bound. False if the other side is gone or sends the impossible."""
        try:
            for _ in range(READ_ROUNDS_MAX):
                chunk = self.connection.recv(RECEIVE_SIZE)
                if not chunk:
                    return False
                self.incoming += chunk
                if len(chunk) < RECEIVE_SIZE:
                    return True
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def take_frame(self) -> bytes | None:
        """The next whole frame. Raises ValueError for one beyond the bound."""
        if len(self.incoming) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack_from(self.incoming)
        if size > FRAME_SIZE_MAX:
            raise ValueError("a frame beyond the bound")
        end = LENGTH.size + size
        if len(self.incoming) < end:
            return None
        body = bytes(memoryview(self.incoming)[LENGTH.size : end])
        del self.incoming[:end]
        return body

    def queue(self, frames: bytes) -> None:
        self.outgoing += frames

    def flush(self) -> bool:
        """Send what the socket takes. False if the other side is gone; its answer is then in the ledger."""
        try:
            while self.outgoing:
                sent = self.connection.send(self.outgoing)
                del self.outgoing[:sent]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def _frames(outcomes: list[Outcome]) -> bytes:
    try:
        return encode_answer(outcomes)
    except Busy as fault:
        if len(outcomes) > 1:
            return b"".join(_frames([outcome]) for outcome in outcomes)
        # Its statements are in the ledger. Sent again in smaller requests, they are answered as duplicates.
        return encode_answer([Outcome(error=fault_message(fault), number=outcomes[0].number)])
