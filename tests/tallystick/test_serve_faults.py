"""The real server when its surroundings fail: a full disk, a WAL that is taken away."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tt_witness import crowd_at

from bench.server import Server

pytestmark = [pytest.mark.fault, pytest.mark.server]

DISK_SIZE = "24m"
BALLAST_SIZE = 12 << 20


def wait_for(condition, timeout_s: float = 30.0):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def readyz(server: Server) -> dict:
    try:
        with urllib.request.urlopen(server.url + "/readyz", timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def test_a_wal_that_is_deleted_under_load_costs_a_restart_and_nothing_that_was_answered(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path / "ledger", workers=1, threads=2)
    try:
        server.start()
        with crowd_at(server, database=str(server.folder / "ledger.db")) as (crowd, _):
            crowd.wait_for(500)
            (server.folder / "ledger.db-wal").unlink()
            reason = wait_for(lambda: readyz(server)["writes"].get("reason"))
            assert "ledger.db-wal" in reason
            assert "start it again" in reason
            server.kill_group()  # what was answered needs no orderly end
            server.start()
            crowd.wait_for(500)
        assert "store.wal" in crowd.busy or "ledger.read-only" in crowd.busy
    finally:
        server.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, small enough to be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE},mode=0777", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_with_503_and_room_makes_it_go_on(tmp_path: Path, disk: Path) -> None:
    (disk / "ballast").write_bytes(bytes(BALLAST_SIZE))
    server = Server(disk / "ledger", workers=1, threads=2)
    server.output = tmp_path / "output"
    try:
        server.start()
        with crowd_at(server, database=str(server.folder / "ledger.db")) as (crowd, _):
            wait_for(lambda: sum(crowd.busy.values()) >= 50, 60)
            assert set(crowd.busy) <= {"store.append", "store.begin", "ledger.append.lost"}
            (disk / "ballast").unlink()
            crowd.wait_for(500)
        assert b"Traceback" not in server.output.read_bytes()
    finally:
        server.stop()
