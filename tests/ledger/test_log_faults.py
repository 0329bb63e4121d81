"""Whatever breaks off while the log writes: no fork, no loss of what was acknowledged, no half append.

Every durable step of an append and of a publication fails once as lost and once as done but reported
failed; the ledger is audited after each, taken up by the next process, and gets the same
statements again.
"""

from __future__ import annotations

import os
import shutil
from itertools import count

import pytest
import tt_faults
import tt_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tt_faults import Faults
from tt_store import GENESIS, ORIGIN, SIGNER, LedgerFolder, add, pending

from ledger.audit import audit
from ledger.errors import HeadMoved, OutcomeUnknown, ReadOnly, StoreFailed
from ledger.highwater import HighWater
from ledger.log import Log, Pending
from ledger.store.sqlite import open_reader

pytestmark = pytest.mark.fault

APPEND_STEPS = [
    "BEGIN IMMEDIATE",
    "UPDATE head",
    "INSERT INTO entries",
    "INSERT INTO statements",
    "INSERT INTO unique_keys",
    "INSERT INTO name_level0",
    "INSERT INTO tiles",
    "INSERT INTO tile_edges",
    "COMMIT",
    "mark",
    "mark to disk",
]
PUBLISH_STEPS = ["BEGIN IMMEDIATE", "UPDATE head", "COMMIT"]
COMMITTED = APPEND_STEPS.index("COMMIT")
BASE = 250  # entries before the append that fails: it fills a tile
LABELS = [f"new {i}" for i in range(12)]


@pytest.fixture
def faults(monkeypatch):
    faults = Faults()
    tt_faults.install(monkeypatch, faults)
    return faults


@pytest.fixture
def folder(tmp_path, faults):
    folder = LedgerFolder(tmp_path)
    log = folder.log()
    log.create(GENESIS)
    add(log, *range(BASE - 1))
    folder.close()
    yield folder
    folder.close()


def batch() -> list[Pending]:
    items = [*pending(*LABELS[:6], names=[(0, 7)]), *pending(LABELS[6], kind="key"), *pending(*LABELS[7:])]
    assert [item.statement for item in items] == [item.statement for item in pending(*LABELS)]
    return items


def ticking():
    """A monotonic clock by which every fsync of the mark and every publication is due."""
    ticks = count(0, 10)
    return lambda: next(ticks)


def open_log(folder: LedgerFolder) -> Log:
    monotonic = ticking()
    folder.clock.advance(5)
    return folder.log(high_water=HighWater(folder.high_water, monotonic=monotonic), monotonic=monotonic)


def append_until_placed(log: Log) -> list[int]:
    for _ in range(5):
        try:
            return [place.seq for place in log.append(batch(), expected=log.head).placed]
        except HeadMoved:
            continue
    raise AssertionError("the head kept moving")


def assert_audited(folder: LedgerFolder, *, size: int | None = None) -> None:
    """The audit, and a second opinion, from a reader of its own."""
    reader = open_reader(folder.database)
    try:
        report = audit(reader, [SIGNER.verifier], ORIGIN)
        assert report.findings == ()
        tt_store.assert_sound(reader, size=size)
    finally:
        reader.close()


def assert_goes_on(folder: LedgerFolder, log: Log, size: int) -> None:
    """The same log, the next process, and the same statements again: all of them placed once."""
    places = list(range(BASE, BASE + len(LABELS)))
    assert append_until_placed(log) == places
    assert_audited(folder, size=max(size, BASE + len(LABELS)))
    folder.close()
    log = open_log(folder)
    assert log.read_only_reason is None
    assert append_until_placed(log) == places
    add(log, "the next one")
    assert HighWater(folder.high_water).read().tree_size == log.head.tree_size
    assert_audited(folder)


def test_these_are_the_steps(folder, faults):
    log = open_log(folder)
    with faults.armed():
        log.append(batch(), expected=log.head)
    assert faults.steps == APPEND_STEPS
    with faults.armed():
        assert log.publish_if_due() is not None
    assert faults.steps == PUBLISH_STEPS


