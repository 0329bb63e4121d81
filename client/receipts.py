"""Step 1 of 9, and back again: the receipt. After the ledger committed, before the outbox lets go.

A receipt is a C2SP tlog-proof@v1 with the entry's bytes as `extra`. It is believed only if
all of this holds: the entry is canonical, its leaf hash leads through the path to a root,
that root stands in a checkpoint of our log, the log's pinned key signed the checkpoint, the
entry's `seq` is the proof's index, and its `statement` is the digest of what we sent.

This is the partner's own second check. It shares keys.note with the ledger, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from client import merkle
from client.errors import ReceiptMalformed, ReceiptRefuted, ReceiptUnverifiable
from keys import envelope, note
from keys.errors import Fault, Malformed, Refuted, Unverifiable

PROOF_HEADER = b"c2sp.org/tlog-proof@v1"
RECEIPT_SIZE_MAX = 65_536  # 64 hashes, an entry and a checkpoint with dozens of cosignatures fit well below
ENTRY_SIZE_MAX = 1024
CHECKPOINT_SIZE_MAX = 32_768

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_ENTRY = re.compile(
    rb'\{"keys":(0|[1-9][0-9]{0,15}),"kind":"([a-z][a-z0-9-]{0,31})","prev":"([A-Za-z0-9+/]{43}=)",'
    rb'"recorded_at":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)",'
    rb'"seq":(0|[1-9][0-9]{0,15}),"statement":"([A-Za-z0-9+/]{43}=)"\}'
)
_KIND_OF_TYP = {
    "genesis+jws": "genesis",
    "key+jws": "key",
    "policy+jws": "key",
    "anchor+jws": "anchor",
    "erasure+jws": "erasure",
}
_NO_PREV = base64.b64encode(bytes(32))


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says about one statement: where, when, and in which chain."""

    seq: int
    kind: str
    recorded_at: datetime
    statement_digest: bytes  # SHA-256 of the statement's exact bytes
    keys_seq: int
    prev: bytes


@dataclass(frozen=True, slots=True)
class SeenCheckpoint:
    """A checkpoint whose log signature was checked with a pinned key."""

    origin: str
    tree_size: int
    root_hash: bytes
    note: bytes  # the signed note, exactly as received


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt that verified."""

    entry: Entry
    checkpoint: SeenCheckpoint

    @property
    def seq(self) -> int:
        """The statement's position in the log."""
        return self.entry.seq

    @property
    def tree_size(self) -> int:
        """How many entries the checkpoint covers."""
        return self.checkpoint.tree_size

    @property
    def root_hash(self) -> bytes:
        """The root that the checkpoint signs."""
        return self.checkpoint.root_hash


def kind_of_typ(typ: str) -> str:
    """The kind of entry that a statement of this class belongs in."""
    return _KIND_OF_TYP.get(typ, "event")


def _decode_base64(text: bytes | str, code: str) -> bytes:
    """Standard base64 with padding, and only the one spelling of each value."""
    raw = text.encode() if isinstance(text, str) else text
    try:
        data = base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError) as e:
        raise ReceiptMalformed(code, "this is not standard base64 with padding") from e
    if base64.b64encode(data) != raw:
        raise ReceiptMalformed(code, "base64 with stray trailing bits")
    return data


def _decode_hash(text: bytes | str, code: str) -> bytes:
    data = _decode_base64(text, code)
    if len(data) != merkle.HASH_SIZE:
        raise ReceiptMalformed(code, f"a hash has 32 bytes, this has {len(data)}")
    return data


def _decode_decimal(text: str, code: str) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) > merkle.TREE_SIZE_MAX:
        raise ReceiptMalformed(code, "a size or index is a plain decimal below 2**63, without leading zeros")
    return int(text)


