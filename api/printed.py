"""Step 9 of 9, before the page: which thing a Digital Link's path means, and what is printed on it.

A web server hands over paths decoded, so a slash in a serial looks like one between parts. The parts are told
apart again by the qualifiers that GS1 allows behind each key, in their order.
"""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import quote

from traceability.gs1 import parse_digital_link
from traceability.gs1.digital_link import CANONICAL_STEM, LINK_LENGTH_MAX
from traceability.gs1.keys import QUALIFIERS

KEYS = tuple(QUALIFIERS)
Parts = tuple[tuple[str, str], ...]  # (AI, value), decoded

# What people call what is printed, where they hold the thing in their hands.
_WORDS = {
    "00": "Shipping unit (SSCC)",
    "01": "Product number (GTIN)",
    "10": "Lot",
    "21": "Serial number",
    "22": "Variant",
    "235": "Serial number",
    "253": "Document (GDTI)",
    "254": "Extension",
    "255": "Coupon (GCN)",
    "401": "Consignment (GINC)",
    "402": "Shipment (GSIN)",
    "414": "Place (GLN)",
    "415": "Invoicing party (GLN)",
    "417": "Party (GLN)",
    "7040": "UIC with extension",
    "8003": "Returnable asset (GRAI)",
    "8004": "Asset (GIAI)",
    "8006": "Piece (ITIP)",
    "8010": "Part (CPID)",
    "8011": "Serial number",
    "8013": "Model (GMN)",
    "8017": "Service relation (GSRN)",
    "8018": "Service relation (GSRN)",
    "8019": "Service instance",
    "8020": "Payment reference",
}
# Qualifiers that still leave a class, and keys that are one until something is behind their check digit.
_OF_CLASSES = frozenset((("01", "10"), ("01", "22"), ("8006", "10"), ("8006", "22")))
_CLASS_LENGTHS = {"253": 13, "255": 13, "8003": 14}
_CLASSES = frozenset(("01", "8006", "8010", "8013"))


def parts_of_path(key: str, rest: str) -> Parts:
    """The parts of /key/rest. Whether they are any good is canonical()'s to say."""
    if len(rest) > LINK_LENGTH_MAX:
        return ((key, rest),)
    expression, qualifiers = _expression(key)
    match = expression.fullmatch(rest)
    if match is None:
        return ((key, rest),)
    value, *found = match.groups()
    behind = ((ai, text) for ai, text in zip(qualifiers, found, strict=True) if text is not None)
    return ((key, value), *behind)


def link_of(parts: Parts) -> str:
    """The Digital Link of these, each percent-encoded: whatever was typed stays one part."""
    return CANONICAL_STEM + "".join(f"/{ai}/{quote(value, safe='')}" for ai, value in parts)


def printed(epc: str) -> tuple[tuple[str, str], ...]:
    """(what people call it, as it is printed) of each part of a canonical name."""
    link = parse_digital_link(epc)
    return tuple((_WORDS[ai], value) for ai, value in (link.key, *link.qualifiers))


def is_class(epc: str) -> bool:
    """Whether a canonical name means many things alike: a product, a lot, a kind of part; not one of them."""
    link = parse_digital_link(epc)
    key, value = link.key
    if link.qualifiers:
        return (key, link.qualifiers[-1][0]) in _OF_CLASSES
    return key in _CLASSES or len(value) == _CLASS_LENGTHS.get(key)


@cache  # one for each key
def _expression(key: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    ways = ["".join(f"(?:/{ai}/(.*?))?" for ai in way) for way in QUALIFIERS[key]]
    qualifiers = tuple(ai for way in QUALIFIERS[key] for ai in way)
    return re.compile(rf"(.+?)(?:{'|'.join(ways)})", re.DOTALL), qualifiers
