"""Step 2 of 9, described: what all resources of EPCIS 2.0 share: headers, pages, parameters of queries.

The parameters are read from the same table that reads requests, so that none can be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable

from api.epcis_headers import FORMATS, XML_FORMATS
from api.openapi.parts import Json, array, header, in_header, integer, query, ref, text
from traceability.queries import families
from traceability.queries.families import FIXED, Parameter
from traceability.queries.model import PER_PAGE_DEFAULT, PER_PAGE_MAX
from traceability.queries.parameters import TOKEN_LENGTH_MAX, VALUE_LENGTH_MAX, VALUES_MAX

_MORE = "(\\.[0-9]{1,5})"
_SPEAKS = text(pattern=f"^2{_MORE}{{0,3}}$", examples=["2.0.0"])
_LEAST = text(pattern=f"^([01]{_MORE}{{0,3}}|2(\\.0){{0,2}})$", examples=["1.2"])
_MOST = text(pattern=f"^[2-9]{_MORE}{{0,3}}$", examples=["2.1"])
# What every answer says of itself.
SPOKEN = (
    "GS1-EPCIS-Version",
    "GS1-EPCIS-Min",
    "GS1-EPCIS-Max",
    "GS1-CBV-Version",
    "GS1-CBV-Min",
    "GS1-CBV-Max",
    "GS1-EPC-Format",
    "GS1-CBV-XML-Format",
    "GS1-Vendor-Version",
)
PAGED = ("Link", "GS1-Next-Page-Token-Expires")
_COUNT_MAX = 10**15 - 1  # of what a URL may say
_NOUNS = {"GE": "at least", "GT": "more than", "LE": "at most", "LT": "less than"}
_TIMES = {"GE": "at this time or later", "LT": "before this time"}
_FIELD = r"[A-Za-z_][A-Za-z0-9_.\-]*:[^\s\"<>{}|\\^`]+"
_PLACES = "ILMD|ERROR_DECLARATION|SENSORELEMENT|SENSORMETADATA|SENSORREPORT|readPoint|bizLocation"

PER_PAGE = query(
    "perPage",
    f"How many on a page. More than {PER_PAGE_MAX:,} are answered with {PER_PAGE_MAX:,}.",
    integer(minimum=1, maximum=_COUNT_MAX, default=PER_PAGE_DEFAULT),
)
NEXT_PAGE_TOKEN = query(
    "nextPageToken",
    "From the `Link` of the page before; the other arguments stay as they were.",
    text(minLength=1, maxLength=TOKEN_LENGTH_MAX),
)
PROOF = query(
    "proof",
    "Whether each event brings its signed statement and its receipt, as fields `tallystick:…`.",
    {"type": "boolean", "default": False},
)
FAMILIES: Json = {
    "name": "families",
    "in": "query",
    "style": "form",
    "explode": True,
    "required": False,
    "description": "Parameters whose names are made of parts: `EQ_bizTransaction_<type>`, `EQ_source_<type>`,"
    " `EQ_destination_<type>`; quantities and sensor values in a unit, as `GE_quantity_KGM` and"
    " `LT_maxValue_CEL`; fields of extensions, as `EQ_ex:colour`, `GT_INNER_ex:depth`, `EXISTS_ILMD_ex:lot`;"
    " `HASATTR_<field>` and `EQATTR_<field>_<attribute>`. Prefixes are declared in `GS1-Extensions`.",
    "schema": {
        "type": "object",
        "additionalProperties": False,
        "maxProperties": 100,
        "patternProperties": {
            "^EQ_(bizTransaction|source|destination)_.+$": text(minLength=1),
            "^(EQ|GT|GE|LT|LE)_quantity_[A-Z0-9]{2,4}$": {"type": "number"},
            f"^(EQ|GT|GE|LT|LE)_({'|'.join(families.SENSOR_NUMBERS)})_[A-Z0-9]{{2,4}}$": {"type": "number"},
            f"^(EQ|GT|GE|LT|LE|EXISTS)_(INNER_)?(({_PLACES})_)?{_FIELD}$": text(),
            "^HAS_?ATTR_.+$": text(minLength=1),
            "^EQ_?ATTR_.+_.+$": text(minLength=1),
        },
    },
}
CONTROLS: tuple[Json, ...] = (
    query(
        "orderBy",
        "`eventTime`, `recordTime`, or an extension's field with its prefix.",
        text(minLength=1, maxLength=families.NAME_LENGTH_MAX),
    ),
    query("orderDirection", "Which comes first.", text(enum=["ASC", "DESC"], default="DESC")),
    query(
        "eventCountLimit",
        "The answer is cut off behind so many events. Needs `orderBy`.",
        integer(minimum=1, maximum=_COUNT_MAX),
    ),
    query(
        "maxEventCount",
        "More events than that are refused with 413. Not beside `eventCountLimit`.",
        integer(minimum=1, maximum=_COUNT_MAX),
    ),
)


def _list(of: Json) -> Json:
    return array(of, minItems=1, maxItems=VALUES_MAX)


def _value(name: str, parameter: Parameter) -> Json:
    """The schema of a parameter's values."""
    kind = parameter.kind
    word = text(minLength=1, maxLength=VALUE_LENGTH_MAX)
    if kind == families.TIME:
        return text(format="date-time")
    if kind in (families.FLAG, families.BOOLEAN):
        return {"type": "boolean"}
    if kind == families.NUMBERS:
        return {"type": "number"} if parameter.is_single else _list({"type": "number"})
    if kind == families.HEX:
        return _list(text(pattern="^([0-9A-Fa-f]{2})+$"))
    if name == "EQ_action":
        return _list(text(enum=sorted(parameter.vocabulary)))
    return _list(word)


