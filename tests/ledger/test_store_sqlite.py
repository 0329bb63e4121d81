"""The SQLite file itself: what it refuses, who may write it, and what it does for durability."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import tt_store
from sqlalchemy.exc import DBAPIError, IntegrityError
from tt_store import LedgerFolder, add

from ledger.errors import ReadOnly, StoreFailed
from ledger.store.sqlite import open_reader, open_writer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    folder = LedgerFolder(tmp_path)
    yield folder
    folder.close()


@pytest.fixture
def filled(folder):
    log = folder.log()
    log.create(tt_store.GENESIS)
    add(log, *range(1, 300))
    return folder


# --- append-only ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = x'00' WHERE first_seq = 1",
        "UPDATE entries SET first_seq = 1000 WHERE first_seq = 257",
        "UPDATE entries SET count = 1",
        "UPDATE OR REPLACE entries SET first_seq = 1 WHERE first_seq = 65",
        "DELETE FROM entries WHERE first_seq = 257",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries VALUES (1, 64, x'00')",
        "REPLACE INTO entries VALUES (257, 43, x'00')",
        "INSERT INTO entries VALUES (1, 64, x'00') ON CONFLICT (first_seq) DO UPDATE SET body = x'00'",
        "INSERT INTO entries VALUES (5, 1, x'00')",
        "INSERT INTO entries VALUES (301, 1, x'00')",
        "INSERT INTO entries VALUES (-1, 1, x'00')",
        "INSERT INTO entries VALUES (300, 0, x'00')",
        "INSERT INTO entries VALUES (300, 65, x'00')",
        "UPDATE statements SET body = x'00' WHERE first_seq = 1",
        "UPDATE statements SET body = body",
        "DELETE FROM statements WHERE first_seq = 1",
        "DELETE FROM statements",
        "INSERT INTO statements VALUES (5, 1, x'00')",
        "INSERT INTO statements VALUES (299, 2, x'00')",
        "INSERT INTO statements VALUES (300, 65, x'00')",
        "INSERT OR REPLACE INTO statements VALUES (1, 64, x'00')",
        "INSERT INTO statements VALUES (1, 64, x'00') ON CONFLICT (first_seq) DO UPDATE SET body = x'00'",
        "UPDATE unique_keys SET seq = 7",
        "DELETE FROM unique_keys",
        "INSERT OR REPLACE INTO unique_keys SELECT key, 7 FROM unique_keys",
        "UPDATE tiles SET hashes = x'00'",
        "DELETE FROM tiles",
        "INSERT OR REPLACE INTO tiles VALUES (0, 0, x'00')",
        "UPDATE head SET tree_size = 299",
        "UPDATE head SET root_hash = x'00'",
        "DELETE FROM head",
        "INSERT OR REPLACE INTO head SELECT * FROM head",
    ],
)
def test_the_database_refuses_to_change_what_was_promised(filled, statement):
    store = filled.opened[0]
    before = store.read_head()
    with pytest.raises(IntegrityError), store.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert store.read_head() == before
    tt_store.assert_sound(store, size=300)


# --- one writing process -------------------------------------------------------------------------

HOLD = """
import sys
from ledger.store.sqlite import open_writer
store = open_writer(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def run_holder(database: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    return holder


@pytest.mark.fault
def test_a_second_writing_process_is_refused_plainly_and_reading_goes_on(filled):
    filled.close()
    with run_holder(filled.database) as holder:
        with pytest.raises(ReadOnly) as fault:
            open_writer(filled.database)
        assert fault.value.code == "ledger.writer.locked"
        assert f"id {holder.pid}" in fault.value.detail
        reader = open_reader(filled.database)
        tt_store.assert_sound(reader, size=300)
        reader.close()
        # A lock does not outlive its process, however that ends.
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    open_writer(filled.database).close()


@pytest.mark.fault
def test_a_process_that_is_refused_leaves_no_trace(filled):
    held = filled.store()
    refused = subprocess.run(
        [sys.executable, "-c", HOLD, str(filled.database)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "ReadOnly: ledger.writer.locked" in refused.stderr
    assert str(os.getpid()) in refused.stderr
    tt_store.assert_sound(held, size=300)


def test_a_forked_child_does_not_inherit_the_right_to_write(filled):
    child = os.fork()
    if child == 0:  # pragma: no cover  # another process
        try:
            open_writer(filled.database)
        except ReadOnly:
            os._exit(7)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_lock_is_held_until_the_last_store_of_the_process_closes(folder):
    first, second = folder.store(), folder.store()
    first.close()
    first.close()  # twice is once
    assert is_locked_for_others(folder.database)
    second.close()
    assert not is_locked_for_others(folder.database)


def is_locked_for_others(database: Path) -> bool:
    child = os.fork()
    if child == 0:  # pragma: no cover  # another process
        try:
            open_writer(database).close()
        except ReadOnly:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_lock_file_that_cannot_be_opened_refuses(tmp_path):
    (tmp_path / "ledger.db.writer-lock").mkdir()
    with pytest.raises(ReadOnly) as fault:
        open_writer(tmp_path / "ledger.db")
    assert fault.value.code == "ledger.writer.lock"


def test_a_file_that_is_no_database_frees_the_lock_again(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StoreFailed) as fault:
        open_writer(tmp_path / "ledger.db")
    assert fault.value.code == "store.open"
    assert not (tmp_path / "ledger.db").read_bytes().startswith(b"SQLite")
    assert not is_locked_for_others(tmp_path / "other.db")


# --- connections ---------------------------------------------------------------------------------


def pragma(engine, name: str):
    with engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_writing_is_durable_and_only_the_log_copies_the_wal_back(folder):
    store = folder.store()
    for engine in (store._engine, store.engine):
        assert pragma(engine, "journal_mode") == "wal"
        assert pragma(engine, "synchronous") == 2  # FULL
        assert pragma(engine, "mmap_size") in (0, None)
    assert pragma(store._engine, "wal_autocheckpoint") > 0
    assert pragma(store.engine, "wal_autocheckpoint") == 0


def test_a_reader_cannot_write(filled):
    reader = open_reader(filled.database)
    with pytest.raises(DBAPIError, match="readonly"), reader._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE head SET published = x''")
    reader.close()


def test_readers_see_whole_appends_only_and_are_not_held_up(filled):
    store, reader = filled.opened[0], open_reader(filled.database)
    log = filled.log(store)
    stop = threading.Event()
    faults: list[BaseException] = []

    def read() -> None:
        while not stop.is_set():
            try:
                head = reader.read_head()
                assert len(reader.read_entries(290, head.tree_size)) == head.tree_size - 290
                assert (head.tree_size - 300) % 5 == 0
            except BaseException as e:
                faults.append(e)
                return

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(40):
        add(log, *(f"{i}.{j}" for j in range(5)))
    stop.set()
    thread.join()
    assert faults == []
    reader.close()


def test_a_database_that_stays_locked_is_a_failure_and_writes_nothing(filled, monkeypatch):
    store = filled.opened[0]
    log = filled.log(store)
    head = log.head
    with store._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")
    other = filled.store()
    with other.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE head SET published_at = published_at")
        with pytest.raises(StoreFailed, match="locked"):
            add(log, "x")
    assert log.head == head
    assert add(log, "x") == [300]
    tt_store.assert_sound(store, size=301)


def test_odd_names_of_files_are_names_of_files(tmp_path):
    odd = LedgerFolder(tmp_path / "a?mode=memory&x=%41 #é")
    odd.path.mkdir()
    odd.log().create(tt_store.GENESIS)
    reader = open_reader(odd.database)
    tt_store.assert_sound(reader, size=1)
    reader.close()
    assert odd.database.stat().st_size > 0
    odd.close()


def test_a_closed_ledger_is_one_file_that_can_be_copied_and_read(filled, tmp_path):
    filled.close()
    assert sorted(file.name for file in filled.path.glob("ledger.db*")) == [
        "ledger.db",
        "ledger.db.writer-lock",
    ]
    assert all(file.stat().st_mode & 0o077 == 0 for file in filled.path.glob("ledger.db*"))
    copy = tmp_path / "copy.db"
    copy.write_bytes(filled.database.read_bytes())
    reader = open_reader(copy)
    tt_store.assert_sound(reader, size=300)
    reader.close()


def test_a_copy_on_a_read_only_disc_is_read_as_it_lies(filled, monkeypatch):
    filled.close()
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    reader = open_reader(filled.database)
    tt_store.assert_sound(reader, size=300)
    assert not filled.database.with_name("ledger.db-shm").exists()
    reader.close()


def test_appends_wait_for_the_disk_and_merges_do_not(folder):
    log = folder.log()
    log.create(tt_store.GENESIS)
    store = log.store
    seen: list[tuple[str, int]] = []
    raw = store._engine.raw_connection()
    driver = raw.driver_connection

    def note(statement: str) -> None:
        if statement == "BEGIN IMMEDIATE":
            driver.set_trace_callback(None)
            seen.append((what, driver.execute("PRAGMA synchronous").fetchone()[0]))
            driver.set_trace_callback(note)

    raw.close()
    normal, full = 1, 2
    driver.set_trace_callback(note)
    for what in ("append", "merge", "append", "merge", "merge", "append"):
        if what == "append":
            add(log, len(seen))
        else:
            with store.merging() as transaction:
                transaction.run("DELETE FROM name_level0 WHERE first_seq = -1")
    assert seen == [
        ("append", full),
        ("merge", normal),
        ("append", full),
        ("merge", normal),
        ("merge", normal),
        ("append", full),
    ]

    # A merge that fails leaves no connection behind that does not wait.
    with pytest.raises(StoreFailed), store.merging() as transaction:
        transaction.run("DELETE FROM there_is_no_such_table")
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == full
