"""Proofs that travel, and receipts: believed for one statement, index and signed root."""

from __future__ import annotations

import re
from base64 import b64decode
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_ledger import ORIGIN, MemoryLedger, build_ledger, chain_entries, log_signer, sample_statements

from keys import note
from keys.errors import Fault, Malformed, Refuted, Unverifiable
from ledger import entry as entries
from ledger import merkle, proof
from ledger.errors import EntryMalformed, ProofMalformed, ProofRefuted
from ledger.proof import TlogProof

FORMATS = Path(__file__).resolve().parents[2] / "docs/formats"
BLOCKS = re.findall(r"```text\n(.*?\n)```", (FORMATS / "receipt.md").read_text(), re.S)
PAGE_RECEIPT = BLOCKS[0].encode()
LOG = note.parse_vkey(BLOCKS[1].strip())
CHECKPOINT = re.findall(r"```text\n(.*?\n)```", (FORMATS / "checkpoint.md").read_text(), re.S)[0].encode()
FIXED = (
    b"""c2sp.org/tlog-proof@v1
index 1
lWrlG9Pihcy4JimN1SPdCIJM5VeXSZlPLgAhc3ud1Lg=
526xuXsGdXFQ+V4GNXp9xATKURtjqQMwpWqU3z0NZtE=

"""
    + CHECKPOINT
)
DIGEST = sha256(b"statement 1").digest()


@pytest.fixture(scope="module")
def ledger() -> MemoryLedger:
    return build_ledger(sample_statements(300))


# The format.


def test_the_fixed_vector_verifies_and_reads_both_ways() -> None:
    read = proof.parse(FIXED)
    assert proof.render(read) == FIXED
    leaves = [merkle.leaf_hash(entry) for entry in (b"e0", b"e1", b"e2")]
    claim = proof.verify(read, [LOG], ORIGIN, leaf_hash=leaves[1])
    assert (claim.tree_size, claim.root_hash) == (3, merkle.root_hash(leaves))
    for other in (leaves[0], leaves[2], merkle.node_hash(leaves[0], leaves[1])):
        with pytest.raises(ProofRefuted):
            proof.verify(read, [LOG], ORIGIN, leaf_hash=other)
    for index in (0, 2, 3):
        with pytest.raises((ProofRefuted, ProofMalformed)):
            proof.verify(replace(read, index=index), [LOG], ORIGIN, leaf_hash=leaves[1])


@given(
    st.none() | st.binary(min_size=1, max_size=100),
    st.integers(0, 2**63 - 2),
    st.lists(st.binary(min_size=32, max_size=32), max_size=64),
    st.binary(min_size=1, max_size=100),
)
@settings(deadline=None)
def test_a_proof_reads_both_ways(
    extra: bytes | None, index: int, path: list[bytes], checkpoint: bytes
) -> None:
    made = TlogProof(extra, index, tuple(path), checkpoint)
    raw = proof.render(made)
    assert proof.parse(raw) == made
    assert proof.render(proof.parse(raw)) == raw


@given(st.integers(0), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_an_altered_proof_is_refused_or_reads_as_what_it_says(place: int, value: int) -> None:
    raw = bytearray(PAGE_RECEIPT)
    raw[place % len(raw)] = value
    with suppress(ProofMalformed):
        assert proof.render(proof.parse(bytes(raw))) == bytes(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n",
        FIXED[: FIXED.index(b"\n\n")],
        FIXED[: FIXED.index(b"\n\n") + 2],
        b"\n" + FIXED,
        FIXED.replace(b"@v1", b"@v2", 1),
        FIXED.replace(b"\n", b"\r\n"),
        FIXED.replace(b"index 1", b"index 01"),
        FIXED.replace(b"index 1", b"index -1"),
        FIXED.replace(b"index 1", b"index  1"),
        FIXED.replace(b"index 1", b"index 1 "),
        FIXED.replace(b"index 1", b"Index 1"),
        FIXED.replace(b"index 1\n", b""),
        FIXED.replace(b"index 1", b"index 9223372036854775807"),
        FIXED.replace(b"index 1", b"index 99999999999999999999"),
        FIXED.replace(b"index 1", b"extra \nindex 1"),
        FIXED.replace(b"index 1", b"extra AA\nindex 1"),
        FIXED.replace(b"index 1", b"extra AB==\nindex 1"),
        FIXED.replace(b"index 1", b"extra AAAA=\nindex 1"),
        FIXED.replace(b"index 1", b"extra A_==\nindex 1"),
        FIXED.replace(b"index 1", b"extra AAAA AAAA\nindex 1"),
        FIXED.replace(b"index 1", b"extra AAAA\nextra AAAA\nindex 1"),
        FIXED.replace(b"index 1", b"index 1\nextra AAAA"),
        FIXED.replace(b"index 1", b"index 1\nindex 1"),
        FIXED.replace(b"index 1", b"extra " + b"AAAA" * 10_923 + b"\nindex 1"),
        FIXED.replace(b"1Lg=", b"1Lh="),
        FIXED.replace(b"1Lg=", b"1Lg"),
        FIXED.replace(b"1Lg=", b"1Lg= "),
        FIXED.replace(b"index 1\n", b"index 1\n" + b"lWrlG9Pihcy4JimN1SPdCIJM5VeXSZlPLgAhc3ud1Lg=\n" * 63),
        FIXED + b"x" * proof.PROOF_SIZE_MAX,
    ],
)
def test_another_spelling_is_malformed(raw: bytes) -> None:
    with pytest.raises(ProofMalformed):
        proof.parse(raw)


