"""Step 4 of 9: compressed Digital Links. The same AIs and values, in a fifth of the bits, as base64url.

A path segment such as AQnYUc1gmiERBhQ0ytiyZuAG is a string of bits: an AI as hexadecimal digits of four bits
each, its value in a form that suits it, the next AI, and zeros up to the end of the last character. Values of
digits alone are one number; others say which alphabet they use (digits, hexadecimal, base64url or ASCII) and
how long they are. Compression loses nothing, so a link is what it decompresses to, if that is a good Digital
Link. Source: GS1 Digital Link Standard, compression (release 1.1, section 6).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.ai_table import ai_lengths, ai_table
from traceability.gs1.elements import ELEMENTS_MAX, Element, verify_together
from traceability.gs1.value_checks import verify_value

SEGMENT_LENGTH_MAX = 1024  # characters; 64 elements fit in less
SEGMENT = re.compile(r"[A-Za-z0-9_\-]+")
_LINK = re.compile(
    r"(?:https?|HTTPS?)://[^/?#\s]+(?:/[^?#\s]*?)??(?:/([0-9]{2,4})/([^/?#\s]+))?/([A-Za-z0-9_\-]{8,1024})"
    r"(?:[?#]\S*)?"
)
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_KEY_LENGTH_BITS = _TEXT_LENGTH_BITS = 7  # of parameters that are no AIs

# Which values have a form of their own; every other one is read from the AI table. A number is so many
# digits, n-12 is up to twelve, x-20 up to twenty characters of text, x2 exactly two.
_FORMS = """
253 13 x-17
255 13 n-12
423 3 n-12
425 3 n-12
7007 6 n-6
7230-7239 x-30
8003 14 x-16
8007 x-24
8008 8 n-4
8010 x-30
8013 x-30
"""
# Two hexadecimal digits that stand for several AIs, whose values follow in this order.
_TOGETHER = """
0A 01 22|0B 01 10|0C 01 21|0D 01 17|0E 01 7003|0F 01 30|1A 01 10 21 17|1B 01 15|1C 01 11|1D 01 16|1E 01 91
1F 01 10 15|2A 01 3100|2B 01 3101|2C 01 3102|2D 01 3103|2E 01 3104|2F 01 3105|3A 01 3200|3B 01 3201|3C 01 3202
3D 01 3203|3E 01 3204|3F 01 3205|9A 8010 8011|9B 8017 8019|9C 8018 8019|9D 414 254|A0 01 3920|A1 01 3921
A2 01 3922|A3 01 3923|A4 01 3924|A5 01 3925|A6 01 3926|A7 01 3927|A8 01 3928|A9 01 3929|C0 255 3900|C1 255
3901 C2 255 3902|C3 255 3903|C4 255 3904|C5 255 3905|C6 255 3906|C7 255 3907|C8 255 3908|C9 255 3909|CA 255
3940 CB 255 3941|CC 255 3942|CD 255 3943
"""

_Piece = tuple[str, int, bool]  # "n" or "x", length, whether exactly so many


def decompress(segment: str) -> tuple[Element, ...]:
    """The AIs and values that a compressed segment holds; parameters that are no AIs are left out.

    Raises IdentifierMalformed "gs1.compressed" if it holds none, or any that is no good.
    """
    if not SEGMENT.fullmatch(segment) or len(segment) > SEGMENT_LENGTH_MAX:
        raise _broken("it is no base64url, or too long")
    # GS1's own toolkit writes the AIs of a group in the order of their digits, the standard in the group's
    # own.
    try:
        return _decompress(segment, as_listed=True)
    except IdentifierMalformed:
        return _decompress(segment, as_listed=False)


def parse_compressed_link(uri: str) -> tuple[Element, ...]:
    """The AIs of a link whose last segment is compressed, with or without a primary key in plain before it.

    Raises NotGs1 "gs1.unknown" if no segment is compressed, or it holds no good Digital Link.
    """
    match = _LINK.fullmatch(uri)
    if match is None:
        raise NotGs1("gs1.unknown", f"{uri[:64]!r} is no compressed Digital Link")
    code, raw, segment = match.groups()
    try:
        elements = decompress(segment)
        if code is not None and code in ai_table():
            value = unquote(raw, errors="strict")
            verify_value(ai_table()[code], value)
            elements = (Element(code, value), *elements)
        verify_together(elements)
    except (IdentifierMalformed, UnicodeDecodeError) as e:
        raise NotGs1("gs1.unknown", f"{uri[:64]!r} is no Digital Link, nor a compressed one") from e
    if all(ai_table()[element.ai].paths is None for element in elements):
        raise NotGs1("gs1.unknown", f"{uri[:64]!r} holds no GS1 key")
    return elements


def compress(elements: Sequence[Element]) -> str:
    """The segment that holds these. Raises IdentifierMalformed "gs1.compressed" if one cannot be."""
    values: dict[str, str] = {}
    for element in elements:
        values.setdefault(element.ai, element.value)
    bits = ""
    while (code := _best_group(values)) is not None:
        bits += _hex_bits(code)
        for ai in _groups()[code]:
            bits += _value_bits(ai, values.pop(ai))
    for ai, value in values.items():
        bits += _hex_bits(ai) + _value_bits(ai, value)
    bits += "0" * (-len(bits) % 6)
    return "".join(_BASE64[int(bits[i : i + 6], 2)] for i in range(0, len(bits), 6))


class _Bits:
    """The segment as bits, read from the left."""

    def __init__(self, segment: str) -> None:
        self.text = "".join(f"{_BASE64.index(character):06b}" for character in segment)
        self.at = 0

    def number(self, count: int) -> int:
        if self.at + count > len(self.text):
            raise _broken("it ends in the middle of a value")
        taken = self.text[self.at : self.at + count]
        self.at += count
        return int(taken, 2) if taken else 0

    def rest(self) -> str:
        return self.text[self.at :]


def _decompress(segment: str, *, as_listed: bool) -> tuple[Element, ...]:
    bits = _Bits(segment)
    found: list[Element] = []
    # Less than a character of zeros fills up the end; no AI is as short as that.
    while len(bits.rest()) >= 8:
        if len(found) > ELEMENTS_MAX:
            raise _broken(f"it holds more than {ELEMENTS_MAX} application identifiers")
        head = f"{bits.number(8):02X}"
        if head in _groups():
            group = _groups()[head]
            for code in group if as_listed else tuple(sorted(group)):
                found.append(_read_element(bits, code))
        elif head[0] == "F":
            _skip_parameter(bits, int(head[1], 16))
        else:
            found.append(_read_element(bits, _read_ai(bits, head)))
    if "1" in bits.rest():
        raise _broken("there is more behind its last value")
    if not found:
        raise _broken("it holds no application identifier")
    return tuple(found)


def _read_ai(bits: _Bits, head: str) -> str:
    length = ai_lengths().get(head)
    if length is None:
        raise _broken(f"no application identifier begins with {head}")
    code = head + "".join(f"{bits.number(4):X}" for _ in range(length - 2))
    if code not in ai_table():
        raise _broken(f"there is no application identifier {code}")
    return code


def _read_element(bits: _Bits, code: str) -> Element:
    value = ""
    for kind, length, exactly in _form(code):
        if kind == "n":
            count = length if exactly else bits.number(_length_bits(length))
            value += _digits(bits, count)
        else:
            alphabet = bits.number(3)
            count = length if exactly else bits.number(_length_bits(length))
            value += _read_text(bits, alphabet, count)
    try:
        verify_value(ai_table()[code], value)
    except IdentifierMalformed as e:
        raise _broken(e.detail) from e
    return Element(code, value)


def _digits(bits: _Bits, count: int) -> str:
    if count == 0:
        bits.number(_number_bits(0))
        return ""
    text = str(bits.number(_number_bits(count))).zfill(count)
    if len(text) > count:
        raise _broken(f"{text} has more than {count} digits")
    return text


def _read_text(bits: _Bits, alphabet: int, count: int) -> str:
    if alphabet == 0:
        return _digits(bits, count)
    if alphabet in (1, 2):
        text = "".join(f"{bits.number(4):x}" for _ in range(count))
        return text if alphabet == 1 else text.upper()
    if alphabet == 3:
        return "".join(_BASE64[bits.number(6)] for _ in range(count))
    if alphabet == 4:
        return "".join(chr(bits.number(7)) for _ in range(count))
    raise _broken(f"there is no alphabet {alphabet}")


def _skip_parameter(bits: _Bits, high: int) -> None:
    """A parameter of the query that is no AI: read over, for it does not say which thing this is."""
    length = high << 3 | bits.number(_KEY_LENGTH_BITS - 4)
    bits.number(6 * length)
    alphabet = bits.number(3)
    _read_text(bits, alphabet, bits.number(_TEXT_LENGTH_BITS))


def _value_bits(code: str, value: str) -> str:
    bits, at = "", 0
    for kind, length, exactly in _form(code):
        text = value[at : at + length]
        at += len(text)
        size = "" if exactly else f"{len(text):0{_length_bits(length)}b}"
        if kind == "n":
            bits += size + f"{int(text or '0'):0{_number_bits(len(text))}b}"
            continue
        alphabet = _alphabet(text)
        bits += f"{alphabet:03b}" + size
        if alphabet == 0:
            bits += f"{int(text or '0'):0{_number_bits(len(text))}b}"
        elif alphabet in (1, 2):
            bits += _hex_bits(text)
        elif alphabet == 3:
            bits += "".join(f"{_BASE64.index(character):06b}" for character in text)
        else:
            bits += "".join(f"{ord(character):07b}" for character in text)
    if at != len(value):
        raise _broken(f"({code}) {value!r} is too long for its compressed form")
    return bits


def _alphabet(text: str) -> int:
    if re.fullmatch(r"[0-9]*", text):
        return 0
    if re.fullmatch(r"[0-9A-F]+", text):
        return 2
    if re.fullmatch(r"[0-9a-f]+", text):
        return 1
    return 3 if SEGMENT.fullmatch(text) else 4


def _best_group(values: dict[str, str]) -> str | None:
    candidates = [code for code, group in _groups().items() if all(ai in values for ai in group)]
    return max(candidates, key=lambda code: len("".join(_groups()[code])), default=None)


def _hex_bits(digits: str) -> str:
    return "".join(f"{int(digit, 16):04b}" for digit in digits)


def _length_bits(most: int) -> int:
    return math.ceil(math.log2(most) + 0.01)


def _number_bits(digits: int) -> int:
    return math.ceil(digits * math.log2(10) + 0.01)


@lru_cache(maxsize=1)
def _groups() -> dict[str, tuple[str, ...]]:
    entries = [entry.split() for entry in _TOGETHER.replace("\n", "|").split("|") if entry]
    return {code: tuple(group) for code, *group in entries}


@lru_cache(maxsize=1)
def _own_forms() -> dict[str, tuple[_Piece, ...]]:
    forms: dict[str, tuple[_Piece, ...]] = {}
    for line in _FORMS.strip().splitlines():
        codes, *texts = line.split()
        pieces = tuple(_piece(text) for text in texts)
        first, _, last = codes.partition("-")
        for number in range(int(first), int(last or first) + 1):
            forms[str(number)] = pieces
    return forms


def _form(code: str) -> tuple[_Piece, ...]:
    own = _own_forms().get(code)
    if own is not None:
        return own
    parts = ai_table()[code].parts
    if all(part.characters == "n" and part.fewest == part.most and not part.optional for part in parts):
        return (("n", sum(part.most for part in parts), True),)
    if any(part.characters == "z" for part in parts):
        raise _broken(f"({code}) has no compressed form")
    return tuple(
        ("n" if part.characters == "n" else "x", part.most, part.fewest == part.most and not part.optional)
        for part in parts
    )


def _piece(text: str) -> _Piece:
    kind = text[0] if text[0] in "nx" else "n"
    length = text.lstrip("nx")
    return kind, int(length.lstrip("-")), not length.startswith("-")


def _broken(reason: str) -> IdentifierMalformed:
    return IdentifierMalformed("gs1.compressed", f"this is no compressed Digital Link: {reason}")
