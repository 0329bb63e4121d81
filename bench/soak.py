"""`make bench-soak`: full rate for a long time, and the memory of every process must stay where it was.

The load is signed while it is sent, for ten minutes of it would fill the disk: two processes sign ahead, on
the same cores, into parts that are removed once they are sent. The server is kept busy all the time, with as
many requests waiting as in the case `batch100`, and gets what the signing leaves of the machine.

Flat means: what the processes hold (PSS) in the last quarter, in the mean, is at most GROWTH_MAX above the
second quarter, and at most the bound of the table. The first quarter is warm-up: pools, caches and tables
fill. Writes build/bench/soak.json and soak.png; ends with 1 if the memory was not flat.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench import load, pool, sender, stores
from bench.__main__ import FOLDER, SEED, tree_size
from bench.cases import MEMORY_MIB_MAX, PLAIN
from bench.watch import Watch, of_server

GROWTH_MAX = 0.05
GROWTH_MIB = 8.0  # less than this is no growth, whatever its share
SIGNED_AHEAD = 6  # parts
BATCH = 100
CLIENTS = 16
SAMPLE_S = 2.0


class Supply:
    """Bodies without end, from parts that others sign a little ahead."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._executor = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
        self._coming: list[Future[None]] = []
        self._next = 0
        self.waited_s = 0.0
        for _ in range(SIGNED_AHEAD):
            self._order()

    def _order(self) -> None:
        number = self._next
        self._coming.append(self._executor.submit(pool.make_part, self._folder, PLAIN, self._seed, number))
        self._next += 1

    def bodies(self) -> Iterator[memoryview]:
        number = 0
        while True:
            started = time.perf_counter()
            self._coming.pop(0).result()
            self.waited_s += time.perf_counter() - started
            self._order()
            path = self._folder / f"{number:05}.jws"
            part = pool.Part(path)
            path.unlink()  # the mapping keeps it until it is sent
            for first in range(0, len(part), BATCH):
                yield part.body(first, BATCH)
            number += 1

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


class Diary(threading.Thread):
    """Memory by role every two seconds."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(daemon=True)
        self._watch = watch
        self._end = threading.Event()
        self._began = time.perf_counter()
        self.lines: list[dict[str, float]] = []

    def run(self) -> None:
        while not self._end.wait(SAMPLE_S):
            self._watch.refresh()
            held = self._watch.pss_mib()
            self.lines.append(
                {"s": round(time.perf_counter() - self._began, 1), "sum": of_server(held), **held}
            )

    def stop(self) -> None:
        self._end.set()
        self.join()


def soak(place: stores.Place, folder: Path, seconds: float, seed: int, workers: int) -> dict[str, Any]:
    server = stores.serve(place, folder, workers)
    server.start()
    signed = folder / "signed"
    signed.mkdir()
    supply = Supply(signed, seed)
    try:
        assert server.process is not None
        server.register(load.emitters(pool.EMITTERS, seed))
        diary = Diary(Watch(server.process.pid, place.postmaster))
        diary.start()
        sent = sender.send(
            ("127.0.0.1", server.port),
            sender.heads(supply.bodies(), BATCH, server.url[7:]),
            batch=BATCH,
            clients=CLIENTS,
            seconds=seconds,
        )
        diary.stop()
        if sent.failures:
            raise SystemExit(f"{len(sent.failures)} refused, the first: {sent.failures[0][:800]!r}")
        appended = tree_size(server)
    finally:
        server.stop()
        supply.close()
    quarter = max(1, len(diary.lines) // 4)
    early = statistics.mean(line["sum"] for line in diary.lines[quarter : 2 * quarter] or diary.lines)
    late = statistics.mean(line["sum"] for line in diary.lines[-quarter:])
    latencies = statistics.quantiles(sent.latencies, n=100)
    return {
        "store": place.name,
        "seconds": round(seconds),
        "events": sent.total,
        "entries": appended,
        "events_per_s": round(sent.total / seconds),
        "p50_ms": round(latencies[49] * 1000, 1),
        "p99_ms": round(latencies[98] * 1000, 1),
        "waited_for_signing_s": round(supply.waited_s, 1),
        "pss_mib_second_quarter": round(early, 1),
        "pss_mib_last_quarter": round(late, 1),
        "pss_mib_most": round(max(line["sum"] for line in diary.lines), 1),
        "flat": late <= max(early * (1 + GROWTH_MAX), early + GROWTH_MIB) and late <= MEMORY_MIB_MAX,
        "memory": [{name: round(value, 1) for name, value in line.items()} for line in diary.lines],
        "timeline": [[size, round(rate)] for size, rate in sent.timeline(5.0)],
    }


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Memory and rate against time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(results), 2, figsize=(12, 3.6 * len(results)), squeeze=False)
    for result, (left, right) in zip(results, axes, strict=True):
        times = [line["s"] for line in result["memory"]]
        for role in [name for name in result["memory"][0] if name != "s"]:
            left.plot(times, [line.get(role, 0.0) for line in result["memory"]], label=role)
        left.set(title=f"{result['store']}: memory (PSS)", xlabel="seconds", ylabel="MiB")
        left.legend(fontsize="small")
        right.plot(*zip(*result["timeline"], strict=True), marker=".")
        right.set(title="rate", xlabel="events sent", ylabel="events a second")
        for axis in (left, right):
            axis.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--store", action="append", choices=list(stores.STORES), help="only this one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="tallystick-soak-"))
    results = []
    try:
        for name in options.store or ["sqlite"]:
            (folder / name).mkdir()
            with stores.STORES[name](folder / name) as place:
                result = soak(place, folder / name, options.seconds, options.seed, options.workers)
            shutil.rmtree(folder / name, ignore_errors=True)
            results.append(result)
            print(
                f"{name}: {result['events']:,} events in {result['seconds']} s, {result['events_per_s']:,}/s,"
                f" p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms; memory in MiB:"
                f" {result['pss_mib_second_quarter']} in the second quarter,"
                f" {result['pss_mib_last_quarter']} in the last, most {result['pss_mib_most']}:"
                f" {'flat' if result['flat'] else 'NOT FLAT'}",
                flush=True,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    (FOLDER / "soak.json").write_text(json.dumps(results, indent=2) + "\n")
    plot(results, FOLDER / "soak.png")
    print(f"written to {FOLDER / 'soak.json'} and soak.png")
    sys.exit(0 if all(result["flat"] for result in results) else 1)


if __name__ == "__main__":
    main()
