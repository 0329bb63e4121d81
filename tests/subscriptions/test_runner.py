"""Every event reaches its subscribers, in order, whatever they answer, and nobody is flooded or held up."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tt_projection import START, anyone
from tt_receivers import HANG, QUICK, Pushing, names

from api.subscribing import view
from projection import engine as engine_module
from subscriptions import runner as runner_module
from subscriptions.errors import NoSuchSubscription
from subscriptions.follow import Follower, Place
from subscriptions.pace import Pace, state_of
from traceability.errors import QueryTooComplex
from traceability.queries.parameters import parse_json

TOKEN = "13df38d8275b13f05704629e5f1cf3d45d6132d5"


@pytest.fixture
def pushing(tmp_path: Path) -> Iterator[Pushing]:
    made = Pushing(tmp_path)
    yield made
    made.close()


def test_a_stream_reports_what_is_there_and_what_comes(pushing: Pushing) -> None:
    pushing.append(1, 2)
    receiver = pushing.receiver()
    subscription = pushing.subscribe(receiver.url + "?key=1")
    pushing.start()
    first = receiver.wait(1)[0]
    assert first.events == names([1, 2])
    results = first.document["epcisBody"]["queryResults"]
    assert (results["queryName"], results["subscriptionID"]) == ("all", subscription.id)
    assert first.document["type"] == "EPCISQueryDocument"
    assert first.headers["Content-Type"] == "application/json"
    assert "GS1-Signature" not in first.headers
    assert receiver.paths == ["/hook?key=1"]
    started = time.monotonic()
    pushing.append(3)
    second = receiver.wait(2)[1]
    assert second.at - started < 5.0  # 0.1 to 0.4 where nothing else runs
    assert second.events == names([3])
    progress = pushing.wait_until(subscription, lambda p: p.pending is None and p.seq == 3)
    assert progress.min_record_time == "2026-11-20T12:00:03.123456Z"
    assert progress.last_notified_at is not None


def test_only_what_answers_the_query_is_reported(pushing: Pushing) -> None:
    pushing.keep("shipped", {"EQ_bizStep": ["shipping"]})
    receiver = pushing.receiver()
    pushing.subscribe(receiver.url, "shipped")
    pushing.start()
    pushing.append(1, 2)
    pushing.append(3, bizStep="shipping")
    pushing.append(4)
    pushing.append(5, bizStep="shipping")
    receiver.wait_for(lambda: len(receiver.taken) == 2)
    assert receiver.taken == names([3, 5])


def test_a_report_is_signed_with_the_subscribers_token(
    pushing: Pushing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver = pushing.receiver(500)
    subscription = pushing.subscribe(receiver.url + "?secret=swordfish", signatureToken=TOKEN)
    pushing.append(1)
    pushing.start()
    for one in receiver.wait(2):
        at, _, mac = one.headers["GS1-Signature"].removeprefix("t=").partition(",v1=")
        assert abs(int(at) - time.time()) < 30
        wanted = hmac.new(TOKEN.encode(), at.encode() + b"." + one.body, hashlib.sha256).hexdigest()
        assert mac == wanted
    pushing.stop()
    shown = view(pushing.look(subscription), datetime.now(UTC))
    assert shown["signatureToken"] == "***"
    assert TOKEN not in str(shown)
    assert TOKEN not in repr(pushing.look(subscription))
    assert TOKEN not in caplog.text
    assert "swordfish" not in caplog.text
    assert "fails: http.500" in caplog.text
    assert TOKEN.encode() not in Path(f"{pushing.asked.database}-queries").read_bytes()


def test_nothing_advances_before_it_was_taken(pushing: Pushing) -> None:
    receiver = pushing.receiver(500, 503, 404)
    subscription = pushing.subscribe(receiver.url)
    pushing.append(1)
    before = pushing.look(subscription).progress.min_record_time
    pushing.pace = replace(QUICK, backoff_s=0.2, backoff_max_s=0.2)
    pushing.start()
    receiver.wait(1)
    progress = pushing.wait_until(subscription, lambda p: p.failures == 1)
    assert (progress.min_record_time, progress.last_error) == (before, "http.500")
    assert progress.seq < 1
    assert state_of(progress, datetime.now(UTC)) == "retrying"
    pushing.append(2)  # what comes meanwhile waits its turn, and does not change the report
    requests = receiver.wait(5)
    assert [one.status for one in requests] == [500, 503, 404, 200, 200]
    assert len({one.body for one in requests[:4]}) == 1
    assert len({one.headers["Tallystick-Delivery"] for one in requests[:4]}) == 1
    assert requests[4].headers["Tallystick-Delivery"] != requests[0].headers["Tallystick-Delivery"]
    assert receiver.taken == names([1, 2])
    progress = pushing.wait_until(subscription, lambda p: p.seq == 2)
    assert (progress.failures, progress.failing_since, progress.last_error) == (0, None, None)
    assert progress.min_record_time == "2026-11-20T12:00:02.123456Z"


def test_the_pauses_between_attempts_grow(pushing: Pushing) -> None:
    receiver = pushing.receiver(*[500] * 6)
    pushing.pace = replace(QUICK, backoff_s=0.04, backoff_max_s=0.4)
    pushing.subscribe(receiver.url)
    pushing.append(1)
    pushing.start()
    at = [one.at for one in receiver.wait(7)]
    pauses = [after - before for before, after in itertools.pairwise(at)]
    for number, pause in enumerate(pauses):
        assert pause >= 0.5 * min(0.4, 0.04 * 2**number) - 0.01


def test_after_long_failure_it_is_suspended_and_heals(pushing: Pushing) -> None:
    receiver = pushing.receiver(*[500] * 8)
    pushing.pace = replace(QUICK, suspended_after_s=0.1, probe_s=0.3)
    subscription = pushing.subscribe(receiver.url)
    pushing.append(1)
    pushing.start()
    pushing.wait_until(subscription, lambda p: state_of(p, datetime.now(UTC), pushing.pace) == "suspended")
    held = len(receiver.requests)
    time.sleep(0.3)
    assert len(receiver.requests) <= held + 3
    with receiver._guard:
        receiver.script.clear()
    progress = pushing.wait_until(subscription, lambda p: p.failures == 0 and p.seq == 1)
    assert state_of(progress, datetime.now(UTC)) == "active"


def test_retry_after_is_heeded(pushing: Pushing) -> None:
    receiver = pushing.receiver(503)
    pushing.subscribe(receiver.url)
    pushing.append(1)
    receiver.location = "x"
    handler = receiver._server.RequestHandlerClass
    plain = handler.send_response

    def with_retry_after(self, status, *rest):
        plain(self, status, *rest)
        if status == 503:
            self.send_header("Retry-After", "1")

    handler.send_response = with_retry_after
    pushing.start()
    first, second = receiver.wait(2)
    assert second.at - first.at > 0.9


def test_too_large_a_report_is_made_smaller_down_to_one_event(pushing: Pushing) -> None:
    receiver = pushing.receiver(limit=3)
    subscription = pushing.subscribe(receiver.url)
    pushing.append(*range(1, 21))
    pushing.start()
    receiver.wait_for(lambda: len(receiver.taken) == 20)
    assert receiver.taken == names(range(1, 21))
    refused = [one for one in receiver.requests if one.status == 413]
    assert [len(one.events) for one in refused] == [20, 10, 5]
    assert len({one.headers["Tallystick-Delivery"] for one in receiver.requests}) == len(receiver.requests)
    receiver.limit = 1
    pushing.append(21, 22)
    receiver.wait_for(lambda: len(receiver.taken) == 22)
    receiver.limit = 0
    pushing.append(23)
    progress = pushing.wait_until(subscription, lambda p: p.failures >= 2)
    assert progress.last_error == "http.413"


def test_a_report_of_large_events_is_bounded(pushing: Pushing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "REPORT_SIZE_MAX", 3000)
    receiver = pushing.receiver()
    pushing.subscribe(receiver.url)
    pushing.append(*range(1, 11))
    pushing.append(11, **{"example:text": "x" * 4000, "@context": [{"example": "https://ns.example/"}]})
    pushing.start()
    receiver.wait_for(lambda: len(receiver.taken) == 11)
    assert receiver.taken == names(range(1, 12))
    assert all(len(one.body) <= 3000 or len(one.events) == 1 for one in receiver.requests)


def test_redirects_are_not_followed(pushing: Pushing) -> None:
    other = pushing.receiver()
    receiver = pushing.receiver(*[307] * 3, location=other.url)
    subscription = pushing.subscribe(receiver.url)
    pushing.append(1)
    pushing.start()
    receiver.wait(4)
    assert other.requests == []
    assert receiver.taken == names([1])
    pushing.wait_until(subscription, lambda p: p.failures == 0)


def test_one_that_hangs_holds_nobody_up(pushing: Pushing) -> None:
    hanging = [pushing.receiver(*[HANG] * 50) for _ in range(3)]
    subscriptions = [pushing.subscribe(one.url) for one in hanging for _ in range(10)]
    slow_name = pushing.subscribe("http://slow.example/hook")
    receiver = pushing.receiver()
    pushing.subscribe(receiver.url)
    pushing.start()
    pushing.append(1)
    receiver.wait(1)
    started = time.monotonic()
    pushing.append(2)
    receiver.wait(2)
    assert receiver.requests[1].at - started < 5.0  # in turn, thirty would take twenty seconds
    progress = pushing.wait_until(subscriptions[0], lambda p: p.failures > 0)
    assert progress.last_error.startswith("delivery.")
    pushing.wait_until(slow_name, lambda p: p.last_error == "delivery.timeout")


def test_a_runner_that_was_cut_off_sends_the_same_report_again(pushing: Pushing) -> None:
    receiver = pushing.receiver(HANG)
    subscription = pushing.subscribe(receiver.url)
    pushing.append(1, 2)
    pushing.timeouts = replace(pushing.timeouts, read_s=20, total_s=20)
    pushing.start()
    receiver.wait(1)
    pushing.stop()
    pushing.append(3)
    pushing.start()
    first, again, new = receiver.wait(3)
    assert (first.body, first.headers["Tallystick-Delivery"]) == (
        again.body,
        again.headers["Tallystick-Delivery"],
    )
    assert again.events == names([1, 2])
    assert new.events == names([3])
    pushing.wait_until(subscription, lambda p: p.seq == 3)


def test_what_was_erased_before_it_was_taken_is_left_out(pushing: Pushing) -> None:
    receiver = pushing.receiver(HANG)
    pushing.subscribe(receiver.url)
    pushing.append(1)
    pushing.timeouts = replace(pushing.timeouts, read_s=20, total_s=20)
    pushing.start()
    receiver.wait(1)
    pushing.stop()
    pushing.asked.log.erase(1)
    pushing.start()
    pushing.append(2)
    receiver.wait_for(lambda: receiver.taken == names([2]))


def test_what_may_not_be_read_is_not_sent(pushing: Pushing) -> None:
    receiver = pushing.receiver()
    pushing.may_read = lambda typ: False
    pushing.append(1)
    pushing.subscribe(receiver.url)
    pushing.start()
    pushing.append(2)
    time.sleep(0.3)
    assert receiver.requests == []


def test_a_deleted_subscription_is_sent_nothing_more(pushing: Pushing) -> None:
    receiver, other = pushing.receiver(), pushing.receiver()
    gone = pushing.subscribe(receiver.url)
    pushing.keep("other", {})
    with_query = pushing.subscribe(other.url, "other")
    pushing.start()
    pushing.append(1)
    receiver.wait(1)
    other.wait(1)
    pushing.subscriptions.delete("all", gone.id)
    pushing.kept.delete("other")
    with pytest.raises(NoSuchSubscription):
        pushing.subscriptions.save(with_query.id, with_query.progress)
    pushing.keep("other", {})  # another query of the same name has no subscribers
    assert pushing.subscriptions.page("other", "", 10) == []
    pushing.append(2)
    time.sleep(0.3)
    assert (len(receiver.requests), len(other.requests)) == (1, 1)


def test_a_thousand_events_reach_a_slow_receiver_in_order(pushing: Pushing) -> None:
    receiver = pushing.receiver(pause_s=0.02)
    pushing.subscribe(receiver.url)
    pushing.append(*range(1, 401))
    pushing.start()
    pushing.append(*range(401, 1001))
    receiver.wait_for(lambda: len(receiver.taken) >= 1000)
    assert receiver.taken == names(range(1, 1001))
    assert all(len(one.events) <= 100 for one in receiver.requests)
    at = [one.at for one in receiver.requests]
    assert all(after - before >= 0.02 for before, after in itertools.pairwise(at))


def test_what_takes_much_reading_is_searched_in_stretches(
    pushing: Pushing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing finds such events but reading them all, and one search may read three in vain."""
    context = {"@context": [{"example": "https://ns.example/"}]}
    pushing.append(*range(1, 57), **{"example:n": 1, **context})
    pushing.append(57, **{"example:n": 7, **context})
    pushing.append(58, 59, **{"example:n": 1, **context})
    monkeypatch.setattr(engine_module, "READS_MAX", 3)
    query = {"GT_example:n": 5, **context}
    follower = Follower(pushing.asked.engine(), parse_json(query), START, anyone)
    with pytest.raises(QueryTooComplex):
        pushing.asked.engine().search(parse_json(query), anyone)
    place, found, searches = Place(), [], 0
    done = False
    while not done:
        batch = follower.next(place, 10)
        assert batch.end > place
        found += [one.event_id for one in batch.events]
        place, done, searches = batch.end, batch.done, searches + 1
    assert found == names([57])
    assert (place.seq, searches > 5) == (59, True)


