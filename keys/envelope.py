"""Step 3 of 9: keys. The signed statement: JWS compact serialisation (RFC 7515), read strictly.

A Statement is bytes, and its digest is SHA-256 of exactly those bytes. parse() reads them without
believing them; verify() checks them against the one key they name. Both are needed, and require_audience()
as third: a statement meant for another ledger is true, and none of our business.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from keys import base64url, strict_json
from keys.algorithms import ED25519, ES256, SIGNATURE_SIZE, PrivateKey, PublicKey
from keys.errors import Malformed, Refused

PAYLOAD_SIZE_MAX = 1_048_576  # one EPCIS document of several thousand events
STATEMENT_SIZE_MAX = 1_500_000  # the payload in base64url, header, signature
HEADER_SIZE_MAX = 4096
HEADER_DEPTH_MAX = 4
NONCE_SIZE = 16
AUDIENCES_MAX = 16
ORIGIN_LENGTH_MAX = 255  # as C2SP allows
IAT_MAX = 253_402_300_799  # the last second of the year 9999

# What the header may call the algorithm, and what the key calls it. RFC 9864 renamed EdDSA.
_ALGORITHMS = {"Ed25519": ED25519, "EdDSA": ED25519, "ES256": ES256}
# A header that brings its own key, or asks for processing we do not do, is not for us.
_FORBIDDEN = frozenset({"jwk", "jku", "x5u", "x5c", "crit"})
_KID = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # 32 bytes in canonical base64url
_TYP = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
_SIGNATURE_LENGTH = 86  # 64 bytes in base64url


class _Header(NamedTuple):
    """The members of a protected header that mean something here."""

    alg: str
    kid: str
    typ: str
    aud: tuple[str, ...]
    nonce: bytes
    iat: int | None


HEADERS_KEPT_MAX = 4096  # one for each key that sends lately
_NONCE_MEMBER = b'"nonce":"'
_NONCE_LENGTH = 22
_HEADERS: dict[bytes, _Header] = {}


class Statement(msgspec.Struct, frozen=True):
    """What the bytes say. Nothing is proved until verify() has returned.

    A Struct and no dataclass: one is made for every statement that arrives, in a quarter of the time.
    """

    raw: bytes
    alg: str  # "Ed25519" or "ES256"
    kid: str
    typ: str  # which class: "epcis-event+jws"
    aud: tuple[str, ...]
    nonce: bytes  # 16 bytes
    iat: int | None  # the emitter's clock: never judged by
    payload: bytes
    signing_input: bytes
    signature: bytes  # 64 bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of raw: what an entry calls the statement. Computed each time that it is asked for."""
        return hashlib.sha256(self.raw).digest()


def parse(raw: bytes) -> Statement:
    """Read one statement; about 4 µs for 900 bytes.

    Raises Malformed "jws.size", "jws.parts", "jws.header", "jws.header.<member>", "jws.payload" or
    "jws.signature", and whatever strict_json says of the header; Refused "jws.header.<member>" for a header
    that is well-formed and not allowed. Pointers are those of the header document.
    Source: RFC 7515, sections 3.1, 4.1 and 7.1; RFC 8725, sections 3.1, 3.2 and 3.11.
    """
    if len(raw) > STATEMENT_SIZE_MAX:
        raise Malformed("jws.size", f"a statement of {len(raw)} bytes; at most {STATEMENT_SIZE_MAX} are read")
    parts = raw.split(b".", 3)
    if len(parts) != 3:
        raise Malformed("jws.parts", "not a compact JWS: three parts, joined by two dots, are wanted")
    header64, payload64, signature64 = parts
    header = _read_header(header64)
    return Statement(
        raw,
        header.alg,
        header.kid,
        header.typ,
        header.aud,
        header.nonce,
        header.iat,
        _read_payload(payload64),
        raw[: len(header64) + 1 + len(payload64)],
        _read_signature(signature64),
    )


def _read_header(header64: bytes) -> _Header:
    """The protected header. One key writes the same header again and again, but for its nonce.

    So what was read once is kept under its bytes without the nonce. A later header with the same bytes
    around 22 characters of base64url, which can hold no quote, says the same.
    """
    if len(header64) > HEADER_SIZE_MAX * 4 // 3 + 1:
        raise Malformed("jws.header", f"the header is longer than {HEADER_SIZE_MAX} bytes")
    data = base64url.decode(header64, "jws.header")
    found = data.find(_NONCE_MEMBER)
    if found < 0:
        return _judge_header(data)
    start = found + len(_NONCE_MEMBER)
    end = start + _NONCE_LENGTH
    frame = data[:start] + data[end:]
    known = _HEADERS.get(frame)
    if known is not None and data[end : end + 1] == b'"':
        nonce = base64url.decode(data[start:end], "jws.header.nonce", "/nonce")
        return _Header(known.alg, known.kid, known.typ, known.aud, nonce, known.iat)
    header = _judge_header(data)
    if header.iat is None and data[start:end] == base64url.encode(header.nonce).encode():
        # The same words may stand within a member of the sender's. So it is the header's own nonce only if
        # another one in its place is read as the header's.
        other = bytes(byte ^ 0xFF for byte in header.nonce)
        probe = data[:start] + base64url.encode(other).encode() + data[end:]
        if _judge_header(probe) == header._replace(nonce=other):
            if len(_HEADERS) >= HEADERS_KEPT_MAX:
                _HEADERS.clear()
            _HEADERS[frame] = header
    return header


