"""kill -9 under full load: of each process of the server, of all of them, and of PostgreSQL.

Nothing answered is lost, nothing is there twice, nothing forks, and everything goes on. One round of each
kind by default; FAULT_ROUNDS asks for more of each, FAULT_SEED for other moments.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tt_postgres
from tt_crowd import Crowd
from tt_witness import Witness

from bench import load
from bench.server import ORIGIN, Server
from ledger.store.opening import parse_database
from verifier.trust import load_trust

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))  # of each kind
SEED = int(os.environ.get("FAULT_SEED", "7"))
VARIABLE = "LEDGER_OF_A_TEST"
EMITTERS = load.emitters(8, SEED)
ORPHANS_END_WITHIN_S = 5.0
ANSWERED_BEFORE, ANSWERED_AFTER = 1000, 500  # statements answered in a round before and after the kill
LOOK_AT_ALL_EVERY = 50  # rounds

pytestmark = [pytest.mark.fault, pytest.mark.server]


def sequencer_of(server: Server) -> int:
    (pid,) = processes(server, b"sequencer_process")
    return pid


def processes(server: Server, words: bytes) -> list[int]:
    found = []
    for pid in server.children():
        try:
            if words in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:  # it has just ended
            continue
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def require_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + ORPHANS_END_WITHIN_S
    while left := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"they outlived their parent: {left}"
        time.sleep(0.02)


class Rounds:
    """One server, one crowd, one witness, and kills until it is enough."""

    def __init__(self, server: Server, database: str, seed: str) -> None:
        self.server = server
        self.source = random.Random(f"{SEED}/{seed}")
        server.start()
        server.register(EMITTERS)
        verifiers = list(load_trust(server.folder / "trust").policy.logs)
        self.witness = Witness(parse_database(database), verifiers, ORIGIN, SEED)
        self.crowd = Crowd([server.port], EMITTERS, SEED)
        self.crowd.start()

    def run(self, kills: dict[str, Callable[[], None]]) -> None:
        numbers = [name for name in kills for _ in range(ROUNDS)]
        self.source.shuffle(numbers)
        for number, name in enumerate(numbers, 1):
            self.crowd.go_on()
            self.crowd.wait_for(ANSWERED_BEFORE)
            time.sleep(self.source.uniform(0.0, 0.2))
            kills[name]()
            self.crowd.wait_for(ANSWERED_AFTER)
            self.crowd.pause()
            self.witness.look(self.crowd)
            self.witness.wait_until_merged()
            print(f"{number} of {len(numbers)}, {name}: {self.crowd.count} answered", flush=True)
            if number % LOOK_AT_ALL_EVERY == 0:
                self.witness.look_at_all(self.crowd)
        self.crowd.stop()
        answered = self.witness.look_at_all(self.crowd)
        print(
            f"{len(numbers)} kills, {answered} answered, {self.crowd.repeated} found again,"
            f" {self.crowd.failures} connections broken, {self.crowd.busy}"
        )
        assert self.crowd.failures + sum(self.crowd.busy.values()) > 0, (
            "no kill was felt, so nothing was tested"
        )
        assert self.crowd.repeated > 0, "nothing was sent again, so nothing was tested"

    def close(self) -> None:
        self.witness.close()
        self.crowd.abandon()
        self.server.stop()

    # What is killed -------------------------------------------------------------------------------

    def sequencer(self) -> None:
        os.kill(sequencer_of(self.server), 9)

    def worker(self) -> None:
        os.kill(self.source.choice(processes(self.server, b"spawn_main")), 9)

    def group(self) -> None:
        children = self.server.children()
        self.server.kill_group()
        require_gone(children)
        self.server.spawn()

    def parent(self) -> None:
        children = self.server.children()
        assert children
        self.server.kill_parent()
        require_gone(children)
        self.server.spawn()

    def of_the_server(self) -> dict[str, Callable[[], None]]:
        return {
            "sequencer": self.sequencer,
            "worker": self.worker,
            "group": self.group,
            "parent": self.parent,
        }


def test_kill_nine_of_any_process_loses_and_doubles_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path / "ledger", workers=2, threads=4)
    rounds = None
    try:
        rounds = Rounds(server, str(tmp_path / "ledger" / "ledger.db"), "sqlite")
        rounds.run(rounds.of_the_server())
    finally:
        rounds.close() if rounds else server.stop()


def test_kill_nine_of_postgresql_or_of_any_process_before_it_loses_and_doubles_nothing(
    own_cluster: tt_postgres.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = own_cluster.new_database()
    monkeypatch.setenv(VARIABLE, url.render_as_string(hide_password=False))
    server = Server(tmp_path / "ledger", workers=2, threads=4, database=f"env:{VARIABLE}")
    rounds = None
    try:
        rounds = Rounds(server, f"env:{VARIABLE}", "postgresql")
        source = rounds.source

        def backend() -> None:
            # The postmaster ends all other sessions too, and recovers: that is how PostgreSQL takes it.
            os.kill(source.choice(own_cluster.backends(url.database)), 9)

        def postmaster() -> None:
            own_cluster.kill_postmaster()
            own_cluster.start()

        def everything() -> None:
            own_cluster.kill()
            own_cluster.start()

        kills = {"backend": backend, "postmaster": postmaster, "everything": everything}
        # What the other ends of the server's processes leave behind is the same on either database.
        kills |= rounds.of_the_server() if ROUNDS > 1 else {"sequencer": rounds.sequencer}
        rounds.run(kills)
        assert tt_postgres.PASSWORD not in server.output.read_text()
    finally:
        rounds.close() if rounds else server.stop()
