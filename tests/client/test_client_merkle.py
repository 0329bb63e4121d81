"""The partner's own Merkle arithmetic: held to the published vectors, and to the ledger's as an oracle."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import merkle
from client.errors import ReceiptMalformed, ReceiptRefuted
from keys.errors import Malformed, Refuted
from ledger import merkle as oracle


def _hash(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def _load(shared: Path, kind: str) -> list[dict[str, Any]]:
    return json.loads((shared / f"tlog/merkle-{kind}-vectors.json").read_text())


def test_official_inclusion_vectors_are_answered_as_they_say(shared: Path) -> None:
    for case in _load(shared, "inclusion"):
        path = [_hash(item) for item in case["proof"] or []]
        arguments = (_hash(case["leafHash"]), case["leafIdx"], case["treeSize"], path, _hash(case["root"]))
        if case["wantErr"]:
            with pytest.raises((ReceiptMalformed, ReceiptRefuted)):
                merkle.verify_inclusion(*arguments)
        else:
            merkle.verify_inclusion(*arguments)


def test_official_consistency_vectors_are_answered_as_they_say(shared: Path) -> None:
    for case in _load(shared, "consistency"):
        path = [_hash(item) for item in case["proof"] or []]
        arguments = (case["size1"], case["size2"], _hash(case["root1"]), _hash(case["root2"]), path)
        if case["wantErr"]:
            with pytest.raises((ReceiptMalformed, ReceiptRefuted)):
                merkle.verify_consistency(*arguments)
        else:
            merkle.verify_consistency(*arguments)


LEAVES = [oracle.leaf_hash(b"%d" % n) for n in range(70)]


def test_every_small_inclusion_path_of_the_ledger_verifies() -> None:
    for size in range(1, 40):
        root = oracle.root_hash(LEAVES[:size])
        for index in range(size):
            path = oracle.inclusion_path(LEAVES[:size], index)
            merkle.verify_inclusion(LEAVES[index], index, size, path, root)


def test_every_small_consistency_path_of_the_ledger_verifies() -> None:
    for new in range(1, 40):
        for old in range(1, new + 1):
            roots = oracle.root_hash(LEAVES[:old]), oracle.root_hash(LEAVES[:new])
            merkle.verify_consistency(old, new, *roots, oracle.consistency_path(LEAVES[:new], old))


def _verdict(verify: Any, *arguments: Any) -> str:
    try:
        verify(*arguments)
    except Malformed:
        return "malformed"
    except Refuted:
        return "refuted"
    return "holds"


hashes = st.sampled_from(LEAVES)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_both_verifiers_judge_damaged_inclusion_alike(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 64))
    index = data.draw(st.integers(0, size - 1))
    path = list(oracle.inclusion_path(LEAVES[:size], index))
    _damage(data, path)
    index += data.draw(st.sampled_from([0, 0, 1, -1]))
    size += data.draw(st.sampled_from([0, 0, 1, -1]))
    arguments = (data.draw(hashes), index, size, path, oracle.root_hash(LEAVES[: max(size, 1)]))
    assert _verdict(merkle.verify_inclusion, *arguments) == _verdict(oracle.verify_inclusion, *arguments)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_both_verifiers_judge_damaged_consistency_alike(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 64))
    old = data.draw(st.integers(1, new))
    path = list(oracle.consistency_path(LEAVES[:new], old))
    roots = (oracle.root_hash(LEAVES[:old]), oracle.root_hash(LEAVES[:new]))
    _damage(data, path)
    old += data.draw(st.sampled_from([0, 0, 1, -1]))
    arguments = (old, new, *roots, path)
    assert _verdict(merkle.verify_consistency, *arguments) == _verdict(oracle.verify_consistency, *arguments)


def _damage(data: st.DataObject, path: list[bytes]) -> None:
    what = data.draw(st.sampled_from(["nothing", "drop", "add", "swap", "alter"]))
    if what == "drop" and path:
        path.pop(data.draw(st.integers(0, len(path) - 1)))
    elif what == "add":
        path.insert(data.draw(st.integers(0, len(path))), data.draw(hashes))
    elif what == "swap" and len(path) > 1:
        path[0], path[-1] = path[-1], path[0]
    elif what == "alter" and path:
        path[data.draw(st.integers(0, len(path) - 1))] = data.draw(hashes)


def test_a_path_of_65_hashes_is_refused_unread() -> None:
    with pytest.raises(ReceiptMalformed):
        merkle.verify_inclusion(LEAVES[0], 0, 2**63 - 1, [LEAVES[0]] * 65, LEAVES[0])
