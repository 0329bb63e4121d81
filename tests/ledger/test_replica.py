"""A reader with a replica answers as one without, however far the replica is behind."""

from __future__ import annotations

import time

import pytest
import tt_store
from tt_store import GENESIS, LedgerFolder, add, pending

from ledger.errors import NotInLog, StoreFailed
from ledger.store.opening import open_reader
from ledger.store.replica import REST_S, ReplicaReader


class Monotonic:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Broken:
    """Stands before a store: counts what it is asked, and fails when told to."""

    def __init__(self, store) -> None:
        self.store = store
        self.is_down = False
        self.asked = 0

    def __getattr__(self, name):
        method = getattr(self.store, name)

        def call(*args, **options):
            self.asked += 1
            if self.is_down:
                raise StoreFailed("store.read", "gone")
            return method(*args, **options)

        return call


class Pair:
    """A ledger, and a copy that is brought up when the test says so."""

    def __init__(self, path) -> None:
        self.folders = []
        for name in ("primary", "replica"):
            (path / name).mkdir()
            self.folders.append(LedgerFolder(path / name))
        self.logs = [folder.log() for folder in self.folders]
        self.both(lambda log: log.create(GENESIS))
        self.primary, self.replica = (Broken(log.store) for log in self.logs)
        self.monotonic = Monotonic()
        self.reader = ReplicaReader(self.primary, self.replica, None, self.monotonic)

    def both(self, do) -> None:
        for log in self.logs:
            do(log)

    def add_to_both(self, *labels) -> None:
        self.both(lambda log: add(log, *labels))

    def close(self) -> None:
        for folder in self.folders:
            folder.close()


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path)
    pair.add_to_both(*range(5))
    yield pair
    pair.close()


def test_what_the_replica_has_it_answers(pair):
    assert pair.reader.read_head().tree_size == 6
    before = pair.primary.asked
    assert pair.reader.read_entry(3) == pair.logs[0].store.read_entry(3)
    assert pair.reader.read_statement(3) == b"statement 2"
    assert pair.reader.read_records([3]) == [(pair.reader.read_entry(3), b"statement 2")]
    assert len(pair.reader.read_entries(0, 6)) == 6
    assert pair.reader.read_tile(0, 0, 6) == pair.logs[0].store.read_tile(0, 0, 6)
    assert pair.primary.asked == before
    tt_store.assert_sound(pair.reader, size=6)


def test_what_it_lacks_the_primary_answers(pair):
    add(pair.logs[0], "new")
    newest = pair.logs[0].store
    assert pair.reader.read_entry(6) == newest.read_entry(6)
    assert pair.reader.read_statement(6) == b"statement new"
    assert len(pair.reader.read_entries(0, 100)) == 7
    assert len(pair.reader.read_statements(4, 7)) == 3
    assert pair.reader.read_tile(0, 0, 7) == newest.read_tile(0, 0, 7)
    assert pair.reader.find_unique([pending("new")[0].unique_key]) == {pending("new")[0].unique_key: 6}
    with pytest.raises(NotInLog):
        pair.reader.read_entry(7)


def test_no_head_is_older_than_one_that_was_shown(pair):
    add(pair.logs[0], "new")
    pair.replica.is_down = True
    assert pair.reader.read_head().tree_size == 7
    pair.replica.is_down = False
    pair.monotonic.now += REST_S
    assert pair.reader.read_head().tree_size == 7
    add(pair.logs[1], "new")
    before = pair.primary.asked
    assert pair.reader.read_head().tree_size == 7
    assert pair.primary.asked == before


def test_names_and_keys_are_never_fewer_than_the_head_that_was_shown(pair):
    pair.both(lambda log: log.append(pending("n", names=[(0, 9)]), expected=log.head))
    log = pair.logs[0]
    log.append(pending("m", names=[(0, 9)]), expected=log.head)
    add(log, "k", kind="key")
    assert pair.reader.find_name(9, limit=9) == [(6, 0)]  # true when the replica was asked
    pair.replica.is_down = True
    assert pair.reader.read_head().tree_size == 9
    pair.replica.is_down = False
    pair.monotonic.now += REST_S
    assert pair.reader.find_name(9, limit=9) == [(6, 0), (7, 0)]
    assert [seq for seq, _, _ in pair.reader.read_key_records(-1)] == [0, 8]


def test_a_replica_that_is_gone_is_left_alone_for_a_while(pair):
    pair.reader.read_head()
    pair.replica.is_down = True
    for _ in range(5):
        assert pair.reader.read_entry(2)
    asked = pair.replica.asked
    pair.replica.is_down = False
    assert pair.reader.read_entry(2)
    assert pair.replica.asked == asked
    pair.monotonic.now += REST_S
    assert pair.reader.read_entry(2)
    assert pair.replica.asked == asked + 1


def test_while_the_primary_is_gone_the_replica_answers_what_it_can(pair):
    pair.reader.read_head()
    pair.primary.is_down = True
    assert pair.reader.read_entry(5)
    with pytest.raises(StoreFailed):
        pair.reader.read_entry(6)


def test_a_replica_of_another_ledger_is_said_plainly(pair, tmp_path):
    (tmp_path / "other").mkdir()
    other = LedgerFolder(tmp_path / "other")
    other.log().create(b"another genesis")
    reader = ReplicaReader(pair.primary, other.opened[0], None)
    for _ in range(2):
        with pytest.raises(StoreFailed) as fault:
            reader.read_head()
        assert fault.value.code == "store.replica.other"
    other.close()


def test_a_real_standby_answers_and_one_that_stands_still_is_no_harm(postgres, tmp_path):
    folder = LedgerFolder(tmp_path, postgres.new_database())
    log = folder.log()
    log.create(GENESIS)
    add(log, *range(300))
    standby = postgres.replica()
    try:
        address = standby.url(folder.address.database)
        alone = open_reader(address)
        deadline = time.monotonic() + 30
        while alone.read_head() is None or alone.read_head().tree_size < 301:
            assert time.monotonic() < deadline, "the standby did not follow"
            time.sleep(0.05)
        tt_store.assert_sound(alone, size=301)

        with standby.connect(folder.address.database) as connection:
            connection.execute("SELECT pg_wal_replay_pause()")
        add(log, *(f"later {i}" for i in range(300)))
        assert alone.read_head().tree_size == 301
        reader = open_reader(folder.address, address)
        tt_store.assert_sound(reader, size=301)  # its own head, and all that belongs to it
        assert len(reader.read_entries(0, 601)) == 601
        assert reader.read_entry(600) == log.store.read_entry(600)
        assert reader.read_tile(1, 0, 2) == log.store.read_tile(1, 0, 2)

        standby.kill()
        tt_store.assert_sound(reader, size=601)
        reader.close()
        alone.close()
    finally:
        standby.stop()
        folder.close()
