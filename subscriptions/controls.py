"""Step 8 of 9: what a subscriber asks for, read and judged (EPCIS 2.0, SubscriptionControls).

    {"dest": "https://partner.example/events", "signatureToken": "…", "stream": true}
    {"dest": …, "schedule": {"hour": "6"}, "reportIfEmpty": true, "initialRecordTime": "2026-11-20T00:00:00Z"}

A WebSocket's query string brings the same but for dest and signatureToken: ?stream=true, ?hour=6&minute=0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from subscriptions.errors import ControlFault, SubscriptionRejected, TargetRefused
from subscriptions.schedule import NAMES, Schedule, parse_schedule
from subscriptions.targets import Target, TargetRules
from traceability.epcis.formats import parse_time
from traceability.queries.model import Query

BODY_SIZE_MAX = 16 * 1024
URL_QUERY_LENGTH_MAX = 4096
TOKEN_LENGTH_MIN, TOKEN_LENGTH_MAX = 8, 512
_TOKEN = re.compile(r"[!-~]+")
_MEMBERS = frozenset(
    ("dest", "signatureToken", "initialRecordTime", "reportIfEmpty", "stream", "schedule", "@context")
)
_ARGUMENTS = frozenset(("stream", "reportIfEmpty", "initialRecordTime")) | NAMES


@dataclass(frozen=True, slots=True)
class Controls:
    """When to report, and from when on.

    schedule             None for a stream
    initial_record_time  events recorded before it are not reported
    """

    schedule: Schedule | None
    report_if_empty: bool
    initial_record_time: datetime


@dataclass(frozen=True, slots=True)
class Webhook:
    """Controls, and where to."""

    controls: Controls
    target: Target
    token: str | None

    def __repr__(self) -> str:  # a traceback or a log line shows no secret
        return f"Webhook({self.target.origin})"


def parse_body(body: Any, now: datetime, rules: TargetRules) -> Webhook:
    """The JSON object of a POST. Raises SubscriptionRejected with every fault."""
    if not isinstance(body, dict):
        raise SubscriptionRejected([ControlFault("subscription.type", "a subscription is a JSON object", "")])
    faults = [
        ControlFault(
            "subscription.unknown",
            f"{name[:40]!r} is no member of a subscription",
            "/" + name[:40].replace("~", "~0").replace("/", "~1"),
            "dest, signatureToken, initialRecordTime, reportIfEmpty, and stream or schedule are",
        )
        for name in body
        if name not in _MEMBERS
    ]
    target = _target(body.get("dest"), rules, faults)
    token = body.get("signatureToken")
    if token is not None and not (
        isinstance(token, str)
        and TOKEN_LENGTH_MIN <= len(token) <= TOKEN_LENGTH_MAX
        and _TOKEN.fullmatch(token)
    ):
        faults.append(
            ControlFault(
                "subscription.token",
                f"{TOKEN_LENGTH_MIN} to {TOKEN_LENGTH_MAX} printable ASCII characters are wanted",
                "/signatureToken",
                "32 random bytes in hexadecimal",
            )
        )
    controls = _controls(body, now, faults)
    if faults or controls is None or target is None:
        raise SubscriptionRejected(faults)
    return Webhook(controls, target, token)


def parse_arguments(query: str, now: datetime) -> Controls:
    """The query string of a WebSocket's address. Raises SubscriptionRejected with every fault."""
    faults: list[ControlFault] = []
    given: dict[str, Any] = {}
    if len(query) > URL_QUERY_LENGTH_MAX:
        raise SubscriptionRejected(
            [
                ControlFault(
                    "subscription.length", f"{len(query)} characters; at most {URL_QUERY_LENGTH_MAX}", ""
                )
            ]
        )
    for name, value in parse_qsl(query, keep_blank_values=True):
        pointer = "/" + name[:40].replace("~", "~0").replace("/", "~1")
        if name not in _ARGUMENTS:
            faults.append(
                ControlFault(
                    "subscription.unknown",
                    f"{name[:40]!r} is no argument of a subscription",
                    pointer,
                    "stream=true, or second, minute, hour, dayOfMonth, month, dayOfWeek",
                )
            )
        elif name in given:
            faults.append(ControlFault("subscription.twice", f"{name} is given twice", pointer))
        elif name in ("stream", "reportIfEmpty"):
            given[name] = {"true": True, "false": False}.get(value, value)
        else:
            given[name] = value
    fields = {name: given.pop(name) for name in list(given) if name in NAMES}
    if fields:
        given["schedule"] = fields
    controls = _controls(given, now, faults, pointer="")
    if faults or controls is None:
        raise SubscriptionRejected(faults)
    return controls


