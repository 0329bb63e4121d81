"""Step 2 of 9: subscriptions of kept queries, by webhook (EPCIS 2.0). The sending is subscriptions.runner's.

    GET, POST /queries/{name}/subscriptions          {"dest", "stream" | "schedule", "signatureToken", …}
    GET, DELETE /queries/{name}/subscriptions/{id}

A subscription's secret is never shown again, not even in part. See docs/subscriptions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson
from flask import Blueprint, Response

from api.epcis_headers import epc_format, link_next, negotiated, paging
from api.event_queries import EventQueries, query_document, shown
from api.problems import CREATED, NO_CONTENT, body_of
from api.requests import read_arguments, read_body, require_media_type
from keys.errors import Fault
from keys.strict_json import loads
from projection.engine import Found
from subscriptions.controls import BODY_SIZE_MAX, parse_body, verify_subscribable
from subscriptions.errors import ControlFault, SubscriptionRejected, TargetRefused
from subscriptions.pace import state_of
from subscriptions.store import Subscription, Subscriptions, rfc3339
from subscriptions.targets import Target, TargetRules
from traceability.queries.parameters import parse_json
from traceability.queries.tokens import LIFETIME_S, open_name, seal_name

JSON = ("application/json", "application/ld+json")
HIDDEN = "***"
MIN_RECORD_TIME = "GS1-Query-Min-Record-Time"


class Documents:
    """Reports as subscribers get them: the same documents as answers."""

    def report(self, subscription: Subscription, events: Sequence[Found], made_at: datetime) -> bytes:
        document = query_document(
            [shown(one, subscription.epc_format) for one in events], subscription.query, made_at
        )
        document["epcisBody"]["queryResults"]["subscriptionID"] = subscription.id
        return orjson.dumps(document)

    def problem(self, fault: Fault) -> bytes:
        return orjson.dumps(body_of(fault))


def blueprint(
    queries: EventQueries,
    subscriptions: Subscriptions,
    rules: TargetRules,
    resolve: Callable[[str, int], list[str]],
    base_url: str,
    clock: Callable[[], datetime],
) -> Blueprint:
    """resolve: the addresses of a name just now, within a bounded time."""
    epcis = Blueprint("epcis_subscriptions", __name__)
    negotiated(epcis)

    def verify_target(target: Target) -> None:
        # Judged again at each connection; this one is for the subscriber, who learns it at once.
        try:
            rules.verify(target, resolve(target.host, target.port))
        except TargetRefused as refused:
            raise SubscriptionRejected([ControlFault(refused.code, refused.detail, "/dest")]) from refused

    @epcis.get("/queries/<name>/subscriptions")
    def list_subscriptions(name: str) -> Response:
        per_page, token = paging()
        now, listing = queries.engine.now(), f"subscriptions {name}"
        after = "" if token is None else open_name(token, listing, now, queries.engine.key)
        found = subscriptions.page(name, after, per_page + 1)
        response = _json([view(one, clock()) for one in found[:per_page]])
        if len(found) > per_page:
            expires = now + LIFETIME_S
            token = seal_name(found[per_page - 1].id, listing, expires, queries.engine.key)
            link_next(response, f"{base_url}/queries/{name}/subscriptions", token, expires)
        return response

    @epcis.post("/queries/<name>/subscriptions")
    def subscribe(name: str) -> Response:
        read_arguments()
        require_media_type(JSON)
        body = loads(read_body(BODY_SIZE_MAX), size_max=BODY_SIZE_MAX)
        kept = queries.kept.read(name)
        verify_subscribable(parse_json(kept.query))
        webhook = parse_body(body, clock(), rules)
        verify_target(webhook.target)
        made = subscriptions.create(name, webhook, epc_format(), clock())
        response = _json(view(made, clock()), CREATED)
        response.headers["Location"] = f"{base_url}/queries/{name}/subscriptions/{made.id}"
        return response

    @epcis.get("/queries/<name>/subscriptions/<subscription_id>", provide_automatic_options=False)
    def read_subscription(name: str, subscription_id: str) -> Response:
        read_arguments()
        found = subscriptions.read(name, subscription_id)
        response = _json(view(found, clock()))
        response.headers[MIN_RECORD_TIME] = found.progress.min_record_time
        return response

    @epcis.route(
        "/queries/<name>/subscriptions/<subscription_id>",
        methods=["OPTIONS"],
        provide_automatic_options=False,
    )
    def describe_subscription(name: str, subscription_id: str) -> Response:
        found = subscriptions.read(name, subscription_id)
        response = Response(status=NO_CONTENT)
        response.headers["Allow"] = "DELETE, GET, HEAD, OPTIONS"
        response.headers[MIN_RECORD_TIME] = found.progress.min_record_time
        return response

    @epcis.delete("/queries/<name>/subscriptions/<subscription_id>", provide_automatic_options=False)
    def unsubscribe(name: str, subscription_id: str) -> Response:
        read_arguments()
        subscriptions.delete(name, subscription_id)
        return Response(status=NO_CONTENT)

    return epcis


def view(subscription: Subscription, now: datetime) -> dict[str, Any]:
    """A subscription as its subscriber sees it. Members beyond the standard's tell how delivery goes."""
    progress, controls = subscription.progress, subscription.controls
    members: dict[str, Any] = {
        "subscriptionID": subscription.id,
        "queryName": subscription.query,
        "dest": subscription.dest,
        "createdAt": rfc3339(subscription.created_at),
        "initialRecordTime": rfc3339(controls.initial_record_time),
        "minRecordTime": progress.min_record_time,
        "epcFormat": subscription.epc_format,
    }
    if controls.schedule is None:
        members["stream"] = True
    else:
        members["schedule"] = dict(controls.schedule.given)
        members["reportIfEmpty"] = controls.report_if_empty
    if subscription.sealed_token is not None:
        members["signatureToken"] = HIDDEN
    members["state"] = state_of(progress, now)
    for name, value in (
        ("lastNotifiedAt", progress.last_notified_at),
        ("nextRunAt", progress.next_run_at),
        ("failures", progress.failures or None),
        ("failingSince", progress.failing_since),
        ("lastError", progress.last_error),
        ("nextAttemptAt", progress.retry_at),
    ):
        if value is not None:
            members[name] = value
    return members


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status=status, content_type=JSON[0])
