"""`make bench`: the floor, then the real server under load, then an audit of what was written.

Prints one line a case and writes build/bench/latest.json. Takes about two minutes.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench import floor, load
from bench.server import ORIGIN, Server

EMITTERS = 50
SEED = 20261120
RESULTS = Path("build/bench/latest.json")


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    batch: int
    clients: int
    count: int  # events
    epcs: int = load.EPCS_PER_EVENT


CASES = (
    Case("batch1000", 1000, 8, 120_000),
    Case("batch100", 100, 16, 100_000),
    Case("single32", 1, 32, 15_000),
    Case("single64", 1, 64, 15_000),
    Case("commission1000", 10, 8, 1_500, epcs=1000),
)


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def run_case(
    server: Server, case: Case, lines: list[load.Emitter], floor_rate: float, number: int
) -> dict[str, object]:
    signed = load.statements(lines, case.count, ORIGIN, SEED + number, case.epcs)
    prepared = load.requests(signed, case.batch, f"127.0.0.1:{server.port}")
    before = server.cpu_seconds()
    own = time.process_time()
    sent = load.send(("127.0.0.1", server.port), prepared, case.clients)
    own = time.process_time() - own
    after = server.cpu_seconds()
    if sent.failures:
        raise SystemExit(f"{case.name}: {len(sent.failures)} refused, the first: {sent.failures[0][:600]!r}")
    rate = case.count / sent.seconds
    return {
        "name": case.name,
        "store": "sqlite",
        "events": case.count,
        "clients": case.clients,
        "events_per_s": round(rate),
        "epc_rows_per_s": round(rate * case.epcs),
        "ratio_to_floor": round(rate / floor_rate, 3),
        "p50_ms": round(percentile(sent.latencies, 0.50) * 1000, 2),
        "p99_ms": round(percentile(sent.latencies, 0.99) * 1000, 2),
        "cpu_us_per_event": {
            **{role: round((after[role] - before[role]) / case.count * 1e6, 1) for role in after},
            "load": round(own / case.count * 1e6, 1),
        },
    }


def run_audit(folder: Path, events: int, floor_rate: float) -> dict[str, object]:
    paths = ["--database", str(folder / "ledger.db"), "--trust", str(folder / "trust")]
    command = [sys.executable, "-m", "tallystick", "audit", *paths]
    started = time.perf_counter()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 4):  # 4: nothing here was anchored, which is true
        raise SystemExit(f"audit ended with {done.returncode}: {done.stdout[-800:]}{done.stderr[-800:]}")
    rate = events / seconds
    return {
        "name": "audit",
        "store": "sqlite",
        "events": events,
        "events_per_s": round(rate),
        "ratio_to_floor": round(rate / floor_rate, 3),
        "p50_ms": None,
        "p99_ms": None,
    }


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="tallystick-bench-"))
    try:
        before = floor.verifications_per_s()
        fsync = floor.fsync_ms(folder)
        lines = load.emitters(EMITTERS, SEED)
        server = Server(folder / "ledger")
        server.start()
        cases = []
        try:
            server.register(lines)
            for number, case in enumerate(CASES):
                cases.append(run_case(server, case, lines, before, number))
                show(cases[-1])
        finally:
            server.stop()
        size = sum(path.stat().st_size for path in (folder / "ledger").glob("ledger.db*"))
        total = sum(case.count for case in CASES)
        cases.append(run_audit(folder / "ledger", total + EMITTERS + 2, before))
        show(cases[-1])
        after = floor.verifications_per_s()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"floor      {before:9,.0f} Ed25519 verifications/s on two cores before, {after:,.0f} after")
    print(f"           {fsync:9.2f} ms to append 4 KiB and sync;  {size / total:,.0f} bytes an event")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "floor": {"verifications_per_s": round(before), "after": round(after), "fsync_ms": round(fsync, 3)},
        "bytes_per_event": round(size / total),
        "cases": cases,
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")


def show(case: dict[str, object]) -> None:
    latency = "" if case["p50_ms"] is None else f"   p50 {case['p50_ms']:>8} ms   p99 {case['p99_ms']:>8} ms"
    share = f"{case['ratio_to_floor']:.2f} of the floor"
    print(f"{case['name']:<14} {case['events_per_s']:>9,} events/s   {share}{latency}")
    if "cpu_us_per_event" in case:
        print(
            f"               {case['epc_rows_per_s']:,} EPC rows/s; CPU an event: {case['cpu_us_per_event']}"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
