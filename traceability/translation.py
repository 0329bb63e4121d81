"""Step 8 of 9: an event with its identifiers, or its CBV words, spelled as an asker wants them.

    Always_GS1_Digital_Link   EPC URNs become canonical Digital Links; links stay as the event has them
    Always_EPC_URN            links become EPC URNs where it is known how long the company prefix is: a link
                              does not say, so a URN with that prefix must stand in the same event
    Always_Web_URI            words become https://ref.gs1.org/cbv/… addresses

What cannot be translated stays as it is, and is told with its pointer and the reason. Only the standard's own
fields are translated: what a text in somebody's extension means is theirs to say.
Source: EPCIS 2.0, REST binding, GS1-EPC-Format and GS1-CBV-XML-Format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from traceability.epcis import vocabulary as words
from traceability.errors import IdentifierMalformed
from traceability.gs1.canonical import judge
from traceability.gs1.to_urn import PrefixTable, to_epc_urn

ALWAYS_DIGITAL_LINK = "Always_GS1_Digital_Link"
ALWAYS_URN = "Always_EPC_URN"

_LISTS = ("epcList", "childEPCs", "inputEPCList", "outputEPCList")
_QUANTITIES = ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList")
_PLACES = ("readPoint", "bizLocation")
_MEMBERS = (
    *((field, "epcClass") for field in _QUANTITIES),
    ("sourceList", "source"),
    ("destinationList", "destination"),
    ("bizTransactionList", "bizTransaction"),
)
_SCHEMES = "sgtin|sscc|sgln|pgln|grai|giai|gsrn|gsrnp|gdti|cpi|sgcn|ginc|gsin|itip|upui|lgtin"
_OWNED_URN = re.compile(rf"urn:epc:(?:id|class|idpat):(?:{_SCHEMES}):([0-9]{{6,12}})\..+")
_CBV = "https://ref.gs1.org/cbv/"


@dataclass(frozen=True, slots=True)
class Untranslated:
    """One identifier that stays as the event has it."""

    pointer: str  # into the event
    code: str  # "gs1.company-prefix": its length is not known here; "gs1.no-epc", "gs1.no-link"


def translate(event: dict[str, Any], epc_format: str) -> tuple[dict[str, Any], list[Untranslated]]:
    """The event with its identifiers in one format, and those that could not be brought into it.

    epc_format  ALWAYS_DIGITAL_LINK or ALWAYS_URN

    The event itself is not altered. About 1 µs an identifier.
    """
    left: list[Untranslated] = []
    if epc_format == ALWAYS_URN:
        table = company_prefixes(event)

        def write(identifier: str) -> str | None:
            return _as_urn(identifier, table)

    else:
        write = _as_link

    def to(identifier: Any, pointer: str) -> Any:
        if not isinstance(identifier, str):
            return identifier
        try:
            return write(identifier) or identifier
        except IdentifierMalformed as e:
            left.append(Untranslated(pointer, e.code))
            return identifier

    made = _mapped(event, to)
    for field in _LISTS:
        _name_once(made, field, left)
    return made, left


def _name_once(made: dict[str, Any], field: str, left: list[Untranslated]) -> None:
    """Where two spellings of one thing have become one: the standard wants each thing once."""
    items = made.get(field)
    if not isinstance(items, list) or not all(type(one) is str for one in items):
        return
    places: dict[str, int] = {}
    for one in items:
        places.setdefault(one, len(places))
    if len(places) == len(items):
        return
    made[field] = list(places)
    at = {f"/{field}/{index}": f"/{field}/{places[one]}" for index, one in enumerate(items)}
    left[:] = [Untranslated(at.get(one.pointer, one.pointer), one.code) for one in left]


def company_prefixes(event: dict[str, Any]) -> PrefixTable:
    """The company prefixes that the EPC URNs of an event show, with their lengths.

    GS1 gives out no prefix with which another one begins. Where the event has such two, one of them is
    wrong, and neither is believed.
    """
    found: dict[str, int] = {}

    def note(identifier: Any, pointer: str) -> Any:
        match = _OWNED_URN.fullmatch(identifier) if isinstance(identifier, str) else None
        if match is not None:
            found[match[1]] = len(match[1])
        return identifier

    _mapped(event, note)
    pairs = [(one, other) for one in found for other in found if one != other and other.startswith(one)]
    doubted = {prefix for pair in pairs for prefix in pair}
    return {prefix: length for prefix, length in found.items() if prefix not in doubted}


def with_web_words(event: dict[str, Any]) -> dict[str, Any]:
    """The event with the CBV's bare words as web addresses; sensors' words have no other spelling in XML."""
    made = dict(event)
    for field, stem, known in (
        ("bizStep", "BizStep-", words.BIZ_STEPS),
        ("disposition", "Disp-", words.DISPOSITIONS),
    ):
        if field in made:
            made[field] = _web(made[field], stem, known)
    changes = made.get("persistentDisposition")
    if isinstance(changes, dict):
        made["persistentDisposition"] = {
            name: [_web(one, "Disp-", words.DISPOSITIONS) for one in value]
            if name in ("set", "unset") and isinstance(value, list)
            else value
            for name, value in changes.items()
        }
    for field, stem, known in (
        ("bizTransactionList", "BTT-", words.BIZ_TRANSACTION_TYPES),
        ("sourceList", "SDT-", words.SOURCE_DEST_TYPES),
        ("destinationList", "SDT-", words.SOURCE_DEST_TYPES),
    ):
        if isinstance(made.get(field), list):
            made[field] = [
                {**one, "type": _web(one["type"], stem, known)}
                if isinstance(one, dict) and "type" in one
                else one
                for one in made[field]
            ]
    declaration = made.get("errorDeclaration")
    if isinstance(declaration, dict) and "reason" in declaration:
        reason = _web(declaration["reason"], "ER-", words.ERROR_REASONS)
        made["errorDeclaration"] = {**declaration, "reason": reason}
    return made


def _web(value: Any, stem: str, known: frozenset[str]) -> Any:
    return f"{_CBV}{stem}{value}" if isinstance(value, str) and value in known else value


def _as_link(identifier: str) -> str | None:
    if identifier[:8].lower() != "urn:epc:":
        return None  # a link already, or somebody's own
    name = _name_of(identifier)
    if name is None:
        raise IdentifierMalformed("gs1.no-link", f"{identifier[:64]!r} has no GS1 key, and so no link")
    return name


def _as_urn(identifier: str, table: PrefixTable) -> str | None:
    if identifier[:4].lower() == "urn:":
        return None
    name = _name_of(identifier)
    return None if name is None else to_epc_urn(name, table)


def _name_of(identifier: str) -> str | None:
    """Its canonical name; None for somebody's own. Raises IdentifierMalformed for a broken GS1 one."""
    name, code, detail = judge(identifier)
    if code:
        raise IdentifierMalformed(code, detail)
    return None if name.startswith("raw:") else name


def _mapped(event: dict[str, Any], to: Callable[[Any, str], Any]) -> dict[str, Any]:
    """The event with `to` of each identifier in the standard's fields and its pointer."""
    made = dict(event)
    for field in _LISTS:
        if isinstance(event.get(field), list):
            made[field] = [to(one, f"/{field}/{index}") for index, one in enumerate(event[field])]
    if "parentID" in event:
        made["parentID"] = to(event["parentID"], "/parentID")
    for field in _PLACES:
        place = event.get(field)
        if isinstance(place, dict) and "id" in place:
            made[field] = {**place, "id": to(place["id"], f"/{field}/id")}
    for field, member in _MEMBERS:
        if isinstance(event.get(field), list):
            made[field] = list(_members(event[field], field, member, to))
    return made


def _members(items: list[Any], field: str, member: str, to: Callable[[Any, str], Any]) -> Iterator[Any]:
    for index, one in enumerate(items):
        if isinstance(one, dict) and member in one:
            yield {**one, member: to(one[member], f"/{field}/{index}/{member}")}
        else:
            yield one