# --- an append -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_done", [False, True], ids=["lost", "done"])
@pytest.mark.parametrize("at", range(len(APPEND_STEPS)), ids=APPEND_STEPS)
def test_an_append_that_breaks_off_happened_whole_or_not_at_all(folder, faults, at, is_done):
    log = open_log(folder)
    faults.at, faults.is_done = at, is_done
    did_happen = at > COMMITTED or (at == COMMITTED and is_done)
    with faults.armed():
        if did_happen:
            appended = log.append(batch(), expected=log.head)
            assert [place.seq for place in appended.placed] == list(range(BASE, BASE + len(LABELS)))
        else:
            with pytest.raises(StoreFailed):
                log.append(batch(), expected=log.head)
    size = BASE + len(LABELS) * did_happen
    assert log.head.tree_size == size
    assert log.read_only_reason is None
    assert_audited(folder, size=size)
    assert_goes_on(folder, log, size)


@pytest.mark.parametrize("is_done", [False, True], ids=["lost", "done"])
def test_while_nobody_can_tell_what_happened_nothing_is_answered_and_nothing_appended(
    folder, faults, is_done
):
    log = open_log(folder)
    faults.at, faults.is_done, faults.goes_on = COMMITTED, is_done, True
    with faults.armed():
        with pytest.raises(OutcomeUnknown) as unknown:
            log.append(batch(), expected=log.head)
        assert unknown.value.code == "ledger.append.unknown"
        for _ in range(2):
            with pytest.raises(StoreFailed):
                log.append(batch(), expected=log.head)
        assert log.publish_if_due() is None
    assert_audited(folder, size=BASE + len(LABELS) * is_done)
    assert_goes_on(folder, log, BASE)


@pytest.mark.parametrize("is_done", [False, True], ids=["lost", "done"])
def test_a_commit_is_found_again_below_what_another_log_put_on_top(folder, faults, is_done):
    log, other = open_log(folder), open_log(folder)

    def overtake() -> None:
        for _ in range(3):
            try:
                return add(other, "overtaken")
            except HeadMoved:
                continue

    # The second log needs the lock that a lost commit still holds: there it is freed first.
    faults.at, faults.is_done = COMMITTED, is_done
    settle = log.store.settle_head

    def settle_late():
        log.store._engine.dispose()
        overtake()
        return settle()

    log.store.settle_head = settle_late
    with faults.armed():
        if is_done:
            appended = log.append(batch(), expected=log.head)
            assert [place.seq for place in appended.placed] == list(range(BASE, BASE + len(LABELS)))
            assert appended.head.tree_size == BASE + len(LABELS)
        else:
            with pytest.raises(StoreFailed):
                log.append(batch(), expected=log.head)
    del log.store.settle_head
    assert log.head.tree_size == BASE + 1 + len(LABELS) * is_done
    assert_audited(folder)
    placed = append_until_placed(log)
    assert placed == [seq + (not is_done) for seq in range(BASE, BASE + len(LABELS))]
    assert_audited(folder, size=BASE + 1 + len(LABELS))


def test_an_interrupted_thread_leaves_a_log_that_looks_first(folder, faults):
    log = open_log(folder)
    faults.at, faults.is_done, faults.failure = COMMITTED, True, KeyboardInterrupt
    with faults.armed(), pytest.raises(KeyboardInterrupt):
        log.append(batch(), expected=log.head)
    assert log.publish_if_due() is None
    assert_goes_on(folder, log, BASE + len(LABELS))


# --- the high-water mark -------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["mark", "mark to disk"])
def test_a_mark_that_cannot_be_written_stops_the_append_after(folder, faults, step):
    log = open_log(folder)
    faults.at, faults.goes_on = APPEND_STEPS.index(step), True
    with faults.armed():
        assert append_until_placed(log)[0] == BASE  # committed: that is true whatever the mark does
    size = BASE + len(LABELS)
    faults.at = 0  # the mark is tried again before anything else
    with faults.armed():
        for _ in range(2):
            with pytest.raises(StoreFailed) as fault:
                add(log, "x")
            assert fault.value.code == "ledger.high-water.unwritable"
            faults.steps.clear()
    assert_audited(folder, size=size)
    assert add(log, "x") == [size]
    assert HighWater(folder.high_water).read().tree_size == size + 1


