"""Step 4 of 9: EPC patterns (urn:epc:idpat:…), which queries match EPCs against.

A pattern is an EPC whose last parts are *: urn:epc:idpat:sgtin:9521141.*.* is every pack of every product of
one company. It is matched against canonical names, so it finds a pack however the event spelled it. From a
link nobody can tell where the company prefix ends, and a pattern does not need to: digits in their places
decide. Source: EPC Tag Data Standard 2.0, section 8.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.digital_link import CANONICAL_STEM
from traceability.gs1.epc_urn import URN_LENGTH_MAX, canonical_of_urn

_PREFIX = re.compile(r"urn:epc:idpat:([a-z]+):(.+)", re.IGNORECASE)
# How many parts the EPCs of a scheme have, the last of them its serial or reference.
_PARTS = {
    "sgtin": 3, "sscc": 2, "sgln": 3, "pgln": 2, "grai": 3, "giai": 2, "gsrn": 2, "gsrnp": 2, "gdti": 3,
    "cpi": 3, "sgcn": 3, "ginc": 2, "gsin": 2, "itip": 5, "upui": 3, "gid": 3, "usdod": 2, "adi": 3,
    "bic": 1, "imovn": 1,
}  # fmt: skip
_COMPANY_PREFIX = re.compile(r"[0-9]{6,12}")
_VALUE = r"[^/]+"  # what stands in a canonical name is percent-encoded, so a slash ends it


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which EPCs are meant."""

    urn: str
    expression: re.Pattern[str]  # of whole names: canonical Digital Links, or "raw:" and the EPC

    def matches(self, name: str) -> bool:
        """Whether the thing of this name (canonical.judge's) is one of those meant."""
        return self.expression.fullmatch(name) is not None


@lru_cache(maxsize=256)
def parse_pattern(urn: str) -> Pattern:
    """Read a pattern. Raises NotGs1 "gs1.unknown" if it is none, and IdentifierMalformed "gs1.pattern", or as
    an EPC of the same scheme would.
    """
    match = _PREFIX.fullmatch(urn) if len(urn) <= URN_LENGTH_MAX else None
    if match is None:
        raise NotGs1(
            "gs1.unknown", f"{urn[:64]!r} is no EPC pattern: it begins with urn:epc:idpat:", place=(0, 1)
        )
    scheme, body = match.groups()
    body_at = match.start(2)
    count = _PARTS.get(scheme)
    if count is None:
        raise IdentifierMalformed(
            "gs1.scheme",
            f"there is no EPC scheme {scheme[:16]!r} with patterns",
            place=(match.start(1), len(scheme)),
        )
    parts = body.split(".", count - 1)
    if len(parts) != count:
        raise IdentifierMalformed(
            "gs1.pattern",
            f"{body[:64]!r} has {len(parts)} parts; {scheme} has {count}",
            place=(body_at, len(body)),
        )
    stars = [part == "*" for part in parts]
    if True in stars and not all(stars[stars.index(True) :]):
        at = body_at + sum(len(part) + 1 for part in parts[: stars.index(True)])
        raise IdentifierMalformed("gs1.pattern", "behind a * everything is *", place=(at, 1))
    given = parts[: stars.index(True)] if True in stars else parts
    if True not in stars:
        return Pattern(urn, re.compile(re.escape(_name(f"urn:epc:id:{scheme}:{body}"))))
    if scheme in ("gid", "usdod", "adi", "bic", "imovn"):
        rest = r"\.".join([*(re.escape(part) for part in given), *[r"[^.]+"] * (count - len(given))])
        return Pattern(urn, re.compile(rf"raw:urn:epc:id:{scheme}:{rest}"))
    if given and not _COMPANY_PREFIX.fullmatch(given[0]):
        raise IdentifierMalformed(
            "gs1.company-prefix",
            f"{given[0][:40]!r} is no company prefix: 6 to 12 digits",
            place=(body_at, max(1, len(given[0]))),
        )
    return Pattern(urn, re.compile(re.escape(CANONICAL_STEM) + _EXPRESSIONS[scheme](given)))


def _name(urn: str) -> str:
    try:
        return canonical_of_urn(urn)
    except NotGs1:
        return "raw:" + urn


def _class(urn: str) -> str:
    """The path of the class that a pattern with only its serial open names, as an expression."""
    return re.escape(canonical_of_urn(urn).removeprefix(CANONICAL_STEM))


def _item(scheme: str, ai: str, tail: str, given: list[str], count: int = 2) -> str:
    """An indicator digit, the prefix, the rest of the reference, a check digit."""
    if len(given) == count:
        return _class(f"urn:epc:idpat:{scheme}:{'.'.join(given)}.*") + tail
    if len(given) > 1:  # an ITIP with its pieces open
        gtin = canonical_of_urn(f"urn:epc:idpat:sgtin:{given[0]}.{given[1]}.*").rpartition("/")[2]
        if len(given) > 2:
            raise IdentifierMalformed(
                "gs1.pattern", "a piece and its total are given together, or not at all"
            )
        return f"/{ai}/{gtin}[0-9]{{4}}{tail}"
    more = "[0-9]{4}" if ai == "8006" else ""
    if not given:
        return f"/{ai}/[0-9]{{14}}{more}{tail}"
    return f"/{ai}/[0-9]{given[0]}[0-9]{{{13 - len(given[0])}}}{more}{tail}"


def _digits(ai: str, length: int, given: list[str], *, first: str = "", tail: str = "") -> str:
    prefix = given[0] if given else ""
    return f"/{ai}/{first}{prefix}[0-9]{{{length - len(prefix)}}}{tail}"


def _serialised(scheme: str, ai: str, first: str, tail: str, given: list[str]) -> str:
    if len(given) == 2:
        return _class(f"urn:epc:idpat:{scheme}:{'.'.join(given)}.*") + tail
    return _digits(ai, 13, given, first=first, tail=tail)


def _sscc(given: list[str]) -> str:
    return f"/00/[0-9]{given[0]}[0-9]{{{17 - len(given[0])}}}" if given else "/00/[0-9]{18}"


def _owned(ai: str, given: list[str]) -> str:
    return f"/{ai}/{given[0] if given else ''}{_VALUE}"


def _cpi(given: list[str]) -> str:
    if len(given) == 2:
        return _class(f"urn:epc:idpat:cpi:{'.'.join(given)}.*") + "/8011/[0-9]+"
    return _owned("8010", given) + "/8011/[0-9]+"


_EXPRESSIONS: dict[str, Callable[[list[str]], str]] = {
    "sgtin": lambda given: _item("sgtin", "01", f"/21/{_VALUE}", given),
    "upui": lambda given: _item("upui", "01", f"/235/{_VALUE}", given),
    "itip": lambda given: _item("itip", "8006", f"/21/{_VALUE}", given, 4),
    "sscc": _sscc,
    "sgln": lambda given: _serialised("sgln", "414", "", f"(?:/254/{_VALUE})?", given),
    "pgln": lambda given: _digits("417", 13, given),
    "grai": lambda given: _serialised("grai", "8003", "0", _VALUE, given),
    "gdti": lambda given: _serialised("gdti", "253", "", _VALUE, given),
    "sgcn": lambda given: _serialised("sgcn", "255", "", "[0-9]+", given),
    "giai": lambda given: _owned("8004", given),
    "ginc": lambda given: _owned("401", given),
    "cpi": _cpi,
    "gsin": lambda given: _digits("402", 17, given),
    "gsrn": lambda given: _digits("8018", 18, given),
    "gsrnp": lambda given: _digits("8017", 18, given),
}
