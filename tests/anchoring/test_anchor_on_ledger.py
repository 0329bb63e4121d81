"""Rounds beside the real ledger: one database, the real writer, and an audit of what comes out."""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress

import pytest
from sqlalchemy import Engine, create_engine
from tt_anchor import OPERATOR, ORIGIN, Fault, LocalAuthority, MisbehavingAuthority, PowerCut, identity
from tt_store import GENESIS, SIGNER, LedgerFolder, add, assert_sound

from anchoring import record, schema
from anchoring.errors import RoundsFailed
from anchoring.rounds import Outcome, Policy, Rounds, RoundsReader
from keys import envelope
from ledger import checkpoint as checkpoints
from ledger import entry as entries
from ledger import merkle
from ledger.audit import audit
from ledger.log import Pending

TICKS_MAX = 12


class Site:
    """A ledger with an operator who anchors it."""

    def __init__(self, folder: LedgerFolder) -> None:
        self.folder = folder
        self.store = folder.store()
        with self.store.engine.begin() as connection:
            schema.create_all(connection)
        self.log = folder.log(self.store, publish_interval_s=0.0)
        self.log.create(GENESIS)
        add(self.log, *range(5))
        self.log.publish_if_due()
        self.authority = LocalAuthority("tsa", MisbehavingAuthority(folder.clock, identity()))
        self.submitted = 0
        self.fault: Fault | None = None
        self.engines: list[Engine] = []

    def rounds(self, engine: Engine | None = None) -> Rounds:
        return Rounds(
            engine or self.store.engine,
            [self.authority],
            self.submit,
            lambda: self.store.read_head().published,
            OPERATOR,
            ORIGIN,
            self.folder.clock,
            policy=Policy(every_entries=3),
        )

    def submit(self, statement: bytes) -> int:
        fault, self.fault = self.fault, None
        if fault is Fault.LOST:
            raise ConnectionError
        if fault is Fault.CUT_BEFORE:
            raise PowerCut
        key = hashlib.sha256(envelope.parse(statement).payload).digest()
        placed = self.log.append([Pending("anchor", statement, key)], expected=self.log.head).placed[0]
        if fault is Fault.DONE:
            raise ConnectionError
        if fault is Fault.CUT_AFTER:
            raise PowerCut
        return placed.seq


@pytest.fixture(params=["sqlite", "postgres"])
def site(request, tmp_path):
    on_postgres = request.param == "postgres"
    address = request.getfixturevalue("postgres").new_database() if on_postgres else None
    folder = LedgerFolder(tmp_path, address)
    made = Site(folder)
    yield made
    for engine in made.engines:
        engine.dispose()
    folder.close()


def test_an_anchor_entry_covers_what_was_published(site):
    rounds = site.rounds()
    assert rounds.tick() is Outcome.FINISHED
    assert rounds.tick() is Outcome.NOTHING_DUE
    seq = rounds.find_anchor_covering(5)
    assert seq == 6
    anchor = record.parse(envelope.parse(site.store.read_statement(seq)).payload)
    verified = record.verify_record(anchor, site.authority.verifier)
    assert verified.checkpoint == checkpoints.parse_unverified(site.store.read_head().published)
    leaves = [merkle.leaf_hash(one) for one in site.store.read_entries(0, verified.checkpoint.tree_size)]
    assert merkle.root_hash(leaves) == verified.checkpoint.root_hash
    assert_sound(site.store)


def test_rounds_follow_new_entries(site):
    rounds = site.rounds()
    for turn in range(4):
        assert rounds.tick() is Outcome.FINISHED
        add(site.log, *(f"{turn}.{i}" for i in range(3)))
        site.log.publish_if_due()
    assert [rounds.find_anchor_covering(seq) for seq in (0, 6, 10, 14, 18)] == [6, 10, 14, 18, None]
    assert_sound(site.store)


@pytest.mark.fault
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
def test_the_ledger_takes_each_anchor_once_whatever_becomes_of_the_answer(site, fault):
    site.fault = fault
    with suppress(PowerCut):
        assert site.rounds().tick() is Outcome.FAILED
    site.folder.clock.advance(125)
    assert site.rounds().tick() is Outcome.FINISHED
    assert site.store.read_head().tree_size == 7
    assert_sound(site.store)


def test_of_many_that_tick_at_once_one_works(site):
    rounds = [site.rounds() for _ in range(4)]
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda one=one: outcomes.append(one.tick())) for one in rounds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(Outcome.FINISHED) == 1
    assert set(outcomes) <= {Outcome.FINISHED, Outcome.ELSEWHERE, Outcome.NOTHING_DUE}
    assert site.store.read_head().tree_size == 7
    assert_sound(site.store)


def test_readers_of_the_database_see_the_anchors(site):
    site.rounds().tick()
    reader = site.folder.reader()
    anchors = RoundsReader(reader.engine, site.folder.clock)
    assert anchors.find_anchor_covering(5) == 6
    assert anchors.status().anchored_size == 6
    reader.close()


def faulty(site: Site, number: int, fault: Fault | None) -> tuple[Rounds, list[str]]:
    """A process whose round goes wrong at commit `number`, over the real ledger; and its commits so far."""
    engine = create_engine(site.store.engine.url)
    site.engines.append(engine)
    failure = engine.dialect.dbapi.OperationalError("disk I/O error")
    do_commit, done = engine.dialect.do_commit, []

    def commit(connection) -> None:
        if done and done[-1] == "power cut":
            raise PowerCut
        planned = fault if len(done) == number else None
        done.append("power cut" if planned in (Fault.CUT_BEFORE, Fault.CUT_AFTER) else "commit")
        if planned not in (Fault.CUT_BEFORE, Fault.LOST):
            do_commit(connection)
        if done[-1] == "power cut":
            raise PowerCut
        if planned is not None:
            raise failure

    engine.dialect.do_commit = commit
    return site.rounds(engine), done


@pytest.mark.fault
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
def test_after_a_fault_at_each_step_of_a_round_the_ledger_passes_its_audit(site, fault):
    rounds, steps = faulty(site, -1, None)
    assert rounds.tick() is Outcome.FINISHED
    assert len(steps) >= 8
    for number in range(len(steps)):
        add(site.log, *(f"{number}.{i}" for i in range(3)))
        site.log.publish_if_due()
        site.folder.clock.advance(125)
        with suppress(PowerCut, RoundsFailed):
            faulty(site, number, fault)[0].tick()
        assert_audited(site)
        for _ in range(TICKS_MAX):
            status = site.rounds().status()
            if not status.pending and status.anchored_size == 6 + 4 * number + 4:
                break
            site.folder.clock.advance(125)
            site.rounds().tick()
        assert_audited(site)
    kinds = [entries.parse(raw).kind for raw in site.store.read_entries(0, site.log.head.tree_size)]
    assert kinds.count("anchor") == 1 + len(steps)


def assert_audited(site: Site) -> None:
    assert_sound(site.store)
    assert audit(site.store, [SIGNER.verifier], ORIGIN).findings == ()
