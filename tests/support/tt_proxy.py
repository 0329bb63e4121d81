"""A line between a client and PostgreSQL that is cut where a test says, in real bytes of its protocol."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

COMMIT = re.compile(rb"^.{1,8}COMMIT\b", re.DOTALL)
ANSWER_TIMEOUT_S = 10.0


class Proxy:
    """Listens on a Unix socket as PostgreSQL does, and hands every message on until it is told to cut.

    cut_at     the number of the client's message, counted from arm(), at which the line breaks; None: never
    is_passed  the server still gets that message, and only its answer is lost
    """

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/.s.PGSQL.5432")
        self._listener.listen(16)
        self._guard = threading.Lock()
        self._is_armed = False
        self._count = 0
        self.messages: list[bytes] = []  # since arm(): type and beginning
        self.cut_when: Callable[[int, bytes], bool] | None = None
        self.is_passed = False
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, cut_when: Callable[[int, bytes], bool] | None, *, is_passed: bool = False) -> None:
        """From now on count the messages; break the line at the first for which cut_when is true."""
        with self._guard:
            self._is_armed, self._count, self.messages = True, 0, []
            self.cut_when, self.is_passed, self.is_cut = cut_when, is_passed, False

    def disarm(self) -> None:
        with self._guard:
            self._is_armed = False

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            line = _Line(client, server)
            for run in (self._forward, self._back):
                threading.Thread(target=run, args=(line,), daemon=True).start()

    def _forward(self, line: _Line) -> None:
        """Client to server, message by message."""
        buffer, is_first = bytearray(), True
        with contextlib.suppress(OSError):
            while chunk := line.client.recv(1 << 16):
                buffer += chunk
                while (size := self._message_size(buffer, is_first)) is not None:
                    message = bytes(buffer[:size])
                    del buffer[:size]
                    if self._is_to_be_cut(message, is_first):
                        line.is_cut = True
                        if self.is_passed:
                            line.server.sendall(message + bytes(buffer))
                            # An end is waited for; what else is said may get no answer of its own.
                            line.answered.wait(ANSWER_TIMEOUT_S if is_commit(0, message) else 0.05)
                        line.end()
                        return
                    line.server.sendall(message)
                    is_first = False
        line.end()

    def _back(self, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while chunk := line.server.recv(1 << 16):
                if line.is_cut:
                    line.answered.set()
                    return
                line.client.sendall(chunk)
        line.end()

    def _is_to_be_cut(self, message: bytes, is_first: bool) -> bool:
        with self._guard:
            if is_first or not self._is_armed or self.is_cut:
                return False
            number = self._count
            self._count += 1
            self.messages.append(message[:60])
            self.is_cut = self.cut_when is not None and self.cut_when(number, message)
            return self.is_cut

    @staticmethod
    def _message_size(buffer: bytearray, is_first: bool) -> int | None:
        """A message is a type byte and its length; the first of a connection has no type."""
        skip = 0 if is_first else 1
        if len(buffer) < skip + 4:
            return None
        size = skip + struct.unpack_from(">i", buffer, skip)[0]
        return size if len(buffer) >= size else None


def is_commit(_: int, message: bytes) -> bool:
    """The message that ends a transaction for good."""
    return COMMIT.match(message) is not None


class _Line:
    """One connection, in two halves."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.is_cut = False
        self.answered = threading.Event()

    def end(self) -> None:
        for half in (self.client, self.server):
            with contextlib.suppress(OSError):
                half.shutdown(socket.SHUT_RDWR)
            half.close()
