"""Step 7 of 9: the anchor statement's payload. What a stranger needs to check an anchor, and the check.

A record says: this checkpoint was in a batch of so many, at this index; this path leads to the batch's
root; these tokens say when that root existed. The proof is in the bytes and in the pinned time-stamp
roots; who signed the statement around it adds nothing to the time, and can take nothing away.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import rfc8785

from anchoring.errors import RecordMalformed, RecordRefuted, TokenUnverifiable
from anchoring.rfc3161 import TOKEN_SIZE_MAX, Token, TokenVerifier
from keys import strict_json
from keys.errors import Malformed
from ledger import checkpoint as checkpoints
from ledger import merkle
from ledger.checkpoint import Checkpoint
from ledger.errors import ProofMalformed, ProofRefuted

TYP = "anchor+jws"
BATCH_SIZE_MAX = 1_024  # logs anchored together; a path then has at most 10 hashes
PATH_LENGTH_MAX = 10
TIMESTAMPS_MAX = 8  # authorities asked in one round
CHECKPOINT_SIZE_MAX = 1_024  # characters of the three lines; an origin has at most 255
RECORD_SIZE_MAX = 800_000  # eight tokens of the largest size in base64, and the rest
AUTHORITY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_MEMBERS = frozenset({"batch_size", "checkpoint", "index", "path", "root", "timestamps", "type"})


@dataclass(frozen=True, slots=True)
class Timestamp:
    """One authority's token over the batch's root."""

    authority: str  # what the operator calls it; the certificate says who it is
    token: bytes  # DER of the TimeStampToken


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """The payload of a statement of type anchor+jws. Nothing is proved until verify_record()."""

    checkpoint: str  # origin, size and root lines, each with its newline; no signatures
    index: int  # of this checkpoint in the batch
    batch_size: int
    path: tuple[bytes, ...]  # sibling hashes of 32 bytes, nearest the leaf first
    root: bytes  # 32 bytes; the tokens' imprint is SHA-256 of exactly these
    timestamps: tuple[Timestamp, ...]  # sorted by authority, each authority once


@dataclass(frozen=True, slots=True)
class Verified:
    """What a record proves to somebody who pinned certain time-stamp roots."""

    checkpoint: Checkpoint
    gen_time: datetime  # the checkpoint existed at this time, by the token that bounds it earliest
    latest: datetime  # and at this one for certain: with that token's accuracy
    authority: str  # who said so: the subject of the certificate, RFC 4514
    tokens: tuple[Token, ...]  # every token that verified, the earliest first
    unverified: tuple[tuple[str, str], ...]  # (authority, why) of tokens that lead to no pinned root


def checkpoint_leaf(text: bytes) -> bytes:
    """The leaf hash of a checkpoint's text: SHA-256(0x00 || origin, size and root lines)."""
    return merkle.leaf_hash(text)


def render(record: AnchorRecord) -> bytes:
    """The record as canonical JSON (RFC 8785). parse(render(r)) == r."""
    payload = rfc8785.dumps(
        {
            "batch_size": record.batch_size,
            "checkpoint": record.checkpoint,
            "index": record.index,
            "path": [_encode(hash_) for hash_ in record.path],
            "root": _encode(record.root),
            "timestamps": [{"authority": t.authority, "token": _encode(t.token)} for t in record.timestamps],
            "type": "anchor",
        }
    )
    # Never sign what nobody will be able to read.
    parse(payload)
    return payload


def parse(payload: bytes) -> AnchorRecord:
    """Read a record strictly: exactly these members, canonical bytes. render(parse(b)) == b.

    Raises RecordMalformed with a pointer into the payload.
    """
    try:
        value = strict_json.loads(payload, size_max=RECORD_SIZE_MAX, depth_max=4)
    except Malformed as error:
        raise RecordMalformed(error.code, error.detail, error.pointer) from error
    if type(value) is not dict or value.keys() != _MEMBERS:
        _refuse("anchor.members", f"wanted are exactly the members {', '.join(sorted(_MEMBERS))}")
    if value["type"] != "anchor":
        _refuse("anchor.type", 'the type is not "anchor"', "/type")
    text = value["checkpoint"]
    if type(text) is not str or len(text) > CHECKPOINT_SIZE_MAX:
        _refuse("anchor.checkpoint", "not the text of a checkpoint", "/checkpoint")
    _read_checkpoint(text)
    batch_size = _integer(value["batch_size"], 1, BATCH_SIZE_MAX, "/batch_size")
    record = AnchorRecord(
        checkpoint=text,
        index=_integer(value["index"], 0, batch_size - 1, "/index"),
        batch_size=batch_size,
        path=tuple(
            _decode(one, f"/path/{i}", 32, 32)
            for i, one in enumerate(_list(value["path"], PATH_LENGTH_MAX, "/path"))
        ),
        root=_decode(value["root"], "/root", 32, 32),
        timestamps=_read_timestamps(value["timestamps"]),
    )
    if rfc8785.dumps(value) != payload:
        _refuse("anchor.canonical", "not in the canonical form of RFC 8785")
    return record


