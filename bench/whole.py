"""The whole server on an empty ledger and on one of a hundred million names: does a client notice the size?

    python -m bench.whole --rows 100000000 --store sqlite

Founds a ledger as an operator does, sends batches of 1,000 signed events through the real server, stops it,
grows the ledger in its place (bench.large's batches, by the ledger's own log and key), starts it again and
sends the next batches. Each rate is held against the floor measured around it, so that the ratio of the two
tells the ledger's size and not the machine's mood. Writes build/bench/whole.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import cases, large, load, pool, report, stores
from bench.__main__ import SEED, Run
from bench.floor import Floor
from bench.server import PASSPHRASE
from ledger.store.name_runs_merge import NameIndex
from tallystick import config as configuration
from tallystick.sequencer_process import open_log

FLAT_MIN = 0.9
QUIET_MAX_S = 120.0  # merging that is left over when growth ends, as a server does in its quiet moments


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.whole", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000_000, help="names to grow to (100,000,000)")
    parser.add_argument("--store", action="append", choices=list(stores.STORES), help="only this one")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time of each rate (10)")
    parser.add_argument("--workers", type=int, default=2, help="of the server (2)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=Path("build/bench/whole.json"))
    options = parser.parse_args()
    options.profile = False
    return options


def grow(folder: Path, rows: int) -> tuple[int, float]:
    """Append until so many names are there; give how many are, and the seconds it took."""
    log, store, _ = open_log(configuration.load(folder), PASSPHRASE)
    index = NameIndex(store.merging)
    batches = large.Load(0.0)
    began = shown = time.monotonic()
    number = 0
    while number * batches.names_per_batch < rows:
        started = time.monotonic()
        log.append_columns(batches.batch(number), expected=log.head, recorded_at=log.record_time())
        until = 2 * time.monotonic() - started
        while index.keep_up(0.0) and time.monotonic() < until:
            pass
        number += 1
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"  {number * batches.names_per_batch:,} names", flush=True)
    limit = time.monotonic() + QUIET_MAX_S
    while index.maintain(0.0) and time.monotonic() < limit:
        pass
    store.close()
    return number * batches.names_per_batch, time.monotonic() - began


def measure(options: argparse.Namespace, name: str, floor: Floor, folder: Path) -> list[dict[str, Any]]:
    """The rate at the beginning and at the end, of one store."""
    case = next(case for case in cases.CASES if case.name == "batch1000")
    # Load for both rates: the second must not meet the first one's statements again.
    events = pool.make(case.kind, options.seed, 2 * case.statements(options.seconds + 2))
    with stores.STORES[name](folder) as place:
        run = Run(options, place, floor, folder)
        server = stores.serve(place, folder, options.workers)
        server.start()
        rates: list[dict[str, Any]] = []
        try:
            server.register(load.emitters(pool.EMITTERS, options.seed))
            for is_grown in (False, True):
                if is_grown:
                    server.stop()
                    rows, seconds = grow(folder / "ledger", options.rows)
                    print(f"  grown to {rows:,} names in {seconds:.0f} s", flush=True)
                    server.start()
                with server.paused():
                    before = floor.verifications_per_s()
                result = run._case(server, case, events)
                with server.paused():
                    around = (before + floor.verifications_per_s()) / 2
                report.judge(result, around, case)
                result["rows_before"] = options.rows if is_grown else 0
                report.show(result)
                rates.append(result)
        finally:
            server.stop()
    return rates


def main() -> None:
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="tallystick-whole-", dir=options.output.parent.resolve()))
    found: dict[str, Any] = {}
    try:
        with Floor() as floor:
            report.head(floor.verifications_per_s(), 0.0)
            for name in options.store or list(stores.STORES):
                here = folder / name
                here.mkdir(parents=True)
                try:
                    rates = measure(options, name, floor, here)
                except stores.Missing as reason:
                    print(f"{name}: not measured: {reason}", flush=True)
                    continue
                flat = rates[1]["ratio_to_floor"] / rates[0]["ratio_to_floor"]
                found[name] = {"rows": options.rows, "rates": rates, "end_over_start": round(flat, 3)}
                said = "met" if flat >= FLAT_MIN else "not met"
                print(f"{name}: at {options.rows:,} names {flat:.2f} of the first rate ({FLAT_MIN}: {said})")
                options.output.write_text(json.dumps(found, indent=2) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
