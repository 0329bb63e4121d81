"""Step 5 of 9: what workers and sequencer say to each other, as typed messages in length-prefixed frames.

    worker  -> sequencer   4-byte big-endian length | MessagePack of Submission
    sequencer -> worker    4-byte big-endian length | MessagePack of Outcome

Both ends are ours and of one version; the bounds are there so that a mistake ends in an error, not in
memory. Nothing here is stored.
"""

from __future__ import annotations

import struct

import msgspec

from intake.errors import Busy
from intake.prepare import Prepared
from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable
from ledger.errors import ClockBehind, ReadOnly

FRAME_SIZE_MAX = 64 * 1024 * 1024  # above the door's 16 MiB of statements, with their names
LENGTH = struct.Struct(">I")

APPENDED = "appended"
DUPLICATE = "duplicate"
REFUSED = "refused"
ROLLED_BACK = "rolled-back"

# The cause of a fault survives the socket by name: a door must know refuted from unverifiable.
_CAUSES: dict[str, type[Fault]] = {
    "malformed": Malformed,
    "refuted": Refuted,
    "unverifiable": Unverifiable,
    "busy": Busy,
    "clock-behind": ClockBehind,
    "read-only": ReadOnly,
    "not-yet": NotYet,
    "refused": Refused,
    "fault": Fault,
}


class FaultMessage(msgspec.Struct, array_like=True, frozen=True):
    cause: str
    code: str
    detail: str
    pointer: str


class Item(msgspec.Struct, array_like=True, frozen=True):
    raw: bytes
    typ: str
    kind: str
    kid: str
    party: str
    keys_seq: int
    unique_key: bytes
    names: tuple[tuple[int, int], ...]
    objection: FaultMessage | None


class Submission(msgspec.Struct, array_like=True, frozen=True):
    """Statements that came in one request. rollback: all of them or none.

    number  comes back with the outcome: an answer that belongs to another question is never believed
    """

    items: list[Item]
    rollback: bool
    number: int = 0


class ItemResult(msgspec.Struct, array_like=True, frozen=True):
    """What became of one statement. digest is the first statement's if it is a duplicate."""

    status: str
    seq: int | None = None
    digest: bytes | None = None
    fault: FaultMessage | None = None


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """results in the order of items; or error, and then nothing of the submission is in the ledger."""

    results: list[ItemResult] = []
    checkpoint: bytes = b""
    tree_size: int = 0
    error: FaultMessage | None = None
    number: int = 0


def fault_message(fault: Fault) -> FaultMessage:
    """A fault as it travels: its most exact known cause, and its own words."""
    cause = next(name for name, kind in _CAUSES.items() if isinstance(fault, kind))
    return FaultMessage(cause, fault.code, fault.detail, fault.pointer)


def fault_of(message: FaultMessage) -> Fault:
    """The other way. An unknown cause is a plain Fault."""
    kind = _CAUSES.get(message.cause, Fault)
    if kind is Busy:
        return Busy(message.code, message.detail)
    return kind(message.code, message.detail, message.pointer)


def item_of(prepared: Prepared) -> Item:
    return Item(
        prepared.raw,
        prepared.typ,
        prepared.kind,
        prepared.kid,
        prepared.party,
        prepared.keys_seq,
        prepared.unique_key,
        prepared.names,
        None if prepared.objection is None else fault_message(prepared.objection),
    )


_encoder = msgspec.msgpack.Encoder()
_submissions = msgspec.msgpack.Decoder(Submission)
_outcomes = msgspec.msgpack.Decoder(Outcome)


def encode(message: Submission | Outcome) -> bytes:
    """One frame. Raises Busy if the message is larger than a frame may be."""
    body = _encoder.encode(message)
    if len(body) > FRAME_SIZE_MAX:
        raise Busy("intake.frame", f"{len(body)} bytes in one submission; at most {FRAME_SIZE_MAX}")
    return LENGTH.pack(len(body)) + body


def decode_submission(body: bytes) -> Submission:
    return _submissions.decode(body)


def decode_outcome(body: bytes) -> Outcome:
    return _outcomes.decode(body)
