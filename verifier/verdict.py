"""Step 9 of 9: say what was found. After every check of the verifier.

A Report lists what was checked, with what outcome, and what was not checked.
Its verdict is the worst outcome among its checks and never more: a report
without a single passed check is not VALID.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from keys.errors import Fault, NotYet, Unverifiable

CHECKS_MAX = 1_000  # rows a report keeps; what is beyond is counted, and the verdict still follows from it

EXIT_VALID = 0
EXIT_INVALID = 1
EXIT_USAGE = 2
EXIT_UNDECIDED = 3
EXIT_TOO_FRESH = 4
EXIT_FORK = 5
EXIT_INTERRUPTED = 130

FORK_CODE = "checkpoint.inconsistent"  # two signed claims of one log that cannot both be true


class Verdict(Enum):
    """What may be said about the thing that was checked."""

    VALID = "VALID"
    NOT_YET_ANCHORED = "NOT-YET-ANCHORED"
    UNKNOWN_KEY = "UNKNOWN-KEY"
    SUSPECT = "SUSPECT"
    INVALID = "INVALID"

    @property
    def exit_code(self) -> int:
        """The process exit code that stands for this verdict alone."""
        return _EXIT_CODES[self]

    @property
    def meaning(self) -> str:
        """One sentence for somebody who has never seen the word before."""
        return _MEANINGS[self]


# From best to worst. SUSPECT outranks UNKNOWN-KEY: a known reason for doubt weighs more than a missing key.
_BADNESS = {verdict: rank for rank, verdict in enumerate(Verdict)}
_EXIT_CODES = {
    Verdict.VALID: EXIT_VALID,
    Verdict.NOT_YET_ANCHORED: EXIT_TOO_FRESH,
    Verdict.UNKNOWN_KEY: EXIT_UNDECIDED,
    Verdict.SUSPECT: EXIT_UNDECIDED,
    Verdict.INVALID: EXIT_INVALID,
}
_MEANINGS = {
    Verdict.VALID: "Everything that was checked holds.",
    Verdict.NOT_YET_ANCHORED: "Nothing is wrong, but outside proof of its time is still to come.",
    Verdict.UNKNOWN_KEY: "It cannot be decided: a key, a file or a record that is needed is missing.",
    Verdict.SUSPECT: "It is unaltered, but there is a known reason not to rely on it.",
    Verdict.INVALID: "It is altered, damaged or false. Do not rely on it.",
}
# From mild to grave, by the process exit code. A fork comes last: it convicts the log itself.
_EXIT_BADNESS = (EXIT_VALID, EXIT_TOO_FRESH, EXIT_UNDECIDED, EXIT_INVALID, EXIT_FORK)

Outcome = Literal["ok", "bad", "suspect", "unknown", "not-yet", "not-checked"]

_OUTCOME_VERDICTS: dict[str, Verdict] = {
    "ok": Verdict.VALID,
    "bad": Verdict.INVALID,
    "suspect": Verdict.SUSPECT,
    "unknown": Verdict.UNKNOWN_KEY,
    "not-yet": Verdict.NOT_YET_ANCHORED,
    "not-checked": Verdict.VALID,  # says nothing, for or against
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that holds for all of them together; VALID for none at all."""
    return max(verdicts, key=_BADNESS.__getitem__, default=Verdict.VALID)


def worst_exit_code(codes: Iterable[int]) -> int:
    """The exit code that holds for all of them together."""
    return max(codes, key=_EXIT_BADNESS.index, default=EXIT_VALID)


def nor_more(count: int) -> str:
    """The end of a sentence about the first of several events."""
    return (
        "" if not count else ", nor one event after it" if count == 1 else f", nor {count:,} events after it"
    )


