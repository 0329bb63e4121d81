"""Step 9 of 9, in a consumer's words: what was found about a pack, and not one thing more.

Pure: a report and the record's facts in, words out. A headline is the worst thing known. Nothing here
says "genuine": the record of a pack can be proved, the pack in a hand cannot, for a code can be copied.
Tones are ok, warn, bad and none; none is "nobody here knows", and is never shown as good news.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from traceability.consumer import ProductFacts, State
from verifier.verdict import Report, Verdict

Tone = Literal["ok", "warn", "bad", "none"]
Picture = Literal["whole", "pending", "worn", "broken", "half"]

DETAIL_LENGTH_MAX = 300  # of a reason that is quoted from the report
FACT_LENGTH_MAX = 80  # of a fact that a partner wrote: the page stays under 30 KB whatever they write


@dataclass(frozen=True, slots=True)
class Step:
    """One event of the journey, ready to be shown. ends: the pack's life ends here, badly."""

    title: str
    who: str
    place: str
    when: str
    iso: str
    inside: str
    ends: bool


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


@dataclass(frozen=True, slots=True)
class CheckView:
    """One of the five questions: tone for the eye, state in a word, answer in sentences."""

    question: str
    tone: Tone
    state: str
    answer: str


@dataclass(frozen=True, slots=True)
class PackPage:
    """Everything that the pack's page shows."""

    tone: Tone
    picture: Picture
    badge: str
    headline: str
    lead: str
    limit: str
    facts: tuple[tuple[str, str], ...]
    checks: tuple[CheckView, ...]
    journey_note: str
    steps: tuple[Step, ...]
    steps_omitted: str
    own_word: str
    evidence_path: str
    evidence_name: str
    checked_at: str
    checked_iso: str


COPY_LIMIT = (
    "This is about the record. A printed code can be copied, so it cannot prove that the pack in your hand is"
    " the one recorded."
)
OWN_WORD = (
    "This page is this server’s own check of the evidence file below. You need not take its word for it."
)

