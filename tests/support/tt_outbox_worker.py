"""A partner's process that a test kills at any moment: queue these events, send what waits, end.

python tt_outbox_worker.py OUTBOX URL VKEY COUNT
"""

from __future__ import annotations

import sys
from pathlib import Path

import tt_keys

from client.http import LedgerDoor, Patience
from client.outbox import Draft, Outbox
from client.receipts import ReceiptChecker, parse_log_keys
from client.submit import Sender


def main(path: str, url: str, vkey: str, count: int) -> int:
    key = tt_keys.ed25519_key("acme 1")
    with Outbox.open(Path(path), origin=tt_keys.ORIGIN) as outbox, LedgerDoor(url) as door:
        print("ready", flush=True)
        # In small steps, so that a kill may fall between any two of them.
        for start in range(0, count, 10):
            drafts = [Draft(f"{n}", payload=b'{"n":%d}' % n) for n in range(start, min(start + 10, count))]
            for _ in outbox.enqueue(drafts, find_key=lambda: key):
                pass
        checker = ReceiptChecker(parse_log_keys([vkey]), tt_keys.ORIGIN)
        sender = Sender(outbox, door, checker, patience=Patience(5, first_s=0.05), batch_count_max=7)
        return 1 if sender.run().ended_by else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
