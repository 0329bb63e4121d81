"""Step 2 of 9, described for people: the OpenAPI document as a page without a script shows it.

Pure: a document in, groups of operations out. Whatever stands in the document is escaped; of Markdown only
paragraphs and `code` are known, for our descriptions use nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from markupsafe import Markup, escape

from api.openapi.epcis import SPOKEN
from api.openapi.parts import Json

SHOWN_METHODS = ("get", "post", "put", "patch", "delete")  # HEAD and OPTIONS are told of once, in words
DEPTH_MAX = 8  # of objects in objects

_CODE = re.compile(r"`([^`]*)`")


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter, header or member: depth counts the objects around it."""

    name: str
    kind: Markup
    description: Markup
    required: bool
    depth: int = 0
    place: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Media:
    """One media type of a body, with the type of what it holds and an example."""

    name: str
    kind: Markup
    rows: Sequence[Row]
    example: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One status, and what comes with it."""

    status: str
    description: Markup
    headers: Sequence[Row]
    media: Sequence[Media]

    @property
    def tone(self) -> str:
        return "ok" if self.status < "400" else "bad"


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    method: str
    path: str
    summary: str
    description: Markup
    parameters: Sequence[Row]
    shared: Sequence[str]
    body: Markup
    taken: Sequence[Media]
    replies: Sequence[Reply]
    refusals: Sequence[Reply]


@dataclass(frozen=True, slots=True)
class Chapter:
    """One group of users."""

    name: str
    anchor: str
    description: Markup
    operations: Sequence[Operation]


@dataclass(frozen=True, slots=True)
class Shape:
    """One named schema."""

    name: str
    kind: Markup
    description: Markup
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class View:
    introduction: Markup
    chapters: Sequence[Chapter]
    shapes: Sequence[Shape]
    filters: Sequence[Row]
    headers: Sequence[Row]


def view(document: Json) -> View:
    """The document, ready for its template."""
    chapters = []
    for tag in document["tags"]:
        operations = [
            _operation(document, path, method, item[method])
            for path, item in document["paths"].items()
            for method in SHOWN_METHODS
            if method in item and item[method]["tags"] == [tag["name"]]
        ]
        anchor = "group-" + re.sub(r"[^a-z]+", "-", tag["name"].lower()).strip("-")
        chapters.append(Chapter(tag["name"], anchor, prose(tag["description"]), operations))
    shapes = [
        Shape(name, kind_of(of), prose(of.get("description", "")), _rows(of))
        for name, of in sorted(document["components"]["schemas"].items())
    ]
    shared = [_parameter(document, one) for one in document["components"]["parameters"].values()]
    return View(
        prose(document["info"]["description"]),
        chapters,
        shapes,
        filters=[one for one in shared if one.place == "query"],
        headers=[one for one in shared if one.place == "header"],
    )


def prose(text: str) -> Markup:
    """Paragraphs with `code` in them."""
    paragraphs = [part for part in text.split("\n\n") if part.strip()]
    return Markup("").join(Markup("<p>{}</p>").format(inline(part)) for part in paragraphs)


def inline(text: str) -> Markup:
    """One paragraph's text with `code` in it."""
    # Escaped first: what is put around it is all that is not.
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704


def kind_of(schema: Any) -> Markup:
    """What a value is, in a few words; a named schema as a link."""
    if not schema or schema is True:
        return Markup("anything")
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    if "const" in schema:
        return _code(schema["const"])
    if "enum" in schema:
        return Markup(" or ").join(map(_code, schema["enum"]))
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return Markup(" or ").join(kind_of(one) for one in schema[word])
    if "allOf" in schema:
        return kind_of(schema["allOf"][0])
    kinds = schema.get("type", "anything")
    return Markup(" or ").join(
        _kind(kind, schema) for kind in (kinds if isinstance(kinds, list) else [kinds])
    )