# What makes a pack unfit, in the record's own words: a headline, and what to do.
_UNFIT = {
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
_HANDED_OUT = {
    State.DISPENSED: ("Already dispensed", "dispensed", "as handed to a patient"),
    State.SOLD: ("Already sold", "sold", "as sold"),
}


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a pack is unfit: what the record calls it, since when, and by whose word."""

    state: State
    at: datetime | None
    by: str | None

    @property
    def headline(self) -> str:
        return _UNFIT[self.state][0]

    @property
    def advice(self) -> str:
        return _UNFIT[self.state][1]


@dataclass(frozen=True, slots=True)
class _Hero:
    """The top of the page."""

    tone: Tone
    picture: Picture
    badge: str
    headline: str
    lead: str


def day(moment: date | datetime) -> str:
    """3 November 2026, in UTC."""
    if isinstance(moment, datetime):
        moment = moment.astimezone(UTC).date()
    return f"{moment.day} {moment:%B %Y}"


def minute(moment: datetime) -> str:
    """3 Nov 2026, 14:05 UTC."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M} UTC"


def tell(pack: Pack, *, now: datetime, steps_max: int, evidence_path: str, evidence_name: str) -> PackPage:
    """The page of one pack.

    pack.report  of the evidence bundle that the page offers, checked against what this server pins
    pack.steps   in log order
    """
    trouble = _trouble(pack, now)
    hero = _hero(pack, trouble)
    return PackPage(
        tone=hero.tone,
        picture=hero.picture,
        badge=hero.badge,
        headline=hero.headline,
        lead=hero.lead,
        limit=COPY_LIMIT,
        facts=_shown_facts(pack.facts),
        checks=(
            _issued(pack),
            _intact(pack),
            _safe(pack, trouble),
            _on_sale(pack, trouble),
            _copied(pack),
        ),
        journey_note=_journey_note(pack),
        steps=tuple(pack.steps[-steps_max:]),
        steps_omitted=_omitted(len(pack.steps) - steps_max),
        own_word=OWN_WORD,
        evidence_path=evidence_path,
        evidence_name=evidence_name,
        checked_at=minute(now),
        checked_iso=now.astimezone(UTC).isoformat(timespec="seconds"),
    )


def _trouble(pack: Pack, now: datetime) -> _Trouble | None:
    """The last alarm in the record, even if something harmless followed; else an end, or the expiry date."""
    facts = pack.facts
    if facts.alarms:
        state, sighting = facts.alarms[-1]
        return _Trouble(state, sighting.time, pack.signers.get(sighting.seq))
    if facts.state in _UNFIT and facts.ended is not None:
        return _Trouble(facts.state, facts.ended.time, pack.signers.get(facts.ended.seq))
    # The date must have passed everywhere on Earth.
    if facts.is_expired((now.astimezone(UTC) - timedelta(hours=12)).date()):
        return _Trouble(State.EXPIRED, None, None)
    return None


def _hero(pack: Pack, trouble: _Trouble | None) -> _Hero:
    """The worst thing known decides."""
    verdict = pack.verdict
    if verdict is Verdict.INVALID:
        return _Hero(
            "bad",
            "broken",
            "Record does not verify",
            "Do not rely on this record",
            "Something in it was altered, damaged or false. That may be a fault of this server or of whoever"
            " wrote"
            " it; either way nothing below proves anything. Ask where you got the pack.",
        )
    if verdict is Verdict.SUSPECT:
        return _Hero(
            "warn",
            "worn",
            "Record in doubt",
            "Treat this pack with caution",
            "The record is unaltered, but there is a known reason not to rely on it. "
            + _reason(pack.report, "suspect", "A key that signed it was compromised or withdrawn."),
        )
    if verdict is Verdict.UNKNOWN_KEY:
        return _Hero(
            "none",
            "half",
            "Not checked",
            "This record could not be checked",
            "Something needed to decide is missing on this server, so it says neither yes nor no. "
            + _reason(pack.report, "unknown", ""),
        )
    anchored = verdict is Verdict.VALID
    proved = "Record verified" if anchored else "Not yet time-stamped"
    if trouble is not None:
        return _Hero("bad", "worn", f"{proved}: {_word(trouble)}", trouble.headline, trouble.advice)
    doubt = _doubt_of_copy(pack.facts)
    if doubt:
        return _Hero("warn", "worn", f"{proved}: a contradiction", "Two packs may carry this number", doubt)
    if pack.facts.state in _HANDED_OUT and pack.facts.ended is not None:
        headline, word, how = _HANDED_OUT[pack.facts.state]
        return _Hero(
            "warn",
            "whole" if anchored else "pending",
            f"{proved}: {word}",
            headline,
            f"This pack was recorded {how} on {day(pack.facts.ended.time)}{_by(pack, pack.facts.ended.seq)}."
            " If that"
            " was you, all is as it should be. If it is being offered to you now, do not take it.",
        )
    if pack.facts.state is State.WITHHELD:
        return _Hero(
            "warn",
            "worn",
            f"{proved}: not for sale",
            "Recorded as not for sale",
            "The last company that recorded this pack set it aside. Ask where you got it before you use it.",
        )
    if pack.erased:
        return _Hero(
            "none",
            "half",
            "Partly erased",
            "Part of this record was erased",
            f"{_entries(len(pack.steps))} that can still be read verify. {_count(pack.erased, 'entry')}"
            " erased since, so"
            " nobody can say any more what stood there.",
        )
    if not anchored:
        return _Hero(
            "warn",
            "pending",
            proved,
            "Recorded, and still very new",
            "Every signature and every place in the ledger verifies. The independent time-stamp that fixes"
            " it from"
            " outside is still to come: look again in a while.",
        )
    return _Hero(
        "ok",
        "whole",
        proved,
        "This pack’s record checks out",
        f"{_entries(len(pack.steps))} signed by the companies that handled it, in an unbroken ledger that an"
        " independent time-stamp has fixed.",
    )


def _doubt_of_copy(facts: ProductFacts) -> str:
    """What the record itself says against there being one pack of this number; "" if nothing does."""
    if facts.commissioned_again:
        return (
            "By the record this number was given out more than once. One of the packs that carry it may be a"
            " copy:"
            " ask your pharmacy before you use it."
        )
    if facts.after_end and facts.ended is not None:
        return (
            f"By the record this pack’s life ended on {day(facts.ended.time)}, and something carrying its"
            " number was"
            " seen again. One of the two may be a copy: ask your pharmacy before you use it."
        )
    return ""


def _issued(pack: Pack) -> CheckView:
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


def _intact(pack: Pack) -> CheckView:
    question = "Record intact?"
    verdict = pack.verdict
    if verdict is Verdict.INVALID:
        return CheckView(
            question, "bad", "Broken", _reason(pack.report, "bad", "A proof in the record fails.")
        )
    if verdict is Verdict.SUSPECT:
        return CheckView(
            question, "warn", "In doubt", _reason(pack.report, "suspect", "A key that signed it is in doubt.")
        )
    if verdict is Verdict.UNKNOWN_KEY:
        return CheckView(
            question, "none", "Not checked", "It was not, or not wholly, checked by this server."
        )
    proved = (
        f"{_entries(len(pack.steps))} shown here verify: signatures, places in the ledger, and the keys’"
        " history"
    )
    if pack.erased:
        return CheckView(
            question,
            "none",
            "Partly",
            f"{proved}. {_count(pack.erased, 'more entry', 'more entries')} erased.",
        )
    if verdict is Verdict.NOT_YET_ANCHORED:
        return CheckView(
            question, "warn", "Very new", f"{proved}. The independent time-stamp is still to come."
        )
    return CheckView(question, "ok", "Intact", f"{proved}, and independent time-stamps that cover them.")


def _safe(pack: Pack, trouble: _Trouble | None) -> CheckView:
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
        " about the"
        " pack looks wrong, ask your pharmacist.",
    )


