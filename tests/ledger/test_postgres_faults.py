"""PostgreSQL breaks off: its lines are cut, its processes killed, its writers many. The ledger never forks.

Nothing acknowledged is lost, nothing is there twice, and who lost an answer finds its receipt.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from pathlib import Path

import pytest
import tt_postgres
import tt_store
from tt_proxy import Proxy, is_commit
from tt_store import GENESIS, ORIGIN, SIGNER, LedgerFolder, add, pending

from ledger.audit import audit
from ledger.errors import HeadMoved, LedgerError, NotInLog, OutcomeUnknown, ReadOnly, StoreFailed
from ledger.store import postgres_connection
from ledger.store.opening import open_reader

pytestmark = pytest.mark.fault

ROUNDS = max(3, int(os.environ.get("FAULT_ROUNDS", "0")) // 10)  # kills of each kind
WRITERS = 3
BASE = 250  # entries before the append that fails: it fills a tile
FEW, MANY = [f"new {i}" for i in range(7)], [f"new {i}" for i in range(12)]


@pytest.fixture
def folder(postgres, tmp_path):
    folder = LedgerFolder(tmp_path, postgres.new_database())
    log = folder.log()
    log.create(GENESIS)
    add(log, *range(BASE - 1))
    yield folder
    folder.close()


@pytest.fixture
def proxy(postgres):
    # A Unix socket's path is short, and pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="tt-proxy-") as short:
        proxy = Proxy(Path(short), f"{postgres.folder}/.s.PGSQL.5432")
        yield proxy
        proxy.close()


def through(folder: LedgerFolder, proxy: Proxy) -> LedgerFolder:
    """The same ledger, reached through the proxy."""
    return LedgerFolder(folder.path, folder.address.set(query={"host": str(proxy.folder)}), folder.clock)


def assert_audited(address, *, size: int | None = None) -> None:
    reader = open_reader(address)
    try:
        assert audit(reader, [SIGNER.verifier], ORIGIN).findings == ()
        tt_store.assert_sound(reader, size=size)
    finally:
        reader.close()


def batch(labels: list[str]):
    """Few make one row of each table, which go in one statement; a key statement makes rows of its own."""
    if len(labels) == len(FEW):
        return pending(*labels, names=[(0, 7)])
    return [*pending(*labels[:3], names=[(0, 7)]), *pending(labels[3], kind="key"), *pending(*labels[4:])]


def append_until_placed(log, items) -> list[int]:
    for _ in range(50):
        try:
            return [place.seq for place in log.append(items, expected=log.head).placed]
        except HeadMoved:
            continue
    raise AssertionError("the head kept moving")


# --- the line is cut -----------------------------------------------------------------------------


@pytest.mark.parametrize("is_passed", [False, True], ids=["before the commit", "after it"])
@pytest.mark.parametrize("labels", [FEW, MANY], ids=["few", "many"])
def test_a_commit_whose_answer_is_lost_is_found_out(folder, proxy, labels, is_passed):
    far = through(folder, proxy)
    log = far.log()
    proxy.arm(is_commit, is_passed=is_passed)
    if is_passed:
        appended = log.append(batch(labels), expected=log.head)
        assert [place.seq for place in appended.placed] == list(range(BASE, BASE + len(labels)))
    else:
        with pytest.raises(StoreFailed):
            log.append(batch(labels), expected=log.head)
    assert proxy.is_cut
    proxy.disarm()
    assert_audited(folder.address, size=BASE + len(labels) * is_passed)
    # The same statements again: each of them is there once, wherever the line broke.
    assert append_until_placed(log, batch(labels)) == list(range(BASE, BASE + len(labels)))
    assert_audited(folder.address, size=BASE + len(labels))
    far.close()


@pytest.mark.parametrize("is_passed", [False, True], ids=["lost", "done"])
@pytest.mark.parametrize("labels", [FEW, MANY], ids=["few", "many"])
def test_an_append_cut_at_any_message_happened_whole_or_not_at_all(folder, proxy, labels, is_passed):
    far = through(folder, proxy)
    log = far.log()
    add(log, "first")  # what a first use of the connection asks for is asked
    proxy.arm(None)
    log.append(batch([f"all {label}" for label in labels]), expected=log.head)
    messages = len(proxy.messages)
    assert messages > 5
    for at in range(messages):
        size = log.head.tree_size
        items = batch([f"{at} {label}" for label in labels])
        proxy.arm(lambda number, _, at=at: number == at, is_passed=is_passed)
        try:
            placed = [place.seq for place in log.append(items, expected=log.head).placed]
        except StoreFailed:
            assert log.head.tree_size == size
            placed = append_until_placed(log, items)
        proxy.disarm()
        assert placed == list(range(size, size + len(labels)))
    assert_audited(folder.address, size=log.head.tree_size)
    far.close()


def test_while_nobody_can_be_asked_nothing_is_answered(folder, proxy):
    far = through(folder, proxy)
    log = far.log()
    proxy.arm(is_commit, is_passed=True)
    away = proxy.folder / "away"
    real = log.store.settle_head

    def settle_away():
        (proxy.folder / ".s.PGSQL.5432").rename(away)
        return real()

    log.store.settle_head = settle_away
    with pytest.raises(OutcomeUnknown):
        log.append(batch(FEW), expected=log.head)
    del log.store.settle_head
    with pytest.raises(StoreFailed) as fault:
        log.append(batch(FEW), expected=log.head)
    assert tt_postgres.PASSWORD not in str(fault.value)
    assert log.publish_if_due() is None
    away.rename(proxy.folder / ".s.PGSQL.5432")
    assert append_until_placed(log, batch(FEW)) == list(range(BASE, BASE + len(FEW)))
    assert_audited(folder.address, size=BASE + len(FEW))
    far.close()


def test_settling_waits_for_an_append_that_is_still_under_way(folder):
    """A line may break while the server still works on what came over it."""
    log, other = folder.log(), folder.log()
    with log.store.engine.connect() as slow, slow.begin():
        slow.exec_driver_sql("UPDATE head SET published_at = published_at")
        heads = []
        thread = threading.Thread(target=lambda: heads.append(other.store.settle_head()))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert heads == []
    thread.join(10)
    assert heads[0].is_same_state(log.head)


def test_a_head_that_stays_locked_is_a_failure_and_writes_nothing(folder, monkeypatch):
    monkeypatch.setattr(postgres_connection, "LOCK_TIMEOUT_S", 0.1)
    log = folder.log()
    head = log.head
    with folder.opened[0].engine.connect() as slow, slow.begin():
        slow.exec_driver_sql("UPDATE head SET published_at = published_at")
        with pytest.raises(StoreFailed, match="lock timeout"):
            add(log, "x")
    assert log.head == head
    assert add(log, "x") == [BASE]


def test_a_writer_that_froze_does_not_hold_up_the_others(folder, monkeypatch):
    monkeypatch.setattr(postgres_connection, "IDLE_IN_TRANSACTION_TIMEOUT_S", 0.2)
    frozen, log = folder.store(), folder.log()
    connection = frozen.engine.connect()
    connection.begin()
    connection.exec_driver_sql("UPDATE head SET published_at = published_at")
    assert add(log, "x") == [BASE]  # once the server has ended the frozen one's transaction
    with pytest.raises(Exception, match=r"terminat|closed|idle-in-transaction"):
        connection.exec_driver_sql("SELECT 1")
    connection.invalidate()
    connection.close()


def test_a_session_that_died_in_the_pool_is_replaced_without_a_word(folder, postgres):
    log, reader = folder.log(), folder.reader()
    reader.read_head()
    with postgres.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (folder.address.database,),
        )
    assert reader.read_head() == log.head
    assert add(log, "x") == [BASE]
    reader.close()


# --- processes are killed ------------------------------------------------------------------------


class Writer(threading.Thread):
    """A sequencer: its own sessions, its own mark, and statements that it repeats until they are placed."""

    def __init__(self, number: int, path: Path, address, batch_size: int) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.folder = LedgerFolder(path / f"writer-{number}", address)
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.batch_size = batch_size
        self.stop = threading.Event()
        self.acknowledged: list[tuple[int, bytes]] = []
        self.checkpoints: list[bytes] = []
        self.lost_races = 0
        self.failures = 0
        self.broken: BaseException | None = None

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:  # a test reads it
            self.broken = error

    def _run(self) -> None:
        log, count = None, 0
        while not self.stop.is_set():
            labels = [f"{self.number}.{count}.{i}" for i in range(self.batch_size)]
            items = pending(*labels, names=[(0, self.number)])
            try:
                if log is None:
                    log = self.folder.log()
                    if log.read_only_reason is not None:
                        log.accept_head()
                appended = log.append(items, expected=log.head)
            except HeadMoved:
                self.lost_races += 1
                continue
            except ReadOnly:
                raise
            except (LedgerError, OSError):
                self.failures += 1
                time.sleep(0.02)
                continue
            self.acknowledged += [
                (place.seq, item.statement) for place, item in zip(appended.placed, items, strict=True)
            ]
            self.checkpoints.append(appended.head.checkpoint)
            count += 1


def hold_against_ledger(address, writers) -> int:
    """Every acknowledged statement stands where it was said to; nobody was given another one's place."""
    assert [writer.broken for writer in writers] == [None] * len(writers)
    reader = open_reader(address)
    try:
        held = [pair for writer in writers for pair in writer.acknowledged]
        assert len({seq for seq, _ in held}) == len(held)
        statements = reader.read_statements(0, reader.read_head().tree_size)
        assert len(set(statements)) == len(statements), "something is in the ledger twice"
        for seq, statement in held:
            assert statements[seq] == statement
        report = audit(reader, [SIGNER.verifier], ORIGIN)
        assert report.findings == ()
        for writer in writers:
            for note in writer.checkpoints[-5:]:
                kept = audit(reader, [SIGNER.verifier], ORIGIN, checkpoint=note)
                assert kept.findings == ()
        return len(held)
    finally:
        reader.close()


