"""The index of names against a plain dictionary, whatever is merged in between; both databases."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_name_runs import SMALL, Indexed, grow, new_index

from ledger.errors import StoreFailed
from ledger.store import name_runs, name_runs_merge, schema
from ledger.store.opening import open_reader, open_writer

KEYS = (0, 1, -1, 2**63 - 1, -(2**63), 0x0101010101010101, -(2**62) + 5, 2**40, 7 << 32)
HOT = KEYS[6]


@pytest.fixture(autouse=True)
def small(request, monkeypatch):
    """Runs of a few names, so that a few appends make many levels."""
    if "full_size" not in request.fixturenames:
        for name, value in SMALL.items():
            monkeypatch.setattr(name_runs_merge, name, value)


@pytest.fixture
def full_size():
    """The sizes of the product."""


def make_database(request, tmp_path):
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    return request.getfixturevalue("postgres").new_database()


def opened(database) -> Indexed:
    store = open_writer(database)
    with store.engine.begin() as connection:
        schema.create_all(connection)
    return Indexed(store)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    return make_database(request, tmp_path)


@pytest.fixture
def indexed(database):
    indexed = opened(database)
    yield indexed
    indexed.store.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def kept(request, tmp_path_factory):
    """One for many examples, each of which clears it."""
    indexed = opened(make_database(request, tmp_path_factory.mktemp("kept")))
    yield indexed
    indexed.store.close()


names = st.lists(st.tuples(st.sampled_from((0, 1, 2**32 - 1)), st.sampled_from(KEYS)), max_size=5)
moves = st.one_of(
    st.lists(names, min_size=1, max_size=4),  # an append
    st.integers(1, 9),  # so many steps
    st.just("reopen"),
    st.tuples(st.sampled_from(KEYS), st.booleans(), st.integers(0, 60), st.integers(1, 9)),  # a search
)


@given(st.lists(moves, max_size=50))
@settings(max_examples=15)
def test_a_search_gives_what_a_dictionary_gives(kept, played):
    kept.clear()
    for move in played:
        if isinstance(move, list):
            kept.append(move)
        elif isinstance(move, int):
            for _ in range(move):
                kept.index.step()
        elif move == "reopen":
            kept.index = new_index(kept.store)
        else:
            key, descending, offset, limit = move
            kept.check(key, (max(0, kept.size - offset), offset % 3), limit, descending=descending)
            kept.check(key, None, limit, descending=descending)
    kept.check_all()
    while kept.index.step():
        kept.check_all()


def test_every_step_of_every_merge_leaves_all_places_findable(indexed):
    chance = random.Random(11)
    seen: Counter[tuple[int, int]] = Counter()
    for _ in range(7):
        grow(indexed, chance, KEYS, commits=8)
        while indexed.index.step():
            seen.update(indexed.states())
            indexed.check(chance.choice(KEYS), None, 1000, descending=chance.random() < 0.5)
    indexed.check_all()
    levels = {level for level, _ in seen}
    assert levels >= {1, 2, 3, 4}, "the test made no long runs"
    assert {state for _, state in seen} == {0, 1, 2}, "the test stopped in no merge"


def test_a_name_that_everybody_uses_is_paged_through_from_both_ends(indexed):
    for _ in range(24):
        indexed.append([[(0, HOT), (2, HOT), (0, 5)]] * 7)
        indexed.index.maintain(1e9)
    for descending in (False, True):
        found: list[tuple[int, int]] = []
        while True:
            page = indexed.store.find_name(
                HOT, after=found[-1] if found else None, limit=13, descending=descending
            )
            found += page
            if len(page) < 13:
                break
        assert found == sorted(indexed.places[HOT], reverse=descending)
        assert len(found) == 336


@pytest.mark.parametrize("descending", [False, True])
def test_a_page_of_a_name_with_many_places_reads_few_blocks(full_size, indexed, monkeypatch, descending):
    for _ in range(40):
        indexed.append([[(0, HOT)]] * 5_000)
    indexed.index.maintain(1e9)
    read = []
    real = name_runs.block_columns
    monkeypatch.setattr(name_runs, "block_columns", lambda body: read.append(1) or real(body))
    after = (90_000, 0)
    step = -1 if descending else 1
    expected = [(90_000 + step * i, 0) for i in range(1, 101)]
    assert indexed.store.find_name(HOT, after=after, limit=100, descending=descending) == expected
    assert len(read) <= 2 * len(indexed.states()) + 2, f"{len(read)} blocks for a page of 100"


def test_an_idle_index_has_few_runs_and_little_at_level_0(indexed):
    chance = random.Random(3)
    for _ in range(10):
        grow(indexed, chance, range(1000), commits=9)
        assert not indexed.index.maintain(1e9)
        waiting = Counter(level for level, state in indexed.states())
        assert max(waiting.values(), default=0) < name_runs_merge.FAN_IN
        assert all(state == name_runs_merge.VISIBLE for _, state in indexed.states())
    with indexed.store.engine.connect() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM name_level0").scalar()
        # What was replaced is gone from the disk too.
        orphans = connection.exec_driver_sql(
            "SELECT count(*) FROM name_blocks WHERE run NOT IN (SELECT run FROM name_runs)"
        ).scalar()
    assert count < name_runs_merge.LEVEL0_ROWS_MAX
    assert orphans == 0


def test_under_load_merging_keeps_up_only_as_far_as_it_must(indexed):
    chance = random.Random(5)
    most: Counter[int] = Counter()
    steps = []
    for _ in range(240):
        grow(indexed, chance, range(1000), commits=1)
        taken = 0
        while indexed.index.keep_up(0.0):
            taken += 1
        steps.append(taken)
        states = indexed.states()
        most |= Counter(level for level, state in states if state == name_runs_merge.VISIBLE)
        with indexed.store.engine.connect() as connection:
            most |= {0: connection.exec_driver_sql("SELECT count(*) FROM name_level0").scalar()}
    assert most[0] <= name_runs_merge.OVERDUE * name_runs_merge.LEVEL0_ROWS_MAX + 1
    # A merge is done before as much has come again as it merges.
    assert all(most[level] <= 2 * name_runs_merge.FAN_IN for level in most if level)
    assert len(most) >= 4, "the test made no long runs"
    # And long runs are made little by little: no append waits for a whole one.
    assert max(steps) <= 60, f"{max(steps)} steps after one append"


def test_nothing_is_asked_where_nothing_was_due_a_moment_ago(indexed):
    asked = 0
    now = 5.0

    def merging():
        nonlocal asked
        asked += 1
        return indexed.store.merging()

    index = name_runs_merge.NameIndex(merging, lambda: now)
    assert index.maintain(1.0) is False
    assert asked == 1
    indexed.append([[(0, 1)]] * 99)
    indexed.append([[(0, 1)]] * 99)
    assert index.keep_up(1.0) is False
    assert index.maintain(1.0) is False
    assert asked == 1
    now += 2 * name_runs_merge.LOOK_INTERVAL_S
    assert index.maintain(1.0) is False
    assert asked > 2
    assert indexed.states()


def test_an_index_that_is_lost_is_made_again_from_what_the_statements_name(indexed):
    chance = random.Random(8)
    for _ in range(5):
        grow(indexed, chance, KEYS, commits=6)
        indexed.index.maintain(1e9)
    named: dict[int, list[tuple[int, int]]] = {}
    for key, places in indexed.places.items():
        for seq, ordinal in places:
            named.setdefault(seq, []).append((ordinal, key))
    each = [name_runs.pack_names(named.get(seq, [])) for seq in range(indexed.size)]
    with indexed.store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM name_runs WHERE level < 3")
        connection.exec_driver_sql("DELETE FROM name_blocks WHERE key > 0")
    with pytest.raises((AssertionError, StoreFailed)):
        indexed.check_all()
    with indexed.store.merging() as transaction:
        count = name_runs_merge.rebuild(transaction, [each[:9], each[9:10], each[10:]])
    assert count == sum(map(len, indexed.places.values()))
    indexed.check_all()
    grow(indexed, chance, KEYS, commits=6)
    indexed.index.maintain(1e9)
    indexed.check_all()


def test_names_without_end_in_one_append_make_rows_of_bounded_size(full_size, indexed):
    each = [(0, key) for key in range(9_000)]
    indexed.append([each, [], each, each, [(1, 5)]])
    many = [(0, -key) for key in range(1, 60_000)]  # in one entry: it stays whole
    indexed.append([many, [(0, 7)]])
    with indexed.store.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT first_seq, last_seq, names FROM name_level0 ORDER BY 1"
        ).all()
    assert [tuple(row) for row in rows] == [(1, 3, 18_000), (4, 5, 9_001), (6, 6, 59_999), (7, 7, 1)]
    for key in (0, 5, 7, 8_999, -1, -59_999, 9_000):
        indexed.check(key, None, 100, descending=False)
    indexed.index.maintain(1e9)
    for key in (0, 5, 7, 8_999, -1, -59_999, 9_000):
        indexed.check(key, None, 100, descending=True)


# --- others at the same time ---------------------------------------------------------------------


def test_readers_find_every_place_once_while_runs_are_merged_under_them(database):
    indexed = opened(database)
    reader = open_reader(database)
    chance = random.Random(23)
    grow(indexed, chance, KEYS, commits=40)
    expected = {key: sorted(places) for key, places in indexed.places.items()}
    faults: list[object] = []
    searches = 0
    done = threading.Event()

    def search() -> None:
        nonlocal searches
        mine = random.Random(1)
        while not done.is_set():
            key, descending = mine.choice(KEYS), mine.random() < 0.5
            found = reader.find_name(key, limit=10_000, descending=descending)
            searches += 1
            wanted = sorted(expected[key], reverse=descending)
            known = [place for place in found if place[0] < first_new]
            if known != wanted:
                faults.append((key, len(known), len(wanted)))
                return

    first_new = indexed.size
    thread = threading.Thread(target=search)
    thread.start()
    try:
        for _ in range(30):
            indexed.index.maintain(1e9)
            grow(indexed, chance, KEYS, commits=3)
        deadline = time.monotonic() + 20
        while searches < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        done.set()
        thread.join()
    assert faults == []
    assert searches >= 20
    reader.close()
    indexed.store.close()


def test_of_two_processes_one_merges_at_a_time(postgres):
    url = postgres.new_database()
    indexed, other = opened(url), open_writer(url)
    grow(indexed, random.Random(2), KEYS, commits=9)
    second = new_index(other)
    with indexed.store.merging() as transaction:
        assert transaction is not None
        assert second.step() is False
    before = indexed.states()
    # They take turns within one merge: what one began the other carries on.
    second = new_index(other)
    while indexed.index.step() | second.step():
        indexed.check_all()
    assert indexed.states() != before
    assert all(state == name_runs_merge.VISIBLE for _, state in indexed.states())
    other.close()
    indexed.store.close()


def test_a_replica_finds_what_the_primary_finds_in_mid_merge(own_cluster):
    replica = own_cluster.replica()
    try:
        url = own_cluster.new_database()
        indexed = opened(url)
        chance = random.Random(4)
        for _ in range(12):
            grow(indexed, chance, KEYS, commits=5)
            for _ in range(3):
                indexed.index.step()
        with own_cluster.connect() as connection:
            position = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
        deadline = time.monotonic() + 20
        with replica.connect() as connection:
            while not connection.execute(
                "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (position,)
            ).fetchone()[0]:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        reader = open_reader(replica.url(url.database))
        assert any(state != name_runs_merge.VISIBLE for _, state in indexed.states())
        indexed.check_all(reader)
        reader.close()
        indexed.store.close()
    finally:
        replica.stop()


MERGER = """
import sys
from sqlalchemy import make_url
from ledger.store import name_runs_merge
from ledger.store.opening import open_writer, parse_database
for assignment in sys.argv[2:]:
    name, _, value = assignment.partition("=")
    setattr(name_runs_merge, name, int(value))
