"""What every store promises, whatever it is made of: SQLite's and PostgreSQL's. Another one joins STORES."""

from __future__ import annotations

import bisect
import random
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import tt_rows
import tt_store
from hypothesis import given
from hypothesis import strategies as st
from tt_store import ORIGIN, SIGNER, START, LedgerFolder, add, pending, rows_of

from ledger import entry as entry_format
from ledger import tiles
from ledger.audit import audit
from ledger.errors import EntryMalformed, HeadMoved, KeyTaken, NotInLog, StoreFailed
from ledger.store.opening import open_reader
from ledger.store.protocol import NAME_LIMIT_MAX, UNIQUE_KEY_SIZE_MAX

STORES = ["sqlite", "postgres"]
HOT, RARE, BEYOND = 7, -(2**63), 2**63 - 1  # index keys: in every 16th entry, in five, in none


def make_folder(request, path):
    if request.param == "sqlite":
        return LedgerFolder(path)
    return LedgerFolder(path, request.getfixturevalue("postgres").new_database())


@pytest.fixture(params=STORES)
def folder(request, tmp_path):
    folder = make_folder(request, tmp_path)
    yield folder
    folder.close()


@pytest.fixture(scope="module", params=STORES)
def large(request, tmp_path_factory):
    """70,000 entries: three levels of tiles, nine segments of names. Only read."""
    folder = make_folder(request, tmp_path_factory.mktemp("large"))
    log = folder.log()
    log.create(tt_store.GENESIS)
    rare = {5, 8191, 8192, 40_000, 69_999}
    kinds = {3: "key", 300: "key", 66_000: "key", 500: "anchor"}
    for start, end in ((1, 256), (256, 257), (257, 60_000), (60_000, 70_000)):
        items = []
        for seq in range(start, end):
            names = ([(0, HOT), (1, HOT)] if seq % 16 == 0 else []) + ([(0, RARE)] if seq in rare else [])
            items += pending(seq, kind=kinds.get(seq, "event"), names=names)
        log.append(items, expected=log.head)
    reader = folder.reader()
    yield reader
    reader.close()
    folder.close()


# --- an empty one --------------------------------------------------------------------------------


def test_an_empty_store_has_no_head_and_says_so(folder):
    store = folder.store()
    assert store.read_head() is None
    assert store.settle_head() is None
    assert list(store.read_entries(0, 10)) == []
    assert list(store.read_statements(0, 10)) == []
    assert store.find_unique([b"x"]) == {}
    assert store.find_name(HOT, limit=10) == []
    assert store.read_key_records(-1) == []
    for read in (
        store.read_checkpoint,
        lambda: store.read_entry(0),
        lambda: store.read_statement(0),
        lambda: store.read_tile(0, 0, 1),
    ):
        with pytest.raises(NotInLog):
            read()


def test_a_database_without_tables_says_so(request, tmp_path, folder):
    empty = folder.path / "empty.db"
    empty.touch()
    if folder.address is not None:
        empty = request.getfixturevalue("postgres").new_database()
    reader = open_reader(empty)
    with pytest.raises(StoreFailed, match=r"no such table|does not exist"):
        reader.read_head()
    reader.close()


def test_a_database_that_is_not_there_says_so(folder):
    elsewhere = folder.path / "elsewhere.db"
    if folder.address is not None:
        elsewhere = folder.address.set(database="elsewhere")
    with pytest.raises(StoreFailed, match=r"there is no database|does not exist"):
        open_reader(elsewhere).read_head()


# --- the head ------------------------------------------------------------------------------------


def test_an_append_on_another_head_writes_nothing(folder):
    store = folder.store()
    log = folder.log(store)
    first = log.create(tt_store.GENESIS).head
    add(log, "a", "b")
    head = log.head
    new = replace(head, tree_size=head.tree_size + 1, root_hash=bytes(32))
    for wrong in (
        None,
        first,
        replace(head, tree_size=head.tree_size + 1),
        replace(head, root_hash=bytes(32)),
    ):
        with pytest.raises(HeadMoved):
            store.append(wrong, rows_of(head.tree_size, "x"), new, [])
        assert store.read_head() == head
        tt_store.assert_sound(store, size=3)


def test_a_second_genesis_is_refused(folder):
    store = folder.store()
    head = folder.log(store).create(tt_store.GENESIS).head
    with pytest.raises(HeadMoved):
        store.append(None, rows_of(0, "x"), head, [])
    tt_store.assert_sound(store, size=1)


