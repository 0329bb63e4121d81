"""Step 8 of 9: one form for each of the spellings that words, fields and values have in queries and events.

Bare words, URNs, web addresses and CURIEs of one CBV word are equal; so are all spellings of one GS1
identifier; a field is its namespace and its name, whatever prefix a document chose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from traceability.epcis.formats import parse_time
from traceability.gs1.canonical import judge
from traceability.remembered import remembered

Prefixes = Mapping[str, str]
Key = tuple[str, str]

NESTING_MAX = 32  # as strict_json reads
NUMBER_LENGTH_MAX = 64  # as strict_json reads
WORDS_CACHED = 8192

# Prefixes that GS1's context declares. Source: EPCIS 2.0 JSON-LD context.
STANDARD_PREFIXES: Prefixes = {
    "epcis": "https://ref.gs1.org/epcis/",
    "cbv": "https://ref.gs1.org/cbv/",
    "cbvmda": "urn:epcglobal:cbv:mda:",
    "gs1": "https://gs1.org/voc/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "dcterms": "http://purl.org/dc/terms/",
}
_WORD = re.compile(
    r"(?:urn:epcglobal:cbv:(?:bizstep|disp|btt|sdt|er):"
    r"|https?://(?:ref|ns)\.gs1\.org/cbv/(?:BizStep|Disp|BTT|SDT|ER|Comp)-"
    r"|https?://(?:ref\.gs1\.org/epcis|(?:www\.)?gs1\.org/voc|ref\.gs1\.org/voc)/)"
    r"([A-Za-z_][A-Za-z0-9_]*)"
)
_NUMBER = re.compile(r"[+\-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+\-]?[0-9]{1,6})?")
_NO_FIELDS = frozenset(("@context", "@type", "@id", "@value"))


def prefixes_of(context: Any) -> Prefixes:
    """The prefixes that a JSON-LD @context declares, with GS1's own, which nobody may declare otherwise.

    Total: what it cannot use it skips.
    """
    if context is None or type(context) is str or (type(context) is list and _has_no_object(context)):
        return STANDARD_PREFIXES
    found = dict(STANDARD_PREFIXES)
    for part in context if isinstance(context, list) else (context,):
        if isinstance(part, dict):
            for prefix, namespace in part.items():
                if isinstance(namespace, dict):
                    namespace = namespace.get("@id")
                # SPEC: GS1's context is @protected.
                if isinstance(namespace, str) and prefix[:1] != "@" and prefix not in STANDARD_PREFIXES:
                    found[prefix] = namespace
    return found


def _has_no_object(parts: list[Any]) -> bool:
    return all(type(part) is str for part in parts)


def expand(text: str, prefixes: Prefixes) -> str:
    """A CURIE as the URI that it stands for; anything else as it is."""
    prefix, colon, rest = text.partition(":")
    if colon and not rest.startswith("//") and prefix in prefixes:
        return prefixes[prefix] + rest
    return text


@remembered(WORDS_CACHED)
def bare(text: str) -> str:
    """The bare word where this is a spelling of a GS1 one, else the text itself."""
    match = _WORD.fullmatch(text)
    return match[1] if match else text


def word(text: str, prefixes: Prefixes) -> str:
    """A value of a vocabulary (bizStep, type, reason…): the bare word if it is GS1's, else the full URI."""
    return bare(expand(text, prefixes)) if ":" in text else text


def word_forms(text: str, prefixes: Prefixes) -> tuple[str, ...]:
    """What a vocabulary's value in an event can be asked for as: the word, and a CURIE also as spelled."""
    expanded = word(text, prefixes)
    return (expanded,) if expanded == text or ":" not in expanded else (expanded, text)


def identity(text: str, prefixes: Prefixes) -> str:
    """What an identifier means: its canonical name, or "raw:" and the URI."""
    if text[:4] == "urn:" and text[:8].lower() != "urn:epc:" and "urn" not in prefixes:
        return "raw:" + text  # as judge() finds out, after trying all else
    name = judge(text)[0]
    if name.startswith("raw:"):
        expanded = expand(text, prefixes)
        return name if expanded == text else judge(expanded)[0]
    return name


def field_name(name: str, prefixes: Prefixes) -> str:
    """The full name of an extension's field; one whose prefix nobody declared stays as it is spelled.

    `ex:colour`, `https://ns.example/ex/colour` and, as EPCIS 1.2 writes it, `https://ns.example/ex/#colour`
    are one field.
    """
    full = expand(name, prefixes)
    if "#" in full:
        full = (
            full.replace("/#", "/")
            .replace(":#", ":")
            .replace("urn:epcglobal:cbv:mda#", "urn:epcglobal:cbv:mda:")
        )
    return full


def fields_of(container: Any, prefixes: Prefixes) -> Iterator[tuple[str, str, Any]]:
    """(full name, name as spelled, value) of each extension field that stands in this object itself."""
    if isinstance(container, dict):
        for name, value in container.items():
            if ":" in name:
                yield field_name(name, prefixes), name, value


def inner_fields_of(container: Any, prefixes: Prefixes) -> Iterator[tuple[str, str, Any]]:
    """The same of each field that stands anywhere within those fields."""
    for _, _, value in fields_of(container, prefixes):
        yield from _below(value, prefixes, 0)


def _below(value: Any, prefixes: Prefixes, depth: int) -> Iterator[tuple[str, str, Any]]:
    if depth > NESTING_MAX:
        return
    if isinstance(value, list):
        for item in value:
            yield from _below(item, prefixes, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _NO_FIELDS:
                yield field_name(name, prefixes), name, item
                yield from _below(item, prefixes, depth + 1)


def leaves(value: Any) -> Iterator[str | int | float | bool]:
    """The single values that a field has: itself, the members of a list, the @value of a typed one."""
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        if "@value" in value:
            yield from leaves(value["@value"])
    elif value is not None:
        yield value


def number(value: Any) -> Decimal | None:
    """The number that a value is or spells, exactly; None if it does neither."""
    if isinstance(value, bool):
        return None
    text = repr(value) if isinstance(value, float) else str(value) if isinstance(value, int) else value
    if not isinstance(text, str) or len(text) > NUMBER_LENGTH_MAX or not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def number_text(figure: Decimal) -> str:
    """One text for one number, however many zeros it was written with."""
    sign, digits, exponent = figure.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    assert isinstance(exponent, int), "number() reads no NaN"
    return f"{'-' if sign else ''}{stripped}e{exponent + len(text) - len(stripped)}" if stripped else "0"


def keys_of(value: str | int | float | bool) -> Iterator[Key]:
    """What a single value can be equal by. Two values are equal if they share one of these.

    A JSON number, the same number in a string as XML gives it, and as a URL spells it are equal; so are two
    spellings of one instant, and of one GS1 identifier.
    """
    if isinstance(value, bool):
        yield "text", "true" if value else "false"
        return
    figure = number(value)
    if figure is not None:
        yield "number", number_text(figure)
    if isinstance(value, str):
        yield "text", value
        moment = parse_time(value) if len(value) <= NUMBER_LENGTH_MAX and value[:1].isdigit() else None
        if moment is not None:
            yield "time", moment.isoformat()
        if ":" in value:
            name = judge(value)[0]
            if not name.startswith("raw:"):
                yield "name", name
