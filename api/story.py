"""Step 9 of 9, in a consumer's words: what was found about a pack, and not one thing more.

Pure: a report and the record's facts in, words out. A headline is the worst thing known. Nothing here
says "genuine": the record of a pack can be proved, the pack in a hand cannot, for a code can be copied.
Tones are ok, warn, bad and none; none is "nobody here knows", and is never shown as good news.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from api.printed import printed
from api.questions import (
    DETAIL_LENGTH_MAX,
    HANDED_OUT,
    CheckView,
    Pack,
    Step,
    Tone,
    Trouble,
    copied,
    count_in_words,
    day,
    entries_in_words,
    find_doubt,
    find_trouble,
    intact,
    issued,
    minute,
    on_sale,
    reason,
    safe,
)
from traceability.consumer import ProductFacts, State
from verifier.verdict import Verdict

Picture = Literal["whole", "pending", "worn", "broken", "half"]

LEFT_OPEN_MAX = 10  # sentences of what the report did not check; the evidence file yields all of them
FACT_LENGTH_MAX = 80  # of a fact that a partner wrote: the page stays under 30 KB whatever they write


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
    first_steps: tuple[Step, ...]  # where it comes from is never left out
    steps_omitted: str
    steps: tuple[Step, ...]
    own_word: str
    left_open: tuple[str, ...]
    evidence_path: str
    evidence_name: str
    checked_at: str
    checked_iso: str


FIRST_STEPS = 3

COPY_LIMIT = (
    "This is about the record. A printed code can be copied, so it cannot prove that the pack in your hand is"
    " the one recorded."
)
OWN_WORD = (
    "This page is this server’s own check of the evidence file below. You need not take its word for it."
)


@dataclass(frozen=True, slots=True)
class _Hero:
    """The top of the page."""

    tone: Tone
    picture: Picture
    badge: str
    headline: str
    lead: str


def tell(pack: Pack, *, now: datetime, steps_max: int, evidence_path: str, evidence_name: str) -> PackPage:
    """The page of one pack.

    pack.report  of the evidence bundle that the page offers, checked against what this server pins
    pack.steps   in log order
    """
    trouble = find_trouble(pack, now)
    hero = _hero(pack, trouble)
    newest = max(FIRST_STEPS, len(pack.steps) - (steps_max - FIRST_STEPS))
    return PackPage(
        tone=hero.tone,
        picture=hero.picture,
        badge=hero.badge,
        headline=hero.headline,
        lead=hero.lead,
        limit=COPY_LIMIT,
        facts=_shown_facts(pack.facts),
        checks=(
            issued(pack),
            intact(pack),
            safe(pack, trouble),
            on_sale(pack, trouble),
            copied(pack),
        ),
        journey_note=_journey_note(pack),
        first_steps=tuple(pack.steps[:FIRST_STEPS]),
        steps_omitted=_omitted(sum(step.times for step in pack.steps[FIRST_STEPS:newest])),
        steps=tuple(pack.steps[newest:]),
        own_word=OWN_WORD,
        left_open=tuple(sentence[:DETAIL_LENGTH_MAX] for sentence in pack.report.not_checked[:LEFT_OPEN_MAX]),
        evidence_path=evidence_path,
        evidence_name=evidence_name,
        checked_at=minute(now),
        checked_iso=now.astimezone(UTC).isoformat(timespec="seconds"),
    )


def _hero(pack: Pack, trouble: Trouble | None) -> _Hero:
    """The worst thing known decides."""
    verdict = pack.verdict
    if verdict is Verdict.INVALID:
        return _Hero(
            "bad",
            "broken",
            "Record does not verify",
            "Do not rely on this record",
            "Something in it was altered, damaged or false. That may be a fault of this server or of"
            " whoever wrote it; either way nothing below proves anything. Ask where you got the pack.",
        )
    if verdict is Verdict.SUSPECT:
        return _Hero(
            "warn",
            "worn",
            "Record in doubt",
            "Treat this pack with caution",
            "The record is unaltered, but there is a known reason not to rely on it. "
            + reason(pack.report, "suspect", "A key that signed it was compromised or withdrawn."),
        )
    if verdict is Verdict.UNKNOWN_KEY:
        return _Hero(
            "none",
            "half",
            "Not checked",
            "This record could not be checked",
            "Something needed to decide is missing on this server, so it says neither yes nor no. "
            + reason(pack.report, "unknown", ""),
        )
    anchored = verdict is Verdict.VALID
    proved = "Record verified" if anchored else "Not yet time-stamped"
    if trouble is not None:
        return _Hero("bad", "worn", f"{proved}: {_word(trouble)}", trouble.headline, trouble.advice)
    doubt = find_doubt(pack.facts)
    if doubt:
        return _Hero("warn", "worn", f"{proved}: a contradiction", "Two packs may carry this number", doubt)
    if pack.facts.state in HANDED_OUT and pack.facts.ended is not None:
        headline, word, how = HANDED_OUT[pack.facts.state]
        return _Hero(
            "warn",
            "whole" if anchored else "pending",
            f"{proved}: {word}",
            headline,
            f"This pack was recorded {how} on {day(pack.facts.ended.time)}{_by(pack, pack.facts.ended.seq)}."
            " If that was you, all is as it should be. If it is being offered to you now, do not take it.",
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
        gone = count_in_words(pack.erased, "entry")
        return _Hero(
            "warn",
            "worn",
            "Incomplete",
            "Part of this record is missing",
            f"What can still be read verifies. The content of {gone} no longer kept, so nobody can say any"
            " more what stood there.",
        )
    if not anchored:
        return _Hero(
            "warn",
            "pending",
            proved,
            "Recorded, and still very new",
            "Every signature and every place in the ledger verifies. The independent time-stamp that fixes"
            " it from outside is still to come: look again in a while.",
        )
    each = "" if pack.entries_count == 1 else "each "
    return _Hero(
        "ok",
        "whole",
        proved,
        "This pack’s record checks out",
        f"{entries_in_words(pack.entries_count)}, {each}signed by the company that wrote it, in an unbroken"
        " ledger that an independent time-stamp has fixed.",
    )


def _shown_facts(facts: ProductFacts) -> tuple[tuple[str, str], ...]:
    shown: list[tuple[str, str]] = []
    if facts.description is not None:
        shown.append(("Product", facts.description.text[:FACT_LENGTH_MAX]))
    shown += printed(facts.name)
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


def _word(trouble: Trouble) -> str:
    return "expired" if trouble.state is State.EXPIRED else trouble.state.value


def _by(pack: Pack, seq: int) -> str:
    who = pack.signers.get(seq)
    return f" by {who}" if who else ""


def _omitted(count: int) -> str:
    if count <= 0:
        return ""
    return f"{count} more {'step is' if count == 1 else 'steps are'} in the evidence file."
