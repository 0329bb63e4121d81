"""Step 4 of 9: GS1 keys by application identifier: what their values look like, and what qualifies them.

Only what can stand in the path of a Digital Link is here: primary keys, and the qualifiers that make
them finer. Source: GS1 General Specifications, section 3, and GS1 Digital Link URI Syntax 1.6, section 4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from traceability.errors import IdentifierMalformed
from traceability.gs1.check_digit import check_digit, check_pair

_X = r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]"  # character set 82
_SHORT_TEXT = "1 to 20 characters of set 82"
_Y = r"[#\-/0-9A-Z]"  # character set 39
_INDEX = r"[\-0-9A-Z_a-z]"  # of an importer


@dataclass(frozen=True, slots=True)
class Component:
    """The form of one application identifier's value."""

    ai: str
    title: str
    shape: re.Pattern[str]
    says: str  # the shape in words, for messages
    check: tuple[int, int] | None = None  # value[start:end] are digits that end in their check digit
    rule: str = ""  # what no expression can say: "piece" of total, "pair" of check characters


def _component(ai: str, title: str, shape: str, says: str, **more: object) -> Component:
    return Component(ai, title, re.compile(shape), says, **more)  # type: ignore[arg-type]


_COMPONENTS = (
    _component("00", "SSCC", r"[0-9]{18}", "18 digits", check=(0, 18)),
    _component("01", "GTIN", r"[0-9]{14}", "14 digits", check=(0, 14)),
    _component("10", "batch or lot", _X + "{1,20}", _SHORT_TEXT),
    _component("21", "serial number", _X + "{1,20}", _SHORT_TEXT),
    _component("22", "consumer product variant", _X + "{1,20}", _SHORT_TEXT),
    _component("235", "third-party serial", _X + "{1,28}", "1 to 28 characters of set 82"),
    _component("253", "GDTI", r"[0-9]{13}" + _X + "{0,17}", "13 digits, up to 17 of set 82", check=(0, 13)),
    _component("254", "GLN extension", _X + "{1,20}", _SHORT_TEXT),
    _component("255", "GCN", r"[0-9]{13,25}", "13 to 25 digits", check=(0, 13)),
    _component("401", "GINC", r"[0-9]{4}" + _X + "{0,26}", "4 digits, then up to 26 of set 82"),
    _component("402", "GSIN", r"[0-9]{17}", "17 digits", check=(0, 17)),
    _component("414", "GLN", r"[0-9]{13}", "13 digits", check=(0, 13)),
    _component("415", "GLN of the invoicing party", r"[0-9]{13}", "13 digits", check=(0, 13)),
    _component("417", "party GLN", r"[0-9]{13}", "13 digits", check=(0, 13)),
    _component("7040", "UIC with extension", "[0-9]" + _X + "{2}" + _INDEX, "a digit, 2 of set 82, an index"),
    _component("8003", "GRAI", "0[0-9]{13}" + _X + "{0,16}", "0, 13 digits, up to 16 more", check=(1, 14)),
    _component("8004", "GIAI", r"[0-9]{4}" + _X + "{0,26}", "4 digits, then up to 26 of set 82"),
    _component("8006", "ITIP", r"[0-9]{18}", "GTIN, piece and total: 18 digits", check=(0, 14), rule="piece"),
    _component("8010", "CPID", r"[0-9]{4}" + _Y + "{0,26}", "4 digits, then up to 26 of set 39"),
    _component("8011", "CPID serial", r"0|[1-9][0-9]{0,11}", "up to 12 digits without a leading zero"),
    _component("8013", "GMN", r"[0-9]{4}" + _X + "{0,21}", "4 digits, then up to 21 of set 82", rule="pair"),
    _component("8017", "GSRN of a provider", r"[0-9]{18}", "18 digits", check=(0, 18)),
    _component("8018", "GSRN of a recipient", r"[0-9]{18}", "18 digits", check=(0, 18)),
    _component("8019", "service relation instance", r"[0-9]{1,10}", "up to 10 digits"),
    _component("8020", "payment reference", _X + "{1,25}", "1 to 25 characters of set 82"),
)  # fmt: skip
COMPONENTS = {component.ai: component for component in _COMPONENTS}

# Primary key -> the sequences of qualifiers that may follow it; each is optional, the order is not.
QUALIFIERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "00": (),
    "01": (("22", "10", "21"), ("235",)),
    "253": (),
    "255": (),
    "401": (),
    "402": (),
    "414": (("254",), ("7040",)),
    "415": (("8020",),),
    "417": (("7040",),),
    "8003": (),
    "8004": (("7040",),),
    "8006": (("22", "10", "21"),),
    "8010": (("8011",),),
    "8013": (),
    "8017": (("8019",),),
    "8018": (("8019",),),
}

# Words that Digital Link 1.1 allowed in place of numbers. Later editions dropped them; the codes remain.
KEY_WORDS = {
    "sscc": "00", "gtin": "01", "gdti": "253", "gcn": "255", "ginc": "401", "gsin": "402", "gln": "414",
    "payTo": "415", "party": "417", "grai": "8003", "giai": "8004", "itip": "8006", "cpid": "8010",
    "gmn": "8013", "gsrnp": "8017", "gsrn": "8018",
}  # fmt: skip
QUALIFIER_WORDS = {
    "cpv": "22", "lot": "10", "ser": "21", "glnx": "254", "cpsn": "8011", "srin": "8019", "refno": "8020",
}  # fmt: skip


def verify_component(ai: str, value: str) -> None:
    """Check a decoded value against the rules of its application identifier.

    Raises IdentifierMalformed "gs1.value" (length or characters), "gs1.check-digit" or "gs1.piece".
    """
    component = COMPONENTS[ai]
    if not component.shape.fullmatch(value):
        raise IdentifierMalformed(
            "gs1.value", f"{value[:64]!r} is no {component.title} (AI {ai}): expected {component.says}"
        )
    if component.check is not None:
        start, end = component.check
        expected = check_digit(value[start : end - 1])
        if value[end - 1] != expected:
            raise IdentifierMalformed(
                "gs1.check-digit",
                f"the {component.title} {value[start:end]} ends in check digit {value[end - 1]};"
                f" its digits ask for {expected}",
            )
    if component.rule == "piece" and not 0 < int(value[14:16]) <= int(value[16:18]):
        raise IdentifierMalformed(
            "gs1.piece", f"piece {value[14:16]} of {value[16:18]} in the ITIP {value} cannot be"
        )
    if component.rule == "pair" and value[-2:] != (expected := check_pair(value[:-2])):
        raise IdentifierMalformed(
            "gs1.check-digit", f"the GMN {value} ends in {value[-2:]}; its characters ask for {expected}"
        )