def test_a_schedule_reports_at_its_time_and_nothing_in_between(pushing: Pushing) -> None:
    receiver, every = pushing.receiver(), pushing.receiver()
    scheduled = pushing.subscribe(receiver.url, schedule={"second": "[0-59]"})
    empty = pushing.subscribe(every.url, schedule={"second": "[0-59]"}, reportIfEmpty=True)
    assert pushing.look(scheduled).progress.next_run_at is not None
    pushing.append(*range(1, 151))
    pushing.start()
    receiver.wait(2)
    assert receiver.taken == names(range(1, 151))
    every.wait(4)
    assert [len(one.events) for one in every.requests[:4]] == [100, 50, 0, 0]
    assert len(receiver.requests) == 2
    gaps = [after.at - before.at for before, after in itertools.pairwise(every.requests[1:4])]
    assert all(gap > 0.2 for gap in gaps)
    ids = [one.headers["Tallystick-Delivery"] for one in every.requests]
    assert len(set(ids)) == len(ids)
    pushing.wait_until(empty, lambda p: p.run_bound is None and p.last_notified_at is not None)


def test_a_run_that_failed_is_finished_before_the_next(pushing: Pushing) -> None:
    receiver = pushing.receiver(500, 500)
    pushing.subscribe(receiver.url, schedule={"second": "[0-59]"}, reportIfEmpty=True)
    pushing.start()
    requests = receiver.wait(3)
    assert [one.status for one in requests] == [500, 500, 200]
    assert len({one.headers["Tallystick-Delivery"] for one in requests}) == 1


