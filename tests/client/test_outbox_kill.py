"""kill -9 at any moment: nothing lost, nothing doubled, nothing out of order, nothing signed twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tt_keys
import tt_outbox_worker
from tt_ledger_server import LedgerServer

from client.outbox import Outbox
from client.receipts import verify_receipt
from keys import envelope
from ledger import entry as entry_format
from ledger import merkle

# Each round starts a process (0.3 s); the long run asks for more.
ROUNDS = min(int(os.environ.get("FAULT_ROUNDS", "12")), 500)
COUNT = 120
SEED = 4
WINDOW_S = 0.25  # queueing and sending COUNT statements takes about this long
WORKER = tt_outbox_worker.__file__
SUPPORT = Path(WORKER).parent
REPOSITORY = SUPPORT.parents[1]


def _start(outbox: Path, server: LedgerServer) -> subprocess.Popen[bytes]:
    command = [sys.executable, WORKER, str(outbox), server.url, server.vkey, str(COUNT)]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{SUPPORT}"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def _check(outbox_path: Path, server: LedgerServer) -> None:
    """Whatever the outbox let go of is on the ledger, by a receipt that a stranger's code verifies too."""
    with Outbox.open(outbox_path, origin=tt_keys.ORIGIN) as outbox:
        assert outbox.find_alarm() is None
        for row in outbox.read_rows("receipted"):
            ours, receipt, first = outbox.read_kept(row.position)
            assert receipt is not None
            # The second outbox holds the same events again: the ledger answers with the first one's.
            statement = first or ours
            assert envelope.parse(statement).payload == envelope.parse(ours).payload
            checked = verify_receipt(
                receipt,
                statement=statement,
                origin=tt_keys.ORIGIN,
                verifiers=[server.ledger.signer.verifier],
            )
            assert server.ledger.statements[checked.seq] == statement
            leaves = server.ledger.leaves[: checked.tree_size]
            assert merkle.root_hash(leaves) == checked.root_hash


@pytest.mark.fault
def test_killed_at_any_moment_everything_arrives_once_and_in_order(tmp_path: Path) -> None:
    server = LedgerServer()
    server.ledger.register(tt_keys.ed25519_key("acme 1"), "acme")
    server.slow_s = 0.003
    server.start()
    chance = random.Random(SEED)
    killed = 0
    try:
        for round_number in range(ROUNDS):
            # A fresh outbox now and then, so that kills fall into its making and first steps as well.
            outbox_path = tmp_path / f"outbox-{round_number // 6}.sqlite"
            server.drops_after_commit = chance.choice([0, 0, 1])
            process = _start(outbox_path, server)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.random() * WINDOW_S)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            process.stdout.close()
            _check(outbox_path, server)

        # Then the lights stay on, and every outbox is emptied.
        server.drops_after_commit, server.slow_s = 0, 0.0
        for outbox_path in sorted(tmp_path.glob("outbox-*.sqlite")):
            with _start(outbox_path, server) as process:
                assert process.wait(timeout=60) == 0
            _check(outbox_path, server)
            with Outbox.open(outbox_path, origin=tt_keys.ORIGIN) as outbox:
                assert outbox.read_counts().receipted == COUNT
    finally:
        server.stop()

    assert killed >= ROUNDS // 2, "the window is wrong: most rounds ended before they were killed"
    kinds = [entry_format.parse(data).kind for data in server.ledger.entries]
    pairs = zip(kinds, server.ledger.statements, strict=True)
    arrived = [envelope.parse(raw).payload for kind, raw in pairs if kind == "event"]
    assert arrived == [b'{"n":%d}' % n for n in range(COUNT)]
    # Each outbox signed each event once: so many different bytes ever came, and no more.
    outboxes = len(list(tmp_path.glob("outbox-*.sqlite")))
    assert len(set(server.lines_received)) <= COUNT * outboxes
    by_payload: dict[bytes, set[bytes]] = {}
    for raw in server.lines_received:
        by_payload.setdefault(envelope.parse(raw).payload, set()).add(raw)
    assert max(len(signed) for signed in by_payload.values()) <= outboxes
