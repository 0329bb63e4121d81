"""Promises of a receipt's report: what it is for, and that it proves no key."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tt_evidence import World, make_world

from ledger import proof
from verifier import receipt
from verifier.trust import Trust
from verifier.verdict import Report, Verdict


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def raw(world: World) -> bytes:
    return proof.render(world.receipt(6))


def bad(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.outcome == "bad"}


def test_a_receipt_with_its_statement_proves_all_but_the_key(world: World, raw: bytes) -> None:
    report = receipt.verify(raw, world.trust(), statement=world.statements[6])
    assert (report.verdict, report.exit_code) == (Verdict.UNKNOWN_KEY, 3)
    assert {check.name for check in report.checks if check.outcome == "ok"} == {
        *("checkpoint", "inclusion", "statement"),
    }
    assert [check.code for check in report.checks if check.outcome == "unknown"] == ["keys.unproved"]
    assert report.facts["seq"] == 6


def test_without_its_statement_nobody_knows_what_it_is_for(world: World, raw: bytes) -> None:
    report = receipt.verify(raw, world.trust())
    assert report.verdict is Verdict.UNKNOWN_KEY
    assert "receipt.statement" in {check.code for check in report.checks}


def test_another_statement_is_invalid(world: World, raw: bytes) -> None:
    assert receipt.verify(raw, world.trust(), statement=world.statements[7]).verdict is Verdict.INVALID


def test_nothing_pinned_or_another_ledger_s_receipt_is_not_valid(world: World, raw: bytes) -> None:
    assert receipt.verify(raw, Trust()).verdict is Verdict.UNKNOWN_KEY
    other = make_world(origin="other.example/epcis")
    report = receipt.verify(proof.render(other.receipt(6)), world.trust(), statement=other.statements[6])
    assert not any(check.name == "checkpoint" and check.outcome == "ok" for check in report.checks)


def test_an_entry_that_stands_elsewhere_is_invalid(world: World) -> None:
    honest = world.receipt(6)
    for changed in (
        replace(honest, index=7),
        replace(honest, extra=world.entries[7]),
        replace(honest, path=honest.path[1:]),
        replace(honest, extra=b"no entry"),
        replace(honest, extra=None),
    ):
        report = receipt.verify(proof.render(changed), world.trust(), statement=world.statements[6])
        assert report.verdict is Verdict.INVALID
        assert bad(report)


def test_no_byte_can_change_unnoticed(world: World, raw: bytes) -> None:
    honest = receipt.verify(raw, world.trust(), statement=world.statements[6])
    dice = random.Random(5)
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= dice.randrange(1, 256)
        report = receipt.verify(bytes(changed), world.trust(), statement=world.statements[6])
        assert report.verdict is not Verdict.VALID
        assert [c.outcome for c in report.checks] != [c.outcome for c in honest.checks], place


@pytest.mark.parametrize(
    "hostile", [b"", b"c2sp.org/tlog-proof@v1\n", b"\xff" * 50, b"c2sp.org/tlog-proof@v1\nindex 0\n\n"]
)
def test_garbage_is_a_verdict(world: World, hostile: bytes) -> None:
    report = receipt.verify(hostile, world.trust())
    assert report.verdict is Verdict.INVALID
    assert receipt.statement_digest_of(hostile) is None