def outcome_of(fault: Fault) -> Outcome:
    """Which outcome a fault's cause is: missing things decide nothing, everything else is bad."""
    if isinstance(fault, Unverifiable):
        return "unknown"
    if isinstance(fault, NotYet):
        return "not-yet"
    return "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    name     which check: "signatures", "inclusion"… (docs/formats/verdicts.md lists them)
    detail   one sentence, for a reader who knows nothing of the machinery
    code     the fault's stable code when the outcome is not ok
    seq      the ledger position it is about, when it is about one
    pointer  where in the file, when it is about one place
    """

    name: str
    outcome: Outcome
    detail: str
    code: str = ""
    seq: int | None = None
    pointer: str = ""

    def to_json(self) -> dict[str, Any]:
        """Members that say nothing are left out."""
        row: dict[str, Any] = {"name": self.name, "outcome": self.outcome, "detail": self.detail}
        if self.code:
            row["code"] = self.code
        if self.seq is not None:
            row["seq"] = self.seq
        if self.pointer:
            row["pointer"] = self.pointer
        return row


@dataclass(frozen=True, slots=True)
class Report:
    """What was found about one file or one ledger."""

    kind: str  # "evidence", "receipt", "statement" or "ledger"
    subject: str  # what it is about, in words: a product's identifier, a file's name, a ledger's origin
    checks: tuple[Check, ...]
    not_checked: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)  # what was learned: origin, tree_size, signers…
    checks_left_out: int = 0
    verdict: Verdict = Verdict.INVALID
    exit_code: int = EXIT_INVALID

    @property
    def faulty_seqs(self) -> tuple[int, ...]:
        """The entries that are named as false, ascending; those that are only doubtful are not among them."""
        return tuple(sorted({c.seq for c in self.checks if c.outcome == "bad" and c.seq is not None}))

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for any JSON writer."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "verdict": self.verdict.value,
            "meaning": self.verdict.meaning,
            "exit_code": self.exit_code,
            "faulty_entries": list(self.faulty_seqs),
            "checks": [check.to_json() for check in self.checks],
            "checks_left_out": self.checks_left_out,
            "not_checked": list(self.not_checked),
            "facts": dict(self.facts),
        }


class ReportBuilder:
    """Collects checks while they are made; keeps at most CHECKS_MAX rows and the worst of all."""

    def __init__(self, kind: str, subject: str) -> None:
        self.kind = kind
        self.subject = subject
        self.facts: dict[str, Any] = {}
        self._checks: list[Check] = []
        self._left_out = 0
        self._not_checked: list[str] = []
        self._verdict = Verdict.VALID
        self._passed = False
        self._forked = False

    def add(self, check: Check) -> None:
        """Take one check into the report and into its verdict."""
        self._verdict = worst((self._verdict, _OUTCOME_VERDICTS[check.outcome]))
        self._passed = self._passed or check.outcome == "ok"
        self._forked = self._forked or check.code == FORK_CODE
        if len(self._checks) < CHECKS_MAX:
            self._checks.append(check)
        else:
            self._left_out += 1

    def ok(self, name: str, detail: str) -> None:
        """Something was checked, and holds."""
        self.add(Check(name, "ok", detail))

    def suspect(self, name: str, fault: Fault, *, seq: int | None = None) -> None:
        """It verifies, and there is a reason not to rely on it."""
        self.add(Check(name, "suspect", fault.detail, fault.code, seq, fault.pointer))

    def fault(self, name: str, fault: Fault, *, seq: int | None = None) -> None:
        """Something was checked, and this is what was found instead."""
        self.add(Check(name, outcome_of(fault), fault.detail, fault.code, seq, fault.pointer))

    def not_checked(self, sentence: str) -> None:
        """Something a reader could believe was checked, and was not."""
        if sentence not in self._not_checked:
            self._not_checked.append(sentence)

    def outcomes(self, name: str) -> set[Outcome]:
        """How this check came out so far; empty if it was not made."""
        return {check.outcome for check in self._checks if check.name == name}

    @property
    def verdict(self) -> Verdict:
        """The verdict if nothing more were found."""
        return self._verdict if self._passed or self._verdict is not Verdict.VALID else Verdict.UNKNOWN_KEY

    def build(self) -> Report:
        """The finished report."""
        return Report(
            kind=self.kind,
            subject=self.subject,
            checks=tuple(self._checks),
            not_checked=tuple(self._not_checked),
            facts=dict(self.facts),
            checks_left_out=self._left_out,
            verdict=self.verdict,
            exit_code=EXIT_FORK if self._forked else self.verdict.exit_code,
        )
