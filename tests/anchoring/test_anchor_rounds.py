"""Rounds: when one is due, how failures are retried and shown, and who may work on one."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.exc import IntegrityError
from tt_anchor import NOON, OPERATOR, ORIGIN, LocalAuthority, MisbehavingAuthority, Mode, World, identity

from anchoring import record, schema
from anchoring.errors import RoundsFailed
from anchoring.rfc3161 import TokenVerifier
from anchoring.rounds import Outcome, Policy, Rounds, RoundsReader
from keys import envelope
from keys.algorithms import private_key_from_seed
from keys.errors import NotYet
from ledger import checkpoint as checkpoints
from ledger import merkle
from ledger.errors import StoreFailed

HOUR, DAY = 3_600, 86_400


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "anchors.db")
    yield world
    world.close()


def all_roots(world) -> TokenVerifier:
    return TokenVerifier([authority.tsa.identity.root for authority in world.authorities])


# --- what a round leaves -----------------------------------------------------------------------------


def test_a_round_anchors_the_published_checkpoint(world):
    assert world.rounds().tick() is Outcome.FINISHED
    ((seq, anchor),) = world.anchors()
    assert seq == 3
    verified = record.verify_record(anchor, all_roots(world))
    assert verified.checkpoint.tree_size == 3
    assert verified.gen_time == NOON
    assert len(verified.tokens) == 2


def test_the_anchor_statement_is_the_operators(world):
    world.rounds().tick()
    statement = envelope.parse(world.ledger.statements[3])
    envelope.verify(statement, OPERATOR.public)
    assert (statement.typ, statement.aud) == (record.TYP, (ORIGIN,))


def test_a_round_for_several_logs_proves_each_of_them(world):
    body = checkpoints.Checkpoint("carrier.example/log", 9, bytes(32))
    other = checkpoints.render_body(body).encode() + "\n— carrier.example/log AAAAAAAA\n".encode()
    rounds = world.rounds(read_others=lambda: [b"not a checkpoint", other])
    assert rounds.tick() is Outcome.FINISHED
    assert world.anchors()[0][1].batch_size == 2
    theirs = record.verify_record(rounds.read_record(1, 1), all_roots(world))
    assert theirs.checkpoint == body
    assert record.verify_record(rounds.read_record(1), all_roots(world)).checkpoint.origin == ORIGIN


# --- when a round is due -------------------------------------------------------------------------------


def test_the_first_checkpoint_is_anchored_at_once_and_an_empty_log_never(world):
    world.ledger.leaves.clear()
    assert world.rounds().tick() is Outcome.NOTHING_DUE
    world.ledger.append(1)
    assert world.rounds().tick() is Outcome.FINISHED


def test_before_anything_is_published_nothing_is_due_and_nothing_late(world, monkeypatch):
    rounds = world.rounds()
    monkeypatch.setattr(rounds, "_read_published", lambda: b"")
    assert rounds.tick() is Outcome.NOTHING_DUE
    assert not rounds.status().late


def test_new_entries_wait_for_the_interval(world):
    rounds = world.rounds()
    rounds.tick()
    world.ledger.append(5)
    for _ in range(3):
        world.clock.advance(HOUR / 3 - 1)
        assert rounds.tick() is Outcome.NOTHING_DUE
    world.clock.advance(3)
    assert rounds.tick() is Outcome.FINISHED
    assert [anchor.checkpoint.split("\n")[1] for _, anchor in world.anchors()] == ["3", "9"]


def test_an_anchors_own_entry_is_not_news(world):
    rounds = world.rounds()
    rounds.tick()
    for _ in range(23):
        world.clock.advance(HOUR)
        assert rounds.tick() is Outcome.NOTHING_DUE


def test_with_nothing_new_there_is_one_round_a_day(world):
    rounds = world.rounds()
    outcomes = []
    for _ in range(3 * 24):
        outcomes.append(rounds.tick())
        world.clock.advance(HOUR)
    assert [i for i, outcome in enumerate(outcomes) if outcome is Outcome.FINISHED] == [0, 24, 48]


def test_enough_new_entries_come_before_the_interval(world):
    rounds = world.rounds(policy=Policy(every_entries=10))
    rounds.tick()
    world.ledger.append(9)  # and the anchor's own entry, which does not count
    assert rounds.tick() is Outcome.NOTHING_DUE
    world.ledger.append(1)
    assert rounds.tick() is Outcome.FINISHED
    assert rounds.tick() is Outcome.NOTHING_DUE


def test_a_clock_that_was_moved_back_stops_no_rounds(world):
    rounds = world.rounds()
    rounds.tick()
    world.clock.advance(-400 * DAY)
    world.ledger.append(1)
    # Due, and tried; but at that time the authorities' certificates were not valid yet.
    assert rounds.tick() is Outcome.FAILED
    assert rounds.status().pending
    world.clock.advance(400 * DAY + HOUR)
    assert rounds.tick() is Outcome.FINISHED


# --- what must not be anchored ---------------------------------------------------------------------------


def test_a_checkpoint_smaller_than_an_anchored_one_is_not_stamped(world):
    rounds = world.rounds()
    rounds.tick()
    asked = world.authorities[0].asked
    del world.ledger.leaves[2:]
    world.clock.advance(DAY)
    assert rounds.tick() is Outcome.FAILED
    assert world.authorities[0].asked == asked
    assert "anchor.checkpoint.fork" in rounds.status().last_error
    assert rounds.status().late


def test_another_checkpoint_of_the_anchored_size_is_not_stamped(world):
    rounds = world.rounds()
    rounds.tick()
    del world.ledger.leaves[3:]
    world.ledger.leaves[2] = merkle.leaf_hash(b"rewritten")
    world.clock.advance(DAY)
    assert rounds.tick() is Outcome.FAILED
    assert "anchor.checkpoint.fork" in rounds.status().last_error


def test_another_ledgers_checkpoint_is_not_stamped(world):
    world.ledger.origin = "ledger.example/staging"
    rounds = world.rounds()
    assert rounds.tick() is Outcome.FAILED
    assert "ledger.example/staging" in rounds.status().last_error
    world.ledger.origin = ORIGIN
    assert rounds.tick() is Outcome.FINISHED
    assert rounds.status().last_error is None


def test_a_ledger_that_cannot_be_read_is_shown_and_survived(world, monkeypatch):
    def fail():
        raise StoreFailed("store.read", "the disk is gone")

    rounds = world.rounds()
    monkeypatch.setattr(rounds, "_read_published", fail)
    assert rounds.tick() is Outcome.FAILED
    assert "the disk is gone" in rounds.status().last_error
    monkeypatch.undo()
    world.ledger.append(1)
    assert rounds.tick() is Outcome.FINISHED
    assert not rounds.status().late


# --- failures outside --------------------------------------------------------------------------------

NO_TOKEN = [mode for mode in Mode if mode is not Mode.HONEST]


@pytest.mark.parametrize("mode", NO_TOKEN)
def test_an_authority_that_gives_no_true_token_makes_the_round_late_not_lost(world, mode):
    rounds = world.rounds()
    for authority in world.authorities:
        authority.tsa.mode = mode
    assert rounds.tick() is Outcome.FAILED
    status = rounds.status()
    assert (status.pending, status.late, status.attempts, status.anchored_size) == (True, True, 1, None)
    assert "tsa1" in status.last_error
    assert "tsa2" in status.last_error
    assert world.anchors() == []
    assert rounds.find_anchor_covering(0) is None

    for authority in world.authorities:
        authority.tsa.mode = Mode.HONEST
    world.clock.advance(10)
    assert rounds.tick() is Outcome.FINISHED
    status = rounds.status()
    assert (status.pending, status.late, status.last_error, status.anchored_size) == (False, False, None, 3)
    assert len(world.anchors()) == 1


def test_an_authority_whose_code_breaks_is_a_failure_like_any_other(world):
    def broken(query):
        raise ZeroDivisionError("a bug")

    world.authorities[0].tsa.answer = broken
    rounds = world.rounds()
    assert rounds.tick() is Outcome.FINISHED
    assert "ZeroDivisionError" in rounds.status().authorities[0].last_error


@pytest.mark.parametrize("seconds", [-HOUR, -31, 31, HOUR, 365 * DAY])
def test_an_authority_whose_clock_is_far_from_ours_is_not_used(world, seconds):
    """To an auditor its token would prove that our own entries lie about their time."""
    world.authorities[0].tsa.clock = lambda: world.clock() + timedelta(seconds=seconds)
    rounds = world.rounds()
    assert rounds.tick() is Outcome.FINISHED
    assert "authority.clock" in rounds.status().authorities[0].last_error
    assert [t.authority for t in world.anchors()[0][1].timestamps] == ["tsa2"]


@pytest.mark.parametrize("seconds", [-29, 0, 29])
def test_clocks_may_differ_a_little(world, seconds):
    world.authorities[0].tsa.clock = lambda: world.clock() + timedelta(seconds=seconds)
    assert world.rounds().tick() is Outcome.FINISHED
    assert len(world.anchors()[0][1].timestamps) == 2


def test_a_slow_authority_may_stamp_at_any_time_while_it_was_asked(world):
    honest = world.authorities[0].tsa.answer

    def slow(query):
        world.clock.advance(50)
        answer = honest(query)
        world.clock.advance(50)
        return answer

    world.authorities[0].tsa.answer = slow
    assert world.rounds().tick() is Outcome.FINISHED
    assert len(world.anchors()[0][1].timestamps) == 2


def test_of_two_authorities_one_may_be_down(world):
    world.authorities[0].tsa.mode = Mode.DOWN
    rounds = world.rounds()
    assert rounds.tick() is Outcome.FINISHED
    down, up = rounds.status().authorities
    assert "nobody answers" in down.last_error
    assert (down.stamped_at, up.stamped_at, up.last_error) == (None, NOON, None)
    assert [t.authority for t in world.anchors()[0][1].timestamps] == ["tsa2"]
    assert not rounds.status().late


def test_who_wants_two_tokens_waits_for_two_and_asks_only_who_is_missing(world):
    world.authorities[0].tsa.mode = Mode.DOWN
    rounds = world.rounds(policy=Policy(tokens_min=2))
    assert rounds.tick() is Outcome.FAILED
    world.clock.advance(10)
    assert rounds.tick() is Outcome.FAILED
    world.authorities[0].tsa.mode = Mode.HONEST
    world.clock.advance(20)
    assert rounds.tick() is Outcome.FINISHED
    assert [authority.asked for authority in world.authorities] == [3, 1]
    verified = record.verify_record(world.anchors()[0][1], all_roots(world))
    assert [token.gen_time for token in verified.tokens] == [NOON, NOON + timedelta(seconds=30)]
    assert rounds.status().anchored_at == NOON


def test_pauses_double_up_to_the_cap(world):
    for authority in world.authorities:
        authority.tsa.mode = Mode.DOWN
    rounds = world.rounds()
    pauses = []
    for _ in range(12):
        assert rounds.tick() is Outcome.FAILED
        status = rounds.status()
        pauses.append((status.next_attempt_at - world.clock()).total_seconds())
        world.clock.advance(pauses[-1] - 0.001)
        assert rounds.tick() is Outcome.WAITING
        world.clock.advance(0.001)
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]
    assert rounds.status().attempts == 12


def test_pauses_stay_bounded_after_any_number_of_attempts(world):
    for authority in world.authorities:
        authority.tsa.mode = Mode.DOWN
    rounds = world.rounds()
    rounds.tick()
    with world.engine().begin() as connection:
        connection.execute(schema.anchor_rounds.update().values(attempts=5_000))
    world.clock.advance(10)
    assert rounds.tick() is Outcome.FAILED
    assert (rounds.status().next_attempt_at - world.clock()).total_seconds() == 3600


def test_waiting_costs_nobody_a_question(world):
    for authority in world.authorities:
        authority.tsa.mode = Mode.DOWN
    rounds = world.rounds()
    rounds.tick()
    steps = len(world.steps)
    for _ in range(5):
        assert rounds.tick() is Outcome.WAITING
    assert len(world.steps) == steps


def test_a_pause_set_before_the_clock_was_moved_back_is_not_waited_out(world):
    for authority in world.authorities:
        authority.tsa.mode = Mode.DOWN
    rounds = world.rounds()
    rounds.tick()
    world.clock.advance(-DAY / 2)
    assert rounds.tick() is Outcome.FAILED


@pytest.mark.parametrize(
    "error", [NotYet("ledger.busy", "come again"), ConnectionRefusedError("no"), KeyError("a bug")]
)
def test_a_ledger_that_refuses_the_anchor_gets_it_again(world, monkeypatch, error):
    rounds = world.rounds()

    def refuse(statement):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "_submit", refuse)
        assert rounds.tick() is Outcome.FAILED
    assert "anchor.submit" in rounds.status().last_error
    asked = [authority.asked for authority in world.authorities]
    world.clock.advance(10)
    assert rounds.tick() is Outcome.FINISHED
    assert [authority.asked for authority in world.authorities] == asked


def test_an_anchor_below_what_it_anchors_is_not_believed(world, monkeypatch):
    rounds = world.rounds()
    monkeypatch.setattr(rounds, "_submit", lambda statement: 2)
    assert rounds.tick() is Outcome.FAILED
    assert rounds.find_anchor_covering(0) is None


def test_a_rotated_operator_key_signs_the_waiting_anchor_anew(world, monkeypatch):
    old = world.rounds()
    real = old._submit
    seen = []

    def lose_the_answer(statement):
        seen.append(statement)
        real(statement)
        raise TimeoutError

    monkeypatch.setattr(old, "_submit", lose_the_answer)
    assert old.tick() is Outcome.FAILED
    world.clock.advance(10)
    new_key = private_key_from_seed(b"N" * 32)
    assert world.rounds(signer=new_key).tick() is Outcome.FINISHED
    assert len(world.anchors()) == 1
    with world.engine().connect() as connection:
        stored = connection.execute(select(schema.anchor_rounds.c.statement)).scalar_one()
    envelope.verify(envelope.parse(stored), new_key.public)
    assert envelope.parse(stored).payload == envelope.parse(seen[0]).payload


def test_a_long_error_is_cut(world):
    def verbose(query):
        raise RuntimeError("x" * 100_000)

    for authority in world.authorities:
        authority.tsa.answer = verbose
    rounds = world.rounds()
    rounds.tick()
    assert len(rounds.status().last_error) <= 1_000


# --- finding ------------------------------------------------------------------------------------------


def test_the_earliest_anchor_that_covers_an_entry_is_found(world):
    rounds = world.rounds()
    assert rounds.find_anchor_covering(0) is None
    for _ in range(3):
        rounds.tick()
        world.ledger.append(4)
        world.clock.advance(HOUR)
    # Checkpoints of 3, 8 and 13 entries; anchor entries at 3, 8 and 13.
    found = [rounds.find_anchor_covering(seq) for seq in (0, 2, 3, 7, 8, 12, 13, 10**9)]
    assert found == [3, 3, 8, 8, 13, 13, None, None]


def test_a_process_that_can_only_read_finds_anchors_and_status(world):
    world.rounds().tick()
    engine = create_engine(f"sqlite:///file:{world.path}?mode=ro&uri=true")
    reader = RoundsReader(engine, world.clock)
    assert reader.find_anchor_covering(1) == 3
    assert reader.status().anchored_size == 3
    engine.dispose()


# --- status -------------------------------------------------------------------------------------------


def test_a_new_ledger_is_not_late(world):
    status = world.rounds().status()
    assert (status.pending, status.late, status.last_error, status.anchored_size) == (
        False,
        False,
        None,
        None,
    )
    assert status.authorities == ()


def test_a_ledger_whose_scheduler_is_gone_gets_late(world):
    rounds = world.rounds()
    rounds.tick()
    world.clock.advance(DAY + HOUR)
    assert not rounds.status().late
    world.clock.advance(1)
    assert rounds.status().late


def test_a_round_that_nobody_continues_gets_late(world):
    rounds = world.rounds()
    text = rounds._find_due()
    assert rounds._lease.claim()
    rounds._start(text)
    assert rounds.status().pending
    assert not rounds.status().late
    world.clock.advance(HOUR + 1)
    assert rounds.status().late


# --- one at a time ---------------------------------------------------------------------------------------


def test_a_second_process_keeps_its_hands_off_while_one_works(world):
    first, second = world.rounds(), world.rounds()
    outcomes = []
    honest = world.authorities[0].tsa.answer

    def answer(query):
        outcomes.append(second.tick())
        return honest(query)

    world.authorities[0].tsa.answer = answer
    assert first.tick() is Outcome.FINISHED
    assert outcomes == [Outcome.ELSEWHERE]
    assert len(world.anchors()) == 1


def test_the_lease_of_a_process_that_died_expires(world):
    first, second = world.rounds(), world.rounds()
    assert first._lease.claim()
    assert second.tick() is Outcome.ELSEWHERE
    world.clock.advance(119)
    assert second.tick() is Outcome.ELSEWHERE
    world.clock.advance(1)
    assert second.tick() is Outcome.FINISHED


def test_a_lease_from_the_future_is_not_waited_for(world):
    first, second = world.rounds(), world.rounds()
    assert first._lease.claim()
    world.clock.advance(-DAY)
    world.authorities[0].tsa.identity = identity(not_before=NOON - timedelta(days=9))
    world.authorities[0].verifier = TokenVerifier([world.authorities[0].tsa.identity.root])
    assert second.tick() is Outcome.FINISHED


@pytest.mark.parametrize("where", ["ask tsa1", "ask tsa2", "submit"])
def test_a_process_that_slept_past_its_lease_changes_nothing_when_it_wakes(world, where):
    """It stops at a step outside; its successor finishes the round; then it goes on."""
    first, second = world.rounds(), world.rounds()
    step, slept = world.step, []

    def sleepy(name, act, failure):
        result = step(name, act, failure)
        if name == where and not slept:
            slept.append(name)
            world.clock.advance(121)
            assert second.tick() is Outcome.FINISHED
        return result

    world.step = sleepy
    assert first.tick() is Outcome.ELSEWHERE
    assert len(world.anchors()) == 1
    assert first.status() == second.status()
    assert first.status().anchored_size == 3
    with world.engine().connect() as connection:
        (row,) = connection.execute(select(schema.anchor_rounds)).all()
        assert (row.seq, row.attempts) == (3, 0)
        assert connection.execute(select(schema.anchor_lease.c.holder)).scalar_one() is None


def test_many_threads_and_processes_run_each_round_once(world):
    """Six processes' worth of Rounds on one file, ticking as fast as they can."""
    policy = Policy(every_entries=1)
    crowd = [world.rounds(policy=policy) for _ in range(6)]
    barrier, errors = threading.Barrier(len(crowd)), []

    def work(rounds: Rounds) -> None:
        try:
            for _ in range(8):
                barrier.wait(30)
                rounds.tick()
        except Exception as error:
            errors.append(error)
            barrier.abort()

    for turn in range(2):
        threads = [threading.Thread(target=work, args=(rounds,)) for rounds in crowd]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
        assert len(world.anchors()) == turn + 1
        world.ledger.append(1)
    with world.engine().connect() as connection:
        assert len(connection.execute(select(schema.anchor_rounds)).all()) == 2


