"""Step 4 of 9: is this value a good one for its application identifier? Form first, then content.

One function per check that ai_table names. Each takes one part of a value and returns None, or what is wrong
with which of its characters. They say whether a value can be right, never whether it is true.
Source: GS1 General Specifications, section 3, and the ISO standards that it names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from traceability.errors import IdentifierMalformed
from traceability.gs1 import coupons
from traceability.gs1.ai_table import Ai, Part
from traceability.gs1.check_digit import PAIR_DATA_MAX, check_digit, check_pair
from traceability.gs1.code_lists import (
    COUNTRIES,
    COUNTRY_LETTERS,
    CURRENCIES,
    MEDIA,
    PACKAGES,
)

COMPANY_PREFIX_FEWEST = 4  # the shortest that GS1 gives out
IBAN_FEWEST = 11  # no country's is shorter
LATITUDE_MOST, LONGITUDE_MOST = 1_800_000_000, 3_600_000_000  # ten-millionths of a degree, from -90 and -180
# A two-digit year lies within fifty years of this one. Fixed, so that an audit in years to come judges alike.
YEAR_OF_REFERENCE = 2026

# What is wrong: code, sentence, first character, how many. Characters count within the part.
Wrong = tuple[str, str, int, int]
Check = Callable[[str], Wrong | None]

_OUTSIDE = {
    "n": re.compile(r"[^0-9]"),
    "x": re.compile(r"[^!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]"),
    "y": re.compile(r"[^#\-/0-9A-Z]"),
    "z": re.compile(r"[^A-Za-z0-9\-_]"),
}
_SETS = {
    "n": "digits",
    "x": "GS1's character set 82",
    "y": "GS1's character set 39",
    "z": "GS1's character set 64",
}
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SEQUENCE = re.compile(r"([0-9]+)/([0-9]+)")
_IMPORTER = re.compile(r"[\-0-9A-Z_a-z]")


def verify_value(ai: Ai, value: str) -> None:
    """Check a decoded value against everything that its application identifier asks of it.

    Raises IdentifierMalformed "gs1.length", "gs1.charset", "gs1.check-digit", "gs1.date", "gs1.code",
    "gs1.company-prefix", "gs1.percent-encoding", "gs1.piece" or "gs1.value"; its place counts from the start
    of the value.
    """
    if not ai.shortest <= len(value) <= ai.longest:
        raise IdentifierMalformed(
            "gs1.length",
            f"({ai.code}) {ai.title} has {len(value)} characters; expected {_lengths(ai)}",
            place=(0, len(value)),
        )
    at = 0
    for part in ai.parts:
        text = value[at : at + part.most]
        if not text and part.optional:
            continue
        wrong = _part(part, text)
        if wrong is not None:
            code, sentence, first, count = wrong
            # What is missing is missed behind the last character.
            place = (min(at + first, len(value) - 1), max(1, count))
            raise IdentifierMalformed(code, f"({ai.code}) {ai.title}: {sentence}", place=place)
        at += len(text)


def _lengths(ai: Ai) -> str:
    return str(ai.shortest) if ai.shortest == ai.longest else f"{ai.shortest} to {ai.longest}"


def _part(part: Part, text: str) -> Wrong | None:
    if len(text) < part.fewest:
        return "gs1.length", f"{text!r} is too short, expected {part.fewest} characters", 0, len(text)
    checked = text
    if part.characters == "z":
        checked = text.rstrip("=")
        padding = len(text) - len(checked)
        # Padding fills up the last group, as GS1's own engine counts it.
        if padding > 2 or (padding and len(text) % 3):
            return "gs1.charset", "the = at the end do not fill the last group", len(checked), padding
    outside = _OUTSIDE[part.characters].search(checked)
    if outside is not None:
        return "gs1.charset", f"{outside[0]!r} is not in {_SETS[part.characters]}", outside.start(), 1
    for name in part.checks:
        wrong = _CHECKS[name](text)
        if wrong is not None:
            return wrong
    return None


def _digit(text: str) -> Wrong | None:
    expected = check_digit(text[:-1])
    if text[-1] == expected:
        return None
    return (
        "gs1.check-digit",
        f"{text} ends in check digit {text[-1]}; its digits ask for {expected}",
        len(text) - 1,
        1,
    )


def _pair(text: str) -> Wrong | None:
    if len(text) < 2:
        return "gs1.length", "too short for two check characters", 0, len(text)
    data = text[:-2]
    expected = check_pair(data) if 0 < len(data) <= PAIR_DATA_MAX else "22"
    if text[-2:] == expected:
        return None
    sentence = f"{text} ends in check characters {text[-2:]}; its characters ask for {expected}"
    return "gs1.check-digit", sentence, len(data), 2


def _owner(text: str, start: int = 0) -> Wrong | None:
    head = text[start : start + COMPANY_PREFIX_FEWEST]
    if len(head) < COMPANY_PREFIX_FEWEST:
        sentence = f"{text!r} is too short to begin with a GS1 company prefix"
        return "gs1.company-prefix", sentence, 0, len(text)
    for i, character in enumerate(head):
        if character not in "0123456789":
            sentence = f"a GS1 company prefix begins with {COMPANY_PREFIX_FEWEST} digits, not {head!r}"
            return "gs1.company-prefix", sentence, start + i, 1
    return None


def _owner1(text: str) -> Wrong | None:
    return _owner(text, 1)


def _calendar(year: int, text: str, at: int, day_may_be_zero: bool) -> Wrong | None:
    month, day = int(text[at : at + 2]), int(text[at + 2 : at + 4])
    if not 1 <= month <= 12:
        return "gs1.date", f"there is no month {text[at : at + 2]}", at, 2
    if day == 0 and day_may_be_zero:
        return None
    try:
        date(year, month, day)
    except ValueError:
        return "gs1.date", f"{year}-{month:02} has no day {text[at + 2 : at + 4]}", at + 2, 2
    return None


def _full_year(yy: int) -> int:
    # 49 years ahead are still this century, 51 are the last one: GS1 General Specifications, section 7.12.
    century = YEAR_OF_REFERENCE // 100 * 100
    distance = yy - YEAR_OF_REFERENCE % 100
    return century + yy + (-100 if distance >= 51 else 100 if distance <= -50 else 0)


def _day0(text: str) -> Wrong | None:
    return _calendar(_full_year(int(text[:2])), text, 2, day_may_be_zero=True)


def _day(text: str) -> Wrong | None:
    return _calendar(_full_year(int(text[:2])), text, 2, day_may_be_zero=False)


def _date(text: str) -> Wrong | None:
    if text[:4] == "0000":
        return "gs1.date", "there is no year 0000", 0, 4
    return _calendar(int(text[:4]), text, 4, day_may_be_zero=False)


def _hour(text: str) -> Wrong | None:
    return None if int(text[:2]) < 24 else ("gs1.date", f"there is no hour {text[:2]}", 0, 2)


def _sixty(text: str, at: int = 0) -> Wrong | None:
    return None if int(text[at : at + 2]) < 60 else ("gs1.date", f"{text[at : at + 2]} is over 59", at, 2)


def _minute(text: str) -> Wrong | None:
    return _hour(text) or _sixty(text, 2)


def _one_of(codes: frozenset[str] | str, what: str) -> Check:
    def check(text: str) -> Wrong | None:
        return None if text in codes else ("gs1.code", f"{text!r} is no {what}", 0, len(text))

    return check


def _piece(text: str) -> Wrong | None:
    if 0 < int(text[:2]) <= int(text[2:]):
        return None
    return "gs1.piece", f"piece {text[:2]} of {text[2:]} cannot be", 0, 4


def _positive(text: str) -> Wrong | None:
    return None if text.strip("0") else ("gs1.value", f"{text} may not be zero", 0, len(text))


def _zero(text: str) -> Wrong | None:
    return ("gs1.value", f"{text} must be zero", 0, len(text)) if text.strip("0") else None


def _no_leading_zero(text: str) -> Wrong | None:
    if text[0] != "0" or text == "0":
        return None
    return "gs1.value", f"{text} has a leading zero", 0, len(text) - len(text.lstrip("0"))


def _non_digit(text: str) -> Wrong | None:
    if any(character not in "0123456789" for character in text):
        return None
    return "gs1.value", "at least one character must be no digit", 0, len(text)


def _importer(text: str) -> Wrong | None:
    if _IMPORTER.fullmatch(text):
        return None
    return "gs1.charset", f"{text!r} is no importer index: a letter, a digit, - or _", 0, 1


def _escaped(text: str) -> Wrong | None:
    bad = _BAD_ESCAPE.search(text)
    if bad is None:
        return None
    return "gs1.percent-encoding", "a % needs two hexadecimal digits behind it", bad.start(), 1


def _at_most(most: int, what: str) -> Check:
    def check(text: str) -> Wrong | None:
        return None if int(text) <= most else ("gs1.value", f"{text} is no {what}", 0, len(text))

    return check


def _sequence(text: str) -> Wrong | None:
    match = _SEQUENCE.fullmatch(text)
    if match is None:
        return "gs1.value", f"{text!r} is not written as 1/3", 0, len(text)
    for group in (1, 2):
        if match[group][0] == "0":
            return "gs1.value", f"{match[group]} begins with a zero", match.start(group), len(match[group])
    if int(match[1]) > int(match[2]):
        return "gs1.value", f"{match[1]} of {match[2]} cannot be", 0, len(text)
    return None


def _iban(text: str) -> Wrong | None:
    if len(text) < IBAN_FEWEST:
        return "gs1.length", f"an IBAN has at least {IBAN_FEWEST} characters", 0, len(text)
    if text[:2] not in COUNTRY_LETTERS:
        return "gs1.code", f"{text[:2]!r} is no country", 0, 2
    number = 0
    for i in (*range(4, len(text)), *range(4)):
        value = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".find(text[i])
        if value < 0:
            return "gs1.charset", f"{text[i]!r} is in no IBAN", i, 1
        number = (number * (10 if value < 10 else 100) + value) % 97
    if number != 1:
        return "gs1.check-digit", f"the check digits {text[2:4]} do not fit this IBAN", 2, 2
    return None


_CHECKS: dict[str, Check] = {
    "country": _one_of(COUNTRIES, "country of ISO 3166"),
    "country2": _one_of(COUNTRY_LETTERS, "country of ISO 3166"),
    "country999": _one_of(COUNTRIES | {"999"}, "country of ISO 3166, nor 999"),
    "coupon": coupons.check_coupon,
    "currency": _one_of(CURRENCIES, "currency of ISO 4217"),
    "date": _date,
    "day": _day,
    "day0": _day0,
    "digit": _digit,
    "escaped": _escaped,
    "hour": _hour,
    "iban": _iban,
    "importer": _importer,
    "latitude": _at_most(LATITUDE_MOST, "latitude"),
    "longitude": _at_most(LONGITUDE_MOST, "longitude"),
    "medium": _one_of(MEDIA, "AIDC media type"),
    "minus": _one_of("-", "minus sign"),
    "minute": _minute,
    "noleadingzero": _no_leading_zero,
    "nondigit": _non_digit,
    "offer": coupons.check_offer,
    "owner": _owner,
    "owner1": _owner1,
    "package": _one_of(PACKAGES, "package type of UN/ECE recommendation 21"),
    "pair": _pair,
    "piece": _piece,
    "positive": _positive,
    "sequence": _sequence,
    "sex": _one_of(frozenset("0129"), "code of ISO 5218"),
    "sixty": _sixty,
    "winding": _one_of(frozenset("019"), "winding direction"),
    "yesno": _one_of(frozenset("01"), "yes (1) or no (0)"),
    "zero": _zero,
}
