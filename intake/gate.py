"""Step 5 of 9: the way from the workers to the one sequencer.

A Gate takes a submission and returns what became of it. `LocalGate` sequences in this process, for
small set-ups, tests and the operator's own commands. `SocketGate` and `GateServer` are the two ends of
a Unix socket, for a server whose workers are processes of their own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from intake.errors import Busy
from intake.sequencer import Sequencer
from intake.wire import (
    FRAME_SIZE_MAX,
    LENGTH,
    Outcome,
    Submission,
    decode_answer,
    decode_frame,
    encode_answer,
    encode_frame,
)

ANSWER_TIMEOUT_S = 30.0  # a commit takes milliseconds; a caller that waited this long must ask again
RECEIVE_SIZE = 1 << 18
LINGER_S = 0.002  # how long a crowd is waited for; a lone sender never waits
IDLE_TICK_S = 0.25  # how late the newest checkpoint may be published when nothing else arrives
SUBMISSIONS_MAX = 512  # taken off the sockets at once; the rest waits in their senders
CONNECTIONS_MAX = 1024
ACCEPT_PAUSE_S = 0.01


class Gate(Protocol):
    """Where submissions go in."""

    def submit(self, submission: Submission) -> Outcome:
        """Wait for the commit and say what became of it. Raises Busy; sending again is safe."""
        ...


class LocalGate:
    """Sequences in this process, one submission after another."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        # A Log belongs to one thread at a time. Between processes the head in the database decides.
        self._lock = threading.Lock()

    def submit(self, submission: Submission) -> Outcome:
        with self._lock:
            return self._sequencer.process([submission])[0]


