"""Step 8 of 9: a question for master data as a URL spells it, with every fault that is in it.

    GET /masterdata?vocabularyName=BusinessLocation&WD_name=urn:epc:id:sgln:9521141.00001.0&EQATTR_city=Berlin

Source: EPCIS 2.0, section 8.2.7.2 (SimpleMasterDataQuery). includeAttributes and includeChildren, which it
requires, are true where they are not given.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from traceability.errors import QueryParameterFault, QueryRejected
from traceability.queries.families import attribute_name
from traceability.queries.masterdata import Record
from traceability.queries.model import PER_PAGE_DEFAULT, PER_PAGE_MAX
from traceability.queries.parameters import (
    FAULTS_MAX,
    PARAMETERS_MAX,
    TOKEN_LENGTH_MAX,
    URL_QUERY_LENGTH_MAX,
    VALUE_LENGTH_MAX,
    VALUES_MAX,
    Faults,
    decode_pair,
    read_extensions,
)
from traceability.queries.spelling import STANDARD_PREFIXES, Prefixes, expand, identity

VOCABULARY_PREFIX = "urn:epcglobal:epcis:vtype:"
_LISTS = ("vocabularyName", "EQ_name", "WD_name", "HASATTR", "attributeNames")
_FLAGS = ("includeAttributes", "includeChildren")
_COUNTS = ("perPage", "maxElementCount")
_EQUALS = "EQATTR_"
_COUNT_DIGITS_MAX = 15


@dataclass(frozen=True, slots=True)
class MasterDataQuery:
    """What is asked. Names are canonical ones, attributes' names full ones; None asks for nothing.

    equal   (attribute, values): it has one of the values; every pair must hold
    having  it has one of these attributes
    shown   the attributes that the answer tells; None for all
    digest  of everything that decides about the answer, for page tokens
    """

    vocabularies: frozenset[str] | None = None
    names: frozenset[str] | None = None
    within: frozenset[str] | None = None
    having: frozenset[str] | None = None
    equal: tuple[tuple[str, frozenset[str]], ...] = ()
    shown: frozenset[str] | None = None
    with_attributes: bool = True
    with_children: bool = True
    element_count_max: int | None = None
    per_page: int = PER_PAGE_DEFAULT
    token: str | None = None
    digest: str = ""

    def matches(self, record: Record) -> bool:
        """Whether the record answers, but for names and within, which are looked up."""
        return (
            (self.vocabularies is None or record.type in self.vocabularies)
            and (self.having is None or not self.having.isdisjoint(record.attributes))
            and all(not values.isdisjoint(record.attributes.get(name, ())) for name, values in self.equal)
        )


def vocabulary_name(text: str) -> str:
    """The full name of a vocabulary: `BusinessLocation` is one of the standard's own."""
    return text if ":" in text else VOCABULARY_PREFIX + text


def parse_masterdata(query: str, *, extensions: str = "") -> MasterDataQuery:
    """The question of a URL's query string. extensions: as parse_url()'s.

    Raises QueryRejected with every fault.
    """
    if len(query) > URL_QUERY_LENGTH_MAX or query.count("&") >= PARAMETERS_MAX:
        detail = f"at most {PARAMETERS_MAX} parameters and {URL_QUERY_LENGTH_MAX} characters are read"
        raise QueryRejected([QueryParameterFault("query.length", detail)])
    faults = Faults()
    prefixes = STANDARD_PREFIXES
    with faults:
        prefixes = read_extensions(extensions)
    given: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        with faults:
            name, value = decode_pair(part)
            _require_known(name)
            if name in given:
                raise QueryParameterFault(
                    "query.twice", f"{name[:64]} is given twice", name, fix="separate several values by |"
                )
            given[name] = value
    lists: dict[str, list[str]] = {}
    flags: dict[str, bool] = {}
    counts: dict[str, int] = {}
    token: str | None = None
    for name, value in given.items():
        with faults:
            if name in _FLAGS:
                flags[name] = _flag(name, value)
            elif name in _COUNTS:
                counts[name] = _count(name, value)
            elif name == "nextPageToken":
                token = _token(value)
            else:
                lists[name] = _list(name, value)
    if faults.found:
        raise QueryRejected(faults.found[:FAULTS_MAX])
    return _query(lists, flags, counts, token, prefixes)


def _query(
    lists: dict[str, list[str]],
    flags: dict[str, bool],
    counts: dict[str, int],
    token: str | None,
    prefixes: Prefixes,
) -> MasterDataQuery:
    def names(parameter: str) -> frozenset[str] | None:
        values = lists.get(parameter)
        return None if values is None else frozenset(identity(value, prefixes) for value in values)

    def attributes(parameter: str) -> frozenset[str] | None:
        values = lists.get(parameter)
        return None if values is None else frozenset(attribute_name(value, prefixes) for value in values)

    vocabularies = lists.get("vocabularyName")
    equal = tuple(
        (attribute_name(name.removeprefix(_EQUALS), prefixes), frozenset(values))
        for name, values in sorted(lists.items())
        if name.startswith(_EQUALS)
    )
    asked = repr((sorted(lists.items()), sorted(flags.items()), counts.get("maxElementCount"),
                  sorted(prefixes.items())))  # fmt: skip
    return MasterDataQuery(
        vocabularies=None
        if vocabularies is None
        else frozenset(vocabulary_name(expand(value, prefixes)) for value in vocabularies),
        names=names("EQ_name"),
        within=names("WD_name"),
        having=attributes("HASATTR"),
        equal=equal,
        shown=attributes("attributeNames"),
        with_attributes=flags.get("includeAttributes", True),
        with_children=flags.get("includeChildren", True),
        element_count_max=counts.get("maxElementCount"),
        per_page=min(counts.get("perPage", PER_PAGE_DEFAULT), PER_PAGE_MAX),
        token=token,
        digest=hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest(),
    )


def _require_known(name: str) -> None:
    known = (*_LISTS, *_FLAGS, *_COUNTS, "nextPageToken")
    if name in known or (name.startswith(_EQUALS) and len(name) > len(_EQUALS)):
        return
    raise QueryParameterFault(
        "query.unknown",
        f"{name[:64]!r} is no parameter of a question for master data",
        name[:64],
        fix=f"one of {', '.join(known)} or {_EQUALS}<attribute>",
    )


def _list(name: str, text: str) -> list[str]:
    values = text.split("|")
    if "" in values or "\0" in text:
        raise QueryParameterFault("query.value", f"{name[:64]} has an empty value, or a zero byte", name)
    if len(values) > VALUES_MAX or max(map(len, values)) > VALUE_LENGTH_MAX:
        raise QueryParameterFault(
            "query.length",
            f"{name[:64]} takes {VALUES_MAX} values of {VALUE_LENGTH_MAX} characters at most",
            name,
        )
    return values


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise QueryParameterFault(
            "query.value", f"{name} is true or false, not {text[:32]!r}", name, fix="true"
        )
    return text == "true"


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _COUNT_DIGITS_MAX and int(text) > 0):
        raise QueryParameterFault(
            "query.value", f"{name} is a whole number from 1, not {text[:32]!r}", name, fix="30"
        )
    return int(text)


def _token(text: str) -> str:
    if not 0 < len(text) <= TOKEN_LENGTH_MAX:
        raise QueryParameterFault(
            "query.value", "this is no page token of this server", "nextPageToken",
            fix="start at the first page",
        )  # fmt: skip
    return text
