"""The server on PostgreSQL: founded, served, audited, on two machines, and while the database dies."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import tt_postgres
from tt_hosts import second_host

from bench import load
from bench.server import ORIGIN, Server
from ledger.audit import audit
from ledger.store.opening import open_reader
from verifier.trust import load_trust

pytestmark = [pytest.mark.server, pytest.mark.fault]

VARIABLE = "LEDGER_OF_A_TEST"
LINES = load.emitters(2, 11)
BATCH = 5


@pytest.fixture
def address(postgres, monkeypatch) -> str:
    """The URL with its password, which only the environment holds."""
    url = postgres.new_database()
    monkeypatch.setenv(VARIABLE, url.render_as_string(hide_password=False))
    return url


@pytest.fixture
def server(tmp_path: Path, address) -> Iterator[Server]:
    made = Server(tmp_path / "ledger", workers=1, threads=4, database=f"env:{VARIABLE}")
    yield made
    made.stop()


class Sender(threading.Thread):
    """Sends each batch until it is answered."""

    def __init__(self, server: Server, statements: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.batches = [statements[i : i + BATCH] for i in range(0, len(statements), BATCH)]
        self.acknowledged: list[tuple[int, bytes]] = []
        self.busy = 0
        self.refused: list[str] = []

    def run(self) -> None:
        while self.batches and not self.refused:
            body = b"\n".join(self.batches[0])
            try:
                answer = self.server.post("/statements", body, "application/vnd.tallystick.jws-lines")
            except urllib.error.HTTPError as error:
                said = error.read().decode()
                if error.code != 503:
                    self.refused.append(said)
                assert tt_postgres.PASSWORD not in said
                self.busy += 1
                time.sleep(0.05)
                continue
            results = json.loads(answer)["results"]
            self.acknowledged += [
                (result["seq"], statement)
                for statement, result in zip(self.batches.pop(0), results, strict=True)
            ]


def assert_kept(address, folder: Path, senders: list[Sender]) -> None:
    verifiers = load_trust(folder / "trust").policy.logs
    with closing(open_reader(address)) as reader:
        statements = reader.read_statements(0, reader.read_head().tree_size)
        assert audit(reader, verifiers, ORIGIN).findings == ()
    assert len(set(statements)) == len(statements)
    for sender in senders:
        assert sender.refused == []
        assert sender.batches == []
        for seq, statement in sender.acknowledged:
            assert statements[seq] == statement


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tallystick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_ledger_in_postgresql_is_served_and_audited_and_tells_no_password(server: Server, address) -> None:
    server.start()
    server.register(LINES[:1])
    sender = Sender(server, load.statements(LINES[:1], 40, ORIGIN, 1))
    sender.run()
    assert_kept(address, server.folder, [sender])
    done = run_cli("audit", "--database", f"env:{VARIABLE}", "--trust", str(server.folder / "trust"))
    assert done.returncode == 4, done.stdout + done.stderr  # all is right, and nothing is anchored yet
    again = run_cli(
        *("init", str(server.folder.with_name("other")), "--origin", ORIGIN),
        *("--database", f"env:{VARIABLE}", "--passphrase", f"file:{server.folder / 'tallystick.toml'}"),
    )
    assert again.returncode != 0
    assert "holds a ledger already" in again.stderr
    assert not list((server.folder.with_name("other") / "keys").iterdir())
    arguments = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    kept = (server.folder / "tallystick.toml").read_text()
    escaped = "sword%25fish"
    for said in (done.stdout, done.stderr, again.stderr, arguments, kept, server.output.read_text()):
        assert tt_postgres.PASSWORD not in said
        assert escaped not in said
    assert (server.folder / "tallystick.toml").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "database",
    [
        "postgresql://me:swordfish@fish@db.example/ledger",
        "postgresql+psycopg://me:swordfish@127.0.0.1:1/ledger",
        "mysql://me:swordfish@db.example/ledger",
    ],
)
def test_a_database_that_cannot_be_used_is_one_readable_line(tmp_path: Path, database: str) -> None:
    (tmp_path / "passphrase").write_text("a passphrase of a test\n")
    (tmp_path / "passphrase").chmod(0o600)
    for command in (
        ("init", str(tmp_path / "x"), "--origin", ORIGIN, "--passphrase", f"file:{tmp_path / 'passphrase'}"),
        ("audit",),
    ):
        done = run_cli(*command, "--database", database)
        assert done.returncode in (2, 3, 4)
        assert "Traceback" not in done.stderr
        assert "swordfish" not in done.stdout + done.stderr


def test_two_machines_sequence_one_ledger(server: Server, address) -> None:
    """Each has its own folder, its own sequencer and its own high-water file; the head decides."""
    server.start()
    server.register(LINES)
    second = second_host(server, workers=1, threads=4)
    try:
        second.start()
        senders = [
            Sender(one, signed)
            for signed in (load.statements([line], 100, ORIGIN, 20) for line in LINES)
            for one in (server, second)
        ]
        # Both machines are sent the same statements: one of the two finds the other's.
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(60)
            assert not sender.is_alive()
        assert_kept(address, server.folder, senders)
        by_line = [{seq for seq, _ in sender.acknowledged} for sender in senders]
        assert by_line[0] == by_line[1]
        assert by_line[2] == by_line[3]
    finally:
        second.stop()
