"""Step 1 of 9, and back again: a tree's proofs, judged by the partner's own code.

The ledger has the same arithmetic in its own room. This is deliberately a second
writing of it, so that a mistake there is not repeated here by import; both are held
to the same published vectors.
Source: RFC 9162, sections 2.1.1, 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from client.errors import ReceiptMalformed, ReceiptRefuted

HASH_SIZE = 32
PATH_LENGTH_MAX = 64  # a tree of 2**64 leaves; longer is an attack
TREE_SIZE_MAX = 2**63 - 1


def leaf_hash(data: bytes) -> bytes:
    """The hash of one entry: SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _require_hashes(path: Sequence[bytes]) -> None:
    if len(path) > PATH_LENGTH_MAX:
        raise ReceiptMalformed("proof.path", f"{len(path)} hashes; no tree needs more than {PATH_LENGTH_MAX}")
    if any(len(sibling) != HASH_SIZE for sibling in path):
        raise ReceiptMalformed("proof.path", "each hash of a path has 32 bytes")


def _walk_length(index: int, size: int) -> tuple[int, int]:
    """How many siblings the leaf's path has: (below, above) the point where it leaves the right edge.

    Below it, left and right siblings alternate with the index's bits; above it, all are on the left.
    """
    below = (index ^ (size - 1)).bit_length()
    above = (index >> below).bit_count()
    return below, above


def verify_inclusion(
    leaf: bytes, leaf_index: int, tree_size: int, path: Sequence[bytes], root_hash: bytes
) -> None:
    """Check that the tree with this root holds this leaf hash at this index.

    Raises ReceiptMalformed if no tree of that size has such a path, and ReceiptRefuted if
    the path leads to another root. One hash per element of path.
    """
    _require_hashes(path)
    _require_hashes((leaf, root_hash))
    if not 0 <= leaf_index < tree_size <= TREE_SIZE_MAX:
        raise ReceiptMalformed("proof.index", f"index {leaf_index} is not inside a tree of {tree_size}")
    below, above = _walk_length(leaf_index, tree_size)
    if len(path) != below + above:
        raise ReceiptMalformed(
            "proof.path",
            f"leaf {leaf_index} of {tree_size} has a path of {below + above} hashes, not {len(path)}",
        )
    node = leaf
    for level, sibling in enumerate(path):
        on_the_left = level >= below or (leaf_index >> level) & 1
        node = _node_hash(sibling, node) if on_the_left else _node_hash(node, sibling)
    if node != root_hash:
        raise ReceiptRefuted(
            "proof.root", "the path from the entry leads to another root than the signed one"
        )


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the old tree is the beginning of the new one: nothing was altered, only added.

    0 < old_size < new_size; or equal sizes, with equal roots and an empty path.
    Raises ReceiptMalformed or ReceiptRefuted, as verify_inclusion does.
    """
    _require_hashes(path)
    _require_hashes((old_root, new_root))
    if not 0 <= old_size <= new_size <= TREE_SIZE_MAX:
        raise ReceiptMalformed(
            "proof.size", f"a tree of {new_size} cannot have grown out of one of {old_size}"
        )
    if old_size == new_size:
        if path:
            raise ReceiptMalformed("proof.path", "between equal sizes there is nothing to prove")
        if old_root != new_root:
            raise ReceiptRefuted("proof.root", f"two roots for one size, {old_size}")
        return
    if old_size == 0:
        raise ReceiptMalformed("proof.size", "everything grows out of the empty tree: that proves nothing")

    # The old tree's last complete subtree is where both roots are computed from. If it is the whole
    # old tree (a power of two), its hash is the old root and is left out of the path.
    shift = (old_size & -old_size).bit_length() - 1
    below, above = _walk_length(old_size - 1, new_size)
    below -= shift
    whole = old_size == 1 << shift
    expected = below + above + (0 if whole else 1)
    if len(path) != expected:
        raise ReceiptMalformed(
            "proof.path", f"from {old_size} to {new_size} a path has {expected} hashes, not {len(path)}"
        )
    start, siblings = (old_root, path) if whole else (path[0], path[1:])
    index = (old_size - 1) >> shift
    old_node = new_node = start
    for level, sibling in enumerate(siblings):
        if level >= below or (index >> level) & 1:
            old_node = _node_hash(sibling, old_node)
            new_node = _node_hash(sibling, new_node)
        else:
            new_node = _node_hash(new_node, sibling)
    if old_node != old_root:
        raise ReceiptRefuted("proof.root", f"the path does not start from the root seen at size {old_size}")
    if new_node != new_root:
        raise ReceiptRefuted("proof.root", f"the path does not lead to the root signed at size {new_size}")
