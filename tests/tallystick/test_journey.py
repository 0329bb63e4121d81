"""The journey of the demonstration: valid by GS1's own schema, rising in time, and the same for a seed."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import jsonschema_rs
import pytest

from tallystick.demo.journey import PARTIES, build_journey, dispensed_pack
from traceability.epcis.validate import validate_event
from traceability.event import Event


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_event_is_valid_by_both_judges(shared, seed):
    schema = jsonschema_rs.validator_for(
        json.loads((shared / "epcis/artefacts/epcis-json-schema-2.0.1.json").read_bytes())
    )
    for _, event in build_journey(seed):
        assert validate_event(event, now=datetime(2026, 11, 20, tzinfo=UTC)) == []
        assert schema.is_valid(event)


def test_four_parties_report_at_least_sixty_events_in_the_order_of_time():
    journey = build_journey(1)
    assert len(journey) >= 60
    assert Counter(role for role, _ in journey).keys() == PARTIES.keys()
    times = [Event(event).event_time for _, event in journey]
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    assert len({event["eventID"] for _, event in journey}) == len(journey)


def test_the_whole_life_of_a_pack_is_in_it():
    steps = [event["bizStep"] for _, event in build_journey(1)]
    for step in ("commissioning", "packing", "shipping", "receiving", "unpacking", "stocking", "dispensing"):
        assert step in steps
    assert steps.count("dispensing") == 1
    assert {event["type"] for _, event in build_journey(1)} == {
        "ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent",
    }  # fmt: skip


def test_a_seed_gives_the_same_journey_and_another_another():
    assert build_journey(1) == build_journey(1)
    assert dispensed_pack(build_journey(1)) != dispensed_pack(build_journey(2))


def test_a_journey_can_start_when_it_suits():
    start = datetime(2025, 1, 1, tzinfo=UTC)
    assert Event(build_journey(1, start=start)[0][1]).event_time.year == 2025


def test_a_journey_without_dispensing_has_no_pack_to_show():
    with pytest.raises(ValueError, match="nobody dispenses"):
        dispensed_pack([])
