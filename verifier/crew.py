"""Step 9 of 9: processes that audit ranges of one ledger. After verifier.ranges, before range_audit.

They come from one that was started afresh (verifier.crew_start; not forked of
the caller: nothing of its connections or locks goes along), and each opens its
own reader. They share nothing and believe nothing of each other. If the caller
ends, however it ends, so do they.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from keys.errors import Fault, Malformed
from ledger import checkpoint as checkpoints
from ledger.audit import LedgerReader, Plan
from verifier.crew_start import CrewStart
from verifier.errors import SourceFailed
from verifier.ranges import Done, RangeAuditor, Setup, Task
from verifier.signature_audit import KeyRecord

OpenReader = Callable[
    [], LedgerReader
]  # goes to another process: a function of a module, or a partial of one

TASKS_PER_PROCESS_MAX = 2  # one under way, and the next one at hand


class Crew(Protocol):
    """Whoever audits ranges: processes, or the caller itself."""

    @property
    def tasks_max(self) -> int:
        """How many tasks it can be given before one of them must be taken."""

    def begin(self, plan: Plan, records: Sequence[KeyRecord], gap: int | None) -> None:
        """Tell everybody what holds for all tasks from now on. Only while none is under way."""

    def submit(self, task: Task) -> None:
        """Give a task to whoever has the least to do."""

    def take(self) -> Done:
        """Wait for a task that is done. Raises what its reader raised."""


class OwnCrew:
    """The caller itself, one task after the other."""

    tasks_max = 1

    def __init__(self, reader: LedgerReader, setup: Setup) -> None:
        self._auditor = RangeAuditor(reader, setup)
        self._tasks: deque[Task] = deque()

    def begin(self, plan: Plan, records: Sequence[KeyRecord], gap: int | None) -> None:
        self._auditor.begin(plan, records, gap)

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def take(self) -> Done:
        return self._auditor.audit(self._tasks.popleft())


class ProcessCrew:
    """So many processes, each with a reader of its own. close() it, or use it in a `with`."""

    def __init__(
        self, count: int, open_reader: OpenReader, setup: Setup, start: CrewStart | None = None
    ) -> None:
        """start  one that is under way already; it is ours from here on"""
        self._load: dict[Connection, int] = {}
        self._start = start or CrewStart()
        try:
            for _ in range(count):
                self._add(open_reader, setup)
            self._start.no_more_workers()
        except BaseException:
            self.close()
            raise

    def _add(self, open_reader: OpenReader, setup: Setup) -> None:
        try:
            connection = Connection(self._start.add_worker().detach())
        except OSError as error:
            raise _ended() from error
        self._load[connection] = 0
        self._tell(connection, (open_reader, setup))

    @property
    def tasks_max(self) -> int:
        return len(self._load) * TASKS_PER_PROCESS_MAX

    def begin(self, plan: Plan, records: Sequence[KeyRecord], gap: int | None) -> None:
        for connection in self._load:
            self._tell(connection, (plan, records, gap))

    def submit(self, task: Task) -> None:
        connection = min(self._load, key=self._load.__getitem__)
        self._load[connection] += 1
        self._tell(connection, task)

    def take(self) -> Done:
        # Also those that have nothing to do are listened to: one that ended will never have.
        for connection in wait(list(self._load)):
            assert isinstance(connection, Connection)
            try:
                answer = connection.recv()
            except (EOFError, OSError) as error:
                raise _ended() from error
            if isinstance(answer, Done):
                self._load[connection] -= 1
                return answer
            kind, *parts = answer
            if isinstance(kind, type) and issubclass(kind, Fault):
                raise kind(*parts)
            raise RuntimeError(f"an auditing process failed:\n{parts[0]}")
        raise _ended()

    def close(self) -> None:
        """End the processes; what they are at is lost."""
        for connection in self._load:
            connection.close()
        self._start.close()

    def __enter__(self) -> ProcessCrew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _tell(connection: Connection, what: object) -> None:
        try:
            connection.send(what)
        except OSError as error:
            raise _ended() from error


def _ended() -> SourceFailed:
    return SourceFailed("source.process", "a process that audits has ended before its time")


def work(descriptor: int) -> None:
    """One process's life: until the caller closes the connection, or ends."""
    connection = Connection(descriptor)
    with suppress(EOFError, OSError):
        try:
            open_reader, setup = connection.recv()
            reader: Any = open_reader()
            try:
                _serve(connection, reader, setup)
            finally:
                if hasattr(reader, "close"):
                    reader.close()
        except Fault as fault:
            connection.send((type(fault), fault.code, fault.detail, fault.pointer))
        except (EOFError, OSError):
            raise
        except Exception:
            connection.send((None, traceback.format_exc()))


def _serve(connection: Connection, reader: LedgerReader, setup: Setup) -> None:
    with suppress(Malformed):  # which the caller has found out as well
        # By its address a ledger is as long as the checkpoint that its reader saw.
        size = checkpoints.parse_unverified(reader.read_checkpoint()).tree_size
        if size < setup.size_seen:
            raise SourceFailed(
                "source.behind", f"{size} entries are shown, and {setup.size_seen} were before"
            )
    auditor = RangeAuditor(reader, setup)
    while True:
        what = connection.recv()
        if isinstance(what, Task):
            connection.send(auditor.audit(what))
        else:
            auditor.begin(*what)
