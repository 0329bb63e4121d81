"""What can wait has its turn while nothing arrives, and again after each moment of work."""

from __future__ import annotations

import threading
import time

from intake.gate_server import GateServer
from ledger.errors import StoreFailed
from tallystick.sequencer_process import Upkeep


def test_spare_work_is_done_while_nothing_arrives_and_then_left_alone(tmp_path):
    left = 5
    asked = 0
    ticks = 0

    def spare() -> bool:
        nonlocal left, asked
        asked += 1
        left -= left > 0
        return left > 0

    def idle() -> None:
        nonlocal ticks
        ticks += 1

    server = GateServer(tmp_path / "gate", None, idle, spare)
    thread = threading.Thread(target=server.serve)
    thread.start()
    deadline = time.monotonic() + 10
    while (left or ticks < 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    server.stop()
    thread.join()
    assert left == 0
    assert 5 <= asked <= 5 + ticks + 1  # once more after each tick, for something may have come up


class Broken:
    """An index whose database refuses."""

    def keep_up(self, budget_s: float) -> bool:
        raise StoreFailed("store.merge", "the disk is full")

    maintain = keep_up


def test_an_index_that_cannot_be_merged_stops_nobody(caplog):
    upkeep = Upkeep(Broken())
    upkeep.after_group()
    assert upkeep.when_quiet() is False
    assert "the disk is full" in caplog.text


def test_merging_takes_no_longer_than_the_appends_before_it():
    budgets: list[float] = []

    class Counting:
        def keep_up(self, budget_s: float) -> bool:
            budgets.append(budget_s)
            return True

    times = iter((0.0, 0.03, 0.05, 9.0, 9.1))
    upkeep = Upkeep(Counting(), lambda: next(times))
    upkeep.after_group()
    upkeep.after_group()
    assert budgets == [0.03, 0.1]
