"""ledger.db-wal or -shm is deleted, or another one put in its place, while the ledger is open.

What is acknowledged stands in the database all the same, and nothing more is written until a restart.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tt_store
from tt_store import GENESIS, LedgerFolder, add

from ledger.errors import LedgerError, OutcomeUnknown, ReadOnly
from ledger.store import sqlite
from ledger.store.name_runs_merge import NameIndex
from ledger.store.opening import open_reader

pytestmark = pytest.mark.fault


@pytest.fixture
def folder(tmp_path):
    folder = LedgerFolder(tmp_path / "ledger")
    folder.path.mkdir()
    yield folder
    folder.close()


def take_away(folder: LedgerFolder, suffix: str, *, is_replaced: bool) -> None:
    path = Path(f"{folder.database}{suffix}")
    assert path.exists()
    copy = path.read_bytes()
    path.unlink()
    if is_replaced:
        path.with_name("other").write_bytes(copy)
        path.with_name("other").rename(path)


def assert_holds(folder: LedgerFolder, into: Path, size: int) -> None:
    """The database file alone has all of it."""
    into.mkdir()
    shutil.copy(folder.database, into)
    reader = open_reader(into / "ledger.db")
    tt_store.assert_sound(reader, size=size)
    reader.close()


@pytest.mark.parametrize("is_replaced", [False, True], ids=["deleted", "replaced"])
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_what_was_acknowledged_is_saved_and_nothing_more_is_written(folder, tmp_path, suffix, is_replaced):
    log, reader = folder.log(publish_interval_s=0), folder.reader()
    log.create(GENESIS)
    add(log, *range(20))
    reader.read_head()  # as a worker, it has the old files open
    take_away(folder, suffix, is_replaced=is_replaced)
    assert add(log, "the last") == [21]
    assert_holds(folder, tmp_path / "copy", 22)
    assert log.publish_if_due() is None
    assert f"ledger.db{suffix}" in log.read_only_reason
    for _ in range(2):
        with pytest.raises(ReadOnly, match="start it again"):
            add(log, "one more")
    assert_holds(folder, tmp_path / "later", 22)
    reader.close()
    folder.close()
    log = folder.log()
    assert log.read_only_reason is None
    assert add(log, "after the restart") == [22]
    tt_store.assert_sound(log.store, size=23)


def test_a_merge_notices_it_too(folder, tmp_path):
    log = folder.log()
    log.create(GENESIS)
    for label in range(130):
        add(log, label, names=[(0, label)])
    take_away(folder, "-wal", is_replaced=False)
    assert NameIndex(log.store.merging).step()
    assert_holds(folder, tmp_path / "copy", 131)
    with pytest.raises(ReadOnly):
        add(log, "x")
    with pytest.raises(ReadOnly):
        NameIndex(log.store.merging).step()


@pytest.mark.parametrize("by_merge", [False, True], ids=["append", "merge"])
def test_what_cannot_be_copied_back_is_not_acknowledged(folder, tmp_path, monkeypatch, by_merge):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    log, reader = folder.log(), folder.reader()
    log.create(GENESIS)
    for label in range(130):
        add(log, label, names=[(0, label)])
    with reader.engine.connect() as holder, holder.begin():
        holder.exec_driver_sql("SELECT * FROM head").all()
        add(log, "seen by no old reader")
        take_away(folder, "-wal", is_replaced=False)
        if by_merge:
            with pytest.raises(LedgerError):
                NameIndex(log.store.merging).step()
        else:
            with pytest.raises(OutcomeUnknown):
                add(log, "unknown")
        with pytest.raises(ReadOnly):
            add(log, "x")
    reader.close()
    folder.close()  # the last to close copies back what it can
    log = folder.log()
    assert log.head.tree_size >= 132
    assert log.read_only_reason is None
    tt_store.assert_sound(log.store)


def test_what_sqlite_does_itself_is_no_loss(folder):
    """It makes, truncates and deletes them as it likes; a new connection begins new ones."""
    log = folder.log()
    log.create(GENESIS)
    for label in range(30):
        add(log, label)
        if label % 10 == 3:
            log.store._engine.dispose()
            log.store.engine.dispose()
        if label % 10 == 6:
            with log.store._engine.connect() as connection:
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert log.read_only_reason is None
    tt_store.assert_sound(log.store, size=31)
