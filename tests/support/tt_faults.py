"""Faults at each step of writing: below SQLAlchemy in the driver's own calls, and in the high-water file.

A step is lost (it did not happen, and says so), or done and then reported as failed: what a process
sees when a disk, a network or a database breaks off at that moment.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ledger import highwater
from ledger.store import sqlite

READING = ("SELECT", "PRAGMA", "WITH")


def disk_error() -> Exception:
    return sqlite.dbapi.OperationalError("disk I/O error")


def full_disk() -> Exception:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def kill() -> Exception:
    """End this process as the kernel would: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


@dataclass
class Faults:
    """Counts steps while it is armed; at one of them, something happens.

    at        the step that fails, counted from 0; None only writes the names down
    is_done   the step takes place before it fails
    """

    at: int | None = None
    is_done: bool = False
    failure: Callable[[], Exception] | None = None
    goes_on: bool = False  # every later step fails as well, until disarmed
    is_armed: bool = False
    steps: list[str] = field(default_factory=list)

    @contextmanager
    def armed(self) -> Iterator[Faults]:
        self.is_armed, self.steps = True, []
        try:
            yield self
        finally:
            self.is_armed = False

    def step(self, name: str, do: Callable[[], Any], failure: Callable[[], Exception]) -> Any:
        if not self.is_armed:
            return do()
        number = len(self.steps)
        self.steps.append(name)
        if self.at is None or number < self.at or (number > self.at and not self.goes_on):
            return do()
        if self.is_done:
            do()
        raise (self.failure or failure)()


def install(monkeypatch: Any, faults: Faults) -> None:
    """Put the faults below every connection and high-water file opened from now on."""
    real_connect, real_pwrite, real_sync = sqlite.dbapi.connect, os.pwrite, os.fdatasync

    class Cursor(sqlite.dbapi.Cursor):
        def execute(self, sql: str, *args: Any) -> Any:
            verb = sql.split(" ", 1)[0]
            if verb in READING or sql == "BEGIN DEFERRED":  # of a read
                return super().execute(sql, *args)
            run = super().execute
            return faults.step(_name(sql), lambda: run(sql, *args), disk_error)

        def executemany(self, sql: str, *args: Any) -> Any:
            run = super().executemany
            return faults.step(_name(sql), lambda: run(sql, *args), disk_error)

    class Connection(sqlite.dbapi.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def commit(self) -> None:
            run = super().commit
            faults.step("COMMIT", run, disk_error)

    def connect(*args: Any, **options: Any) -> Any:
        return real_connect(*args, **options, factory=Connection)

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        return faults.step("mark", lambda: real_pwrite(descriptor, data, offset), full_disk)

    def fdatasync(descriptor: int) -> None:
        faults.step("mark to disk", lambda: real_sync(descriptor), full_disk)

    monkeypatch.setattr(sqlite.dbapi, "connect", connect)
    monkeypatch.setattr(highwater.os, "pwrite", pwrite)
    monkeypatch.setattr(highwater.os, "fdatasync", fdatasync)


def _name(sql: str) -> str:
    words = sql.split()
    return " ".join(words[:3] if words[0] == "INSERT" else words[:2])
