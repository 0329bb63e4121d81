"""Step 3 of 9: keys. Whose signature is this, and did that key count at that position?

A Registry is what the genesis and key statements up to one position of a ledger say, and nothing else:
no clock, no file, no network. apply() gives the next Registry or a reason, and never half of one. So
whoever holds the same statements in the same order has the same answer, today and in ten years.

    genesis ──> registrar's key
    register    a new key, with its own proof of possession: registered ──> active
    rotate      the old key ends ("rotated"), its successor is active
    revoke      the key ends ("revoked"); invalid_since may reach back before this position
                once more, if that is graver: it moves the doubt back and nothing else

The log position decides, never the emitter's clock. Entry p is judged by the statements below p.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from keys import envelope
from keys.algorithms import PublicKey
from keys.errors import Fault, Refused, Unverifiable
from keys.key_statements import (
    ROLE_REGISTRAR,
    TYP_GENESIS,
    TYP_KEY,
    TYP_POSSESSION,
    Register,
    Revoke,
    Rotate,
    genesis_statement,
    possession_statement,
    read_genesis,
    read_key_statement,
    read_possession,
    register_statement,
    revoke_statement,
    rotate_statement,
)
from keys.note import NoteVerifier

__all__ = [
    "KeyRecord",
    "Party",
    "Registry",
    "genesis_statement",
    "possession_statement",
    "register_statement",
    "revoke_statement",
    "rotate_statement",
]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key's life on this ledger. A kid has one record, ever."""

    kid: str
    public_key: PublicKey
    party: str
    registered_seq: int  # counts for entries above it
    not_after: datetime | None = None  # compared with an entry's recorded_at
    ended_seq: int | None = None  # rotated or revoked there: no longer counts above it
    ended_cause: str | None = None  # "rotated" or "revoked"; the latter also if it was rotated before
    revoked_seq: int | None = None  # of the first revocation; may be later than ended_seq
    reason: str | None = None  # of the gravest revocation
    invalid_since: datetime | None = None  # what was not anchored before this time is suspect


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody who may sign here."""

    id: str
    name: str
    roles: frozenset[str]  # "emitter", "operator"; "registrar" by genesis only
    last_digest: bytes | None  # of the newest key statement about this party: the next one's `previous`


@dataclass(frozen=True, slots=True, repr=False)
class Registry:
    """The keys and parties of one ledger as of entry newest_seq. A value: apply() returns another."""

    origin: str
    newest_seq: int  # of the newest genesis or key entry applied
    keys: Mapping[str, KeyRecord]  # by kid
    parties: Mapping[str, Party]  # by party id
    log_verifiers: tuple[NoteVerifier, ...]
    policy: Mapping[str, Any]
    registrar_kid: str

    @classmethod
    def from_genesis(cls, raw: bytes) -> Registry:
        """The registry at entry 0, of a statement that its own registrar's key signed.

        This proves only that the statement is whole. Which genesis is the right one, the caller must know:
        verifiers pin its leaf hash.

        Raises as envelope.parse and read_genesis do; Refused "genesis.typ", "jws.aud", "genesis.keys" (the
        registrar's key is also a log key), "jws.kid"; Refuted "signature".
        """
        statement = envelope.parse(raw)
        if statement.typ != TYP_GENESIS:
            raise Refused(
                "genesis.typ", f"a statement of class {statement.typ}; entry 0 is {TYP_GENESIS}", "/typ"
            )
        genesis = read_genesis(statement.payload)
        envelope.verify(statement, genesis.registrar_key)
        if statement.aud != (genesis.origin,):
            raise Refused("jws.aud", f"aud must be the ledger's own origin, {genesis.origin}", "/aud")
        kid = genesis.registrar_key.kid
        if any(kid == verifier.public_key.kid for verifier in genesis.log_verifiers):
            raise Refused(
                "genesis.keys", "the registrar's key is also a log key; they are two keys", "/log_keys"
            )
        party = Party(
            genesis.registrar_party, genesis.registrar_name, frozenset({ROLE_REGISTRAR}), statement.digest
        )
        return cls(
            origin=genesis.origin,
            newest_seq=0,
            keys={kid: KeyRecord(kid, genesis.registrar_key, party.id, 0)},
            parties={party.id: party},
            log_verifiers=genesis.log_verifiers,
            policy=genesis.policy,
            registrar_kid=kid,
        )

    def apply(self, seq: int, recorded_at: datetime, raw: bytes) -> Registry:
        """The registry after this key statement at entry seq; self is not changed.

        recorded_at  the entry's own, aware: what the expiry of the signer's key is compared with

        Raises as envelope.parse and read_key_statement do; Unverifiable "key.unknown"; Refuted "signature";
        Refused "key.seq", "key.typ", "jws.aud", "key.authority", "key.previous", "key.party",
        "key.registered", "key.log-key", "key.possession", "key.revoked", "key.rotated", "key.expired",
        "key.registrar", "key.not-after", "key.invalid-since".
        Cost: one signature check, two with a proof of possession, and a copy of two dicts.
        """
        if seq <= self.newest_seq:
            raise Refused(
                "key.seq", f"entry {seq} comes after entry {self.newest_seq}, which is applied already"
            )
        statement = envelope.parse(raw)
        if statement.typ != TYP_KEY:
            raise Refused("key.typ", f"a statement of class {statement.typ}; wanted is {TYP_KEY}", "/typ")
        envelope.require_audience(statement, self.origin)
        signer = self.active_key(statement.kid, recorded_at)
        envelope.verify(statement, signer.public_key)

        said = read_key_statement(statement.payload)
        party = self.parties.get(said.party)
        is_registrar = signer.kid == self.registrar_kid
        if not is_registrar and (isinstance(said, Register) or signer.party != said.party):
            raise Refused(
                "key.authority", f"key {signer.kid} of {signer.party} may not {_verb(said)} {said.party}"
            )
        newest = party.last_digest if party else None
        if said.previous != newest:
            detail = "`previous` is not the digest of the newest key statement about this party"
            raise Refused("key.previous", detail, "/previous")

        keys = dict(self.keys)
        registrar_kid = self.registrar_kid
        if isinstance(said, Register):
            new = self._prove_possession(said, "register")
            if said.not_after is not None and said.not_after <= recorded_at:
                raise Refused(
                    "key.not-after", "this key would have expired before it is registered", "/not_after"
                )
            keys[new.kid] = KeyRecord(new.kid, new, said.party, seq, said.not_after)
            # Nobody becomes registrar by registration, and no registration takes it away.
            kept = party.roles & {ROLE_REGISTRAR} if party else frozenset()
            party = Party(said.party, said.name, said.roles | kept, statement.digest)
        else:
            if party is None:
                raise Refused("key.party", f"there is no party {said.party} here", "/party")
            if isinstance(said, Rotate):
                old = self._ending(said.old, said.party, is_registrar, "/old")
                if old.ended_cause is not None:
                    raise Refused(f"key.{old.ended_cause}", f"key {old.kid} has ended already", "/old")
                new = self._prove_possession(said, "rotate")
                keys[old.kid] = replace(old, ended_seq=seq, ended_cause="rotated")
                # The successor inherits the end that the registrar set: rotation does not prolong.
                keys[new.kid] = KeyRecord(new.kid, new, said.party, seq, old.not_after)
                if old.kid == registrar_kid:
                    registrar_kid = new.kid
            else:
                keys[said.kid] = self._revoked(said, seq, recorded_at, is_registrar)
            party = replace(party, last_digest=statement.digest)
        return replace(
            self,
            newest_seq=seq,
            keys=keys,
            parties={**self.parties, party.id: party},
            registrar_kid=registrar_kid,
        )

    def active_key(self, kid: str, at: datetime) -> KeyRecord:
        """The key that counts for the next entry.

        at  aware; compared with not_after and with nothing else

        Raises Unverifiable "key.unknown"; Refused "key.revoked", "key.rotated" or "key.expired".
        """
        record = self._read(kid)
        if record.ended_cause is not None:
            raise Refused(
                f"key.{record.ended_cause}", f"key {kid} was {record.ended_cause} at entry {record.ended_seq}"
            )
        _require_unexpired(record, at)
        return record

    def judged_at(self, kid: str, seq: int, recorded_at: datetime) -> KeyRecord:
        """The key as it counted for entry seq, recorded at that time.

        The registry may hold later statements: the record tells of them (invalid_since among others), but
        they decide nothing here. Raises as active_key does.
        """
        record = self._read(kid)
        # The registrar's key signs entry 0 itself.
        if record.registered_seq >= seq > 0 or record.registered_seq > seq:
            detail = f"key {kid} was not registered before entry {record.registered_seq}; this is entry {seq}"
            raise Unverifiable("key.unknown", detail)
        if record.revoked_seq is not None and record.revoked_seq < seq:
            raise Refused(
                "key.revoked", f"key {kid} was revoked at entry {record.revoked_seq}; this is entry {seq}"
            )
        if record.ended_seq is not None and record.ended_seq < seq:
            raise Refused(
                "key.rotated", f"key {kid} was rotated at entry {record.ended_seq}; this is entry {seq}"
            )
        _require_unexpired(record, recorded_at)
        return record

    def _read(self, kid: str) -> KeyRecord:
        record = self.keys.get(kid)
        if record is None:
            raise Unverifiable("key.unknown", f"key {kid[:64]} is not registered on {self.origin}")
        return record

    def _prove_possession(self, said: Register | Rotate, purpose: str) -> PublicKey:
        """The new key, if its holder asked for exactly this: this ledger, this party, this purpose."""
        try:
            statement = envelope.parse(said.possession)
            if statement.typ != TYP_POSSESSION:
                raise Refused("key.possession", f"a statement of class {statement.typ}, not {TYP_POSSESSION}")
            proof = read_possession(statement.payload)
            envelope.verify(statement, proof.key)
        except Fault as e:
            raise type(e)(e.code, f"in the proof of possession: {e.detail}", "/possession") from e
        seen = (*statement.aud, proof.origin, proof.party, proof.purpose)
        wanted = (self.origin, self.origin, said.party, purpose)
        if seen != wanted:
            detail = f"the proof of possession is for {seen}, not for {wanted}"
            raise Refused("key.possession", detail[:400], "/possession")
        if proof.key.kid in self.keys:
            raise Refused(
                "key.registered", f"key {proof.key.kid} was registered before; a key is registered once, ever"
            )
        if any(proof.key.kid == verifier.public_key.kid for verifier in self.log_verifiers):
            raise Refused(
                "key.log-key", "this is a key of the log itself: it signs checkpoints and nothing else"
            )
        return proof.key

    def _ending(self, kid: str, party: str, is_registrar: bool, pointer: str) -> KeyRecord:
        """The record of a key that is about to end, if this signer may end it."""
        record = self._read(kid)
        if record.party != party:
            raise Refused("key.party", f"key {kid} is not a key of {party}", pointer)
        if kid == self.registrar_kid and not is_registrar:
            # Else an operator's key, in daily use under the same party, could make itself registrar.
            raise Refused(
                "key.authority", "only the registrar's key itself can be followed by another", pointer
            )
        return record

    def _revoked(self, said: Revoke, seq: int, recorded_at: datetime, is_registrar: bool) -> KeyRecord:
        record = self._ending(said.kid, said.party, is_registrar, "/kid")
        # A rotated key may still be revoked: that it was stolen often comes out late. For the same reason a
        # revoked one may be once more, if that says something graver: else a thief would revoke the key
        # himself, as "superseded", and nobody could ever cast doubt on what he signed.
        if record.revoked_seq is not None and not _is_graver(said, record):
            detail = f"key {said.kid} was revoked at entry {record.revoked_seq}; this moves no doubt back"
            raise Refused("key.revoked", detail, "/kid")
        if said.kid == self.registrar_kid:
            detail = "without it nobody could register a key again: rotate it first, then revoke the old one"
            raise Refused("key.registrar", detail, "/kid")
        if said.invalid_since is not None and said.invalid_since > recorded_at:
            raise Refused(
                "key.invalid-since", "invalid_since lies after the revocation itself", "/invalid_since"
            )
        return replace(
            record,
            ended_seq=seq if record.ended_seq is None else record.ended_seq,
            ended_cause="revoked",
            revoked_seq=seq if record.revoked_seq is None else record.revoked_seq,
            reason=said.reason,
            invalid_since=said.invalid_since,
        )

    def __repr__(self) -> str:
        return f"<Registry of {self.origin} at entry {self.newest_seq}: {len(self.keys)} keys>"


def _require_unexpired(record: KeyRecord, at: datetime) -> None:
    if record.not_after is not None and at > record.not_after:
        raise Refused("key.expired", f"key {record.kid} expired at {record.not_after.isoformat()}")


def _is_graver(said: Revoke, record: KeyRecord) -> bool:
    """Whether this revocation doubts more of what the key signed than the one before it."""
    new = _doubted_since(said.reason, said.invalid_since)
    old = _doubted_since(record.reason, record.invalid_since)
    return new is not None and (old is None or new < old)


def _doubted_since(reason: str | None, invalid_since: datetime | None) -> datetime | None:
    """From when on signatures are doubtful: None is never; that nobody knows since when is from ever."""
    if invalid_since is None and reason == "compromised":
        return datetime.min.replace(tzinfo=UTC)
    return invalid_since


def _verb(said: Register | Rotate | Revoke) -> str:
    return f"{type(said).__name__.lower()} a key of"
