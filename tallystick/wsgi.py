"""One HTTP worker of `tallystick serve`: the app over a read-only database and the sequencer's socket."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path

from flask import Flask

from anchoring.rounds import RoundsReader
from api.app import create_app
from api.services import Services
from intake.gate import SocketGate
from intake.service import Intake
from ledger.errors import ReadOnly
from ledger.store.opening import open_reader
from tallystick import config as configuration
from tallystick.collection import settle
from tallystick.sequencer_process import anchor_policy, utc_now
from tallystick.serve import FOLDER_VARIABLE, PARENT_VARIABLE, SOCKET_VARIABLE
from tallystick.watchdog import end_with_parent
from verifier.trust import load_trust, public_files


def create() -> Flask:
    """The app for the ledger that the parent named in this process's environment."""
    # Ctrl-C goes to the whole group. The parent hears it, and ends us by SIGTERM, once.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    end_with_parent(int(os.environ[PARENT_VARIABLE]))
    config = configuration.load(Path(os.environ[FOLDER_VARIABLE]))
    reader = open_reader(config.database, config.replica)
    # What decides who may write must not lag behind.
    newest = reader if config.replica is None else open_reader(config.database)
    intake = Intake(newest, SocketGate(Path(os.environ[SOCKET_VARIABLE])), utc_now)

    def writer_state() -> str | None:
        try:
            intake.require_writable()
        except ReadOnly as fault:
            return fault.detail
        return None

    app = create_app(
        Services(
            reader=reader,
            intake=intake,
            anchors=RoundsReader(reader.engine, utc_now, anchor_policy(config)),
            trust=load_trust(config.trust),
            trust_files=public_files(config.trust),
            origin=config.origin,
            base_url=config.base_url,
            clock=utc_now,
            writer_state=writer_state,
        )
    )
    atexit.register(_leave_at_once)
    settle()
    return app


def _leave_at_once() -> None:
    """End before the interpreter takes itself apart.

    The HTTP server's threads wait outside it for requests. One that comes back in just then is ended by
    Python from below, which Rust reports as a panic, on an operator's terminal, now and then.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
