"""Servers on PostgreSQL: answers lost after the commit, hosts that die or stand still, full disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import tt_postgres
from tt_hosts import second_host
from tt_proxy import Proxy, is_commit
from tt_witness import crowd_at

from bench import load
from bench.server import ORIGIN, Server
from client.receipts import verify_receipt
from keys import base64url
from verifier.trust import load_trust

pytestmark = [pytest.mark.fault, pytest.mark.server]

ROUNDS = max(1, int(os.environ.get("FAULT_ROUNDS", "1")) // 20)
# Longer than the second for which a loser holds the lock; in the long form, longer than whatever waits.
STANDS_STILL_S = 2.0 if ROUNDS == 1 else 35.0
VARIABLE = "LEDGER_OF_A_TEST"
LINES = load.emitters(2, 31)
EVENTS = load.statements(LINES, 4, ORIGIN, 31)
DISK_SIZE, SPACE_LEFT = 64 << 20, 3 << 20


def serve_at(url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv(VARIABLE, url.render_as_string(hide_password=False))
    return Server(tmp_path / "ledger", workers=1, threads=2, database=f"env:{VARIABLE}")


def test_who_lost_the_answer_to_a_commit_finds_the_receipt(
    postgres: tt_postgres.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line breaks between COMMIT and its answer, and nobody can be asked what became of it."""
    with tempfile.TemporaryDirectory(prefix="tt-proxy-") as short:
        proxy = Proxy(Path(short), f"{postgres.folder}/.s.PGSQL.5432")
        server = serve_at(postgres.new_database().set(query={"host": short}), tmp_path, monkeypatch)
        place, away = Path(short, ".s.PGSQL.5432"), Path(short, "away")
        seen: list[int] = []

        def cut(number: int, message: bytes) -> bool:
            if sha256(EVENTS[1]).digest() in message:
                seen.append(number)
            if not seen or not is_commit(number, message):
                return False
            place.rename(away)
            return True

        try:
            server.start()
            server.register(LINES)
            (first,) = json.loads(server.post("/statements", EVENTS[0], "application/jose"))["results"]
            proxy.arm(cut, is_passed=True)
            with pytest.raises(urllib.error.HTTPError) as caught:
                server.post("/statements", EVENTS[1], "application/jose")
            assert proxy.is_cut
            assert caught.value.code == 503
            assert caught.value.headers["Retry-After"]
            assert json.load(caught.value)["type"].endswith("ledger.append.unknown")
            proxy.disarm()
            away.rename(place)
            answer = server.post("/statements?receipts=true", EVENTS[1], "application/jose")
            (again,) = json.loads(answer)["results"]
            assert again["status"] == "duplicate"
            assert again["seq"] == first["seq"] + 1
            assert base64url.decode(again["digest"]) == sha256(EVENTS[1]).digest()
            receipt = verify_receipt(
                again["receipt"].encode(),
                statement=EVENTS[1],
                origin=ORIGIN,
                verifiers=list(load_trust(server.folder / "trust").policy.logs),
            )
            assert receipt.entry.seq == again["seq"]
            (later,) = json.loads(server.post("/statements", EVENTS[2], "application/jose"))["results"]
            assert later["seq"] == first["seq"] + 2
        finally:
            server.stop()
            proxy.close()


def test_of_two_hosts_one_stands_still_or_dies_and_they_make_one_history(
    postgres: tt_postgres.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = serve_at(postgres.new_database(), tmp_path, monkeypatch)
    second = None
    try:
        first.start()
        second = second_host(first, workers=1, threads=2)
        second.start()
        with crowd_at(first, second, database=f"env:{VARIABLE}") as (crowd, witness):

            def both_go_on() -> None:
                for server in (first, second):
                    crowd.wait_for(200, port=server.port)

            both_go_on()
            for _ in range(ROUNDS):
                os.killpg(second.process.pid, signal.SIGSTOP)
                stopped = time.monotonic()
                try:
                    crowd.wait_for(500, port=first.port)
                    time.sleep(max(0.0, stopped + STANDS_STILL_S - time.monotonic()))
                finally:
                    os.killpg(second.process.pid, signal.SIGCONT)
                both_go_on()
                second.kill_group()
                crowd.wait_for(500, port=first.port)
                if ROUNDS == 1:
                    crowd.pause()  # beside a crowd a server takes its time to start
                second.start()
                crowd.go_on()
                both_go_on()
                crowd.pause()
                witness.look(crowd)
                crowd.go_on()
    finally:
        first.stop()
        if second is not None:
            second.stop()


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own for PostgreSQL, small enough to be filled."""
    folder = Path(tempfile.mkdtemp(prefix="tt-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE},mode=0777", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        folder.rmdir()
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def test_a_database_whose_disk_is_full_is_told_with_503_and_room_makes_it_go_on(
    postgres: tt_postgres.Cluster, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = disk / "space"
    space.mkdir()
    postgres._own(space)
    url = postgres.url("on_a_small_disk")
    with postgres.connect() as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
        connection.execute(f"CREATE DATABASE {url.database} TABLESPACE small")
    (disk / "ballast").write_bytes(bytes(DISK_SIZE - SPACE_LEFT - used(disk)))
    server = serve_at(url, tmp_path, monkeypatch)
    try:
        server.start()
        with crowd_at(server, database=f"env:{VARIABLE}") as (crowd, _):
            deadline = time.monotonic() + 60
            while sum(crowd.busy.values()) < 50:
                assert time.monotonic() < deadline
                assert not crowd.odd, crowd.odd[:2]
                time.sleep(0.05)
            assert set(crowd.busy) <= {"store.append", "store.begin", "store.read"}
            (disk / "ballast").unlink()
            crowd.wait_for(500)
        assert b"Traceback" not in server.output.read_bytes()
    finally:
        server.stop()
        with postgres.connect() as connection:
            connection.execute(f"DROP DATABASE {url.database} WITH (FORCE)")
            connection.execute("DROP TABLESPACE small")


def used(disk: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in disk.rglob("*") if path.is_file())
