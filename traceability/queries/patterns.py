"""Step 8 of 9: EPC patterns (urn:epc:idpat) and class-level Digital Links, held against canonical names.

A Digital Link does not say where its company prefix ends. Prefixes are allocated so that none begins another
one, so a pattern with a company prefix matches every name whose digits begin with it.

Source: EPC Tag Data Standard 2.0, section 8 (pure identity pattern URI); EPCIS 2.0, section 8.2.7.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from traceability.errors import IdentifierMalformed
from traceability.gs1.canonical import canonical, judge
from traceability.gs1.digital_link import CANONICAL_STEM, parse_digital_link
from traceability.gs1.epc_urn import COMPANY_PREFIX_LENGTHS, canonical_of_urn
from traceability.remembered import remembered, remembered_pair

PATTERN_LENGTH_MAX = 256
NAMES_CACHED = 16_384
HEAD_LENGTHS = tuple(reversed(COMPANY_PREFIX_LENGTHS))  # no prefix begins another, so each digit counts
_IDPAT = "urn:epc:idpat:"
_STEM_LENGTH = len(CANONICAL_STEM)

# Where the company prefix's digits begin within the key's value: behind the indicator or extension digit.
_PREFIX_AT = {
    "00": 1, "01": 1, "253": 0, "255": 0, "401": 0, "402": 0, "414": 0, "417": 0, "8003": 1, "8004": 0,
    "8006": 1, "8010": 0, "8017": 0, "8018": 0,
}  # fmt: skip
# How long the part of the value is that names the class; the rest of it, or a qualifier, is the serial.
_CLASS_LENGTH = {"01": 14, "8003": 14, "253": 13, "255": 13, "414": 13, "8006": 18}
# What stands behind a class in the names of its members. A GLN without extension is a place, and no class.
_SERIALS = {
    "01": "/(?:21|235)/.+",
    "8006": "/21/.+",
    "8010": "/8011/.+",
    "8003": ".+",
    "253": ".+",
    "255": ".+",
}


@dataclass(frozen=True, slots=True)
class Scheme:
    """One scheme of patterns: how many parts, its key, and what stands behind a class."""

    parts: int
    ai: str
    serial: str  # of the canonical name, behind a class: "/21/", or "" where it follows at once
    lead: int  # characters of the value before the company prefix: indicator, extension digit or zero


_SCHEMES = {
    "sgtin": Scheme(3, "01", "/21/", 1),
    # Not one of EPC's own: the only way to ask for all lots of a product.
    "lgtin": Scheme(3, "01", "/10/", 1),
    "upui": Scheme(3, "01", "/235/", 1),
    "sscc": Scheme(2, "00", "", 1),
    "sgln": Scheme(3, "414", "/254/", 0),
    "pgln": Scheme(2, "417", "", 0),
    "grai": Scheme(3, "8003", "", 1),
    "giai": Scheme(2, "8004", "", 0),
    "gsrn": Scheme(2, "8018", "", 0),
    "gsrnp": Scheme(2, "8017", "", 0),
    "gdti": Scheme(3, "253", "", 0),
    "cpi": Scheme(3, "8010", "/8011/", 0),
    "sgcn": Scheme(3, "255", "", 0),
    "ginc": Scheme(2, "401", "", 0),
    "gsin": Scheme(2, "402", "", 0),
    "itip": Scheme(5, "8006", "/21/", 1),
}
_OPENED = frozenset(
    (("01", "21"), ("01", "10"), ("01", "235"), ("414", "254"), ("8006", "21"), ("8010", "8011"))
)
_SERIAL_AIS = frozenset(ai for _, ai in _OPENED)
# Schemes without a GS1 key: their names are the URN itself.
_RAW_SCHEMES = {"gid": 3, "usdod": 2, "adi": 3, "bic": 1, "imovn": 1}
_PART = re.compile(r"(?:[!'()+,\-:;=_0-9A-Za-z]|%[0-9A-Fa-f]{2})+|\*")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One value of a MATCH_ parameter.

    name     the canonical name that it is, if it can be that of one thing or of one class
    pattern  what other names it covers, as a regular expression over canonical names; None if no others
    narrow   (family, value) of the index term that each covered name has
    """

    text: str
    name: str | None
    pattern: re.Pattern[str] | None
    narrow: tuple[str, str] | None

    def covers(self, name: str) -> bool:
        """Whether it matches a thing or class with this canonical name."""
        return name == self.name or (self.pattern is not None and self.pattern.fullmatch(name) is not None)


