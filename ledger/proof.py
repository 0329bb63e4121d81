"""Step 6 of 9: proofs that travel. After ledger.checkpoint; what a partner keeps and a verifier reads.

    c2sp.org/tlog-proof@v1
    extra <base64>            in our receipts: the entry; proves nothing until its leaf hash verifies
    index 1
    <base64>                  the inclusion path, nearest the leaf first
    <base64>

    ledger.example/epcis      the checkpoint with all its signature lines, verbatim
    3
    …

Promise: a receipt that verifies says that this statement is the log's entry at this index, under a root
that the log has signed. It does not say that the log showed others the same root (that takes
witnesses), nor that the signer's key was good (that takes the key history). Source: C2SP tlog-proof.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass

from keys.note import NoteVerifier
from ledger import entry as entries
from ledger import merkle
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.entry import Entry
from ledger.errors import ProofMalformed, ProofRefuted

HEADER = b"c2sp.org/tlog-proof@v1"
EXTRA_SIZE_MAX = 32_768  # widespread readers take lines up to 64 KiB, and base64 adds a third
PROOF_SIZE_MAX = 1_048_576  # extra, a path of 64 hashes, and a checkpoint with all the lines a note may have

_EXTRA = re.compile(
    rb"extra ((?:[A-Za-z0-9+/]{4})*"
    rb"(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==))"
)
_INDEX = re.compile(rb"index (0|[1-9][0-9]{0,18})")
_HASH = re.compile(rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")


@dataclass(frozen=True, slots=True)
class TlogProof:
    """An inclusion proof with the checkpoint it leads to. Nothing in it is believed yet."""

    extra: bytes | None  # covered by no signature; never empty
    index: int
    path: tuple[bytes, ...]  # 32 bytes each, nearest the leaf first
    checkpoint: bytes  # the signed note, verbatim


def render(proof: TlogProof) -> bytes:
    """Write the proof's one spelling."""
    _require_bounds(proof)
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(b"extra " + b2a_base64(proof.extra, newline=False))
    lines.append(b"index %d" % proof.index)
    lines.extend(b2a_base64(sibling, newline=False) for sibling in proof.path)
    return b"\n".join(lines) + b"\n\n" + proof.checkpoint


def parse(raw: bytes) -> TlogProof:
    """Read a proof, or raise ProofMalformed; render(parse(b)) == b. The checkpoint is not looked into."""
    if len(raw) > PROOF_SIZE_MAX:
        raise ProofMalformed(
            "proof.size", f"the proof has {len(raw)} bytes; at most {PROOF_SIZE_MAX} are read"
        )
    head, blank, checkpoint = raw.partition(b"\n\n")
    if not blank:
        raise ProofMalformed("proof.lines", "no empty line stands before a checkpoint")
    lines = head.split(b"\n")
    if lines.pop(0) != HEADER:
        raise ProofMalformed("proof.header", f"the first line is not {HEADER.decode()}")
    extra = None
    if lines and lines[0].startswith(b"extra "):
        extra_match = _EXTRA.fullmatch(lines.pop(0))
        if extra_match is None:
            raise ProofMalformed("proof.extra", "extra is not base64 in its one spelling, or is empty")
        extra = a2b_base64(extra_match[1])
    index_match = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if index_match is None:
        raise ProofMalformed("proof.index", "there is no line 'index' with a decimal without leading zeros")
    if len(lines) > merkle.PATH_LENGTH_MAX or not all(_HASH.fullmatch(line) for line in lines):
        raise ProofMalformed("proof.path", "the path is not at most 64 lines with a hash in base64 each")
    proof = TlogProof(
        extra=extra,
        index=int(index_match[1]),
        path=tuple(a2b_base64(line) for line in lines),
        checkpoint=checkpoint,
    )
    _require_bounds(proof)
    return proof


def verify(
    proof: TlogProof, verifiers: Sequence[NoteVerifier], origin: str, *, leaf_hash: bytes
) -> Checkpoint:
    """Check that the log with this origin holds this leaf at the proof's index; give its checkpoint.

    leaf_hash  computed by the caller from what he holds himself, never taken from the proof

    Raises what open_checkpoint() and verify_inclusion() raise. Witness quorums are the caller's matter.
    """
    checkpoint = open_checkpoint(proof.checkpoint, verifiers, origin)
    merkle.verify_inclusion(leaf_hash, proof.index, checkpoint.tree_size, proof.path, checkpoint.root_hash)
    return checkpoint


def verify_receipt(
    raw: bytes, verifiers: Sequence[NoteVerifier], origin: str, *, statement_digest: bytes
) -> tuple[Entry, Checkpoint]:
    """Check that the log holds an entry for this statement; give the entry and the checkpoint.

    statement_digest  SHA-256 of the statement's exact bytes, by the caller's own computation

    Raises what verify() raises; ProofMalformed or EntryMalformed if there is no entry in `extra`; and
    ProofRefuted if the proven entry stands elsewhere or is about another statement.
    """
    proof = parse(raw)
    if proof.extra is None:
        raise ProofMalformed("receipt.extra", "this proof carries no entry in extra, so it is no receipt")
    # Members of the entry mean nothing before its hash has led to a signed root.
    checkpoint = verify(proof, verifiers, origin, leaf_hash=entries.leaf_hash(proof.extra))
    entry = entries.parse(proof.extra)
    if entry.seq != proof.index:
        raise ProofRefuted("receipt.seq", f"the entry at index {proof.index} calls itself {entry.seq}")
    if entry.statement != statement_digest:
        raise ProofRefuted(
            "receipt.statement",
            f"the entry is for statement {entry.statement.hex()}, not {statement_digest.hex()}",
        )
    return entry, checkpoint


def _require_bounds(proof: TlogProof) -> None:
    if not 0 <= proof.index < merkle.TREE_SIZE_MAX:
        raise ProofMalformed("proof.index", f"index {proof.index} is in no tree")
    if proof.extra is not None and not 1 <= len(proof.extra) <= EXTRA_SIZE_MAX:
        raise ProofMalformed("proof.extra", f"extra has 1 to {EXTRA_SIZE_MAX} bytes, not {len(proof.extra)}")
    if len(proof.path) > merkle.PATH_LENGTH_MAX or any(len(h) != merkle.HASH_SIZE for h in proof.path):
        raise ProofMalformed("proof.path", "the path is not at most 64 hashes of 32 bytes")
    if not proof.checkpoint:
        raise ProofMalformed("proof.checkpoint", "the proof ends before its checkpoint")
