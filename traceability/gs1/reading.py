"""Step 4 of 9: any spelling of a GS1 identifier, read for people: its form, its parts, what it names.

Element strings (bracketed, raw, or as a scanner sends them with a symbology identifier), Digital Links (also
compressed), EPC URNs and plain numbers. As strict as GS1's own syntax engine; the name is found in more
spellings than are good ones, so that a link in the words of 2018 is told to be out of date and still leads to
its thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.ai_table import ai_table
from traceability.gs1.canonical import canonical
from traceability.gs1.check_digit import check_digit
from traceability.gs1.compressed import parse_compressed_link
from traceability.gs1.digital_link import parse_digital_link
from traceability.gs1.elements import FNC1, GS, Element, parse_bracketed, parse_raw, verify_together
from traceability.gs1.epc_urn import URN_LENGTH_MAX
from traceability.gs1.from_elements import name_of
from traceability.gs1.links import parse_link
from traceability.gs1.patterns import parse_pattern


class Form(Enum):
    """What a text turned out to be. The value is how people are told."""

    BRACKETED = "element string"
    RAW = "element string as scanned"
    SCAN = "scan data with symbology identifier"
    LINK = "Digital Link"
    COMPRESSED_LINK = "compressed Digital Link"
    URN = "EPC URN"
    PATTERN = "EPC pattern"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Reading:
    """One text, understood."""

    form: Form
    elements: tuple[Element, ...]  # () for a pattern, and for EPCs that have no GS1 key
    name: str | None  # canonical Digital Link, or the EPC itself where its scheme has no GS1 key


READABLE = (
    "an element string (01)…(21)…, scan data, a Digital Link https://…, an EPC URN urn:epc:…,"
    " or a GTIN or SSCC in digits"
)
VISIBLE_GS = "\u241d"  # how GS is often shown
_BLANK = " \t\r\n"  # never GS, which str.strip() takes for a blank
# Symbology identifiers (ISO/IEC 15424) whose data are AIs, and those of retail symbols with the length of
# their number.
_WITH_AIS = frozenset(("]C1", "]e0", "]e1", "]e2", "]d2", "]Q3", "]J1"))
_RETAIL_LENGTHS = {"]E0": 13, "]E4": 8, "]I1": 14}
_PLAIN = frozenset(("]d1", "]Q1", "]Q0", "]C0", "]J0"))
_GTIN_LENGTHS = (8, 12, 13, 14)
_SSCC_LENGTH = 18
_DIGITS = re.compile(r"[0-9]+")
_ANY_URN = re.compile(r"urn:epc:", re.IGNORECASE)
_WEB = re.compile(r"https?://", re.IGNORECASE)


def read(text: str) -> Reading:
    """Read one identifier, in whatever form it comes. Blanks around it are dropped.

    Raises NotGs1 "gs1.unknown" if it is nothing of GS1's, IdentifierMalformed otherwise, with the place of
    the fault in the text as it was given wherever it is known.
    """
    start = len(text) - len(text.lstrip(_BLANK))
    try:
        return _read(text.strip(_BLANK))
    except IdentifierMalformed as e:
        if e.place is not None and start:
            e.place = (e.place[0] + start, e.place[1])
        raise


def _read(text: str) -> Reading:
    if text.startswith("]"):
        return Reading(Form.SCAN, *_judged(_scan(text)))
    if _ANY_URN.match(text):
        return _urn(text)
    if _WEB.match(text):
        return _link(text)
    if text.startswith("("):
        return Reading(Form.BRACKETED, *_judged(_composite(text, bracketed=True)))
    if text.startswith((FNC1, GS, VISIBLE_GS)):
        separators = text[0] if text[0] == FNC1 else GS + VISIBLE_GS
        return Reading(Form.RAW, *_judged(parse_raw(text[1:], 1, separators=separators)))
    if GS in text or VISIBLE_GS in text:
        return Reading(Form.RAW, *_judged(parse_raw(text, separators=GS + VISIBLE_GS)))
    if _DIGITS.fullmatch(text):
        return _number(text)
    raise NotGs1(
        "gs1.unknown", f"{text[:64]!r} is nothing of GS1's: expected {READABLE}", place=(0, max(1, len(text)))
    )


def name_despite_faults(text: str) -> tuple[str | None, bool]:
    """(what a ledger names this by, whether it only follows an older edition of the standard).

    For a text that read() refuses. A link whose query is no good still leads to its thing; so does one with
    words in place of application identifiers (/gtin/…/ser/…), or a GTIN without its leading zeros, as older
    editions allowed. (None, False) where nothing is named.
    """
    uri = text.strip(_BLANK)
    if not _WEB.match(uri):
        return None, False
    try:
        name = canonical(uri)
    except IdentifierMalformed:
        return None, False
    try:
        parse_digital_link(uri)
    except IdentifierMalformed:
        return name, True
    return name, False


def _judged(elements: tuple[Element, ...]) -> tuple[tuple[Element, ...], str | None]:
    verify_together(elements)
    return elements, name_of(elements)


def _composite(text: str, *, bracketed: bool, start: int = 0, separators: str = GS) -> tuple[Element, ...]:
    """A linear symbol and, behind |, the composite component above it, which say one thing together."""
    found: list[Element] = []
    for part in text.split("|"):
        if bracketed:
            found += parse_bracketed(part, start)
        else:
            found += parse_raw(part, start, separators=separators)
        start += len(part) + 1
    return tuple(found)


def _scan(text: str) -> tuple[Element, ...]:
    symbology, data = text[:3], text[3:]
    if symbology in _WITH_AIS:
        if data.startswith(GS):  # some scanners send the first FNC1 as well
            return _composite(data[1:], bracketed=False, start=4)
        return _composite(data, bracketed=False, start=3, separators=GS + VISIBLE_GS)
    if symbology in _RETAIL_LENGTHS:
        number, _, component = data.partition("|")
        _require_number(number, _RETAIL_LENGTHS[symbology], 3)
        first = Element("01", number.zfill(14), 3)
        if not component:
            return (first,)
        at = 3 + len(number) + 1
        if component[:3] not in _WITH_AIS:
            raise IdentifierMalformed(
                "gs1.scan",
                "behind | a composite component begins with ]e0",
                place=(at, max(1, len(component[:3]))),
            )
        return (first, *parse_raw(component[3:], at + 3, separators=GS + VISIBLE_GS))
    if symbology in _PLAIN:
        if _WEB.match(data):
            try:
                return parse_link(data)
            except IdentifierMalformed as e:
                if e.place is not None:
                    e.place = (e.place[0] + 3, e.place[1])
                raise
        raise NotGs1(
            "gs1.unknown",
            f"{symbology} announces data of somebody's own, not GS1's: its GS1 sibling begins otherwise",
            place=(0, 3),
        )
    raise IdentifierMalformed(
        "gs1.scan",
        f"{symbology!r} is no symbology identifier of a GS1 symbol, as ]d2 or ]C1",
        place=(0, len(symbology)),
    )


def _number(text: str) -> Reading:
    if len(text) in _GTIN_LENGTHS:
        _require_number(text, len(text), 0)
        element = Element("01", text.zfill(14))
    elif len(text) == _SSCC_LENGTH:
        _require_number(text, len(text), 0)
        element = Element("00", text)
    elif text[:2] in ("00", "01") and len(text) >= 2 + ai_table()[text[:2]].longest:
        return Reading(Form.RAW, *_judged(parse_raw(text)))  # scanned, with its first FNC1 lost on the way
    else:
        raise NotGs1(
            "gs1.unknown",
            f"{len(text)} digits are no GTIN (8, 12, 13 or 14) and no SSCC (18); an element string begins"
            " with FNC1, or has its application identifiers in brackets",
            place=(0, len(text)),
        )
    return Reading(Form.NUMBER, *_judged((element,)))


def _require_number(text: str, length: int, start: int) -> None:
    if not _DIGITS.fullmatch(text) or len(text) != length:
        raise IdentifierMalformed(
            "gs1.length", f"expected a number of {length} digits", place=(start, max(1, len(text)))
        )
    expected = check_digit(text[:-1])
    if text[-1] != expected:
        raise IdentifierMalformed(
            "gs1.check-digit",
            f"{text} ends in check digit {text[-1]}; its digits ask for {expected}",
            place=(start + length - 1, 1),
        )


def _link(uri: str) -> Reading:
    try:
        return Reading(Form.LINK, *_judged(parse_link(uri)))
    except NotGs1:
        try:
            return Reading(Form.COMPRESSED_LINK, *_judged(parse_compressed_link(uri)))
        except NotGs1:
            pass
        raise


def _urn(urn: str) -> Reading:
    try:
        name = canonical(urn)
    except IdentifierMalformed as e:
        if urn[8:14] == "idpat:":
            return _pattern(urn)
        if isinstance(e, NotGs1) and urn[8:11] == "id:":
            return Reading(Form.URN, (), urn)
        e.place = e.place or _place_in_urn(urn, e.code)
        raise
    link = parse_digital_link(name)
    pairs = (link.key, *link.qualifiers)
    return Reading(Form.URN, tuple(Element(ai, value) for ai, value in pairs), name)


def _pattern(urn: str) -> Reading:
    try:
        parse_pattern(urn)
    except IdentifierMalformed as e:
        e.place = e.place or _place_in_urn(urn, e.code)
        raise
    return Reading(Form.PATTERN, (), None)


def _place_in_urn(urn: str, code: str) -> tuple[int, int]:
    """Where an EPC URN is wrong: a fault names a part of it, and parts are divided by dots."""
    parts = urn.split(":", 4)
    if code == "gs1.scheme" or len(parts) < 5:
        return len("urn:epc:"), max(1, len(urn) - len("urn:epc:") - len(parts[4] if len(parts) == 5 else ""))
    body_at = len(urn) - len(parts[4])
    body = parts[4].split(".", 4 if parts[3] == "itip" else 2)
    if code == "gs1.company-prefix":
        return body_at, max(1, len(body[0]))
    if code == "gs1.urn" or len(urn) > URN_LENGTH_MAX:
        return body_at, max(1, len(parts[4]))
    index = 1 if code == "gs1.value" and len(body) > 1 else 2 if code == "gs1.piece" else len(body) - 1
    at = body_at + sum(len(part) + 1 for part in body[:index])
    return at, max(1, len(body[index]) if code != "gs1.piece" else len(".".join(body[2:4])))
