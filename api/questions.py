"""Step 9 of 9, in a consumer's words: the five questions about a pack, each with what is known.

Pure. Tones are ok, warn, bad and none; none is "nobody here knows", and is never shown as good news. A
record that does not verify answers none of them well, whatever it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from traceability.consumer import ProductFacts, State
from verifier.verdict import Report, Verdict

Tone = Literal["ok", "warn", "bad", "none"]

DETAIL_LENGTH_MAX = 300  # of a reason that is quoted from the report

# What makes a pack unfit, in the record's own words: a headline, and what to do.
UNFIT = {
    State.RECALLED: ("Recorded as recalled", "Do not use this pack. Bring it back to where you got it."),
    State.DESTROYED: (
        "Recorded as destroyed",
        "What was destroyed cannot be in your hand: do not use this pack.",
    ),
    State.STOLEN: ("Recorded as stolen", "Do not use this pack. Tell your pharmacy or the police."),
    State.DAMAGED: ("Recorded as damaged", "Do not use this pack. Ask where you got it."),
    State.EXPIRED: ("Past its expiry date", "Do not use this pack. A pharmacy can dispose of it."),
    State.DECOMMISSIONED: (
        "Taken out of circulation",
        "The number on this pack was withdrawn. Do not use the pack, and ask where you got it.",
    ),
    State.CONSUMED: (
        "Used up in making something else",
        "By its record this product no longer exists. Do not use the pack, and ask where you got it.",
    ),
}
HANDED_OUT = {
    State.DISPENSED: ("Already dispensed", "dispensed", "as handed to a patient"),
    State.SOLD: ("Already sold", "sold", "as sold"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One event of the journey, or a run of like ones, ready to be shown.

    ends   the pack's life ends here, badly
    times  how many events this line stands for; until is when the last of them was
    """

    title: str
    who: str
    place: str
    when: str
    iso: str
    inside: str
    ends: bool
    times: int = 1
    until: str = ""


@dataclass(frozen=True, slots=True)
class Pack:
    """What there is to tell of: the record's facts, who signed what, and what the check of it found.

    signers  the name of the party that signed each entry, by its position
    erased   entries that the index points to and whose content is no longer kept
    """

    facts: ProductFacts
    signers: Mapping[int, str]
    erased: int
    steps: Sequence[Step]
    report: Report

    @property
    def verdict(self) -> Verdict:
        return self.report.verdict

    @property
    def entries_count(self) -> int:
        """How many entries the journey stands for; a line of it may stand for several."""
        return sum(step.times for step in self.steps)


@dataclass(frozen=True, slots=True)
class CheckView:
    """One of the five questions: tone for the eye, state in a word, answer in sentences."""

    question: str
    tone: Tone
    state: str
    answer: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pack is unfit: what the record calls it, since when, and by whose word."""

    state: State
    at: datetime | None
    by: str | None

    @property
    def headline(self) -> str:
        return UNFIT[self.state][0]

    @property
    def advice(self) -> str:
        return UNFIT[self.state][1]


def day(moment: date | datetime) -> str:
    """3 November 2026, in UTC."""
    if isinstance(moment, datetime):
        moment = moment.astimezone(UTC).date()
    return f"{moment.day} {moment:%B %Y}"


def minute(moment: datetime) -> str:
    """3 Nov 2026, 14:05 UTC."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M} UTC"


def find_trouble(pack: Pack, now: datetime) -> Trouble | None:
    """The last alarm in the record, even if something harmless followed; else an end, or the expiry date."""
    facts = pack.facts
    if facts.alarms:
        state, sighting = facts.alarms[-1]
        return Trouble(state, sighting.time, pack.signers.get(sighting.seq))
    if facts.state in UNFIT and facts.ended is not None:
        return Trouble(facts.state, facts.ended.time, pack.signers.get(facts.ended.seq))
    # The date must have passed everywhere on Earth.
    if facts.is_expired((now.astimezone(UTC) - timedelta(hours=12)).date()):
        return Trouble(State.EXPIRED, None, None)
    return None


def find_doubt(facts: ProductFacts) -> str:
    """What the record itself says against there being one pack of this number; "" if nothing does."""
    if facts.commissioned_again:
        return (
            "By the record this number was given out more than once. One of the packs that carry it may be"
            " a copy: ask your pharmacy before you use it."
        )
    if facts.after_end and facts.ended is not None:
        return (
            f"By the record this pack’s life ended on {day(facts.ended.time)}, and something carrying its"
            " number was seen again. One of the two may be a copy: ask your pharmacy before you use it."
        )
    return ""