class SocketGate:
    """The worker's end: as many connections as submissions under way, one submission on each at a time.

    A connection goes back to the others only once its answer was read whole. It belongs to no thread:
    the HTTP server ends idle threads and starts new ones, and theirs would be left open for ever.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[socket.socket] = []  # append and pop are atomic; the newest is used first
        self._connections: set[socket.socket] = set()  # idle or not, so that close() finds them
        self._numbers = itertools.count(1)

    def submit(self, submission: Submission) -> Outcome:
        submission = msgspec.structs.replace(submission, number=next(self._numbers))
        frame = encode_frame([submission])
        try:
            idle = self._idle.pop()
        except IndexError:
            idle = None
        if idle is not None:
            try:
                return self._ask(idle, frame, submission)
            except (ConnectionError, EOFError):
                # The sequencer that it led to has ended since, perhaps with this in its hands. Asking the
                # new one is safe: what was appended is answered as a duplicate.
                pass
            except OSError as error:
                raise _lost(error) from error
        try:
            return self._ask(self._connect(), frame, submission)
        except (OSError, EOFError) as error:
            # Whether it was appended is unknown here. The caller's retry finds its receipt if it was.
            raise _lost(error) from error

    def _ask(self, connection: socket.socket, frame: bytes, submission: Submission) -> Outcome:
        """One question and its answer. Raises OSError or EOFError, and then the connection is gone."""
        try:
            connection.sendall(frame)
            try:
                body, is_last = _receive_frame(connection)
                (outcome,) = decode_answer(body)
            except (msgspec.MsgspecError, ValueError) as error:
                raise EOFError("the answer cannot be read") from error
            count = len(submission) if outcome.error is None else 0
            if outcome.number != submission.number or outcome.count != count:
                raise EOFError("the answer is about another submission")
        except BaseException:
            # Its answer may still come: the next submission must not read it as its own.
            self._drop(connection)
            raise
        if is_last:
            self._idle.append(connection)
        else:
            self._drop(connection)  # whatever follows answers nothing that was asked
        return outcome

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The system's own timeout: Python's would ask the system once more before each byte that it
        # reads or writes, and give up the interpreter lock each time.
        seconds, rest = divmod(ANSWER_TIMEOUT_S, 1)
        limit = struct.pack("ll", int(seconds), int(rest * 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, limit)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise Busy(
                "intake.sequencer-away", "the sequencer is not running; it is being started again"
            ) from error
        self._connections.add(connection)
        return connection

    def close(self) -> None:
        """End every connection; a submission under way becomes Busy."""
        self._idle.clear()
        while self._connections:
            self._connections.pop().close()

    def _drop(self, connection: socket.socket) -> None:
        self._connections.discard(connection)
        connection.close()


def _lost(error: BaseException) -> Busy:
    return Busy("intake.sequencer-lost", f"the sequencer did not answer: {type(error).__name__}")


class GateServer:
    """The sequencer's end: one thread reads whatever has arrived, appends it in one go, answers.

    While a transaction commits, the next submissions gather in the sockets: that is the group commit.
    Nothing is handed between threads, which at single events would cost more than the work.
    """

    def __init__(self, path: Path, sequencer: Sequencer, idle: Callable[[], None]) -> None:
        """idle: called after each group and at least every IDLE_TICK_S, for what is due by time."""
        self._sequencer = sequencer
        self._idle = idle
        self._path = path
        self._stopping = False
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
        while not self._stopping:
            peers = self._receive(IDLE_TICK_S)
            if peers and crowded:
                # Several senders came at once a moment ago: the others of them are on their way, and
                # one commit for all costs little more than one for the first.
                time.sleep(LINGER_S)
                peers += self._receive(0)
            crowded = len(peers) > 1
            if peers:
                self._answer(peers)
            if peers or time.monotonic() - ticked >= IDLE_TICK_S:
                self._idle()
                ticked = time.monotonic()
        self.close()

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _receive(self, timeout_s: float) -> list[tuple[_Peer, Submission]]:
        ready: list[tuple[_Peer, Submission]] = []
        for key, mask in self._selector.select(timeout_s):
            peer: _Peer | None = key.data
            if peer is None:
                self._accept()
                continue
            if mask & selectors.EVENT_WRITE and not peer.flush():
                self._close(peer)
                continue
            if mask & selectors.EVENT_READ:
                if not peer.read():
                    self._close(peer)
                    continue
                body = peer.take_frame()
                if body is not None:
                    try:
                        (submission,) = decode_frame(body)
                        ready.append((peer, submission))
                    except (msgspec.MsgspecError, ValueError):
                        self._close(peer)  # not one of our workers, or not of our version
            self._interest(peer)
            if len(ready) >= SUBMISSIONS_MAX:
                break
        return ready

    def _answer(self, ready: list[tuple[_Peer, Submission]]) -> None:
        outcomes = self._sequencer.process([submission for _, submission in ready])
        for (peer, submission), outcome in zip(ready, outcomes, strict=True):
            peer.queue(encode_answer([msgspec.structs.replace(outcome, number=submission.number)]))
            if peer.flush():
                self._interest(peer)
            else:
                self._close(peer)

    def _accept(self) -> None:
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
        if peer.connection.fileno() >= 0 and peer.interest != wanted:
            peer.interest = wanted
            self._selector.modify(peer.connection, wanted, peer)

    def _close(self, peer: _Peer) -> None:
        if peer.connection.fileno() >= 0:
            self._selector.unregister(peer.connection)
            peer.connection.close()


class _Peer:
    """One worker thread's connection: bytes that arrived, bytes that must still leave."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.interest = selectors.EVENT_READ

    def read(self) -> bool:
        """Take what has arrived. False if the other side is gone or says something impossible."""
        try:
            while chunk := self.connection.recv(RECEIVE_SIZE):
                self.incoming += chunk
                if len(self.incoming) > FRAME_SIZE_MAX + LENGTH.size:
                    return False
                if len(chunk) < RECEIVE_SIZE:
                    return True
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def take_frame(self) -> bytes | None:
        if len(self.incoming) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack_from(self.incoming)
        end = LENGTH.size + size
        if len(self.incoming) < end:
            return None
        body = bytes(self.incoming[LENGTH.size : end])
        del self.incoming[:end]
        return body

    def queue(self, frame: bytes) -> None:
        self.outgoing += frame

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


def _receive_frame(connection: socket.socket) -> tuple[bytes, bool]:
    """The body of the frame that comes next, and whether nothing came behind it."""
    received = b""
    while len(received) < LENGTH.size:
        chunk = connection.recv(RECEIVE_SIZE)
        if not chunk:
            raise EOFError("the sequencer closed the connection")
        received += chunk
    (size,) = LENGTH.unpack_from(received)
    end = LENGTH.size + size
    if size > FRAME_SIZE_MAX:
        raise EOFError("a frame beyond the bound")
    if len(received) >= end:
        return received[LENGTH.size : end], len(received) == end
    whole = bytearray(end)
    whole[: len(received)] = received
    view = memoryview(whole)
    done = len(received)
    while done < end:
        count = connection.recv_into(view[done:])
        if count == 0:
            raise EOFError("the sequencer closed the connection")
        done += count
    return bytes(view[LENGTH.size :]), True
