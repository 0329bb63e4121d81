"""Step 1 of 9, before the first event: what the ledger already knows about a party's keys.

Each key statement carries the digest of the previous one about the same party, so whoever makes
the next one has to know it. It is found by walking the entries' `keys` links from the newest
published entry down to genesis, and replaying what stands there with keys.registry, which checks
every signature. Nothing is trusted on the way but the arithmetic: a server that lies here brings
about a statement that every ledger refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from client.duplicates import read_first_statement
from client.errors import AnswerMalformed, LedgerUnreachable, ReceiptRefuted, RequestRefused
from client.http import LedgerDoor, Patience
from client.receipts import Entry, Receipt, ReceiptChecker, parse_entry
from keys import envelope
from keys.errors import Fault
from keys.registry import Registry

KEY_ENTRIES_MAX = 10_000  # two requests for each
_KEY_KINDS = ("genesis", "key")
# A published checkpoint is up to a second old, so our own statement of just now may be missing in it.
SETTLING_S = 1.2
ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Recorded:
    """A key statement that stands on the ledger."""

    seq: int
    statement: bytes | None  # None: it stood there before we came
    receipt_bytes: bytes | None
    receipt: Receipt | None  # None: not checked, for the log's key is not known to us


def submit_key_statement(
    door: LedgerDoor,
    checker: ReceiptChecker | None,
    origin: str,
    *,
    find_recorded: Callable[[Registry], int | None],
    make: Callable[[Registry], bytes],
    patience: Patience,
    on_wait: Callable[[LedgerUnreachable, float], None] = lambda _fault, _wait_s: None,
) -> Recorded:
    """Bring one key statement onto the ledger, once.

    find_recorded  the position where it stands already, if it does: after an answer that got lost, the
                   second attempt finds its first one here instead of registering twice
    make           the statement that follows from this state of the registry

    Raises RequestRefused, LedgerUnreachable, AnswerMalformed, and what the checker raises.
    """
    refusal: RequestRefused | None = None
    for attempt in range(ATTEMPTS_MAX):
        if attempt:
            patience.sleep(SETTLING_S)
        registry = patience.call(lambda: read_registry(door, checker, origin), on_wait)
        seq = find_recorded(registry)
        if seq is not None:
            return Recorded(seq, None, None, None)
        statement = make(registry)
        try:
            # The same bytes each time: if only the first answer got lost, the ledger knows them.
            answer = patience.call(lambda raw=statement: door.register(raw), on_wait)  # type: ignore[misc]
        except RequestRefused as e:
            # Something about this party was recorded after the checkpoint we read: perhaps our own statement.
            if e.code not in ("key.previous", "key.registered") and not any(
                fault.code in ("key.previous", "key.registered") for fault in e.faults
            ):
                raise
            refusal = e
            continue
        result = answer.results[0]
        if result.digest != envelope.parse(statement).digest:
            # Our own of just now, by an answer that got lost or a call that was repeated.
            statement = read_first_statement(
                door,
                statement,
                result,
                "this key statement",
                lambda known=registry: known,  # type: ignore[misc]
            )
        receipt = None
        if checker is not None:
            if result.receipt is None:
                raise AnswerMalformed("answer.receipt", "the ledger gave no receipt")
            digest = envelope.parse(statement).digest
            receipt = checker.check(result.receipt, statement_digest=digest, kind="key")
            if receipt.seq != result.seq:
                raise ReceiptRefuted(
                    "receipt.seq", f"position {result.seq} was said, {receipt.seq} is proved"
                )
        return Recorded(result.seq, statement, result.receipt, receipt)
    assert refusal is not None
    raise refusal


def read_registry(door: LedgerDoor, checker: ReceiptChecker | None, origin: str) -> Registry:
    """The parties and keys as of the newest published checkpoint; that may be a second old.

    checker  if the log's key is known, the checkpoint's signature is checked as well

    Raises AnswerMalformed if what the ledger shows does not fit together; what the checker raises.
    """
    tree_size = _read_tree_size(door.read_checkpoint(), checker)
    if tree_size == 0:
        raise LedgerUnreachable("ledger.empty", f"{door.url} has no entries yet: it has not been set up")
    entry = _read_entry(door, tree_size - 1)
    seq = entry.seq if entry.kind in _KEY_KINDS else entry.keys_seq
    found: list[tuple[Entry, bytes]] = []
    while True:
        entry = _read_entry(door, seq)
        found.append((entry, _read_key_statement(door, entry)))
        if seq == 0:
            break
        if len(found) >= KEY_ENTRIES_MAX:
            raise AnswerMalformed(
                "ledger.keys", f"more than {KEY_ENTRIES_MAX} key entries: too many to walk through"
            )
        seq = entry.keys_seq  # parse_entry() made sure that it is smaller
    try:
        registry = Registry.from_genesis(found.pop()[1])
        for entry, statement in reversed(found):
            registry = registry.apply(entry.seq, entry.recorded_at, statement)
    except Fault as e:
        raise AnswerMalformed(
            "ledger.keys", f"{door.url} shows key statements that do not hold: {e.detail}"
        ) from e
    if registry.origin != origin:
        raise AnswerMalformed("ledger.origin", f"{door.url} is the ledger {registry.origin}, not {origin}")
    return registry


def _read_tree_size(raw: bytes, checker: ReceiptChecker | None) -> int:
    if checker is not None:
        return checker.open_checkpoint(raw).tree_size
    lines = raw.split(b"\n", 3)
    if len(lines) < 3 or not lines[1].isdigit() or len(lines[1]) > 19:
        raise AnswerMalformed("ledger.checkpoint", "what the server gives as its checkpoint is none")
    return int(lines[1])


def _read_entry(door: LedgerDoor, seq: int) -> Entry:
    entry = parse_entry(door.read_entry(seq))
    if entry.seq != seq:
        raise AnswerMalformed("ledger.entry", f"asked for entry {seq}, the server gave {entry.seq}")
    return entry


def _read_key_statement(door: LedgerDoor, entry: Entry) -> bytes:
    raw = door.read_statement(entry.seq)
    if entry.kind not in _KEY_KINDS or envelope.parse(raw).digest != entry.statement_digest:
        raise AnswerMalformed("ledger.keys", f"entry {entry.seq} is not the key statement that it should be")
    return raw
