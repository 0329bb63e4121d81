"""Step 3 of 9: keys. What a genesis or key statement says, before anybody asks whether it may.

Reading here is about shape only: exact members, known values, a key that is fit for use. Whether the
signer may say it, and whether it follows from what was said before, is keys.registry's to judge. The
writers at the end make the statements that the readers accept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import rfc8785

from keys import base64url, envelope, strict_json
from keys.algorithms import PrivateKey, PublicKey, public_key_from_jwk
from keys.errors import Fault, Malformed, Unverifiable
from keys.note import TYPE_ED25519, NoteVerifier, parse_vkey

TYP_GENESIS = "genesis+jws"
TYP_KEY = "key+jws"
TYP_POSSESSION = "key-possession+jws"

FORMATS: Mapping[str, Any] = {"anchor": 1, "bundle": 1, "entry": 1, "names": "names_v1", "statement": 1}
ROLE_REGISTRAR = "registrar"  # given by genesis, never by a registration
ROLES = ("emitter", "operator")
READ_POLICIES = ("none", "public")
REASONS = ("ceased", "compromised", "superseded", "unspecified")
PURPOSES = ("register", "rotate")

KEY_PAYLOAD_SIZE_MAX = 16_384  # a registration with its proof of possession needs about 1,500
POSSESSION_SIZE_MAX = 4096
NAME_LENGTH_MAX = 200
LOG_KEYS_MAX = 8
RANDOM_SIZE = 32

_T = TypeVar("_T")
_PARTY = re.compile(r"[!#-\[\]-~]{1,128}")  # printable ASCII without space, quote, backslash
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Genesis:
    """Entry 0: what this ledger is, and who may register keys."""

    created_at: datetime
    origin: str
    log_verifiers: tuple[NoteVerifier, ...]
    policy: Mapping[str, Any]
    random: bytes
    registrar_party: str
    registrar_name: str
    registrar_key: PublicKey


@dataclass(frozen=True, slots=True)
class Possession:
    """A new key's own word that its holder wants it registered here, for this party."""

    key: PublicKey
    origin: str
    party: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Register:
    """A party's new key."""

    party: str
    previous: bytes | None
    name: str
    roles: frozenset[str]
    not_after: datetime | None
    possession: bytes


@dataclass(frozen=True, slots=True)
class Rotate:
    """A new key in the place of an old one."""

    party: str
    previous: bytes | None
    old: str
    possession: bytes


@dataclass(frozen=True, slots=True)
class Revoke:
    """The end of a key."""

    party: str
    previous: bytes | None
    kid: str
    reason: str
    invalid_since: datetime | None


def read_genesis(payload: bytes) -> Genesis:
    """Malformed "genesis.payload"; Unverifiable "genesis.formats" for formats of another time."""
    document = strict_json.loads(payload, size_max=KEY_PAYLOAD_SIZE_MAX)
    members = _Members(document, "genesis.payload")
    members.require({"created_at", "formats", "log_keys", "origin", "policy", "random", "registrar", "type"})
    if rfc8785.dumps(document) != payload:
        raise Malformed("genesis.payload", "not the canonical form of RFC 8785")
    members.choice("type", ("genesis",))
    if document["formats"] != FORMATS:
        raise Unverifiable(
            "genesis.formats", f"formats {document['formats']!r:.200} are not known here", "/formats"
        )
    origin = members.text("origin", envelope.ORIGIN_LENGTH_MAX)
    policy = members.child("policy")
    policy.require({"read"})
    policy.choice("read", READ_POLICIES)
    registrar = members.child("registrar")
    registrar.require({"jwk", "name", "party"})
    return Genesis(
        created_at=members.time("created_at"),
        origin=origin,
        log_verifiers=_log_verifiers(members, origin),
        policy=policy.document,
        random=members.digest("random"),
        registrar_party=registrar.party("party"),
        registrar_name=registrar.text("name", NAME_LENGTH_MAX),
        registrar_key=registrar.jwk("jwk"),
    )


def read_possession(payload: bytes) -> Possession:
    """Malformed "key.payload"; Refused "key.weak" for a key under which anybody could sign."""
    members = _Members(strict_json.loads(payload, size_max=POSSESSION_SIZE_MAX), "key.payload")
    members.require({"jwk", "kid", "origin", "party", "purpose"})
    key = members.jwk("jwk")
    if members.document["kid"] != key.kid:
        raise Malformed("key.payload", f"the kid is not the thumbprint of this key, {key.kid}", "/kid")
    return Possession(
        key=key,
        origin=members.text("origin", envelope.ORIGIN_LENGTH_MAX),
        party=members.party("party"),
        purpose=members.choice("purpose", PURPOSES),
    )


