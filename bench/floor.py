"""The floor: what this machine can do at best, measured in the same run as what it is compared with."""

from __future__ import annotations

import os
import statistics
import time
from multiprocessing import get_context
from pathlib import Path

from nacl.signing import SigningKey

MESSAGE_SIZE = 800  # the signing input of a 600-byte event
SECONDS = 2.0
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


def verifications_per_s(seconds: float = SECONDS, cores: int = CORES) -> float:
    """Ed25519 verifications a second through PyNaCl, one process on each of two cores."""
    with get_context("spawn").Pool(cores) as pool:
        pool.map(_verify, [0.1] * cores)  # start the processes outside the measurement
        return sum(pool.map(_verify, [seconds] * cores, chunksize=1))


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
