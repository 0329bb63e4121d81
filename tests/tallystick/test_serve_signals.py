"""Signals that end the server: to the parent alone, and to the whole group, as a terminal sends Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from bench.server import Server
from intake.gate import SocketGate
from intake.wire import submission_of
from ledger.errors import StoreFailed
from ledger.log import Log
from tallystick import founding
from tallystick import serve as serving
from tallystick.sequencer_process import publish
from tallystick.serve import SequencerSupervisor, ServeFailed

ENDS_WITHIN_S = 8  # less than the time after which workers that will not end are killed


@pytest.mark.server
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_it_and_leaves_nobody(
    tmp_path: Path, signal_: signal.Signals
) -> None:
    server = Server(tmp_path / "ledger", workers=1, threads=2)
    try:
        server.start()
        assert server.process is not None
        os.killpg(server.process.pid, signal_)
        assert server.process.wait(ENDS_WITHIN_S) == 0
        deadline = time.monotonic() + 3  # multiprocessing's tracker ends once it sees that all others have
        while server.children() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.children() == []
        assert b"Traceback" not in server.output.read_bytes()
        assert not (server.folder / "sequencer.sock").exists()
    finally:
        server.stop()


@pytest.mark.server
def test_a_passphrase_may_be_any_bytes(tmp_path: Path) -> None:
    passphrase = b"\xff\xfe not text"
    founding.found(
        tmp_path / "ledger",
        origin="ledger.example/bytes",
        base_url="http://127.0.0.1",
        registrar_name="R",
        operator_name="O",
        passphrase=passphrase,
        public_read=True,
        interval_s=600,
        every_entries=10,
    )
    supervisor = SequencerSupervisor(tmp_path / "ledger", tmp_path / "s", passphrase, quiet=True)
    supervisor.start()
    gate = SocketGate(tmp_path / "s")
    try:
        assert gate.submit(submission_of([], rollback=False)).error is None
    finally:
        gate.close()
        supervisor.stop()


def test_a_sequencer_that_hangs_while_it_starts_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 30\n")
    silent.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(silent))
    monkeypatch.setattr(serving, "START_TIMEOUT_S", 0.2)
    began = time.monotonic()
    with pytest.raises(ServeFailed, match="-9"):
        SequencerSupervisor(tmp_path, tmp_path / "s", b"", quiet=True).start()
    assert time.monotonic() - began < 10


def test_a_database_that_refuses_to_publish_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Locked:
        def publish_if_due(self) -> Any:
            raise StoreFailed("store.publish", "the database did not publish: database is locked")

    with caplog.at_level(logging.WARNING):
        publish(cast(Log, Locked()))
    assert "database is locked" in caplog.text