def test_a_mistake_of_this_server_is_told_as_the_standard_says(pushing: Pushing) -> None:
    receiver = pushing.receiver()
    subscription = pushing.subscribe(receiver.url, signatureToken=TOKEN)
    pushing.append(1)
    pushing.pace = replace(QUICK, complain_s=0.0)
    fault = QueryTooComplex("query.complex", "too much to read")
    real = runner_module.Follower.next
    failing = [True]

    def too_much(self, *rest):
        if failing[0]:
            raise fault
        return real(self, *rest)

    runner_module.Follower.next = too_much
    try:
        pushing.start()
        first = receiver.requests[0] if receiver.requests else None
        receiver_wait = time.monotonic() + 5
        while not receiver.requests and time.monotonic() < receiver_wait:
            time.sleep(0.01)
        first = receiver.requests[0]
        failing[0] = False
        receiver.wait_for(lambda: any(b"eventList" in one.body for one in receiver.requests))
    finally:
        runner_module.Follower.next = real
    assert first.headers["Content-Type"] == "application/problem+json"
    assert "GS1-Signature" in first.headers
    assert first.document["type"] == "epcisException:QueryTooComplexException"
    pushing.wait_until(subscription, lambda p: p.seq == 1 and p.failures == 0)


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["169.254.169.254"], ["8.8.8.8"], ["127.0.0.1", "10.0.0.1"], ["::1"], []]
)
def test_a_name_that_leads_elsewhere_gets_nothing(pushing: Pushing, addresses: list[str]) -> None:
    """8.8.8.8 is public, but this is http, and not its port."""
    pushing.names["hook.example"] = addresses
    subscription = pushing.subscribe("http://hook.example:9/hook")
    pushing.append(1)
    pushing.start()
    progress = pushing.wait_until(subscription, lambda p: p.failures >= 1)
    assert progress.last_error.startswith("target.")


