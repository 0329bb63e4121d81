"""Step 5 of 9: the way from the workers to the one sequencer.

A Gate takes a submission and returns what became of it. `LocalGate` sequences in this process, for
small set-ups, tests and the operator's own commands. `SocketGate` asks over the sequencer's Unix socket,
from a thread that waits; `intake.pipelined` asks over it from an event loop, and `intake.gate_server` is
the other end of both.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from pathlib import Path
from typing import Protocol

import msgspec

from intake.errors import Busy
from intake.sequencer import Sequencer
from intake.wire import FRAME_SIZE_MAX, LENGTH, Outcome, Submission, decode_answer, encode_frame

ANSWER_TIMEOUT_S = 30.0  # a commit takes milliseconds; a caller that waited this long must ask again
RECEIVE_SIZE = 1 << 18


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
    """For threads: as many connections as submissions under way, one submission on each at a time.

    A connection goes back to the others only once its answer was read whole. It belongs to no thread:
    who serves in threads ends idle ones and starts new ones, and theirs would be left open for ever.
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
            if outcome.number != submission.number or not is_answer_to(submission, outcome):
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


def is_answer_to(submission: Submission, outcome: Outcome) -> bool:
    """Whether it says what became of each statement, or that all of them failed."""
    return outcome.error is not None or outcome.count == len(submission)


def _lost(error: BaseException) -> Busy:
    return Busy("intake.sequencer-lost", f"the sequencer did not answer: {type(error).__name__}")


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
