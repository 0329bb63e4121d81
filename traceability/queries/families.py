"""Step 8 of 9: every parameter of an EPCIS 2.0 query by its name, and what its value must be.

Source: EPCIS 2.0, section 8.2.7.1, and the OpenAPI and query schema of its REST binding where they agree with
it. The schema's GE_errorDeclaration_Time and the OpenAPI's GE_errorDeclarationTime are both read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from traceability.epcis.vocabulary import (
    ACTIONS,
    BIZ_STEPS,
    BIZ_TRANSACTION_TYPES,
    DISPOSITIONS,
    ERROR_REASONS,
    EVENT_TYPES,
    MEASUREMENT_TYPES,
    SOURCE_DEST_TYPES,
)
from traceability.errors import QueryParameterFault
from traceability.queries.model import Family, Operator, Scope
from traceability.queries.spelling import Prefixes, bare, field_name, word

NAME_LENGTH_MAX = 512  # of a parameter; a namespace and a field fit

# How a family's values are read; values.py has the function of each.
TIME, WORDS, URIS, EPCS, TEXTS, NUMBERS, FLAG, BOOLEAN, HEX, ANY, NAMES = (
    "time", "words", "uris", "epcs", "texts", "numbers", "flag", "boolean", "hex", "any", "names"
)  # fmt: skip
SINGLE = frozenset((TIME, FLAG, BOOLEAN))


@dataclass(frozen=True, slots=True)
class Parameter:
    """One known parameter: what it filters, how, and what values it takes."""

    family: Family
    operator: Operator
    kind: str
    key: str = ""
    unit: str = ""
    scope: Scope = Scope.EVENT
    inner: bool = False
    vocabulary: frozenset[str] = frozenset()

    @property
    def is_single(self) -> bool:
        """Whether it takes one value, and no list."""
        return self.kind in SINGLE or (self.kind in (NUMBERS, ANY) and self.operator != "EQ")


def _one(
    family: Family, operator: Operator, kind: str, key: str = "", words: frozenset[str] = frozenset()
) -> Parameter:
    return Parameter(family, operator, kind, key, vocabulary=words)


MATCHES = (
    "epc", "parentID", "inputEPC", "outputEPC", "anyEPC",
    "epcClass", "inputEPCClass", "outputEPCClass", "anyEPCClass",
)  # fmt: skip
SENSOR_URIS = (
    "deviceID",
    "dataProcessingMethod",
    "microorganism",
    "chemicalSubstance",
    "bizRules",
    "uriValue",
)
SENSOR_NUMBERS = ("value", "minValue", "maxValue", "meanValue", "sDev", "percValue", "percRank")
_BOUNDS: tuple[Operator, ...] = ("GE", "LT")
COMPARISONS: tuple[Operator, ...] = ("EQ", "GT", "GE", "LT", "LE")

FIXED: dict[str, Parameter] = {
    "eventType": _one(Family.EVENT_TYPE, "EQ", WORDS, words=frozenset(EVENT_TYPES)),
    "EQ_action": _one(Family.ACTION, "EQ", WORDS, words=ACTIONS),
    "EQ_bizStep": _one(Family.BIZ_STEP, "EQ", WORDS, words=BIZ_STEPS),
    "EQ_disposition": _one(Family.DISPOSITION, "EQ", WORDS, words=DISPOSITIONS),
    "EQ_persistentDisposition_set": _one(Family.PERSISTENT_SET, "EQ", WORDS, words=DISPOSITIONS),
    "EQ_persistentDisposition_unset": _one(Family.PERSISTENT_UNSET, "EQ", WORDS, words=DISPOSITIONS),
    "EQ_readPoint": _one(Family.READ_POINT, "EQ", URIS),
    "WD_readPoint": _one(Family.READ_POINT, "WD", URIS),
    "EQ_bizLocation": _one(Family.BIZ_LOCATION, "EQ", URIS),
    "WD_bizLocation": _one(Family.BIZ_LOCATION, "WD", URIS),
    "EQ_transformationID": _one(Family.TRANSFORMATION_ID, "EQ", URIS),
    "EQ_eventID": _one(Family.EVENT_ID, "EQ", TEXTS),
    "EXISTS_errorDeclaration": _one(Family.ERROR_DECLARATION, "EXISTS", FLAG),
    "EQ_errorReason": _one(Family.ERROR_REASON, "EQ", WORDS, words=ERROR_REASONS),
    "EQ_correctiveEventID": _one(Family.CORRECTIVE_EVENT_ID, "EQ", TEXTS),
    "EXISTS_sensorElementList": _one(Family.SENSOR_LIST, "EXISTS", FLAG),
    "EQ_type": _one(Family.SENSOR_WORD, "EQ", WORDS, "type", MEASUREMENT_TYPES),
    "EQ_stringValue": _one(Family.SENSOR_TEXT, "EQ", TEXTS, "stringValue"),
    "EQ_hexBinaryValue": _one(Family.SENSOR_TEXT, "EQ", HEX, "hexBinaryValue"),
    "EQ_booleanValue": _one(Family.SENSOR_BOOLEAN, "EQ", BOOLEAN, "booleanValue"),
    **{f"MATCH_{name}": _one(Family.MATCH, "EQ", EPCS, name) for name in MATCHES},
    **{f"EQ_{name}": _one(Family.SENSOR_URI, "EQ", URIS, name) for name in SENSOR_URIS},
    **{f"{op}_quantity": _one(Family.QUANTITY, op, NUMBERS) for op in COMPARISONS},
    **{f"{op}_percRank": _one(Family.SENSOR_NUMBER, op, NUMBERS, "percRank") for op in COMPARISONS},
    **{
        f"{op}_{name}": _one(family, op, TIME, key)
        for op in _BOUNDS
        for name, family, key in (
            ("eventTime", Family.EVENT_TIME, ""),
            ("recordTime", Family.RECORD_TIME, ""),
            ("errorDeclarationTime", Family.ERROR_TIME, ""),
            ("errorDeclaration_Time", Family.ERROR_TIME, ""),
            ("time", Family.SENSOR_TIME, "time"),
            ("startTime", Family.SENSOR_TIME, "startTime"),
            ("endTime", Family.SENSOR_TIME, "endTime"),
        )
    },
}
CONTROLS = frozenset(
    ("orderBy", "orderDirection", "eventCountLimit", "maxEventCount", "perPage", "nextPageToken")
)

_UNIT = r"([A-Z0-9]{2,4})"
_QUANTITY = re.compile(rf"(EQ|GT|GE|LT|LE)_quantity_{_UNIT}")
_SENSOR = re.compile(rf"(EQ|GT|GE|LT|LE)_({'|'.join(SENSOR_NUMBERS)})_{_UNIT}")
_TYPED = re.compile(r"EQ_(bizTransaction|source|destination)_(.+)", re.DOTALL)
_EXTENSION = re.compile(
    r"(EQ|GT|GE|LT|LE|EXISTS)_(INNER_)?"
    r"(?:(ILMD|ERROR_DECLARATION|SENSORELEMENT|SENSORMETADATA|SENSORREPORT|readPoint|bizLocation)_)?(.+)",
    re.DOTALL,
)
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*:[^\s\"<>{}|\\^`]+")
_HAS = re.compile(r"HAS_?ATTR_(.+)", re.DOTALL)
_EQUALS = re.compile(r"EQ_?ATTR_(.+)", re.DOTALL)
_TYPED_FAMILIES = {
    "bizTransaction": (Family.BIZ_TRANSACTION, BIZ_TRANSACTION_TYPES),
    "source": (Family.SOURCE, SOURCE_DEST_TYPES),
    "destination": (Family.DESTINATION, SOURCE_DEST_TYPES),
}
# Fields of the standard whose values may have master data.
ATTRIBUTED = (
    "readPoint",
    "bizLocation",
    "bizStep",
    "disposition",
    "source",
    "destination",
    "bizTransaction",
    "epcClass",
    "epc",
)


def parameter_of(name: str, prefixes: Prefixes) -> Parameter:
    """What a parameter of this name asks. Raises QueryParameterFault "query.unknown", "query.name"."""
    fixed = FIXED.get(name)
    if fixed is not None:
        return fixed
    if len(name) > NAME_LENGTH_MAX:
        raise QueryParameterFault(
            "query.length",
            f"a parameter's name of {len(name)} characters; at most {NAME_LENGTH_MAX}",
            name[:64],
        )
    for read in (_quantity, _sensor, _typed, _attribute, _extension):
        found = read(name, prefixes)
        if found is not None:
            return found
    close = get_close_matches(name, (*FIXED, *CONTROLS), n=1, cutoff=0.75)
    raise QueryParameterFault(
        "query.unknown",
        f"there is no parameter {name[:64]!r} in EPCIS 2.0",
        name,
        fix=f"did you mean {close[0]}?"
        if close
        else "an extension's field is named with its prefix: EQ_ex:colour",
    )


def _quantity(name: str, prefixes: Prefixes) -> Parameter | None:
    match = _QUANTITY.fullmatch(name)
    return match and Parameter(Family.QUANTITY, cast(Operator, match[1]), NUMBERS, unit=match[2])


def _sensor(name: str, prefixes: Prefixes) -> Parameter | None:
    match = _SENSOR.fullmatch(name)
    return match and Parameter(Family.SENSOR_NUMBER, cast(Operator, match[1]), NUMBERS, match[2], match[3])


def _typed(name: str, prefixes: Prefixes) -> Parameter | None:
    match = _TYPED.fullmatch(name)
    if match is None:
        return None
    family, known = _TYPED_FAMILIES[match[1]]
    typ = word(match[2], prefixes)
    if ":" not in typ and typ not in known:
        raise QueryParameterFault(
            "query.vocabulary",
            f"{typ[:64]!r} is no type that CBV 2.0 has for a {match[1]}",
            name,
            fix=_suggest(typ, known),
        )
    return Parameter(family, "EQ", URIS, typ)


def _extension(name: str, prefixes: Prefixes) -> Parameter | None:
    match = _EXTENSION.fullmatch(name)
    if match is None or not _FIELD.fullmatch(match[4]):
        return None
    operator, inner, scope, field = match.groups()
    return Parameter(
        Family.EXTENSION,
        cast(Operator, operator),
        FLAG if operator == "EXISTS" else ANY,
        field_name(field, prefixes),
        scope=Scope(scope or ""),
        inner=inner is not None,
    )


def _attribute(name: str, prefixes: Prefixes) -> Parameter | None:
    has, equals = _HAS.fullmatch(name), _EQUALS.fullmatch(name)
    if has is not None:
        return Parameter(Family.HAS_ATTRIBUTE, "EQ", NAMES, _attributed(has[1], prefixes))
    if equals is None:
        return None
    for field in ATTRIBUTED:
        if equals[1].startswith(field + "_"):
            return Parameter(
                Family.EQUALS_ATTRIBUTE,
                "EQ",
                ANY,
                field,
                attribute_name(equals[1][len(field) + 1 :], prefixes),
            )
    # A field of an extension ends at the first underscore behind its colon or its last slash.
    rest = equals[1]
    start = max(rest.find(":"), rest.rfind("/"), rest.rfind("#"))
    cut = rest.find("_", start)
    if start < 0 or cut < 0 or cut == len(rest) - 1:
        return None
    return Parameter(
        Family.EQUALS_ATTRIBUTE,
        "EQ",
        ANY,
        field_name(rest[:cut], prefixes),
        attribute_name(rest[cut + 1 :], prefixes),
    )


def _attributed(field: str, prefixes: Prefixes) -> str:
    return field if field in ATTRIBUTED else field_name(field, prefixes)


def attribute_name(name: str, prefixes: Prefixes) -> str:
    """The full name of a master data attribute: `city` and `cbvmda:city` are one, and its URN is a third."""
    full = field_name(name, prefixes)
    return full if ":" in full else f"urn:epcglobal:cbv:mda:{full}"


def read_word(text: str, parameter: Parameter, name: str, prefixes: Prefixes) -> str:
    """A value of a vocabulary. A bare word must be the standard's; anybody may have URIs of their own."""
    value = word(text, prefixes)
    if value in parameter.vocabulary or (":" in value and parameter.family is not Family.ACTION):
        return value
    if bare(text) != text:
        raise QueryParameterFault(
            "query.vocabulary", f"{text[:100]!r} looks like a word of CBV 2.0, which has no such one", name,
            fix=_suggest(value, parameter.vocabulary),
        )  # fmt: skip
    raise QueryParameterFault(
        "query.vocabulary", f"{text[:100]!r} is not a value that {name} can have", name,
        fix=_suggest(value, parameter.vocabulary),
    )  # fmt: skip


def _suggest(text: str, known: frozenset[str]) -> str:
    close = get_close_matches(text[:100], sorted(known), n=1)
    if close:
        return f"did you mean {close[0]}?"
    some = ", ".join(sorted(known)[:6])
    return f"one of {some}{', …' if len(known) > 6 else ''}, or a URI of your own"
