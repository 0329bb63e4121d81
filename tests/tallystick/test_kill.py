"""Promise 1 under kill -9: of the whole process group, and of the parent alone, at random moments under load.

Fifty rounds by default; FAULT_ROUNDS asks for more. Each round starts the real server over the ledger
that the last round left, loads it, kills it, and then holds everything ever acknowledged against it.
"""

from __future__ import annotations

import os
import random
import threading
import time
import urllib.error
from pathlib import Path

import orjson
import pytest

from bench import load
from bench.server import ORIGIN, Server
from client.receipts import verify_receipt
from keys.note import parse_vkey
from ledger import checkpoint as checkpoints
from ledger import merkle, tiles
from ledger.audit import audit
from ledger.store.sqlite import open_reader

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "50"))
SENDERS = 4
BATCH = 10
SEED = 7
ORPHANS_END_WITHIN_S = 5.0

pytestmark = [pytest.mark.fault, pytest.mark.server]


class Partner(threading.Thread):
    """Sends batches until the server is gone; what was not answered is sent again in the next round."""

    def __init__(self, server: Server, batches: list[list[bytes]]) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.batches = batches
        self.acknowledged: list[tuple[int, bytes, bytes]] = []  # seq, statement, receipt
        self.refused: list[bytes] = []

    def run(self) -> None:
        while self.batches:
            batch = self.batches[0]
            try:
                answer = self.server.post(
                    "/statements?receipts=true", b"\n".join(batch), "application/vnd.tallystick.jws-lines"
                )
            except urllib.error.HTTPError as error:
                if error.code == 503:
                    time.sleep(0.02)
                    continue
                self.refused.append(error.read())
                return
            except OSError:
                return
            except Exception as error:  # a connection cut in the middle of an answer
                if "IncompleteRead" not in type(error).__name__:
                    self.refused.append(repr(error).encode())
                return
            results = orjson.loads(answer)["results"]
            for statement, result in zip(batch, results, strict=True):
                self.acknowledged.append((result["seq"], statement, result["receipt"].encode()))
            self.batches.pop(0)


def wait_until_gone(pids: list[int]) -> list[int]:
    deadline = time.monotonic() + ORPHANS_END_WITHIN_S
    alive = pids
    while alive and time.monotonic() < deadline:
        alive = [pid for pid in alive if _is_alive(pid)]
        time.sleep(0.02)
    return alive


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize("victim", ["group", "parent"])
def test_nothing_acknowledged_is_lost_by_kill_nine(tmp_path: Path, victim: str) -> None:
    rounds = -(-ROUNDS // 2)
    source = random.Random(f"{SEED}/{victim}")
    server = Server(tmp_path / "ledger", threads=4)
    lines = load.emitters(SENDERS, SEED)
    verifier = None
    held: list[tuple[int, bytes, bytes]] = []
    largest: checkpoints.Checkpoint | None = None
    queues: list[list[list[bytes]]] = [[] for _ in lines]
    fresh = 0
    for number in range(rounds):
        server.start()
        if number == 0:
            server.register(lines)
            reader = open_reader(tmp_path / "ledger" / "ledger.db")
            verifier = parse_vkey(
                (tmp_path / "ledger" / "trust" / "policy").read_text().split("log ", 1)[1].split()[0]
            )
        for line, queue in zip(lines, queues, strict=True):
            while len(queue) < 30:  # never run dry within a round
                fresh += 1
                signed = load.statements([line], 20 * BATCH, ORIGIN, SEED * 1000 + fresh)
                queue.extend(signed[i : i + BATCH] for i in range(0, len(signed), BATCH))
        partners = [Partner(server, queue) for queue in queues]
        for partner in partners:
            partner.start()
        time.sleep(source.uniform(0.02, 0.4))
        children = server.children()
        assert children, "a server without children would make this test empty"
        if victim == "group":
            server.kill_group()
        else:
            server.kill_parent()
        left = wait_until_gone(children)
        assert left == [], f"round {number}: children that outlived the {victim}: {left}"
        for partner in partners:
            partner.join(10)
            assert not partner.is_alive()
            assert partner.refused == []
            held.extend(partner.acknowledged)
        new = [item for partner in partners for item in partner.acknowledged]
        largest = hold_against_ledger(reader, verifier, held, new, largest)
    assert len(held) > rounds * BATCH, "too little was acknowledged for this to prove anything"
    hold_against_ledger(reader, verifier, held, held, largest)
    report = audit(reader, [verifier], ORIGIN)
    assert report.findings == ()
    reader.close()


def hold_against_ledger(reader, verifier, held, receipted, largest):
    """Every acknowledged statement stands where it should, these receipts hold, and the ledger only grew."""
    head = reader.read_head()
    now = checkpoints.open_checkpoint(head.checkpoint, [verifier], ORIGIN)
    seen: dict[int, bytes] = {}
    for seq, statement, _ in held:
        assert seq < now.tree_size, "an acknowledged event is missing"
        assert seen.setdefault(seq, statement) == statement, (
            "one position was acknowledged for two statements"
        )
        assert reader.read_statement(seq) == statement
    roots: dict[int, bytes] = {}
    for _, statement, receipt in receipted:
        checked = verify_receipt(receipt, statement=statement, origin=ORIGIN, verifiers=[verifier])
        root = roots.setdefault(checked.tree_size, checked.root_hash)
        assert root == checked.root_hash, "two receipts speak of two ledgers of one size"
    for size, root in roots.items():
        path = tiles.consistency_path(reader, size, now.tree_size)
        merkle.verify_consistency(size, now.tree_size, root, now.root_hash, path)
    if largest is not None:
        path = tiles.consistency_path(reader, largest.tree_size, now.tree_size)
        merkle.verify_consistency(largest.tree_size, now.tree_size, largest.root_hash, now.root_hash, path)
    return now
