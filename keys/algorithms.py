"""Step 3 of 9: keys. The two signature algorithms, behind one small interface.

A key pins its one algorithm: Ed25519 (by PyNaCl) or ES256 (ECDSA on P-256 with SHA-256, by
cryptography). Nobody chooses an algorithm by what a message says of itself. A key is named by its
RFC 7638 thumbprint, so a name cannot be given to another key.

Keys under which one signature fits many messages never become a PublicKey: small-order, mixed-order
and non-canonical Ed25519 points, and points that are not on P-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

import nacl.bindings
import nacl.exceptions
import nacl.utils
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from keys import base64url
from keys.errors import Malformed, Refused, Refuted, Unverifiable

ED25519 = "Ed25519"
ES256 = "ES256"
SIGNATURE_SIZE = 64  # of both algorithms

# A point of order 2L. libsodium before CVE-2025-69277 was fixed takes it for a point of order L.
_MIXED_ORDER = bytes.fromhex("359dbf604a3b3bedc20d5408b9d4770fbe52c922979b3178d02ab8d41c9c3a4e")
if nacl.bindings.crypto_core_ed25519_is_valid_point(_MIXED_ORDER):
    raise ImportError(
        "this libsodium accepts mixed-order Ed25519 keys (CVE-2025-69277): PyNaCl >= 1.6.2 is needed"
    )


class PublicKey(Protocol):
    """What a signature is checked with."""

    @property
    def alg(self) -> str:
        """The one algorithm of this key: "Ed25519" or "ES256"."""

    @property
    def kid(self) -> str:
        """RFC 7638 thumbprint by SHA-256, base64url: 43 characters."""

    @property
    def jwk(self) -> Mapping[str, str]:
        """Exactly the members that the thumbprint covers."""

    def verify(self, signature: bytes, message: bytes) -> None:
        """Refuted "signature" unless this key made this signature over these bytes. About 40 µs."""


class PrivateKey(Protocol):
    """What signs; perhaps without ever showing its secret (a hardware module)."""

    @property
    def public(self) -> PublicKey:
        """The other half."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes that public.verify() accepts."""


class Ed25519PublicKey:
    """RFC 8032, by the strict predicate of libsodium (no batch equation, no cofactor)."""

    __slots__ = ("alg", "jwk", "kid", "raw")

    def __init__(self, raw: bytes) -> None:
        """raw  the 32 bytes of the point; Refused "key.weak" unless canonical and of order L."""
        if len(raw) != 32:
            raise Malformed("key.size", f"an Ed25519 key of {len(raw)} bytes; it has 32")
        if not nacl.bindings.crypto_core_ed25519_is_valid_point(raw):
            detail = "not a canonical Ed25519 point of prime order: one signature could fit many messages"
            raise Refused("key.weak", detail)
        self.alg = ED25519
        self.raw = raw
        self.jwk: Mapping[str, str] = MappingProxyType(
            {"crv": "Ed25519", "kty": "OKP", "x": base64url.encode(raw)}
        )
        self.kid = _thumbprint(self.jwk)

    def verify(self, signature: bytes, message: bytes) -> None:
        if len(signature) == SIGNATURE_SIZE:
            try:
                nacl.bindings.crypto_sign_open(signature + message, self.raw)
                return
            except nacl.exceptions.BadSignatureError:
                pass
        raise _refuted(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ed25519PublicKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"<Ed25519 public key {self.kid}>"


class P256PublicKey:
    """ECDSA on P-256 with SHA-256. A signature is r ‖ s, and malleable: its bytes identify nothing."""

    __slots__ = ("_key", "alg", "jwk", "kid", "x", "y")

    def __init__(self, x: bytes, y: bytes) -> None:
        """x, y  32 bytes each; Refused "key.weak" unless they are a point on the curve."""
        if len(x) != 32 or len(y) != 32:
            raise Malformed("key.size", f"P-256 coordinates of {len(x)} and {len(y)} bytes; each has 32")
        try:
            self._key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
        except ValueError as e:
            raise Refused("key.weak", "not a point on the curve P-256") from e
        self.alg = ES256
        self.x, self.y = x, y
        self.jwk: Mapping[str, str] = MappingProxyType(
            {"crv": "P-256", "kty": "EC", "x": base64url.encode(x), "y": base64url.encode(y)}
        )
        self.kid = _thumbprint(self.jwk)

    def verify(self, signature: bytes, message: bytes) -> None:
        if len(signature) == SIGNATURE_SIZE:
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            try:
                self._key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
                return
            except InvalidSignature:
                pass
        raise _refuted(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, P256PublicKey) and (other.x, other.y) == (self.x, self.y)

    def __hash__(self) -> int:
        return hash((self.x, self.y))

    def __repr__(self) -> str:
        return f"<P-256 public key {self.kid}>"


class Ed25519PrivateKey:
    """A seed of 32 bytes, which repr() never shows."""

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise Malformed("key.size", f"an Ed25519 seed of {len(seed)} bytes; it has 32")
        raw, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed)
        self.public = Ed25519PublicKey(raw)

    @property
    def seed(self) -> bytes:
        """The secret itself: for key files, never for messages."""
        return self._secret[:32]

    def sign(self, message: bytes) -> bytes:
        return nacl.bindings.crypto_sign(message, self._secret)[:SIGNATURE_SIZE]

    def __repr__(self) -> str:
        return f"<Ed25519 private key of {self.public.kid}>"


