"""Step 2 of 9, described: the groups put together into one OpenAPI 3.1 document.

HEAD is added to every GET, OPTIONS to every path, and to every operation the problems that any request can
meet, so that the groups say only what is their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.epcis_headers import JSON_TYPES
from api.openapi import (
    auditors,
    capture,
    components,
    consumers,
    epcis,
    health,
    log,
    masterdata,
    partners,
    problems,
    queries,
    subscriptions,
)
from api.openapi.parts import Group, Json, Route, answer, headers
from api.services import Services

VERSION = "0.1.0"
_ALWAYS = (500, 503)

INTRODUCTION = (
    "A ledger that many companies sign and nobody can quietly change. Partners send signed EPCIS events;"
    " anyone can check what became of them.\n\n"
    "Every error is a problem detail (RFC 9457): `type` and `code` are stable, `detail` is for people."
    " Arguments are strict: one that is unknown or given twice is refused, but on pages, probes, checkpoint"
    " and tiles, where it is ignored. Bodies come uncompressed with their `Content-Length`. Any request"
    " may be"
    " answered with 503 and `Retry-After`, and may then be sent again as it is.\n\n"
    "Every answer forbids scripts, frames and foreign sources (`Content-Security-Policy` and its kin), and"
    " none sets a cookie. Answers are not to be cached (`Cache-Control: no-store`) unless their own"
    " `Cache-Control` says otherwise."
)


@dataclass(frozen=True, slots=True)
class Section:
    """A group with its routes."""

    group: Group
    routes: list[Route]
    schemas: Json


def sections(services: Services) -> Iterator[Section]:
    """What this server serves, in the order of the documentation."""
    limits = services.limits
    yield Section(partners.GROUP, partners.routes(limits), {})
    if services.captures is not None:
        single = capture.event_routes(limits) if services.captures.identities is not None else []
        yield Section(capture.GROUP, [*capture.routes(limits), *single], capture.SCHEMAS)
    if services.queries is not None:
        yield Section(queries.GROUP, queries.routes(limits), queries.SCHEMAS)
        yield Section(masterdata.GROUP, masterdata.routes(limits), masterdata.SCHEMAS)
        if services.queries.subscriptions is not None:
            yield Section(subscriptions.GROUP, subscriptions.routes(limits), subscriptions.SCHEMAS)
    yield Section(log.GROUP, log.routes(limits), {})
    yield Section(auditors.GROUP, auditors.routes(limits), auditors.SCHEMAS)
    if services.queries is not None:
        yield Section(auditors.GROUP, auditors.finding_routes(limits), auditors.FINDING_SCHEMAS)
    yield Section(consumers.GROUP, consumers.routes(limits, is_epcis=services.queries is not None), {})
    yield Section(health.GROUP, health.routes(limits), health.SCHEMAS)


def build(services: Services) -> Json:
    """The document of this server. A few milliseconds; whoever serves it keeps it."""
    found = list(sections(services))
    paths: dict[str, Json] = {}
    for section in found:
        for route in section.routes:
            item = paths.setdefault(route.path, {})
            if route.method in item:
                raise ValueError(f"{route.method} {route.path} is described twice")
            item[route.method] = _operation(section.group, route)
    spoken = {route.path for section in found for route in section.routes if section.group.epcis}
    if services.queries is not None:
        spoken.add("/")  # for people first, and the top of EPCIS's resources
    for path, item in paths.items():
        _complete(item, path in spoken)
    shared = {**(epcis.NEGOTIATION if spoken else {}), **(epcis.FILTERS if services.queries else {})}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tallystick",
            "version": VERSION,
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": services.base_url, "description": services.origin}],
        "tags": [
            {"name": group.name, "description": group.description}
            for group in dict.fromkeys(section.group for section in found)
        ],
        "paths": paths,
        "components": {
            "schemas": {name: of for section in found for name, of in section.schemas.items()}
            | components.SCHEMAS,
            "parameters": shared,
            "headers": components.HEADERS,
            "responses": problems.responses(),
        },
    }


def _operation(group: Group, route: Route) -> Json:
    responses: dict[str, Any] = {
        status: _either(of) if group.epcis else of for status, of in route.answers.items()
    }
    always = (*_ALWAYS, 400, 406) if group.epcis else _ALWAYS
    for status, when in {**dict.fromkeys(always, ""), **route.problems}.items():
        if str(status) not in responses:
            responses[str(status)] = problems.refused(status, when)
        else:
            # An answer of its own under a status that other answers have too: either may come.
            own = responses[str(status)]
            responses[str(status)] = {
                **own,
                "content": {**problems.CONTENT, **own.get("content", {})},
            }
    members: Json = {"tags": [group.name], "operationId": route.name, "summary": route.summary}
    if route.description:
        members["description"] = route.description
    parameters = [*route.parameters, *(epcis.NEGOTIATED if group.epcis else ())]
    if parameters:
        members["parameters"] = parameters
    if route.body is not None:
        members["requestBody"] = route.body
    members["responses"] = dict(sorted(responses.items()))
    return members if route.callbacks is None else {**members, "callbacks": route.callbacks}


def _either(response: Json) -> Json:
    """An answer in JSON under each of the two names that JSON-LD has: what `Accept` prefers."""
    content = response.get("content", {})
    name = next((one for one in JSON_TYPES if one in content), None)
    if name is None:
        return response
    return {**response, "content": {**content, **dict.fromkeys(JSON_TYPES, content[name])}}


def _complete(item: Json, is_epcis: bool) -> None:
    """Add HEAD and OPTIONS."""
    first = next(iter(item.values()))
    placed = [one for one in first.get("parameters", ()) if one.get("in") == "path"]
    has_state = any(one["name"] == "subscription_id" for one in placed)
    if is_epcis:
        placed += epcis.NEGOTIATED
    title = first["operationId"][0].upper() + first["operationId"][1:]
    if "get" in item:
        get = item["get"]
        item["head"] = {
            **{name: get[name] for name in ("tags", "parameters") if name in get},
            "operationId": f"head{get['operationId'][0].upper()}{get['operationId'][1:]}",
            "summary": "The headers of GET alone",
            "responses": {status: _headers_of(status, of) for status, of in get["responses"].items()},
        }
    item["options"] = {
        "tags": first["tags"],
        "operationId": f"options{title}",
        "summary": "The methods of this path",
        **({"parameters": placed} if placed else {}),
        "responses": {
            **_methods(is_epcis),
            # Of a thing with a state of its own, OPTIONS tells that state.
            **({"404": problems.refused(404)} if has_state else {}),
            **{str(status): problems.refused(status) for status in _ALWAYS},
        },
    }


def _methods(is_epcis: bool) -> Json:
    """What OPTIONS is answered with."""
    if not is_epcis:
        return {"200": answer("They are in `Allow`.", headers=headers("Allow"))}
    return {
        "204": answer(
            "They are in `Allow`, and what is spoken here in the rest.", headers=epcis.spoken("Allow")
        ),
        "400": problems.refused(400),
        "406": problems.refused(406),
    }


def _headers_of(status: str, response: Json) -> Json:
    """The response without its body."""
    if "$ref" in response:
        return {"description": response.get("description") or problems.MEANINGS[int(status)]}
    return {name: value for name, value in response.items() if name != "content"}
