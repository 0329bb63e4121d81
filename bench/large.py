"""`make bench-large`: grow a ledger to 100 million names of products, and see what sags.

    python -m bench.large --rows 5000000 --store sqlite      a short form; called again with more, it goes on

Prepared submissions go through the Log and its store, one process, without HTTP and signatures: what could
age is there. Five names an event, the worst case for an index: random, but that one event in ten names one of
FEW things and one in a hundred the same pallet; with `--born 0.5` half of all names are in commissioning
events of a thousand. Merging takes turns with appends as in a server that has never a quiet moment, and is
counted.
Statements are real ones from a small pool, so their sizes are; only what depends on the place is new in each.

Other work on the machine is told from ageing by a floor: every few appends this process verifies
signatures for a moment. Rates are held against it, and so is CPU time (ours and PostgreSQL's), which is a
second measure of its own.

After each step of growth, over a reader of its own: places of names that are there, are not, are there a few
times or very often; the inclusion proof of a random leaf; entries and statements of one thing's places.
Writes build/bench/large.json and large.png. The databases stay in build/bench/large until `--fresh`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import inspect

from bench import load, report, stores
from bench.floor import Gauge
from bench.watch import Watch
from keys import envelope
from keys.algorithms import private_key_from_seed
from keys.note import NoteSigner
from ledger.log import Columns, Log
from ledger.store import packing
from ledger.store.name_runs_merge import NameIndex
from ledger.store.opening import Database, open_reader, open_writer
from ledger.tiles import Prover
from tallystick import migrations
from traceability.names import names_v1
from traceability.readers import read_content

SEED = 20261120
FOLDER = Path("build/bench")
ORIGIN = "bench.example/large"
NAMES = 5  # an event
BATCH = 1_000  # events in one append
FEW = 200_000  # things that come back: ten times each by 20 million events
PALLET = 0x0E1F_5A5A_1234_5678  # named by every hundredth event
LINES = 50
BORN_NAMES = 1_000  # of a commissioning event
POINT_EVENTS = 200_000  # a rate each million names
GAUGE_BATCHES, GAUGE_S = 10, 0.05  # how often, and how long, the floor is measured
LOOKUPS = 400
LOOKUP_GROWTH = 1.25  # looked up each time the ledger has grown by a quarter
FIND_MS_MAX, PROOF_MS_MAX, HISTORY_MS_MAX, FLAT_MIN = 5.0, 1.0, 5.0, 0.9

_NAME = np.dtype([("key", "<i8"), ("ordinal", "<u4")])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000_000, help="names to grow to (100,000,000)")
    parser.add_argument("--store", action="append", choices=list(stores.STORES), help="only this one")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop a store's growth after so long")
    parser.add_argument("--born", type=float, default=0.0, help="share of names in commissioning events")
    parser.add_argument(
        "--look", action="store_true", help="look things up once more, at whatever size it has"
    )
    parser.add_argument("--fresh", action="store_true", help="begin with empty ledgers")
    parser.add_argument("--folder", type=Path, default=FOLDER / "large", help="where the ledgers are kept")
    return parser.parse_args()


# --- what is appended ----------------------------------------------------------------------------


class Load:
    """The n-th batch, always the same: what was named can be named again when it is looked up."""

    def __init__(self, born: float) -> None:
        """born: share of the names that are in commissioning events."""
        self._few = np.random.default_rng(SEED).integers(-(2**63), 2**63 - 1, FEW, np.int64)
        rest = BATCH * NAMES
        self._born = round(born * rest / (BORN_NAMES * (1 - born) + NAMES * born))  # events of a batch
        if self._born > BATCH // 10:
            raise SystemExit("--born: at most 0.95 of the names")
        self._born_at = range(7, 7 + 10 * self._born, 10)  # where none of the others is looked up
        self.names_per_batch = rest + self._born * (BORN_NAMES - NAMES)
        lines = load.emitters(4, SEED)
        signed = list(load.statements(lines, 4 * BATCH, ORIGIN, SEED))
        self._pool = [signed[start : start + BATCH] for start in range(0, len(signed), BATCH)]
        if self._born:
            large = load.statements(lines, self._born, ORIGIN, SEED, BORN_NAMES)
            for statements in self._pool:
                for at, statement in zip(self._born_at, large, strict=True):
                    statements[at] = statement
        self._parts = [packing.pack_parts(statements) for statements in self._pool]

    def keys(self, number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """BATCH x NAMES index keys."""
        source = np.random.default_rng((SEED, number))
        keys = source.integers(-(2**63), 2**63 - 1, (BATCH, NAMES), np.int64)
        keys[::10, 0] = self._few[source.integers(0, FEW, len(keys[::10]))]
        keys[5::100, 1] = PALLET
        return keys

    def few(self, source: random.Random) -> int:
        return int(self._few[source.randrange(FEW)])

    def batch(self, number: int) -> Columns:
        packed = _packed(self.keys(number))
        if self._born:
            keys = np.random.default_rng((SEED, number, 1)).integers(
                -(2**63), 2**63 - 1, (self._born, BORN_NAMES), np.int64
            )
            for at, names in zip(self._born_at, _packed(keys), strict=True):
                packed[at] = names
        digests = random.Random(number).randbytes(32 * BATCH)
        # One line's batch: its keys lie beside each other, as intake.prepare makes them.
        tag = sha256(b"line %d" % (number % LINES)).digest()[:4]
        when = (1 << 62) + 1_767_225_600_000 + number // LINES * BATCH * 250
        return Columns(
            kind="event",
            digests=[digests[32 * i : 32 * i + 32] for i in range(BATCH)],
            unique_keys=[
                tag + (when + 250 * i).to_bytes(8, "big") + digests[32 * i : 32 * i + 32]
                for i in range(BATCH)
            ],
            names=packed,
            parts=self._parts[number % len(self._parts)],
        )


def _packed(keys: np.ndarray[Any, np.dtype[np.int64]]) -> list[bytes]:
    """The names of each row of keys, as they travel."""
    names = np.zeros(keys.shape, _NAME)
    names["key"] = keys
    return [row.tobytes() for row in names]


# --- where it is kept ----------------------------------------------------------------------------


@contextmanager
def kept_sqlite(folder: Path) -> Iterator[tuple[Database, int | None]]:
    folder.mkdir(parents=True, exist_ok=True)
    yield folder / "ledger.db", None


@contextmanager
def kept_postgresql(folder: Path) -> Iterator[tuple[Database, int | None]]:
    """A PostgreSQL that is stopped afterwards, and started again on its data the next time."""
    sys.path.insert(0, str(stores.SUPPORT))
    import tt_postgres

    binaries = tt_postgres.find_binaries()
    if binaries is None:
        raise stores.Missing("there is no PostgreSQL 15 or newer here (`make postgres` installs Debian's)")

    class Kept(tt_postgres.Cluster):  # type: ignore[misc]
        def stop(self) -> None:
            if self.process is not None:
                self.process.send_signal(2)
                self.process.wait(120)

    cluster: Any = Kept(binaries)
    scratch = cluster.folder  # its socket: a path of a checkout may be too long for one
    cluster.data = folder.resolve() / "data"
    try:
        if not cluster.data.exists():
            folder.mkdir(parents=True, exist_ok=True)
            cluster._own(folder)
            cluster.create()
        with (cluster.data / "postgresql.conf").open("a") as settings:
            settings.write(f"unix_socket_directories = '{scratch}'\nshared_buffers = '2GB'\n")
            settings.write("max_wal_size = '8GB'\ncheckpoint_timeout = '15min'\n")
        cluster.start()
        with cluster.connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'large'").fetchone():
                connection.execute("CREATE DATABASE large")
        yield cluster.url("large"), cluster.process.pid
    finally:
        cluster.stop()
        shutil.rmtree(scratch, ignore_errors=True)


KEPT = {"sqlite": kept_sqlite, "postgresql": kept_postgresql}


# --- growing and looking -------------------------------------------------------------------------


class Growth:
    """One store's ledger, and the points of its curve."""

    def __init__(
        self,
        name: str,
        database: Database,
        postmaster: int | None,
        growth: dict[str, Any],
        keep: Callable[[], None],
        born: float = 0.0,
    ) -> None:
        self.keep = keep
        self.name = name
        self.database = database
        self.growth = growth
        self.load = Load(born)
        self.watch = Watch(os.getpid(), postmaster)
        self.store = open_writer(database)
        migrations.upgrade(self.store.engine)
        signer = NoteSigner.from_private_key(ORIGIN, private_key_from_seed(b"L" * 32))
        self.log = Log(self.store, [signer], ORIGIN, lambda: datetime.now(UTC), None)
        self.log.open()
        if not inspect(self.store.engine).has_table("head") or self.store.read_head() is None:
            self.log.create(b"the genesis statement of a measurement")
        self.index = NameIndex(self.store.merging)

    @property
    def events(self) -> int:
        return self.log.head.tree_size - 1

    @property
    def rows(self) -> int:
        return self.events // BATCH * self.load.names_per_batch

    def run(self, rows: int, seconds: float, *, look: bool) -> None:
        """Grow to so many names, or for so long."""
        end = time.monotonic() + seconds
        points = self.growth.setdefault("points", [])
        looked_at = max((p["events"] for p in points if "find_ms" in p), default=0)
        per_event = self.load.names_per_batch / BATCH
        while self.rows < rows and time.monotonic() < end:
            point = self._grow(int(min(POINT_EVENTS * NAMES, rows - self.rows) / per_event))
            is_last = self.rows >= rows or time.monotonic() >= end
            if is_last or self.events >= looked_at * LOOKUP_GROWTH:
                point |= self._look()
                looked_at = self.events
            points.append(point)
            self.keep()
            show(self.name, point)
        if look and points:
            points[-1] |= self._look()
            self.keep()
            show(self.name, points[-1])
        self.store.close()

    def _grow(self, events: int) -> dict[str, Any]:
        appends: list[float] = []
        steps: list[float] = []
        gauge = Gauge()
        used = 0.0
        before = self.watch.cpu_seconds().get("postgresql", 0.0)
        start, rows = self.events, self.rows
        while self.events - start < events:
            if len(appends) % GAUGE_BATCHES == 0:
                gauge.turn(GAUGE_S)
            batch = self.load.batch(self.events // BATCH)
            cpu, began = time.process_time(), time.perf_counter()
            self.log.append_columns(batch, expected=self.log.head, recorded_at=self.log.record_time())
            ended = time.perf_counter()
            appends.append(ended - began)
            turn_ends = ended + appends[-1]
            more = True
            while more and ended < turn_ends:  # as tallystick.sequencer_process.Upkeep does
                began = ended
                more = self.index.keep_up(0.0)
                ended = time.perf_counter()
                steps.append(ended - began)
            used += time.process_time() - cpu
        count = self.events - start
        taken = sum(appends) + sum(steps)
        server = self.watch.cpu_seconds().get("postgresql", 0.0) - before
        return {
            "events": self.events,
            "rows": self.rows,
            "events_per_s": round(count / taken),
            "rows_per_s": round((self.rows - rows) / taken),
            "verifications_per_s": round(gauge.per_s),
            "verifications_per_event": round(taken / count * gauge.per_s, 4),
            "append_us_per_event": round(1e6 * sum(appends) / count, 2),
            "merge_us_per_event": round(1e6 * sum(steps) / count, 2),
            "append_p99_ms": round(1e3 * float(np.percentile(appends, 99)), 1),
            "merge_step_p99_ms": round(1e3 * float(np.percentile(steps, 99)), 1),
            "merge_step_max_ms": round(1e3 * max(steps), 1),
            "cpu_us_per_event": round(1e6 * (used + server) / count, 2),
            "postgresql_cpu_us_per_event": round(1e6 * server / count, 1),
            "cpu_us_per_verification": round(gauge.cpu_us, 2),
        }

    def _look(self) -> dict[str, Any]:
        reader = open_reader(self.database)
        source = random.Random(self.events)
        size = self.log.head.tree_size
        prover = Prover(reader)
        floor_of_looks = Gauge()

        def present() -> int:
            keys = self.load.keys(source.randrange(self.events // BATCH))
            return int(keys[source.randrange(1, 5), source.randrange(2, NAMES)])

        def history() -> None:
            # What traceability.history does; the statements of the pool do not say what the index says.
            seqs = [seq for seq, _ in reader.find_name(self.load.few(source), limit=100)]
            for _, raw in reader.read_records(seqs):
                statement = envelope.parse(raw or b"")
                content = read_content(statement.typ, statement.payload)
                list(names_v1(content.typ, content.value))

        looks: dict[str, Callable[[], object]] = {
            "present": lambda: reader.find_name(present(), limit=100),
            "absent": lambda: reader.find_name(source.getrandbits(63), limit=100),
            "few": lambda: reader.find_name(self.load.few(source), limit=100),
            "pallet": lambda: reader.find_name(PALLET, after=(source.randrange(size), 0), limit=100),
            "pallet_newest": lambda: reader.find_name(PALLET, limit=100, descending=True),
        }
        try:
            found = {name: measured(look) for name, look in looks.items()}
            # What is measured must be there.
            assert len(reader.find_name(PALLET, limit=10_000)) == min(10_000, self.events // 100)
            assert all(reader.find_name(present(), limit=10) for _ in range(50))
            return {
                "find_ms": found,
                "proof_ms": measured(lambda: prover.inclusion(source.randrange(size), size)),
                "history_ms": measured(history),
                # A fifth of a millisecond of computing: what its p99 has beyond that is other work's.
                "machine_ms": measured(lambda: floor_of_looks.run(5)),
                "bytes_per_event": round(self._bytes() / self.events, 1),
                "index": self._index_size(),
            }
        finally:
            reader.close()

    def _bytes(self) -> int:
        with self.store.engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                return int(
                    connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
                )
            (count,) = connection.exec_driver_sql("PRAGMA page_count").one()
            (size,) = connection.exec_driver_sql("PRAGMA page_size").one()
            return int(count * size)

    def _index_size(self) -> dict[str, Any]:
        with self.store.engine.connect() as connection:
            runs = connection.exec_driver_sql(
                "SELECT level, count(*) FROM name_runs WHERE state = 1 GROUP BY level ORDER BY level"
            ).all()
            answer: dict[str, Any] = {"runs": {str(level): count for level, count in runs}}
            if connection.dialect.name == "postgresql":
                size = connection.exec_driver_sql(
                    "SELECT pg_total_relation_size('name_blocks') + pg_total_relation_size('name_level0')"
                ).scalar_one()
            else:
                # Pages are not counted by table here: what the blocks hold, and a thirtieth for their keys.
                size = connection.exec_driver_sql(
                    "SELECT sum(length(body)) * 1.03 FROM name_blocks"
                ).scalar_one()
            answer["bytes_per_row"] = round(float(size or 0) / self.rows, 2)
            return answer


def measured(look: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of LOOKUPS looks, after a few that warm up; and of CPU in this process."""
    for _ in range(LOOKUPS // 10):
        look()
    times, used = [], []
    for _ in range(LOOKUPS):
        cpu, began = time.process_time(), time.perf_counter()
        look()
        times.append(1e3 * (time.perf_counter() - began))
        used.append(1e3 * (time.process_time() - cpu))
    times.sort()
    used.sort()
    p99 = LOOKUPS * 99 // 100
    return {
        "p50": round(times[LOOKUPS // 2], 3),
        "p99": round(times[p99], 3),
        "own_cpu_p99": round(used[p99], 3),
    }


# --- what comes out ------------------------------------------------------------------------------


def show(name: str, point: dict[str, Any]) -> None:
    line = (
        f"{name:<11}{point['rows'] / 1e6:>7.1f} M names {point['events_per_s']:>7,} events/s"
        f" = {point['verifications_per_event']:.3f} verifications, CPU {point['cpu_us_per_event']:.1f} µs"
        f" = {_in_verifications(point):.3f}; append {point['append_us_per_event']:>5.1f}"
        f" merge {point['merge_us_per_event']:>4.1f} µs, step p99 {point['merge_step_p99_ms']} ms"
    )
    if "find_ms" in point:
        find = point["find_ms"]
        line += "  find p50/p99/own CPU p99 ms " + " ".join(
            f"{what} {found['p50']:.2f}/{found['p99']:.2f}/{found['own_cpu_p99']:.2f}"
            for what, found in find.items()
        )
        line += f"  proof {point['proof_ms']['p50']:.2f}/{point['proof_ms']['p99']:.2f}"
        line += f"  history {point['history_ms']['p50']:.2f}/{point['history_ms']['p99']:.2f}"
        line += f"  machine {point['machine_ms']['p50']:.2f}/{point['machine_ms']['p99']:.2f}"
        line += (
            f"  {point['bytes_per_event']:.0f} B an event, index {point['index']['bytes_per_row']} B a name"
        )
    print(line, flush=True)


def judged(growth: dict[str, Any]) -> dict[str, Any]:
    """The promises, against the curve: what an event costs over the first and the last tenth.

    Time and CPU time are counted in verifications of the same moments. No point is left out: a merge that
    came in one burst would show.
    """
    points = growth["points"]
    some = max(1, len(points) // 10)

    def flat(costs: list[float]) -> dict[str, Any]:
        ratio = sum(costs[:some]) / sum(costs[-some:])
        return {"is": round(ratio, 3), "at_least": FLAT_MIN, "met": ratio >= FLAT_MIN}

    rates = [point["events_per_s"] for point in points]
    last = next(point for point in reversed(points) if "find_ms" in point)
    find = max(found["p99"] for found in last["find_ms"].values())
    return {
        "rows": points[-1]["rows"],
        "rate_at_end_to_rate_at_0": flat([point["verifications_per_event"] for point in points]),
        "rate_at_end_to_rate_at_0_by_cpu": flat([_in_verifications(point) for point in points]),
        # An event costs a server at least its signature besides: what then is left of the difference.
        "rate_at_end_to_rate_at_0_with_a_verification": flat(
            [1 + _in_verifications(point) for point in points]
        ),
        "rate_at_end_to_rate_at_0_without_floor": round(sum(rates[-some:]) / sum(rates[:some]), 3),
        "find_p99_ms": {"is": find, "at_most": FIND_MS_MAX, "met": find <= FIND_MS_MAX},
        "proof_p50_ms": _at_most(last["proof_ms"]["p50"], PROOF_MS_MAX),
        "history_p99_ms": _at_most(last["history_ms"]["p99"], HISTORY_MS_MAX),
    }


def _in_verifications(point: dict[str, Any]) -> float:
    """CPU time of an event, in verifications."""
    return float(point["cpu_us_per_event"] / point["cpu_us_per_verification"])


def _at_most(seen: float, most: float) -> dict[str, Any]:
    return {"is": seen, "at_most": most, "met": seen <= most}


def plot(document: dict[str, Any], path: Path) -> None:
    """Rate and lookups against the size of the ledger, one row a store."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [(name, growth["points"]) for name, growth in document["stores"].items() if growth.get("points")]
    figure, axes = pyplot.subplots(len(found), 3, figsize=(16, 3.8 * len(found)), squeeze=False)
    for (name, points), (rates, costs, looks) in zip(found, axes, strict=True):
        all_sizes = [p["rows"] / 1e6 for p in points]
        rates.plot(all_sizes, [p["events_per_s"] for p in points], marker=".", label="events")
        rates.plot(
            all_sizes, [p["verifications_per_s"] for p in points], ":", label="the floor: verifications"
        )
        rates.set(title=f"{name}: appending, merging counted", ylabel="a second", ylim=(0, None))
        costs.plot(all_sizes, [p["verifications_per_event"] for p in points], marker=".", label="time")
        costs.plot(all_sizes, [_in_verifications(p) for p in points], marker=".", label="CPU time")
        costs.set(title=f"{name}: an event's cost", ylabel="in verifications", ylim=(0, None))
        rates.legend(fontsize="small")
        costs.legend(fontsize="small")
        looked = [p for p in points if "find_ms" in p]
        sizes = [p["rows"] / 1e6 for p in looked]
        for what in looked[0]["find_ms"]:
            looks.plot(
                sizes, [p["find_ms"][what]["p99"] for p in looked], marker=".", label=f"find {what}, p99"
            )
        looks.plot(sizes, [p["proof_ms"]["p99"] for p in looked], ":", label="inclusion proof, p99")
        looks.plot(sizes, [p["history_ms"]["p99"] for p in looked], "--", label="one thing's history, p99")
        looks.axhline(FIND_MS_MAX, color="grey", linewidth=0.8)
        looks.set(title=f"{name}: looking things up", ylabel="ms", ylim=(0, None))
        looks.legend(fontsize="small")
        for axis in (rates, costs, looks):
            axis.set_xlabel("names in the ledger, millions")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def write(document: dict[str, Any], path: Path) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(document, file, indent=1)
    Path(file.name).replace(path)


def main() -> int:
    options = arguments()
    output = FOLDER / "large.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"stores": {}}
    if output.exists():
        document = json.loads(output.read_text())
    document["machine"] = report.machine()
    document["names_per_event"], document["events_per_append"] = NAMES, BATCH
    for name in options.store or list(stores.STORES):
        title = f"{name}, {options.born:.0%} commissioned" if options.born else name
        folder = options.folder / (f"{name}-born-{options.born}" if options.born else name)
        if options.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            document["stores"][title] = {"points": []}
        growth = document["stores"].setdefault(title, {"points": []})
        began = time.monotonic()
        try:
            with KEPT[name](folder) as (database, postmaster):
                keep = partial(write, document, output)
                grown = Growth(title, database, postmaster, growth, keep, options.born)
                grown.run(options.rows, options.seconds, look=options.look)
        except stores.Missing as missing:
            print(f"{title}: {missing}")
            continue
        growth["seconds"] = round(growth.get("seconds", 0.0) + time.monotonic() - began, 1)
        growth["judged"] = judged(growth)
        write(document, output)
        print(f"{title}: {growth['seconds']:.0f} s in all; {json.dumps(growth['judged'])}")
    plot(document, output.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
