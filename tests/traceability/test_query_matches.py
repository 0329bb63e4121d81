"""Which events answer a query: every family of parameters, in every spelling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tt_epcis import aggregation, object_event, shared_events
from tt_queries import FULL, ask, questions

from traceability.errors import QueryRejected
from traceability.queries.masterdata import Record, Records, records_of
from traceability.queries.matches import matches
from traceability.queries.parameters import parse_json, parse_url
from traceability.queries.terms import groups_of, names_of, terms_of

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EX = "ex=https://ns.example/ex/,two=https://ns.example/two#"
GTIN = "09521141123454"


def answers(question: str, event=FULL, *, extensions: str = EX, **options) -> bool:
    return matches(parse_url(question, extensions=extensions), event, NOW, **options)


@pytest.mark.parametrize("question", list(questions(FULL)))
def test_an_event_answers_every_question_made_of_it(question):
    assert answers(question)
    # And with prefixes that only the event declares, as they are spelled there.
    assert answers(question, extensions="")


# Each of these would be answered but for one thing.
NOT_ANSWERED = (
    "eventType=AggregationEvent",
    "EQ_action=OBSERVE|DELETE",
    "EQ_bizStep=shipping|receiving",
    "EQ_disposition=inactive",
    "EQ_persistentDisposition_set=completeness_inferred",
    "EQ_persistentDisposition_unset=completeness_verified",
    "GE_eventTime=2026-11-05T08:15:00.001Z",
    "LT_eventTime=2026-11-05T08:15:00Z",
    "GE_recordTime=2026-11-20T12:00:01Z",
    "LT_recordTime=2026-11-20T12:00:00Z",
    "EQ_readPoint=urn:epc:id:sgln:9521141.00012.0",
    "EQ_bizLocation=urn:epc:id:sgln:9521141.00012.dock7",
    "WD_bizLocation=urn:epc:id:sgln:9521141.00012.dock7",
    "WD_readPoint=urn:epc:id:sgln:9521141.00013.0",
    "EQ_bizTransaction_inv=urn:epc:id:gdti:9521141.00001.77",
    "EQ_source_location=urn:epc:id:pgln:9521141.00012",
    "EQ_destination_location=urn:epc:id:sgln:9521141.00012.0",
    "EQ_transformationID=urn:epc:id:gdti:9521141.00001.77",
    "MATCH_epc=urn:epc:id:sgtin:9521141.012345.101",
    "MATCH_epc=urn:epc:idpat:sgtin:9521141.012346.*",
    "MATCH_epc=urn:epc:idpat:sgtin:9521142.*.*",
    "MATCH_epc=urn:epc:idpat:sscc:9521141.*",
    "MATCH_parentID=urn:epc:id:sgtin:9521141.012345.100",
    "MATCH_inputEPC=urn:epc:id:sgtin:9521141.012345.100",
    "MATCH_outputEPC=urn:epc:id:sgtin:9521141.012345.100",
    "MATCH_epcClass=urn:epc:class:lgtin:9521141.012345.L2",
    "MATCH_inputEPCClass=urn:epc:class:lgtin:9521141.012345.L1",
    "EQ_quantity=12",
    "GT_quantity=12.5",
    "LT_quantity=3",
    "EQ_quantity_KGM=3",
    "GE_quantity_LBR=1",
    "EQ_eventID=urn:uuid:2f8c2a5e-6ab1-4c53-9d13-2e6a3a1f0a02",
    "EXISTS_errorDeclaration=true",
    "GE_errorDeclarationTime=2020-01-01T00:00:00Z",
    "EQ_errorReason=did_not_occur",
    "EQ_correctiveEventID=urn:uuid:2f8c2a5e-6ab1-4c53-9d13-2e6a3a1f0a01",
    "GE_time=2026-11-05T08:00:01Z",
    "LT_time=2026-11-05T08:00:00Z",
    "GE_startTime=2020-01-01T00:00:00Z",
    "EQ_type=Pressure",
    "EQ_deviceID=urn:epc:id:giai:9521141.8",
    "EQ_stringValue=Fine",
    "EQ_booleanValue=false",
    "GT_value_CEL=4.5",
    "LT_value_CEL=4.5",
    "EQ_value_FAH=4.5",
    "GT_maxValue_CEL=8",
    "GT_percRank=50",
    "EQ_ex:line=8",
    "EQ_two:line=7",
    "GT_two:weight=3.5",
    "EQ_ex:colour=red",  # it is in the ILMD, and within a field
    "EQ_ILMD_ex:colour=red",
    "EQ_INNER_ex:colour=red",
    "EXISTS_ex:leader=true",
    "EQ_INNER_ex:leader=A.%20N.",
    "GT_INNER_ex:since=2026-11-05T05:00:00Z",
    "EQ_SENSORELEMENT_ex:room=cold%202",
    "EQ_SENSORREPORT_ex:room=cold%201",
    "GT_SENSORMETADATA_ex:calibrated=2026-01-01T00:00:00Z",
    "EQ_readPoint_ex:gate=south",
    "EQ_bizLocation_ex:floor=3",
)


@pytest.mark.parametrize("question", NOT_ANSWERED)
def test_what_misses_by_one_thing_is_no_answer(question):
    assert not answers(question)


# Other spellings of what is in the event.
SPELLINGS = (
    "EQ_bizStep=urn:epcglobal:cbv:bizstep:commissioning",
    "EQ_bizStep=https://ref.gs1.org/cbv/BizStep-commissioning",
    "EQ_bizStep=cbv:BizStep-commissioning",
    "EQ_disposition=urn:epcglobal:cbv:disp:active",
    "eventType=https://ref.gs1.org/epcis/ObjectEvent",
    "EQ_type=gs1:Temperature",
    "EQ_readPoint=https://id.gs1.org/414/9521141000120/254/dock7",
    "EQ_bizLocation=https://example.com/414/9521141000120",
    "WD_readPoint=urn:epc:id:sgln:9521141.00012.0",  # a dock lies in its building
    f"MATCH_epc=https://id.gs1.org/01/{GTIN}/21/100",
    "MATCH_epc=urn:epc:id:sgtin:9521141.012345.200",
    f"MATCH_anyEPC=https://id.gs1.org/01/{GTIN}",
    f"MATCH_anyEPC=https://id.gs1.org/01/{GTIN}/21/*",
    "MATCH_anyEPC=urn:epc:idpat:sgtin:*.*.*",
    "MATCH_anyEPC=urn:epc:idpat:sgtin:9521141.*.*",
    f"MATCH_epcClass=https://id.gs1.org/01/{GTIN}",
    f"MATCH_epcClass=https://id.gs1.org/01/{GTIN}/10/L1",
    f"MATCH_epcClass=https://id.gs1.org/01/{GTIN}/10/*",
    "MATCH_epcClass=urn:epc:idpat:lgtin:9521141.012345.*",
    "MATCH_anyEPCClass=urn:epc:idpat:sgtin:9521141.012345.*",
    "MATCH_anyEPC=urn:epc:id:sgtin:9521141.012345.1|urn:epc:idpat:sgtin:9521141.*.*",
    "EQ_bizTransaction_po=https://id.gs1.org/253/952114100001477",
    "EQ_bizTransaction_urn:epcglobal:cbv:btt:po=urn:epc:id:gdti:9521141.00001.77",
    "EQ_source_https://ref.gs1.org/cbv/SDT-owning_party=https://id.gs1.org/417/9521141000120",
    "EQ_deviceID=https://id.gs1.org/8004/95211417",
    "EQ_quantity_KGM=12.50",
    "EQ_quantity=1.25e1",
    "EQ_ex:line=7.0",
    "EQ_two:weight=3.50",
    "EQ_ILMD_urn:epcglobal:cbv:mda#lotNumber=L1",
    "EQ_ILMD_urn:epcglobal:cbv:mda:lotNumber=L1",
    "EQ_https://ns.example/ex/line=7",
    "EQ_https://ns.example/ex/#line=7",
    "EQ_https://ns.example/two#weight=3.5",
    "EQ_INNER_ex:since=2026-11-05T05:00:00Z",
    "GE_INNER_ex:since=2026-11-05T05:00:00Z",
    "EQ_INNER_ILMD_two:size=2",
    "GE_INNER_ILMD_two:size=1",
    "GE_eventTime=2026-11-05T09:15:00+01:00",
)


@pytest.mark.parametrize("question", SPELLINGS)
def test_all_spellings_of_one_thing_are_equal(question):
    name, _, value = question.partition("=")
    assert answers(ask(name, value))


@pytest.mark.parametrize("question", [*NOT_ANSWERED, *SPELLINGS, *questions(FULL)])
def test_an_index_misses_no_answer(question):
    query = parse_url(question, extensions=EX)
    held = terms_of(FULL)
    if matches(query, FULL, NOW):
        assert all(group & held for group in groups_of(query))


def test_the_sense_of_each_comparison():
    event = object_event(quantityList=[{"epcClass": "urn:epc:class:lgtin:9521141.012345.L1", "quantity": 10}])
    for operator, true_of in (("EQ", {10}), ("GT", {9}), ("GE", {9, 10}), ("LT", {11}), ("LE", {10, 11})):
        assert {n for n in (9, 10, 11) if answers(f"{operator}_quantity={n}", event)} == true_of


def test_every_filter_must_hold_and_any_value_of_it_may():
    assert answers("EQ_bizStep=shipping|commissioning&EQ_action=ADD")
    assert not answers("EQ_bizStep=shipping|commissioning&EQ_action=DELETE")


def test_false_asks_for_nothing():
    assert answers("EXISTS_errorDeclaration=false")
    assert matches(parse_json({"EXISTS_ex:nothing": False}), FULL, NOW)
    assert not matches(parse_json({"EXISTS_ex:nothing": None}), FULL, NOW)


def test_a_parent_and_children_are_found_where_they_stand():
    event = aggregation("ADD", "urn:epc:id:sscc:9521141.0123456789", "urn:epc:id:sgtin:9521141.012345.1")
    assert answers("MATCH_parentID=urn:epc:idpat:sscc:9521141.*", event)
    assert answers("MATCH_epc=urn:epc:id:sgtin:9521141.012345.1", event)
    assert not answers("MATCH_epc=urn:epc:id:sscc:9521141.0123456789", event)
    assert answers("MATCH_anyEPC=urn:epc:id:sscc:9521141.0123456789", event)


@pytest.mark.parametrize(
    ("pattern", "epc"),
    [
        ("sscc:9521141.*", "urn:epc:id:sscc:9521141.0123456789"),
        ("sgln:9521141.00012.*", "urn:epc:id:sgln:9521141.00012.a"),
        ("sgln:9521141.00012.*", "urn:epc:id:sgln:9521141.00012.0"),
        ("grai:9521141.12345.*", "urn:epc:id:grai:9521141.12345.a"),
        ("grai:9521141.*.*", "urn:epc:id:grai:9521141.12345.a"),
        ("giai:9521141.*", "urn:epc:id:giai:9521141.a%2Fb"),
        ("gsrn:9521141.*", "urn:epc:id:gsrn:9521141.0123456789"),
        ("gdti:9521141.12345.*", "urn:epc:id:gdti:9521141.12345.7"),
        ("cpi:9521141.ABC.*", "urn:epc:id:cpi:9521141.ABC.7"),
        ("cpi:9521141.*.*", "urn:epc:id:cpi:9521141.ABC.7"),
        ("sgcn:9521141.12345.*", "urn:epc:id:sgcn:9521141.12345.7"),
        ("itip:9521141.012345.01.02.*", "urn:epc:id:itip:9521141.012345.01.02.7"),
        ("itip:9521141.012345.*.*.*", "urn:epc:id:itip:9521141.012345.01.02.7"),
        ("upui:9521141.012345.*", "urn:epc:id:upui:9521141.012345.x"),
        ("gid:952.*.*", "urn:epc:id:gid:952.1.2"),
        ("gid:952.1.*", "urn:epc:id:gid:952.1.2"),
        ("sgtin:952114.*.*", "https://example.com/01/09521141123454/21/7"),
    ],
)
def test_patterns_of_every_scheme(pattern, epc):
    event = object_event(epc)
    query = parse_url(ask("MATCH_epc", f"urn:epc:idpat:{pattern}"))
    assert matches(query, event, NOW)
    assert all(group & terms_of(event) for group in groups_of(query))
    others = (
        "urn:epc:id:sgtin:9531141.012345.1",
        "urn:epc:id:sscc:9531141.0123456789",
        "urn:epc:id:gid:953.1.2",
    )
    assert not any(matches(query, object_event(other), NOW) for other in others)


def test_a_name_is_left_to_the_ledgers_index_and_a_pattern_is_not():
    query = parse_url("MATCH_epc=urn:epc:id:sgtin:9521141.012345.1")
    assert names_of(query.filters[0]) == [f"https://id.gs1.org/01/{GTIN}/21/1"]
    assert names_of(parse_url("MATCH_epc=urn:epc:idpat:sgtin:9521141.*.*").filters[0]) is None


def test_an_assigned_event_id_is_found_and_the_events_own_stands_above_it():
    plain = object_event()
    assert answers("EQ_eventID=ni:///x", plain, event_id="ni:///x")
    assert not answers("EQ_eventID=ni:///x", FULL, event_id="ni:///x")


DOCUMENT = {
    "@context": [CONTEXT := "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
    "epcisHeader": {
        "epcisMasterData": {
            "vocabularyList": [
                {
                    "type": "urn:epcglobal:epcis:vtype:BusinessLocation",
                    "vocabularyElementList": [
                        {
                            "id": "urn:epc:id:sgln:9521141.00001.0",
                            "attributes": [{"id": "cbvmda:city", "attribute": "Berlin"}],
                            "children": ["urn:epc:id:sgln:9521141.00011.0"],
                        },
                        {
                            "id": "urn:epc:id:sgln:9521141.00011.0",
                            "children": [
                                "https://id.gs1.org/414/9521141000120",
                                "urn:epc:id:sgln:9521141.00001.0",
                            ],
                        },
                        {
                            "id": "urn:epc:id:sgln:9521141.00012.0",
                            "attributes": [
                                {"id": "urn:epcglobal:cbv:mda#city", "attribute": "Potsdam"},
                                {"id": "cbvmda:latitude", "attribute": 52.4},
                            ],
                        },
                    ],
                }
            ]
        }
    },
}


@pytest.fixture(scope="module")
def master() -> Records:
    records = Records()
    records.add(records_of(DOCUMENT))
    return records


def test_places_within_places(master):
    for place in ("9521141.00001.0", "9521141.00011.0", "9521141.00012.0"):
        question = f"WD_bizLocation=urn:epc:id:sgln:{place}"
        assert answers(question, master=master)
        assert answers(
            question.replace("bizLocation", "readPoint"), master=master
        )  # and docks of what is below
        assert all(group & terms_of(FULL) for group in groups_of(parse_url(question), master))
    assert not answers("WD_bizLocation=urn:epc:id:sgln:9521141.00013.0", master=master)
    assert not answers("EQ_bizLocation=urn:epc:id:sgln:9521141.00001.0", master=master)


def test_attributes_of_master_data(master):
    assert answers("HASATTR_bizLocation=cbvmda:city", master=master)
    assert answers("HASATTR_bizLocation=urn:epcglobal:cbv:mda%23city|cbvmda:street", master=master)
    assert not answers("HASATTR_bizLocation=cbvmda:street", master=master)
    assert not answers("HASATTR_readPoint=cbvmda:city", master=master)
    assert answers("EQ_ATTR_bizLocation_cbvmda:city=Berlin|Potsdam", master=master)
    assert answers("EQATTR_bizLocation_cbvmda:latitude=52.40", master=master)
    assert not answers("EQ_ATTR_bizLocation_cbvmda:city=Berlin", master=master)


def test_master_data_that_goes_round_or_is_no_such_thing():
    records = Records({"a": Record("t", "a", {}, ("b",)), "b": Record("t", "b", {}, ("a", "b"))})
    assert records.descendants("a") == {"b"}
    for nonsense in (
        None,
        [],
        {"epcisHeader": 1},
        {"epcisHeader": {"epcisMasterData": {"vocabularyList": [1, {}]}}},
    ):
        assert list(records_of(nonsense)) == []


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"type": 1, "bizStep": [], "eventTime": None, "epcList": "x", "quantityList": {"quantity": "many"}},
        {"readPoint": "x", "sensorElementList": [1, {"sensorReport": 2, "sensorMetadata": "x"}], "ilmd": 3},
        {"errorDeclaration": [], "persistentDisposition": 1, "sourceList": [{}, 1], "parentID": 7},
    ],
)
def test_an_event_with_holes_answers_less_and_breaks_nothing(broken):
    terms_of(broken)
    for question in (*NOT_ANSWERED, *SPELLINGS, *questions(FULL)):
        name, _, value = question.partition("=")
        query = parse_url(question if "%" in question else ask(name, value), extensions=EX)
        if matches(query, broken, NOW):
            assert all(group & terms_of(broken) for group in groups_of(query))


def test_official_examples_answer_every_question_made_of_them(shared):
    asked = refused = 0
    for label, event in shared_events(shared, "gs1-examples", "openepcis/documents", "openepcis/events"):
        held = terms_of(event)
        for question in questions(event):
            try:
                query = parse_url(question)
            except QueryRejected:
                refused += 1  # an identifier that breaks a rule of GS1's
                continue
            asked += 1
            assert matches(query, event, NOW + timedelta(days=1)), (label, question)
            assert all(group & held for group in groups_of(query)), (label, question)
    assert asked > 2_000
    assert refused < asked / 20, refused
