"""Step 4 of 9: from a key to its EPC URN. It needs what a key does not show: where the company prefix ends.

GS1 gives out company prefixes of 6 to 12 digits (for EPCs), and only GS1, or who owns one, knows how long it
is. So the length is given by the caller, or looked up in a table of the caller's; it is never guessed.
Source: EPC Tag Data Standard 2.0, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from traceability.errors import IdentifierMalformed, NotGs1
from traceability.gs1.canonical import canonical
from traceability.gs1.digital_link import parse_digital_link
from traceability.gs1.epc_urn import COMPANY_PREFIX_LENGTHS

# The head of a company prefix -> how many digits the prefix has. The longest head that fits decides.
PrefixTable = Mapping[str, int]

_ESCAPES = {ord(c): f"%{ord(c):02X}" for c in '"%&/<>?#'}


def to_epc_urn(identifier: str, company_prefix_length: int | PrefixTable) -> str:
    """The EPC URN of what this identifier names: id for one thing, class for a lot, idpat for a class.

    identifier             a Digital Link or EPC URN
    company_prefix_length  6 to 12, or a table from heads of company prefixes to their lengths

    Raises IdentifierMalformed as canonical() does, and "gs1.company-prefix" if the length is none of those,
    not in the table, or more than the key holds; NotGs1 "gs1.no-epc" for keys that have no EPC (GMN, lots of
    pieces, consumer product variants, invoicing parties).
    """
    name = canonical(identifier)
    link = parse_digital_link(name)
    qualifier = link.qualifiers[-1] if link.qualifiers else (None, "")
    write = _WRITERS.get((link.key[0], qualifier[0]))
    if write is None:
        by = f" with ({qualifier[0]})" if qualifier[0] else ""
        raise NotGs1("gs1.no-epc", f"({link.key[0]}){by} has no EPC in GS1's Tag Data Standard")
    return write(link.key[1], qualifier[1], company_prefix_length)


def _cut(digits: str, prefix: int | PrefixTable) -> tuple[str, str]:
    """The company prefix and what follows it."""
    length = prefix if isinstance(prefix, int) else _look_up(digits, prefix)
    if length not in COMPANY_PREFIX_LENGTHS:
        raise IdentifierMalformed(
            "gs1.company-prefix", f"a company prefix of {length} digits; an EPC has one of 6 to 12"
        )
    if len(digits) < length or not digits[:length].isdigit():
        raise IdentifierMalformed(
            "gs1.company-prefix", f"{digits[:40]!r} does not begin with {length} digits of a company prefix"
        )
    return digits[:length], digits[length:]


def _look_up(digits: str, table: PrefixTable) -> int:
    for size in range(len(digits), 0, -1):
        if digits[:size] in table:
            return table[digits[:size]]
    raise IdentifierMalformed(
        "gs1.company-prefix", f"the table has no company prefix with which {digits[:40]!r} begins"
    )


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)


_Writer = Callable[[str, str, int | PrefixTable], str]


def _item(start: str, end: str = "") -> _Writer:
    """GTINs: the indicator digit goes to the head of the item reference, the check digit goes."""

    def write(key: str, serial: str, prefix: int | PrefixTable) -> str:
        owner, reference = _cut(key[1:13], prefix)
        pieces = f".{key[14:16]}.{key[16:18]}" if len(key) == 18 else ""
        return f"urn:epc:{start}:{owner}.{key[0]}{reference}{pieces}.{_escape(serial) or end}"

    return write


def _sscc(key: str, _: str, prefix: int | PrefixTable) -> str:
    owner, reference = _cut(key[1:17], prefix)
    return f"urn:epc:id:sscc:{owner}.{key[0]}{reference}"


def _located(key: str, extension: str, prefix: int | PrefixTable) -> str:
    owner, reference = _cut(key[:12], prefix)
    return f"urn:epc:id:sgln:{owner}.{reference}.{_escape(extension) or '0'}"


def _plain(scheme: str) -> _Writer:
    """Keys of digits that end in a check digit, which goes."""

    def write(key: str, _: str, prefix: int | PrefixTable) -> str:
        return f"urn:epc:id:{scheme}:{'.'.join(_cut(key[:-1], prefix))}"

    return write


def _serialised(scheme: str, first: int) -> _Writer:
    """Keys of thirteen digits with their serial behind them, if they have one."""

    def write(key: str, _: str, prefix: int | PrefixTable) -> str:
        owner, reference = _cut(key[first : first + 12], prefix)
        serial = _escape(key[first + 13 :])
        return f"urn:epc:{'id' if serial else 'idpat'}:{scheme}:{owner}.{reference}.{serial or '*'}"

    return write


def _owned(scheme: str) -> _Writer:
    def write(key: str, _: str, prefix: int | PrefixTable) -> str:
        owner, reference = _cut(key, prefix)
        if not reference:
            raise IdentifierMalformed(
                "gs1.company-prefix", f"nothing is left of {key!r} behind its company prefix"
            )
        return f"urn:epc:id:{scheme}:{owner}.{_escape(reference)}"

    return write


def _part(key: str, serial: str, prefix: int | PrefixTable) -> str:
    owner, part = _cut(key, prefix)
    if not part:
        raise IdentifierMalformed(
            "gs1.company-prefix", f"nothing is left of {key!r} behind its company prefix"
        )
    return f"urn:epc:{'id' if serial else 'idpat'}:cpi:{owner}.{_escape(part)}.{serial or '*'}"


_WRITERS: dict[tuple[str, str | None], _Writer] = {
    ("00", None): _sscc,
    ("01", None): _item("idpat:sgtin", "*"),
    ("01", "21"): _item("id:sgtin"),
    ("01", "10"): _item("class:lgtin"),
    ("01", "235"): _item("id:upui"),
    ("253", None): _serialised("gdti", 0),
    ("255", None): _serialised("sgcn", 0),
    ("401", None): _owned("ginc"),
    ("402", None): _plain("gsin"),
    ("414", None): _located,
    ("414", "254"): _located,
    ("417", None): _plain("pgln"),
    ("8003", None): _serialised("grai", 1),
    ("8004", None): _owned("giai"),
    ("8006", None): _item("idpat:itip", "*"),
    ("8006", "21"): _item("id:itip"),
    ("8010", None): _part,
    ("8010", "8011"): _part,
    ("8017", None): _plain("gsrnp"),
    ("8018", None): _plain("gsrn"),
}