def test_a_record_that_cannot_be_written_takes_all_others_with_it(folder):
    store = folder.store()
    log = folder.log(store)
    log.create(tt_store.GENESIS)
    add(log, "a")
    head = log.head
    new = replace(head, tree_size=4, root_hash=bytes(32))
    taken = pending("a")[0].unique_key
    sound = rows_of(2, "x", "y")
    for fault_of, bad in (
        (KeyTaken, replace(sound, unique_keys=[b"x", taken])),
        (KeyTaken, replace(sound, unique_keys=[bytes(32), taken])),
        (KeyTaken, replace(sound, unique_keys=[b"x", b"x"])),
        (StoreFailed, rows_of(1, "x", "y")),
        (StoreFailed, rows_of(7, "x", "y")),
        (StoreFailed, replace(sound, statements=rows_of(1, "x").statements, first_seq=1)),
    ):
        with pytest.raises(StoreFailed) as fault:
            store.append(head, bad, new, [])
        assert (fault.value.code, type(fault.value)) == ("store.append", fault_of)
        assert store.read_head() == head
    for key in (b"", bytes(UNIQUE_KEY_SIZE_MAX + 1)):
        with pytest.raises(ValueError, match="unique key"):
            store.append(head, replace(sound, unique_keys=[b"x", key]), new, [])
    tt_store.assert_sound(store, size=2)
    assert store.find_unique([b"x"]) == {}


def test_publishing_needs_the_head_it_speaks_of_and_leaves_the_ledger_alone(folder):
    store = folder.store()
    log = folder.log(store)
    log.create(tt_store.GENESIS)
    add(log, "a")
    moment = START + timedelta(seconds=5)
    with pytest.raises(HeadMoved):
        store.publish(1, b"an older note", moment)
    store.publish(2, b"a note", moment)
    head = store.read_head()
    assert head == replace(log.head, published=b"a note", published_at=moment)
    assert head.is_same_state(log.head)
    # A writer that read the head before somebody published does not take the publication back.
    add(log, "b")
    assert store.read_head().published == b"a note"


# --- reading -------------------------------------------------------------------------------------


def test_what_was_appended_is_read_back(folder):
    log = folder.log()
    log.create(tt_store.GENESIS)
    items = pending("a", "b", "c")
    placed = log.append(items, expected=log.head).placed
    for store in (log.store, folder.reader()):
        assert list(store.read_entries(1, 4)) == [place.entry for place in placed]
        assert list(store.read_statements(1, 4)) == [item.statement for item in items]
        assert list(store.read_entries(3, 99)) == [placed[2].entry]
        assert store.read_entry(2) == placed[1].entry
        assert store.read_statement(2) == items[1].statement
        each = {
            seq: (place.entry, item.statement)
            for seq, place, item in zip((1, 2, 3), placed, items, strict=True)
        }
        assert store.read_records([3, 1, 3]) == [each[3], each[1], each[3]]
        assert store.read_records([]) == []
        for beyond in ([4], [1, 2**70], [2**62, 1], [-1, 1], list(range(1001))):
            with pytest.raises(NotInLog):
                store.read_records(beyond)
        assert store.read_checkpoint() == log.head.checkpoint
        keys = [item.unique_key for item in items]
        assert store.find_unique([*keys, b"?"]) == dict(zip(keys, (1, 2, 3), strict=True))
        assert store.read_head() == log.head
        for beyond in (4, 2**62):
            with pytest.raises(NotInLog):
                store.read_entry(beyond)
        for start, end in ((-1, 2), (0, 2**20)):
            with pytest.raises(NotInLog):
                store.read_entries(start, end)
    store.close()


def test_records_from_all_over_the_log_are_those_read_one_by_one(large):
    size = large.read_head().tree_size
    chance = random.Random(5)
    for count in (1, 2, 60, 1000):
        seqs = [chance.randrange(size) for _ in range(count)]
        each = [(large.read_entry(seq), large.read_statement(seq)) for seq in seqs]
        assert large.read_records(seqs) == each
    assert large.read_records(range(200, 700)) == list(
        zip(large.read_entries(200, 700), large.read_statements(200, 700), strict=True)
    )


def test_many_unique_keys_are_looked_up_at_once(large):
    keys = [pending(seq)[0].unique_key for seq in range(1, 2000)]
    assert large.find_unique(keys) == {key: seq for seq, key in enumerate(keys, 1)}
    assert large.find_unique([pending(f"no {i}")[0].unique_key for i in range(1500)]) == {}