def issued(pack: Pack) -> CheckView:
    question = "Issued by whom?"
    if pack.verdict is Verdict.INVALID:
        return CheckView(
            question, "bad", "Not proved", "The record does not verify, so no name in it can be relied on."
        )
    born = pack.facts.commissioned
    issuer = None if born is None else pack.signers.get(born.seq)
    if born is None or issuer is None:
        return CheckView(
            question, "none", "Not known", "The ledger does not hold who gave this pack its number."
        )
    said = f"{issuer} recorded giving this pack its number on {day(born.time)}"
    if pack.verdict is Verdict.UNKNOWN_KEY:
        return CheckView(question, "none", "Not checked", f"{said}; the signature could not be checked here.")
    if pack.verdict is Verdict.SUSPECT:
        return CheckView(question, "warn", "In doubt", f"{said}, but see the reason for caution above.")
    return CheckView(
        question,
        "ok",
        "Signed",
        f"{said}, and its signature verifies. Whether it owns the product number is not checked here.",
    )


def intact(pack: Pack) -> CheckView:
    question = "Record intact?"
    verdict = pack.verdict
    if verdict is Verdict.INVALID:
        return CheckView(
            question, "bad", "Broken", reason(pack.report, "bad", "A proof in the record fails.")
        )
    if verdict is Verdict.SUSPECT:
        return CheckView(
            question, "warn", "In doubt", reason(pack.report, "suspect", "A key that signed it is in doubt.")
        )
    if verdict is Verdict.UNKNOWN_KEY:
        return CheckView(
            question, "none", "Not checked", "It was not, or not wholly, checked by this server."
        )
    verify = "verifies" if pack.entries_count == 1 else "verify"
    shown = f"{entries_in_words(pack.entries_count)} shown here {verify}"
    proved = f"{shown}: signatures, places in the ledger, and the keys’ history"
    if pack.erased:
        gone = count_in_words(pack.erased, "more entry", "more entries")
        return CheckView(question, "warn", "Partly", f"{proved}. The content of {gone} no longer kept.")
    if verdict is Verdict.NOT_YET_ANCHORED:
        return CheckView(
            question, "warn", "Very new", f"{proved}. The independent time-stamp is still to come."
        )
    return CheckView(question, "ok", "Intact", f"{proved}, and independent time-stamps that cover them.")


def safe(pack: Pack, trouble: Trouble | None) -> CheckView:
    question = "Safe?"
    expiry = pack.facts.expiry
    if trouble is not None and pack.verdict is not Verdict.INVALID:
        if trouble.at is None:
            said = "" if expiry is None else f"Its expiry date was {day(expiry)}. "
        else:
            by = f" by {trouble.by}" if trouble.by else ""
            said = f"{trouble.headline} on {day(trouble.at)}{by}. "
        return CheckView(question, "bad", "No", f"{said}{trouble.advice}")
    given = "" if expiry is None else f"The record gives {day(expiry)} as its expiry date. "
    return CheckView(
        question,
        "none",
        "Not known",
        f"{given}Recalls of its product or lot, and how it was stored, are not checked here. If anything"
        " about the pack looks wrong, ask your pharmacist.",
    )


def on_sale(pack: Pack, trouble: Trouble | None) -> CheckView:
    question = "On sale here?"
    facts = pack.facts
    last = ""
    if pack.verdict is not Verdict.INVALID:
        if trouble is not None:
            return CheckView(
                question, "bad", "Should not be", "A pack with this record should be on sale nowhere."
            )
        if facts.ended is not None:
            return CheckView(
                question, "warn", "No longer", f"It left the supply chain when it was {facts.state.value}."
            )
        if facts.state is State.WITHHELD:
            return CheckView(question, "warn", "Set aside", "It was last recorded as not for sale.")
        if facts.last_seen is not None and facts.last_seen.seq in pack.signers:
            who = pack.signers[facts.last_seen.seq]
            when = day(facts.last_seen.time)
            last = f" It was last recorded by {who} on {when}: does that fit where you got it?"
    return CheckView(
        question, "none", "Not known", f"Where this product may be sold is not part of this ledger.{last}"
    )


def copied(pack: Pack) -> CheckView:
    question = "Copied?"
    if pack.verdict is not Verdict.INVALID:
        doubt = find_doubt(pack.facts)
        if doubt:
            return CheckView(question, "warn", "Possible", doubt)
        if pack.facts.state in HANDED_OUT:
            return CheckView(
                question,
                "warn",
                "Possible",
                "If this pack was not handed to you then, its code may be a copy of another pack’s.",
            )
    return CheckView(
        question,
        "none",
        "Cannot be told",
        "No code can prove this. Compare serial number, lot and expiry with the print on the pack, and see"
        " that its seal is unbroken.",
    )


def entries_in_words(count: int) -> str:
    return "One entry" if count == 1 else f"All {count} entries"


def count_in_words(number: int, one: str, many: str = "entries") -> str:
    return f"one {one} is" if number == 1 else f"{number} {many} are"


def reason(report: Report, outcome: str, otherwise: str) -> str:
    """The report's first reason of this kind, cut to a length that a page can hold."""
    detail = next((check.detail for check in report.checks if check.outcome == outcome), otherwise)
    return detail if len(detail) <= DETAIL_LENGTH_MAX else detail[: DETAIL_LENGTH_MAX - 1] + "…"