def _kind(kind: str, schema: Mapping[str, Any]) -> Markup:
    if kind == "array":
        return Markup("list of {}").format(kind_of(schema.get("items")))
    if kind == "string":
        return escape(
            {"date-time": "time", "uri": "URI", "uri-reference": "address"}.get(
                schema.get("format", ""), "text"
            )
        )
    if kind == "integer":
        least = schema.get("minimum")
        return Markup("whole number") if least is None else Markup("whole number from {}").format(least)
    return escape({"boolean": "true or false", "null": "null"}.get(kind, kind))


def _code(value: Any) -> Markup:
    shown = value if isinstance(value, str) else orjson.dumps(value).decode()
    return Markup("<code>{}</code>").format(shown)


def _operation(document: Json, path: str, method: str, of: Json) -> Operation:
    body = of.get("requestBody", {})
    replies = [_reply(document, status, one) for status, one in of["responses"].items()]
    return Operation(
        name=of["operationId"],
        method=method.upper(),
        path=path,
        summary=of["summary"],
        description=prose(of.get("description", "")),
        parameters=[_parameter(document, one) for one in of.get("parameters", ()) if "$ref" not in one],
        shared=sorted(
            {_resolved(document, one)["in"] for one in of.get("parameters", ()) if "$ref" in one},
            reverse=True,
        ),
        body=prose(body.get("description", "")),
        taken=_media(body.get("content", {})),
        replies=[one for one in replies if one.tone == "ok"],
        refusals=[one for one in replies if one.tone == "bad"],
    )


def _resolved(document: Json, of: Json) -> Json:
    """What a reference means, with what stands beside it instead of its own words."""
    if "$ref" not in of:
        return of
    found = document
    for part in of["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return {**found, **{name: value for name, value in of.items() if name != "$ref"}}


def _parameter(document: Json, given: Json) -> Row:
    of = _resolved(document, given)
    said = prose(of.get("description", ""))
    schema = of.get("schema", {})
    if of.get("style") == "pipeDelimited":
        kind = Markup("{}, with <code>|</code> between").format(kind_of(schema))
    else:
        kind = kind_of(schema)
    default = schema.get("default") if isinstance(schema, dict) else None
    if default is not None:
        said += Markup("<p>Default: {}</p>").format(_code(default))
    if "example" in of:
        said += Markup("<p>Example: {}</p>").format(_code(of["example"]))
    return Row(of["name"], kind, said, bool(of.get("required")), place=of["in"])


def _reply(document: Json, status: str, given: Json) -> Reply:
    of = _resolved(document, given)
    headers = [
        Row(name, kind_of(one.get("schema")), inline(one.get("description", "")), False)
        for name, one in ((name, _resolved(document, one)) for name, one in of.get("headers", {}).items())
        if name not in SPOKEN  # told of once, below
    ]
    return Reply(status, inline(of["description"]), headers, _media(of.get("content", {})))


def _media(content: Json) -> list[Media]:
    """What is the same under two names is shown once."""
    names: dict[bytes, list[str]] = {}
    for name, of in content.items():
        names.setdefault(orjson.dumps(of), []).append(name)
    return [
        Media(
            " or ".join(same),
            kind_of(of.get("schema")),
            _rows(of.get("schema", {})),
            _example(of.get("example")),
        )
        for same, of in ((same, content[same[0]]) for same in names.values())
    ]


def _example(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _rows(schema: Any, depth: int = 0) -> list[Row]:
    """The members of an object, and below each the members of objects that have no name of their own."""
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return []
    if schema.get("type") == "array":
        return _rows(schema.get("items"), depth)
    required = schema.get("required", ())
    rows = []
    for name, of in schema.get("properties", {}).items():
        said = inline(of.get("description", "")) if isinstance(of, dict) else Markup("")
        rows.append(Row(name, kind_of(of), said, name in required, depth, optional=name not in required))
        rows += _rows(of, depth + 1)
    return rows