def _judge_header(data: bytes) -> _Header:
    header = _read_members(data)
    if not _FORBIDDEN.isdisjoint(header):
        name = min(_FORBIDDEN.intersection(header))
        raise Refused(f"jws.header.{name}", f"the header member {name!r} is not allowed here", f"/{name}")

    alg = _ALGORITHMS.get(named) if type(named := header.get("alg")) is str else None
    if alg is None:
        raise _bad_algorithm(named)
    kid, typ = header.get("kid"), header.get("typ")
    if type(kid) is not str or not _KID.fullmatch(kid):
        raise _bad("kid", "wanted is an RFC 7638 thumbprint by SHA-256: 43 characters of base64url")
    if type(typ) is not str or not _TYP.fullmatch(typ):
        raise _bad("typ", 'wanted is the class of the statement, such as "epcis-event+jws"')
    nonce64 = header.get("nonce")
    if type(nonce64) is not str or len(nonce64) != _NONCE_LENGTH:
        raise _bad("nonce", f"wanted are {NONCE_SIZE} random bytes: 22 characters of base64url")
    iat = header.get("iat")
    if "iat" in header and (type(iat) is not int or not 0 <= iat <= IAT_MAX):
        raise _bad("iat", "wanted are whole seconds since 1970")

    nonce = base64url.decode(nonce64, "jws.header.nonce", "/nonce")
    return _Header(alg, kid, typ, _audience(header.get("aud")), nonce, iat)


def verify(statement: Statement, key: PublicKey) -> None:
    """Check that this key signed this statement.

    Raises Refused "jws.kid" if the statement names another key, "jws.alg" if it names another algorithm
    than the key's own, and Refuted "signature".
    """
    if statement.kid != key.kid:
        raise Refused("jws.kid", f"the statement names key {statement.kid}, not {key.kid}", "/kid")
    if statement.alg != key.alg:
        raise Refused("jws.alg", f"the header says {statement.alg}; this key signs by {key.alg} only", "/alg")
    key.verify(statement.signature, statement.signing_input)


def require_audience(statement: Statement, origin: str) -> None:
    """Refused "jws.aud" unless the statement is meant for the ledger of this origin."""
    if origin not in statement.aud:
        meant = ", ".join(statement.aud)[:200]
        raise Refused("jws.aud", f"meant for {meant}; this ledger is {origin}", "/aud")


def sign(
    key: PrivateKey,
    *,
    typ: str,
    aud: str | Sequence[str],
    payload: bytes,
    nonce: bytes | None = None,
    iat: int | None = None,
) -> bytes:
    """A statement over exactly these payload bytes; parse() accepts what this returns.

    nonce  16 random bytes, drawn here unless a test gives them. Without it, whoever later learns an
           Ed25519 key could test guesses at an erased payload against its public digest.
    """
    header: dict[str, Any] = {
        "alg": key.public.alg,
        "kid": key.public.kid,
        "typ": typ,
        "aud": aud if isinstance(aud, str) else list(aud),
        "nonce": base64url.encode(os.urandom(NONCE_SIZE) if nonce is None else nonce),
    }
    if iat is not None:
        header["iat"] = iat
    signing_input = f"{base64url.encode(orjson.dumps(header))}.{base64url.encode(payload)}".encode("ascii")
    raw = signing_input + b"." + base64url.encode(key.sign(signing_input)).encode("ascii")
    # Never hand out what the other side must refuse.
    parse(raw)
    return raw


def _read_members(data: bytes) -> dict[str, Any]:
    try:
        header = strict_json.loads(data, size_max=HEADER_SIZE_MAX, depth_max=HEADER_DEPTH_MAX)
    except Malformed as e:
        raise Malformed("jws.header", f"{e.detail} ({e.code})", e.pointer) from e
    if type(header) is not dict:
        raise Malformed("jws.header", "the protected header is a JSON object")
    return header


def _audience(aud: Any) -> tuple[str, ...]:
    audience = (aud,) if type(aud) is str else tuple(aud) if type(aud) is list else ()
    if not 1 <= len(audience) <= AUDIENCES_MAX:
        raise _bad("aud", f"wanted is the ledger's origin, or a list of 1 to {AUDIENCES_MAX} origins")
    for origin in audience:
        if type(origin) is not str or not 1 <= len(origin) <= ORIGIN_LENGTH_MAX:
            raise _bad("aud", f"each origin is a string of 1 to {ORIGIN_LENGTH_MAX} characters")
    return audience


def _read_payload(payload64: bytes) -> bytes:
    if len(payload64) > PAYLOAD_SIZE_MAX * 4 // 3 + 2:
        raise Malformed("jws.payload", f"the payload is longer than {PAYLOAD_SIZE_MAX} bytes")
    payload = base64url.decode(payload64, "jws.payload")
    if len(payload) > PAYLOAD_SIZE_MAX:
        raise Malformed("jws.payload", f"the payload has {len(payload)} bytes; at most {PAYLOAD_SIZE_MAX}")
    return payload


def _read_signature(signature64: bytes) -> bytes:
    if len(signature64) != _SIGNATURE_LENGTH:
        detail = (
            f"a signature of {len(signature64)} characters; {SIGNATURE_SIZE} bytes have {_SIGNATURE_LENGTH}"
        )
        raise Malformed("jws.signature", detail)
    return base64url.decode(signature64, "jws.signature")


def _bad(member: str, wanted: str) -> Malformed:
    return Malformed(
        f"jws.header.{member}", f"the header member {member!r} is missing or wrong: {wanted}", f"/{member}"
    )


def _bad_algorithm(named: Any) -> Malformed | Refused:
    if type(named) is not str:
        return _bad("alg", "wanted is Ed25519 or ES256")
    # "none" proves nothing, and an HMAC could be made by whoever knows the public key.
    return Refused(
        "jws.header.alg", f"the algorithm {named[:32]!r} is not allowed: Ed25519 and ES256 are", "/alg"
    )
