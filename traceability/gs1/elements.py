"""Step 4 of 9: element strings. What a GS1 symbol holds: application identifiers (AIs), each with its value.

    (01)09521141123454(21)100(10)L1       bracketed, as people read it; a bracket in a value is written \\(
    ^010952114112345421100^10L1           as a scanner reads it: FNC1 begins it, and ends what has no fixed
    length

FNC1 is ^ or the character GS (29). Strict, as GS1's own syntax engine is with its default options: every AI
must be known, every value good, and AIs that need or exclude one another are looked at together. Source: GS1
General Specifications, sections 3, 4.14 and 7.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from traceability.errors import IdentifierMalformed
from traceability.gs1.ai_table import (
    AI_LENGTH_MAX,
    AI_LENGTH_MIN,
    KEYS_WITH_OPTIONAL_SERIAL,
    Ai,
    ai_table,
    find_ai,
    is_of,
)
from traceability.gs1.value_checks import verify_value

GS = "\x1d"
FNC1 = "^"
ELEMENTS_MAX = 64  # as GS1's engine; the largest symbol holds fewer
ELEMENT_STRING_LENGTH_MAX = 8192  # the largest QR code holds 7,089 digits


class Element(NamedTuple):
    """One AI and its value, decoded, with the place of the AI in what was read."""

    ai: str
    value: str
    start: int = 0


def parse_bracketed(text: str, start: int = 0) -> tuple[Element, ...]:
    """Read "(01)…(21)…".

    start  where the text stands in what was read, for the places of faults

    Raises IdentifierMalformed "gs1.element-string", "gs1.ai", and what verify_value and verify_together
    raise.
    """
    _require_size(text, start)
    found: list[Element] = []
    at = 0
    while at < len(text):
        if text[at] != "(":
            raise _syntax(f"expected ( and an application identifier, found {text[at]!r}", start + at, 1)
        close = text.find(")", at)
        if close < 0:
            raise _syntax("this bracket is never closed", start + at, len(text) - at)
        ai = known_ai(text[at + 1 : close], start + at + 1)
        value, end = _unescape(text, close + 1)
        if not value:
            raise _syntax(f"({ai.code}) has no value", start + at, close + 1 - at)
        # A value is as long as the brackets say, so its places shift by one for every escape in it.
        _verify(ai, value, [start + i for i in _places(text, close + 1, end)])
        found.append(Element(ai.code, value, start + at))
        at = end
    return _finish(found, start)


def parse_raw(text: str, start: int = 0, *, separators: str = GS) -> tuple[Element, ...]:
    """Read what a scanner gives, without its first FNC1 or symbology identifier.

    separators  the characters that stand for FNC1

    Raises as parse_bracketed() does.
    """
    _require_size(text, start)
    found: list[Element] = []
    at = 0
    while at < len(text):
        ai = find_ai(text, at)
        if ai is None:
            shown = text[at : at + AI_LENGTH_MAX]
            raise IdentifierMalformed(
                "gs1.ai",
                f"no application identifier begins with {shown!r}",
                place=(start + at, max(1, len(shown))),
            )
        first = at + len(ai.code)
        end = first
        while end < len(text) and text[end] not in separators:
            end += 1
        if ai.fixed:
            end = min(end, first + ai.longest)  # the next AI follows at once
        if first == end:
            raise _syntax(f"({ai.code}) has no value", start + at, len(ai.code))
        value = text[first:end]
        _verify(ai, value, range(start + first, start + end))
        found.append(Element(ai.code, value, start + at))
        at = end
        if at < len(text) and text[at] in separators:
            at += 1
    return _finish(found, start)


def known_ai(digits: str, start: int) -> Ai:
    """The AI of exactly these digits. Raises IdentifierMalformed "gs1.ai"."""
    ai = ai_table().get(digits)
    if ai is None:
        shown = digits[:16]
        reason = f"there is no application identifier {shown!r}"
        if not (digits.isascii() and digits.isdigit() and AI_LENGTH_MIN <= len(digits) <= AI_LENGTH_MAX):
            reason = f"{shown!r} is no application identifier: {AI_LENGTH_MIN} to {AI_LENGTH_MAX} digits"
        raise IdentifierMalformed("gs1.ai", reason, place=(start, max(1, len(digits))))
    return ai


def verify_together(elements: Sequence[Element]) -> None:
    """Check that these may stand on one thing: nothing excluded, nothing missing, nothing said twice.

    Raises IdentifierMalformed "gs1.excluded", "gs1.required", "gs1.repeated" or "gs1.serial".
    """
    codes = {element.ai for element in elements}
    first: dict[str, Element] = {}
    for element in elements:
        ai = ai_table()[element.ai]
        place = (element.start, len(element.ai))
        for pattern in ai.excludes:
            other = next((code for code in sorted(codes) if code != ai.code and is_of(code, pattern)), None)
            if other is not None:
                raise IdentifierMalformed(
                    "gs1.excluded", f"({ai.code}) {ai.title} may not stand beside ({other})", place=place
                )
        for groups in ai.needs:
            if not any(_has_all(codes, ai.code, group) for group in groups):
                wanted = " or ".join(" with ".join(f"({code})" for code in group) for group in groups)
                raise IdentifierMalformed(
                    "gs1.required", f"({ai.code}) {ai.title} is nothing without {wanted}", place=place
                )
        earlier = first.setdefault(element.ai, element)
        if earlier.value != element.value:
            raise IdentifierMalformed(
                "gs1.repeated",
                f"({ai.code}) is {earlier.value[:40]!r} and then {element.value[:40]!r}",
                place=place,
            )
    if "8030" in codes:
        for code in KEYS_WITH_OPTIONAL_SERIAL:
            if code in first and len(first[code].value) == ai_table()[code].shortest:
                raise IdentifierMalformed(
                    "gs1.serial",
                    f"({code}) needs its serial, for (8030) is the signature of a single thing",
                    place=(first[code].start, len(code)),
                )


def render_bracketed(elements: Iterable[Element]) -> str:
    """As "(01)…(21)…"; a bracket that opens in a value becomes \\(."""
    return "".join(f"({element.ai})" + element.value.replace("(", "\\(") for element in elements)


def render_raw(elements: Sequence[Element], *, fnc1: str = GS) -> str:
    """As a symbol holds them, without the first FNC1 or symbology identifier."""
    text = ""
    for i, element in enumerate(elements):
        text += element.ai + element.value
        if not ai_table()[element.ai].fixed and i + 1 < len(elements):
            text += fnc1
    return text


def _finish(found: list[Element], start: int) -> tuple[Element, ...]:
    if not found:
        raise _syntax("there is no application identifier", start, 1)
    if len(found) > ELEMENTS_MAX:
        raise IdentifierMalformed(
            "gs1.length",
            f"{len(found)} application identifiers; at most {ELEMENTS_MAX} are read",
            place=(found[ELEMENTS_MAX].start, len(found[ELEMENTS_MAX].ai)),
        )
    return tuple(found)


def _require_size(text: str, start: int) -> None:
    if len(text) > ELEMENT_STRING_LENGTH_MAX:
        raise IdentifierMalformed(
            "gs1.length",
            f"an element string of {len(text)} characters; at most {ELEMENT_STRING_LENGTH_MAX} are read",
            place=(start + ELEMENT_STRING_LENGTH_MAX, 1),
        )


def _unescape(text: str, at: int) -> tuple[str, int]:
    value = ""
    while True:
        bracket = text.find("(", at)
        if bracket < 0:
            return value + text[at:], len(text)
        if text[bracket - 1] != "\\" or bracket == at:
            return value + text[at:bracket], bracket
        value += text[at : bracket - 1] + "("
        at = bracket + 1


def _places(text: str, at: int, end: int) -> list[int]:
    return [i for i in range(at, end) if not (text[i] == "\\" and text[i + 1 : i + 2] == "(")]


def _verify(ai: Ai, value: str, places: Sequence[int]) -> None:
    try:
        verify_value(ai, value)
    except IdentifierMalformed as e:
        if e.place is not None and places:
            first, count = e.place
            begin = places[min(first, len(places) - 1)]
            last = places[min(first + max(count, 1), len(places)) - 1]
            e.place = (begin, max(1, last + 1 - begin))
        raise


def _has_all(codes: set[str], own: str, group: tuple[str, ...]) -> bool:
    return all(any(code != own and is_of(code, wanted) for code in codes) for wanted in group)


def _syntax(reason: str, start: int, count: int) -> IdentifierMalformed:
    return IdentifierMalformed("gs1.element-string", reason, place=(start, max(1, count)))