class P256PrivateKey:
    """A P-256 key held by cryptography."""

    __slots__ = ("held", "public")

    def __init__(self, held: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(held.curve, ec.SECP256R1):
            raise Refused("key.curve", f"an EC key on {held.curve.name}; only P-256 is used here")
        self.held = held
        numbers = held.public_key().public_numbers()
        self.public = P256PublicKey(numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))

    def sign(self, message: bytes) -> bytes:
        # RFC 6979: a weak source of randomness at signing time must not give the key away.
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(self.held.sign(message, algorithm))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"<P-256 private key of {self.public.kid}>"


def public_key_from_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    """The key that a JWK (RFC 7517, RFC 8037) describes, and nothing more than a key.

    jwk  exactly {"crv", "kty", "x"} for Ed25519, {"crv", "kty", "x", "y"} for P-256

    Raises Refused "key.private" for private members, "key.weak" for points that are not usable,
    Unverifiable "key.type" for other kinds of key, and Malformed "key.member" otherwise.
    """
    if not isinstance(jwk, Mapping):
        raise Malformed("key.member", "a JWK is a JSON object")
    if "d" in jwk or "k" in jwk:
        raise Refused("key.private", "a private key where a public one is wanted: treat it as compromised")
    kind = (jwk.get("kty"), jwk.get("crv"))
    if kind == ("OKP", "Ed25519"):
        return Ed25519PublicKey(*_coordinates(jwk, "x"))
    if kind == ("EC", "P-256"):
        return P256PublicKey(*_coordinates(jwk, "x", "y"))
    raise Unverifiable("key.type", f"a key of kind {str(kind)[:60]}; Ed25519 and P-256 are known", "/kty")


def generate(alg: str = ED25519) -> PrivateKey:
    """A new key from the operating system's randomness."""
    if alg == ED25519:
        return Ed25519PrivateKey(nacl.utils.random(32))
    if alg == ES256:
        return P256PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    raise Refused("key.algorithm", f"no algorithm {alg[:32]!r}; there are {ED25519} and {ES256}")


def private_key_from_seed(seed: bytes) -> PrivateKey:
    """The Ed25519 key of a seed of 32 bytes: for vectors and tests."""
    return Ed25519PrivateKey(seed)


def _coordinates(jwk: Mapping[str, Any], *names: str) -> list[bytes]:
    if set(jwk) != {"crv", "kty", *names}:
        # Whatever else a JWK may hold (key_ops, x5c, a comment) would be published for ever, unsigned for.
        raise Malformed(
            "key.member", f"a JWK with members {sorted(jwk)}; wanted crv, kty, {', '.join(names)}"
        )
    values = []
    for name in names:
        if not isinstance(jwk[name], str):
            raise Malformed("key.member", "a coordinate is a base64url string", f"/{name}")
        values.append(base64url.decode(jwk[name], "key.member", f"/{name}"))
    return values


def _thumbprint(jwk: Mapping[str, str]) -> str:
    # RFC 7638: the required members, in order of their names, without whitespace. No value needs escaping.
    members = ",".join(f'"{name}":"{jwk[name]}"' for name in sorted(jwk))
    return base64url.encode(hashlib.sha256(b"{" + members.encode("ascii") + b"}").digest())


def _refuted(key: PublicKey) -> Refuted:
    return Refuted("signature", f"not a signature of {key.alg} key {key.kid} over these bytes")
