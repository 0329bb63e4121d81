"""EPCIS events: what GS1 shows is accepted, what is wrong is refused with every reason and its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from tt_epcis import CONTEXT, aggregation, object_event, shared_events

from traceability.epcis.run import FAULTS_MAX
from traceability.epcis.validate import EVENT_TIME_AHEAD_MAX, read_event, validate_event
from traceability.errors import EventRejected

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LOGGED = {"sensorMetadata": {}, "sensorReport": [{"type": "Temperature", "value": 5, "uom": "CEL"}]}


def _codes(event, **options):
    return [(fault.pointer, fault.code) for fault in validate_event(event, **options)]


def test_every_official_example_is_accepted(shared):
    events = shared_events(shared, "gs1-examples", "openepcis/documents", "openepcis/events", "event-hash")
    assert len(events) > 100
    assert {name: _codes(event) for name, event in events if _codes(event)} == {}


def test_every_official_bad_example_is_refused_at_its_place(shared):
    found = {name: _codes(event) for name, event in shared_events(shared, "openepcis/invalid")}
    assert found == {
        "Combination_of_events_with_missing_mandatory_fields.json#0": [("", "epcis.required")],
        "Combination_of_events_with_missing_mandatory_fields.json#1": [("", "epcis.required")] * 2,
        "Combination_of_non_standard_bizStep_and_disposition.json#0": [("/bizStep", "epcis.word")],
        "Combination_of_non_standard_bizStep_and_disposition.json#1": [("/disposition", "epcis.word")],
        "ObjectEvent_with_ilmd_field_without_namespace.json#0": [("/ilmd/materialType", "epcis.field")],
        "ObjectEvent_with_invalid_certificationInfo.json#0": [
            ("/certificationInfo/0", "epcis.kind"),
            ("/certificationInfo/1", "epcis.kind"),
        ],
        "ObjectEvent_with_non_standard_bizStep.json#0": [("/bizStep", "epcis.word")],
        "ObjectEvent_with_non_standard_disposition.json#0": [("/disposition", "epcis.word")],
        "ObjectEvent_with_unknown_field_in_quantityList.json#0": [("/quantityList/0/weight", "epcis.field")],
        "ObjectEvent_without_identifier_list.json#0": [("", "epcis.what")],
    }


PACK = "urn:epc:id:sgtin:9521141.012345.100"
CASE = "urn:epc:id:sscc:9521141.0001234567"
LOT = "urn:epc:class:lgtin:9521141.012345.L1"
BAD_LINK = "https://shop.example/01/09521141123455/21/1"

ACCEPTED = {
    "plain": object_event(),
    "one context": object_event(**{"@context": CONTEXT}),
    "a reading of a place, with an empty list": object_event(epcList=[], sensorElementList=[LOGGED]),
    "a transaction about a box as a whole": object_event(
        type="TransactionEvent",
        epcList=[],
        parentID="urn:x:1",
        bizTransactionList=[{"bizTransaction": "urn:x:2"}],
    ),
    "a step by its short name": object_event(bizStep="cbv:BizStep-shipping"),
    "a word of one's own under GS1's prefix": object_event(
        sourceList=[{"type": "cbv:my_own_party", "source": "urn:x:1"}]
    ),
    "only quantities": object_event(
        epcList=None, quantityList=[{"epcClass": LOT, "quantity": 0.5, "uom": "KGM"}]
    ),
    "only a reading": object_event(epcList=None, sensorElementList=[LOGGED]),
    "names of one's own": object_event(
        "https://maker.example/things/7", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
    ),
    "other EPC schemes": object_event("urn:epc:id:gid:95100000.12345.400"),
    "a step of one's own": object_event(bizStep="https://maker.example/steps/blending"),
    "a step by its web address": object_event(bizStep="https://ref.gs1.org/cbv/BizStep-shipping"),
    "ilmd at birth": object_event(
        action="ADD", ilmd={"cbvmda:lotNumber": "L1", "https://maker.example/x": [1]}
    ),
    "own field": object_event(
        **{"@context": [CONTEXT, {"ex": "https://ex.example/"}], "ex:a": {"ex:b": [{"ex:c": 1}]}}
    ),
    "a foreign context may declare all": object_event(
        **{"@context": [CONTEXT, "https://ex.example/c"], "ex:a": 1}
    ),
    "a context within a field": object_event(
        **{"https://ex.example/a": {"@context": {"in": "https://x.example/"}, "in:b": 1}}
    ),
    "an event type of one's own": object_event(
        **{"@context": {"ex": "https://e.example/"}, "type": "ex:WeighingEvent"}
    ),
    "an observed box without a name": aggregation("OBSERVE", None, PACK),
    "emptying a box": aggregation("DELETE", CASE),
    "leap second": object_event(eventTime="2016-12-31T23:59:60Z"),
    "the last day of a long month": object_event(eventTime="2026-12-31T08:15:00+14:00"),
    "transformation in two halves": object_event(
        type="TransformationEvent", epcList=None, action=None, inputEPCList=[PACK], transformationID="urn:x:1"
    ),
    "lasting disposition": object_event(persistentDisposition={"set": ["recalled"], "unset": ["available"]}),
    "error declaration": object_event(
        errorDeclaration={"declarationTime": "2026-11-05T08:15:00Z", "reason": "did_not_occur"}
    ),
}

REFUSED = {
    "no context": (object_event(**{"@context": None}), [("", "epcis.context")]),
    "a context that is a number": (object_event(**{"@context": 1}), [("/@context", "epcis.context")]),
    "a context twice": (
        object_event(**{"@context": [CONTEXT, CONTEXT]}),
        [("/@context/1", "epcis.duplicate")],
    ),
    "no type": (object_event(type=None), [("", "epcis.type")]),
    "no such type": (object_event(type="QuantityEvent"), [("/type", "epcis.type")]),
    "a type that is a list": (object_event(type=["ObjectEvent"]), [("/type", "epcis.type")]),
    "a type of an undeclared namespace": (object_event(type="ex:WeighingEvent"), [("/type", "epcis.prefix")]),
    "no time": (object_event(eventTime=None), [("", "epcis.required")]),
    "a time without zone": (object_event(eventTime="2026-11-05T08:15:00"), [("/eventTime", "epcis.time")]),
    "30 February": (object_event(eventTime="2026-02-30T08:15:00Z"), [("/eventTime", "epcis.time")]),
    "the year 0": (object_event(eventTime="0000-01-01T08:15:00Z"), [("/eventTime", "epcis.time")]),
    "a time beyond the calendar": (
        object_event(eventTime="0001-01-01T00:00:00+01:00"),
        [("/eventTime", "epcis.time")],
    ),
    "a time in other digits": (
        object_event(eventTime="２026-11-05T08:15:00Z"),
        [("/eventTime", "epcis.time")],
    ),
    "a second too many": (object_event(eventTime="2026-11-05T08:15:60Z"), [("/eventTime", "epcis.time")]),
    "a number for a time": (object_event(eventTime=1), [("/eventTime", "epcis.kind")]),
    "an offset beyond +14": (
        object_event(eventTimeZoneOffset="+14:30"),
        [("/eventTimeZoneOffset", "epcis.offset")],
    ),
    "an offset with a line end": (
        object_event(eventTimeZoneOffset="+01:00\n"),
        [("/eventTimeZoneOffset", "epcis.offset")],
    ),
    "no action": (object_event(action=None), [("", "epcis.required")]),
    "an action in lower case": (object_event(action="add"), [("/action", "epcis.action")]),
    "an identifier that is no URI": (object_event("pack 7"), [("/epcList/0", "epcis.uri")]),
    "a wrong check digit": (object_event(PACK, BAD_LINK), [("/epcList/1", "gs1.check-digit")]),
    "a malformed EPC": (object_event("urn:epc:id:sgtin:9521141.012345"), [("/epcList/0", "gs1.urn")]),
    "an EPC in capitals": (object_event("urn:epc:ID:SGTIN:9521141.012345.1"), [("/epcList/0", "gs1.scheme")]),
    "an EPC twice": (object_event(PACK, CASE, PACK), [("/epcList/2", "epcis.duplicate")]),
    "EPCs not in a list": (object_event(epcList=PACK), [("/epcList", "epcis.kind")]),
    "an EPC that is an object": (object_event(epcList=[{"id": PACK}]), [("/epcList/0", "epcis.kind")]),
    "a unit without a quantity": (
        object_event(quantityList=[{"epcClass": LOT, "uom": "KGM"}]),
        [("/quantityList/0/uom", "epcis.uom")],
    ),
    "a list of nothing": (object_event(epcList=[]), [("", "epcis.what")]),
    "two lists of nothing": (object_event(epcList=[], quantityList=[]), [("", "epcis.what")]),
    "a transaction about nothing": (
        object_event(type="TransactionEvent", epcList=[], bizTransactionList=[{"bizTransaction": "urn:x:2"}]),
        [("", "epcis.what")],
    ),
    "a step that CBV does not have": (
        object_event(bizStep="https://ref.gs1.org/cbv/BizStep-brewing"),
        [("/bizStep", "epcis.word")],
    ),
    "a disposition that CBV does not have": (
        object_event(disposition="cbv:Disp-lost"),
        [("/disposition", "epcis.word")],
    ),
    "an empty quantity list": (object_event(epcList=None, quantityList=[]), [("", "epcis.what")]),
    "a reading without a place": (
        object_event(epcList=None, readPoint=None, sensorElementList=[LOGGED]),
        [("", "epcis.what")],
    ),
    "less than nothing": (
        object_event(quantityList=[{"epcClass": LOT, "quantity": -1}]),
        [("/quantityList/0/quantity", "epcis.quantity")],
    ),
    "a quantity that is a boolean": (
        object_event(quantityList=[{"epcClass": LOT, "quantity": True}]),
        [("/quantityList/0/quantity", "epcis.kind")],
    ),
    "a unit in lower case": (
        object_event(quantityList=[{"epcClass": LOT, "quantity": 1, "uom": "kgm"}]),
        [("/quantityList/0/uom", "epcis.uom")],
    ),
    "a quantity of nothing": (
        object_event(quantityList=[{"quantity": 1}]),
        [("/quantityList/0", "epcis.required")],
    ),
    "a step by its URN": (
        object_event(bizStep="urn:epcglobal:cbv:bizstep:shipping"),
        [("/bizStep", "epcis.spelling")],
    ),
    "a place without id": (object_event(readPoint={"name": "dock"}), [("/readPoint", "epcis.required")]),
    "a place with a wrong check digit": (
        object_event(readPoint={"id": "https://id.gs1.org/414/9521141000121"}),
        [("/readPoint/id", "gs1.check-digit")],
    ),
    "a transaction with more": (
        object_event(bizTransactionList=[{"bizTransaction": "urn:x:1", "date": "today"}]),
        [("/bizTransactionList/0/date", "epcis.field")],
    ),
    "a source without type": (
        object_event(sourceList=[{"source": CASE}]),
        [("/sourceList/0", "epcis.required")],
    ),
    "a sensor without a report": (
        object_event(sensorElementList=[{}]),
        [("/sensorElementList/0", "epcis.required")],
    ),
    "a sensor with no readings": (
        object_event(sensorElementList=[{"sensorReport": []}]),
        [("/sensorElementList/0/sensorReport", "epcis.empty")],
    ),
    "a reading of something unknown": (
        object_event(sensorElementList=[{"sensorReport": [{"type": "Mood", "hexBinaryValue": "xyz"}]}]),
        [
            ("/sensorElementList/0/sensorReport/0/type", "epcis.word"),
            ("/sensorElementList/0/sensorReport/0/hexBinaryValue", "epcis.hex"),
        ],
    ),
    "ilmd for what exists already": (
        object_event(ilmd={"cbvmda:lotNumber": "L1"}),
        [("/ilmd", "epcis.ilmd")],
    ),
    "an unknown field": (object_event(bizstep="shipping"), [("/bizstep", "epcis.field")]),
    "another type's field": (object_event(childEPCs=[PACK]), [("/childEPCs", "epcis.field")]),
    "an undeclared prefix": (object_event(**{"zz:foo": 1}), [("/zz:foo", "epcis.prefix")]),
    "an undeclared prefix deep inside": (
        object_event(**{"https://ex.example/a": [{"zz:b/~": 1}]}),
        [("/https:~1~1ex.example~1a/0/zz:b~1~0", "epcis.prefix")],
    ),
    "a prefix declared beside, not above": (
        object_event(**{"https://ex.example/a": {"@context": {"in": "https://x.example/"}}, "in:b": 1}),
        [("/in:b", "epcis.prefix")],
    ),
    "a name that is no URI": (object_event(**{"ex:a b": 1}), [("/ex:a b", "epcis.name")]),
    "packing into nothing": (aggregation("ADD", None, PACK), [("", "epcis.parent")]),
    "unpacking from nothing": (aggregation("DELETE", None, PACK), [("", "epcis.parent")]),
    "packing nothing": (aggregation("ADD", CASE), [("", "epcis.what")]),
    "a bond without a parent": (
        aggregation("OBSERVE", None, PACK, type="AssociationEvent"),
        [("", "epcis.parent")],
    ),
    "a transaction of nothing": (
        object_event(type="TransactionEvent", epcList=None),
        [("", "epcis.required"), ("", "epcis.what")],
    ),
    "a transformation from nothing": (
        object_event(type="TransformationEvent", epcList=None, action=None, outputEPCList=[PACK]),
        [("", "epcis.what")],
    ),
    "an action in a transformation": (
        object_event(type="TransformationEvent", epcList=None, inputEPCList=[PACK], outputEPCList=[CASE]),
        [("/action", "epcis.field")],
    ),
    "a lasting disposition that is empty": (
        object_event(persistentDisposition={"set": []}),
        [("/persistentDisposition/set", "epcis.empty")],
    ),
    "a lasting disposition that says nothing": (
        object_event(persistentDisposition={}),
        [("/persistentDisposition", "epcis.required")],
    ),
    "an error without its time": (
        object_event(errorDeclaration={}),
        [("/errorDeclaration", "epcis.required")],
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_good_event_has_no_fault(case):
    assert _codes(ACCEPTED[case]) == []


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_event_is_refused_for_this_and_nothing_else(case):
    event, expected = REFUSED[case]
    assert _codes(event) == expected


@pytest.mark.parametrize("case", REFUSED)
def test_every_fault_says_how_to_put_it_right(case):
    for fault in validate_event(REFUSED[case][0]):
        assert fault.detail
        assert len(fault.detail) < 400
        assert fault.fix.endswith(".") or fault.fix.endswith("…")


def test_all_faults_are_reported_in_the_order_of_the_event():
    event = object_event(
        BAD_LINK,
        eventTime="yesterday",
        bizStep="transforming",
        disposition=3,
        readPoint={"id": "x"},
        **{"zz:a": 1},
    )
    assert [pointer for pointer, _ in _codes(event)] == [
        "/eventTime", "/epcList/0", "/bizStep", "/readPoint/id", "/disposition", "/zz:a",
    ]  # fmt: skip


def test_ten_thousand_faults_are_counted_and_no_more_are_listed():
    faults = validate_event(object_event(epcList=["no uri"] * (FAULTS_MAX + 5)))
    assert len(faults) == FAULTS_MAX + 1
    assert faults[-1].code == "epcis.faults"
    # Every entry is no URI, and all but the first are duplicates as well.
    assert faults[-1].detail.startswith(f"{FAULTS_MAX + 9} more")


@pytest.mark.parametrize("event", [None, 1, "event", [], True])
def test_what_is_no_object_is_no_event(event):
    assert _codes(event) == [("", "epcis.object")]


def test_an_event_that_is_still_to_come_is_refused_when_the_time_is_known():
    event = object_event(eventTime="2026-11-20T13:11:00+01:00")  # 12:11 UTC
    assert _codes(event) == []
    assert _codes(event, now=NOW) == [("/eventTime", "epcis.time.future")]
    assert _codes(event, now=NOW + timedelta(minutes=2)) == []
    assert timedelta(minutes=1) < EVENT_TIME_AHEAD_MAX < timedelta(hours=1)


def test_within_a_document_an_event_borrows_its_context():
    event = object_event(**{"@context": None, "ex:a": 1})
    assert _codes(event, document_context=[CONTEXT, {"ex": "https://ex.example/"}]) == []
    assert _codes(event, document_context=CONTEXT) == [("/ex:a", "epcis.prefix")]


def _payload(event):
    return json.dumps(event, separators=(",", ":")).encode()


def test_reading_gives_the_event_as_it_was_signed():
    event = object_event()
    assert read_event(_payload(event)).value == event


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b'{"type":"ObjectEvent","type":"ObjectEvent"}', "json.duplicate"),
        (b"\xef\xbb\xbf{}", "json.encoding"),
        (b'{"a":NaN}', "json.number"),
        (b'{"a":12345678901234567890}', "json.number"),
        (b'{"a":"\\ud800"}', "json.string"),
        (b"[" * 100 + b"]" * 100, "json.depth"),
        (b" " * 1_048_577, "json.size"),
        (b"", "json.syntax"),
        (b'{"type":"ObjectEvent"', "json.syntax"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(payload, code):
    with pytest.raises(EventRejected) as caught:
        read_event(payload)
    assert [fault.code for fault in caught.value.faults] == [code]


def test_a_rejection_speaks_for_all_its_faults():
    with pytest.raises(EventRejected, match=r"and 1 more") as caught:
        read_event(_payload(object_event(BAD_LINK, bizStep="x")))
    assert caught.value.pointer == "/epcList/0"
    assert [fault.code for fault in caught.value.faults] == ["gs1.check-digit", "epcis.word"]


def test_a_megabyte_of_brackets_and_names_is_judged_in_reasonable_time():
    event = object_event(**{"https://ex.example/a": {f"zz:{i}": {} for i in range(40_000)}})
    assert len(validate_event(event)) == FAULTS_MAX + 1


@pytest.mark.parametrize(
    ("type_", "called"),
    [("TransformationEvent", "a TransformationEvent"), ("AssociationEvent", "an AssociationEvent")],
)
def test_an_event_is_called_by_its_type_in_plain_english(type_, called):
    faults = validate_event(object_event(type=type_, colour=1))
    assert f"{called} has no field 'colour'" in [fault.detail for fault in faults]
