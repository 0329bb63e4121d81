"""Step 9 of 9, in a consumer's words: pages without a record, each with a headline of its own.

Not knowing is never shown as good news, and never as bad news either.
"""

from __future__ import annotations

from dataclasses import dataclass

from api.questions import DETAIL_LENGTH_MAX, Tone
from api.story import Picture

Facts = tuple[tuple[str, str], ...]  # what people call it, and how it is printed


@dataclass(frozen=True, slots=True)
class Notice:
    """A page without a record: what happened, in the words of somebody who holds a pack."""

    tone: Tone
    picture: Picture
    badge: str
    headline: str
    lead: str
    limit: str = ""
    facts: tuple[tuple[str, str], ...] = ()


def unknown(facts: Facts) -> Notice:
    """A well-formed code that this ledger has never seen."""
    return Notice(
        "none",
        "half",
        "No record",
        "This ledger has no record of this pack",
        "The code is well-formed, but nobody has recorded anything about it here. The pack may belong to"
        " another system, may not be recorded yet, or its code may be made up.",
        "Compare both numbers with the print on the pack. If they match, ask where you got it, and do not"
        " rely on the code.",
        facts,
    )


def product_only(facts: Facts) -> Notice:
    """A code without a serial number names a product, not one pack."""
    return Notice(
        "none",
        "half",
        "No serial number",
        "This code names a product, not one pack",
        "Only a code with a serial number can have a record of its own. Look for a square code on the pack,"
        " or for “SN” beside it.",
        facts=facts,
    )


def malformed(detail: str, *, check_digit: bool) -> Notice:
    """A code that no pack can have."""
    why = (
        "The product number’s last digit does not fit the others, as it does after a typing or reading"
        " mistake."
        if check_digit
        else f"What it says breaks the rules of such codes: {detail[:DETAIL_LENGTH_MAX]}."
    )
    return Notice(
        "warn",
        "worn",
        "Not a valid code",
        "This code cannot be right",
        f"{why} Nothing was looked up.",
        "Scan again, or type both numbers once more. If it stays like this, do not rely on the pack, and"
        " ask where you got it.",
    )


def withheld(facts: Facts) -> Notice:
    """The ledger's policy does not show payloads to the public."""
    return Notice(
        "none",
        "half",
        "Not public",
        "What this ledger holds is not public",
        "The companies that keep this ledger have not opened its records to everyone, so nothing can be"
        " shown or checked on this page.",
        facts=facts,
    )


def damaged(facts: Facts) -> Notice:
    """What is stored cannot even be read as it was written."""
    return Notice(
        "bad",
        "broken",
        "Record damaged",
        "Do not rely on this record",
        "What this server holds about the pack is not what was written: it was altered or is broken."
        " Nothing of it can be shown as proved. Ask where you got the pack.",
        facts=facts,
    )


def too_long(facts: Facts) -> Notice:
    """More events than one evidence file holds: nothing was checked, so nothing is said."""
    return Notice(
        "none",
        "half",
        "Not checked",
        "This record is too long to check here",
        "It has more entries than one evidence file holds, far more than a pack usually has. That alone is"
        " a reason to ask where you got it.",
        facts=facts,
    )


def unavailable() -> Notice:
    """The server could not look: no verdict, in either direction."""
    return Notice(
        "none",
        "half",
        "Not checked",
        "The record cannot be read just now",
        "This server could not look it up. That says nothing about the pack, neither good nor bad. Try"
        " again in a minute.",
    )
