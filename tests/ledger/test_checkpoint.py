"""Checkpoints: signed by the log, for this origin, in one spelling."""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_ledger import ORIGIN, log_signer

from keys import note
from keys.algorithms import private_key_from_seed
from keys.errors import Malformed, Refuted, Unverifiable
from keys.note import NoteSigner
from ledger import checkpoint as checkpoints
from ledger import merkle
from ledger.checkpoint import Checkpoint
from ledger.errors import ProofMalformed, ProofRefuted

PAGE = (Path(__file__).resolve().parents[2] / "docs/formats/checkpoint.md").read_text()
BLOCKS = re.findall(r"```text\n(.*?\n)```", PAGE, re.S)
FIXED = BLOCKS[0].encode()
LOG, WITNESS = (note.parse_vkey(line) for line in BLOCKS[1].splitlines())
ROOT = b64decode("ZLJJxOBgbj2XQsSb/VfNHj6xcPXM76JuoEXKGT1kp18=")
CLAIM = Checkpoint(ORIGIN, 3, ROOT)


def test_the_fixed_vector_opens() -> None:
    for verifiers in ([LOG], [LOG, WITNESS], [WITNESS, LOG]):
        assert checkpoints.open_checkpoint(FIXED, verifiers, ORIGIN) == CLAIM
    assert checkpoints.parse_unverified(FIXED) == CLAIM


def test_we_sign_the_fixed_vector() -> None:
    signer = log_signer()
    assert signer.verifier == LOG
    signed = checkpoints.sign(CLAIM, signer)
    assert FIXED.startswith(signed)
    witness = NoteSigner.from_private_key(
        "witness.example/w1", private_key_from_seed(b"W" * 32), note.TYPE_COSIGNATURE
    )
    line = witness.sign_cosignature(checkpoints.render_body(CLAIM), 1_700_000_000)
    assert signed + note.render_line(line).encode() == FIXED


def test_a_witness_alone_opens_nothing() -> None:
    with pytest.raises(Unverifiable, match=r"checkpoint\.unsigned"):
        checkpoints.open_checkpoint(FIXED, [WITNESS], ORIGIN)


def test_an_unknown_key_decides_nothing() -> None:
    other = log_signer(seed=b"M" * 32).verifier
    with pytest.raises(Unverifiable):
        checkpoints.open_checkpoint(FIXED, [other], ORIGIN)
    with pytest.raises(Unverifiable):
        checkpoints.open_checkpoint(FIXED, [], ORIGIN)


def test_another_logs_checkpoint_is_refuted() -> None:
    with pytest.raises(ProofRefuted, match=r"checkpoint\.origin"):
        checkpoints.open_checkpoint(FIXED, [LOG], "ledger.example/staging")


def test_every_altered_byte_closes_it() -> None:
    log_lines = FIXED[: FIXED.index(b"\xe2\x80\x94 witness")]
    for place in range(len(log_lines)):
        altered = bytearray(log_lines)
        altered[place] ^= 1
        with pytest.raises((Malformed, Refuted, Unverifiable)):
            checkpoints.open_checkpoint(bytes(altered), [LOG], ORIGIN)


def test_a_known_witness_with_a_bad_line_spoils_it() -> None:
    altered = FIXED.replace(b"1UYHBA==", b"1UYHBQ==").replace(b"KUkYHBA==", b"KUkYHBg==")
    assert altered != FIXED
    assert checkpoints.open_checkpoint(altered, [LOG], ORIGIN) == CLAIM
    with pytest.raises(Refuted):
        checkpoints.open_checkpoint(altered, [LOG, WITNESS], ORIGIN)


origins = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=60).filter(
    lambda origin: "+" not in origin
)


@given(origins, st.integers(1, merkle.TREE_SIZE_MAX), st.binary(min_size=32, max_size=32))
@settings(deadline=None)
def test_a_body_reads_both_ways(origin: str, size: int, root: bytes) -> None:
    claim = Checkpoint(origin, size, root)
    text = checkpoints.render_body(claim)
    assert checkpoints.parse_body(text) == claim
    assert checkpoints.render_body(checkpoints.parse_body(text)) == text


BODY = checkpoints.render_body(CLAIM)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        BODY[:-1],
        BODY + "\n",
        BODY + "extension\n",
        "\n" + BODY,
        BODY.replace("\n3\n", "\n03\n"),
        BODY.replace("\n3\n", "\n+3\n"),
        BODY.replace("\n3\n", "\n-3\n"),
        BODY.replace("\n3\n", "\n 3\n"),
        BODY.replace("\n3\n", "\n3 \n"),
        BODY.replace("\n3\n", "\n3.0\n"),
        BODY.replace("\n3\n", "\n\n"),
        BODY.replace("\n3\n", "\n٣\n"),
        BODY.replace("\n3\n", f"\n{2**63}\n"),
        BODY.replace("\n3\n", "\n99999999999999999999\n"),
        BODY.replace("\n3\n", "\n0\n"),
        BODY.replace("\n3\n", "\r\n3\r\n"),
        BODY.replace(ORIGIN, ""),
        BODY.replace(ORIGIN, "ledger example"),
        BODY.replace(ORIGIN, "ledger+example"),
        BODY.replace(ORIGIN, "ledger\u00a0example"),
        BODY.replace(ORIGIN, "ledger\u2028example"),
        BODY.replace(ORIGIN, "o" * 256),
        BODY.replace(ORIGIN, "ö" * 128),
        BODY.replace("p18=", "p18"),
        BODY.replace("p18=", "p19="),
        BODY.replace("ZLJJ", "ZLJ-"),
        BODY.replace("ZLJJ", ""),
    ],
)
def test_another_body_is_malformed(text: str) -> None:
    with pytest.raises(ProofMalformed):
        checkpoints.parse_body(text)


def test_the_empty_log_has_one_checkpoint() -> None:
    empty = Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT)
    assert checkpoints.parse_body(checkpoints.render_body(empty)) == empty


@pytest.mark.parametrize(
    "claim",
    [
        Checkpoint("", 3, ROOT),
        Checkpoint("a b", 3, ROOT),
        Checkpoint("a\nb", 3, ROOT),
        Checkpoint("a+b", 3, ROOT),
        Checkpoint(ORIGIN, -1, ROOT),
        Checkpoint(ORIGIN, 2**63, ROOT),
        Checkpoint(ORIGIN, 3, ROOT[:31]),
        Checkpoint(ORIGIN, 0, ROOT),
    ],
    ids=str,
)
def test_an_impossible_claim_is_never_signed(claim: Checkpoint) -> None:
    with pytest.raises(ProofMalformed):
        checkpoints.sign(claim, log_signer())
