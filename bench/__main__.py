"""`make bench`: the floor, the real server under load on each store, then an audit of what was written.

Prints a table, and writes build/bench/latest.json and build/bench/latest.png. Under five minutes; the
load is signed before, which takes another half minute the first time (bench.pool keeps it).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import cases, load, pool, report, sender, stores
from bench.cases import AUDIT, Case
from bench.floor import Floor, fsync_ms
from bench.profile import Profile
from bench.server import Server
from bench.watch import Sampler, Watch, of_server

SEED = 20261120
FOLDER = Path("build/bench")
WARM_UP_S = 1.5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--case", action="append", choices=cases.NAMES, help="only this one; may be repeated")
    parser.add_argument("--store", action="append", choices=list(stores.STORES), help="only this one")
    parser.add_argument("--seconds", type=float, default=7.0, help="measured time of each case (7)")
    parser.add_argument("--workers", type=int, default=2, help="of the server (2)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--profile", action="store_true", help="py-spy on workers and sequencer, into build/bench"
    )
    parser.add_argument("--keep", type=Path, help="keep the ledgers under this folder")
    parser.add_argument("--output", type=Path, default=FOLDER / "latest.json")
    return parser.parse_args()


def make_load(chosen: list[Case], seed: int, seconds: float) -> dict[pool.Kind, int]:
    """Have enough on the disk for every case; give how many statements each kind has."""
    wanted: dict[pool.Kind, int] = {}
    for case in chosen:
        wanted[case.kind] = wanted.get(case.kind, 0) + case.statements(seconds + WARM_UP_S)
    started = time.perf_counter()
    for kind, count in wanted.items():
        pool.make(kind, seed, count)
    if (taken := time.perf_counter() - started) > 2:
        print(f"{sum(wanted.values()):,} statements signed in {taken:.0f} s", flush=True)
    return wanted


class Run:
    """One store: its server, its cases in order, each between two floors."""

    def __init__(self, options: argparse.Namespace, place: stores.Place, floor: Floor, folder: Path) -> None:
        self.options = options
        self.place = place
        self.floor = floor
        self.folder = folder
        self.results: list[dict[str, Any]] = []
        self.entries = 0

    def loads(self, chosen: list[Case], pools: dict[pool.Kind, pool.Pool], floor_before: float) -> float:
        """Every load case; the floor after the last."""
        server = stores.serve(self.place, self.folder, self.options.workers)
        server.start()
        try:
            server.register(load.emitters(pool.EMITTERS, self.options.seed))
            for case in chosen:
                result = self._case(server, case, pools[case.kind])
                with server.paused():
                    floor_after = self.floor.verifications_per_s()
                report.judge(result, (floor_before + floor_after) / 2, case)
                self.results.append(result)
                report.show(result)
                floor_before = floor_after
            self.entries = tree_size(server)
        finally:
            server.stop()
        return floor_before

    def _case(self, server: Server, case: Case, load_of_kind: pool.Pool) -> dict[str, Any]:
        assert server.process is not None
        seconds = self.options.seconds
        watch = Watch(server.process.pid, self.place.postmaster)
        bodies = load_of_kind.bodies(case.batch, case.statements(seconds + WARM_UP_S))
        requests: Iterator[tuple[bytes, sender.Body]] = sender.heads(bodies, case.batch, server.url[7:])
        if case.batch == 1:
            requests = iter(sender.joined(requests))
        size_before, bytes_before = tree_size(server), self.place.size_bytes()
        marks: list[tuple[dict[str, float], float]] = []

        def mark() -> None:
            marks.append((watch.cpu_seconds(), time.process_time()))

        profile = (
            Profile(watch, FOLDER, f"{self.place.name}-{case.name}", seconds)
            if self.options.profile
            else None
        )
        with Sampler(watch) as sampler:
            sent = sender.send(
                ("127.0.0.1", server.port),
                requests,
                batch=case.batch,
                clients=case.clients,
                seconds=seconds,
                warm_up_s=WARM_UP_S,
                on_window=lambda: (mark(), profile.start() if profile and len(marks) == 1 else None)[0],
            )
        if sent.failures:
            raise SystemExit(
                f"{case.name}: {len(sent.failures)} refused, the first: {sent.failures[0][:800]!r}"
            )
        appended = tree_size(server) - size_before
        if case.kind.mix is None and appended != sent.total:
            raise SystemExit(
                f"{case.name}: {sent.total} events were answered, and {appended} are in the ledger"
            )
        (cpu_before, own_before), (cpu_after, own_after) = marks
        latencies = sent.in_window()
        rate = sent.events / sent.window
        pss = watch.pss_mib()
        per_event = {role: (cpu_after[role] - cpu_before.get(role, 0.0)) for role in cpu_after}
        result = {
            "name": case.name,
            "store": self.place.name,
            "batch": case.batch,
            "clients": case.clients,
            "events": sent.events,
            "seconds": round(sent.window, 2),
            "load_ran_out": sent.exhausted,
            "duplicates": sent.total - appended,
            "events_per_s": round(rate),
            "epc_rows_per_s": round(rate * case.kind.epcs) if case.kind.epcs else None,
            "p50_ms": round(statistics.quantiles(latencies, n=100)[49] * 1000, 2),
            "p99_ms": round(statistics.quantiles(latencies, n=100)[98] * 1000, 2),
            "bytes_per_event": round((self.place.size_bytes() - bytes_before) / max(1, appended)),
            "cpu_us_per_event": {
                **{role: round(used / sent.events * 1e6, 1) for role, used in per_event.items()},
                "load": round((own_after - own_before) / sent.events * 1e6, 1),
            },
            "memory_mib": {
                "rss": {role: round(value, 1) for role, value in watch.rss_mib().items()},
                "pss": {role: round(value, 1) for role, value in pss.items()},
                "pss_of_server": round(of_server(pss), 1),
                "peak_rss_of_server": round(sampler.peak_mib, 1),
            },
            "timeline": [[size_before + size, round(at)] for size, at in sent.timeline()],
        }
        if profile is not None:
            result["profile"] = profile.finish()
        return result

    def audit(self, floor_before: float) -> float:
        """`tallystick audit` of the whole ledger, on all cores; the floor after it."""
        paths = ["--database", self.place.database, "--trust", str(self.folder / "ledger" / "trust")]
        command = [sys.executable, "-m", "tallystick", "audit", *paths, "--json"]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if done.returncode not in (0, 4):  # 4: nothing here was anchored, which is true
            raise SystemExit(f"audit ended with {done.returncode}: {done.stdout[-800:]}{done.stderr[-800:]}")
        floor_after = self.floor.verifications_per_s()
        result = {
            "name": AUDIT,
            "store": self.place.name,
            "events": self.entries,
            "seconds": round(seconds, 2),
            "events_per_s": round(self.entries / seconds),
            "p50_ms": None,
            "p99_ms": None,
        }
        report.judge(result, (floor_before + floor_after) / 2, None)
        self.results.append(result)
        report.show(result)
        return floor_after


def tree_size(server: Server) -> int:
    with urllib.request.urlopen(f"{server.url}/readyz?for=reads", timeout=30) as answer:
        size: int = json.load(answer)["reads"]["tree_size"]
        return size


def main() -> None:
    options = arguments()
    names = options.case or list(cases.NAMES)
    chosen = [case for case in cases.CASES if case.name in names] or [cases.CASES[0]]
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="tallystick-bench-"))
    started = time.perf_counter()
    results: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    try:
        with Floor() as floor:
            wanted = make_load(chosen, options.seed, options.seconds)
            fsync = fsync_ms(folder)
            rate = floor.verifications_per_s()
            report.head(rate, fsync)
            for name in options.store or list(stores.STORES):
                here = folder / name
                here.mkdir(parents=True)
                try:
                    with stores.STORES[name](here) as place:
                        run = Run(options, place, floor, here)
                        results_of = run.results
                        pools = {kind: pool.make(kind, options.seed, count) for kind, count in wanted.items()}
                        rate = run.loads(chosen, pools, rate)
                        if AUDIT in names:
                            rate = run.audit(rate)
                        results.extend(results_of)
                except stores.Missing as reason:
                    missing[name] = str(reason)
                    print(f"{name}: not measured: {reason}", flush=True)
            floors = floor.measured
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": report.machine(),
        "python": platform.python_version(),
        "seed": options.seed,
        "workers": options.workers,
        "took_s": round(time.perf_counter() - started),
        "floor": {
            "verifications_per_s": round(statistics.mean(floors)),
            "least": round(min(floors)),
            "most": round(max(floors)),
            "cores": os.cpu_count(),
            "fsync_ms": round(fsync, 3),
        },
        "not_measured": missing,
        "cases": results,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    report.foot(document)
    report.plot(results, options.output.with_suffix(".png"))
    print(f"written to {options.output} and {options.output.with_suffix('.png')}, {document['took_s']} s")


if __name__ == "__main__":
    main()