def is_subscription(query: str) -> bool:
    """Whether a query string asks for a subscription, which only a WebSocket can have."""
    return any(
        name in _ARGUMENTS for name, _ in parse_qsl(query[:URL_QUERY_LENGTH_MAX], keep_blank_values=True)
    )


def verify_subscribable(query: Query) -> None:
    """Raise SubscriptionRejected for a query that is about a whole answer, which a subscription never has."""
    faults = [
        ControlFault(
            "subscription.query",
            f"{name} is about one whole answer; a subscription reports every event, once, as it is recorded",
            "",
            "keep the query without it under another name",
        )
        for name, value in (
            ("eventCountLimit", query.event_count_limit),
            ("maxEventCount", query.max_event_count),
        )
        if value is not None
    ]
    if faults:
        raise SubscriptionRejected(faults)


def _target(dest: Any, rules: TargetRules, faults: list[ControlFault]) -> Target | None:
    if not isinstance(dest, str):
        faults.append(
            ControlFault(
                "subscription.dest",
                "dest is missing, or no string",
                "/dest",
                "https://partner.example/events",
            )
        )
        return None
    try:
        return rules.parse(dest)
    except TargetRefused as refused:
        faults.append(ControlFault(refused.code, refused.detail, "/dest", "https://partner.example/events"))
        return None


def _controls(
    given: Mapping[str, Any], now: datetime, faults: list[ControlFault], pointer: str = "/schedule"
) -> Controls | None:
    schedule: Schedule | None = None
    stream = given.get("stream")
    if "stream" in given and stream is not True:
        faults.append(
            ControlFault(
                "subscription.stream", "stream is true, or is left out for a schedule", "/stream", "true"
            )
        )
    if ("schedule" in given) == ("stream" in given):
        faults.append(
            ControlFault(
                "subscription.when",
                "exactly one of stream and schedule is wanted",
                "",
                '"stream": true, or "schedule": {"minute": "0"}',
            )
        )
    if "schedule" in given:
        if isinstance(given["schedule"], dict):
            try:
                schedule = parse_schedule(given["schedule"], pointer)
            except SubscriptionRejected as rejected:
                faults += rejected.faults
        else:
            faults.append(ControlFault("schedule.type", "a schedule is a JSON object", "/schedule"))
    empty = given.get("reportIfEmpty", False)
    if not isinstance(empty, bool) or (empty and stream is True):
        faults.append(
            ControlFault(
                "subscription.report-if-empty",
                "reportIfEmpty is true or false, and true only with a schedule: a stream is never empty",
                "/reportIfEmpty",
            )
        )
    moment: datetime | None = now
    if "initialRecordTime" in given:
        text = given["initialRecordTime"]
        moment = parse_time(text) if isinstance(text, str) else None
        if moment is None:
            faults.append(
                ControlFault(
                    "subscription.initial-record-time",
                    "a date and time with its zone is wanted",
                    "/initialRecordTime",
                    "2026-11-20T12:00:00.000Z",
                )
            )
    if faults or moment is None:
        return None
    return Controls(schedule, empty, moment)
