"""Step 8 of 9: where the next page begins. A token is handed to the caller, and believed only if it is ours.

A token holds the sort key and place of the last event shown, and the position up to which the first page
looked: what was recorded since does not move what is still to come, so no event is shown twice or left out.
It is bound to one query by the query's digest, ends at a time, and carries an HMAC with a key of the server.

    version(1) | query digest(16) | expires(8) | bound(8) | left(8) | time(8) | seq(8) | ordinal(4) | flags(1)
    | mac(16)

Big-endian, base64url without padding: 104 characters.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from traceability.errors import QueryTokenFault

KEY_SIZE = 32  # bytes
LIFETIME_S = 3600  # how long a token is good for
_VERSION = 1
_FORM = struct.Struct(">B16sQqqqqIB")
_MAC_SIZE = 16
_COUNTED = 1
_NONE = -1
_PARAMETER = "nextPageToken"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place behind which the next page begins, and what was settled on earlier pages.

    bound    only positions below it are part of the answer
    time     the last event's sort key in microseconds, where events are ordered by time
    left     how many events eventCountLimit still allows; None without a limit
    counted  maxEventCount was checked on the first page
    """

    bound: int
    time: int = 0
    seq: int = -1
    ordinal: int = 0
    left: int | None = None
    counted: bool = False


def seal(cursor: Cursor, digest: bytes, expires_at: int, key: bytes) -> str:
    """The token of a cursor. digest has 16 bytes, expires_at is in Unix seconds, key has KEY_SIZE bytes."""
    flags = _COUNTED if cursor.counted else 0
    left = _NONE if cursor.left is None else cursor.left
    body = _FORM.pack(
        _VERSION, digest, expires_at, cursor.bound, left, cursor.time, cursor.seq, cursor.ordinal, flags
    )
    return urlsafe_b64encode(body + _mac(body, key)).rstrip(b"=").decode("ascii")


def open_token(token: str, digest: bytes, now: int, key: bytes) -> Cursor:
    """The cursor of a token.

    Raises QueryTokenFault "query.token.malformed", "query.token.forged", "query.token.expired" or
    "query.token.other-query".
    """
    raw = _decode(token, _FORM.size + _MAC_SIZE, exactly=True)
    body, mac = raw[:-_MAC_SIZE], raw[-_MAC_SIZE:]
    # Before anything in it is looked at: what a stranger wrote is not even told its fault.
    if not hmac.compare_digest(mac, _mac(body, key)):
        raise QueryTokenFault(
            "query.token.forged",
            "this token was not made by this server",
            _PARAMETER,
            fix="start at the first page",
        )
    version, ours, expires_at, bound, left, time, seq, ordinal, flags = _FORM.unpack(body)
    if version != _VERSION or expires_at <= now:
        raise QueryTokenFault(
            "query.token.expired",
            f"this token was good until {expires_at} (Unix seconds), and it is {now}",
            _PARAMETER,
            fix="start at the first page",
        )
    if not hmac.compare_digest(ours, digest):
        raise QueryTokenFault(
            "query.token.other-query",
            "this token belongs to another query",
            _PARAMETER,
            fix="repeat every parameter of the first page; only perPage may change",
        )
    return Cursor(bound, time, seq, ordinal, None if left == _NONE else left, bool(flags & _COUNTED))


def seal_name(name: str, listing: str, expires_at: int, key: bytes) -> str:
    """The token of a listing's next page, which begins behind this name."""
    body = struct.pack(">Bq", _VERSION, expires_at) + name.encode("utf-8", "surrogatepass")
    mac = _mac(listing.encode() + b"\0" + body, key)
    return urlsafe_b64encode(body + mac).rstrip(b"=").decode("ascii")


def open_name(token: str, listing: str, now: int, key: bytes) -> str:
    """The name behind which the page begins. Raises QueryTokenFault as open_token() does."""
    raw = _decode(token, struct.calcsize(">Bq") + _MAC_SIZE, exactly=False)
    body, mac = raw[:-_MAC_SIZE], raw[-_MAC_SIZE:]
    if not hmac.compare_digest(mac, _mac(listing.encode() + b"\0" + body, key)):
        raise QueryTokenFault(
            "query.token.forged",
            "this token was not made by this server, or not for this listing",
            _PARAMETER,
            fix="start at the first page",
        )
    version, expires_at = struct.unpack_from(">Bq", body)
    if version != _VERSION or expires_at <= now:
        raise QueryTokenFault(
            "query.token.expired", "this token is too old", _PARAMETER, fix="start at the first page"
        )
    return body[struct.calcsize(">Bq") :].decode("utf-8", "surrogatepass")


def _decode(token: str, size: int, *, exactly: bool) -> bytes:
    try:
        raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except (ValueError, binascii.Error):
        raw = b""
    # One token has one spelling.
    if (
        len(raw) < size
        or (exactly and len(raw) != size)
        or urlsafe_b64encode(raw).rstrip(b"=") != token.encode()
    ):
        raise QueryTokenFault(
            "query.token.malformed",
            "this is no page token of this server",
            _PARAMETER,
            fix="start at the first page",
        )
    return raw


def _mac(body: bytes, key: bytes) -> bytes:
    return hmac.new(key, b"tallystick page token\0" + body, hashlib.sha256).digest()[:_MAC_SIZE]