def _says(name: str, parameter: Parameter) -> str:
    operator, _, field = name.partition("_")
    if name == "eventType":
        return "Events of these types."
    if operator == "MATCH":
        return (
            f"`{field}` matches one of these: an EPC URN, a Digital Link, or a pattern as"
            " `urn:epc:idpat:sgtin:9520123.*.*`."
        )
    if operator == "WD":
        return f"`{field}` is one of these or lies within one."
    if operator == "EXISTS":
        return f"Events that have `{field}`."
    if parameter.kind == families.TIME:
        return f"`{field}` is {_TIMES[operator]}."
    if operator in _NOUNS:
        return f"`{field}` is {_NOUNS[operator]} this."
    words = (
        ", in any spelling that CBV 2.0 has for it"
        if parameter.kind == families.WORDS and name != "EQ_action"
        else ""
    )
    return f"`{field}` is {'this' if parameter.is_single else 'one of these'}{words}."


def _parameter(name: str, parameter: Parameter) -> Json:
    found = query(name, _says(name, parameter), _value(name, parameter))
    if found["schema"]["type"] == "array":
        # The standard's own form: one parameter, its values joined by |.
        found |= {"style": "pipeDelimited", "explode": False}
    return found


def _headers() -> Iterable[Json]:
    for what, name in (("EPCIS", "EPCIS"), ("CBV", "the Core Business Vocabulary")):
        yield in_header(f"GS1-{what}-Version", f"The version of {name} that you speak.", _SPEAKS)
        yield in_header(f"GS1-{what}-Min", f"The oldest version of {name} that you take.", _LEAST)
        yield in_header(f"GS1-{what}-Max", f"The newest version of {name} that you take.", _MOST)
    yield in_header(
        "GS1-EPC-Format", "How identifiers shall be written.", text(enum=list(FORMATS), default=FORMATS[0])
    )


NEGOTIATION: dict[str, Json] = {one["name"]: one for one in _headers()}
EXTENSIONS = in_header(
    "GS1-Extensions",
    "The prefixes of extensions' fields: `ex=https://ns.example/ex/,…`.",
    text(),
)
# Of answers in XML alone: elsewhere whatever it says is passed over, so that no value of it is wrong there.
XML_FORMAT = in_header(
    "GS1-CBV-XML-Format",
    f"How words of the vocabulary shall be written in XML: {', '.join(f'`{one}`' for one in XML_FORMATS)}."
    " Anything else is refused with 406 where the answer is XML.",
    text(examples=[XML_FORMATS[0]]),
)
FILTERS: dict[str, Json] = {
    **{name: _parameter(name, parameter) for name, parameter in sorted(FIXED.items())},
    **{one["name"]: one for one in (FAMILIES, *CONTROLS, PER_PAGE, NEXT_PAGE_TOKEN, PROOF)},
    EXTENSIONS["name"]: EXTENSIONS,
    XML_FORMAT["name"]: XML_FORMAT,
}

ASKED = [ref("parameters", name) for name in FILTERS]
NEGOTIATED = [ref("parameters", name) for name in NEGOTIATION]


def spoken(*more: str) -> Json:
    """The headers of an answer."""
    return {name: header(name) for name in (*SPOKEN, *more)}