def wanted(text: str) -> Wanted:
    """Read an EPC, a class or a pattern, as URN or Digital Link. Raises IdentifierMalformed."""
    if text.startswith(_IDPAT):
        return _pattern(text)
    if text.endswith("/*"):
        return _linked_pattern(text)
    name, code, detail = judge(text)
    if code:
        raise IdentifierMalformed(code, detail)
    split = _split(name)
    if split is None or split.qualifier or split.ai not in _SERIALS or not _is_class(split):
        return Wanted(text, name, None, None)
    # A class-level link, and so the same as the pattern that leaves the serial open.
    return Wanted(text, name, _compile(name, _SERIALS[split.ai]), ("class", f"{split.ai}/{split.value}"))


def _is_class(split: _Split) -> bool:
    return len(split.value) == _CLASS_LENGTH.get(split.ai, len(split.value))


def _compile(stem: str, rest: str) -> re.Pattern[str]:
    return re.compile(re.escape(stem) + rest)


def _linked_pattern(text: str) -> Wanted:
    """…/01/09521141123454/21/*: a Digital Link with its last value left open."""
    head, _, ai = text[:-2].rpartition("/")
    if ai not in _SERIAL_AIS:
        raise _bad_link(text)
    link = parse_digital_link(head, words=True, short_gtin=True)
    if link.qualifiers or (link.key[0], ai) not in _OPENED:
        raise _bad_link(text)
    name = canonical(head)
    split = _split(name)
    assert split is not None, "a canonical name"
    return Wanted(text, None, _compile(f"{name}/{ai}/", ".+"), ("class", f"{split.ai}/{split.value}"))


def _bad_link(text: str) -> IdentifierMalformed:
    return IdentifierMalformed(
        "gs1.pattern", f"{text[:64]!r}: a * stands for the whole serial of one class, as in /01/…/21/*"
    )


def _pattern(text: str) -> Wanted:
    if len(text) > PATTERN_LENGTH_MAX:
        raise IdentifierMalformed(
            "gs1.length", f"a pattern of {len(text)} characters; at most {PATTERN_LENGTH_MAX}"
        )
    scheme_name, _, rest = text[len(_IDPAT) :].partition(":")
    parts = rest.split(".") if rest else []
    if scheme_name in _RAW_SCHEMES:
        return _raw_pattern(text, scheme_name, parts)
    scheme = _SCHEMES.get(scheme_name)
    if scheme is None:
        raise IdentifierMalformed(
            "gs1.scheme", f"{text[:64]!r}: EPC has no pattern scheme {scheme_name[:16]!r}"
        )
    _require_parts(text, parts, scheme.parts)
    given = [part for part in parts if part != "*"]
    if not given:
        return Wanted(
            text, None, _compile(f"{CANONICAL_STEM}/{scheme.ai}/", _open(scheme)), ("key", scheme.ai)
        )
    prefix = given[0]
    if not (prefix.isascii() and prefix.isdigit() and len(prefix) in COMPANY_PREFIX_LENGTHS):
        raise IdentifierMalformed(
            "gs1.company-prefix", f"{prefix[:40]!r} is no company prefix: 6 to 12 digits"
        )
    if len(given) == scheme.parts:
        kind = "class" if scheme_name == "lgtin" else "id"
        return Wanted(text, canonical_of_urn(f"urn:epc:{kind}:{scheme_name}:{rest}"), None, None)
    if scheme_name == "lgtin" and len(given) == 2:
        product = canonical_of_urn(f"{_IDPAT}sgtin:{rest}")
        return Wanted(text, None, _compile(product, "/10/.+"), ("class", product[_STEM_LENGTH + 1 :]))
    if len(given) == scheme.parts - 1 and scheme.parts > 2:
        return _class_pattern(text, scheme, canonical_of_urn(text))
    if len(given) == 2 and scheme_name == "itip":
        product = canonical_of_urn(f"{_IDPAT}sgtin:{given[0]}.{given[1]}.*")[-14:]
        pattern = _compile(f"{CANONICAL_STEM}/8006/{product}", "[0-9]{4}(?:/21/.+)?")
        return Wanted(text, None, pattern, ("company", f"8006:{prefix}"))
    if len(given) > 1:
        raise IdentifierMalformed("gs1.pattern", f"{text[:64]!r}: of piece and total give both or none")
    lead = "." * scheme.lead
    return Wanted(
        text,
        None,
        re.compile(re.escape(f"{CANONICAL_STEM}/{scheme.ai}/") + lead + prefix + _open(scheme)),
        ("company", f"{scheme.ai}:{prefix}"),
    )


