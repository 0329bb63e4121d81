"""Step 9 of 9: one statement at one position. Before verifier.evidence and verifier.ledger_audit.

A signature counts only if the key that made it was registered below the
statement's position and had not ended there, and if the statement was meant
for this ledger. The emitter's own clock is never asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from keys import envelope
from keys.envelope import Statement
from keys.errors import Refused, Unverifiable
from keys.registry import KeyRecord, Registry
from ledger.entry import KINDS, Entry
from verifier.errors import EvidenceRefuted

KEY_KINDS = ("genesis", "key")  # the entries that the `keys` links lead through

# Classes that stand under a kind of their own; everything else is an event.
_TYP_OF_KIND: Mapping[str, str] = {
    "genesis": "genesis+jws",
    "key": "key+jws",
    "anchor": "anchor+jws",
    "erasure": "erasure+jws",
}
_RESERVED_TYPS = frozenset((*_TYP_OF_KIND.values(), "key-possession+jws"))
_ROLE_OF_KIND: Mapping[str, str] = {"event": "emitter", "anchor": "operator", "erasure": "operator"}


@dataclass(frozen=True, slots=True)
class Judged:
    """A statement that its entry names, by a key that was active there; its signature is still to check."""

    statement: Statement
    key: KeyRecord


def require_digest(entry: Entry, raw: bytes) -> None:
    """The entry names exactly these bytes."""
    if sha256(raw).digest() != entry.statement:
        raise EvidenceRefuted(
            "statement.digest", f"the statement of entry {entry.seq} is not the one that was recorded"
        )


def require_kind(entry: Entry, statement: Statement) -> None:
    """A statement's class and its entry's kind say the same: neither can pass for another."""
    if entry.kind == "event":
        fits = statement.typ not in _RESERVED_TYPS
    else:
        fits = _TYP_OF_KIND.get(entry.kind) == statement.typ
    if not fits:
        raise EvidenceRefuted(
            "statement.kind",
            f"entry {entry.seq} is of kind {entry.kind!r}, its statement is {statement.typ!r}",
        )


def judge(entry: Entry, raw: bytes, registry: Registry) -> Judged:
    """Everything about an event's or anchor's statement but the signature itself.

    registry  the key state below entry.seq

    Raises a Fault whose cause tells a bad statement from a missing key. Key
    statements are judged by Registry.apply. One parse; no public-key operation.
    """
    if entry.kind not in KINDS:
        raise Unverifiable(
            "entry.kind", f"entry {entry.seq} is of kind {entry.kind!r}, which is not known here"
        )
    statement = envelope.parse(raw)
    require_kind(entry, statement)
    envelope.require_audience(statement, registry.origin)
    key = registry.active_key(statement.kid, entry.recorded_at)
    role = _ROLE_OF_KIND.get(entry.kind)
    party = registry.parties.get(key.party)
    if role is None or party is None or role not in party.roles:
        raise Refused(
            "authority.role", f"{key.party} signed entry {entry.seq} of kind {entry.kind!r} without that role"
        )
    return Judged(statement, key)


def verify_signature(judged: Judged) -> None:
    """The one costly step, safe to make in another thread. Raises Refuted."""
    envelope.verify(judged.statement, judged.key.public_key)


def apply_key_statement(registry: Registry | None, entry: Entry, raw: bytes) -> tuple[Registry, str]:
    """The key state above a genesis or key entry, and the kid that signed for it.

    registry  the state below; None for genesis
    """
    statement = envelope.parse(raw)
    require_kind(entry, statement)
    if registry is None:
        return Registry.from_genesis(raw), statement.kid
    return registry.apply(entry.seq, entry.recorded_at, raw), statement.kid