def test_every_tile_of_a_large_tree_holds_its_hashes(large):
    size = large.read_head().tree_size
    leaves = []
    for start in range(0, size, 10_000):
        leaves += [entry_format.leaf_hash(raw) for raw in large.read_entries(start, start + 10_000)]
    assert len(leaves) == size == 70_000
    tt_store.assert_tiles(large, leaves)
    assert tiles.root_at(large, size) == large.read_head().root_hash


@given(data=st.data())
def test_a_narrower_tile_is_the_beginning_of_a_wider_one(large, data):
    level = data.draw(st.integers(0, 2))
    index = data.draw(st.integers(0, (70_000 >> (8 * level + 8))))
    full = tiles.width_at(level, index, 70_000)
    width = data.draw(st.integers(1, full))
    assert large.read_tile(level, index, full)[: 32 * width] == large.read_tile(level, index, width)


@pytest.mark.parametrize(
    ("level", "index", "width"),
    [
        (0, 273, 113),
        (0, 274, 1),
        (0, 0, 0),
        (0, 0, 257),
        (0, 0, -1),
        (0, -1, 1),
        (0, 2**62, 1),
        (1, 1, 18),
        (1, 2, 1),
        (2, 0, 2),
        (2, 1, 1),
        (3, 0, 1),
        (-1, 0, 1),
        (64, 0, 1),
    ],
)
def test_a_tile_beyond_the_tree_is_not_in_the_log(large, level, index, width):
    with pytest.raises(NotInLog):
        large.read_tile(level, index, width)


def places_of(key: int) -> list[tuple[int, int]]:
    if key == HOT:
        return [(seq, ordinal) for seq in range(16, 70_000, 16) for ordinal in (0, 1)]
    return [(seq, 0) for seq in (5, 8191, 8192, 40_000, 69_999)] if key == RARE else []


@given(
    key=st.sampled_from([HOT, RARE, BEYOND]),
    after=st.none() | st.tuples(st.integers(-1, 70_001), st.integers(-1, 2)),
    limit=st.integers(1, 300),
    descending=st.booleans(),
)
def test_places_of_a_name_come_in_log_order_from_anywhere(large, key, after, limit, descending):
    places = places_of(key)
    if after is not None and descending:
        places = places[: bisect.bisect_left(places, after)]
    elif after is not None:
        places = places[bisect.bisect_right(places, after) :]
    if descending:
        places = places[::-1]
    assert large.find_name(key, after=after, limit=limit, descending=descending) == places[:limit]


@pytest.mark.parametrize("count", [1, 20])
def test_names_that_collide_are_one_place_and_stop_nobody(folder, count):
    log = folder.log()
    log.create(tt_store.GENESIS)
    items = pending(*range(count), names=[(0, HOT), (0, HOT), (1, HOT), (0, HOT + 2**40)])
    log.append(items, expected=log.head)
    expected = [(seq, ordinal) for seq in range(1, count + 1) for ordinal in (0, 1)]
    assert log.store.find_name(HOT, limit=100) == expected
    assert log.store.find_name(HOT + 2**40, limit=100) == expected[::2]
    for near in (HOT + 1, HOT + 2**24, HOT + 2**63 - 8, HOT - 2**63):
        assert log.store.find_name(near, limit=100) == []


@pytest.mark.parametrize("limit", [0, -1, NAME_LIMIT_MAX + 1])
def test_a_name_is_not_searched_without_a_bound(large, limit):
    with pytest.raises(ValueError, match="limit"):
        large.find_name(HOT, limit=limit)


def test_key_records_are_found_by_their_links(large):
    assert [seq for seq, _, _ in large.read_key_records(-1)] == [0, 3, 300, 66_000]
    assert [seq for seq, _, _ in large.read_key_records(0)] == [3, 300, 66_000]
    assert [seq for seq, _, _ in large.read_key_records(299)] == [300, 66_000]
    assert large.read_key_records(66_000) == []
    seq, entry, statement = large.read_key_records(300)[0]
    assert (entry, statement) == (large.read_entry(seq), large.read_statement(seq))


# --- damage --------------------------------------------------------------------------------------


@contextmanager
def tampering(folder):
    """A connection that no trigger stands in the way of."""
    with folder.store().engine.begin() as connection:
        if folder.address is None:
            triggers = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in triggers.all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            for table in ("entries", "statements", "head"):
                connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield connection


def bytes_of(connection, hexed: str) -> str:
    return f"x'{hexed}'" if connection.dialect.name == "sqlite" else f"'\\x{hexed}'::bytea"


