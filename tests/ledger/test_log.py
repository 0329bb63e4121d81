"""The log puts statements in order, signs what it did, and never contradicts itself."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
import tt_rows
import tt_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tt_store import GENESIS, ORIGIN, SIGNER, START, LedgerFolder, add, pending

from keys.algorithms import private_key_from_seed
from keys.note import NoteSigner
from ledger import entry as entry_format
from ledger.checkpoint import open_checkpoint
from ledger.errors import ClockBehind, HeadMoved, NotInLog, ReadOnly
from ledger.log import APPEND_COUNT_MAX, Log, Pending
from ledger.store import schema
from ledger.store.sqlite import open_writer


@pytest.fixture
def folder(tmp_path):
    folder = LedgerFolder(tmp_path)
    yield folder
    folder.close()


@pytest.fixture
def log(folder):
    log = folder.log()
    log.create(GENESIS)
    return log


# --- the beginning -------------------------------------------------------------------------------


def test_genesis_is_entry_0_and_published_at_once(folder):
    log = folder.log()
    with pytest.raises(NotInLog):
        _ = log.head
    appended = log.create(GENESIS)
    (placed,) = appended.placed
    parsed = entry_format.parse(placed.entry)
    assert (placed.seq, placed.duplicate, parsed.kind) == (0, False, "genesis")
    assert (parsed.seq, parsed.keys, parsed.prev) == (0, 0, entry_format.ZERO_PREV)
    assert placed.statement_digest == parsed.statement == sha256(GENESIS).digest()
    assert log.head == appended.head == log.store.read_head()
    assert log.head.published == log.head.checkpoint
    tt_store.assert_sound(log.store, size=1)


def test_creating_it_again_finds_it_and_another_one_is_refused(folder, log):
    add(log, "a")
    for again in (log, folder.log()):
        appended = again.create(GENESIS)
        assert [(place.seq, place.duplicate) for place in appended.placed] == [(0, True)]
        with pytest.raises(ReadOnly) as fault:
            again.create(b"another")
        assert fault.value.code == "ledger.exists"
    tt_store.assert_sound(log.store, size=2)


def test_a_log_needs_a_signer(folder):
    with pytest.raises(ValueError, match="signer"):
        Log(folder.store(), [], ORIGIN, folder.clock, None)


# --- order, chain, links -------------------------------------------------------------------------


def test_statements_are_placed_in_order_and_chained(log):
    items = [
        *pending("a"),
        *pending("k1", kind="key"),
        *pending("b", "c"),
        *pending("k2", kind="key"),
        *pending("d"),
        *pending("t", kind="anchor"),
    ]
    appended = log.append(items, expected=log.head)
    assert [place.seq for place in appended.placed] == list(range(1, 8))
    assert [entry_format.parse(place.entry).keys for place in appended.placed] == [0, 0, 2, 2, 2, 5, 5]
    assert [place.statement_digest for place in appended.placed] == [
        sha256(item.statement).digest() for item in items
    ]
    assert (log.head.tree_size, log.head.keys_seq, log.head.events) == (8, 5, 7)
    add(log, "e")
    assert entry_format.parse(log.store.read_entry(8)).keys == 5
    tt_store.assert_sound(log.store, size=9)


def test_the_answers_checkpoint_covers_every_place_and_is_signed(log):
    appended = log.append(pending(*range(300)), expected=log.head)
    checkpoint = open_checkpoint(appended.head.checkpoint, [SIGNER.verifier], ORIGIN)
    assert checkpoint.tree_size == 301 > max(place.seq for place in appended.placed)
    assert checkpoint.root_hash == appended.head.root_hash


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_the_ledger_does_not_depend_on_how_it_was_cut_into_appends(tmp_path_factory, sizes):
    roots = []
    for cut in (sizes, [sum(sizes)]):
        folder = LedgerFolder(tmp_path_factory.mktemp("cut"))
        log = folder.log()
        log.create(GENESIS)
        start = 0
        for size in cut:
            add(log, *range(start, start + size))
            start += size
        tt_store.assert_sound(log.store, size=1 + sum(sizes))
        roots.append(log.head.root_hash)
        folder.close()
    assert roots[0] == roots[1]


def test_a_log_goes_on_where_another_ended(folder):
    size = 0
    for width in (1, 254, 1, 1, 300, 5):
        log = folder.log()
        if size == 0:
            log.create(GENESIS)
            size = 1
        assert log.read_only_reason is None
        add(log, *range(size, size + width))
        size += width
        folder.close()
    tt_store.assert_sound(folder.store(), size=size)


@pytest.mark.parametrize("kind", ["genesis", "", "Event", "unheard-of"])
def test_only_known_kinds_are_appended(log, kind):
    with pytest.raises(ValueError, match="kind"):
        log.append([Pending(kind, b"x", b"x")], expected=log.head)
    assert log.head.tree_size == 1


def test_one_append_is_bounded(log):
    with pytest.raises(ValueError, match="at most"):
        log.append(pending("a") * (APPEND_COUNT_MAX + 1), expected=log.head)


def test_an_append_of_nothing_gives_the_head(log):
    appended = log.append([], expected=log.head)
    assert (appended.placed, appended.head) == ([], log.head)


# --- duplicates ----------------------------------------------------------------------------------


def test_a_duplicate_is_answered_with_the_first_and_appends_nothing(log):
    first = log.append(pending("a", "b"), expected=log.head)
    other_bytes = replace(pending("a")[0], statement=b"the same thing, signed again")
    again = log.append([other_bytes, *pending("b", "a")], expected=log.head)
    assert [(place.seq, place.duplicate) for place in again.placed] == [(1, True), (2, True), (1, True)]
    assert again.placed[0].statement_digest == first.placed[0].statement_digest
    assert again.placed[0].entry == first.placed[0].entry
    assert again.head == first.head
    tt_store.assert_sound(log.store, size=3)


def test_a_duplicate_within_one_append_is_the_first_of_them(log):
    a, b = pending("a", "b")
    appended = log.append([a, b, replace(a, statement=b"again"), b, *pending("c")], expected=log.head)
    assert [(place.seq, place.duplicate) for place in appended.placed] == [
        (1, False),
        (2, False),
        (1, True),
        (2, True),
        (3, False),
    ]
    assert appended.placed[2].statement_digest == sha256(a.statement).digest()
    assert appended.placed[2].entry == appended.placed[0].entry
    tt_store.assert_sound(log.store, size=4)


def test_a_batch_of_old_and_new_is_answered_in_its_order(log):
    add(log, *range(600))
    labels = ["new1", 599, 3, "new2", 4, 300, 3]
    appended = log.append(pending(*labels), expected=log.head)
    assert [(place.seq, place.duplicate) for place in appended.placed] == [
        (601, False),
        (600, True),
        (4, True),
        (602, False),
        (5, True),
        (301, True),
        (4, True),
    ]
    for place in appended.placed:
        assert log.store.read_entry(place.seq) == place.entry
        assert entry_format.parse(place.entry).statement == place.statement_digest


# --- two logs on one database --------------------------------------------------------------------


def test_the_log_that_was_overtaken_writes_nothing_and_learns_the_head(folder, log):
    other = folder.log()
    judged_by = other.head
    add(log, "a")
    with pytest.raises(HeadMoved):
        other.append(pending("b"), expected=judged_by)
    assert other.head == log.head
    assert add(other, "b") == [2]
    with pytest.raises(HeadMoved):
        log.append(pending("c"), expected=judged_by)
    assert add(log, "c") == [3]
    tt_store.assert_sound(log.store, size=4)


def test_a_caller_that_judged_by_an_older_head_must_judge_again(log):
    judged_by = log.head
    add(log, "a")
    with pytest.raises(HeadMoved):
        log.append(pending("b"), expected=judged_by)
    with pytest.raises(HeadMoved):
        log.append(pending("b"), expected=replace(log.head, root_hash=bytes(32)))
    tt_store.assert_sound(log.store, size=2)


@pytest.mark.parametrize("wanted", [["a"], ["a", "b"], []])
def test_by_an_old_head_there_is_no_answer_not_even_for_a_duplicate(folder, log, wanted):
    other = folder.log()
    judged_by = other.head
    add(log, "a")
    with pytest.raises(HeadMoved):
        other.append(pending(*wanted), expected=judged_by)
    assert other.head == log.head
    tt_store.assert_sound(log.store, size=2)


@pytest.mark.fault
def test_two_logs_that_append_at_the_same_time_make_one_history(folder, log):
    logs = [folder.log() for _ in range(2)]
    answers: list[dict[str, int]] = [{}, {}]
    faults: list[BaseException] = []

    def keep_appending(number: int) -> None:
        mine = logs[number]
        try:
            for i in range(40):
                labels = [f"{number}.{i}.{j}" for j in range(3)] + [f"shared {i}"]
                while True:
                    try:
                        appended = mine.append(pending(*labels), expected=mine.head)
                        break
                    except HeadMoved:
                        continue
                answers[number] |= {
                    label: place.seq for label, place in zip(labels, appended.placed, strict=True)
                }
                assert appended.head.tree_size > max(place.seq for place in appended.placed)
                if i % 7 == 0:
                    mine.publish_if_due()
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=keep_appending, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert all(log.read_only_reason is None for log in logs)
    # Each label has one place, whoever asked for it.
    assert all(answers[0][label] == answers[1][label] for label in set(answers[0]) & set(answers[1]))
    places = {**answers[0], **answers[1]}
    assert sorted(places.values()) == list(range(1, 2 * 40 * 3 + 40 + 1))
    tt_store.assert_sound(log.store, size=1 + len(places))
    for label, seq in places.items():
        assert log.store.read_statement(seq) == pending(label)[0].statement


# --- the clock -----------------------------------------------------------------------------------


def test_recorded_at_never_decreases_and_a_small_step_back_is_waited_out(folder, log):
    folder.clock.advance(10)
    add(log, "a")
    folder.clock.advance(-2)
    add(log, "b")
    folder.clock.advance(1.5)
    add(log, "c")
    folder.clock.advance(1)
    add(log, "d")
    times = [entry_format.parse(raw).recorded_at for raw in log.store.read_entries(0, 5)]
    ten = START + timedelta(seconds=10)
    assert times == [START, ten, ten, ten, ten + timedelta(seconds=0.5)]
    tt_store.assert_sound(log.store, size=5)


def test_a_clock_further_behind_records_nothing_until_it_is_right(folder, log):
    folder.clock.advance(10)
    add(log, "a")
    folder.clock.advance(-2.000001)
    for attempt in (log, folder.log()):
        with pytest.raises(ClockBehind) as fault:
            add(attempt, "b")
        assert fault.value.code == "ledger.clock"
    tt_store.assert_sound(log.store, size=2)
    folder.clock.advance(0.000001)
    add(log, "b")
    tt_store.assert_sound(log.store, size=3)


# --- publishing ----------------------------------------------------------------------------------


def test_a_checkpoint_is_published_at_most_once_an_interval(folder):
    ticks = [0.0]
    log = folder.log(monotonic=lambda: ticks[0])
    log.create(GENESIS)
    genesis_note = log.head.checkpoint
    add(log, "a")
    assert log.publish_if_due() is None
    assert log.store.read_head().published == genesis_note
    folder.clock.advance(1)
    assert log.publish_if_due() == log.head.checkpoint == log.store.read_head().published
    assert log.head == log.store.read_head()
    add(log, "b")
    ticks[0] += 0.9
    assert log.publish_if_due() is None
    ticks[0] += 0.1
    assert log.publish_if_due() == log.head.checkpoint
    ticks[0] += 100
    assert log.publish_if_due() is None  # nothing new


def test_a_clock_set_back_does_not_hold_publishing_up(folder, log):
    add(log, "a")
    folder.clock.advance(-3600)
    assert folder.log().publish_if_due() == log.head.checkpoint


def test_publishing_after_being_overtaken_waits_for_the_newer_head(folder, log):
    add(log, "a")
    folder.clock.advance(5)
    other = folder.log()
    add(other, "b")
    assert log.publish_if_due() is None
    assert log.head == other.head
    assert log.publish_if_due() == other.head.checkpoint


def test_nothing_is_published_before_there_is_anything(folder):
    assert folder.log().publish_if_due() is None


# --- a head that cannot be relied on -------------------------------------------------------------


def tampered(folder, *statements: str | tuple[int, int | None]) -> Log:
    store = folder.store()
    before = store.read_entries(0, 1000)
    with store.engine.begin() as connection:
        triggers = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all()
        for (name,) in triggers:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for statement in statements:
            if isinstance(statement, str):
                connection.exec_driver_sql(statement)
            else:
                seq, other = statement
                tt_rows.alter(connection, "entries", seq, b"" if other is None else before[other])
    return folder.log(store)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE head SET tree_size = 300",
        "UPDATE head SET root_hash = x'00'",
        "UPDATE head SET checkpoint = published",
        "UPDATE head SET checkpoint = x'00'",
        "UPDATE head SET last_leaf_hash = root_hash",
        "UPDATE head SET keys_seq = 4",
        "UPDATE head SET recorded_at = '2020-01-01T00:00:00.000000Z'",
        "DELETE FROM entries WHERE first_seq = (SELECT max(first_seq) FROM entries)",
        "UPDATE entries SET body = x'00' WHERE first_seq = (SELECT max(first_seq) FROM entries)",
        (300, 2),
        (270, 2),
        (300, None),
        (270, None),
        "DELETE FROM tile_edges",
        "UPDATE tile_edges SET hashes = zeroblob(32)",
        "UPDATE tile_edges SET hashes = x'00'",
    ],
)
def test_nothing_is_signed_on_top_of_a_head_that_contradicts_itself(folder, log, statement):
    add(log, *range(300))
    before = log.store.read_head()
    folder.close()
    log = tampered(folder, statement)
    assert log.read_only_reason is not None
    with pytest.raises(ReadOnly) as fault:
        log.append(pending("x"), expected=before)
    assert fault.value.code == "ledger.head.refuted"
    assert log.publish_if_due() is None
    assert log.store.read_head().tree_size in (300, 301)


def test_a_writer_with_the_wrong_key_signs_nothing(folder, log):
    wrong = NoteSigner.from_private_key(ORIGIN, private_key_from_seed(b"W" * 32))
    other = Log(log.store, [wrong], ORIGIN, folder.clock, None)
    other.open()
    assert "no key that we know" in other.read_only_reason
    with pytest.raises(ReadOnly):
        add(other, "a")
    # After a rotation the old key still speaks for the newest checkpoint.
    rotated = Log(log.store, [wrong], ORIGIN, folder.clock, None, verifiers=[SIGNER.verifier])
    rotated.open()
    assert add(rotated, "a") == [1]
    assert open_checkpoint(rotated.head.checkpoint, [wrong.verifier], ORIGIN).tree_size == 2


def test_a_writer_of_another_origin_signs_nothing(folder, log):
    signer = NoteSigner.from_private_key("other.example", private_key_from_seed(b"L" * 32))
    other = Log(log.store, [signer], "other.example", folder.clock, None, verifiers=[SIGNER.verifier])
    other.open()
    assert other.read_only_reason is not None
    with pytest.raises(ReadOnly):
        add(other, "a")


def test_a_log_is_not_used_before_it_is_open_without_looking_first(folder, log):
    add(log, "a")
    unopened = Log(log.store, [SIGNER], ORIGIN, folder.clock, None)
    assert [place.seq for place in unopened.append(pending("b"), expected=log.head).placed] == [2]


def test_several_keys_sign_each_checkpoint(tmp_path):
    second = NoteSigner.from_private_key(ORIGIN, private_key_from_seed(b"M" * 32))
    store = open_writer(tmp_path / "two.db")
    with store.engine.begin() as connection:
        schema.create_all(connection)
    log = Log(store, [SIGNER, second], ORIGIN, lambda: START, None)
    log.open()
    log.create(GENESIS)
    for signer in (SIGNER, second):
        assert open_checkpoint(log.head.checkpoint, [signer.verifier], ORIGIN).tree_size == 1
    store.close()
