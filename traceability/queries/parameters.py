"""Step 8 of 9: a query as a partner spells it, in a URL or in JSON, with every fault that is in it.

    GET /events?EQ_bizStep=shipping|receiving&GE_eventTime=2026-11-01T00:00:00Z
    POST /queries  {"name": "…", "query": {"EQ_bizStep": ["shipping", "receiving"], "GE_eventTime": "…"}}

Both give the same model.Query. Nothing is guessed and nothing ignored: a parameter that is not understood
would silently widen the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote_to_bytes

from traceability.epcis.formats import is_uri, parse_time
from traceability.errors import IdentifierMalformed, QueryParameterFault, QueryRejected
from traceability.queries import families
from traceability.queries.families import CONTROLS, Parameter, parameter_of, read_word
from traceability.queries.model import PER_PAGE_MAX, Family, Filter, OrderBy, Query, Scope, Value
from traceability.queries.patterns import wanted
from traceability.queries.spelling import (
    STANDARD_PREFIXES,
    Prefixes,
    expand,
    field_name,
    identity,
    keys_of,
    number,
    prefixes_of,
)

URL_QUERY_LENGTH_MAX = 64 * 1024  # characters; a thousand EPCs fit
PARAMETERS_MAX = 100
VALUES_MAX = 1_000  # in one parameter
VALUE_LENGTH_MAX = 2_048  # the longest Digital Link
FAULTS_MAX = 100
COUNT_MAX = 2**53 - 1
TOKEN_LENGTH_MAX = 1_024

_ORDER = re.compile(
    r"(INNER_)?(?:(ILMD|ERROR_DECLARATION|SENSORELEMENT|SENSORMETADATA|SENSORREPORT|readPoint|bizLocation)_)?"
    r"([A-Za-z_][A-Za-z0-9_.\-]*:[^\s\"<>{}|\\^`]+)",
    re.DOTALL,
)
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_TRUE = frozenset(("true", "1", ""))
_FALSE = frozenset(("false", "0"))


def parse_url(query: str, *, extensions: str = "", others: Collection[str] = ()) -> Query:
    """The query of a URL's query string, as it stands behind the ?.

    extensions  the request's GS1-Extensions header: `ex=https://ns.example/ex/,…`
    others      parameters that are the caller's own business and not part of the query

    Lists are separated by |. Raises QueryRejected with every fault.
    """
    faults = Faults()
    prefixes = STANDARD_PREFIXES
    with faults:
        prefixes = read_extensions(extensions)
    given: dict[str, str] = {}
    if len(query) > URL_QUERY_LENGTH_MAX:
        raise QueryRejected(
            [
                QueryParameterFault(
                    "query.length",
                    f"a query of {len(query)} characters; at most {URL_QUERY_LENGTH_MAX}",
                    fix="keep it as a named query (POST /queries) and ask for that",
                )
            ]
        )
    for part in query.split("&") if query else ():
        with faults:
            name, value = decode_pair(part)
            if name in given:
                raise QueryParameterFault(
                    "query.twice", f"{name[:64]} is given twice", name, fix="separate several values by |"
                )
            if part and name not in others:
                given[name] = value
    return _build(given, prefixes, faults, _url_values, _url_control)


def parse_json(body: Any) -> Query:
    """The query of a JSON object, as POST /queries brings it. Raises QueryRejected with every fault."""
    if not isinstance(body, dict):
        raise QueryRejected(
            [
                QueryParameterFault(
                    "query.type", "a query is a JSON object of parameters", fix='{"query": {…}}'
                )
            ]
        )
    given = {name: value for name, value in body.items() if name != "@context"}
    return _build(given, prefixes_of(body.get("@context")), Faults(), _json_values, _json_control)


_IDENTIFIER_FIX = (
    "an EPC, a class or a pattern: urn:epc:id:sgtin:9521141.012345.100, urn:epc:idpat:sgtin:9521141.*.*,"
    " https://id.gs1.org/01/09521141123454/21/*"
)
# XML's namespace of master data attributes, whose names are joined to it with a colon elsewhere.
_AS_IN_JSON = {"urn:epcglobal:cbv:mda": "urn:epcglobal:cbv:mda:"}


def read_extensions(header: str) -> Prefixes:
    """The prefixes of a GS1-Extensions header. Raises QueryParameterFault "query.extensions"."""
    if not header.strip():
        return STANDARD_PREFIXES
    found = dict(STANDARD_PREFIXES)
    for part in header[:VALUE_LENGTH_MAX].split(","):
        prefix, equals, namespace = part.strip().partition("=")
        if not equals or not _PREFIX.fullmatch(prefix) or not is_uri(namespace):
            raise QueryParameterFault(
                "query.extensions",
                f"{part.strip()[:64]!r} declares no prefix",
                "GS1-Extensions",
                fix="GS1-Extensions: ex=https://ns.example/ex/",
            )
        # As in events: GS1's own prefixes are nobody's to declare otherwise.
        if prefix not in STANDARD_PREFIXES:
            found[prefix] = _AS_IN_JSON.get(namespace, namespace)
    return found


class Faults:
    """Collects faults of separate parameters, and lets the reading go on."""

    def __init__(self) -> None:
        self.found: list[QueryParameterFault] = []

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, QueryParameterFault):
            self.found.append(error)
            return True
        return False


def decode_pair(part: str) -> tuple[str, str]:
    """(name, value) of one part of a query string. Raises QueryParameterFault "query.encoding"."""
    name, _, value = part.partition("=")
    return _decode(name), _decode(value)


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise QueryParameterFault(
            "query.encoding", f"{text[:64]!r} is not percent-encoded UTF-8", text[:64]
        ) from None


_Values = Callable[[str, Parameter, Any], "list[Any]"]


def _build(
    given: Mapping[str, Any],
    prefixes: Prefixes,
    faults: Faults,
    values_of: _Values,
    control_of: Callable[[str, Any], str | int],
) -> Query:
    if len(given) > PARAMETERS_MAX:
        raise QueryRejected(
            [
                QueryParameterFault(
                    "query.length", f"{len(given)} parameters; at most {PARAMETERS_MAX} are read in one query"
                )
            ]
        )
    filters: list[Filter] = []
    controls: dict[str, str | int] = {}
    for name, value in given.items():
        with faults:
            if name in CONTROLS:
                controls[name] = control_of(name, value)
                continue
            parameter = parameter_of(name, prefixes)
            values = values_of(name, parameter, value)
            if parameter.kind == families.FLAG and values == [False]:
                continue  # "omitted, or false": it asks for nothing
            filters.append(_filter(name, parameter, values, prefixes))
    _refuse_empty_windows(filters, faults)
    order = OrderBy()
    with faults:
        order = _order(controls, prefixes)
    _refuse_contradictions(controls, faults)
    if faults.found:
        raise QueryRejected(faults.found[:FAULTS_MAX])
    per_page = controls.get("perPage")
    limit, most = controls.get("eventCountLimit"), controls.get("maxEventCount")
    token = controls.get("nextPageToken")
    return Query(
        filters=tuple(filters),
        order=order,
        event_count_limit=limit if isinstance(limit, int) else None,
        max_event_count=most if isinstance(most, int) else None,
        next_page_token=token if isinstance(token, str) else None,
        **({"per_page": min(per_page, PER_PAGE_MAX)} if isinstance(per_page, int) else {}),
    )


def _refuse_empty_windows(filters: list[Filter], faults: Faults) -> None:
    lower = {
        (f.family, f.key): f for f in filters if f.operator == "GE" and isinstance(f.values[0], datetime)
    }
    for upper in filters:
        start = lower.get((upper.family, upper.key)) if upper.operator == "LT" else None
        if start is None:
            continue
        since, until = start.values[0], upper.values[0]
        if isinstance(since, datetime) and isinstance(until, datetime) and since > until:
            with faults:
                raise QueryParameterFault(
                    "query.contradiction",
                    f"nothing is from {since.isoformat()} on and before {until.isoformat()}",
                    upper.parameter,
                    fix=f"{upper.parameter} must be later than {start.parameter}",
                )


def _refuse_contradictions(controls: Mapping[str, object], faults: Faults) -> None:
    with faults:
        if "eventCountLimit" in controls and "maxEventCount" in controls:
            raise QueryParameterFault(
                "query.contradiction",
                "eventCountLimit cuts the answer short and maxEventCount refuses a longer one: one of them",
                "maxEventCount",
                fix="leave out eventCountLimit or maxEventCount",
            )
    with faults:
        if "eventCountLimit" in controls and "orderBy" not in controls:
            raise QueryParameterFault(
                "query.contradiction",
                "eventCountLimit asks for the first events, and without orderBy none is the first",
                "eventCountLimit",
                fix="add orderBy=eventTime",
            )


def _order(controls: Mapping[str, str | int], prefixes: Prefixes) -> OrderBy:
    direction = controls.get("orderDirection", "DESC")
    if direction not in ("ASC", "DESC"):
        raise QueryParameterFault(
            "query.value",
            f"orderDirection is ASC or DESC, not {str(direction)[:32]!r}",
            "orderDirection",
            fix="DESC",
        )
    text = controls.get("orderBy")
    if text is None:
        return OrderBy()
    descending = direction == "DESC"
    if text in ("eventTime", "recordTime"):
        return OrderBy(str(text), descending=descending)
    match = _ORDER.fullmatch(str(text)) if len(str(text)) <= families.NAME_LENGTH_MAX else None
    if match is None:
        raise QueryParameterFault(
            "query.value",
            f"events are not ordered by {str(text)[:64]!r}",
            "orderBy",
            fix="eventTime, recordTime, or the name of an extension's field with its prefix",
        )
    inner, scope, name = match.groups()
    return OrderBy(field_name(name, prefixes), Scope(scope or ""), inner is not None, descending)


# --- from a URL: everything is text ---------------------------------------------------------------


def _url_control(name: str, value: str) -> str | int:
    if name in ("orderBy", "orderDirection"):
        return value
    if name == "nextPageToken":
        return _token(value)
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise _bad_count(name, value)
    return _count(name, int(value))


def _url_values(name: str, parameter: Parameter, text: str) -> list[Any]:
    if parameter.kind == families.FLAG:
        return [_flag(name, text.lower())]
    if parameter.is_single:
        parts = [text]
    else:
        parts = text.split("|")
        if parts == [""]:
            raise QueryParameterFault("query.value", f"{name[:64]} has no value", name)
    if parameter.kind == families.BOOLEAN:
        return [_flag(name, text.lower(), empty=False)]
    if parameter.kind == families.NUMBERS:
        return [_number(name, part) for part in parts]
    return list(parts)


def _flag(name: str, text: str, *, empty: bool = True) -> bool:
    if text in _TRUE and (text or empty):
        return True
    if text in _FALSE:
        return False
    raise QueryParameterFault(
        "query.value", f"{name[:64]} is true or false, not {text[:32]!r}", name, fix="true"
    )


def _number(name: str, value: Any) -> Decimal:
    figure = number(value)
    if figure is None:
        raise QueryParameterFault(
            "query.value", f"{str(value)[:32]!r} is not a number", name, fix="as in 20.5"
        )
    return figure


# --- from JSON: types are given ------------------------------------------------------------------


def _json_control(name: str, value: Any) -> str | int:
    if name == "nextPageToken":
        raise QueryParameterFault(
            "query.unknown", "a page token belongs into the URL of the page, not into a query", name
        )
    if name in ("orderBy", "orderDirection"):
        if not isinstance(value, str):
            raise _bad_type(name, "a string")
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise _bad_count(name, value)
    return _count(name, value)


def _json_values(name: str, parameter: Parameter, value: Any) -> list[Any]:
    kind = parameter.kind
    if kind == families.FLAG:
        if value is None or value in (0, 1):  # the schema says "integer, nullable"; the OpenAPI says boolean
            return [value is None or bool(value)]
        raise _bad_type(name, "true, false or null")
    if kind == families.BOOLEAN:
        if not isinstance(value, bool):
            raise _bad_type(name, "true or false")
        return [value]
    if kind == families.NUMBERS:
        values = value if isinstance(value, list) and not parameter.is_single else [value]
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
            raise _bad_type(name, "a number" if parameter.is_single else "an array of numbers")
        return [_number(name, one) for one in values]
    if kind == families.ANY:
        values = value if isinstance(value, list) and not parameter.is_single else [value]
        if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in values):
            raise _bad_type(
                name,
                "a number or a time" if parameter.is_single else "an array of strings, a number or a time",
            )
        return list(values)
    if parameter.is_single:
        if not isinstance(value, str):
            raise _bad_type(name, "a string")
        return [value]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _bad_type(name, "an array of strings")
    return list(value)


def _bad_type(name: str, wanted_type: str) -> QueryParameterFault:
    return QueryParameterFault(
        "query.type", f"{name[:64]} takes {wanted_type}", name, fix=f"give {wanted_type}"
    )


# --- from either -----------------------------------------------------------------------------------


def _token(value: str) -> str:
    if not 0 < len(value) <= TOKEN_LENGTH_MAX:
        raise QueryParameterFault(
            "query.token.malformed", "this is no page token of this server", "nextPageToken"
        )
    return value


def _count(name: str, value: int) -> int:
    if not 1 <= value <= COUNT_MAX:
        raise _bad_count(name, value)
    return value


def _bad_count(name: str, value: Any) -> QueryParameterFault:
    return QueryParameterFault(
        "query.value", f"{name} is a whole number from 1 on, not {str(value)[:32]!r}", name, fix="30"
    )


def _filter(name: str, parameter: Parameter, values: list[Any], prefixes: Prefixes) -> Filter:
    if not values:
        raise QueryParameterFault("query.value", f"{name[:64]} has no value", name)
    if len(values) > VALUES_MAX:
        raise QueryParameterFault(
            "query.length", f"{name[:64]} has {len(values)} values; at most {VALUES_MAX}", name
        )
    read: dict[Value, None] = {}
    for value in values:
        if isinstance(value, str):
            _require_short(name, value)
        read[_READERS[parameter.kind](value, parameter, name, prefixes)] = None
    return Filter(
        parameter=name,
        family=parameter.family,
        operator=parameter.operator,
        values=tuple(read),
        key=parameter.key,
        unit=parameter.unit,
        scope=parameter.scope,
        inner=parameter.inner,
    )


def _require_short(name: str, value: str) -> None:
    if len(value) > VALUE_LENGTH_MAX:
        raise QueryParameterFault(
            "query.length", f"a value of {len(value)} characters; at most {VALUE_LENGTH_MAX}", name
        )
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise QueryParameterFault("query.encoding", "a value holds characters that no event has", name)


def _read_time(text: str, parameter: Parameter, name: str, prefixes: Prefixes) -> Value:
    # In a URL, a + that was not escaped stands for a space; in a time it can be nothing but the zone's.
    moment = parse_time(text.replace(" ", "+")) if len(text) < 64 else None
    if moment is None:
        raise QueryParameterFault(
            "query.time",
            f"{text[:64]!r} is not a moment with its zone (RFC 3339)",
            name,
            fix="2026-11-20T12:00:00Z; in a URL, write the + of +01:00 as %2B",
        )
    return moment


def _read_uri(text: str, parameter: Parameter, name: str, prefixes: Prefixes) -> Value:
    if not is_uri(expand(text, prefixes)):
        raise QueryParameterFault("query.uri", f"{text[:100]!r} is not a URI", name)
    return identity(text, prefixes)


def _read_epc(text: str, parameter: Parameter, name: str, prefixes: Prefixes) -> Value:
    if not is_uri(text):
        raise QueryParameterFault(
            "query.uri",
            f"{text[:100]!r} is not a URI",
            name,
            fix="urn:epc:id:…, urn:epc:idpat:… or a GS1 Digital Link",
        )
    try:
        return wanted(text)
    except IdentifierMalformed as fault:
        raise QueryParameterFault(fault.code, fault.detail, name, _IDENTIFIER_FIX) from fault


def _read_text(text: str, parameter: Parameter, name: str, prefixes: Prefixes) -> Value:
    return text


def _read_hex(text: str, parameter: Parameter, name: str, prefixes: Prefixes) -> Value:
    if not _HEX.fullmatch(text):
        raise QueryParameterFault("query.value", f"{text[:64]!r} is not pairs of hexadecimal digits", name)
    return text.lower()


def _read_any(value: Any, parameter: Parameter, name: str, prefixes: Prefixes) -> Value:
    if parameter.operator == "EQ":
        return frozenset(keys_of(value))
    figure = number(value)
    if figure is not None:
        return figure
    moment = parse_time(value.replace(" ", "+")) if isinstance(value, str) and len(value) < 64 else None
    if moment is None:
        raise QueryParameterFault(
            "query.value",
            f"{str(value)[:64]!r} is neither a number nor a moment with its zone: nothing is greater or less",
            name,
        )
    return moment


def _read_given(value: Any, parameter: Parameter, name: str, prefixes: Prefixes) -> Value:
    given: bool | Decimal = value
    return given


def _read_attribute(text: str, parameter: Parameter, name: str, prefixes: Prefixes) -> Value:
    if not text:
        raise QueryParameterFault("query.value", f"{name[:64]} has no value", name)
    return families.attribute_name(text, prefixes)


_READERS: dict[str, Callable[[Any, Parameter, str, Prefixes], Value]] = {
    families.TIME: _read_time,
    families.WORDS: read_word,
    families.URIS: _read_uri,
    families.EPCS: _read_epc,
    families.TEXTS: _read_text,
    families.HEX: _read_hex,
    families.NUMBERS: _read_given,
    families.FLAG: _read_given,
    families.BOOLEAN: _read_given,
    families.ANY: _read_any,
    families.NAMES: _read_attribute,
}
__all__ = ["Family", "parse_json", "parse_url", "read_extensions"]