def parse_entry(data: bytes) -> Entry:
    """Read an entry's canonical bytes; any other spelling is no entry."""
    matched = _ENTRY.fullmatch(data) if len(data) <= ENTRY_SIZE_MAX else None
    if matched is None:
        raise ReceiptMalformed("receipt.entry", "the extra data is not the canonical bytes of an entry")
    keys_seq, kind, prev, recorded_at, seq, digest = matched.groups()
    try:
        moment = datetime.strptime(recorded_at.decode(), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError as e:
        raise ReceiptMalformed("receipt.entry", "recorded_at is no moment in time") from e
    if int(seq) > 2**53 - 1 or int(keys_seq) > max(int(seq) - 1, 0):
        raise ReceiptMalformed("receipt.entry", "the entry's seq and keys do not fit together")
    if int(seq) == 0 and prev != _NO_PREV:
        raise ReceiptMalformed("receipt.entry", "nothing stands before entry 0, and it names something")
    return Entry(
        seq=int(seq),
        kind=kind.decode(),
        recorded_at=moment,
        statement_digest=_decode_hash(digest, "receipt.entry"),
        keys_seq=int(keys_seq),
        prev=_decode_hash(prev, "receipt.entry"),
    )


@dataclass(frozen=True, slots=True)
class _Proof:
    extra: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes


def _parse_proof(raw: bytes) -> _Proof:
    if len(raw) > RECEIPT_SIZE_MAX:
        raise ReceiptMalformed("receipt.size", f"{len(raw)} bytes; a receipt has at most {RECEIPT_SIZE_MAX}")
    top, blank, checkpoint = raw.partition(b"\n\n")
    lines = top.split(b"\n")
    if not blank or lines[0] != PROOF_HEADER:
        raise ReceiptMalformed("receipt.header", "this is not a tlog-proof@v1")
    if len(lines) < 3 or not lines[1].startswith(b"extra "):
        raise ReceiptMalformed("receipt.extra", "a receipt carries its entry in an `extra` line")
    if not lines[2].startswith(b"index "):
        raise ReceiptMalformed("receipt.index", "the line after `extra` names the index")
    try:
        index_text = lines[2][len(b"index ") :].decode("ascii")
    except UnicodeDecodeError as e:
        raise ReceiptMalformed("receipt.index", "the index is not a decimal") from e
    if len(lines) - 3 > merkle.PATH_LENGTH_MAX:
        raise ReceiptMalformed("receipt.path", f"more than {merkle.PATH_LENGTH_MAX} hashes in a path")
    return _Proof(
        extra=_decode_base64(lines[1][len(b"extra ") :], "receipt.extra"),
        index=_decode_decimal(index_text, "receipt.index"),
        path=tuple(_decode_hash(line, "receipt.path") for line in lines[3:]),
        checkpoint=checkpoint,
    )


class ReceiptChecker:
    """Judges receipts and checkpoints of one log by keys that were pinned beforehand.

    verifiers  the log's keys, as the operator gave them to us by another way than the server
    origin     the log's name; a good signature under another origin is no pass
    """

    def __init__(self, verifiers: Sequence[note.NoteVerifier], origin: str) -> None:
        self._verifiers = tuple(verifiers)
        self._origin = origin
        # One answer carries a thousand receipts under one checkpoint: its signature is checked once.
        self._last_opened: SeenCheckpoint | None = None

    def open_checkpoint(self, raw: bytes) -> SeenCheckpoint:
        """Check a signed checkpoint: signature, origin, exact three lines.

        Raises ReceiptMalformed, ReceiptRefuted (a pinned key's signature is bad) or
        ReceiptUnverifiable (no pinned key signed it, or it is another log's).
        """
        if self._last_opened is not None and self._last_opened.note == raw:
            return self._last_opened
        if len(raw) > CHECKPOINT_SIZE_MAX:
            raise ReceiptMalformed("checkpoint.size", f"a checkpoint has at most {CHECKPOINT_SIZE_MAX} bytes")
        try:
            opened = note.open_note(raw, self._verifiers)
        except Refuted as e:
            raise ReceiptRefuted("checkpoint.signature", e.detail) from e
        except Unverifiable as e:
            raise ReceiptUnverifiable("checkpoint.key", e.detail) from e
        except Malformed as e:
            raise ReceiptMalformed("checkpoint.note", e.detail) from e
        lines = opened.text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise ReceiptMalformed("checkpoint.body", "a checkpoint has three lines: origin, size, root")
        if lines[0] != self._origin:
            raise ReceiptUnverifiable(
                "checkpoint.origin", f"this is the log {lines[0]!r}, not ours, which is {self._origin!r}"
            )
        self._last_opened = SeenCheckpoint(
            origin=lines[0],
            tree_size=_decode_decimal(lines[1], "checkpoint.body"),
            root_hash=_decode_hash(lines[2], "checkpoint.body"),
            note=raw,
        )
        return self._last_opened

    def check(self, raw: bytes, *, statement_digest: bytes, kind: str = "event") -> Receipt:
        """Check that the log recorded the statement with this digest.

        Raises ReceiptMalformed, ReceiptRefuted or ReceiptUnverifiable; nothing of a receipt may
        be used before this returns, for `extra` is nobody's word until its leaf hash verifies.
        """
        proof = _parse_proof(raw)
        checkpoint = self.open_checkpoint(proof.checkpoint)
        merkle.verify_inclusion(
            merkle.leaf_hash(proof.extra), proof.index, checkpoint.tree_size, proof.path, checkpoint.root_hash
        )
        entry = parse_entry(proof.extra)
        if entry.seq != proof.index:
            raise ReceiptRefuted(
                "receipt.seq", f"the entry says it is number {entry.seq}, the proof says {proof.index}"
            )
        if entry.statement_digest != statement_digest:
            raise ReceiptRefuted("receipt.statement", "the entry at this position is for another statement")
        if entry.kind != kind:
            raise ReceiptRefuted(
                "receipt.kind", f"the statement is of kind {kind!r}, the entry says {entry.kind!r}"
            )
        return Receipt(entry=entry, checkpoint=checkpoint)


def verify_receipt(
    raw: bytes, *, statement: bytes, origin: str, verifiers: Sequence[note.NoteVerifier]
) -> Receipt:
    """Check one receipt for one statement, both as exact bytes; raises as ReceiptChecker.check() does."""
    parsed = envelope.parse(statement)
    return ReceiptChecker(verifiers, origin).check(
        raw, statement_digest=parsed.digest, kind=kind_of_typ(parsed.typ)
    )


def parse_log_keys(vkeys: Sequence[str]) -> tuple[note.NoteVerifier, ...]:
    """The pinned verifier keys, from their text form (`name+hash+base64`)."""
    verifiers = []
    for vkey in vkeys:
        try:
            verifier = note.parse_vkey(vkey.strip())
        except Fault as e:
            raise ReceiptMalformed(
                "log-key", f"{vkey!r} is no verifier key (name+hash+base64): {e.detail}"
            ) from e
        # A witness's cosignature says that it saw a checkpoint, not that the log stands by it.
        if verifier.type != note.TYPE_ED25519:
            raise ReceiptMalformed("log-key", f"{vkey!r} is a witness's key, not a log's")
        verifiers.append(verifier)
    return tuple(verifiers)
