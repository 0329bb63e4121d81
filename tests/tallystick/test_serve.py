"""The server as its own processes: who may write, what a restored backup does, what leaks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from anchoring.devtsa import DevelopmentAuthority
from bench import load
from bench.server import ORIGIN, PASSPHRASE, Server

pytestmark = pytest.mark.server

LINES = load.emitters(1, 3)
EVENTS = load.statements(LINES, 60, ORIGIN, 3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "ledger", workers=1, threads=2)
    yield made
    made.stop()


def submit(server: Server, statement: bytes) -> dict[str, object]:
    return json.loads(server.post("/statements", statement, "application/jose"))


def readyz(server: Server) -> dict[str, object]:
    try:
        with urllib.request.urlopen(server.url + "/readyz", timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def test_a_second_server_on_one_file_is_refused_plainly(server: Server) -> None:
    server.start()
    second = Server(server.folder, workers=1)
    second.output = server.output.with_name("second.output")
    second.spawn()
    assert second.process is not None
    assert second.process.wait(20) != 0
    said = second.output.read_text()
    assert "Traceback" not in said
    assert "another process" in said
    assert readyz(server)["ready"] is True


def test_one_connection_is_one_request_at_a_time(server: Server) -> None:
    """HTTP/2 would make it two hundred, and connections are what the server counts."""
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        said = connection.recv(1024)
    assert said[3:4] != b"\x04"  # no SETTINGS (RFC 9113, section 3.4)
    assert said == b"" or said.startswith(b"HTTP/1.1 400")


def test_a_taken_port_is_refused_plainly(server: Server) -> None:
    with socket.create_server(("127.0.0.1", server.port)):
        server.spawn()
        assert server.process is not None
        assert server.process.wait(20) == 3
    said = server.output.read_text()
    assert said.count("\n") == 1
    assert "serve.address" in said


def test_a_wrong_passphrase_is_refused_plainly(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server._environment, "TALLYSTICK_PASSPHRASE", "another one")
    server.spawn()
    assert server.process is not None
    assert server.process.wait(20) == 3
    said = server.output.read_text()
    assert said.count("\n") == 1
    assert "passphrase" in said
    assert "another one" not in said


def test_yesterdays_database_is_served_read_only_and_says_why(server: Server, tmp_path: Path) -> None:
    server.start()
    server.register(LINES)
    for statement in EVENTS[:5]:
        submit(server, statement)
    server.stop()
    backup = tmp_path / "backup"
    backup.mkdir()
    for part in server.folder.glob("ledger.db*"):
        shutil.copy(part, backup)
    server.start()
    later = submit(server, EVENTS[5])
    server.stop()
    for part in server.folder.glob("ledger.db*"):
        part.unlink()
    for part in backup.iterdir():
        shutil.copy(part, server.folder)

    server.spawn()
    server.wait_until_ready(wanted="reads")
    state = readyz(server)
    assert state["reads"]["ready"] is True
    assert state["writes"]["ready"] is False
    assert "restored" in state["writes"]["reason"] or "backup" in state["writes"]["reason"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        submit(server, EVENTS[6])
    problem = json.load(caught.value)
    assert caught.value.code == 503
    assert problem["detail"] == state["writes"]["reason"]
    with urllib.request.urlopen(server.url + "/checkpoint", timeout=5) as answer:
        assert int(answer.read().split(b"\n")[1]) < later["results"][0]["seq"] + 1

    server.stop()
    refused = accept_head(server)
    assert refused.returncode != 0, "a head that receipts contradict must never be accepted"


def test_a_lost_high_water_file_is_read_only_until_a_person_accepts_the_head(server: Server) -> None:
    server.start()
    server.register(LINES)
    submit(server, EVENTS[0])
    server.stop()
    (server.folder / "high-water").unlink()
    server.spawn()
    server.wait_until_ready(wanted="reads")
    assert readyz(server)["writes"]["ready"] is False
    server.stop()
    assert accept_head(server).returncode == 0
    server.start()
    assert submit(server, EVENTS[1])["results"][0]["duplicate"] is False


def accept_head(server: Server) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tallystick", "accept-head", str(server.folder), "--yes"],
        env={**os.environ, "TALLYSTICK_PASSPHRASE": PASSPHRASE.decode()},
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_killed_sequencer_is_started_again_and_has_lost_nothing(server: Server) -> None:
    server.start()
    server.register(LINES)
    first = submit(server, EVENTS[0])["results"][0]
    assert server.process is not None
    sequencers = [pid for pid in server.children() if b"sequencer_process" in command_line(pid)]
    assert len(sequencers) == 1
    os.kill(sequencers[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (again := submit_or_wait(server, EVENTS[0])) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert again["duplicate"] is True
    assert again["seq"] == first["seq"]
    assert submit(server, EVENTS[1])["results"][0]["seq"] == first["seq"] + 1


def submit_or_wait(server: Server, statement: bytes) -> dict[str, object] | None:
    """The result, or None if the answer was 503 with Retry-After. Any other answer is an error."""
    try:
        return submit(server, statement)["results"][0]
    except urllib.error.HTTPError as error:
        if error.code == 503 and error.headers["Retry-After"]:
            return None
        raise


def test_an_authority_that_is_down_is_shown_as_late_and_stops_nothing(server: Server) -> None:
    (server.folder / "root.pem").write_bytes(DevelopmentAuthority(lambda: datetime.now(UTC)).root_pem)
    config = server.folder / "tallystick.toml"
    config.write_text(
        config.read_text().replace("interval_s = 600", "interval_s = 1")
        + '\n[[anchoring.authorities]]\nname = "down"\nurl = "http://127.0.0.1:9/"\nroots = "root.pem"\n'
    )
    server.start()
    server.register(LINES)
    deadline = time.monotonic() + 20
    while not (state := readyz(server)["anchors"])["late"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "down" in state["last_error"]
    assert submit(server, EVENTS[0])["results"][0]["duplicate"] is False
    assert readyz(server)["ready"] is True


def test_no_secret_is_in_any_output_argument_or_environment_of_the_workers(server: Server) -> None:
    server.start()
    server.register(LINES)
    submit(server, EVENTS[0])
    with pytest.raises(urllib.error.HTTPError):
        submit(server, b"not a statement")
    for pid in server.children():
        assert PASSPHRASE not in command_line(pid)
        assert PASSPHRASE not in Path(f"/proc/{pid}/environ").read_bytes()
    server.stop()
    said = server.output.read_bytes()
    assert PASSPHRASE not in said
    for key in (server.folder / "keys").iterdir():
        for line in key.read_bytes().splitlines()[1:-1]:
            assert line not in said


def test_a_wrong_passphrase_is_one_readable_line(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tallystick", "serve", str(server.folder), "--port", str(server.port)],
        env={**os.environ, "TALLYSTICK_PASSPHRASE": "wrong-wrong-wrong"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode != 0
    assert "passphrase" in done.stderr
    assert "wrong-wrong-wrong" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_stopped_server_can_be_started_again_and_goes_on(server: Server) -> None:
    server.start()
    server.register(LINES)
    first = submit(server, EVENTS[0])["results"][0]["seq"]
    server.stop()
    assert server.process is not None
    assert server.process.returncode == 0
    server.start()
    assert submit(server, EVENTS[1])["results"][0]["seq"] == first + 1


def test_init_refuses_a_folder_that_holds_a_ledger(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tallystick", "init", str(server.folder), "--origin", "ledger.example/other"],
        env={**os.environ, "TALLYSTICK_PASSPHRASE": "another-passphrase"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "already" in done.stderr
    assert (server.folder / "keys" / "log.pem").stat().st_mode & 0o077 == 0


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
