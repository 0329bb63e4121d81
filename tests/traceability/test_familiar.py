"""An event in a frame seen before is read exactly as the exact validator reads it, or by it."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tt_epcis import CONTENTS, CONTEXT, PACK, TYP, aggregation, object_event, shared_events

from keys.envelope import PAYLOAD_SIZE_MAX
from traceability.epcis import accepted, familiar, holes
from traceability.epcis.familiar import read_named
from traceability.epcis.validate import EVENT_TIME_AHEAD_MAX, read_event
from traceability.errors import EventRejected
from traceability.names import names_v1, pack_names

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CASE = "urn:epc:id:sscc:9521141.0001234567"


def compact(event: object) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def exactly(payload: bytes):
    """What the exact way says: time and names, or every fault."""
    try:
        event = read_event(payload, now=NOW)
    except EventRejected as rejected:
        return [(fault.pointer, fault.code, fault.detail) for fault in rejected.faults]
    return event.event_time, pack_names(names_v1(TYP, event.value))


def quickly(payload: bytes):
    try:
        return tuple(read_named(payload, now=NOW))
    except EventRejected as rejected:
        return [(fault.pointer, fault.code, fault.detail) for fault in rejected.faults]


@pytest.fixture(autouse=True)
def forgetful():
    familiar._FRAMES.clear()
    holes._STEMS.clear()
    accepted._FRAMES.clear()


def knows(payload: bytes) -> bool:
    return tuple(familiar._HOLE.split(payload)[::2]) in familiar._FRAMES


def refill(chance: random.Random, payload: bytes) -> bytes:
    """The same frame, with other contents in some of its holes, and at times another frame."""
    pieces = familiar._HOLE.split(payload)
    for index in range(1, len(pieces), 2):
        if chance.random() < 0.6:
            opening = familiar._HOLE_NAME.match(pieces[index])[0]
            count = chance.choice((1, 1, 2, 3)) if b"[" in opening else 1
            filled = chance.choice(('","', '","', '", "')).join(chance.choices(CONTENTS, k=count))
            pieces[index] = opening + filled.encode() + (b'"' if b"[" in opening else b"")
    if chance.random() < 0.1:
        place = chance.randrange(0, len(pieces), 2)
        pieces[place] = pieces[place].replace(b"e", b"x", 1)
    return b"".join(pieces)


def test_both_ways_agree_over_every_example_and_whatever_fills_its_holes(shared):
    events = shared_events(
        shared, "gs1-examples", "openepcis/documents", "openepcis/events", "openepcis/invalid"
    )
    chance = random.Random(20261120)
    accepted = by_frame = 0
    for _, event in events:
        for payload in (compact(event), json.dumps(event).encode(), json.dumps(event, indent=1).encode()):
            assert quickly(payload) == exactly(payload)
            by_frame += knows(payload)
            for _ in range(25):
                altered = refill(chance, payload)
                said = exactly(altered)
                assert quickly(altered) == said, altered
                accepted += isinstance(said, tuple)
    assert by_frame > 100, "the short way was hardly taken"
    assert accepted > 300, "the changes test one side only"


@given(st.lists(st.sampled_from(CONTENTS) | st.text(max_size=30), min_size=1, max_size=4), st.booleans())
@example(["urn:epc:id:sgtin:9521141.012345.1", "urn:epc:id:sgtin:952114.1012345.1"], False)
@example(["urn:epc:id:sgtin:9521141.012345.1", "urn:epc:id:sgtin:9521141.012345.1"], False)
def test_both_ways_agree_over_lists_of_anything(epcs, raw):
    known = compact(object_event(PACK))
    read_named(known, now=NOW)
    if raw:
        payload = known.replace(f'"{PACK}"'.encode(), ('"' + '","'.join(epcs) + '"').encode(errors="replace"))
    else:
        payload = compact(object_event(*epcs))
    assert quickly(payload) == exactly(payload)


@given(st.binary(min_size=1, max_size=6), st.integers(0, 2000), st.integers(0, 4))
def test_both_ways_agree_over_damaged_bytes(junk, place, removed):
    known = compact(aggregation("ADD", CASE, PACK, PACK + "1", eventID="urn:uuid:1-2"))
    read_named(known, now=NOW)
    place %= len(known)
    payload = known[:place] + junk + known[place + removed :]
    assert quickly(payload) == exactly(payload)


def test_the_second_event_of_a_frame_needs_no_validator(monkeypatch):
    read_named(compact(object_event(PACK, eventID="urn:uuid:1")), now=NOW)
    monkeypatch.setattr(familiar, "read_event", None)
    again = object_event(*(f"{PACK}{i}" for i in range(50)), CASE, eventID="urn:uuid:2")
    again["eventTime"] = "2026-11-05T09:15:00+01:00"
    payload = compact(again)
    assert quickly(payload) == exactly(payload)


def test_names_of_the_frame_and_of_its_holes_stand_in_document_order():
    lot = "urn:epc:class:lgtin:9521141.012345.L1"
    event = {
        "type": "TransformationEvent",
        "inputQuantityList": [{"epcClass": lot}],
        "inputEPCList": [PACK],
        "eventTime": "2026-11-05T08:15:00Z",
        "eventTimeZoneOffset": "+01:00",
        "@context": CONTEXT,
        "transformationID": "urn:x:7",
        "outputEPCList": [CASE, "urn:x:8"],
        "outputQuantityList": [{"epcClass": lot + "2"}, {"epcClass": lot}],
    }
    first = quickly(compact(event))
    event["inputEPCList"] = ["urn:x:8", PACK + "9"]
    payload = compact(event)
    assert knows(payload)
    assert quickly(payload) == exactly(payload) != first


# Each looks like a frame whose holes are what they seem, and is none.
DECOYS = {
    "the list within an extension, the event's own spelled otherwise": (
        b'{"epcList"  :["%b"],"@context":{"x":"https://x.example/"},"type":"ObjectEvent","action":"OBSERVE",'
        b'"eventTime":"2026-11-05T08:15:00Z","eventTimeZoneOffset":"+01:00","x:y":{"epcList":["%b"]}}'
    ),
    "the time within an extension": (
        b'{"epcList":["%b","%b1"],"@context":{"x":"https://x.example/"},"type":"ObjectEvent","action":"OBSERVE",'
        b'"eventTime" \t:"2026-11-05T08:15:00Z","eventTimeZoneOffset":"+01:00",'
        b'"x:y":{"eventTime":"2026-11-05T08:15:00Z"}}'
    ),
    "a parent that is an extension's": (
        b'{"epcList":["%b","%b1"],"@context":{"x":"https://x.example/"},"type":"ObjectEvent","action":"OBSERVE",'
        b'"eventTime":"2026-11-05T08:15:00Z","eventTimeZoneOffset":"+01:00","x:y":{"parentID":"urn:x:1"}}'
    ),
    "an id that names what it takes back": (
        b'{"epcList":["%b","%b1"],"@context":"https://x.example/","type":"ObjectEvent","action":"OBSERVE",'
        b'"eventTime":"2026-11-05T08:15:00Z","eventTimeZoneOffset":"+01:00","eventID":"urn:x:1",'
        b'"errorDeclaration":{"declarationTime":"2026-11-05T08:15:00Z"}}'
    ),
}


@pytest.mark.parametrize("decoy", DECOYS.values(), ids=DECOYS)
def test_no_frame_is_kept_whose_holes_are_not_what_they_seem(decoy):
    payload = decoy % (PACK.encode(), PACK.encode())
    said = quickly(payload)
    assert isinstance(said, tuple)
    assert said == exactly(payload)
    assert not familiar._FRAMES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"action":"OBSERVE"', b'"action":"OBSERVE","action":"ADD"'),
        (b'"action":"OBSERVE"', b'"action":"OBSERVE","eventTime":"2026-11-05T08:15:00.000Z"'),
        (b'["urn', b'["urn:x:1"],"epcList":["urn'),
        (PACK.encode(), b'urn:x:1"],"epcList":["urn:x:2'),
        (b'"eventTime":"', b'"eventTime":"x","eventTime":"'),
        (b'"urn:', b'"\\u0075rn:'),
        (b"Z", b'Z","eventTime":"2026-11-05T08:15:00.000Z'),
        (b'100"]', b"1007]"),
        (b'100"]', b'100",7]'),
        (b'100"]', b'100","urn:epc:id:sgtin:9521141.012345."]'),
        (b"epcList", b"childEPCs"),
        (b"100", b"100\xff"),
        (b"100", b"100\xef\xbf\xbf"),
    ],
)
def test_no_duplicate_member_and_no_foreign_spelling_slips_through_a_frame(old, new):
    known = compact(object_event(PACK))
    read_named(known, now=NOW)
    payload = known.replace(old, new, 1)
    assert payload != known
    assert quickly(payload) == exactly(payload)


def test_the_future_is_judged_each_time():
    known = compact(object_event(PACK, eventTime="2026-11-20T12:09:59.999Z"))
    read_named(known, now=NOW)
    assert knows(known)
    with pytest.raises(EventRejected) as caught:
        read_named(known, now=NOW - timedelta(seconds=1))
    assert caught.value.code == "epcis.time.future"
    read_named(known, now=NOW + EVENT_TIME_AHEAD_MAX)


def test_a_refused_event_teaches_nothing():
    with pytest.raises(EventRejected):
        read_named(compact(object_event(PACK, bizStep="brewing")), now=NOW)
    assert not familiar._FRAMES


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(familiar, "FRAMES_KEPT_MAX", 4)
    monkeypatch.setattr(holes, "STEMS_KEPT_MAX", 4)
    for i in range(20):
        read_named(
            compact(object_event(f"urn:epc:id:sgtin:9521141.0{i:05}.7", bizStep=f"urn:x:{i}")), now=NOW
        )
        read_named(
            compact(object_event(f"urn:epc:id:sgtin:9521141.1{i:05}.7", bizStep=f"urn:x:{i}")), now=NOW
        )
        assert len(familiar._FRAMES) <= 4
        assert len(holes._STEMS) <= 4
    long = object_event(PACK, **{"https://x.example/" + "y" * familiar.FRAME_SIZE_MAX: 1})
    familiar._FRAMES.clear()
    read_named(compact(long), now=NOW)
    assert not familiar._FRAMES


def test_a_payload_beyond_its_bound_is_refused_in_every_frame():
    known = compact(object_event(PACK))
    read_named(known, now=NOW)
    many = compact(object_event(*(f"{PACK}{i}" for i in range(PAYLOAD_SIZE_MAX // 40))))
    assert len(many) > PAYLOAD_SIZE_MAX
    assert quickly(many) == exactly(many)
    assert isinstance(quickly(many), list)
