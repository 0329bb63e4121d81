"""Promises of a verdict: the worst outcome counts, and nothing checked is nothing proved."""

from __future__ import annotations

from itertools import permutations

import pytest

from keys.errors import Malformed, NotYet, Refused, Refuted, Unverifiable
from verifier.forks import find_forks
from verifier.verdict import (
    CHECKS_MAX,
    FORK_CODE,
    Check,
    Report,
    ReportBuilder,
    Verdict,
    outcome_of,
    worst,
    worst_exit_code,
)

FROM_BEST_TO_WORST = [
    Verdict.VALID,
    Verdict.NOT_YET_ANCHORED,
    Verdict.UNKNOWN_KEY,
    Verdict.SUSPECT,
    Verdict.INVALID,
]


def test_names_and_exit_codes_are_the_promised_ones() -> None:
    assert {verdict.value: verdict.exit_code for verdict in Verdict} == {
        "VALID": 0,
        "INVALID": 1,
        "UNKNOWN-KEY": 3,
        "SUSPECT": 3,
        "NOT-YET-ANCHORED": 4,
    }
    assert all(verdict.meaning.endswith(".") for verdict in Verdict)


def test_the_worst_one_wins_in_any_order() -> None:
    for some in permutations(FROM_BEST_TO_WORST, 3):
        assert worst(some) is max(some, key=FROM_BEST_TO_WORST.index)
    assert worst([]) is Verdict.VALID
    assert worst_exit_code([0, 4, 3]) == 3
    assert worst_exit_code([3, 1, 4]) == 1
    assert worst_exit_code([1, 5, 0]) == 5
    assert worst_exit_code([]) == 0


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(Malformed, "bad"), (Refuted, "bad"), (Refused, "bad"), (Unverifiable, "unknown"), (NotYet, "not-yet")],
)
def test_a_fault_s_cause_is_its_outcome(fault: type[Malformed], outcome: str) -> None:
    assert outcome_of(fault("some.code", "something")) == outcome


def test_a_report_without_a_passed_check_is_not_valid() -> None:
    builder = ReportBuilder("evidence", "nothing")
    assert builder.build().verdict is Verdict.UNKNOWN_KEY
    builder.add(Check("file", "not-checked", "Nobody looked."))
    assert builder.build().verdict is Verdict.UNKNOWN_KEY
    builder.ok("file", "Somebody looked.")
    assert builder.build().verdict is Verdict.VALID
    assert Report("evidence", "by hand", (), ()).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        ("bad", Verdict.INVALID),
        ("suspect", Verdict.SUSPECT),
        ("unknown", Verdict.UNKNOWN_KEY),
        ("not-yet", Verdict.NOT_YET_ANCHORED),
    ],
)
def test_one_bad_row_outweighs_all_good_ones(outcome: str, verdict: Verdict) -> None:
    builder = ReportBuilder("evidence", "x")
    for _ in range(3):
        builder.ok("file", "Fine.")
    builder.add(Check("anchors", outcome, "Not fine."))  # type: ignore[arg-type]
    assert builder.build().verdict is verdict


def test_rows_are_bounded_and_the_verdict_still_counts_them_all() -> None:
    builder = ReportBuilder("ledger", "x")
    for seq in range(CHECKS_MAX):
        builder.ok("ledger", f"Entry {seq}.")
    builder.fault("ledger", Refuted("entry.altered", "the last straw"), seq=7)
    report = builder.build()
    assert (len(report.checks), report.checks_left_out) == (CHECKS_MAX, 1)
    assert report.verdict is Verdict.INVALID


def test_a_fork_has_its_own_exit_code() -> None:
    builder = ReportBuilder("ledger", "x")
    builder.fault("kept-checkpoint", Refuted(FORK_CODE, "two histories"))
    report = builder.build()
    assert (report.verdict, report.exit_code) == (Verdict.INVALID, 5)


def test_json_says_everything_and_names_faulty_entries() -> None:
    builder = ReportBuilder("ledger", "ledger.example")
    builder.ok("genesis", "Right.")
    for seq in (9, 4, 9):
        builder.fault("signatures", Refuted("signature", "false"), seq=seq)
    builder.suspect("key-state", Refused("key.compromised", "stolen"), seq=2)
    builder.not_checked("Something.")
    builder.not_checked("Something.")
    value = builder.build().to_json()
    assert value["faulty_entries"] == [4, 9]
    assert value["not_checked"] == ["Something."]
    assert value["checks"][0] == {"name": "genesis", "outcome": "ok", "detail": "Right."}
    assert value["checks"][1]["seq"] == 9


def claim(root: str, *, pinned: bool = True, size: int = 7, origin: str = "ledger.example") -> Report:
    builder = ReportBuilder("evidence", "x")
    builder.facts["checkpoint"] = {"origin": origin, "tree_size": size, "root_hash": root, "pinned": pinned}
    return builder.build()


def test_two_signed_states_of_one_size_are_a_fork() -> None:
    assert [row.code for row in find_forks([claim("a"), claim("b")])] == [FORK_CODE]
    assert find_forks([claim("a"), claim("a")]) == []
    assert find_forks([claim("a"), claim("b", size=8)]) == []
    assert find_forks([claim("a"), claim("b", origin="other.example")]) == []
    # Whoever writes a file can sign anything with a key that only the file names.
    assert find_forks([claim("a"), claim("b", pinned=False)]) == []
    assert find_forks([ReportBuilder("evidence", "x").build()]) == []
