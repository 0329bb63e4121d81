"""Step 1 of 9, and back again: "the ledger holds this already". Believed when it is shown.

The same content may stand on the ledger in an earlier statement: signed before a disk was lost, or by
the same party on another machine. Then the receipt is for that one. A ledger that could just say so
could swallow any statement by naming some other one as the first.
"""

from __future__ import annotations

import hashlib

from client.errors import ReceiptRefuted
from client.http import LedgerDoor, LineAnswer
from keys import envelope
from keys.errors import Fault


def read_first_statement(door: LedgerDoor, ours: bytes, result: LineAnswer, name: str) -> bytes:
    """The statement that the ledger says it holds in the place of ours, with the same content.

    name  what ours is called in messages

    Raises ReceiptRefuted if it is another's or has other content; RequestRefused or AnswerMalformed if it
    is not shown. That it stands where the answer says is for its receipt to prove.
    """
    if not result.duplicate:
        raise ReceiptRefuted("receipt.statement", f"the ledger answers for another statement than {name}")
    first = door.read_statement(result.seq)
    if hashlib.sha256(first).digest() != result.digest:
        raise ReceiptRefuted(
            "receipt.first-statement", f"the statement at {result.seq} has another digest than was said"
        )
    mine = envelope.parse(ours)
    try:
        theirs = envelope.parse(first)
    except Fault as e:
        raise ReceiptRefuted("receipt.first-statement", f"what stands at {result.seq} is no statement") from e
    if (theirs.payload, theirs.typ) != (mine.payload, mine.typ):
        raise ReceiptRefuted(
            "receipt.first-statement",
            f"the ledger calls {name} a duplicate of {result.seq}, which has other content",
        )
    return first
