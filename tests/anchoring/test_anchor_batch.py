"""Batches: what merkletools builds is exactly the RFC 6962 tree."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchoring import batch
from anchoring.record import BATCH_SIZE_MAX, PATH_LENGTH_MAX
from ledger import merkle
from ledger.errors import ProofMalformed, ProofRefuted

TEXTS = [b"log%d.example\n%d\nAAAA\n" % (i, i) for i in range(7)]


def test_a_leaf_is_the_hash_of_the_text_with_the_leaf_prefix():
    assert batch.checkpoint_leaf(b"text\n") == hashlib.sha256(b"\x00text\n").digest()


def test_a_batch_of_one_has_its_leaf_as_root_and_an_empty_path():
    made = batch.build([b"text\n"])
    assert made == batch.Batch(root=batch.checkpoint_leaf(b"text\n"), paths=((),))


def test_two_leaves_are_joined_with_the_node_prefix():
    left, right = (batch.checkpoint_leaf(text) for text in TEXTS[:2])
    made = batch.build(TEXTS[:2])
    assert made.root == hashlib.sha256(b"\x01" + left + right).digest()
    assert made.paths == ((right,), (left,))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=70))
def test_every_batch_is_the_tree_of_rfc_6962(texts):
    made = batch.build(texts)
    leaves = [merkle.leaf_hash(text) for text in texts]
    assert made.root == merkle.root_hash(leaves)
    assert [list(path) for path in made.paths] == [
        merkle.inclusion_path(leaves, i) for i in range(len(leaves))
    ]


def test_the_largest_batch_stays_within_the_longest_path():
    made = batch.build([b"%d" % i for i in range(BATCH_SIZE_MAX)])
    assert max(map(len, made.paths)) == PATH_LENGTH_MAX


@pytest.mark.parametrize("count", [0, BATCH_SIZE_MAX + 1])
def test_no_batch_is_empty_or_too_large(count):
    with pytest.raises(ValueError, match="a batch of"):
        batch.build([b"text"] * count)


@pytest.mark.parametrize(
    ("index", "size", "error"),
    [(5, 7, ProofMalformed), (4, 6, ProofRefuted), (6, 8, ProofMalformed), (7, 7, ProofMalformed)],
)
def test_a_path_is_bound_to_its_index_and_its_size(index, size, error):
    made = batch.build(TEXTS)
    leaf = batch.checkpoint_leaf(TEXTS[6])
    merkle.verify_inclusion(leaf, 6, 7, made.paths[6], made.root)
    with pytest.raises(error):
        merkle.verify_inclusion(leaf, index, size, made.paths[6], made.root)


def test_an_inner_node_does_not_pass_for_a_leaf():
    made = batch.build(TEXTS[:4])
    inner = merkle.node_hash(*(batch.checkpoint_leaf(text) for text in TEXTS[:2]))
    # As merkletools comes, this would verify: the node is on the way to the root.
    with pytest.raises((ProofMalformed, ProofRefuted)):
        merkle.verify_inclusion(inner, 0, 4, made.paths[0][1:], made.root)
    forged = b"".join(batch.checkpoint_leaf(text) for text in TEXTS[:2])
    assert batch.checkpoint_leaf(forged) != inner