store = open_writer(parse_database(sys.argv[1]))
index = name_runs_merge.NameIndex(store.merging)
print("ready", flush=True)
while index.step():
    pass
print("done", flush=True)
"""


@pytest.mark.fault
def test_a_merger_that_is_killed_leaves_nothing_wrong_and_the_next_one_goes_on(database):
    indexed = opened(database)
    chance = random.Random(31)
    grow(indexed, chance, KEYS, commits=100)
    indexed.store.close()
    text = str(database) if indexed.is_sqlite else database.render_as_string(hide_password=False)
    settings_of_it = [f"{name}={value}" for name, value in SMALL.items()]
    stopped_in_mid_merge = 0
    for number in range(4):
        merger = subprocess.Popen(
            [sys.executable, "-c", MERGER, text, *settings_of_it], stdout=subprocess.PIPE, text=True
        )
        try:
            assert merger.stdout.readline() == "ready\n"
            time.sleep(0.004 * (1 + 3 * number))
        finally:
            os.kill(merger.pid, signal.SIGKILL)
            merger.wait()
            merger.stdout.close()
        indexed.store = open_writer(database)
        indexed.index = new_index(indexed.store)
        stopped_in_mid_merge += any(state != name_runs_merge.VISIBLE for _, state in indexed.states())
        indexed.check_all()
        indexed.store.close()
    assert stopped_in_mid_merge, "no kill hit a merge"
    indexed.store = open_writer(database)
    indexed.index = new_index(indexed.store)
    indexed.index.maintain(1e9)
    indexed.check_all()
    assert all(state == name_runs_merge.VISIBLE for _, state in indexed.states())
    indexed.store.close()


# --- formats -------------------------------------------------------------------------------------


def block() -> bytes:
    columns = [name_runs_merge.np.array(column, "i8") for column in ([1, 1, 9], [5, 8, 2], [0, 3, 0])]
    ((first, body),) = name_runs_merge.blocks_of(tuple(columns))
    assert first == (1, 5, 0)
    return body


def test_a_block_is_what_the_page_says():
    assert block().hex() == (
        "01040400030000000200000000000000"
        "010000000000000001000000000000000900000000000000"
        "030000000600000000000000"
        "000000000300000000000000"
    )
    assert name_runs.Block(block()).places(1, (-1, -1), descending=False) == [(5, 0), (8, 3)]
    assert name_runs.Block(block()).places(2, (-1, -1), descending=False) == []


def test_places_far_apart_take_eight_bytes_each():
    columns = [name_runs_merge.np.array(column, "i8") for column in ([1, 2], [5, 2**40], [0, 0])]
    ((_, body),) = name_runs_merge.blocks_of(tuple(columns))
    assert body[1:3] == b"\x08\x00"
    assert name_runs.Block(body).places(2, (-1, -1), descending=False) == [(2**40, 0)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        block()[:-1],
        block() + b"\0",
        b"\x02" + block()[1:],
        b"\x01\x05" + block()[2:],
        block()[:2] + b"\x02" + block()[3:],
        block()[:4] + b"\0" * 4 + block()[8:],
    ],
)
def test_a_block_that_is_none_is_told_as_damage(body):
    with pytest.raises(StoreFailed) as fault:
        name_runs.Block(body)
    assert fault.value.code == "store.names"


LEVEL0 = name_runs.level0_body([name_runs.pack_names([(0, HOT)]), b"", name_runs.pack_names([(1, HOT)])])


@pytest.mark.parametrize(
    "body", [LEVEL0[:-1], b"\x02" + LEVEL0[1:], LEVEL0[:4] + b"\xff" + LEVEL0[5:], LEVEL0 + LEVEL0[-12:]]
)
def test_a_row_of_level_0_that_is_none_is_told_as_damage(body):
    with pytest.raises(StoreFailed) as fault:
        list(name_runs.level0_places(0, body, HOT, (-1, -1), descending=False))
    assert fault.value.code == "store.names"


def test_what_looks_like_a_key_across_two_names_is_none():
    two = name_runs.pack_names([(0x01020304, 0), (0, 0x05060708)])
    body = name_runs.level0_body([two])
    across = int.from_bytes(two[8:16], "little", signed=True)
    for descending in (False, True):
        beyond = (99, 0) if descending else (-1, -1)
        assert list(name_runs.level0_places(0, body, across, beyond, descending=descending)) == []
