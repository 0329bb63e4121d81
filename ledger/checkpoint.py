"""Step 6 of 9: checkpoints. After ledger.merkle; signed and opened by keys.note.

A checkpoint is the log's claim about itself at one size, three lines of text that the log signs:

    ledger.example/epcis                            origin: which log
    3                                               size: how many entries
    ZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=    root of the tree over them

Promise: what opens was signed by a key of the log, for this origin, in its one spelling. Whether others
saw the same checkpoint is for their cosignatures to say. Source: C2SP tlog-checkpoint.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass

from keys import note
from keys.note import NoteSigner, NoteVerifier
from ledger.errors import NotInLog, ProofMalformed, ProofRefuted
from ledger.merkle import EMPTY_ROOT, HASH_SIZE, TREE_SIZE_MAX

ORIGIN_SIZE_MAX = 255  # bytes; a cosignature counts its origin in one byte

# Neither a plus sign nor any space: an origin is the name of a key as well.
_ORIGIN = re.compile(r"[^\s+\x00-\x1f\x7f]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_ROOT = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log's claim about itself at one size."""

    origin: str  # "log.example/2026": no spaces, no plus sign
    tree_size: int
    root_hash: bytes  # 32 bytes


def render_body(checkpoint: Checkpoint) -> str:
    """Write the three lines that are signed, each with its newline."""
    _require_claim(checkpoint)
    root = b2a_base64(checkpoint.root_hash, newline=False).decode()
    return f"{checkpoint.origin}\n{checkpoint.tree_size}\n{root}\n"


def parse_body(text: str) -> Checkpoint:
    """Read the three lines, or raise ProofMalformed.

    A fourth line refuses: cosignatures of some types do not cover it, so nothing may be said there.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise ProofMalformed("checkpoint.lines", "a checkpoint of ours has exactly three lines of text")
    origin, size, root, _ = lines
    if not _SIZE.fullmatch(size):
        raise ProofMalformed("checkpoint.size", "the second line is not a decimal size without leading zeros")
    if not _ROOT.fullmatch(root):
        raise ProofMalformed("checkpoint.root", "the third line is not a root hash in base64")
    checkpoint = Checkpoint(origin=origin, tree_size=int(size), root_hash=a2b_base64(root))
    _require_claim(checkpoint)
    return checkpoint


def sign(checkpoint: Checkpoint, *signers: NoteSigner) -> bytes:
    """Sign the claim with the log's keys. Whoever calls this vouches that it follows all earlier ones."""
    return note.sign(render_body(checkpoint), *signers)


def open_checkpoint(raw: bytes, verifiers: Sequence[NoteVerifier], origin: str) -> Checkpoint:
    """Read a signed checkpoint and believe it.

    verifiers  keys that the caller pinned: the log's, and witnesses' if their lines are to be held to
               their keys as well; a witness's line alone opens nothing

    Raises Malformed; Refuted if a known key's line is bad or the log signed for another origin; and
    Unverifiable if no key of the log that we know has signed.
    """
    opened = note.open_note(raw, verifiers)
    log_keys = {(v.name, v.key_id) for v in verifiers if v.type == note.TYPE_ED25519}
    if not any((line.name, line.key_id) in log_keys for line in opened.verified):
        raise NotInLog("checkpoint.unsigned", "witnesses signed this checkpoint, but no known key of the log")
    checkpoint = parse_body(opened.text)
    if checkpoint.origin != origin:
        raise ProofRefuted(
            "checkpoint.origin", f"the checkpoint speaks for {checkpoint.origin!r}, not for {origin!r}"
        )
    return checkpoint


def parse_unverified(raw: bytes) -> Checkpoint:
    """Read a signed checkpoint and believe nothing: for showing it, or for choosing what to ask next."""
    return parse_body(note.parse(raw).text)


def _require_claim(checkpoint: Checkpoint) -> None:
    origin, size, root = checkpoint.origin, checkpoint.tree_size, checkpoint.root_hash
    if len(origin.encode("utf-8", "replace")) > ORIGIN_SIZE_MAX or not _ORIGIN.fullmatch(origin):
        raise ProofMalformed(
            "checkpoint.origin", f"an origin has 1 to {ORIGIN_SIZE_MAX} bytes, no space and no plus"
        )
    if not 0 <= size <= TREE_SIZE_MAX:
        raise ProofMalformed("checkpoint.size", f"the size is not within 0..{TREE_SIZE_MAX}")
    if len(root) != HASH_SIZE:
        raise ProofMalformed("checkpoint.root", f"the root hash has {len(root)} bytes, not {HASH_SIZE}")
    if size == 0 and root != EMPTY_ROOT:
        raise ProofMalformed(
            "checkpoint.root", "the empty log has one root, SHA-256 of nothing; not this one"
        )
