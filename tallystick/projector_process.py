"""The process of a server that keeps the index of events, and sends what it finds to those who subscribed.

It follows the log, and lags rather than slow it.

Started by tallystick.serve as `python -m tallystick.projector_process FOLDER PARENT_PID`. It may be killed at
any time, and goes on where it stood; while it is away, answers to queries say how far it had come.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from keys.errors import Fault
from ledger.errors import ReadOnly, StoreFailed
from ledger.store.opening import open_reader
from projection.projector import Projector
from projection.store import open_writer
from tallystick import config as configuration
from tallystick.collection import settle
from tallystick.subscription_parts import start_subscriptions
from tallystick.watchdog import end_with_parent
from traceability.event_hash import event_hash

NICENESS = 19  # whatever else there is to do comes first
POLL_S = 0.2  # how old news may be before it is looked for
PAUSE_S = 1.0  # after the database refused, or while another process keeps the index
STOP_TIMEOUT_S = 3.0  # for reports under way, which are cut off and sent again
BROKEN_EXIT = 1

logger = logging.getLogger("tallystick.projector")


def assign_event_id(event: dict[str, Any]) -> str | None:
    """The eventID of an event that has none: its event hash (CBV 2.0, section 8.9)."""
    try:
        return event_hash(event)
    except Fault:
        return None


def run(folder: Path, stopping: threading.Event) -> None:
    """Keep the index until told to stop."""
    config = configuration.load(folder)
    reader = open_reader(config.database)
    writer = None
    while writer is None:
        try:
            writer = open_writer(config.database)
        except (ReadOnly, StoreFailed) as fault:
            logger.info("waiting: %s", fault.detail)
            if stopping.wait(PAUSE_S):
                return
    projector = Projector(reader, writer, assign_event_id)
    # Whoever keeps the index also sends to subscribers: the lock on the one makes it one process for both.
    sending = start_subscriptions(config, reader, assign_event_id, stopping)
    settle()
    while not stopping.is_set():
        try:
            behind = projector.step().behind
        except StoreFailed as fault:
            logger.warning("the index of events is behind: %s", fault.detail)
            stopping.wait(PAUSE_S)
            continue
        if behind == 0:
            stopping.wait(POLL_S)
    sending.join(STOP_TIMEOUT_S)


def main() -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it goes to the whole group; the parent ends us
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    end_with_parent(int(sys.argv[2]))
    os.nice(NICENESS)
    if hasattr(os, "SCHED_IDLE"):
        # Runs in what others leave, and is put aside the moment that one of them has something to do.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    run(Path(sys.argv[1]), stopping)
    sys.exit(0)


if __name__ == "__main__":
    main()
