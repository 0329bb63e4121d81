"""What the server's processes use: CPU by role, memory by role, and how large the ledger is on the disk."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_S = 0.5


def processes_of(root: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(parents.get(pid, []))
    return found


class Watch:
    """Everything that serves, each process under its role: workers, sequencer, projector, parent, postgresql.

    Ended backends of PostgreSQL count too: their time goes to the postmaster.
    """

    def __init__(self, server: int, postmaster: int | None = None) -> None:
        self._server = server
        self._postmaster = postmaster
        self.refresh()

    def refresh(self) -> None:
        """Look again which processes there are."""
        self.roles = {pid: self._role(pid) for pid in processes_of(self._server)}
        if self._postmaster is not None:
            self.roles.update(dict.fromkeys(processes_of(self._postmaster), "postgresql"))

    def _role(self, pid: int) -> str:
        if pid == self._server:
            return "parent"
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            for role in ("sequencer", "projector"):
                if f"{role}_process".encode() in line:
                    return role
        return "workers"

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time used so far, by role."""
        self.refresh()
        used = dict.fromkeys(self.roles.values(), 0.0)
        for pid, role in self.roles.items():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                ended = 4 if role == "postgresql" and pid == self._postmaster else 2
                used[role] += sum(map(int, fields[11 : 11 + ended])) / TICKS
        return used

    def rss_mib(self) -> dict[str, float]:
        """Resident memory by role. Pages that processes share count for each of them."""
        held = dict.fromkeys(self.roles.values(), 0.0)
        for pid, role in self.roles.items():
            with contextlib.suppress(OSError):
                held[role] += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / MIB
        return held

    def pss_mib(self) -> dict[str, float]:
        """Proportional memory by role: a page that three processes share counts a third for each."""
        held = dict.fromkeys(self.roles.values(), 0.0)
        for pid, role in self.roles.items():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        held[role] += int(line.split()[1]) / 1024
        return held


def of_server(held: dict[str, float]) -> float:
    """The sum over our own processes, without PostgreSQL's."""
    return sum(value for role, value in held.items() if role != "postgresql")


class Sampler(threading.Thread):
    """Looks at the memory twice a second, and keeps the largest sum it saw (of our own processes, RSS)."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(daemon=True)
        self._watch = watch
        self._end = threading.Event()
        self.samples: list[float] = []

    def run(self) -> None:
        while not self._end.wait(SAMPLE_S):
            self.samples.append(of_server(self._watch.rss_mib()))

    @property
    def peak_mib(self) -> float:
        return max(self.samples, default=0.0)

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self.join()