def read_key_statement(payload: bytes) -> Register | Rotate | Revoke:
    """Malformed "key.payload" unless it is exactly one of the three actions."""
    members = _Members(strict_json.loads(payload, size_max=KEY_PAYLOAD_SIZE_MAX), "key.payload")
    action = members.choice("action", ("register", "rotate", "revoke"))
    required = {"action", "party", "previous"}
    if action == "register":
        members.require(required | {"name", "possession", "roles"}, {"not_after"})
        return Register(
            party=members.party("party"),
            previous=members.optional("previous", members.digest),
            name=members.text("name", NAME_LENGTH_MAX),
            roles=members.roles("roles"),
            not_after=members.time("not_after") if "not_after" in members.document else None,
            possession=members.text("possession", POSSESSION_SIZE_MAX).encode(),
        )
    if action == "rotate":
        members.require(required | {"old", "possession"})
        return Rotate(
            party=members.party("party"),
            previous=members.optional("previous", members.digest),
            old=members.text("old", 43),
            possession=members.text("possession", POSSESSION_SIZE_MAX).encode(),
        )
    members.require(required | {"invalid_since", "kid", "reason"})
    return Revoke(
        party=members.party("party"),
        previous=members.optional("previous", members.digest),
        kid=members.text("kid", 43),
        reason=members.choice("reason", REASONS),
        invalid_since=members.optional("invalid_since", members.time),
    )


class _Members:
    """One JSON object, and the checks that its members are what they should be."""

    def __init__(self, document: Any, code: str, pointer: str = "") -> None:
        self.code, self.pointer = code, pointer
        if type(document) is not dict:
            raise Malformed(code, "a JSON object is wanted", pointer)
        self.document: dict[str, Any] = document

    def fault(self, name: str, wanted: str) -> Malformed:
        return Malformed(self.code, f"{name}: {wanted}", f"{self.pointer}/{name}")

    def require(self, required: set[str], optional: Collection[str] = ()) -> None:
        # Unknown members are refused here, for a later reader might find a meaning in them.
        if missing := required - set(self.document):
            raise Malformed(self.code, f"the member {min(missing)} is missing", self.pointer)
        if unknown := set(self.document) - required - set(optional):
            raise Malformed(self.code, f"the member {min(unknown)[:64]!r} is not known", self.pointer)

    def child(self, name: str) -> _Members:
        return _Members(self.document[name], self.code, f"{self.pointer}/{name}")

    def text(self, name: str, length_max: int) -> str:
        value = self.document.get(name)
        if type(value) is not str or not 1 <= len(value) <= length_max or not value.isprintable():
            raise self.fault(name, f"wanted is a string of 1 to {length_max} printable characters")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        value = self.document.get(name)
        if type(value) is not str or value not in choices:
            raise self.fault(name, f"wanted is one of {', '.join(choices)}")
        return value

    def party(self, name: str) -> str:
        value = self.document[name]
        if type(value) is not str or not _PARTY.fullmatch(value):
            wanted = "wanted are 1 to 128 printable ASCII characters, no space, quote or backslash"
            raise self.fault(name, wanted)
        return value

    def roles(self, name: str) -> frozenset[str]:
        value = self.document[name]
        if type(value) is not list or not value or any(type(role) is not str for role in value):
            raise self.fault(name, "wanted is a list of roles")
        if len(set(value)) != len(value) or not set(value) <= set(ROLES):
            raise self.fault(name, f"each role once, out of {', '.join(ROLES)}")
        return frozenset(value)

    def digest(self, name: str) -> bytes:
        value = self.document[name]
        if type(value) is not str or len(value) != 43:
            raise self.fault(name, "wanted are 32 bytes in base64url")
        return base64url.decode(value, self.code, f"{self.pointer}/{name}")

    def time(self, name: str) -> datetime:
        value = self.document[name]
        if type(value) is str and _TIME.fullmatch(value):
            try:
                return datetime.fromisoformat(value).astimezone(UTC)
            except (ValueError, OverflowError):
                pass
        raise self.fault(name, 'wanted is a time such as "2026-11-20T12:00:00Z"')

    def jwk(self, name: str) -> PublicKey:
        try:
            return public_key_from_jwk(self.document[name])
        except Fault as e:
            raise type(e)(e.code, e.detail, f"{self.pointer}/{name}{e.pointer}") from e

    def optional(self, name: str, read: Callable[[str], _T]) -> _T | None:
        return None if self.document[name] is None else read(name)


