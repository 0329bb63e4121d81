"""The tree: held to the official vectors, to the RFC's recursion, and to merkletools in its RFC 6962 form."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import merkletools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import merkle
from ledger.errors import NotInLog, ProofMalformed, ProofRefuted
from ledger.merkle import CompactRange

LEAVES = [merkle.leaf_hash(b"leaf %d" % i) for i in range(600)]
VECTORS = Path(__file__).resolve().parents[3] / "shared" / "tlog"


def load(kind: str) -> list[dict | None]:
    """The official cases; where they are not, one that the fixture `shared` skips and says so."""
    file = VECTORS / f"merkle-{kind}-vectors.json"
    return json.loads(file.read_text()) if file.is_file() else [None]


def unbase64(text: str | None) -> bytes:
    return b64decode(text or "")


# The tree once more, as the RFC writes it: slow, recursive, and independent of the code under test.


def mth(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"").digest()
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def rfc_path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*rfc_path(m, leaves[:k]), mth(leaves[k:])]
    return [*rfc_path(m - k, leaves[k:]), mth(leaves[:k])]


def rfc_subproof(m: int, leaves: list[bytes], is_known: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if is_known else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*rfc_subproof(m, leaves[:k], is_known), mth(leaves[k:])]
    return [*rfc_subproof(m - k, leaves[k:], False), mth(leaves[:k])]


# Official vectors.


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("vector", load("inclusion"), ids=lambda v: v and f"{v['case']}")
def test_inclusion_vectors(vector: dict) -> None:
    index, size = vector["leafIdx"], vector["treeSize"]
    leaf, root = unbase64(vector["leafHash"]), unbase64(vector["root"])
    path = [unbase64(sibling) for sibling in vector["proof"] or []]
    if not vector["wantErr"]:
        merkle.verify_inclusion(leaf, index, size, path, root)
        return
    hashes_are_whole = all(len(h) == 32 for h in (leaf, root, *path))
    has_shape = index < size and len(path) == len(merkle.inclusion_ranges(index, size)) and hashes_are_whole
    with pytest.raises(ProofRefuted if has_shape else ProofMalformed):
        merkle.verify_inclusion(leaf, index, size, path, root)


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("vector", load("consistency"), ids=lambda v: v and f"{v['case']}")
def test_consistency_vectors(vector: dict) -> None:
    old, new = vector["size1"], vector["size2"]
    old_root, new_root = unbase64(vector["root1"]), unbase64(vector["root2"])
    path = [unbase64(sibling) for sibling in vector["proof"] or []]
    if not vector["wantErr"]:
        merkle.verify_consistency(old, new, old_root, new_root, path)
        return
    hashes_are_whole = all(len(h) == 32 for h in (old_root, new_root, *path))
    wanted = 0 if old == new else len(merkle.consistency_ranges(old, new)) if 0 < old < new else None
    has_shape = len(path) == wanted and hashes_are_whole
    with pytest.raises(ProofRefuted if has_shape else ProofMalformed):
        merkle.verify_consistency(old, new, old_root, new_root, path)


def test_vectors_are_all_there(shared: Path) -> None:
    assert len(load("inclusion")) == 49
    assert len(load("consistency")) == 49


# Our own fixed values, for a clone without the official ones.


def test_empty_root_is_sha256_of_nothing() -> None:
    assert b64decode("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=") == merkle.EMPTY_ROOT
    assert merkle.root_hash([]) == merkle.EMPTY_ROOT == CompactRange().root()


def test_three_entries_have_the_known_root() -> None:
    leaves = [merkle.leaf_hash(entry) for entry in (b"e0", b"e1", b"e2")]
    assert [leaf.hex()[:8] for leaf in leaves] == ["956ae51b", "d38b823b", "e76eb1b9"]
    assert [leaf.hex()[-2:] for leaf in leaves] == ["b8", "6b", "d1"]
    assert merkle.root_hash(leaves) == b64decode("ZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=")
    assert merkle.inclusion_path(leaves, 1) == [
        b64decode("lWrlG9Pihcy4JimN1SPdCIJM5VeXSZlPLgAhc3ud1Lg="),
        b64decode("526xuXsGdXFQ+V4GNXp9xATKURtjqQMwpWqU3z0NZtE="),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 64, 100])
def test_paths_are_the_rfcs(size: int) -> None:
    leaves = LEAVES[:size]
    assert merkle.root_hash(leaves) == mth(leaves)
    for i in range(size):
        assert merkle.inclusion_path(leaves, i) == rfc_path(i, leaves)
        assert merkle.consistency_path(leaves, i + 1) == rfc_subproof(i + 1, leaves, True)


def test_merkletools_in_rfc_6962_form_makes_the_same_tree() -> None:
    tools = merkletools.MerkleTools()
    tools.hash_function = lambda data: sha256(b"\x01" + data)
    tree = CompactRange()
    for size in range(1, 600):
        tools.add_leaf(LEAVES[size - 1].hex())
        tree.append(LEAVES[size - 1])
        tools.make_tree()
        assert tools.get_merkle_root() == tree.root().hex()
        if size % 29 == 1:
            for index in {0, size // 3, size - 1}:
                path = [bytes.fromhex(next(iter(step.values()))) for step in tools.get_proof(index)]
                assert path == merkle.inclusion_path(LEAVES[:size], index)


# Laws.

sizes = st.integers(1, 300)


@given(st.data(), sizes)
@settings(max_examples=60, deadline=None)
def test_every_leaf_is_proven_at_its_index_and_at_no_other(data: st.DataObject, size: int) -> None:
    leaves = LEAVES[:size]
    root = merkle.root_hash(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion_path(leaves, index)
    merkle.verify_inclusion(leaves[index], index, size, path, root)
    for other in range(size):
        if other != index:
            with pytest.raises((ProofMalformed, ProofRefuted)):
                merkle.verify_inclusion(leaves[index], other, size, path, root)


@given(st.data(), sizes)
@settings(max_examples=60, deadline=None)
def test_every_old_tree_is_a_prefix_of_every_newer_one(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new))
    old_root, new_root = merkle.root_hash(LEAVES[:old]), merkle.root_hash(LEAVES[:new])
    path = merkle.consistency_path(LEAVES[:new], old)
    merkle.verify_consistency(old, new, old_root, new_root, path)
    assert len(path) <= merkle.PATH_LENGTH_MAX


@given(st.data(), st.integers(2, 300))
@settings(max_examples=60, deadline=None)
def test_a_rewritten_tree_is_consistent_with_no_old_one(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new - 1))
    altered = data.draw(st.integers(0, old - 1))
    leaves = LEAVES[:new]
    old_root = merkle.root_hash(leaves[:old])
    leaves[altered] = merkle.leaf_hash(b"another")
    with pytest.raises(ProofRefuted):
        merkle.verify_consistency(
            old, new, old_root, merkle.root_hash(leaves), merkle.consistency_path(leaves, old)
        )


@given(st.data(), st.integers(2, 300))
@settings(max_examples=60, deadline=None)
def test_an_altered_path_is_refuted_and_a_longer_or_shorter_one_malformed(
    data: st.DataObject, size: int
) -> None:
    index = data.draw(st.integers(0, size - 1))
    place = data.draw(st.integers(0))
    bit = data.draw(st.integers(0, 255))
    root, path = merkle.root_hash(LEAVES[:size]), merkle.inclusion_path(LEAVES[:size], index)
    place %= len(path)
    flipped = path.copy()
    flipped[place] = (int.from_bytes(path[place], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(ProofRefuted):
        merkle.verify_inclusion(LEAVES[index], index, size, flipped, root)
    for wrong in (path[1:], path[:-1], [*path, root], [root, *path], [h[:-1] for h in path]):
        with pytest.raises(ProofMalformed):
            merkle.verify_inclusion(LEAVES[index], index, size, wrong, root)


def test_swapped_siblings_are_refuted() -> None:
    path = merkle.inclusion_path(LEAVES[:100], 41)
    path[0], path[1] = path[1], path[0]
    with pytest.raises(ProofRefuted):
        merkle.verify_inclusion(LEAVES[41], 41, 100, path, merkle.root_hash(LEAVES[:100]))


def test_an_inner_node_is_not_a_leaf() -> None:
    left, right = LEAVES[:2]
    root = merkle.root_hash(LEAVES[:4])
    node = merkle.node_hash(left, right)
    assert merkle.leaf_hash(left + right) != node
    with pytest.raises(ProofMalformed):
        merkle.verify_inclusion(node, 0, 4, [merkle.node_hash(*LEAVES[2:4])], root)


@pytest.mark.parametrize(
    ("index", "size"), [(-1, 1), (0, 0), (1, 1), (5, 4), (0, -1), (0, 2**63), (2**63, 2**63 + 1)]
)
def test_no_path_is_right_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ProofMalformed, match=r"merkle\.index"):
        merkle.verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])
    with pytest.raises(NotInLog):
        merkle.inclusion_ranges(index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 1), (2, 1), (-1, 1), (1, 2**63), (0, 0)])
def test_there_is_no_consistency_path_for_impossible_sizes(old: int, new: int) -> None:
    with pytest.raises(NotInLog):
        merkle.consistency_ranges(old, new)


@pytest.mark.parametrize(("old", "new"), [(0, 1), (2, 1), (-1, 1), (1, 2**63)])
def test_impossible_sizes_are_malformed(old: int, new: int) -> None:
    with pytest.raises(ProofMalformed, match=r"merkle\.size"):
        merkle.verify_consistency(old, new, LEAVES[0], LEAVES[1], [])


def test_equal_sizes_are_consistent_only_with_equal_roots() -> None:
    merkle.verify_consistency(0, 0, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
    merkle.verify_consistency(5, 5, LEAVES[0], LEAVES[0], [])
    with pytest.raises(ProofRefuted):
        merkle.verify_consistency(5, 5, LEAVES[0], LEAVES[1], [])
    with pytest.raises(ProofRefuted):
        merkle.verify_consistency(0, 0, LEAVES[0], LEAVES[0], [])
    with pytest.raises(ProofMalformed):
        merkle.verify_consistency(5, 5, LEAVES[0], LEAVES[0], [LEAVES[0]])


def test_a_path_of_65_hashes_is_an_attack() -> None:
    with pytest.raises(ProofMalformed, match=r"merkle\.path"):
        merkle.verify_inclusion(LEAVES[0], 0, 2**63 - 1, [LEAVES[0]] * 65, LEAVES[0])


def test_the_largest_tree_has_a_path_of_63() -> None:
    path = LEAVES[:63]
    root = LEAVES[599]
    for sibling in path:
        root = merkle.node_hash(root, sibling)
    merkle.verify_inclusion(LEAVES[599], 0, 2**63 - 1, path, root)


# Growing.


@given(st.lists(st.integers(0, 40), max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_compact_range_grows_as_the_whole_tree_does(steps: list[int]) -> None:
    one_by_one, in_batches, size = CompactRange(), CompactRange(), 0
    for step in steps:
        batch = LEAVES[size : size + step]
        in_batches.extend(batch)
        for leaf in batch:
            one_by_one.append(leaf)
        size += step
        assert in_batches == one_by_one
        assert in_batches.size == size
        assert in_batches.root() == merkle.root_hash(LEAVES[:size])
    assert CompactRange(size, in_batches.hashes) == in_batches


def test_a_copy_goes_its_own_way() -> None:
    tree = CompactRange()
    tree.extend(LEAVES[:5])
    twin = tree.copy()
    twin.append(LEAVES[5])
    assert (tree.size, twin.size) == (5, 6)
    assert tree.root() == merkle.root_hash(LEAVES[:5])
    assert twin.root() == merkle.root_hash(LEAVES[:6])
    assert tree != twin
    assert tree != "a tree"


def test_extend_leaves_the_callers_list_alone() -> None:
    leaves = LEAVES[:3]
    tree = CompactRange(1, LEAVES[:1])
    tree.extend(leaves)
    assert leaves == LEAVES[:3]


@pytest.mark.parametrize(
    ("size", "hashes"), [(1, []), (3, LEAVES[:1]), (2, [b"short"]), (-1, []), (0, LEAVES[:1])]
)
def test_a_compact_range_needs_one_hash_for_each_bit(size: int, hashes: list[bytes]) -> None:
    with pytest.raises(ProofMalformed, match=r"merkle\.range"):
        CompactRange(size, hashes)
