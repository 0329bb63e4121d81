"""The high-water mark: read back whole or not at all, and what it tells a writer about its database."""

from __future__ import annotations

import os
import shutil

import pytest
import tt_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tt_store import GENESIS, ORIGIN, LedgerFolder, add, pending

from ledger.errors import HeadMoved, ReadOnly, StoreFailed
from ledger.highwater import SLOT_SIZE, HighWater, HighWaterDamaged, Mark

ROOT = bytes(range(32))
NOTE = b"log.example\n3\nroot\n\n\xe2\x80\x94 log.example sig\n"


@pytest.fixture
def file(tmp_path):
    return HighWater(tmp_path / "high-water")


@pytest.fixture
def folder(tmp_path):
    folder = LedgerFolder(tmp_path)
    yield folder
    folder.close()


# --- the file ------------------------------------------------------------------------------------


def test_a_mark_is_read_back_as_it_was_written(file):
    assert file.read() is None
    file.raise_to("log.example", 3, ROOT, NOTE)
    assert file.read() == Mark("log.example", 3, ROOT, NOTE)
    assert HighWater(file.path).read() == file.read()
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_a_mark_only_rises(file):
    file.raise_to("log.example", 3, ROOT, NOTE)
    file.raise_to("log.example", 2, bytes(32), b"older")
    file.raise_to("log.example", 3, bytes(32), b"same size")
    assert file.read() == Mark("log.example", 3, ROOT, NOTE)
    file.raise_to("log.example", 4, ROOT, b"newer")
    assert file.read() == Mark("log.example", 4, ROOT, b"newer")


def test_the_newest_anchor_is_kept_beside_the_head(file):
    file.note_anchored(1, ROOT)  # without a head there is nothing to keep it beside
    assert file.read() is None
    file.raise_to("log.example", 3, ROOT, NOTE)
    file.note_anchored(2, ROOT)
    file.note_anchored(1, bytes(32))
    file.raise_to("log.example", 9, ROOT, b"newer")
    assert file.read() == Mark("log.example", 9, ROOT, b"newer", 2, ROOT)


def test_two_that_write_one_file_never_lower_it(file):
    other = HighWater(file.path)
    for size in range(1, 20):
        (file if size % 3 else other).raise_to("log.example", size, ROOT, b"note %d" % size)
        assert file.read() == other.read() == Mark("log.example", size, ROOT, b"note %d" % size)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(2, 9), cut=st.integers(0, SLOT_SIZE), junk=st.binary(max_size=40))
def test_a_torn_write_leaves_the_mark_before_it(tmp_path_factory, size, cut, junk):
    file = HighWater(tmp_path_factory.mktemp("torn") / "mark")
    for newest in range(1, size + 1):
        before = file.path.read_bytes() if file.path.exists() else b""
        file.raise_to("log.example", newest, ROOT, b"note %d" % newest)
    after = file.path.read_bytes()
    at = SLOT_SIZE * (size % 2)
    slot = (after[at : at + cut] + before[at + cut : at + SLOT_SIZE]).ljust(SLOT_SIZE, b"\0")
    slot = slot[: max(0, cut - len(junk))] + junk + slot[max(len(junk), cut) :]
    file.path.write_bytes(after[:at] + slot[:SLOT_SIZE].ljust(SLOT_SIZE, b"\0") + after[at + SLOT_SIZE :])
    assert file.read().tree_size in (size - 1, size)
    # And the next write mends it.
    file.raise_to("log.example", size + 1, ROOT, b"next")
    assert file.read().tree_size == size + 1


@pytest.mark.parametrize("content", [b"", b"\0" * 2 * SLOT_SIZE, b"x" * 100, b"{}" * SLOT_SIZE])
def test_a_file_without_a_readable_slot_is_damaged_and_never_taken_for_missing(file, content):
    file.path.write_bytes(content)
    for use in (file.read, lambda: file.raise_to("log.example", 9, ROOT, NOTE)):
        with pytest.raises(HighWaterDamaged):
            use()
    assert file.path.read_bytes() == content


def test_one_changed_byte_spoils_a_slot(file):
    file.raise_to("log.example", 1, ROOT, b"note")
    whole = file.path.read_bytes()
    for at in range(SLOT_SIZE, len(whole.rstrip())):
        file.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(HighWaterDamaged):
            file.read()


def test_a_new_start_keeps_what_could_not_be_read(file):
    file.path.write_bytes(b"damaged")
    file.start("log.example", 5, ROOT, NOTE)
    assert file.read() == Mark("log.example", 5, ROOT, NOTE)
    assert file.path.with_name("high-water.damaged").read_bytes() == b"damaged"


