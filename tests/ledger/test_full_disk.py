"""A disk that fills in the middle of a commit: nothing acknowledged is lost, and with space it goes on."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
import tt_store
from tt_store import GENESIS, ORIGIN, SIGNER, LedgerFolder

from ledger.audit import audit
from ledger.errors import LedgerError, StoreFailed
from ledger.highwater import HighWater
from ledger.log import Log, Pending
from ledger.store.opening import open_reader

pytestmark = pytest.mark.fault

DISK_SIZE = "3m"
BALLAST_SIZE = 1 << 20
PAGES_MAX = 150  # 600 KiB of database
FULL = ("disk is full", "No space left")


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, small enough to be filled at once."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def batch(source: random.Random, number: int, count: int) -> list[Pending]:
    """Statements that no packing makes smaller."""
    raws = [b"%d.%d " % (number, place) + source.randbytes(1500) for place in range(count)]
    return [Pending("event", raw, raw[:40], b"") for raw in raws]


def fill(log: Log, source: random.Random, acknowledged: dict[int, bytes], count: int) -> list[Pending]:
    """Append until the disk is full; the batch that did not fit."""
    for number in range(10_000):
        items = batch(source, number, count)
        try:
            placed = log.append(items, expected=log.head).placed
        except StoreFailed as fault:
            if number <= 3 or not any(words in fault.detail for words in FULL):
                raise
            return items
        acknowledged |= {place.seq: item.statement for place, item in zip(placed, items, strict=True)}
    raise AssertionError("the disk never filled")


def assert_kept(database: Path, acknowledged: dict[int, bytes]) -> None:
    reader = open_reader(database)
    try:
        assert audit(reader, [SIGNER.verifier], ORIGIN).findings == ()
        tt_store.assert_sound(reader, size=1 + len(acknowledged))
        for seq, statement in acknowledged.items():
            assert reader.read_statement(seq) == statement
    finally:
        reader.close()


@pytest.mark.parametrize("count", [1, 60], ids=["single", "many"])
@pytest.mark.parametrize("has_mark", [False, True], ids=["mark elsewhere", "mark beside it"])
def test_a_full_disk_loses_nothing_and_space_makes_it_go_on(disk, tmp_path, count, has_mark):
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(BALLAST_SIZE))
    folder = LedgerFolder(disk)
    log = folder.log(high_water=HighWater((disk if has_mark else tmp_path) / "mark"))
    log.create(GENESIS)
    acknowledged: dict[int, bytes] = {}
    waiting = fill(log, random.Random(count), acknowledged, count)
    for _ in range(3):
        with pytest.raises(LedgerError):
            log.append(waiting, expected=log.head)
    assert log.read_only_reason is None
    ballast.unlink()
    placed = log.append(waiting, expected=log.head).placed
    assert [place.duplicate for place in placed] == [False] * count
    acknowledged |= {place.seq: item.statement for place, item in zip(placed, waiting, strict=True)}
    assert_kept(folder.database, acknowledged)
    again = log.append(waiting, expected=log.head).placed
    assert [(place.seq, place.duplicate) for place in again] == [(place.seq, True) for place in placed]
    folder.close()


def test_a_database_that_may_not_grow_refuses_and_goes_on(tmp_path):
    """The same without a disk of its own: SQLite's bound on pages, until the next connection."""
    folder = LedgerFolder(tmp_path)
    log = folder.log()
    log.create(GENESIS)
    with folder.opened[0]._engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={PAGES_MAX}")
    acknowledged: dict[int, bytes] = {}
    waiting = fill(log, random.Random(7), acknowledged, 20)
    assert log.read_only_reason is None
    placed = log.append(waiting, expected=log.head).placed
    acknowledged |= {place.seq: item.statement for place, item in zip(placed, waiting, strict=True)}
    assert_kept(folder.database, acknowledged)
    folder.close()
