"""Step 8 of 9: values for the event hash: one spelling for each identifier, word, number and time.

This is the hash's own reading of Digital Links: it takes what GS1's rules refuse (a wrong check digit),
for a hash exists of whatever was sent, and it never changes, for hashes are kept.
Source: CBV 2.0, section 8.9, rules 5 to 9 and 14 to 18, and the reference implementation that it names.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite

from traceability.errors import IdentifierMalformed
from traceability.gs1 import canonical
from traceability.remembered import remembered

VALUES_CACHED = 16_384  # places, partners, steps and lots come back in every event
TEXT_CACHED_MAX = 512  # characters; a longer one would crowd out many

_CBV_URN = "urn:epcglobal:cbv:"
_CBV_STEMS = {
    "bizstep": "https://ref.gs1.org/cbv/BizStep-",
    "disp": "https://ref.gs1.org/cbv/Disp-",
    "btt": "https://ref.gs1.org/cbv/BTT-",
    "sdt": "https://ref.gs1.org/cbv/SDT-",
    "er": "https://ref.gs1.org/cbv/ER-",
}
_NUMBER = re.compile(r"[+\-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+\-]?[0-9]{1,3})?")
_NUMBER_LENGTH_MAX = 64
_LINK = re.compile(r"https?://[^/?#]*(/[^?#]*)")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+\-][0-9]{2}:[0-9]{2})"
)

_STEM = "https://id.gs1.org"
_TEXT = r"(?:[\"'\-.0-9;<=>?A-Z_a-z!()*+,:]|%[0-9A-Fa-f]{2})"
_KEYS = {
    ai: re.compile(shape)
    for ai, shape in {
        "00": r"[0-9]{18}",
        "01": r"[0-9]{8}|[0-9]{12,14}",
        "253": rf"[0-9]{{13}}{_TEXT}{{0,17}}",
        "255": r"[0-9]{13,25}",
        "401": rf"[0-9]{{4}}{_TEXT}{{0,26}}",
        "402": r"[0-9]{17}",
        "414": r"[0-9]{13}",
        "417": r"[0-9]{13}",
        "8003": rf"[0-9]{{14}}{_TEXT}{{0,16}}",
        "8004": rf"[0-9]{{4}}{_TEXT}{{0,26}}",
        "8006": r"[0-9]{18}",
        "8010": r"[0-9]{4}(?:[\-0-9A-Z#]|%[0-9A-Fa-f]{2}){0,26}",
        "8017": r"[0-9]{18}",
        "8018": r"[0-9]{18}",
    }.items()
}
_KEY_WORDS = {
    "sscc": "00",
    "gtin": "01",
    "gdti": "253",
    "gcn": "255",
    "ginc": "401",
    "gsin": "402",
    "gln": "414",
    "party": "417",
    "grai": "8003",
    "giai": "8004",
    "itip": "8006",
    "cpid": "8010",
    "gsrnp": "8017",
    "gsrn": "8018",
}
_QUALIFIER_WORDS = {"cpv": "22", "lot": "10", "ser": "21", "glnx": "254", "cpsn": "8011"}
# Finest first; the empty one may stand there and says nothing about which thing is meant.
_QUALIFIERS: dict[str, tuple[str, ...]] = {
    "01": ("21", "235", "10", "22"),
    "8006": ("21", "10", "22"),
    "414": ("254",),
    "8010": ("8011",),
}
_QUALIFIER_VALUES = {
    "21": re.compile(rf"{_TEXT}{{1,20}}"),
    "235": re.compile(rf"{_TEXT}{{1,28}}"),
    "10": re.compile(rf"{_TEXT}{{1,20}}"),
    "22": re.compile(rf"{_TEXT}{{1,20}}"),
    "254": re.compile(rf"{_TEXT}{{1,20}}"),
    "8011": re.compile(r"[0-9]{1,12}"),
}
_MUST_ESCAPE = re.compile(r"[!()*+,:]|%[0-9A-Fa-f]{2}")
# Our canonical names escape these three; the canonical link of the hash does not.
_LEFT_BARE = (("%27", "'"), ("%3B", ";"), ("%3D", "="))


def canonical_value(text: str) -> str:
    """The one spelling of a value that was stripped and has no prefix any more. Total, pure.

    0.1 µs for a value seen lately, 3 µs for a new EPC.
    """
    return _cached(text) if len(text) <= TEXT_CACHED_MAX else _canonical(text)


def _canonical(text: str) -> str:
    if text.startswith("urn:epc"):
        if text.startswith(_CBV_URN):
            kind, _, word = text[len(_CBV_URN) :].partition(":")
            stem = _CBV_STEMS.get(kind)
            return text if stem is None else stem + word
        return _canonical_urn(text)
    if text.startswith("http"):
        return _canonical_link(text)
    if text[:1] in "+-.0123456789":
        return _canonical_number(text)
    return text


_cached = lru_cache(maxsize=VALUES_CACHED)(_canonical)


def _canonical_urn(text: str) -> str:
    try:
        link = canonical(text)
    except IdentifierMalformed:
        return text
    if "%" in link:
        for escaped, bare in _LEFT_BARE:
            link = link.replace(escaped, bare)
    return link


def _canonical_link(text: str) -> str:
    match = _LINK.match(text)
    if match is None:
        return text
    segments = match[1].strip("/").split("/")
    for place in range(len(segments) - 2, -1, -2):
        ai = _KEY_WORDS.get(segments[place], segments[place])
        shape = _KEYS.get(ai)
        if shape is not None:
            value = segments[place + 1]
            if shape.fullmatch(value) is None:
                return text
            finest = _finest(ai, segments[place + 2 :])
            if finest is None:
                return text
            if ai == "01":
                value = value.zfill(14)
            return f"{_STEM}/{ai}/{_escaped(value)}{finest}"
    return text


def _finest(ai: str, rest: list[str]) -> str | None:
    """ "/21/7" for the finest qualifier, "" for none, None where something else stands behind the key."""
    given = {}
    for name, value in zip(rest[::2], rest[1::2], strict=True):
        qualifier = _QUALIFIER_WORDS.get(name, name)
        if qualifier not in _QUALIFIERS.get(ai, ()) or _QUALIFIER_VALUES[qualifier].fullmatch(value) is None:
            return None
        given[qualifier] = value
    for qualifier in _QUALIFIERS.get(ai, ()):
        if qualifier in given and qualifier != "22":
            return f"/{qualifier}/{_escaped(given[qualifier])}"
    return ""


def _escaped(value: str) -> str:
    return _MUST_ESCAPE.sub(lambda m: m[0].upper() if len(m[0]) > 1 else f"%{ord(m[0]):02X}", value)


def _canonical_number(text: str) -> str:
    """Every value that reads as a number is one, even in a text field: so do the standard's vectors."""
    if len(text) > _NUMBER_LENGTH_MAX or _NUMBER.fullmatch(text) is None:
        return text
    number = float(text)
    if not isfinite(number):
        return text
    whole = int(number)
    return str(whole) if whole == number else repr(number)


@remembered(1024)
def canonical_time(text: str) -> str | None:
    """In UTC with three digits of a second, half a millisecond rounded up; None if it is no time."""
    if _TIME.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        up = timedelta(microseconds=1000 if moment.microsecond % 1000 >= 500 else 0)
        moment = moment.astimezone(UTC) + up
    except (ValueError, OverflowError):  # 30 February; a year beyond 9999
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z".zfill(24)
