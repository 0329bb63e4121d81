"""What the sequencer costs, without workers and sockets: `python -m bench.store [sqlite] [postgresql]`.

Frames of judged submissions are decoded, appended and answered, as the sequencer's process does it; the table
shows CPU a statement, of this process and of PostgreSQL's. Groups of up to 32 are that many submissions of
one statement each, larger ones one submission. The index of names is merged in between and shown by itself.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import load
from intake import wire
from intake.prepare import Prepared, prepare
from intake.sequencer import Sequencer
from keys.registry import Registry, possession_statement, register_statement
from ledger.highwater import HighWater
from ledger.log import Log
from ledger.store.name_runs_merge import NameIndex
from ledger.store.opening import open_writer, parse_database
from tallystick import migrations

SUPPORT = Path(__file__).parent.parent / "tests" / "support"
GROUPS = (1, 8, 32, 100, 1000)
SINGLES_MAX = 32  # larger groups come as one submission
APPENDS = {1: 600, 8: 400, 32: 200, 100: 100, 1000: 40}
EMITTERS = 20
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def database_of(name: str, folder: Path) -> Iterator[tuple[str, int | None]]:
    """The address of an empty database, and the process whose children serve it."""
    if name == "sqlite":
        yield str(folder / "ledger.db"), None
        return
    import tt_postgres

    binaries = tt_postgres.find_binaries()
    if binaries is None:
        raise SystemExit("there is no PostgreSQL 15 or newer here")
    cluster: Any = tt_postgres.make_cluster(binaries)
    try:
        yield cluster.new_database().render_as_string(hide_password=False), cluster.process.pid
    finally:
        cluster.stop()


class Bench:
    """One ledger, its sequencer, and statements for it that are judged already."""

    def __init__(self, database: str, folder: Path, postmaster: int | None) -> None:
        import tt_keys

        self._postmaster = postmaster
        self.store = open_writer(parse_database(database))
        migrations.upgrade(self.store.engine)
        self.log = Log(
            self.store,
            [tt_keys.log_signer()],
            tt_keys.ORIGIN,
            lambda: datetime.now(UTC),
            HighWater(folder / "mark"),
        )
        self.log.open()
        self.log.create(tt_keys.make_genesis())
        self.sequencer = Sequencer(self.log)
        self.index = NameIndex(self.store.merging)
        self.origin = tt_keys.ORIGIN
        self.lines = load.emitters(EMITTERS, 7)
        for line in self.lines:
            statement = register_statement(
                tt_keys.registrar_key(),
                origin=self.origin,
                party=line.party,
                name=line.party,
                roles=["emitter"],
                possession=possession_statement(
                    line.key, origin=self.origin, party=line.party, purpose="register"
                ),
                previous=None,
            )
            self.process([[self._judge(statement, "key+jws")]])

    def _judge(self, statement: bytes, typ: str) -> Prepared:
        registry: Registry = self.sequencer.registry()
        return prepare(statement, registry, (typ,), datetime.now(UTC))

    def statements(self, count: int, seed: int) -> list[Prepared]:
        return [
            self._judge(raw, "epcis-event+jws")
            for raw in load.statements(self.lines, count, self.origin, seed)
        ]

    def process(self, submissions: Sequence[Sequence[Prepared]]) -> float:
        """Append them as one frame; CPU seconds of this process."""
        frame = wire.encode_frame(
            [wire.submission_of(some, rollback=True, number=i) for i, some in enumerate(submissions)]
        )
        started = time.process_time()
        outcomes = self.sequencer.process(wire.decode_frame(frame[wire.LENGTH.size :]))
        wire.encode_answer(outcomes)
        used = time.process_time() - started
        for outcome in outcomes:
            if outcome.error is not None or any(one.status != wire.APPENDED for one in outcome.results):
                raise SystemExit(f"not appended: {outcome}")
        return used

    def server_seconds(self) -> tuple[float, float]:
        """User and system seconds of PostgreSQL, with those of its processes that have ended."""
        if self._postmaster is None:
            return 0.0, 0.0
        user = system = 0
        for entry in os.scandir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                fields = Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
                if pid == self._postmaster:
                    user, system = user + int(fields[13]), system + int(fields[14])
                if pid == self._postmaster or int(fields[1]) == self._postmaster:
                    user, system = user + int(fields[11]), system + int(fields[12])
        return user / TICKS, system / TICKS

    def measure(self, group: int, seed: int) -> dict[str, float]:
        """µs a statement, in appends of this many."""
        appends = APPENDS[group]
        prepared = self.statements(group * appends, seed)
        batches = [prepared[at : at + group] for at in range(0, len(prepared), group)]
        used: list[float] = []
        merging = 0.0
        system = resource.getrusage(resource.RUSAGE_SELF).ru_stime
        before = self.server_seconds()
        started = time.perf_counter()
        for batch in batches:
            used.append(self.process([[one] for one in batch] if group <= SINGLES_MAX else [batch]))
            at = time.process_time()
            self.index.maintain(0.005)
            merging += time.process_time() - at
        wall = time.perf_counter() - started
        after = self.server_seconds()
        each = 1e6 / len(prepared)
        used.sort()
        return {
            "mean": sum(used) * each,
            "median": used[len(used) // 2] * 1e6 / group,
            "system": (resource.getrusage(resource.RUSAGE_SELF).ru_stime - system) * each,
            "server": sum(after) * each - sum(before) * each,
            "merging": merging * each,
            "wall": wall * each,
        }


def main(names: Sequence[str]) -> None:
    sys.path.insert(0, str(SUPPORT))
    for name in names or ("sqlite", "postgresql"):
        with (
            tempfile.TemporaryDirectory(prefix="tt-bench-") as made,
            database_of(name, Path(made)) as (at, pid),
        ):
            bench = Bench(at, Path(made), pid)
            bench.measure(100, 1)  # what a first use asks for is asked
            print(f"{name}: µs a statement\n group    mean  median  system  server merging    wall")
            for number, group in enumerate(GROUPS, 2):
                row = bench.measure(group, number)
                print(f"{group:6}" + "".join(f"{value:8.1f}" for value in row.values()), flush=True)
            bench.store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