@pytest.mark.parametrize(
    "made",
    [
        TlogProof(b"", 0, (), b"x"),
        TlogProof(bytes(proof.EXTRA_SIZE_MAX + 1), 0, (), b"x"),
        TlogProof(None, -1, (), b"x"),
        TlogProof(None, 2**63 - 1, (), b"x"),
        TlogProof(None, 0, (b"short",), b"x"),
        TlogProof(None, 0, (bytes(32),) * 65, b"x"),
        TlogProof(None, 0, (), b""),
    ],
    ids=lambda made: f"{made.index} {len(made.path)} {len(made.extra or b'')}",
)
def test_an_impossible_proof_is_not_rendered(made: TlogProof) -> None:
    with pytest.raises(ProofMalformed):
        proof.render(made)


def test_no_line_of_a_receipt_is_too_long_for_other_readers() -> None:
    longest = proof.render(TlogProof(bytes(proof.EXTRA_SIZE_MAX), 0, (), b"x"))
    assert max(len(line) for line in longest.split(b"\n")) < 0xFFFF


# Receipts.


def test_the_pages_receipt_verifies() -> None:
    entry, claim = proof.verify_receipt(PAGE_RECEIPT, [LOG], ORIGIN, statement_digest=DIGEST)
    assert (entry.seq, entry.kind, claim.tree_size) == (1, "event", 3)
    assert proof.render(build_ledger(sample_statements(3)).receipt(1)) == PAGE_RECEIPT


@pytest.mark.parametrize("seq", [0, 1, 7, 254, 255, 256, 299])
def test_every_statement_has_a_receipt_and_only_its_own(ledger: MemoryLedger, seq: int) -> None:
    raw = proof.render(ledger.receipt(seq))
    digest = sha256(ledger.statements[seq] or b"").digest()
    entry, _ = proof.verify_receipt(raw, ledger.verifiers, ORIGIN, statement_digest=digest)
    assert entry == entries.parse(ledger.entries[seq])
    with pytest.raises(ProofRefuted, match=r"receipt\.statement"):
        proof.verify_receipt(raw, ledger.verifiers, ORIGIN, statement_digest=sha256(b"another").digest())


def test_every_altered_byte_of_a_receipt_is_refused() -> None:
    for place in range(len(PAGE_RECEIPT)):
        for bit in (1, 4):
            raw = bytearray(PAGE_RECEIPT)
            raw[place] ^= bit
            with pytest.raises((Malformed, Refuted, Unverifiable)):
                proof.verify_receipt(bytes(raw), [LOG], ORIGIN, statement_digest=DIGEST)


def test_a_receipt_without_an_entry_is_none() -> None:
    with pytest.raises(ProofMalformed, match=r"receipt\.extra"):
        proof.verify_receipt(FIXED, [LOG], ORIGIN, statement_digest=DIGEST)


def test_an_entry_of_the_senders_own_making_is_refuted_before_it_is_read(ledger: MemoryLedger) -> None:
    made_up = entries.render(replace(entries.parse(ledger.entries[5]), statement=sha256(b"mine").digest()))
    for extra in (made_up, b"not an entry", ledger.entries[6]):
        raw = proof.render(replace(ledger.receipt(5), extra=extra))
        with pytest.raises(ProofRefuted, match=r"merkle\.inclusion"):
            proof.verify_receipt(raw, ledger.verifiers, ORIGIN, statement_digest=sha256(b"mine").digest())


def test_an_entry_that_stands_elsewhere_than_it_says_is_refuted() -> None:
    chained = chain_entries(sample_statements(3))
    moved = MemoryLedger([chained[0], chained[2], chained[1]], [b""] * 3)
    raw = proof.render(moved.receipt(1))
    with pytest.raises(ProofRefuted, match=r"receipt\.seq"):
        proof.verify_receipt(
            raw, moved.verifiers, ORIGIN, statement_digest=entries.parse(chained[2]).statement
        )


def test_what_the_log_holds_must_be_an_entry() -> None:
    odd = MemoryLedger([b"e0", b"e1", b"e2"], [b""] * 3)
    with pytest.raises(EntryMalformed):
        proof.verify_receipt(proof.render(odd.receipt(1)), odd.verifiers, ORIGIN, statement_digest=DIGEST)


@pytest.mark.parametrize("other", ["key", "origin", "root"])
def test_another_logs_checkpoint_does_not_carry_a_receipt(ledger: MemoryLedger, other: str) -> None:
    receipt = ledger.receipt(5)
    digest = sha256(ledger.statements[5] or b"").digest()
    wanted: type[Fault] = ProofRefuted
    if other == "key":
        elsewhere = build_ledger(sample_statements(300), signers=[log_signer(seed=b"M" * 32)])
        wanted = Unverifiable
    elif other == "origin":
        elsewhere = build_ledger(
            sample_statements(300), origin="ledger.example/staging", signers=[log_signer()]
        )
    else:
        elsewhere = build_ledger([*sample_statements(299), ("event", b"another")])
    raw = proof.render(replace(receipt, checkpoint=elsewhere.checkpoint))
    with pytest.raises(wanted):
        proof.verify_receipt(raw, ledger.verifiers, ORIGIN, statement_digest=digest)


def test_a_receipt_of_another_size_is_refused(ledger: MemoryLedger) -> None:
    receipt = ledger.receipt(5)
    digest = sha256(ledger.statements[5] or b"").digest()
    for size in (5, 6, 100, 255, 256):
        raw = proof.render(replace(receipt, checkpoint=ledger.sign_at(size)))
        with pytest.raises((ProofMalformed, ProofRefuted)):
            proof.verify_receipt(raw, ledger.verifiers, ORIGIN, statement_digest=digest)


def test_the_fixed_proof_has_the_known_hashes() -> None:
    assert proof.parse(FIXED).path[0] == b64decode("lWrlG9Pihcy4JimN1SPdCIJM5VeXSZlPLgAhc3ud1Lg=")
