"""Keys, genesis and registry for tests: the same every time, so that a failure can be looked at twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from keys import envelope
from keys.algorithms import P256PrivateKey, PrivateKey, private_key_from_seed
from keys.note import TYPE_COSIGNATURE, TYPE_ED25519, NoteSigner
from keys.registry import (
    Registry,
    genesis_statement,
    possession_statement,
    register_statement,
    revoke_statement,
    rotate_statement,
)

ORIGIN = "ledger.example/epcis"
START = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
REGISTRAR_PARTY = "operator.example"
# A manufacturer, a carrier, a distributor, a pharmacy, and who runs the ledger.
PARTIES: Mapping[str, tuple[str, ...]] = {
    "acme": ("emitter",),
    "carrier": ("emitter",),
    "distributor": ("emitter",),
    "pharmacy": ("emitter",),
    "operator": ("operator",),
}


def ed25519_key(label: str) -> PrivateKey:
    """The Ed25519 key of this label."""
    return private_key_from_seed(hashlib.sha256(b"ed25519 " + label.encode()).digest())


def p256_key(label: str) -> PrivateKey:
    """The P-256 key of this label."""
    scalar = int.from_bytes(hashlib.sha256(b"p256 " + label.encode()).digest(), "big")
    return P256PrivateKey(ec.derive_private_key(scalar % (2**255) + 1, ec.SECP256R1()))


def nonce(label: str) -> bytes:
    """16 bytes that are the same every time."""
    return hashlib.sha256(b"nonce " + label.encode()).digest()[:16]


def log_signer(origin: str = ORIGIN, label: str = "log") -> NoteSigner:
    """The log's own signer, of type 0x01."""
    return NoteSigner.from_private_key(origin, ed25519_key(label), TYPE_ED25519)


def witness_signer(name: str = "witness.example/w1", label: str = "witness") -> NoteSigner:
    """A cosigner, of type 0x04."""
    return NoteSigner.from_private_key(name, ed25519_key(label), TYPE_COSIGNATURE)


def registrar_key() -> PrivateKey:
    return ed25519_key("registrar")


def make_genesis(
    *,
    origin: str = ORIGIN,
    registrar: PrivateKey | None = None,
    log_keys: Sequence[str] | None = None,
    read: str = "public",
) -> bytes:
    """A genesis statement, byte for byte the same each time."""
    return genesis_statement(
        registrar or registrar_key(),
        origin=origin,
        log_keys=[log_signer(origin).vkey] if log_keys is None else log_keys,
        registrar_party=REGISTRAR_PARTY,
        registrar_name="The operator's registrar",
        created_at=START,
        read=read,
        random=hashlib.sha256(b"genesis").digest(),
        nonce=nonce("genesis"),
    )


@dataclass
class Registered:
    """A registry under construction, with the keys and the statements that made it."""

    registry: Registry
    registrar: PrivateKey
    keys: dict[str, PrivateKey] = field(default_factory=dict)  # party id -> its newest key
    statements: list[bytes] = field(default_factory=list)  # entry 0 (genesis) first, then key statements

    @property
    def origin(self) -> str:
        return self.registry.origin

    def previous(self, party: str) -> bytes | None:
        known = self.registry.parties.get(party)
        return known.last_digest if known else None

    def apply(self, raw: bytes, seq: int | None = None, recorded_at: datetime | None = None) -> Registry:
        """Apply at the next position (or seq), one second after the last."""
        seq = self.registry.newest_seq + 1 if seq is None else seq
        recorded_at = recorded_at or START + timedelta(seconds=seq)
        self.registry = self.registry.apply(seq, recorded_at, raw)
        self.statements.append(raw)
        return self.registry

    def register_raw(
        self,
        party: str,
        key: PrivateKey,
        *,
        roles: Sequence[str] = ("emitter",),
        name: str | None = None,
        not_after: datetime | None = None,
    ) -> bytes:
        """The statement that registers this key next for this party."""
        label = f"{party} {key.public.kid}"
        possession = possession_statement(
            key, origin=self.origin, party=party, purpose="register", nonce=nonce(f"possession {label}")
        )
        return register_statement(
            self.registrar,
            origin=self.origin,
            party=party,
            name=name or party.title(),
            roles=list(roles),
            possession=possession,
            previous=self.previous(party),
            not_after=not_after,
            nonce=nonce(f"register {label}"),
        )

    def register(
        self, party: str, key: PrivateKey | None = None, *, seq: int | None = None, **options
    ) -> PrivateKey:
        """Register a key (by default the one labelled by the party) and return it."""
        key = key or ed25519_key(party)
        self.apply(self.register_raw(party, key, **options), seq)
        self.keys[party] = key
        return key

    def rotate(
        self, party: str, new: PrivateKey, *, by: PrivateKey | None = None, seq: int | None = None
    ) -> PrivateKey:
        """Put a new key in the place of the party's newest one; the old one signs unless told otherwise."""
        old = self.keys[party]
        possession = possession_statement(new, origin=self.origin, party=party, purpose="rotate")
        raw = rotate_statement(
            by or old,
            origin=self.origin,
            party=party,
            old=old.public.kid,
            possession=possession,
            previous=self.previous(party),
        )
        self.apply(raw, seq)
        self.keys[party] = new
        return new

    def revoke(
        self,
        party: str,
        *,
        kid: str | None = None,
        by: PrivateKey | None = None,
        reason: str = "compromised",
        invalid_since: datetime | None = None,
        seq: int | None = None,
        recorded_at: datetime | None = None,
    ) -> None:
        """End a key of the party (its newest unless told otherwise), signed by the registrar by default."""
        raw = revoke_statement(
            by or self.registrar,
            origin=self.origin,
            party=party,
            kid=kid or self.keys[party].public.kid,
            reason=reason,
            invalid_since=invalid_since,
            previous=self.previous(party),
        )
        self.apply(raw, seq, recorded_at)


def make_registry(
    parties: Mapping[str, Sequence[str]] = PARTIES, *, origin: str = ORIGIN, read: str = "public"
) -> Registered:
    """Genesis at entry 0 and one Ed25519 key for each party (id -> roles) at entries 1, 2, 3…"""
    registrar = registrar_key()
    genesis = make_genesis(origin=origin, registrar=registrar, read=read)
    registered = Registered(Registry.from_genesis(genesis), registrar, {}, [genesis])
    for party, roles in parties.items():
        registered.register(party, roles=roles)
    return registered


def sign_event(
    key: PrivateKey,
    payload: bytes,
    *,
    typ: str = "epcis-event+jws",
    aud: str | Sequence[str] = ORIGIN,
    label: str | None = None,
) -> bytes:
    """A statement over these bytes; with a label, the same nonce every time."""
    return envelope.sign(
        key, typ=typ, aud=aud, payload=payload, nonce=None if label is None else nonce(label)
    )