def test_what_is_gone_leaves_its_place_empty(folder):
    log = folder.log()
    log.create(tt_store.GENESIS)
    add(log, "a", "b", "c")
    entries = list(log.store.read_entries(0, 4))
    with tampering(folder) as connection:
        tt_rows.alter(connection, "entries", 1, b"")
        tt_rows.alter(connection, "entries", 3, b"")
        tt_rows.alter(connection, "statements", 2, None)
        connection.exec_driver_sql(f"INSERT INTO entries VALUES (4, 1, {bytes_of(connection, '00')})")
    assert list(log.store.read_entries(0, 9)) == [entries[0], b"", entries[2], b""]
    assert log.store.read_statement(2) is None
    assert log.store.read_statements(1, 9) == [b"statement a", None, b"statement c"]
    assert log.store.read_tile(0, 0, 4)[:32] == entry_format.leaf_hash(entries[0])


def test_rows_that_are_gone_leave_their_places_empty(folder):
    log = folder.log()
    log.create(tt_store.GENESIS)
    for label in "abc":
        add(log, label, label * 2)
    entries = list(log.store.read_entries(0, 7))
    with tampering(folder) as connection:
        connection.exec_driver_sql("DELETE FROM entries WHERE first_seq IN (0, 3)")
        connection.exec_driver_sql("DELETE FROM statements WHERE first_seq = 5")
    assert list(log.store.read_entries(0, 9)) == [b"", *entries[1:3], b"", b"", *entries[5:]]
    assert list(log.store.read_entries(4, 6)) == [b"", entries[5]]
    assert log.store.read_statements(4, 9) == [b"statement bb", None, None]
    assert [log.store.read_statement(seq) for seq in (4, 5, 6)] == [b"statement bb", None, None]
    gone = log.store.read_records([0, 6, 3, 4])
    assert [entry for entry, _ in gone] == [b"", entries[6], b"", b""]
    assert [statement for _, statement in gone][1:] == [None, b"statement b", b"statement bb"]
    with pytest.raises(NotInLog):
        log.store.read_tile(0, 0, 4)


@pytest.mark.parametrize("table", ["entries", "statements"])
@pytest.mark.parametrize("hexed", ["00", "ff", "0300ffffffff", "02000100", "01", "0103000000053132333435"])
def test_a_row_that_cannot_be_unpacked_is_altered_at_each_of_its_places(folder, table, hexed):
    log = folder.log()
    log.create(tt_store.GENESIS)
    add(log, "a", "b", "c")
    add(log, "d")
    before = [log.store.read_entries(0, 5), log.store.read_statements(0, 5)]
    with tampering(folder) as connection:
        body = bytes_of(connection, hexed)
        connection.exec_driver_sql(f"UPDATE {table} SET body = {body} WHERE first_seq = 1")
    read = log.store.read_entries if table == "entries" else log.store.read_statements
    old = before[table == "statements"]
    assert read(0, 5) == [old[0], *[bytes.fromhex(hexed)] * 3, old[4]]
    assert read(2, 3) == [bytes.fromhex(hexed)]
    for seqs in ([2], [3, 1], [4, 2, 0]):
        both = [log.store.read_entries(0, 5), log.store.read_statements(0, 5)]
        assert log.store.read_records(seqs) == [(both[0][seq], both[1][seq]) for seq in seqs]
    report = audit(log.store, [SIGNER.verifier], ORIGIN)
    named = {finding.seq for finding in report.findings if finding.cause in ("refuted", "malformed")}
    # Of entries, with no tile as a witness yet, those beside them are in doubt as well.
    assert named >= {1, 2, 3} if table == "entries" else named == {1, 2, 3}


@pytest.mark.parametrize("what", ["gone", "altered", "another", "head"])
def test_a_walk_over_key_records_does_not_step_over_a_break(folder, what):
    log = folder.log()
    log.create(tt_store.GENESIS)
    add(log, 1)
    add(log, 2, kind="key")
    add(log, 3)
    add(log, 4, kind="key")
    with tampering(folder) as connection:
        if what == "head":
            connection.exec_driver_sql("UPDATE head SET keys_seq = 3")
        else:
            entry = {"gone": b"", "altered": b"x", "another": log.store.read_entry(3)}[what]
            tt_rows.alter(connection, "entries", 2, entry)
    try:
        records = log.store.read_key_records(-1)
    except EntryMalformed:
        return
    # A head that points elsewhere is for the log and the audit to find: the walk only never loops.
    assert what == "head"
    assert [seq for seq, _, _ in records] == [0, 2, 3]
