"""Step 4 of 9: EPC URNs (urn:epc:id, urn:epc:class, urn:epc:idpat) as GS1 keys with their check digits.

The URN shows where the company prefix ends and leaves the check digit out; the key is the other way round.
Source: EPC Tag Data Standard 2.0, sections 6 and 7.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.check_digit import check_digit
from traceability.gs1.digital_link import CANONICAL_STEM as _STEM

COMPANY_PREFIX_LENGTHS = range(6, 13)
URN_LENGTH_MAX = 256  # the longest GS1 scheme, all escaped, has about 140
PRODUCTS_CACHED = 8192  # (company prefix, reference) pairs: ledgers name many packs of few products

# What nearly every event names: read in half the time, to the same name.
_PLAIN_SGTIN = re.compile(r"urn:epc:id:sgtin:([0-9]{6,12})\.([0-9]{1,7})\.([0-9A-Za-z]{1,20})")
# What a URN may hold unescaped, and the rest of character set 82, which it must escape.
_X = re.compile(r"(?:[!'()*+,\-.:;=_0-9A-Za-z]|%[0-9A-Fa-f]{2})+")
_X_DECODED = re.compile(r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]+")
_Y = re.compile(r"(?:[\-0-9A-Z]|%23|%2[Ff])+")


def canonical_of_urn(urn: str) -> str:
    """The canonical Digital Link of an EPC URN.

    Raises NotGs1 "gs1.unknown" for good EPCs of schemes without a GS1 key (usdod, adi, gid, bic, imovn, and
    raw tags), and IdentifierMalformed "gs1.scheme", "gs1.urn", "gs1.company-prefix", "gs1.value",
    "gs1.length", "gs1.charset", "gs1.percent-encoding", "gs1.piece".
    """
    plain = _PLAIN_SGTIN.fullmatch(urn)
    if plain is not None:
        prefix, item, serial = plain.groups()
        return f"{_STEM}/01/{_gtin(prefix, item)}/21/{serial}"
    if len(urn) > URN_LENGTH_MAX:
        raise IdentifierMalformed(
            "gs1.length", f"an EPC URN of {len(urn)} characters; at most {URN_LENGTH_MAX}"
        )
    parts = urn.split(":", 4)
    read = _SCHEMES.get((parts[2], parts[3])) if len(parts) == 5 else None
    if read is None:
        raise _unknown(urn)
    return read(parts[4])


def _unknown(urn: str) -> IdentifierMalformed:
    kind, _, rest = urn[8:].partition(":")
    scheme = rest.partition(":")[0]
    form = _WITHOUT_KEY.get(scheme)
    if kind == "id" and form is not None and not form[0].fullmatch(rest):
        return IdentifierMalformed("gs1.value", f"{urn[:64]!r} is no EPC of its scheme: expected {form[1]}")
    if kind == "idpat" and ("id", scheme) in _SCHEMES:
        return IdentifierMalformed(
            "gs1.pattern", f"{urn[:64]!r} is a pattern to match with; no class of things is known by it"
        )
    if kind == "raw" or (kind in ("id", "idpat") and form is not None):
        return NotGs1("gs1.unknown", f"{urn[:64]!r} is an EPC whose scheme has no GS1 key")
    return IdentifierMalformed(
        "gs1.scheme",
        f"{urn[:64]!r}: there is no {kind[:16]!r} scheme {scheme[:16]!r} in EPC; spellings are lower case",
    )


# EPCs of other organisations. They have no GS1 key, so they name themselves; their form is checked all the
# same.
_NUMBER = "(?:0|[1-9][0-9]{0,10})"
_CAGE = "[0-9A-HJ-NP-Z]{5,6}"  # a CAGE code or a DoDAAC, without I and O
_ADI = "(?:[0-9A-Z-]|%2[Ff])"
_WITHOUT_KEY = {
    "gid": (
        re.compile(rf"gid:{_NUMBER}\.{_NUMBER}\.(?:0|[1-9][0-9]*)"),
        "manager.class.serial, numbers without leading zeros",
    ),
    "usdod": (re.compile(rf"usdod:{_CAGE}\.{_NUMBER}"), "a CAGE code or DoDAAC, a dot and a number"),
    "adi": (
        re.compile(rf"adi:{_CAGE}\.{_ADI}{{0,32}}\.(?:%23{_ADI}{{1,29}}|{_ADI}{{1,30}})"),
        "CAGE-or-DoDAAC.part.serial: a part of up to 32 characters, a serial of up to 30, perhaps behind %23",
    ),
    "bic": (
        re.compile("bic:[A-Z]{3}[JUZ][0-9]{7}"),
        "an owner of 3 letters, J, U or Z, and 7 digits, as CSQU3054383",
    ),
    "imovn": (re.compile("imovn:[0-9]{7}"), "an IMO vessel number of 7 digits"),
}


def _split(rest: str, count: int, form: str) -> list[str]:
    parts = rest.split(".", count - 1)
    if len(parts) != count:
        raise IdentifierMalformed("gs1.urn", f"{rest[:64]!r} has {len(parts)} parts; expected {form}")
    return parts


def _digits(prefix: str, reference: str, total: int) -> None:
    if not (prefix.isascii() and prefix.isdigit() and len(prefix) in COMPANY_PREFIX_LENGTHS):
        raise IdentifierMalformed(
            "gs1.company-prefix", f"{prefix[:40]!r} is no company prefix: 6 to 12 digits"
        )
    if len(prefix) + len(reference) != total:
        raise IdentifierMalformed(
            "gs1.value",
            f"company prefix {prefix} and reference {reference[:40]!r} have "
            f"{len(prefix) + len(reference)} digits; expected {total}",
        )
    if reference and not (reference.isascii() and reference.isdigit()):
        raise IdentifierMalformed("gs1.value", f"the reference {reference!r} is not digits alone")


@lru_cache(maxsize=PRODUCTS_CACHED)
def _gtin(prefix: str, item: str) -> str:
    """GTIN-14: the indicator digit, which the URN keeps at the head of the item, goes to the front."""
    _digits(prefix, item, 13)
    body = item[0] + prefix + item[1:] if item else prefix
    return body + check_digit(body)


@lru_cache(maxsize=PRODUCTS_CACHED)
def _key13(prefix: str, reference: str) -> str:
    _digits(prefix, reference, 12)
    return prefix + reference + check_digit(prefix + reference)


def _text(text: str, length_max: int, *, what: str) -> str:
    """A serial as the canonical link spells it: decoded, checked, and only unreserved characters bare."""
    if text.isalnum() and text.isascii():
        if len(text) > length_max:
            raise IdentifierMalformed(
                "gs1.length", f"a {what} of {len(text)} characters; at most {length_max}"
            )
        return text
    if not _X.fullmatch(text):
        raise _bad_text(text, what)
    decoded = unquote_to_bytes(text).decode("latin-1")
    if not _X_DECODED.fullmatch(decoded):
        raise IdentifierMalformed(
            "gs1.charset", f"the {what} {text[:64]!r} encodes a character outside set 82"
        )
    if len(decoded) > length_max:
        raise IdentifierMalformed(
            "gs1.length", f"a {what} of {len(decoded)} characters; at most {length_max}"
        )
    return quote(decoded, safe="")


def _bad_text(text: str, what: str) -> IdentifierMalformed:
    if not text:
        return IdentifierMalformed("gs1.value", f"the {what} is empty")
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return IdentifierMalformed(
            "gs1.percent-encoding", f"the {what} {text[:64]!r} has a % without two hexadecimal digits"
        )
    return IdentifierMalformed(
        "gs1.charset",
        f"the {what} {text[:64]!r} holds a character that an EPC URN must escape or cannot have",
    )


def _number(text: str, length_max: int, *, what: str, leading_zero: bool) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= length_max):
        raise IdentifierMalformed("gs1.value", f"the {what} {text[:40]!r} is not 1 to {length_max} digits")
    if not leading_zero and text[0] == "0" and len(text) > 1:
        raise IdentifierMalformed("gs1.value", f"the {what} {text!r} has a leading zero")
    return text


def _sgtin(rest: str) -> str:
    prefix, item, serial = _split(rest, 3, "prefix.item.serial")
    return f"{_STEM}/01/{_gtin(prefix, item)}/21/{_text(serial, 20, what='serial')}"


def _upui(rest: str) -> str:
    prefix, item, serial = _split(rest, 3, "prefix.item.serial")
    return f"{_STEM}/01/{_gtin(prefix, item)}/235/{_text(serial, 28, what='serial')}"


def _lgtin(rest: str) -> str:
    prefix, item, lot = _split(rest, 3, "prefix.item.lot")
    return f"{_STEM}/01/{_gtin(prefix, item)}/10/{_text(lot, 20, what='lot')}"


def _sscc(rest: str) -> str:
    prefix, serial = _split(rest, 2, "prefix.serial")
    _digits(prefix, serial, 17)
    body = serial[0] + prefix + serial[1:]
    return f"{_STEM}/00/{body}{check_digit(body)}"


def _sgln(rest: str) -> str:
    prefix, location, extension = _split(rest, 3, "prefix.location.extension")
    # A lone 0 is how an SGLN says that it has no extension (Tag Data Standard, 6.3.3).
    tail = "" if extension == "0" else f"/254/{_text(extension, 20, what='extension')}"
    return f"{_STEM}/414/{_key13(prefix, location)}{tail}"


def _pgln(rest: str) -> str:
    prefix, party = _split(rest, 2, "prefix.party")
    return f"{_STEM}/417/{_key13(prefix, party)}"


def _grai(rest: str) -> str:
    prefix, asset, serial = _split(rest, 3, "prefix.asset.serial")
    return f"{_STEM}/8003/0{_key13(prefix, asset)}{_text(serial, 16, what='serial')}"


def _gdti(rest: str) -> str:
    prefix, document, serial = _split(rest, 3, "prefix.document.serial")
    return f"{_STEM}/253/{_key13(prefix, document)}{_text(serial, 17, what='serial')}"


def _sgcn(rest: str) -> str:
    prefix, coupon, serial = _split(rest, 3, "prefix.coupon.serial")
    return f"{_STEM}/255/{_key13(prefix, coupon)}{_number(serial, 12, what='serial', leading_zero=True)}"


def _owned(rest: str, what: str) -> str:
    prefix, reference = _split(rest, 2, "prefix.reference")
    _digits(prefix, "", len(prefix))
    return prefix + _text(reference, 30 - len(prefix), what=what)


def _giai(rest: str) -> str:
    return f"{_STEM}/8004/{_owned(rest, 'asset reference')}"


def _ginc(rest: str) -> str:
    return f"{_STEM}/401/{_owned(rest, 'consignment reference')}"


def _gsin(rest: str) -> str:
    prefix, shipper = _split(rest, 2, "prefix.shipper-reference")
    _digits(prefix, shipper, 16)
    return f"{_STEM}/402/{prefix}{shipper}{check_digit(prefix + shipper)}"


def _service(ai: str) -> Callable[[str], str]:
    def read(rest: str) -> str:
        prefix, reference = _split(rest, 2, "prefix.service-reference")
        _digits(prefix, reference, 17)
        return f"{_STEM}/{ai}/{prefix}{reference}{check_digit(prefix + reference)}"

    return read


def _part(prefix: str, part: str) -> str:
    _digits(prefix, "", len(prefix))
    if not _Y.fullmatch(part):
        raise IdentifierMalformed(
            "gs1.charset", f"the part {part[:64]!r} is empty or leaves GS1's character set 39"
        )
    decoded = unquote_to_bytes(part).decode("ascii")
    if len(prefix) + len(decoded) > 30:
        raise IdentifierMalformed(
            "gs1.length", f"a component and part of {len(prefix) + len(decoded)} characters; at most 30"
        )
    return f"{_STEM}/8010/{prefix}{quote(decoded, safe='')}"


def _cpi(rest: str) -> str:
    prefix, part, serial = _split(rest, 3, "prefix.part.serial")
    return f"{_part(prefix, part)}/8011/{_number(serial, 12, what='serial', leading_zero=False)}"


def _piece(prefix: str, item: str, piece: str, total: str) -> str:
    both = piece + total
    if not (
        len(piece) == len(total) == 2 and both.isascii() and both.isdigit() and 0 < int(piece) <= int(total)
    ):
        raise IdentifierMalformed(
            "gs1.piece", f"piece {piece[:8]!r} of {total[:8]!r} cannot be: two digits each, from 01"
        )
    return f"{_STEM}/8006/{_gtin(prefix, item)}{both}"


def _itip(rest: str) -> str:
    prefix, item, piece, total, serial = _split(rest, 5, "prefix.item.piece.total.serial")
    return f"{_piece(prefix, item, piece, total)}/21/{_text(serial, 20, what='serial')}"


def _pattern(count: int, read: Callable[..., str]) -> Callable[[str], str]:
    """The class-level reading of urn:epc:idpat: everything given but the serial, which is a lone *."""

    def of(rest: str) -> str:
        parts = rest.split(".")
        if len(parts) != count + 1 or parts[-1] != "*" or "*" in parts[:-1]:
            raise IdentifierMalformed(
                "gs1.pattern",
                f"{rest[:64]!r}: as an identifier, a pattern gives {count} parts and then one *",
            )
        return read(*parts[:-1])

    return of


_SCHEMES: dict[tuple[str, str], Callable[[str], str]] = {
    ("id", "sgtin"): _sgtin,
    ("id", "sscc"): _sscc,
    ("id", "sgln"): _sgln,
    ("id", "pgln"): _pgln,
    ("id", "grai"): _grai,
    ("id", "giai"): _giai,
    ("id", "gsrn"): _service("8018"),
    ("id", "gsrnp"): _service("8017"),
    ("id", "gdti"): _gdti,
    ("id", "cpi"): _cpi,
    ("id", "sgcn"): _sgcn,
    ("id", "ginc"): _ginc,
    ("id", "gsin"): _gsin,
    ("id", "itip"): _itip,
    ("id", "upui"): _upui,
    ("class", "lgtin"): _lgtin,
    ("idpat", "sgtin"): _pattern(2, lambda p, i: f"{_STEM}/01/{_gtin(p, i)}"),
    ("idpat", "upui"): _pattern(2, lambda p, i: f"{_STEM}/01/{_gtin(p, i)}"),
    ("idpat", "sgln"): _pattern(2, lambda p, i: f"{_STEM}/414/{_key13(p, i)}"),
    ("idpat", "grai"): _pattern(2, lambda p, a: f"{_STEM}/8003/0{_key13(p, a)}"),
    ("idpat", "gdti"): _pattern(2, lambda p, d: f"{_STEM}/253/{_key13(p, d)}"),
    ("idpat", "sgcn"): _pattern(2, lambda p, c: f"{_STEM}/255/{_key13(p, c)}"),
    ("idpat", "cpi"): _pattern(2, _part),
    ("idpat", "itip"): _pattern(4, _piece),
}
