"""An event value like one found good before is judged as the exact validator judges it, or by it."""

from __future__ import annotations

import math
import random
from copy import deepcopy
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tt_epcis import CONTENTS, CONTEXT, PACK, object_event, shared_events

from traceability.epcis import accepted
from traceability.epcis.validate import validate_document, validate_event

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ODD = (
    None,
    0,
    1,
    0.0,
    False,
    True,
    "",
    [],
    {},
    [0],
    [1],
    [PACK, 1],
    [PACK, None],
    [[PACK]],
    [PACK, PACK],
    math.nan,
)
HOLES = ("eventTime", *accepted._HOLES)


@pytest.fixture(autouse=True)
def forgetful():
    accepted._FRAMES.clear()


def said(value, judge=validate_event, **options):
    return [(fault.pointer, fault.code, fault.detail) for fault in judge(value, **options)]


def exactly(value, judge=validate_event, **options):
    kept = set(accepted._FRAMES)
    accepted._FRAMES.clear()
    try:
        return said(value, judge, **options)
    finally:
        accepted._FRAMES.clear()
        accepted._FRAMES.update(kept)


def refill(chance, event):
    event = deepcopy(event)
    for name in HOLES:
        if chance.random() < (0.5 if name in event else 0.05):
            if chance.random() < 0.3:
                event[name] = deepcopy(chance.choice(ODD))
            elif name.endswith(("List", "EPCs")):
                event[name] = chance.choices(CONTENTS, k=chance.choice((1, 1, 2, 3)))
            else:
                event[name] = chance.choice(CONTENTS)
    return event


def test_both_ways_agree_over_every_example_and_whatever_fills_its_holes(shared):
    chance = random.Random(20261123)
    good = 0
    events = shared_events(
        shared, "gs1-examples", "openepcis/documents", "openepcis/events", "openepcis/invalid"
    )
    for _, event in events:
        for now in (None, NOW):
            assert said(event, now=now) == exactly(event, now=now)
            for _ in range(40):
                altered = refill(chance, event)
                exact = exactly(altered, now=now)
                assert said(altered, now=now) == exact, altered
                good += not exact
    assert len(accepted._FRAMES) > 50
    assert good > 300, "the changes test one side only"


def test_both_ways_agree_over_whole_documents(shared):
    chance = random.Random(20261124)
    events = [e for _, e in shared_events(shared, "gs1-examples", "openepcis/events")]
    for _ in range(150):
        listed = [refill(chance, chance.choice(events)) for _ in range(4)] + chance.choices(events, k=2)
        document = {
            "@context": chance.choice((CONTEXT, [CONTEXT, {"ex": "https://ex.example/"}], 7)),
            "type": "EPCISDocument",
            "schemaVersion": "2.0",
            "creationDate": "2026-11-20T08:15:00Z",
            "epcisBody": {"eventList": listed},
        }
        assert said(document, validate_document, now=NOW) == exactly(document, validate_document, now=NOW)


@given(st.lists(st.sampled_from(CONTENTS) | st.text(max_size=30) | st.integers(), min_size=1, max_size=4))
def test_both_ways_agree_over_lists_of_anything(epcs):
    validate_event(object_event(PACK))
    event = object_event(epcList=epcs)
    assert said(event) == exactly(event)


def test_the_second_event_of_a_frame_needs_no_validator(monkeypatch):
    assert said(object_event(PACK), now=NOW) == []
    monkeypatch.setattr("traceability.epcis.validate._check_exactly", None)
    again = object_event(*(f"{PACK}{i}" for i in range(50)), eventTime="2026-11-05T09:15:00+01:00")
    assert said(again, now=NOW) == []


def test_an_event_is_not_known_by_another_documents_context_nor_without_one():
    event = {name: value for name, value in object_event(PACK, **{"ex:a": 1}).items() if name != "@context"}
    assert said(event, document_context={"ex": "https://ex.example/"}) == []
    assert [code for _, code, _ in said(event, document_context=CONTEXT)] == ["epcis.prefix"]
    assert [code for _, code, _ in said(event)] == ["epcis.prefix", "epcis.context"]


@pytest.mark.parametrize("pair", [(1, 1.0), (1, True), (0, False), ("1", 1), (None, "null"), (5e-324, 0)])
def test_numbers_and_booleans_that_are_equal_are_different_frames(pair):
    frames = {
        accepted.find_frame(object_event(**{"ex:a": value}), b"") for value in pair if value is not None
    }
    assert len(frames) == sum(value is not None for value in pair)


def test_what_no_json_can_hold_is_not_accepted_for_null():
    element = {"sensorReport": [{"type": "Mass", "value": math.nan}]}
    for value in (math.nan, math.inf, None, 5.0):
        element["sensorReport"][0]["value"] = value
        event = object_event(sensorElementList=[element])
        assert said(event) == exactly(event)
        assert bool(said(event)) == (value != 5.0)


def test_values_that_are_no_json_are_left_to_the_validator():
    for odd in (2**64, "\ud800", {1: 2}, {"a", "b"}, object()):
        assert accepted.find_frame(object_event(**{"ex:a": odd}), b"") is None
    assert said(object_event(**{"https://ex.example/a": 2**70})) == []
    assert not accepted._FRAMES


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(accepted, "FRAMES_KEPT_MAX", 4)
    for i in range(20):
        assert said(object_event(PACK, bizStep=f"urn:x:{i}")) == []
        assert len(accepted._FRAMES) <= 4
    accepted._FRAMES.clear()
    assert said(object_event(PACK, **{"https://x.example/" + "y" * accepted.FRAME_SIZE_MAX: 1})) == []
    assert not accepted._FRAMES
