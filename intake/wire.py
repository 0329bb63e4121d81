"""Step 5 of 9: what workers and sequencer say to each other, as typed messages in length-prefixed frames.

    worker  -> sequencer   4-byte big-endian length | MessagePack of a list of Submission
    sequencer -> worker    4-byte big-endian length | MessagePack of a list of Outcome

A frame holds whatever a worker had ready. Its outcomes may come in another order and in several frames; each
is known by its submission's number.

Both ends are ours and of one version; the bounds are there so that a mistake ends in an error, not in
memory. Nothing here is stored.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from itertools import accumulate, pairwise

import msgspec

from intake.errors import Busy
from intake.prepare import UNIQUE_KEY_SIZE, Prepared
from keys.errors import Fault, Malformed, NotYet, Refused, Refuted, Unverifiable
from ledger.errors import ClockBehind, ReadOnly
from ledger.store.name_runs import NAME_SIZE
from ledger.store.packing import pack_parts, part_count, unpack

FRAME_SIZE_MAX = 64 * 1024 * 1024  # above the door's 16 MiB of statements, with their names
LENGTH = struct.Struct(">I")
DIGEST_SIZE = 32

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


class Submission(msgspec.Struct, array_like=True, frozen=True):
    """Statements of one request, in columns, so that the sequencer need not touch them one by one.

    count        how many
    digests      SHA-256 of each statement's bytes, joined
    unique_keys  of each, 44 bytes, joined
    parts        the statements as they will be stored: how many, and their bytes packed together
    names        what each names, joined: 12 bytes a name, index key and ordinal, as intake.prepare has it
    name_counts  4 bytes each, little-endian: how many names; empty if there is none at all
    sorts        the different (kind, typ, kid) among them
    sort_of      2 bytes each, little-endian: which of them; empty if there is but one
    keys_seq     the oldest key statement by which one of them was judged
    objections   what was found against some of them, by place
    rollback     all of them or none
    number       comes back with the outcome: an answer that belongs to another question is never believed
    """

    count: int
    digests: bytes
    unique_keys: bytes
    parts: list[tuple[int, bytes]]
    names: bytes
    name_counts: bytes
    sorts: list[tuple[str, str, str]]
    sort_of: bytes
    keys_seq: int
    objections: dict[int, FaultMessage]
    rollback: bool
    number: int = 0

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return True  # also an empty one asks something: whether writing works

    def sort_indexes(self) -> Sequence[int]:
        """Which of `sorts` each statement is of."""
        if not self.sort_of:
            return [0] * self.count
        return struct.unpack(f"<{self.count}H", self.sort_of)

    def key_list(self) -> list[bytes]:
        return _cut(self.unique_keys, UNIQUE_KEY_SIZE)

    def digest_list(self) -> list[bytes]:
        return _cut(self.digests, DIGEST_SIZE)

    def names_of_each(self) -> list[bytes]:
        """What each statement names, packed."""
        if self.count == 1:
            return [self.names]
        if not self.name_counts:
            return [b""] * self.count
        counts = struct.unpack(f"<{self.count}I", self.name_counts)
        ends = list(accumulate((NAME_SIZE * count for count in counts), initial=0))
        return [self.names[start:end] for start, end in pairwise(ends)]

    def statements(self) -> list[bytes]:
        """The statements themselves. Unpacks them: for those that must be looked at again."""
        return [raw for _, body in self.parts for raw in unpack(body) if raw is not None]


class ItemResult(msgspec.Struct, array_like=True, frozen=True):
    """What became of one statement. digest is the first statement's if it is a duplicate."""

    status: str
    seq: int | None = None
    digest: bytes | None = None
    fault: FaultMessage | None = None


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """What became of a submission; or error, and then nothing of it is in the ledger.

    first_seq, digests  where all were appended: the first one's position, and the digests of all, joined
    each                where it is not so: one result a statement
    """

    first_seq: int = 0
    digests: bytes = b""
    each: list[ItemResult] = []
    checkpoint: bytes = b""
    tree_size: int = 0
    error: FaultMessage | None = None
    number: int = 0

    @property
    def count(self) -> int:
        """How many statements it speaks of."""
        return len(self.each) or len(self.digests) // DIGEST_SIZE

    @property
    def results(self) -> list[ItemResult]:
        """One result for each statement, in order. Made when asked for."""
        if self.each:
            return self.each
        digests = _cut(self.digests, DIGEST_SIZE)
        return [ItemResult(APPENDED, seq, digest) for seq, digest in enumerate(digests, self.first_seq)]


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


