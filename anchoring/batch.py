"""Step 7 of 9: one time-stamp for many logs. The only importer of merkletools.

A batch is the RFC 6962 tree over checkpoints of several logs, so that one token serves them all.
merkletools makes it: its own hashing of inner nodes has no prefix, by which an inner node could pass for
a leaf, so the hash function is replaced. What it makes is checked by ledger.merkle, here and everywhere:
merkletools' own validate_proof() binds neither index nor size.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anchoring.record import BATCH_SIZE_MAX, checkpoint_leaf
from ledger import merkle

with warnings.catch_warnings():
    # It misses a package for hash functions that nobody here asks for.
    warnings.filterwarnings("ignore", message="sha3", category=UserWarning)
    from merkletools import MerkleTools

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["Batch", "build", "checkpoint_leaf"]


@dataclass(frozen=True, slots=True)
class Batch:
    """A root to be time-stamped, and for each text the path that leads to it."""

    root: bytes  # 32 bytes
    paths: tuple[tuple[bytes, ...], ...]  # one per text, sibling hashes nearest the leaf first


def build(texts: Sequence[bytes]) -> Batch:
    """The tree over these checkpoint texts, in this order. At least one, at most BATCH_SIZE_MAX."""
    if not 1 <= len(texts) <= BATCH_SIZE_MAX:
        raise ValueError(f"a batch of {len(texts)} checkpoints; 1 to {BATCH_SIZE_MAX} go together")
    leaves = [checkpoint_leaf(text) for text in texts]
    tree = MerkleTools(hash_type="sha256")
    tree.hash_function = _hash_node
    tree.add_leaf([leaf.hex() for leaf in leaves])
    tree.make_tree()
    batch = Batch(
        root=bytes.fromhex(tree.get_merkle_root()),
        paths=tuple(_path(tree, index) for index in range(len(leaves))),
    )
    # A wrong path would be found only by an auditor, years later, when nothing can be stamped again.
    for index, path in enumerate(batch.paths):
        merkle.verify_inclusion(leaves[index], index, len(leaves), path, batch.root)
    return batch


def _hash_node(children: bytes) -> _Hash:
    """SHA-256(0x01 || left || right), in the shape merkletools wants it."""
    return hashlib.sha256(b"\x01" + children)


def _path(tree: MerkleTools, index: int) -> tuple[bytes, ...]:
    # Each step is {"left": hex} or {"right": hex}; index and size already tell the side.
    return tuple(bytes.fromhex(sibling) for step in tree.get_proof(index) for sibling in step.values())
