"""The one process of a server that writes: sequencer, publisher of checkpoints, and anchoring.

Started by tallystick.serve as `python -m tallystick.sequencer_process FOLDER`, with one line of JSON on
standard input: {"parent": pid, "passphrase": hex, "quiet": bool, "socket": path}. It answers one line
on standard output: "ready", or "failed: " and the reason. The passphrase comes by pipe because
arguments and environments can be read by others.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from sqlalchemy import Engine

from anchoring import record as anchor_record
from anchoring.authority_client import HttpAuthority
from anchoring.rfc3161 import TokenVerifier
from anchoring.rounds import Policy, Rounds
from anchoring.scheduler import TICK_INTERVAL_S, AnchorScheduler
from intake.authority import ANCHOR_TYP
from intake.gate import SocketGate
from intake.gate_server import GateServer
from intake.sequencer import Sequencer
from intake.service import Intake, submit_own
from keys import envelope
from keys.errors import Fault
from keys.note import NoteSigner
from keys.signers import load_signer
from ledger.checkpoint import parse_body
from ledger.errors import ReadOnly, StoreFailed
from ledger.highwater import HighWater
from ledger.log import Log
from ledger.store.name_runs_merge import NameIndex
from ledger.store.opening import Writer, is_shared, open_reader, open_writer
from ledger.store.writer_lock import hold_writer_lock
from tallystick import config as configuration
from tallystick import migrations
from tallystick.collection import settle
from tallystick.config import Config
from tallystick.watchdog import end_with_parent

MERGE_TURN_MAX_S = 0.1  # of merging between two groups, where it has fallen behind
LOCK_WAIT_S = 3.0  # a predecessor whose parent was killed notices within watchdog.POLL_S

logger = logging.getLogger("tallystick.sequencer")


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_log(config: Config, passphrase: bytes) -> tuple[Log, Writer, HighWater]:
    """The ledger's writer, open, with its schema up to date. Raises ReadOnly if another process writes.

    A database that many may write still has one writer in each folder, whose high-water file it keeps.
    """
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            if is_shared(config.database):
                hold_writer_lock(config.high_water)
            store = open_writer(config.database)
            break
        except ReadOnly:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    migrations.upgrade(store.engine)
    signer = NoteSigner.from_private_key(config.origin, load_signer(config.log_key, lambda: passphrase))
    high_water = HighWater(config.high_water)
    log = Log(store, [signer], config.origin, utc_now, high_water)
    log.open()
    return log, store, high_water


def build_rounds(
    config: Config, engine: Engine, intake: Intake, passphrase: bytes, high_water: HighWater
) -> Rounds:
    """The anchor rounds of this ledger, over the authorities that its configuration names.

    high_water  learns of each anchor, so that a restored backup is held against the newest one
    """
    reader = open_reader(config.database)

    def read_published() -> bytes:
        head = reader.read_head()
        return b"" if head is None else head.published

    def submit(raw: bytes) -> int:
        seq = submit_own(intake, raw, ANCHOR_TYP)
        anchored = parse_body(anchor_record.parse(envelope.parse(raw).payload).checkpoint)
        high_water.note_anchored(anchored.tree_size, anchored.root_hash)
        return seq

    authorities = [
        HttpAuthority(
            name=authority.name,
            url=authority.url,
            verifier=TokenVerifier.from_pem(authority.roots.read_bytes()),
            timeout_s=config.anchoring.timeout_s,
        )
        for authority in config.anchoring.authorities
    ]
    return Rounds(
        engine,
        authorities,
        submit=submit,
        read_published=read_published,
        signer=load_signer(config.operator_key, lambda: passphrase),
        origin=config.origin,
        clock=utc_now,
        policy=anchor_policy(config),
    )


def anchor_policy(config: Config) -> Policy:
    """When rounds are due, from the configuration. Failures are retried sooner than the next round is due."""
    return Policy(
        interval_s=config.anchoring.interval_s,
        every_entries=config.anchoring.every_entries,
        backoff_s=min(10.0, config.anchoring.interval_s),
    )


class Nudges:
    """Tells the anchor schedule once every so many new entries, so that it looks before its time."""

    def __init__(self, schedule: AnchorScheduler, every_entries: int, events: int) -> None:
        self._schedule = schedule
        self._every = every_entries
        self._counted = events

    def count(self, events: int) -> None:
        """events: entries of the ledger that are not anchors."""
        if events - self._counted >= self._every:
            self._counted = events
            self._schedule.nudge()


def publish(log: Log) -> None:
    """Publish what is due. A database that refuses for a moment is asked again, and ends nobody."""
    try:
        log.publish_if_due()
    except StoreFailed as fault:
        logger.warning("the newest checkpoint is not published yet: %s", fault.detail)


class Upkeep:
    """Merges the index of names: between appends as much as must be, in quiet moments the rest."""

    def __init__(self, index: NameIndex, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._index = index
        self._monotonic = monotonic
        self._ended_at = monotonic()

    def after_group(self) -> None:
        """Where merging has fallen behind, let it take as long as appending took, and not longer."""
        since_s = self._monotonic() - self._ended_at
        self._guarded(lambda: self._index.keep_up(min(since_s, MERGE_TURN_MAX_S)))
        self._ended_at = self._monotonic()

    def when_quiet(self) -> bool:
        """One step; whether there is more to do."""
        return self._guarded(lambda: self._index.maintain(0.0))

    def _guarded(self, do: Callable[[], bool]) -> bool:
        try:
            return do()
        except (StoreFailed, ReadOnly) as fault:
            # Nothing is lost: a search reads more until it works again.
            logger.warning("the index of names is not merged for now: %s", fault.detail)
            return False


def run(folder: Path, parent: int, passphrase: bytes, socket_path: Path) -> None:
    config = configuration.load(folder)
    log, store, high_water = open_log(config, passphrase)
    if log.read_only_reason is not None:
        logger.error("serving read-only: %s", log.read_only_reason)
    sequencer = Sequencer(log)
    schedule: AnchorScheduler | None = None
    nudges: Nudges | None = None

    upkeep = Upkeep(NameIndex(store.merging))

    def idle() -> None:
        publish(log)
        upkeep.after_group()
        if nudges is not None:
            nudges.count(log.head.events)

    server = GateServer(socket_path, sequencer, idle, upkeep.when_quiet)
    if config.anchoring.authorities and log.read_only_reason is None:
        intake = Intake(open_reader(config.database), SocketGate(socket_path), utc_now)
        rounds = build_rounds(config, store.engine, intake, passphrase, high_water)
        schedule = AnchorScheduler(rounds, min(TICK_INTERVAL_S, config.anchoring.interval_s))
        nudges = Nudges(schedule, config.anchoring.every_entries, log.head.events)
        schedule.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    settle()
    _answer("ready")
    try:
        server.serve()
    finally:
        if schedule is not None:
            schedule.stop()


def _answer(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> NoReturn:
    # Ctrl-C goes to the whole group. The parent hears it, lets its workers end, and then ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hello = json.loads(sys.stdin.readline())
    level = logging.WARNING if hello["quiet"] else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("alembic", "apscheduler", "httpx2", "httpcore2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    end_with_parent(hello["parent"])
    try:
        run(Path(sys.argv[1]), hello["parent"], bytes.fromhex(hello["passphrase"]), Path(hello["socket"]))
    except Fault as fault:
        _answer(f"failed: {fault.detail}")
        os._exit(1)
    # Anchoring may be waiting for an authority: its round is durable and is taken up by the next process.
    sys.stdout.flush()
    os._exit(0 if threading.current_thread() is threading.main_thread() else 1)


if __name__ == "__main__":
    main()