def run_writers(path: Path, address, batch_size: int = 3) -> list[Writer]:
    writers = [Writer(number, path, address, batch_size) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    return writers


def stop_writers(writers: list[Writer]) -> None:
    for writer in writers:
        writer.stop.set()
    for writer in writers:
        writer.join(60)
        assert not writer.is_alive()
        writer.folder.close()


def wait_for_progress(writers: list[Writer], count: int = 5) -> None:
    before = [len(writer.checkpoints) for writer in writers]
    deadline = time.monotonic() + 60
    while sum(len(writer.checkpoints) for writer in writers) < sum(before) + count:
        assert [writer.broken for writer in writers] == [None] * len(writers)
        assert time.monotonic() < deadline, "the writers came to a stop"
        time.sleep(0.01)


@pytest.mark.parametrize("victim", ["everything", "postmaster", "backend"])
def test_kill_nine_of_postgres_under_load_loses_and_doubles_nothing(own_cluster, tmp_path, victim):
    source = random.Random(victim)
    start = LedgerFolder(tmp_path, own_cluster.new_database())
    start.log().create(GENESIS)
    start.close()
    writers = run_writers(tmp_path, start.address)
    for _ in range(ROUNDS):
        wait_for_progress(writers)
        time.sleep(source.uniform(0, 0.1))
        if victim == "backend":
            # The postmaster ends all other sessions too, and recovers: that is how PostgreSQL takes it.
            os.kill(source.choice(own_cluster.backends(start.address.database)), 9)
        elif victim == "postmaster":
            own_cluster.kill_postmaster()
            own_cluster.start()
        else:
            own_cluster.kill()
            own_cluster.start()
    wait_for_progress(writers)
    stop_writers(writers)
    assert hold_against_ledger(start.address, writers) > ROUNDS * 5
    assert sum(writer.failures for writer in writers) > 0, "no kill was felt, so nothing was tested"


# --- many writers --------------------------------------------------------------------------------


def test_several_sequencers_on_one_ledger_never_fork_it_and_none_starves(postgres, tmp_path):
    start = LedgerFolder(tmp_path, postgres.new_database())
    start.log().create(GENESIS)
    start.close()
    writers = run_writers(tmp_path, start.address, batch_size=20)
    time.sleep(2.0)
    wait_for_progress(writers, 10)
    stop_writers(writers)
    hold_against_ledger(start.address, writers)
    assert sum(writer.lost_races for writer in writers) > 0, "they never met, so nothing was tested"
    shares = sorted(len(writer.checkpoints) for writer in writers)
    assert shares[0] > shares[-1] / 5, f"one of them hardly got a turn: {shares}"


def test_two_founders_at_once_make_one_genesis(postgres, tmp_path):
    address = postgres.new_database()
    folders = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        folders.append(LedgerFolder(tmp_path / str(number), address))
    logs = [folder.log() for folder in folders]
    made, refused = [], []

    def found(number: int) -> None:
        try:
            made.append(logs[number].create(b"genesis %d" % number).placed[0].entry)
        except (HeadMoved, ReadOnly, NotInLog) as fault:
            refused.append(fault)

    threads = [threading.Thread(target=found, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 1)
    assert logs[0].store.read_entry(0) == made[0]
    for folder in folders:
        folder.close()
