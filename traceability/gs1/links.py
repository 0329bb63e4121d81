"""Step 4 of 9: Digital Links with everything in them: the key, its qualifiers, and the data in the query.

digital_link finds out which thing a link names, and is lenient where names need it. This module judges the
whole link, as GS1's own syntax engine does with its default options, and writes links from element strings.
Source: GS1 Digital Link Standard, URI Syntax, release 1.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.ai_table import Ai, ai_table
from traceability.gs1.digital_link import CANONICAL_STEM, LINK_LENGTH_MAX, is_ipv6
from traceability.gs1.elements import ELEMENTS_MAX, Element, known_ai
from traceability.gs1.value_checks import verify_value

_SCHEME = re.compile(r"(?:https?|HTTPS?)://")
_NOT_URI = re.compile(r"[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]")
_HOST = re.compile(r"(?:[A-Za-z0-9.\-]+|\[(?P<address>[0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


def parse_link(uri: str) -> tuple[Element, ...]:
    """The AIs of a Digital Link: the key, its qualifiers and the attributes of its query, in that order.

    Parameters of the query that are no AIs, and the fragment, are somebody else's and left alone.
    Raises NotGs1 "gs1.unknown" if it is no Digital Link at all, and IdentifierMalformed with the place in the
    link: "gs1.uri", "gs1.ai", "gs1.qualifier", "gs1.attribute", "gs1.percent-encoding", or what verify_value
    raises. Whether the AIs may stand together is verify_together's to say.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        raise NotGs1(
            "gs1.unknown", "no web address, so no Digital Link: it begins with https://", place=(0, 1)
        )
    if len(uri) > LINK_LENGTH_MAX:
        raise IdentifierMalformed(
            "gs1.length",
            f"a link of {len(uri)} characters; at most {LINK_LENGTH_MAX} are read",
            place=(LINK_LENGTH_MAX, 1),
        )
    foreign = _NOT_URI.search(uri)
    if foreign is not None:
        raise IdentifierMalformed(
            "gs1.uri", f"a URI cannot have {foreign[0]!r}; it must be escaped", place=(foreign.start(), 1)
        )
    path_at = uri.find("/", scheme.end())
    if path_at < 0:
        raise NotGs1("gs1.unknown", "there is no path behind the host", place=(len(uri) - 1, 1))
    host = _HOST.fullmatch(uri, scheme.end(), path_at)
    if host is None or (host["address"] is not None and not is_ipv6(host["address"])):
        raise IdentifierMalformed(
            "gs1.uri", "this is no host", place=(scheme.end(), max(1, path_at - scheme.end()))
        )
    before_fragment = uri.partition("#")[0]
    path, _, query = before_fragment.partition("?")
    elements, places = _read_path(path, path_at)
    _read_query(query, len(path) + 1, elements)
    if len(elements) > ELEMENTS_MAX:
        raise IdentifierMalformed(
            "gs1.length", f"more than {ELEMENTS_MAX} application identifiers in one link"
        )
    _require_places(elements, places)
    return tuple(elements)


def render_link(elements: Sequence[Element], stem: str = CANONICAL_STEM) -> str:
    """The Digital Link that carries all of these.

    The first primary key among them leads; what qualifies it follows in the path, in GS1's order; the rest
    goes into the query, AIs of known length first. Raises IdentifierMalformed "gs1.no-key" or
    "gs1.attribute".
    """
    codes = [element.ai for element in elements]
    key = next((code for code in codes if ai_table()[code].paths is not None), None)
    if key is None:
        raise IdentifierMalformed(
            "gs1.no-key", f"none of {', '.join(codes)} is a primary key of a Digital Link"
        )
    path = [key, *_best_qualifiers(ai_table()[key], codes)]
    values: dict[str, str] = {}
    for element in elements:
        values.setdefault(element.ai, element.value)
    link = stem.removesuffix("/") + "".join(f"/{code}/{quote(values[code], safe='')}" for code in path)
    others = [ai_table()[code] for code in dict.fromkeys(codes) if code not in path]
    for ai in others:
        if not ai.in_query:
            raise IdentifierMalformed(
                "gs1.attribute", f"({ai.code}) {ai.title} cannot be in the query of a link by ({key})"
            )
    ordered = [ai.code for ai in others if ai.fixed] + [ai.code for ai in others if not ai.fixed]
    if not ordered:
        return link
    return link + "?" + "&".join(f"{code}={quote(values[code], safe='')}" for code in ordered)


def is_path(codes: Sequence[str]) -> bool:
    """Whether this key with these qualifiers, in this order, is a path that GS1 allows."""
    ai = ai_table().get(codes[0])
    if ai is None or ai.paths is None:
        return False
    qualifiers = list(codes[1:])
    return not qualifiers or any(_in_order(qualifiers, way) for way in ai.paths)