def test_the_disk_is_asked_at_most_once_a_second(tmp_path, monkeypatch):
    ticks, synced = [0.0], []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(ticks[0]))
    file = HighWater(tmp_path / "mark", monotonic=lambda: ticks[0])
    for size in range(24):
        file.raise_to("log.example", size + 1, ROOT, NOTE)
        ticks[0] += 0.125
    assert synced == [0, 1, 2]
    file.sync_if_due()
    ticks[0] += 0.5
    file.sync_if_due()  # nothing new since
    assert synced == [0, 1, 2, 3]
    file.raise_to("log.example", 99, ROOT, NOTE)
    file.path.unlink()
    ticks[0] += 5
    file.sync_if_due()  # taken away: nothing to bring to the disk


def test_a_checkpoint_that_does_not_fit_is_refused_whole(file):
    file.raise_to("log.example", 1, ROOT, NOTE)
    with pytest.raises(OSError, match="do not fit"):
        file.raise_to("log.example", 2, ROOT, b"x" * SLOT_SIZE)
    assert file.read().tree_size == 1


# --- a restored backup ---------------------------------------------------------------------------


def yesterday_restored(folder) -> int:
    """Back up at 300 entries, go on to 360, restore the backup; give the size that was lost."""
    log = folder.log()
    log.create(GENESIS)
    add(log, *range(299))
    folder.close()
    shutil.copy(folder.database, folder.path / "backup.db")
    log = folder.log()
    add(log, *range(1000, 1060))
    size = log.head.tree_size
    folder.close()
    shutil.copy(folder.path / "backup.db", folder.database)
    return size


@pytest.mark.fault
def test_yesterdays_database_is_noticed_before_the_first_append_and_served_read_only(folder):
    assert yesterday_restored(folder) == 360
    log = folder.log()
    assert "knows 360 entries and the database holds 300" in log.read_only_reason
    assert "restored backup" in log.read_only_reason
    head = log.head
    with pytest.raises(ReadOnly) as fault:
        add(log, "x")
    assert (fault.value.code, fault.value.detail) == ("ledger.restored", log.read_only_reason)
    with pytest.raises(ReadOnly):
        log.create(GENESIS)
    assert log.publish_if_due() is None
    # Served it is: head, entries, proofs.
    assert log.head == log.store.read_head() == head
    tt_store.assert_sound(log.store, size=300)
    assert HighWater(folder.high_water).read().tree_size == 360


@pytest.mark.fault
def test_a_restored_backup_is_not_accepted_by_asking(folder):
    yesterday_restored(folder)
    log = folder.log()
    with pytest.raises(ReadOnly) as fault:
        log.accept_head()
    assert fault.value.code == "ledger.restored"
    assert HighWater(folder.high_water).read().tree_size == 360


@pytest.mark.fault
@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_database_taken_away_under_a_running_writer_is_noticed(folder, is_replaced):
    folder.log().create(GENESIS)
    folder.close()
    shutil.copy(folder.database, folder.path / "backup.db")
    log = folder.log()
    add(log, "a", "b")
    before = log.head
    for file in folder.path.glob("ledger.db*"):
        if file.suffix != ".writer-lock":
            file.unlink()
    if is_replaced:
        (folder.path / "backup.db").rename(folder.database)
        with pytest.raises(HeadMoved):
            log.append(pending("c"), expected=before)
        with pytest.raises(ReadOnly) as fault:
            add(log, "c")
        assert fault.value.code == "ledger.restored"
        tt_store.assert_sound(log.store, size=1)
    else:
        for _ in range(2):
            with pytest.raises(StoreFailed):
                log.append(pending("c"), expected=before)
        assert not folder.database.exists()


@pytest.mark.fault
def test_an_emptied_database_is_not_founded_again(folder):
    log = folder.log()
    log.create(GENESIS)
    folder.close()
    folder.database.unlink()
    log = folder.log()
    with pytest.raises(ReadOnly) as fault:
        log.create(GENESIS)
    assert fault.value.code == "ledger.restored"
    assert log.store.read_head() is None


@pytest.mark.fault
def test_another_history_of_the_same_size_is_a_fork(folder, tmp_path):
    fork = LedgerFolder(tmp_path / "fork")
    fork.path.mkdir()
    for ledger, label in ((folder, "ours"), (fork, "theirs")):
        log = ledger.log()
        log.create(GENESIS)
        add(log, *(f"{label} {i}" for i in range(400)))
        ledger.close()
    shutil.copy(fork.database, folder.database)
    log = folder.log()
    with pytest.raises(ReadOnly) as fault:
        add(log, "x")
    assert fault.value.code == "ledger.forked"
    with pytest.raises(ReadOnly):
        log.accept_head()
    # Longer is no better.
    longer = fork.log()
    add(longer, "more")
    fork.close()
    shutil.copy(fork.database, folder.database)
    assert "two histories" in folder.log().read_only_reason
    fork.close()


