"""Step 1 of 9, and back again: "the ledger holds this already". Believed when it is shown.

The same content may stand on the ledger in an earlier statement: signed before a disk was lost, or by
the same party on another machine. Then the receipt is for that one. A ledger that could just say so
could swallow any statement by naming some other one as the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from client.errors import AnswerMalformed, ReceiptRefuted
from client.http import LedgerDoor, LineAnswer
from keys import envelope
from keys.envelope import Statement
from keys.errors import Fault
from keys.registry import Registry


def read_first_statement(
    door: LedgerDoor,
    ours: bytes,
    result: LineAnswer,
    name: str,
    read_registry: Callable[[], Registry],
) -> bytes:
    """The statement that the ledger says it holds in the place of ours, with the same content.

    name           what ours is called in messages
    read_registry  the ledger's key history, replayed; asked only if the content is the same

    Raises ReceiptRefuted if it is another's, has other content, or is not signed by who it names;
    RequestRefused or AnswerMalformed if it, or its signer's key, is not shown. That it stands where the
    answer says is for its receipt to prove.
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
    _require_same_party(mine, theirs, result.seq, read_registry())
    return first


def _require_same_party(mine: Statement, theirs: Statement, seq: int, registry: Registry) -> None:
    """The first statement is good, and by a key of the party that ours is by.

    Else a ledger could put our words under another's name, or under a signature that nobody made, and have
    us let go of ours.
    """
    own, other = registry.keys.get(mine.kid), registry.keys.get(theirs.kid)
    if own is None or other is None:
        raise AnswerMalformed(
            "duplicate.key",
            f"the key of the statement at {seq}, or ours, is not in the published key history",
        )
    if own.party != other.party:
        raise ReceiptRefuted(
            "receipt.first-statement",
            f"the statement at {seq} is by {other.party}, and not by {own.party}, as ours is",
        )
    try:
        envelope.verify(theirs, other.public_key)
        envelope.require_audience(theirs, registry.origin)
    except Fault as e:
        raise ReceiptRefuted(
            "receipt.first-statement", f"the statement at {seq} is not what its signer signed: {e.detail}"
        ) from e
