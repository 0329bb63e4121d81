"""Events as people ask about them, and the readers that find them in statements."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tt_epcis import TYP, aggregation, object_event, shared_events

from keys.errors import Malformed
from traceability.errors import NoReader
from traceability.event import Event, Named, Quantity
from traceability.readers import READERS, event_values, read_events

PACK = Named("urn:epc:id:sgtin:9521141.012345.100", "https://id.gs1.org/01/09521141123454/21/100")
DOCK = Named("urn:epc:id:sgln:9521141.00012.0", "https://id.gs1.org/414/9521141000120")


def test_an_event_shows_both_what_was_written_and_what_it_means():
    event = Event(object_event(bizLocation={"id": DOCK.original}, eventTime="2026-11-05T08:15:00.25+01:00"))
    assert (event.type, event.action, event.biz_step) == ("ObjectEvent", "OBSERVE", "receiving")
    assert event.event_time == datetime(2026, 11, 5, 7, 15, 0, 250_000, tzinfo=UTC)
    assert event.event_time_zone_offset == "+01:00"
    assert event.epcs == (PACK,)
    assert event.read_point == event.biz_location == DOCK


def test_what_an_event_does_not_say_is_empty():
    event = Event(object_event(epcList=None, readPoint=None, bizStep=None))
    assert event.biz_step is event.disposition is event.parent is event.read_point is event.event_id is None
    assert event.epcs == event.children == event.inputs == event.outputs == event.quantities == ()
    assert event.sources == event.destinations == event.persistent_dispositions_set == ()
    assert event.ilmd == {}


@pytest.mark.parametrize(
    "spelling",
    [
        "shipping",
        "urn:epcglobal:cbv:bizstep:shipping",
        "https://ref.gs1.org/cbv/BizStep-shipping",
        "https://ns.gs1.org/cbv/BizStep-shipping",
        "cbv:BizStep-shipping",
    ],
)
def test_a_step_of_the_standard_is_one_word_however_spelled(spelling):
    assert Event(object_event(bizStep=spelling)).biz_step == "shipping"


def test_a_step_of_ones_own_stays_as_it_is():
    assert Event(object_event(bizStep="https://maker.example/x-y")).biz_step == "https://maker.example/x-y"


def test_boxes_quantities_and_parties():
    event = Event(
        aggregation(
            "ADD",
            "urn:epc:id:sscc:9521141.0001234567",
            PACK.original,
            childQuantityList=[{"epcClass": "urn:epc:idpat:sgtin:9521141.012345.*", "quantity": 3}],
            sourceList=[{"type": "owning_party", "source": "urn:epc:id:pgln:9521141.00000"}],
            destinationList=[{"type": "location", "destination": "urn:x:1"}],
            persistentDisposition={"set": ["recalled"]},
            errorDeclaration={"declarationTime": "2026-11-05T08:15:00Z"},
        )
    )
    assert event.parent == ("urn:epc:id:sscc:9521141.0001234567", "https://id.gs1.org/00/095211410012345677")
    assert event.children == (PACK,)
    assert event.child_quantities == (
        Quantity(
            Named("urn:epc:idpat:sgtin:9521141.012345.*", "https://id.gs1.org/01/09521141123454"), 3, None
        ),
    )
    assert [(party.type, party.id.name) for party in event.sources + event.destinations] == [
        ("owning_party", "https://id.gs1.org/417/9521141000007"),
        ("location", "raw:urn:x:1"),
    ]
    assert event.persistent_dispositions_set == ("recalled",)
    assert event.is_error_declaration


def test_every_official_example_can_be_asked_everything(shared):
    questions = [name for name, member in vars(Event).items() if isinstance(member, property)]
    assert len(questions) > 20
    for _, value in shared_events(shared, "gs1-examples", "openepcis/documents", "openepcis/events"):
        for question in questions:
            getattr(Event(value), question)


def test_the_typ_selects_the_reader():
    payload = json.dumps(object_event()).encode()
    assert [(place, event.value) for place, event in read_events(TYP, payload)] == [(0, object_event())]
    assert READERS[TYP].version == 1


def test_an_unknown_typ_is_unverifiable_and_never_empty():
    with pytest.raises(NoReader):
        read_events("epcis-event2+jws", b"{}")
    assert list(event_values("epcis-event2+jws", {})) == []


def test_a_payload_that_is_no_json_is_malformed():
    with pytest.raises(Malformed):
        read_events(TYP, b"{")
