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


FULL = object_event(
    **{
        "@context": [
            "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
            {
                "ex": "https://ex.example/epcis/",
                "sub": "ex:sub/",
                "ex:term": {"@id": "https://other.example/#t"},
            },
        ],
        "certificationInfo": ["https://cert.example/1", "https://cert.example/2"],
        "bizTransactionList": [
            {"type": "https://ref.gs1.org/cbv/BTT-po", "bizTransaction": "urn:x:po"},
            {"bizTransaction": "https://id.gs1.org/414/9521141000120"},
        ],
        "persistentDisposition": {"set": ["cbv:Disp-recalled"], "unset": ["available"]},
        "errorDeclaration": {
            "declarationTime": "2026-11-06T08:15:00+01:00",
            "reason": "cbv:ER-incorrect_data",
            "correctiveEventIDs": ["urn:uuid:1"],
            "ex:by": "QA",
        },
        "sensorElementList": [
            {
                "sensorMetadata": {"time": "2026-11-05T08:00:00Z", "deviceID": "urn:epc:id:giai:9521141.T1"},
                "sensorReport": [
                    {
                        "type": "gs1:Temperature",
                        "value": 5.5,
                        "uom": "CEL",
                        "exception": "gs1:ALARM_CONDITION",
                    },
                    {"type": "ex:Mood", "component": "cbv:Comp-latitude", "time": "2026-11-05T08:01:00Z"},
                ],
                "ex:probe": 7,
            }
        ],
        "sub:a": {"ex:b": 1},
        "ex:term": 2,
        "https://whole.example/x#c": 3,
        "urn:own:thing": 4,
        "ilmd": None,
    }
)


def test_every_other_field_of_the_standard_has_a_view():
    event = Event(FULL)
    assert event.certifications == ("https://cert.example/1", "https://cert.example/2")
    assert Event(object_event(certificationInfo="urn:x:1")).certifications == ("urn:x:1",)
    assert [(t.type, t.id.name) for t in event.biz_transactions] == [
        ("po", "raw:urn:x:po"),
        (None, "https://id.gs1.org/414/9521141000120"),
    ]
    assert event.persistent_dispositions_set == ("recalled",)
    assert event.persistent_dispositions_unset == ("available",)
    declared = event.error_declaration
    assert event.is_error_declaration
    assert declared.declaration_time == datetime(2026, 11, 6, 7, 15, tzinfo=UTC)
    assert (declared.reason, declared.corrective_event_ids) == ("incorrect_data", ("urn:uuid:1",))
    assert declared.extensions == (("https://ex.example/epcis/", "by", "ex:by", "QA"),)


def test_a_reading_inherits_from_its_element():
    (element,) = Event(FULL).sensor_elements
    warm, mood = element.reports
    assert (warm.type, warm.exception, warm.component) == ("Temperature", "ALARM_CONDITION", None)
    assert (mood.type, mood.component) == ("ex:Mood", "latitude")
    assert warm.said("time") == "2026-11-05T08:00:00Z"
    assert mood.said("time") == "2026-11-05T08:01:00Z"
    assert warm.said("deviceID") == mood.said("deviceID") == "urn:epc:id:giai:9521141.T1"
    assert warm.said("bizRules") is None
    assert [extension.local for extension in element.extensions] == ["probe"]


def test_extensions_stand_in_their_namespaces():
    assert Event(FULL).extensions == (
        ("https://ex.example/epcis/sub/", "a", "sub:a", {"ex:b": 1}),
        ("https://other.example/#", "t", "ex:term", 2),
        ("https://whole.example/x#", "c", "https://whole.example/x#c", 3),
        ("urn:own:", "thing", "urn:own:thing", 4),
    )


def test_a_prefix_may_be_the_documents_and_an_unknown_one_has_no_namespace():
    event = Event(object_event(**{"ex:a": 1, "zz:b": 2}), {"ex": "https://ex.example/"})
    assert [(e.namespace, e.local) for e in event.extensions] == [("https://ex.example/", "a"), (None, "b")]


def test_a_context_that_document_and_event_share_is_named_once():
    base, one, two = (
        "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
        {"a": "urn:1"},
        {"a": "urn:2"},
    )
    for outer, own, joined in (
        ([base, one], [base, two], [base, one, two]),
        ([base, one], [two, one], [base, two, one]),
        (base, [base, one], [base, one]),
        ([base, one, two], [one], [base, two, one]),
        ([base], one, [base, one]),
    ):
        event = Event(object_event(**{"@context": own}), document_context=outer)
        assert event.bare_value["@context"] == joined


def test_a_part_with_its_own_context_has_its_own_namespaces():
    event = Event(object_event(**{"@context": {"ex": "https://a.example/"}}))
    part = {"@context": {"ex": "https://b.example/"}, "ex:x": 1, "cbvmda:lotNumber": "L1", "bare": 2}
    assert [(e.namespace, e.local) for e in event.namespaces.extensions(part)] == [
        ("https://b.example/", "x"),
        ("urn:epcglobal:cbv:mda:", "lotNumber"),
        (None, "bare"),
    ]


def test_every_view_of_every_official_event_can_be_taken(shared):
    views = [name for name, value in vars(Event).items() if isinstance(value, property)]
    assert len(views) > 30
    for _, event in shared_events(shared, "gs1-examples", "openepcis/documents", "event-hash"):
        for view in views:
            getattr(Event(event), view)
        for element in Event(event).sensor_elements:
            assert [(r.type, r.exception, r.component) for r in element.reports]