def _log_verifiers(members: _Members, origin: str) -> tuple[NoteVerifier, ...]:
    vkeys = members.document["log_keys"]
    if (
        type(vkeys) is not list
        or not 1 <= len(vkeys) <= LOG_KEYS_MAX
        or len(set(map(str, vkeys))) != len(vkeys)
    ):
        raise members.fault("log_keys", f"wanted is a list of 1 to {LOG_KEYS_MAX} different vkeys")
    verifiers = []
    for index, vkey in enumerate(vkeys):
        if type(vkey) is not str:
            raise members.fault(f"log_keys/{index}", "wanted is a vkey")
        verifier = parse_vkey(vkey)
        # SPEC tlog-checkpoint: the log's key name is its origin. A cosigner's key does not make a log.
        if verifier.name != origin or verifier.type != TYPE_ED25519:
            raise members.fault(f"log_keys/{index}", f"wanted is an Ed25519 log key named {origin}")
        verifiers.append(verifier)
    return tuple(verifiers)


def render_time(time: datetime) -> str:
    """ "2026-11-20T12:00:00.000000Z", of an aware time."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def genesis_statement(
    registrar_key: PrivateKey,
    *,
    origin: str,
    log_keys: Sequence[str],
    registrar_party: str,
    registrar_name: str,
    created_at: datetime,
    read: str = "public",
    random: bytes | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """Entry 0's statement. log_keys are vkeys; read is "public" or "none"."""
    payload: dict[str, Any] = {
        "created_at": render_time(created_at),
        "formats": dict(FORMATS),
        "log_keys": list(log_keys),
        "origin": origin,
        "policy": {"read": read},
        "random": base64url.encode(os.urandom(RANDOM_SIZE) if random is None else random),
        "registrar": {
            "jwk": dict(registrar_key.public.jwk),
            "name": registrar_name,
            "party": registrar_party,
        },
        "type": "genesis",
    }
    read_genesis(rfc8785.dumps(payload))
    return _sign(registrar_key, TYP_GENESIS, origin, payload, nonce)


def possession_statement(
    key: PrivateKey, *, origin: str, party: str, purpose: str = "register", nonce: bytes | None = None
) -> bytes:
    """The new key's proof of possession, for the registrar (or the old key) to sign around."""
    payload: dict[str, Any] = {
        "jwk": dict(key.public.jwk),
        "kid": key.public.kid,
        "origin": origin,
        "party": party,
        "purpose": purpose,
    }
    read_possession(rfc8785.dumps(payload))
    return _sign(key, TYP_POSSESSION, origin, payload, nonce)


def register_statement(
    registrar_key: PrivateKey,
    *,
    origin: str,
    party: str,
    name: str,
    roles: Sequence[str],
    possession: bytes,
    previous: bytes | None = None,
    not_after: datetime | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """previous is the digest of the newest key statement about this party: Party.last_digest."""
    payload: dict[str, Any] = {
        "action": "register",
        "name": name,
        "party": party,
        "possession": possession.decode("ascii"),
        "previous": _digest_text(previous),
        "roles": list(roles),
    }
    if not_after is not None:
        payload["not_after"] = render_time(not_after)
    return _sign_key_statement(registrar_key, origin, payload, nonce)


def rotate_statement(
    key: PrivateKey,
    *,
    origin: str,
    party: str,
    old: str,
    possession: bytes,
    previous: bytes | None,
    nonce: bytes | None = None,
) -> bytes:
    """key  an active key of the party, or the registrar's; old  the kid that ends here."""
    payload = {
        "action": "rotate",
        "old": old,
        "party": party,
        "possession": possession.decode("ascii"),
        "previous": _digest_text(previous),
    }
    return _sign_key_statement(key, origin, payload, nonce)


def revoke_statement(
    key: PrivateKey,
    *,
    origin: str,
    party: str,
    kid: str,
    reason: str,
    previous: bytes | None,
    invalid_since: datetime | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """key  an active key of the party, or the registrar's; kid  the key that ends here."""
    payload = {
        "action": "revoke",
        "invalid_since": None if invalid_since is None else render_time(invalid_since),
        "kid": kid,
        "party": party,
        "previous": _digest_text(previous),
        "reason": reason,
    }
    return _sign_key_statement(key, origin, payload, nonce)


def _digest_text(digest: bytes | None) -> str | None:
    return None if digest is None else base64url.encode(digest)


def _sign_key_statement(key: PrivateKey, origin: str, payload: dict[str, Any], nonce: bytes | None) -> bytes:
    # Never hand out what every ledger must refuse.
    read_key_statement(rfc8785.dumps(payload))
    return _sign(key, TYP_KEY, origin, payload, nonce)


def _sign(key: PrivateKey, typ: str, origin: str, payload: dict[str, Any], nonce: bytes | None) -> bytes:
    return envelope.sign(key, typ=typ, aud=origin, payload=rfc8785.dumps(payload), nonce=nonce)
