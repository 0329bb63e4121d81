"""Step 4 of 9: GS1 Digital Link. A web address that holds a GS1 key in its path.

Strict by default, as GS1's own syntax engine is. Two leniences that older labels need are options: words
in place of application identifiers (/gtin/…/ser/…) and GTINs without their leading zeros.
Source: GS1 Digital Link Standard, URI Syntax, release 1.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import quote, unquote_to_bytes

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.keys import COMPONENTS, KEY_WORDS, QUALIFIER_WORDS, QUALIFIERS, verify_component

CANONICAL_STEM = "https://id.gs1.org"
LINK_LENGTH_MAX = 2048  # longer ones do not fit the symbols that carry them, nor many web servers

_WEB = re.compile(r"(?:https?|HTTPS?)://")
_LINK = re.compile(
    r"(?P<stem>(?:https?|HTTPS?)://[A-Za-z0-9.\-]+(?::[0-9]{1,5})?"
    r"|(?:https?|HTTPS?)://\[(?P<address>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?)"
    r"(?P<path>(?:/[A-Za-z0-9._~\-!$&'()*+,;=:@%]*+)++)"
    r"(?:\?(?P<query>[A-Za-z0-9._~\-!$&'()*+,;=:@%/?]*+))?"
    r"(?:#[A-Za-z0-9._~\-!$&'()*+,;=:@%/?]*+)?"
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DIGITS = re.compile(r"[0-9]+")
_SHORT_GTIN_LENGTHS = (8, 12, 13)


@dataclass(frozen=True, slots=True)
class DigitalLink:
    """One primary key, what makes it finer, and what is said beside it; all values percent-decoded."""

    stem: str  # "https://example.com/shop": scheme, host and whatever precedes the key
    key: tuple[str, str]  # ("01", "09520123456788")
    qualifiers: tuple[tuple[str, str], ...]  # in the order of the path
    attributes: tuple[tuple[str, str], ...]  # from the query, only those under a number, unverified


def parse_digital_link(uri: str, *, words: bool = False, short_gtin: bool = False) -> DigitalLink:
    """Read a Digital Link with its application identifiers.

    words       also accept /gtin/…/ser/… for /01/…/21/…
    short_gtin  also accept a GTIN of 8, 12 or 13 digits; the result always has 14

    Raises NotGs1 "gs1.unknown" when the path holds no GS1 key at all, IdentifierMalformed when it holds one
    that is wrong: "gs1.value", "gs1.check-digit", "gs1.percent-encoding", "gs1.qualifier", "gs1.length".
    """
    if not _WEB.match(uri):
        raise NotGs1("gs1.unknown", f"{uri[:64]!r} is no web address, so no GS1 Digital Link")
    if len(uri) > LINK_LENGTH_MAX:
        raise IdentifierMalformed(
            "gs1.length", f"a link of {len(uri)} characters; at most {LINK_LENGTH_MAX} are read"
        )
    match = _LINK.fullmatch(uri)
    if match is None:
        raise NotGs1("gs1.unknown", f"{uri[:64]!r} has no path, or characters that a URI cannot have")
    if match["address"] is not None and not is_ipv6(match["address"]):
        raise NotGs1("gs1.unknown", f"{match['address'][:64]!r} is no address of a host")
    if _BAD_ESCAPE.search(uri):
        raise IdentifierMalformed(
            "gs1.percent-encoding", f"{uri[:64]!r} has a % without two hexadecimal digits"
        )
    segments = match["path"].split("/")[1:]
    place = _find_key(segments, words)
    if place is None:
        raise NotGs1("gs1.unknown", f"no GS1 key stands in the path of {uri[:64]!r}")
    ai = KEY_WORDS.get(segments[place], segments[place])
    value = _decode(segments[place + 1])
    if short_gtin and ai == "01" and len(value) in _SHORT_GTIN_LENGTHS and _DIGITS.fullmatch(value):
        value = value.zfill(14)
    qualifiers = tuple(
        (_qualifier_ai(segments[i], words), _decode(segments[i + 1]))
        for i in range(place + 2, len(segments), 2)
    )
    _require_order(ai, tuple(q for q, _ in qualifiers))
    verify_component(ai, value)
    for qualifier in qualifiers:
        verify_component(*qualifier)
    stem = "/".join([match["stem"], *segments[:place]])
    return DigitalLink(stem, (ai, value), qualifiers, _attributes(match["query"] or ""))


def render_digital_link(ai: str, value: str, qualifier: tuple[str, str] | None = None) -> str:
    """The canonical link of one key with at most one qualifier; the values come decoded."""
    tail = "" if qualifier is None else f"/{qualifier[0]}/{quote(qualifier[1], safe='')}"
    return f"{CANONICAL_STEM}/{ai}/{quote(value, safe='')}{tail}"


def claims_key(uri: str) -> bool:
    """Whether a web address is evidently meant as a Digital Link, however wrong it may be.

    Anybody may have a /402/ in a path of their own, and a number behind it. At id.gs1.org there is nothing
    but keys; elsewhere, the key's own form is meant so, or digits alone and about as many as the key has.
    """
    head, _, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    if not head.isascii() or head.lower() not in ("http", "https"):
        return False
    if host.lower() == "id.gs1.org":
        return True
    segments = re.split(r"[?#]", path, maxsplit=1)[0].split("/")
    place = _find_key(segments, words=False)
    if place is None:
        return False
    component, value = COMPONENTS[segments[place]], segments[place + 1]
    if component.check is None:
        return False
    if component.shape.fullmatch(value):
        return True
    most = component.check[1]
    fewest = min(_SHORT_GTIN_LENGTHS) if component.ai == "01" else most
    return _DIGITS.fullmatch(value) is not None and fewest - 1 <= len(value) <= most + 1


def is_ipv6(address: str) -> bool:
    try:
        IPv6Address(address)
    except ValueError:
        return False
    return True


def _find_key(segments: list[str], words: bool) -> int | None:
    # Keys and values come in pairs up to the end of the path, so the search walks back in pairs: what
    # stands before the key is the owner's stem, which may hold anything.
    for i in range(len(segments) - 2, -1, -2):
        if segments[i] in QUALIFIERS or (words and segments[i] in KEY_WORDS):
            return i
    return None


def _qualifier_ai(segment: str, words: bool) -> str:
    return QUALIFIER_WORDS.get(segment, segment) if words else segment


def _require_order(ai: str, given: tuple[str, ...]) -> None:
    for allowed in QUALIFIERS[ai]:
        remaining = iter(allowed)
        if all(q in remaining for q in given):
            return
    if given:
        allowed_text = " or ".join(", ".join(s) for s in QUALIFIERS[ai]) or "none"
        raise IdentifierMalformed(
            "gs1.qualifier",
            f"{', '.join(g[:16] for g in given)} behind key {ai}; allowed, in this order: {allowed_text}",
        )


def _decode(segment: str) -> str:
    if "%" not in segment:
        return segment
    try:
        return unquote_to_bytes(segment).decode("ascii")
    except UnicodeDecodeError as e:
        raise IdentifierMalformed(
            "gs1.percent-encoding", f"{segment[:64]!r} encodes something beyond ASCII"
        ) from e


def _attributes(query: str) -> tuple[tuple[str, str], ...]:
    found = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name.isdigit() and value:
            found.append((name, _decode(value)))
    return tuple(found)