def decoded_place(raw: str, start: int, place: tuple[int, int]) -> tuple[int, int]:
    """Where characters of a decoded value stand in what was read, its escapes counted in full."""
    ends = [start]
    at = 0
    while at < len(raw):
        at += 3 if _ESCAPE.match(raw, at) else 1
        ends.append(start + at)
    first = min(place[0], len(ends) - 1)
    last = min(place[0] + max(1, place[1]), len(ends) - 1)
    return ends[first], max(1, ends[last] - ends[first])


def _read_path(path: str, path_at: int) -> tuple[list[Element], list[str]]:
    segments: list[tuple[int, str]] = []
    at = path_at + 1
    for segment in path[path_at + 1 :].split("/"):
        segments.append((at, segment))
        at += len(segment) + 1
    # Keys and values are read in pairs from the end, up to the first primary key; what is before it, is the
    # stem.
    i = len(segments) - 2
    while i >= 0:
        ai = ai_table().get(segments[i][1])
        if ai is None or ai.paths is not None:
            break
        i -= 2
    if i < 0 or ai is None:
        shown = repr(segments[i][1][:32]) + " is none" if i >= 0 else "it has fewer than two parts"
        raise NotGs1(
            "gs1.unknown", f"no GS1 key stands in the path: {shown}", place=(path_at, len(path) - path_at)
        )
    elements: list[Element] = []
    for (at, code), (value_at, raw) in zip(segments[i::2], segments[i + 1 :: 2], strict=True):
        elements.append(_element(ai_table()[code], raw, at, value_at))
    codes = [element.ai for element in elements]
    if not is_path(codes):
        ways = ai_table()[codes[0]].paths or ()
        allowed = " or ".join(", ".join(way) for way in ways) or "none"
        raise IdentifierMalformed(
            "gs1.qualifier",
            f"{', '.join(codes[1:])} behind key {codes[0]}; allowed, in this order: {allowed}",
            place=(elements[1].start, len(path) - elements[1].start),
        )
    return elements, codes


def _read_query(query: str, query_at: int, elements: list[Element]) -> None:
    at = query_at
    for part in query.split("&"):
        name, equals, raw = part.partition("=")
        if equals and (not name or (name.isascii() and name.isdigit())):
            ai = known_ai(name, at)
            elements.append(_element(ai, raw.replace("+", " "), at, at + len(name) + 1))
        at += len(part) + 1


def _element(ai: Ai, raw: str, at: int, value_at: int) -> Element:
    if not raw:
        raise IdentifierMalformed(
            "gs1.length", f"({ai.code}) {ai.title} has no value", place=(at, len(ai.code))
        )
    value = _decode(raw, value_at)
    try:
        verify_value(ai, value)
    except IdentifierMalformed as e:
        if e.place is not None:
            e.place = decoded_place(raw, value_at, e.place)
        raise
    return Element(ai.code, value, at)


def _decode(raw: str, start: int) -> str:
    value, at = "", 0
    while at < len(raw):
        if raw[at] != "%":
            value += raw[at]
            at += 1
            continue
        if not _ESCAPE.match(raw, at):
            raise IdentifierMalformed(
                "gs1.percent-encoding", "a % needs two hexadecimal digits behind it", place=(start + at, 1)
            )
        byte = int(raw[at + 1 : at + 3], 16)
        if not 0 < byte < 0x80:
            raise IdentifierMalformed(
                "gs1.percent-encoding",
                f"{raw[at : at + 3]} is no character that a GS1 symbol can hold",
                place=(start + at, 3),
            )
        value += chr(byte)
        at += 3
    return value


def _require_places(elements: Sequence[Element], path: list[str]) -> None:
    seen = set(path)
    for element in elements[len(path) :]:
        place = (element.start, len(element.ai))
        ai = ai_table()[element.ai]
        if element.ai in seen:
            raise IdentifierMalformed(
                "gs1.repeated", f"({element.ai}) stands in this link twice", place=place
            )
        seen.add(element.ai)
        if not ai.in_query:
            raise IdentifierMalformed(
                "gs1.attribute", f"({ai.code}) {ai.title} cannot be in the query of a link", place=place
            )
        if any(is_path([*path[:i], element.ai, *path[i:]]) for i in range(1, len(path) + 1)):
            raise IdentifierMalformed(
                "gs1.attribute",
                f"({ai.code}) {ai.title} qualifies ({path[0]}): it belongs into the path",
                place=place,
            )


def _in_order(qualifiers: Iterable[str], way: tuple[str, ...]) -> bool:
    remaining = iter(way)
    return all(qualifier in remaining for qualifier in qualifiers)


def _best_qualifiers(key: Ai, codes: Sequence[str]) -> list[str]:
    """The allowed sequence that takes up most of these; of equals, the first in the order of their digits."""
    candidates: list[tuple[int, str, list[str]]] = []
    for way in key.paths or ():
        for chosen in _choices(way):
            if chosen and all(code in codes for code in chosen):
                count = sum(codes.count(code) for code in chosen)
                candidates.append((-count, " ".join(chosen), chosen))
    return min(candidates)[2] if candidates else []


def _choices(way: tuple[str, ...]) -> list[list[str]]:
    made: list[list[str]] = [[]]
    for code in way:
        made += [[*chosen, code] for chosen in made]
    return made
