"""A schedule matches the moments that the standard says; what is no schedule is refused where it is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from subscriptions.errors import SubscriptionRejected
from subscriptions.schedule import parse_schedule

FRIDAY = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({"hour": "1", "minute": "5"}, "2026-11-21T01:05:00"),  # the standard's example
        ({"second": "0,30"}, "2026-11-20T12:00:30"),
        ({"second": "[10-12]"}, "2026-11-20T12:00:10"),
        ({"minute": "0"}, "2026-11-20T13:00:00"),
        ({"minute": 15}, "2026-11-20T12:15:00"),
        ({"hour": "12"}, "2026-11-21T12:00:00"),
        ({"hour": "[6-18]", "minute": "30", "second": "07"}, "2026-11-20T12:30:07"),
        ({"dayOfWeek": "1"}, "2026-11-23T00:00:00"),
        ({"dayOfWeek": "7", "hour": "23"}, "2026-11-22T23:00:00"),
        ({"dayOfMonth": "31"}, "2026-12-31T00:00:00"),
        ({"month": "2"}, "2027-02-01T00:00:00"),
        ({"month": "2", "dayOfMonth": "29"}, "2028-02-29T00:00:00"),
        ({"month": "2", "dayOfMonth": "29", "dayOfWeek": "1"}, "2044-02-29T00:00:00"),
        ({"dayOfMonth": "13", "dayOfWeek": "5"}, "2027-08-13T00:00:00"),  # all fields must match
        ({"month": "[1-3],12", "dayOfMonth": "1,[10-12]", "hour": "0"}, "2026-12-01T00:00:00"),
    ],
)
def test_the_next_run_is_the_first_moment_that_matches(given: dict[str, object], first: str) -> None:
    assert parse_schedule(given).next_after(FRIDAY) == datetime.fromisoformat(first).replace(tzinfo=UTC)


def test_every_moment_is_one_that_a_slow_search_finds() -> None:
    schedule = parse_schedule(
        {"second": "0,[20-21],59", "minute": "[58-59],0", "hour": "0,23", "dayOfWeek": "5,6"}
    )
    moment = datetime(2026, 11, 20, 23, 57, 0, tzinfo=UTC)
    wanted = [
        at
        for at in (moment + timedelta(seconds=second) for second in range(1, 8 * 60))
        if at.second in (0, 20, 21, 59)
        and at.minute in (58, 59, 0)
        and at.hour in (0, 23)
        and at.isoweekday() in (5, 6)
    ]
    found = []
    for _ in wanted:
        moment = schedule.next_after(moment) or moment
        found.append(moment)
    assert found == wanted
    assert len(wanted) > 8


def test_a_run_is_never_the_moment_it_is_counted_from() -> None:
    schedule = parse_schedule({"second": "30"})
    at = FRIDAY.replace(second=30)
    assert schedule.next_after(at - timedelta(microseconds=1)) == at
    assert schedule.next_after(at) == at + timedelta(minutes=1)
    assert schedule.next_after(at + timedelta(microseconds=1)) == at + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({}, "/schedule"),
        ({"second": "0/30"}, "/schedule/second"),  # an example in GS1's file, outside its own grammar
        ({"second": "*"}, "/schedule/second"),
        ({"second": "60"}, "/schedule/second"),
        ({"second": "-1"}, "/schedule/second"),
        ({"second": ""}, "/schedule/second"),
        ({"second": "1,"}, "/schedule/second"),
        ({"second": "1 ,2"}, "/schedule/second"),
        ({"second": "1\n"}, "/schedule/second"),
        ({"second": "٣"}, "/schedule/second"),
        ({"second": "001"}, "/schedule/second"),
        ({"second": "1" + ",1" * 200}, "/schedule/second"),
        ({"second": True}, "/schedule/second"),
        ({"second": 1.0}, "/schedule/second"),
        ({"second": None}, "/schedule/second"),
        ({"second": ["1"]}, "/schedule/second"),
        ({"minute": "[0-60]"}, "/schedule/minute"),
        ({"minute": "[5-4]"}, "/schedule/minute"),
        ({"minute": "5-6"}, "/schedule/minute"),
        ({"minute": "[1,2]"}, "/schedule/minute"),
        ({"minute": "[[1-2]]"}, "/schedule/minute"),
        ({"hour": "24"}, "/schedule/hour"),
        ({"dayOfMonth": "0"}, "/schedule/dayOfMonth"),
        ({"dayOfMonth": "32"}, "/schedule/dayOfMonth"),
        ({"month": "13"}, "/schedule/month"),
        ({"month": "jan"}, "/schedule/month"),
        ({"dayOfWeek": "0"}, "/schedule/dayOfWeek"),
        ({"dayOfWeek": "8"}, "/schedule/dayOfWeek"),
        ({"dayOfWeek": "Mon"}, "/schedule/dayOfWeek"),
        ({"year": "2026"}, "/schedule/year"),
        ({"a/b~": "1"}, "/schedule/a~1b~0"),
        ({"month": "2", "dayOfMonth": "30"}, "/schedule"),
        ({"month": "4,6,9,11", "dayOfMonth": "31"}, "/schedule"),
    ],
)
def test_what_is_no_schedule_is_refused_where_it_is_wrong(given: dict[str, object], pointer: str) -> None:
    with pytest.raises(SubscriptionRejected) as caught:
        parse_schedule(given)
    assert caught.value.pointer == pointer
    assert caught.value.faults[0].fix


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SubscriptionRejected) as caught:
        parse_schedule({"second": "61", "hour": "x", "year": "1"})
    assert {fault.pointer for fault in caught.value.faults} == {
        "/schedule/second",
        "/schedule/hour",
        "/schedule/year",
    }