def test_one_rounds_object_ticks_in_one_thread_at_a_time(world):
    rounds = world.rounds()
    outcomes = []
    honest = world.authorities[0].tsa.answer

    def answer(query):
        thread = threading.Thread(target=lambda: outcomes.append(rounds.tick()))
        thread.start()
        thread.join(10)
        return honest(query)

    world.authorities[0].tsa.answer = answer
    assert rounds.tick() is Outcome.FINISHED
    assert outcomes == [Outcome.ELSEWHERE]


def test_the_database_refuses_a_second_unfinished_round(world):
    values = {"unfinished": 1, "started_at": 0, "tree_size": 1, "batch_root": bytes(32), "next_attempt_at": 0}
    with world.engine().begin() as connection:
        connection.execute(schema.anchor_rounds.insert().values(values))
    with pytest.raises(IntegrityError), world.engine().begin() as connection:
        connection.execute(schema.anchor_rounds.insert().values(values))


# --- being set up wrong ------------------------------------------------------------------------------------


def build(world, names, **policy):
    tsa = MisbehavingAuthority(world.clock, identity())
    authorities = [LocalAuthority(name, tsa) for name in names]
    return Rounds(
        world.engine(),
        authorities,
        world.ledger.submit,
        world.ledger.read_published,
        OPERATOR,
        ORIGIN,
        world.clock,
        policy=Policy(**policy),
    )


@pytest.mark.parametrize(
    ("names", "policy"),
    [
        ([], {}),
        (["a", "a"], {}),
        (["a b"], {}),
        ([""], {}),
        (["a"], {"tokens_min": 2}),
        (["a"], {"tokens_min": 0}),
        ([f"a{i}" for i in range(9)], {}),
    ],
)
def test_authorities_that_cannot_work_are_refused_at_once(world, names, policy):
    assert build(world, ["a", "b"])
    with pytest.raises(ValueError):
        build(world, names, **policy)


def test_without_its_tables_it_says_so(tmp_path):
    world = World(tmp_path / "anchors.db")
    rounds = world.rounds()
    with world.engine().begin() as connection:
        schema.metadata.drop_all(connection)
    for ask in (rounds.tick, rounds.status, lambda: rounds.find_anchor_covering(0)):
        with pytest.raises(RoundsFailed, match="no such table"):
            ask()
    world.close()


def test_creating_the_tables_twice_is_harmless(world):
    world.rounds().tick()
    with world.engine().begin() as connection:
        schema.create_all(connection)
    assert world.rounds().status().anchored_size == 3
