"""Step 1 of 9, before the first event: what the ledger already knows about a party's keys.

Each key statement carries the digest of the previous one about the same party, so whoever makes
the next one has to know it. It is found by walking the entries' `keys` links from the newest
published entry down to genesis, and replaying what stands there with keys.registry, which checks
every signature. Nothing is trusted on the way but the arithmetic: a server that lies here brings
about a statement that every ledger refuses.
"""

from __future__ import annotations

from client.errors import AnswerMalformed, LedgerUnreachable
from client.http import LedgerDoor
from client.receipts import Entry, ReceiptChecker, parse_entry
from keys import envelope
from keys.errors import Fault
from keys.registry import Registry

KEY_ENTRIES_MAX = 10_000  # two requests for each; beyond that, give the digest yourself
_KEY_KINDS = ("genesis", "key")


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
                "ledger.keys", f"more than {KEY_ENTRIES_MAX} key entries: give --previous yourself"
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