def test_a_name_that_moves_is_judged_at_each_connection(tmp_path: Path) -> None:
    pushing = Pushing(tmp_path)
    try:
        receiver = pushing.receiver()
        pushing.names["hook.example"] = ["127.0.0.1"]
        subscription = pushing.subscribe(f"http://hook.example:{receiver.port}/hook")
        pushing.append(1)
        pushing.start()
        first = receiver.wait(1)[0]
        assert first.headers["Host"] == f"hook.example:{receiver.port}"
        pushing.wait_until(subscription, lambda p: p.pending is None)
        # From now on the name leads to this machine by an address that is not opened.
        pushing.names["hook.example"] = ["::1"]
        pushing.append(2)
        pushing.wait_until(subscription, lambda p: p.last_error == "target.private")
        assert len(receiver.requests) == 1
        pushing.names["hook.example"] = ["127.0.0.1"]
        receiver.wait_for(lambda: receiver.taken == names([1, 2]))
    finally:
        pushing.close()


def test_without_being_opened_loopback_gets_nothing(tmp_path: Path) -> None:
    pushing = Pushing(tmp_path)
    try:
        receiver = pushing.receiver()
        subscription = pushing.subscribe(receiver.url)
        pushing.rules = type(pushing.rules)()  # the operator has closed it since
        pushing.append(1)
        pushing.start()
        pushing.wait_until(subscription, lambda p: p.last_error == "target.scheme" or p.failures > 1)
        assert receiver.requests == []
    finally:
        pushing.close()


def test_the_pace_of_a_server_is_what_the_documents_say() -> None:
    assert Pace() == Pace(0.1, 1.0, 1.0, 300.0, 3600.0, 3600.0, 300.0)
