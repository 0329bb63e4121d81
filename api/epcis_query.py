"""Step 2 of 9: the query interface of EPCIS 2.0, over projection.engine.

    GET /events                         ?EQ_bizStep=…&perPage=…&nextPageToken=…&proof=true
    GET /events/{eventID}               one event, with the error declarations that correct it
    GET /{resource}                     eventTypes, epcs, bizSteps, bizLocations, readPoints, dispositions
    GET /{resource}/{value}             what there is below it
    GET /{resource}/{value}/events      events with that value, and the same parameters
    GET, POST /queries                  queries kept under names
    GET, DELETE /queries/{name}
    GET /queries/{name}/events

Answers are EPCISQueryDocuments in JSON-LD, or in XML where `Accept` asks for it. `Tallystick-Covered` says up
to which position of the log the answer looked; what was recorded since is in a later one. Source: EPCIS 2.0,
REST binding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson
from flask import Blueprint, Response, request

from api.epcis_headers import (
    JSON_TYPES,
    XML_TYPES,
    epc_format,
    link_next,
    media_type,
    negotiated,
    paging,
    query_string,
    xml_format,
)
from api.errors import KeptQueryMalformed, NoSuchResource, QueryMalformed
from api.event_queries import (
    EventQueries,
    collection,
    query_document,
    shown,
    with_proof,
    xml_document,
)
from api.problems import CREATED, NO_CONTENT
from api.reading import Reading
from api.receipts import ReceiptWriter
from api.requests import read_arguments, read_body, require_media_type
from keys.strict_json import loads
from projection.engine import Found, Page
from projection.kept import QUERY_SIZE_MAX
from projection.resources import KINDS, PARAMETERS
from subscriptions.controls import is_subscription
from subscriptions.errors import ControlFault, SubscriptionRejected
from traceability.errors import QueryRejected
from traceability.queries.model import Query
from traceability.queries.parameters import parse_json, parse_url
from traceability.queries.tokens import LIFETIME_S, open_name, seal_name

OURS = frozenset(("proof",))
_PLAIN_FIRST = tuple(reversed(JSON_TYPES))  # kept queries are JSON, and no linked data


def blueprint(
    queries: EventQueries, reading: Reading, base_url: str, clock: Callable[[], datetime]
) -> Blueprint:
    epcis = Blueprint("epcis_query", __name__)

    negotiated(epcis, types=(*JSON_TYPES, *XML_TYPES))

    def may_read(typ: str) -> bool:
        return reading.may_read_typ(typ, None)

    def answer(
        query: Query, path: str, name: str = "SimpleEventQuery", nothing: NoSuchResource | None = None
    ) -> Response:
        """nothing: what to raise where no event answers."""
        kind = media_type(*JSON_TYPES, *XML_TYPES)
        in_xml = xml_format() if kind in XML_TYPES else None
        page = queries.engine.search(query, may_read)
        if nothing is not None and not page.events:
            raise nothing
        wanted = epc_format()
        events = [shown(found, wanted) for found in page.events]
        if _asks_for_proof():
            events = prove(page.events, events)
        if in_xml is None:
            body = orjson.dumps(query_document(events, name, clock()))
        else:
            body = xml_document(events, name, clock(), in_xml)
        response = Response(body, content_type=kind)
        if in_xml is not None:
            response.headers["GS1-CBV-XML-Format"] = in_xml
        response.headers["Tallystick-Covered"] = str(page.covered)
        return _linked(response, base_url + path, page)

    def prove(found: tuple[Found, ...], events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        head = reading.head()
        receipts = ReceiptWriter(reading.reader, head.checkpoint, head.tree_size).write(
            one.seq for one in found
        )
        return [
            with_proof(event, one, reading.statement(one.seq, None), receipts[one.seq])
            for one, event in zip(found, events, strict=True)
        ]

    def asked() -> Query:
        return parse_url(query_string(), extensions=request.headers.get("GS1-Extensions", ""), others=OURS)

    @epcis.get("/events")
    def events() -> Response:
        return answer(asked(), "/events")

    @epcis.get("/events/<path:event_id>")
    def event(event_id: str) -> Response:
        query = _with(asked(), f"EQ_eventID={quote(event_id, safe='')}", event_id)
        nothing = NoSuchResource("epcis.event", f"there is no event {event_id[:200]!r} here")
        return answer(query, f"/events/{quote(event_id, safe='')}", nothing=nothing)

    for kind in KINDS:
        _add_resource(epcis, kind, queries, answer, asked, may_read, base_url)

    @epcis.get("/queries")
    def list_queries() -> Response:
        kind = media_type(*_PLAIN_FIRST)
        per_page, token = paging()
        now = queries.engine.now()
        after = "" if token is None else open_name(token, "queries", now, queries.engine.key)
        found = queries.kept.page(after, per_page + 1)
        body = orjson.dumps([{"name": one.name, "query": one.query} for one in found[:per_page]])
        response = Response(body, content_type=kind)
        if len(found) > per_page:
            expires = now + LIFETIME_S
            token = seal_name(found[per_page - 1].name, "queries", expires, queries.engine.key)
            link_next(response, f"{base_url}/queries", token, expires)
        return response

    @epcis.post("/queries")
    def create_query() -> Response:
        read_arguments()
        kind = media_type(*_PLAIN_FIRST)
        require_media_type(JSON_TYPES)
        body = loads(read_body(QUERY_SIZE_MAX), size_max=QUERY_SIZE_MAX)
        if not isinstance(body, dict) or set(body) - {"@context"} != {"name", "query"}:
            raise KeptQueryMalformed(
                "epcis.query",
                "a named query is an object with the members name and query",
                fix='{"name": "shipped", "query": {"EQ_bizStep": ["shipping"]}}',
            )
        if not isinstance(body["name"], str):
            raise KeptQueryMalformed("epcis.query", "a query's name is a string", "/name", '"shipped"')
        query = body["query"]
        if "@context" in body and isinstance(query, dict):
            query = {"@context": body["@context"], **query}
        parse_json(query)
        kept = queries.kept.create(body["name"], query, clock())
        answer_body = orjson.dumps({"name": kept.name, "query": kept.query})
        response = Response(answer_body, status=CREATED, content_type=kind)
        response.headers["Location"] = f"{base_url}/queries/{kept.name}"
        return response

    @epcis.get("/queries/<name>")
    def read_query(name: str) -> Response:
        read_arguments()
        kind = media_type(*_PLAIN_FIRST)
        kept = queries.kept.read(name)
        return Response(orjson.dumps({"name": kept.name, "query": kept.query}), content_type=kind)

    @epcis.delete("/queries/<name>")
    def delete_query(name: str) -> Response:
        read_arguments()
        queries.kept.delete(name)
        return Response(status=NO_CONTENT)

    @epcis.get("/queries/<name>/events")
    def run_query(name: str) -> Response:
        kept = queries.kept.read(name)
        if is_subscription(query_string()):
            raise SubscriptionRejected(
                [
                    ControlFault(
                        "subscription.upgrade",
                        "a stream and a schedule are for a WebSocket; this request asks for none",
                        "",
                        "Upgrade: websocket, or POST a subscription with a dest",
                    )
                ]
            )
        paging = parse_url(query_string(), others=OURS)
        if paging.filters or paging != replace(
            Query(), per_page=paging.per_page, next_page_token=paging.next_page_token
        ):
            raise QueryMalformed(
                "epcis.query",
                "a named query takes perPage and nextPageToken; what it asks stands in it",
                fix="leave the other parameters out, or ask /events",
            )
        query = replace(parse_json(kept.query), next_page_token=paging.next_page_token)
        if "perPage" in request.args:
            query = replace(query, per_page=paging.per_page)
        return answer(query, f"/queries/{name}/events", name)

    return epcis


def _add_resource(
    epcis: Blueprint,
    kind: str,
    queries: EventQueries,
    answer: Callable[[Query, str], Response],
    asked: Callable[[], Query],
    may_read: Callable[[str], bool],
    base_url: str,
) -> None:
    def require(value: str) -> None:
        if not queries.resources.has(kind, value, may_read):
            raise NoSuchResource("epcis.resource", f"no event here has {value[:200]!r} among its {kind}")

    def list_values() -> Response:
        content_type = media_type(*JSON_TYPES)
        per_page, token = paging()
        listing = queries.resources.page(kind, per_page, token, may_read)
        response = Response(orjson.dumps(collection(listing.values)), content_type=content_type)
        if listing.next_token is not None and listing.expires_at is not None:
            link_next(response, f"{base_url}/{kind}", listing.next_token, listing.expires_at)
        return response

    def below(value: str) -> Response:
        read_arguments()
        content_type = media_type(*JSON_TYPES)
        require(value)
        return Response(orjson.dumps(collection(["events"])), content_type=content_type)

    def events_of(value: str) -> Response:
        require(value)
        query = _with(asked(), f"{PARAMETERS[kind]}={quote(value, safe='')}", value)
        return answer(query, f"/{kind}/{quote(value, safe='')}/events")

    epcis.add_url_rule(f"/{kind}", f"list_{kind}", list_values)
    epcis.add_url_rule(f"/{kind}/<path:value>", f"below_{kind}", below)
    epcis.add_url_rule(f"/{kind}/<path:value>/events", f"events_of_{kind}", events_of)


def _with(query: Query, part: str, value: str) -> Query:
    """The query, and what the path asks for. Raises NoSuchResource where no event can have such a value."""
    try:
        added = parse_url(part)
    except QueryRejected as rejected:
        raise NoSuchResource("epcis.resource", f"{value[:200]!r}: {rejected.detail}") from rejected
    return replace(query, filters=(*added.filters, *query.filters))


def _asks_for_proof() -> bool:
    value = request.args.get("proof", "false")
    if value not in ("true", "false"):
        raise QueryMalformed("http.argument.value", "proof is true or false", "/proof", "true")
    return value == "true"


def _linked(response: Response, address: str, page: Page) -> Response:
    if page.next_token is not None and page.expires_at is not None:
        link_next(response, address, page.next_token, page.expires_at)
    return response