@pytest.mark.fault
def test_a_database_that_is_ahead_of_its_mark_continues_it(folder):
    log = folder.log()
    log.create(GENESIS)
    add(log, *range(300))
    behind = folder.high_water.read_bytes()
    add(log, *range(300, 500))
    folder.close()
    folder.high_water.write_bytes(behind)
    log = folder.log()
    assert log.read_only_reason is None
    add(log, "x")
    assert HighWater(folder.high_water).read().tree_size == 502


# --- a mark that is missing, damaged or somebody else's --------------------------------------------


@pytest.mark.fault
@pytest.mark.parametrize(("content", "code"), [(None, "missing"), (b"junk", "damaged"), (b"", "damaged")])
def test_without_a_mark_nothing_is_appended_until_the_head_is_accepted(folder, content, code):
    log = folder.log()
    log.create(GENESIS)
    add(log, "a")
    folder.close()
    folder.high_water.unlink()
    if content is not None:
        folder.high_water.write_bytes(content)
    log = folder.log()
    with pytest.raises(ReadOnly) as fault:
        add(log, "b")
    assert fault.value.code == f"ledger.high-water.{code}"
    log.accept_head()
    assert log.read_only_reason is None
    assert add(log, "b") == [2]
    assert HighWater(folder.high_water).read().tree_size == 3
    log.accept_head()  # nothing to accept is no fault
    tt_store.assert_sound(log.store, size=3)


def test_accepting_does_not_overrule_a_head_that_contradicts_itself(folder):
    log = folder.log()
    log.create(GENESIS)
    add(log, "a")
    folder.high_water.unlink()
    with log.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE head SET last_leaf_hash = x'00'")
    log = folder.log()
    with pytest.raises(ReadOnly) as fault:
        log.accept_head()
    assert fault.value.code == "ledger.head.refuted"
    assert not folder.high_water.exists()


def test_the_mark_of_another_log_is_not_ours(folder):
    log = folder.log()
    log.create(GENESIS)
    folder.high_water.unlink()
    HighWater(folder.high_water).raise_to("other.example", 1, log.head.root_hash, log.head.checkpoint)
    log = folder.log()
    with pytest.raises(ReadOnly) as fault:
        add(log, "a")
    assert fault.value.code == "ledger.high-water.origin"
    assert "other.example" in log.read_only_reason


def test_a_mark_that_cannot_be_read_stops_appending(folder):
    log = folder.log()
    log.create(GENESIS)
    folder.high_water.unlink()
    folder.high_water.mkdir()
    log = folder.log()
    with pytest.raises(ReadOnly) as fault:
        add(log, "a")
    assert fault.value.code == "ledger.high-water.unreadable"


# --- what others know ----------------------------------------------------------------------------


def test_a_witness_or_an_anchor_that_knows_more_stops_the_writer(folder):
    log = folder.log()
    log.create(GENESIS)
    add(log, *range(300))
    old = log.head
    add(log, "x")
    for size, root in ((old.tree_size, old.root_hash), (302, log.head.root_hash), (0, bytes(32))):
        log.check_against(size, root, f"witness {size}")
        assert log.read_only_reason is None
    add(log, "y")
    log.check_against(999, bytes(32), "the witness w1.example")
    assert "the witness w1.example knows 999 entries" in log.read_only_reason
    with pytest.raises(ReadOnly):
        add(log, "z")
    # It stays so: reading the head anew does not make the witness forget.
    with pytest.raises(ReadOnly):
        log.append(pending("z"), expected=old)
    with pytest.raises(ReadOnly):
        log.accept_head()


@pytest.mark.parametrize("size", [1, 256, 301])
def test_a_witness_that_knows_another_root_stops_the_writer(folder, size):
    log = folder.log()
    log.create(GENESIS)
    add(log, *range(300))
    log.check_against(size, bytes(32), "the witness w1.example")
    with pytest.raises(ReadOnly) as fault:
        add(log, "z")
    assert fault.value.code == "ledger.forked"


def test_the_anchor_in_the_mark_is_held_against_the_database(folder):
    log = folder.log()
    log.create(GENESIS)
    add(log, "a")
    HighWater(folder.high_water).note_anchored(2, bytes(32))
    folder.close()
    log = folder.log()
    assert "the newest anchor knows another root for 2 entries" in log.read_only_reason
    assert HighWater(folder.high_water).read().origin == ORIGIN