# --- a publication -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_done", [False, True], ids=["lost", "done"])
@pytest.mark.parametrize("at", range(len(PUBLISH_STEPS)), ids=PUBLISH_STEPS)
def test_a_publication_that_breaks_off_is_made_good(folder, faults, at, is_done):
    log = open_log(folder)
    append_until_placed(log)
    faults.at, faults.is_done = at, is_done
    with faults.armed(), pytest.raises(StoreFailed):
        log.publish_if_due()
    assert_audited(folder)
    add(log, "one more")
    assert log.publish_if_due() == log.head.checkpoint == log.store.read_head().published
    assert_audited(folder)


# --- kill -9 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(len(APPEND_STEPS)), ids=APPEND_STEPS)
def test_a_process_killed_at_any_step_has_kept_what_it_acknowledged(folder, faults, at, is_done):
    child = os.fork()
    if child == 0:  # pragma: no cover  # another process
        try:
            log = open_log(folder)
            add(log, "acknowledged")
            faults.at, faults.is_done, faults.failure = at, is_done, tt_faults.kill
            with faults.armed():
                log.append(batch(), expected=log.head)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    did_happen = at > COMMITTED or (at == COMMITTED and is_done)
    log = open_log(folder)
    assert log.read_only_reason is None
    assert_audited(folder, size=BASE + 1 + len(LABELS) * did_happen)
    assert log.store.find_unique([pending("acknowledged")[0].unique_key])
    assert append_until_placed(log) == list(range(BASE + 1, BASE + 1 + len(LABELS)))
    assert_audited(folder, size=BASE + 1 + len(LABELS))


# --- power cuts ----------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_power_cut_within_a_commit_leaves_the_one_before_or_all_of_it(tmp_path_factory, data):
    """What was not synced when the power went may be there in part: the WAL ends, or is rubbish, anywhere."""
    folder = LedgerFolder(tmp_path_factory.mktemp("cut"))
    log = folder.log()
    log.create(GENESIS)
    add(log, *range(BASE - 1))
    wal = folder.database.with_name("ledger.db-wal")
    before = wal.read_bytes()
    add(log, *LABELS)
    after = wal.read_bytes()
    assert after.startswith(before)
    assert len(after) > len(before)
    cut = data.draw(st.integers(len(before), len(after)))
    rubbish = data.draw(st.sampled_from([b"", b"\0", b"\xff"])) * (len(after) - cut)

    left = LedgerFolder(folder.path / "left")
    left.path.mkdir()
    shutil.copy(folder.database, left.database)
    left.database.with_name("ledger.db-wal").write_bytes(after[:cut] + rubbish)
    # The mark is written after the commit, so at this moment it is the one before.
    HighWater(left.high_water).raise_to(ORIGIN, BASE, tt_store.tiles.root_at(log.store, BASE), b"note")
    folder.close()

    log = left.log()
    assert log.read_only_reason is None
    assert log.head.tree_size in ((BASE, BASE + len(LABELS)) if cut == len(after) or rubbish else (BASE,))
    append_until_placed(log)
    assert_audited(left, size=BASE + len(LABELS))
    left.close()


def test_a_commit_that_was_acknowledged_and_then_lost_is_noticed(folder):
    """A disk that lies about syncing takes back what was acknowledged: nothing is signed over its place."""
    log = open_log(folder)
    wal = folder.database.with_name("ledger.db-wal")
    add(log, "kept")
    kept = wal.read_bytes()
    append_until_placed(log)
    left = LedgerFolder(folder.path / "left")
    left.path.mkdir()
    shutil.copy(folder.database, left.database)
    shutil.copy(folder.high_water, left.high_water)
    left.database.with_name("ledger.db-wal").write_bytes(kept)
    log = left.log()
    with pytest.raises(ReadOnly) as fault:
        add(log, "something else")
    assert fault.value.code == "ledger.restored"
    assert_audited(left, size=BASE + 1)
    left.close()
