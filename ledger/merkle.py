"""Step 6 of 9: the tree. Below everything else in ledger/; takes and returns bytes and integers.

A *leaf hash* is SHA-256(0x00 || data), a *node* SHA-256(0x01 || left || right), so that no node can
pass for a leaf. A tree of n leaves is split at the largest power of two below n:

    size 7            root
                   /        \\
              [0,4)          [4,7)          a subtree is named by the leaves [start, end)
             /     \\        /     \\         that it covers; it is *perfect* if it has
         [0,2)   [2,4)   [4,6)    6         2**h leaves
         / \\     / \\     / \\
        0   1   2   3   4   5

An *inclusion path* holds the siblings on the way from a leaf to the root; a *consistency path* holds
what shows that an old tree is the beginning of a newer one.

Promise: under one root and size, a path is accepted for one leaf at one index. The size must come from
where the root comes from, a signed checkpoint: some paths fit two sizes. Source: RFC 9162, section 2.1
(the tree of RFC 6962).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from ledger.errors import NotInLog, ProofMalformed, ProofRefuted

HASH_SIZE = 32
TREE_SIZE_MAX = 2**63 - 1  # C2SP keeps sizes in 63 bits, so that signed and unsigned readers agree
PATH_LENGTH_MAX = 64  # a tree of 2**64 leaves; longer is an attack
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash one leaf's data."""
    return sha256(b"\x00" + data).digest()


def leaf_hashes(leaves: Iterable[bytes]) -> list[bytes]:
    """Hash the data of many leaves."""
    return [sha256(b"\x00" + data).digest() for data in leaves]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two neighbours into their parent."""
    return sha256(b"\x01" + left + right).digest()


def _parents(hashes: Sequence[bytes]) -> list[bytes]:
    """Hash neighbours in pairs; a last one without a neighbour is left out."""
    pairs = iter(hashes)
    # One comprehension without a call of our own: this line is where a big tree spends its time.
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]


def root_hash(leaf_hashes: Sequence[bytes]) -> bytes:
    """Hash a whole tree held in memory. One hash per leaf."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level: Sequence[bytes] = leaf_hashes
    while len(level) > 1:
        above = _parents(level)
        if len(level) & 1:
            # A node without a sibling goes up unhashed: the same tree as splitting from the top.
            above.append(level[-1])
        level = above
    return level[0]


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Name the subtrees [start, end) whose hashes are the inclusion path, nearest the leaf first.

    Raises NotInLog unless 0 <= index < size <= TREE_SIZE_MAX.
    """
    if not 0 <= index < size <= TREE_SIZE_MAX:
        raise NotInLog("merkle.index", f"index {index} is not in a tree of size {size}")
    start, end = 0, size
    ranges: list[tuple[int, int]] = []
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    ranges.reverse()
    return ranges


def consistency_ranges(old_size: int, new_size: int) -> list[tuple[int, int]]:
    """Name the subtrees [start, end) whose hashes are the consistency path, in the RFC's order.

    Raises NotInLog unless 0 < old_size <= new_size <= TREE_SIZE_MAX: everything is consistent with the
    empty tree, so a proof from it would prove nothing.
    """
    if not 0 < old_size <= new_size <= TREE_SIZE_MAX:
        raise NotInLog(
            "merkle.size", f"there is no consistency proof from size {old_size} to size {new_size}"
        )
    start, end = 0, new_size
    ranges: list[tuple[int, int]] = []
    while end != old_size:
        split = start + _split(end - start)
        if old_size <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    if start > 0:
        # Left out only where the old root itself is the subtree, which the verifier knows already.
        ranges.append((start, end))
    ranges.reverse()
    return ranges


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Prove from leaves in memory that the leaf at this index is in the tree. One hash per leaf."""
    return [root_hash(leaf_hashes[start:end]) for start, end in inclusion_ranges(index, len(leaf_hashes))]