def _open(scheme: Scheme) -> str:
    """What follows a company prefix: the rest of the key, and its serial. Classes are covered as well."""
    if scheme.serial:
        return f"[^/]*(?:{scheme.serial}.+)?"
    return "[^/]+"


def _class_pattern(text: str, scheme: Scheme, name: str) -> Wanted:
    value = name[_STEM_LENGTH + len(scheme.ai) + 2 :]
    pattern = _compile(name, f"{scheme.serial}.+")
    return Wanted(text, name, pattern, ("class", f"{scheme.ai}/{value}"))


def _raw_pattern(text: str, scheme: str, parts: list[str]) -> Wanted:
    count = _RAW_SCHEMES[scheme]
    _require_parts(text, parts, count)
    given = [part for part in parts if part != "*"]
    if len(given) == count:
        return Wanted(text, f"raw:urn:epc:id:{scheme}:{'.'.join(given)}", None, None)
    stem = "".join(re.escape(part) + r"\." for part in given)
    return Wanted(text, None, re.compile(rf"raw:urn:epc:id:{scheme}:{stem}.+"), ("key", scheme))


def _require_parts(text: str, parts: list[str], count: int) -> None:
    if len(parts) != count:
        raise IdentifierMalformed(
            "gs1.pattern", f"{text[:64]!r} has {len(parts)} parts; a pattern of this scheme has {count}"
        )
    opened = False
    for part in parts:
        if not _PART.fullmatch(part):
            raise IdentifierMalformed(
                "gs1.pattern", f"{text[:64]!r}: {part[:32]!r} is neither a value nor a *"
            )
        if opened and part != "*":
            raise IdentifierMalformed(
                "gs1.pattern", f"{text[:64]!r}: behind the first * there is nothing but further ones"
            )
        opened = opened or part == "*"


@dataclass(frozen=True, slots=True)
class _Split:
    ai: str
    value: str
    qualifier: str


def _split(name: str) -> _Split | None:
    if not name.startswith(CANONICAL_STEM):
        return None
    parts = name[_STEM_LENGTH + 1 :].split("/")
    return _Split(parts[0], parts[1], "/".join(parts[2:]))


def class_of(name: str) -> str:
    """The class that a name belongs to or is, "01/09521141123454"; for a thing without one, the name itself.

    A few slices; the rest is cached by terms_of_class().
    """
    if name[18:22] == "/01/":
        return name[19:36]
    if name.startswith("raw:"):
        return name
    split = _split(name)
    if split is None:
        return name
    return f"{split.ai}/{split.value[: _CLASS_LENGTH.get(split.ai, len(split.value))]}"


def class_of_identifier(identifier: str) -> str:
    """class_of() the name of an identifier, as an event spells it. 0.4 µs for a product seen lately."""
    if identifier.startswith("urn:epc:id:sgtin:"):
        parts = identifier.split(".", 2)
        if len(parts) == 3:
            # Whatever the serial is: what breaks a rule in it is refused on the way in, and in a query.
            return _sgtin_class(parts[0][17:], parts[1])
    return class_of(judge(identifier)[0])


@remembered_pair(NAMES_CACHED)
def _sgtin_class(prefix: str, item: str) -> str:
    return class_of(judge(f"{_IDPAT}sgtin:{prefix}.{item}.*")[0])


@remembered(NAMES_CACHED)
def narrowings(class_name: str) -> tuple[tuple[str, str], ...]:
    """(family, value) of all that a pattern which covers members of this class may look it up by."""
    if class_name.startswith("raw:"):
        scheme = class_name.split(":", 5)[4:5] if class_name.startswith("raw:urn:epc:id:") else []
        return tuple(("key", name) for name in scheme)
    return tuple(_narrowings(class_name))


def _narrowings(class_name: str) -> Iterator[tuple[str, str]]:
    ai, _, value = class_name.partition("/")
    yield "key", ai
    if ai in _CLASS_LENGTH or ai == "8010":
        yield "class", class_name
    at = _PREFIX_AT.get(ai)
    if at is None:
        return
    digits = value[at : at + HEAD_LENGTHS[0]]
    for length in HEAD_LENGTHS:
        if len(digits) >= length and digits[:length].isdigit():
            yield "company", f"{ai}:{digits[:length]}"