def verify_record(record: AnchorRecord, verifier: TokenVerifier) -> Verified:
    """Check path and tokens against pinned time-stamp roots.

    Raises RecordRefuted if the path does not lead from the checkpoint to the root, TokenRefuted or
    TokenMalformed if any token is false, and TokenUnverifiable if no token leads to a pinned root.
    It says nothing about whether the checkpoint is the ledger's: compare origin, and prove consistency.
    """
    try:
        merkle.verify_inclusion(
            checkpoint_leaf(record.checkpoint.encode()),
            record.index,
            record.batch_size,
            record.path,
            record.root,
        )
    except ProofMalformed as error:
        raise RecordMalformed("anchor.path", error.detail, "/path") from error
    except ProofRefuted as error:
        detail = "the path does not lead from this checkpoint at this index to the stamped root"
        raise RecordRefuted("anchor.path", detail, "/path") from error
    tokens: list[Token] = []
    unverified: list[tuple[str, str]] = []
    for timestamp in record.timestamps:
        try:
            tokens.append(verifier.verify_token(timestamp.token, record.root))
        except TokenUnverifiable as error:
            unverified.append((timestamp.authority, error.detail))
    if not tokens:
        why = "; ".join(f"{name}: {detail}" for name, detail in unverified)
        raise TokenUnverifiable(
            "anchor.timestamps", f"no token leads to a pinned root ({why})", "/timestamps"
        )
    tokens.sort(key=lambda token: token.latest)
    return Verified(
        checkpoint=_read_checkpoint(record.checkpoint),
        gen_time=tokens[0].gen_time,
        latest=tokens[0].latest,
        authority=tokens[0].authority,
        tokens=tuple(tokens),
        unverified=tuple(unverified),
    )


def _read_timestamps(value: Any) -> tuple[Timestamp, ...]:
    timestamps: list[Timestamp] = []
    for i, one in enumerate(_list(value, TIMESTAMPS_MAX, "/timestamps")):
        pointer = f"/timestamps/{i}"
        if type(one) is not dict or one.keys() != {"authority", "token"}:
            _refuse("anchor.timestamp", "wanted are exactly the members authority and token", pointer)
        name = one["authority"]
        if type(name) is not str or not AUTHORITY_NAME.fullmatch(name):
            _refuse("anchor.authority", "not a name of an authority", f"{pointer}/authority")
        timestamps.append(Timestamp(name, _decode(one["token"], f"{pointer}/token", 1, TOKEN_SIZE_MAX)))
    names = [timestamp.authority for timestamp in timestamps]
    if not names or names != sorted(set(names)):
        _refuse("anchor.timestamps", "wanted is at least one, sorted by authority, each once", "/timestamps")
    return tuple(timestamps)


def _read_checkpoint(text: str) -> Checkpoint:
    try:
        return checkpoints.parse_body(text)
    except Malformed as error:
        raise RecordMalformed("anchor.checkpoint", error.detail, "/checkpoint") from error


def _integer(value: Any, low: int, high: int, pointer: str) -> int:
    if type(value) is not int or not low <= value <= high:
        _refuse("anchor.number", f"wanted is a whole number from {low} to {high}", pointer)
    return value


def _list(value: Any, length_max: int, pointer: str) -> Sequence[Any]:
    if type(value) is not list or len(value) > length_max:
        _refuse("anchor.list", f"wanted is a list of at most {length_max}", pointer)
    return value


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(value: Any, pointer: str, size_min: int, size_max: int) -> bytes:
    try:
        data = base64.b64decode(value, validate=True) if type(value) is str else None
    except (binascii.Error, ValueError):
        data = None
    # The last check refuses set bits behind the end of the data, which the decoder lets pass.
    if data is None or not size_min <= len(data) <= size_max or _encode(data) != value:
        size = f"{size_min}" if size_min == size_max else f"{size_min} to {size_max}"
        _refuse("anchor.base64", f"wanted are {size} bytes in standard base64 with padding", pointer)
    return data


def _refuse(code: str, detail: str, pointer: str = "") -> NoReturn:
    raise RecordMalformed(code, detail, pointer)