def consistency_path(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """Prove from leaves in memory that the first old_size of them were a tree. One hash per leaf."""
    ranges = consistency_ranges(old_size, len(leaf_hashes))
    return [root_hash(leaf_hashes[start:end]) for start, end in ranges]


def verify_inclusion(
    leaf_hash: bytes, leaf_index: int, tree_size: int, path: Sequence[bytes], root_hash: bytes
) -> None:
    """Check that the tree with this root holds this leaf at this index.

    leaf_hash   32 bytes, from entry.leaf_hash(); never the entry itself
    leaf_index  0 <= leaf_index < tree_size <= TREE_SIZE_MAX
    path        sibling hashes of 32 bytes, nearest the leaf first

    Raises ProofMalformed if no tree of that size has such a path, and ProofRefuted if the path leads
    to another root. One hash per element of path; no I/O.
    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= leaf_index < tree_size <= TREE_SIZE_MAX:
        raise ProofMalformed("merkle.index", f"index {leaf_index} is not in a tree of size {tree_size}")
    _require_hashes(leaf_hash, root_hash, path)
    # Below `inner` levels the way up is still free to turn left or right; above them the leaf lies on
    # the tree's right edge, where only left siblings exist, one for each bit set in the index.
    inner = (leaf_index ^ (tree_size - 1)).bit_length()
    border = (leaf_index >> inner).bit_count()
    if len(path) != inner + border:
        raise ProofMalformed(
            "merkle.path",
            f"the path has {len(path)} hashes; index {leaf_index} of {tree_size} takes {inner + border}",
        )
    seen = _climb(leaf_hash, path[:inner], leaf_index)
    for sibling in path[inner:]:
        seen = node_hash(sibling, seen)
    if seen != root_hash:
        raise ProofRefuted(
            "merkle.inclusion", f"the path leads to root {seen.hex()}; the tree's is {root_hash.hex()}"
        )


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the tree of old_size is the beginning of the tree of new_size.

    path  as consistency_path() makes it; empty if the sizes are equal

    Raises ProofMalformed if no such two trees have such a path (a path from the empty tree is none: it
    would hold for every tree), and ProofRefuted if it leads to another old or new root.
    Two hashes per element of path; no I/O.
    Source: RFC 9162, section 2.1.4.2.
    """
    if not 0 <= old_size <= new_size <= TREE_SIZE_MAX:
        raise ProofMalformed("merkle.size", f"size {old_size} cannot come before size {new_size}")
    _require_hashes(old_root, new_root, path)
    if old_size == new_size:
        if path:
            raise ProofMalformed("merkle.path", f"equal sizes need no path; this one has {len(path)} hashes")
        if old_size == 0 and old_root != EMPTY_ROOT:
            raise ProofRefuted("merkle.consistency", "the root of size 0 is not the empty tree's")
        if old_root != new_root:
            raise ProofRefuted("merkle.consistency", f"two roots are claimed for size {old_size}")
        return
    if old_size == 0:
        raise ProofMalformed("merkle.size", "the empty tree is consistent with every tree: that is no proof")

    # The walk starts at the largest perfect subtree that ends at old_size. Where that is the whole old
    # tree (old_size is a power of two), its hash is old_root and the path leaves it out.
    level = (old_size & -old_size).bit_length() - 1
    index = (old_size - 1) >> level
    inner = (index ^ ((new_size - 1) >> level)).bit_length()
    border = (index >> inner).bit_count()
    with_seed = index != 0
    length = with_seed + inner + border
    if len(path) != length:
        raise ProofMalformed(
            "merkle.path",
            f"the path has {len(path)} hashes; from size {old_size} to {new_size} takes {length}",
        )
    seed = path[0] if with_seed else old_root
    inner_path, border_path = path[with_seed : with_seed + inner], path[with_seed + inner :]
    # The old tree knows only what lies to the left of the walk; the new tree knows all of it.
    seen_old = seed
    for height, sibling in enumerate(inner_path):
        if index >> height & 1:
            seen_old = node_hash(sibling, seen_old)
    seen_new = _climb(seed, inner_path, index)
    for sibling in border_path:
        seen_old = node_hash(sibling, seen_old)
        seen_new = node_hash(sibling, seen_new)
    if seen_old != old_root:
        raise ProofRefuted(
            "merkle.consistency", f"the path leads to old root {seen_old.hex()}, not {old_root.hex()}"
        )
    if seen_new != new_root:
        raise ProofRefuted(
            "merkle.consistency", f"the path leads to new root {seen_new.hex()}, not {new_root.hex()}"
        )


def fold(peaks: Sequence[bytes]) -> bytes:
    """Hash perfect subtrees that stand side by side, the largest first, into one; EMPTY_ROOT if none."""
    if not peaks:
        return EMPTY_ROOT
    seen = peaks[-1]
    for left in reversed(peaks[:-1]):
        seen = node_hash(left, seen)
    return seen


class CompactRange:
    """A tree that only grows, remembered by its perfect subtrees: at most 63 hashes for any size.

    size    leaves so far
    hashes  roots of the perfect subtrees, from left to right: one for each bit set in size
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        peaks = list(hashes)
        if not 0 <= size <= TREE_SIZE_MAX or len(peaks) != size.bit_count():
            raise ProofMalformed("merkle.range", f"{len(peaks)} subtrees do not make a tree of size {size}")
        if any(len(peak) != HASH_SIZE for peak in peaks):
            raise ProofMalformed("merkle.range", f"a subtree's hash is not {HASH_SIZE} bytes")
        self._size = size
        self._peaks = peaks

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Give the perfect subtrees' roots, the largest (leftmost) first."""
        return tuple(self._peaks)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf. One hash on average, log2(size) at most."""
        size, peaks, seen = self._size, self._peaks, leaf_hash
        while size & 1:
            seen = sha256(b"\x01" + peaks.pop() + seen).digest()
            size >>= 1
        peaks.append(seen)
        self._size += 1

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Add many leaves, level by level. One hash per leaf."""
        size, fresh = self._size, list(leaf_hashes)
        kept: list[bytes] = []  # what stays on each level, the lowest first
        peaks = self._peaks
        while fresh:
            if size & 1:
                fresh.insert(0, peaks.pop())
            if len(fresh) & 1:
                kept.append(fresh.pop())
            fresh = _parents(fresh)
            size >>= 1
        kept.reverse()
        peaks.extend(kept)
        self._size += len(leaf_hashes)

    def root(self) -> bytes:
        """Hash the whole tree: one hash per subtree."""
        return fold(self._peaks)

    def copy(self) -> CompactRange:
        """Give a tree of its own that starts from here."""
        twin = CompactRange()
        twin._size = self._size
        twin._peaks = self._peaks.copy()
        return twin

    def __eq__(self, other: object) -> bool:
        """Compare by value: same leaves, as far as SHA-256 can tell."""
        if not isinstance(other, CompactRange):
            return NotImplemented
        return self._size == other._size and self._peaks == other._peaks

    __hash__ = None  # type: ignore[assignment]  # it grows, so it is no key

    def __repr__(self) -> str:
        return f"CompactRange(size={self._size})"


def _split(size: int) -> int:
    """Give the largest power of two below size (size >= 2): where the RFC cuts a tree."""
    return 1 << ((size - 1).bit_length() - 1)


def _climb(seen: bytes, siblings: Sequence[bytes], index: int) -> bytes:
    """Hash upwards; bit h of index says whether the node at height h is the right one of its pair."""
    for height, sibling in enumerate(siblings):
        seen = node_hash(sibling, seen) if index >> height & 1 else node_hash(seen, sibling)
    return seen


def _require_hashes(first: bytes, second: bytes, path: Sequence[bytes]) -> None:
    if len(path) > PATH_LENGTH_MAX:
        raise ProofMalformed(
            "merkle.path", f"the path has {len(path)} hashes; the longest has {PATH_LENGTH_MAX}"
        )
    for name, value in (("leaf or old root", first), ("root", second), *(("path", hash_) for hash_ in path)):
        if len(value) != HASH_SIZE:
            raise ProofMalformed("merkle.hash", f"a {name} hash has {len(value)} bytes, not {HASH_SIZE}")
