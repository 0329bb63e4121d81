"""Every durable step of a round, and every step outside, goes wrong in every way; nothing is lost or doubled.

A clean round is counted first; then it is run again once for each of its steps and each kind of fault: the
step is lost, it is done but reported as failed, and the power goes just before or just after it.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress

import pytest
from sqlalchemy import select
from tt_anchor import Fault, Mode, PowerCut, World

from anchoring import record, schema
from anchoring.errors import RoundsFailed
from anchoring.rfc3161 import TokenVerifier
from anchoring.rounds import Outcome

pytestmark = pytest.mark.fault

TICKS_MAX = 12
# What a clean round of two authorities does, as the count in test_the_steps_of_a_round has it.
STEPS = 14
# `make test-faults` asks for more.
SEEDS = int(os.environ.get("FAULT_ROUNDS", "50")) // 10


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "anchors.db")
    yield world
    world.close()


def run_until_finished(world: World) -> int:
    """Fresh processes, one tick each, until one finishes the round; how many it took."""
    for count in range(1, TICKS_MAX + 1):
        # Longer than a lease, far longer than the first pauses, and shorter than the interval.
        world.clock.advance(125)
        if world.rounds().tick() is Outcome.FINISHED:
            return count
    raise AssertionError(f"no round finished within {TICKS_MAX} ticks: {world.rounds().status()}")


def check(world: World, *, anchors: int, size: int) -> None:
    """The ledger holds so many anchors, each proves its checkpoint, and the tables agree with the ledger."""
    roots = TokenVerifier([authority.tsa.identity.root for authority in world.authorities])
    found = world.anchors()
    assert len(found) == anchors
    sizes = [record.verify_record(anchor, roots).checkpoint.tree_size for _, anchor in found]
    assert sizes[-1] == size
    with world.engine().connect() as connection:
        rounds = connection.execute(select(schema.anchor_rounds).order_by(schema.anchor_rounds.c.id)).all()
    assert [(row.tree_size, row.seq) for row in rounds] == [
        (size_, seq) for size_, (seq, _) in zip(sizes, found, strict=True)
    ]
    assert all(row.unfinished is None for row in rounds)
    status = world.rounds().status()
    assert (status.pending, status.late, status.last_error, status.anchored_size) == (
        False,
        False,
        None,
        size,
    )
    assert world.rounds().find_anchor_covering(size - 1) == found[-1][0]


def test_the_steps_of_a_round(world):
    assert world.rounds().tick() is Outcome.FINISHED
    assert [step for step in world.steps if step != "commit"] == ["ask tsa1", "ask tsa2", "submit"]
    assert len(world.steps) == STEPS
    check(world, anchors=1, size=3)


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("number", range(STEPS))
def test_no_fault_at_any_step_loses_or_doubles_a_round(world, number, fault):
    world.fault = (number, fault)
    with suppress(PowerCut, RoundsFailed):
        world.rounds().tick()
    assert len(world.steps) > number
    world.restart()
    if not world.anchors() or world.rounds().status().pending:
        run_until_finished(world)
    world.clock.advance(125)
    assert world.rounds().tick() is Outcome.NOTHING_DUE
    check(world, anchors=1, size=3)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE], ids=lambda fault: fault.name.lower())
def test_the_same_process_goes_on_after_a_fault_that_leaves_it_alive(world, fault):
    """Without a restart: what failed is seen in the database, not remembered."""
    rounds = world.rounds()
    for number in range(STEPS):
        world.steps.clear()
        world.fault = (number, fault)
        size = len(world.ledger.leaves)
        for _ in range(TICKS_MAX):
            with suppress(RoundsFailed):
                rounds.tick()
            world.fault = None
            world.clock.advance(125)
            status = rounds.status()
            if not status.pending and status.anchored_size == size:
                break
        check(world, anchors=number + 1, size=size)
        world.ledger.append(1)
        world.clock.advance(3_600)


def test_a_fault_at_every_single_step_in_turn_ends_in_one_round(world):
    """The power goes again and again, each time one step later than before."""
    cuts = 0
    for number in range(40):
        world.steps.clear()
        world.fault = (number, Fault.CUT_AFTER)
        world.clock.advance(125)
        try:
            outcome = world.rounds().tick()
        except PowerCut:
            cuts += 1
            outcome = None
        world.restart()
        if outcome is Outcome.NOTHING_DUE:
            break
    assert cuts >= 4
    check(world, anchors=1, size=3)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_faults_over_many_rounds(world, seed):
    """All faults, authorities that come and go, entries that arrive: one anchor for each round due."""
    chance = random.Random(seed)
    modes = [Mode.HONEST, Mode.HONEST, Mode.DOWN, Mode.GARBAGE, Mode.OTHER_DIGEST]
    for turn in range(3):
        size = len(world.ledger.leaves)
        for _ in range(6):
            world.steps.clear()
            world.fault = (chance.randrange(STEPS + 6), chance.choice(list(Fault)))
            for authority in world.authorities:
                authority.tsa.mode = chance.choice(modes)
            with suppress(PowerCut, RoundsFailed):
                world.rounds().tick()
            world.restart()
            world.clock.advance(chance.choice([1, 30, 125]))
        for authority in world.authorities:
            authority.tsa.mode = Mode.HONEST
        if world.rounds().status().pending or len(world.anchors()) == turn:
            run_until_finished(world)
        check(world, anchors=turn + 1, size=size)
        world.ledger.append(chance.randrange(1, 5))
        world.clock.advance(3_600)
