"""Step 3 of 9: keys. JSON that everybody reads alike: I-JSON (RFC 7493), or a Malformed that says where.

What one reader takes for the first of two members of the same name and another for the second is a way
to sign one thing and have another believed. So: UTF-8 without byte order mark, no duplicate members, no
NaN or Infinity, integers within ±(2**53 - 1), no number that a double cannot hold, no surrogate or
noncharacter in a string, bounded depth and size.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

import orjson

from keys.errors import Malformed

INTEGER_MAX = 2**53 - 1
# A double needs at most 17 significant digits; its exact decimal form rarely passes 60 characters.
NUMBER_LENGTH_MAX = 64
_DIGITS = 17

_NONCHARACTER = re.compile(
    "[\ufdd0-\ufdef\ufffe\uffff"
    + "".join(chr(p << 16 | 0xFFFE) + chr(p << 16 | 0xFFFF) for p in range(1, 17))
    + "]"
)
_SURROGATE_OR_NONCHARACTER = re.compile("[\ud800-\udfff" + _NONCHARACTER.pattern[1:])
# Possessive: a string that never ends must not be tried again from every one of its characters.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def loads(data: bytes, *, size_max: int, depth_max: int = 32) -> Any:
    """The value of one I-JSON text.

    size_max   bytes; a longer text is refused unread
    depth_max  how many arrays and objects may be open at once

    Raises Malformed "json.size", "json.encoding", "json.syntax", "json.depth", "json.duplicate",
    "json.number" or "json.string", with the RFC 6901 pointer of the fault where it has one.
    Text as a compact writer emits it is read at orjson's speed (under 2 µs for 600 bytes); any other
    spelling costs about ten times that.
    """
    if len(data) > size_max:
        raise Malformed("json.size", f"{len(data)} bytes of JSON; at most {size_max} are read")
    # If writing the value again gives the same bytes, nothing was dropped in reading: no duplicate
    # member, no digit. orjson itself refuses NaN, a BOM and bad UTF-8, and is told to refuse big integers.
    try:
        value = orjson.loads(data)
        same = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER) == data
    except (ValueError, TypeError):  # which orjson's own errors are
        same = False
    if same and (data.isascii() or not _NONCHARACTER.search(data.decode())):
        if data.count(b"{") + data.count(b"[") <= depth_max or _depth(value) <= depth_max:
            return value
        raise _too_deep(depth_max)
    return _loads_exactly(data, depth_max)


class _Fault:
    """Stands in the tree where something is wrong, until the walk has found out where that is."""

    __slots__ = ("code", "detail", "member")

    def __init__(self, code: str, detail: str, member: str | None = None) -> None:
        self.code, self.detail, self.member = code, detail, member


def _loads_exactly(data: bytes, depth_max: int) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Malformed("json.encoding", f"not UTF-8 at byte {e.start}") from e
    if text.startswith("\ufeff"):
        raise Malformed("json.encoding", "a byte order mark at the start; JSON has none")
    if _depth_of_text(text) > depth_max:
        raise _too_deep(depth_max)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as e:
        raise Malformed("json.syntax", f"not JSON at character {e.pos}: {e.msg}") from e
    _raise_first_fault(value, "")
    return value


def _too_deep(depth_max: int) -> Malformed:
    return Malformed("json.depth", f"nested deeper than {depth_max} levels")


def _depth(value: Any) -> int:
    depth, level = 0, [value] if isinstance(value, dict | list) else []
    while level:
        depth += 1
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
    return depth


def _depth_of_text(text: str) -> int:
    """Depth before parsing, so that no nesting can exhaust the stack."""
    depth = deepest = 0
    for char in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return _Fault("json.duplicate", f"the member {name[:64]!r} occurs twice in one object", name)
        seen.add(name)
    return members


def _integer(literal: str) -> Any:
    if len(literal) > NUMBER_LENGTH_MAX or abs(value := int(literal)) > INTEGER_MAX:
        return _Fault("json.number", f"the integer {literal[:24]} is outside ±(2**53 - 1)")
    return value


def _float(literal: str) -> Any:
    if len(literal) > NUMBER_LENGTH_MAX:
        return _Fault("json.number", f"a number of {len(literal)} characters; a double needs far fewer")
    value = float(literal)
    # A double prints in its shortest form, with 17 digits, or exactly. Any other literal says more
    # than the double keeps, and two readers may round it to two values.
    if isfinite(value):
        shortest = repr(value)
        if literal == shortest:
            return value
        try:
            said = Decimal(literal)
            if said == Decimal(shortest) or said == Decimal(f"{value:.16e}"):
                return value
            # The exact form is longer than both. It can run to 750 digits, so it is made last.
            if len(literal) > _DIGITS and said == Decimal(value):
                return value
        except InvalidOperation:  # an exponent that not even Decimal has
            pass
    return _Fault("json.number", f"the number {literal[:40]} has no exact place among the doubles")


def _constant(literal: str) -> _Fault:
    return _Fault("json.number", f"{literal} is not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def _raise_first_fault(value: Any, pointer: str) -> None:
    if isinstance(value, _Fault):
        here = pointer if value.member is None else f"{pointer}/{_escape(value.member)}"
        raise Malformed(value.code, value.detail, here)
    if isinstance(value, str):
        if found := _SURROGATE_OR_NONCHARACTER.search(value):
            detail = f"the string holds U+{ord(found.group()):04X}, which I-JSON forbids"
            raise Malformed("json.string", detail, pointer)
    elif isinstance(value, dict):
        for name, child in value.items():
            _raise_first_fault(name, pointer)
            _raise_first_fault(child, f"{pointer}/{_escape(name)}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _raise_first_fault(child, f"{pointer}/{index}")


def _escape(name: str) -> str:
    # A pointer goes into answers and logs: a lone surrogate could not even be written there.
    return name.encode("utf-8", "replace").decode().replace("~", "~0").replace("/", "~1")