def _on_sale(pack: Pack, trouble: _Trouble | None) -> CheckView:
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


def _copied(pack: Pack) -> CheckView:
    question = "Copied?"
    if pack.verdict is not Verdict.INVALID:
        doubt = _doubt_of_copy(pack.facts)
        if doubt:
            return CheckView(question, "warn", "Possible", doubt)
        if pack.facts.state in _HANDED_OUT:
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
        " that its"
        " seal is unbroken.",
    )


def _shown_facts(facts: ProductFacts) -> tuple[tuple[str, str], ...]:
    shown: list[tuple[str, str]] = []
    if facts.description is not None:
        shown.append(("Product", facts.description.text[:FACT_LENGTH_MAX]))
    shown += [("Product number (GTIN)", facts.gtin or ""), ("Serial number", facts.serial or "")]
    if facts.lot is not None:
        shown.append(("Lot", facts.lot.text[:FACT_LENGTH_MAX]))
    if facts.expiry is not None:
        shown.append(("Expiry date", day(facts.expiry)))
    return tuple(shown)


def _journey_note(pack: Pack) -> str:
    if pack.verdict is Verdict.INVALID:
        return "What the broken record says. Do not rely on any of it."
    return (
        "What each company signed, oldest first. Times and places are theirs; that no step is missing is not"
        " proved."
    )


def _word(trouble: _Trouble) -> str:
    return "expired" if trouble.state is State.EXPIRED else trouble.state.value


def _by(pack: Pack, seq: int) -> str:
    who = pack.signers.get(seq)
    return f" by {who}" if who else ""


def _count(number: int, one: str, many: str = "entries") -> str:
    return f"One {one} was" if number == 1 else f"{number} {many} were"


def _omitted(count: int) -> str:
    if count <= 0:
        return ""
    return f"{count} earlier {'step is' if count == 1 else 'steps are'} in the evidence file."


def _entries(count: int) -> str:
    return "One entry" if count == 1 else f"All {count} entries"


def _reason(report: Report, outcome: str, otherwise: str) -> str:
    """The report's first reason of this kind, cut to a length that a page can hold."""
    detail = next((check.detail for check in report.checks if check.outcome == outcome), otherwise)
    return detail if len(detail) <= DETAIL_LENGTH_MAX else detail[: DETAIL_LENGTH_MAX - 1] + "…"
