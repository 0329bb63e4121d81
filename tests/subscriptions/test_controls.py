"""What a subscriber asks for is taken as the standard says, or refused with everything that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keys.errors import Unverifiable
from subscriptions import secret
from subscriptions.controls import is_subscription, parse_arguments, parse_body, verify_subscribable
from subscriptions.errors import SubscriptionRejected
from subscriptions.targets import TargetRules
from traceability.queries.parameters import parse_json

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
RULES = TargetRules()
DEST = "https://partner.example/hook"
TOKEN = "13df38d8275b13f05704629e5f1cf3d45d6132d5"


def test_a_stream_begins_now_and_its_secret_is_not_shown() -> None:
    webhook = parse_body({"dest": DEST, "signatureToken": TOKEN, "stream": True}, NOW, RULES)
    assert webhook.controls.schedule is None
    assert webhook.controls.initial_record_time == NOW
    assert webhook.token == TOKEN
    assert TOKEN not in repr(webhook)


def test_a_schedule_may_report_nothing_and_begin_earlier() -> None:
    webhook = parse_body(
        {
            "dest": DEST,
            "schedule": {"hour": "6"},
            "reportIfEmpty": True,
            "initialRecordTime": "2020-04-04T20:33:31.116-06:00",
        },
        NOW,
        RULES,
    )
    assert webhook.controls.schedule is not None
    assert webhook.controls.report_if_empty
    assert webhook.controls.initial_record_time == datetime(2020, 4, 5, 2, 33, 31, 116000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"dest": None}, "/dest"),
        ({"dest": 7}, "/dest"),
        ({"dest": "https://127.0.0.1/"}, "/dest"),
        ({"dest": "http://partner.example/"}, "/dest"),
        ({"stream": False}, "/stream"),
        ({"stream": "true"}, "/stream"),
        ({"stream": 1}, "/stream"),
        ({"schedule": {"hour": "6"}}, ""),  # beside the stream
        ({"schedule": "hourly"}, ""),
        ({"signatureToken": ""}, "/signatureToken"),
        ({"signatureToken": "short"}, "/signatureToken"),
        ({"signatureToken": "line\nline-line-line"}, "/signatureToken"),
        ({"signatureToken": "x" * 513}, "/signatureToken"),
        ({"signatureToken": 12345678}, "/signatureToken"),
        ({"reportIfEmpty": "yes"}, "/reportIfEmpty"),
        ({"reportIfEmpty": True}, "/reportIfEmpty"),  # of a stream
        ({"initialRecordTime": "yesterday"}, "/initialRecordTime"),
        ({"initialRecordTime": "2026-11-20T12:00:00"}, "/initialRecordTime"),
        ({"initialRecordTime": 0}, "/initialRecordTime"),
        ({"secret": TOKEN}, "/secret"),
    ],
)
def test_what_is_wrong_is_refused_where_it_is(change: dict[str, object], pointer: str) -> None:
    with pytest.raises(SubscriptionRejected) as caught:
        parse_body({"dest": DEST, "stream": True, **change}, NOW, RULES)
    assert pointer in {fault.pointer for fault in caught.value.faults}
    assert all(TOKEN not in fault.detail for fault in caught.value.faults)


@pytest.mark.parametrize("body", [[], None, "x", {}, {"dest": DEST}])
def test_a_body_that_says_too_little_is_refused(body: object) -> None:
    with pytest.raises(SubscriptionRejected):
        parse_body(body, NOW, RULES)


def test_arguments_of_a_socket_say_the_same() -> None:
    assert parse_arguments("stream=true", NOW).schedule is None
    controls = parse_arguments(
        "hour=1&minute=5&reportIfEmpty=true&initialRecordTime=2026-11-19T00%3A00%3A00Z", NOW
    )
    assert controls.schedule is not None
    assert controls.schedule.given == (("hour", "1"), ("minute", "5"))
    assert controls.report_if_empty
    assert is_subscription("stream=true")
    assert is_subscription("perPage=1&dayOfWeek=1")
    assert not is_subscription("perPage=1&nextPageToken=stream")


@pytest.mark.parametrize(
    "query",
    [
        "", "stream", "stream=", "stream=false", "stream=1", "stream=true&hour=1", "stream=true&stream=true",
        "hour=25", "hour=1&hour=2", "hour=", "stream=true&perPage=7", "stream=true&EQ_action=ADD",
        "stream=true&initialRecordTime=now", "stream=true&reportIfEmpty=true", "stream=true&dest=https://x.example",
        "stream=true&" + "x" * 5000,
    ],
)  # fmt: skip
def test_arguments_that_say_something_else_are_refused(query: str) -> None:
    with pytest.raises(SubscriptionRejected):
        parse_arguments(query, NOW)


def test_a_query_about_a_whole_answer_has_no_subscribers() -> None:
    verify_subscribable(parse_json({"EQ_action": ["ADD"], "orderBy": "eventTime"}))
    for body in ({"orderBy": "eventTime", "eventCountLimit": 5}, {"maxEventCount": 5}):
        with pytest.raises(SubscriptionRejected):
            verify_subscribable(parse_json(body))


def test_a_token_opens_with_its_key_for_its_subscription_alone() -> None:
    key = b"k" * secret.KEY_SIZE
    sealed = secret.seal(TOKEN, "one", key)
    assert secret.open_sealed(sealed, "one", key) == TOKEN
    assert TOKEN.encode() not in sealed
    assert secret.seal(TOKEN, "one", key) != sealed
    for forged, name, with_key in (
        (sealed, "two", key),
        (sealed, "one", b"j" * secret.KEY_SIZE),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), "one", key),
        (sealed[:20], "one", key),
        (b"", "one", key),
    ):
        with pytest.raises(Unverifiable):
            secret.open_sealed(forged, name, with_key)