def submission_of(prepared: Sequence[Prepared], *, rollback: bool, number: int = 0) -> Submission:
    """The submission of these statements. What can be done to each before their order is known is done here.

    About 6 µs a statement of 1 KB in large batches, most of it for packing and hashing.
    """
    raws = [p.raw for p in prepared]
    names = [p.names for p in prepared]
    sorts: dict[tuple[str, str, str], int] = {}
    sort_of = [sorts.setdefault((p.kind, p.typ, p.kid), len(sorts)) for p in prepared]
    count = len(raws)
    return Submission(
        count=count,
        digests=b"".join([sha256(raw).digest() for raw in raws]),
        unique_keys=b"".join([p.unique_key for p in prepared]),
        parts=pack_parts(raws),
        names=b"".join(names),
        name_counts=struct.pack(f"<{count}I", *[len(of) // NAME_SIZE for of in names]) if any(names) else b"",
        sorts=list(sorts),
        sort_of=struct.pack(f"<{count}H", *sort_of) if len(sorts) > 1 else b"",
        keys_seq=min((p.keys_seq for p in prepared), default=0),
        objections={
            place: fault_message(p.objection) for place, p in enumerate(prepared) if p.objection is not None
        },
        rollback=rollback,
        number=number,
    )


_encoder = msgspec.msgpack.Encoder()
_submissions = msgspec.msgpack.Decoder(list[Submission])
_outcomes = msgspec.msgpack.Decoder(list[Outcome])


def encode_frame(submissions: Sequence[Submission]) -> bytes:
    """One frame of any number of submissions. Raises Busy if they are more than a frame may hold."""
    return _frame(submissions)


def encode_answer(outcomes: Sequence[Outcome]) -> bytes:
    """One frame that answers them, in their order."""
    return _frame(outcomes)


def decode_frame(body: bytes) -> list[Submission]:
    """What a frame holds behind its length. Raises msgspec.MsgspecError or ValueError."""
    submissions = _submissions.decode(body)
    for submission in submissions:
        _require_shape(submission)
    return submissions


def decode_answer(body: bytes) -> list[Outcome]:
    """What an answer holds behind its length. Raises msgspec.MsgspecError."""
    return _outcomes.decode(body)


def _frame(messages: Sequence[Submission] | Sequence[Outcome]) -> bytes:
    body = _encoder.encode(messages)
    if len(body) > FRAME_SIZE_MAX:
        raise Busy("intake.frame", f"{len(body)} bytes in one message; at most {FRAME_SIZE_MAX}")
    return LENGTH.pack(len(body)) + body


def _require_shape(submission: Submission) -> None:
    """Columns of unequal length would give one statement the key of another."""
    count = submission.count
    if (
        len(submission.digests) != DIGEST_SIZE * count
        or len(submission.unique_keys) != UNIQUE_KEY_SIZE * count
        or sum([held for held, _ in submission.parts]) != count
        # One statement too many in a part would shift all its neighbours.
        or [part_count(body) for _, body in submission.parts] != [held for held, _ in submission.parts]
        or len(submission.name_counts) not in (0, 4 * count)
        or len(submission.sort_of) != (2 * count if len(submission.sorts) > 1 else 0)
        or (count > 0) != bool(submission.sorts)
    ):
        raise ValueError("the columns of a submission have different lengths")


def _cut(joined: bytes, size: int) -> list[bytes]:
    if len(joined) == size:
        return [joined]
    return [joined[at : at + size] for at in range(0, len(joined), size)]
