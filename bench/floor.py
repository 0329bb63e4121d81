"""The floor: what this machine can do at best, measured in the same run as what it is compared with.

Machines drift, virtual ones most of all. So the floor is measured before and after every case, and a case is
held against the mean of the two beside it.
"""

from __future__ import annotations

import os
import statistics
import time
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

from nacl.signing import SigningKey

MESSAGE_SIZE = 800  # the signing input of a 600-byte event
SECONDS = 1.5
CORES = 2


def _verify(seconds: float) -> float:
    """Ed25519 verifications a second of one process."""
    key = SigningKey(bytes(32))
    message = os.urandom(MESSAGE_SIZE)
    signature = key.sign(message).signature
    verify = key.verify_key.verify
    count = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(200):
            verify(message, signature)
        count += 200
    return count / elapsed


class Floor:
    """Two processes that verify when asked, and sleep otherwise."""

    def __init__(self, cores: int = CORES) -> None:
        self._cores = cores
        self._pool = get_context("spawn").Pool(cores)
        self._pool.map(_verify, [0.1] * cores, chunksize=1)
        self.measured: list[float] = []

    def verifications_per_s(self, seconds: float = SECONDS) -> float:
        """Ed25519 verifications a second through PyNaCl, one process on each of two cores."""
        # A virtual core that has rested needs a second to be given all of its speed again.
        self._pool.map(_verify, [1.0] * self._cores, chunksize=1)
        rate = sum(self._pool.map(_verify, [seconds] * self._cores, chunksize=1))
        self.measured.append(rate)
        return rate

    def __enter__(self) -> Floor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.terminate()
        self._pool.join()


class Gauge:
    """Verifications of this very process, in short turns between turns of what is measured.

    What else the machine does slows both alike, so that their ratio tells of the measured alone.
    """

    def __init__(self) -> None:
        key = SigningKey(bytes(32))
        self._message = os.urandom(MESSAGE_SIZE)
        self._signature = key.sign(self._message).signature
        self._verify = key.verify_key.verify
        self._count = 0
        self._wall = self._cpu = 0.0

    def turn(self, seconds: float) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < seconds:
            self.run(50)
            self._count += 50
        self._wall += time.perf_counter() - wall
        self._cpu += time.process_time() - cpu

    def run(self, count: int) -> None:
        """So many, not measured here."""
        for _ in range(count):
            self._verify(self._message, self._signature)

    @property
    def per_s(self) -> float:
        return self._count / self._wall

    @property
    def cpu_us(self) -> float:
        """CPU time of one."""
        return 1e6 * self._cpu / self._count


def fsync_ms(folder: Path, rounds: int = 200) -> float:
    """Median milliseconds of appending 4 KiB and fdatasync."""
    path = folder / "fsync-probe"
    taken = []
    block = os.urandom(4096)
    with path.open("wb", buffering=0) as file:
        for _ in range(rounds):
            started = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - started) * 1000)
    path.unlink()
    return statistics.median(taken)
