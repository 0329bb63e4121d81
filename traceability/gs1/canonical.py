"""Step 4 of 9: one canonical name for a thing, however its identifier is spelled.

The name is a Digital Link at https://id.gs1.org with the most granular key and nothing else: the owner's
domain, data in the query and coarser qualifiers do not change which thing is meant. Two spellings of one
thing have one name; two things never share one.
"""

from __future__ import annotations

import re
from functools import lru_cache

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.check_digit import check_digit
from traceability.gs1.digital_link import CANONICAL_STEM, claims_key, parse_digital_link, render_digital_link
from traceability.gs1.epc_urn import canonical_of_urn
from traceability.remembered import remembered

PRODUCTS_CACHED = 8192  # ledgers name many packs of few products
# A compressed link of a pack has about 50 characters; to decompress long ones is work nobody should ask for.
COMPRESSED_LENGTH_MAX = 256
IDENTIFIERS_CACHED = 32_768  # about 10 MB; an event is validated and named from the same strings


# What most links look like: read in a fifth of the time, to the same name.
_PLAIN_LINK = re.compile(
    r"https?://[A-Za-z0-9.\-]+(?::[0-9]{1,5})?(/(01|00|41[47])/([0-9]{13,18})((?:/(?:21|10|254)/[0-9A-Za-z]{1,20})?))"
)
# (key, digits, head of the qualifier) of those: packs, lots, products, boxes, places, parties.
_PLAIN_FORMS = frozenset(
    (
        ("01", 14, "/21/"),
        ("01", 14, "/10/"),
        ("01", 14, ""),
        ("00", 18, ""),
        ("414", 13, ""),
        ("414", 13, "/254"),
        ("417", 13, ""),
    )
)
_AT_GS1 = re.compile(r"(?:https?|HTTPS?)://id\.gs1\.org/")


def _is_checked(digits: str) -> bool:
    return check_digit(digits[:-1]) == digits[-1]


_is_known = lru_cache(maxsize=PRODUCTS_CACHED)(_is_checked)


def canonical(identifier: str) -> str:
    """The canonical Digital Link of an EPC URN (id, class, idpat) or of a GS1 Digital Link.

    Raises NotGs1 if the string does not claim to be either, IdentifierMalformed with the exact reason if
    it does and breaks a rule. About 1 µs for an SGTIN.
    """
    if identifier[:8].lower() == "urn:epc:":
        return canonical_of_urn(identifier)
    plain = _PLAIN_LINK.fullmatch(identifier)
    if plain is not None:
        path, key, digits, tail = plain.groups()
        # Boxes have each a number of their own, so remembering theirs would only push out the products'.
        is_right = _is_checked if key == "00" else _is_known
        if (key, len(digits), tail[:4]) in _PLAIN_FORMS and tail != "/254/0" and is_right(digits):
            return CANONICAL_STEM + path
    try:
        link = parse_digital_link(identifier, words=True, short_gtin=True)
    except NotGs1:
        name = _canonical_of_compressed(identifier)
        if name is None:
            raise
        return name
    # Qualifiers stand in order of granularity: the last one says which thing is meant.
    qualifier = link.qualifiers[-1] if link.qualifiers else None
    if qualifier == ("254", "0"):
        qualifier = None  # as in the URN: an extension of 0 is none
    return render_digital_link(*link.key, qualifier)


def _canonical_of_compressed(uri: str) -> str | None:
    """The name of a compressed link at GS1's own domain, or None.

    At any other one the last segment of a path may be anything: one in four thousand happens to decompress,
    and a name that two things share would mix up their histories.
    """
    if len(uri) > COMPRESSED_LENGTH_MAX or not _AT_GS1.match(uri):
        return None
    # Loads the table of all AIs, which plain names never need.
    from traceability.gs1.compressed import parse_compressed_link
    from traceability.gs1.from_elements import name_of

    try:
        return name_of(parse_compressed_link(uri))
    except IdentifierMalformed:
        return None


@remembered(IDENTIFIERS_CACHED)
def judge(identifier: str) -> tuple[str, str, str]:
    """(name, fault code, fault detail) of any string at all. Never raises.

    name    canonical, or "raw:" and the exact string
    code    "" if this is a good GS1 identifier, or somebody's own: CBV 2.0 lets parties use URIs of their
            own, so what does not claim to be GS1's is not at fault

    0.1 µs for one seen lately. A plain tuple, for this is on the way of every identifier that comes in.
    """
    try:
        if identifier.startswith("urn:epc:"):
            return canonical_of_urn(identifier), "", ""
        return canonical(identifier), "", ""
    except IdentifierMalformed as e:
        claims = (not isinstance(e, NotGs1) and identifier[:4].lower() == "urn:") or claims_key(identifier)
        return ("raw:" + identifier, e.code, e.detail) if claims else ("raw:" + identifier, "", "")
