"""The scheduler: ticks by itself, at once when nudged, and never two at a time."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from tt_anchor import World

from anchoring.errors import RoundsFailed
from anchoring.rounds import Outcome
from anchoring.scheduler import AnchorScheduler

PATIENCE_S = 10.0


class CountingRounds:
    """Stands in for Rounds: counts ticks, and can be held in the middle of one."""

    def __init__(self):
        self.ticks = 0
        self.at_once = 0
        self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self.error = None

    def tick(self):
        self.ticks += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(PATIENCE_S)
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        return Outcome.NOTHING_DUE


@pytest.fixture
def start():
    running = []

    def start(rounds, tick_interval_s=3_600.0):
        scheduler = AnchorScheduler(rounds, tick_interval_s)
        scheduler.start()
        running.append(scheduler)
        return scheduler

    yield start
    for scheduler in running:
        scheduler.stop()


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_it_ticks_at_once_and_then_by_the_interval(start):
    rounds = CountingRounds()
    start(rounds, 0.05)
    wait_for(lambda: rounds.ticks >= 3)


def test_a_nudge_ticks_now(start):
    rounds = CountingRounds()
    scheduler = start(rounds)
    wait_for(lambda: rounds.ticks == 1)
    scheduler.nudge()
    wait_for(lambda: rounds.ticks == 2)


def test_nudges_during_a_tick_are_one_more_tick(start):
    rounds = CountingRounds()
    rounds.gate.clear()
    scheduler = start(rounds)
    wait_for(lambda: rounds.ticks == 1)
    for _ in range(100):
        scheduler.nudge()
    time.sleep(0.1)
    assert rounds.ticks == 1
    rounds.gate.set()
    wait_for(lambda: rounds.ticks == 2)
    time.sleep(0.1)
    assert (rounds.ticks, rounds.most_at_once) == (2, 1)


def test_ticks_longer_than_the_interval_do_not_pile_up(start, caplog):
    rounds = CountingRounds()
    rounds.gate.clear()
    start(rounds, 0.02)
    time.sleep(0.3)
    rounds.gate.set()
    wait_for(lambda: rounds.ticks >= 3)
    assert rounds.most_at_once == 1
    assert "maximum number" not in caplog.text


@pytest.mark.parametrize(
    ("error", "level"),
    [(RoundsFailed("anchor.store", "disk full"), logging.WARNING), (KeyError("a bug"), logging.ERROR)],
)
def test_a_tick_that_fails_is_told_and_is_not_the_last(start, caplog, error, level):
    rounds = CountingRounds()
    rounds.error = error
    start(rounds, 0.02)
    wait_for(lambda: rounds.ticks >= 2)
    assert any(entry.levelno == level for entry in caplog.records)


def test_stopping_waits_for_the_tick_under_way(start):
    rounds = CountingRounds()
    rounds.gate.clear()
    scheduler = AnchorScheduler(rounds, 3_600)
    scheduler.start()
    wait_for(lambda: rounds.ticks == 1)
    threading.Timer(0.1, rounds.gate.set).start()
    scheduler.stop()
    assert rounds.at_once == 0
    scheduler.nudge()
    time.sleep(0.05)
    assert rounds.ticks == 1


def test_a_real_round_is_run_by_the_scheduler(start, tmp_path):
    world = World(tmp_path / "anchors.db")
    rounds = world.rounds()
    start(rounds)
    wait_for(lambda: rounds.status().anchored_size == 3)
    world.close()


def test_two_schedulers_on_one_database_run_a_round_once(start, tmp_path):
    world = World(tmp_path / "anchors.db")
    first, second = world.rounds(), world.rounds()
    schedulers = [start(first, 0.05), start(second, 0.05)]
    wait_for(lambda: first.status().anchored_size == 3 and second.status().anchored_size == 3)
    for scheduler in schedulers:
        scheduler.nudge()
    time.sleep(0.2)
    assert len(world.anchors()) == 1
    world.close()
