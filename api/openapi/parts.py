"""Step 2 of 9, described: the parts that every group's description is made of.

Plain dictionaries in OpenAPI 3.1's own words. A group is a list of Routes; the document sorts them under
their paths. Source: OpenAPI Specification 3.1.0; RFC 9457; RFC 9110.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

PROBLEM = "application/problem+json"
SEQ_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Group:
    """One group of users, as navigation shows it. epcis: whether it speaks as EPCIS 2.0 has it."""

    name: str
    description: str
    epcis: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    path      with {braces}; a value in braces that holds a slash is sent with the slash escaped or as it is
    name      operationId: stable, for generated clients
    problems  what it refuses: a status, and in words when that is so, or "" for what the status always means
    """

    path: str
    method: str
    name: str
    summary: str
    description: str = ""
    parameters: Sequence[Json] = ()
    body: Json | None = None
    answers: Mapping[str, Json] = field(default_factory=dict)
    problems: Mapping[int, str] = field(default_factory=dict)
    callbacks: Json | None = None


def ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def schema(name: str) -> Json:
    return ref("schemas", name)


def header(name: str) -> Json:
    return ref("headers", name)


def headers(*names: str) -> Json:
    return {name: header(name) for name in names}


def query(name: str, description: str, of: Json, *, required: bool = False, example: Any = None) -> Json:
    found: Json = {
        "name": name,
        "in": "query",
        "description": description,
        "required": required,
        "schema": of,
    }
    return found if example is None else {**found, "example": example}


def in_path(name: str, description: str, of: Json, example: Any) -> Json:
    return {
        "name": name,
        "in": "path",
        "description": description,
        "required": True,
        "schema": of,
        "example": example,
    }


def in_header(name: str, description: str, of: Json) -> Json:
    return {"name": name, "in": "header", "description": description, "required": False, "schema": of}


def answer(
    description: str,
    media_type: str | None = None,
    of: Json | None = None,
    *,
    example: Any = None,
    headers: Mapping[str, Json] | None = None,
) -> Json:
    """A response. of: the schema of its body; None for a body that no schema describes."""
    found: Json = {"description": description}
    if headers:
        found["headers"] = dict(headers)
    if media_type is not None:
        found["content"] = {media_type: content(of, example)}
    return found


def content(of: Json | None, example: Any = None) -> Json:
    found: Json = {} if of is None else {"schema": of}
    return found if example is None else {**found, "example": example}


def body(description: str, media: Mapping[str, Json]) -> Json:
    return {"description": description, "required": True, "content": dict(media)}


def closed(members: Mapping[str, Json], optional: Sequence[str] = ()) -> Json:
    """An object with these members, all of them always there but for the optional ones."""
    return {
        "type": "object",
        "required": [name for name in members if name not in optional],
        "properties": dict(members),
    }


def array(of: Json, **limits: int) -> Json:
    return {"type": "array", "items": of, **limits}


def text(description: str = "", **more: Any) -> Json:
    found: Json = {"type": "string", **more}
    return {**found, "description": description} if description else found


def integer(description: str = "", **more: Any) -> Json:
    found: Json = {"type": "integer", **more}
    return {**found, "description": description} if description else found


POSITION: Json = {"type": "integer", "minimum": 0, "maximum": SEQ_MAX}
BINARY: Json = {"type": "string", "contentMediaType": "application/octet-stream"}
PAGE: Json = {"type": "string"}  # HTML
