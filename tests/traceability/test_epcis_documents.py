"""Whole documents: every fault of every event, with pointers into the document, and a bound on all of it."""

from __future__ import annotations

import json
import time
import tracemalloc
from datetime import UTC, datetime

import pytest
from tt_epcis import CONTEXT, DOCUMENTS, aggregation, object_event

from traceability.epcis.run import FAULTS_MAX
from traceability.epcis.validate import validate, validate_document, validate_event
from traceability.errors import EventFault

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PACK = "urn:epc:id:sgtin:9521141.012345.100"


def bare(event):
    return {name: event[name] for name in event if name != "@context"} if isinstance(event, dict) else event


def document(*events, **members):
    made = {
        "@context": [CONTEXT, {"ex": "https://ex.example/"}],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-11-20T08:15:00Z",
        "epcisBody": {"eventList": [bare(event) for event in events]},
        **members,
    }
    return {name: value for name, value in made.items() if value is not None}


def query_document(*events, **members):
    body = {"queryName": "mine", "resultsBody": {"eventList": [bare(event) for event in events]}}
    return document(**{"type": "EPCISQueryDocument", "epcisBody": {"queryResults": body}, **members})


def codes(value, **options):
    return [(fault.pointer, fault.code) for fault in validate_document(value, **options)]


def test_every_official_document_is_accepted(shared):
    seen = 0
    for folder in ("gs1-examples", "openepcis/documents", "event-hash"):
        for path in sorted((shared / "epcis" / folder).rglob("*.json*")):
            value = json.loads(path.read_bytes())
            if value.get("type") in DOCUMENTS:
                seen += 1
                assert codes(value, now=NOW) == [], path.name
    assert seen > 60


def test_every_official_bad_document_is_refused(shared):
    for path in sorted((shared / "epcis/openepcis/invalid").glob("*.json")):
        faults = validate_document(json.loads(path.read_bytes()), now=NOW)
        assert faults, path.name
        assert all(fault.pointer.startswith("/epcisBody/eventList/") for fault in faults)


@pytest.mark.parametrize("make", [document, query_document])
def test_an_events_prefixes_may_be_declared_by_the_document_or_by_itself(make):
    own = object_event(**{"ex:a": 1})
    assert codes(make(own)) == []
    inner = make(object_event())
    events = inner["epcisBody"]
    events = events.get("queryResults", {}).get("resultsBody", events)["eventList"]
    events[0] |= {"@context": {"in": "https://in.example/"}, "in:a": 1, "ex:b": 2}
    assert codes(inner) == []
    events.append({**bare(object_event()), "in:a": 1})
    assert [code for _, code in codes(inner)] == ["epcis.prefix"], "a context holds for its own event alone"


def test_all_faults_of_all_events_are_reported_where_they_are():
    value = document(
        object_event(bizStep="shiping", eventTime="2027-01-01T00:00:00Z"),
        object_event(),
        aggregation("ADD", None, PACK, ilmd={}),
        7,
        schemaVersion="two",
        creationDate=None,
        sender=9,
        route="x",
        epcisHeader={"epcisMasterData": {"vocabularyList": [{"vocabularyElementList": [{"id": "a b"}]}]}},
    )
    at = "/epcisBody/eventList"
    assert sorted(codes(value, now=NOW)) == sorted(
        [
            (f"{at}/0/bizStep", "epcis.word"),
            (f"{at}/0/eventTime", "epcis.time.future"),
            (f"{at}/2/ilmd", "epcis.field"),
            (f"{at}/2", "epcis.parent"),
            (f"{at}/3", "epcis.object"),
            ("/schemaVersion", "epcis.version"),
            ("", "epcis.required"),
            ("/sender", "epcis.kind"),
            ("/route", "epcis.field"),
            ("/epcisHeader/epcisMasterData/vocabularyList/0", "epcis.required"),
            ("/epcisHeader/epcisMasterData/vocabularyList/0/vocabularyElementList/0/id", "epcis.uri"),
        ]
    )


REFUSED = {
    "a list": ([], [("", "epcis.type")]),
    "nothing": (None, [("", "epcis.type")]),
    "an event": (object_event(), [("/type", "epcis.type")]),
    "no type": (document(type=None), [("", "epcis.type")]),
    "a type that is a list": (document(type=["EPCISDocument"]), [("/type", "epcis.type")]),
    "no context": (document(**{"@context": None}), [("", "epcis.required")]),
    "no body": (document(epcisBody=None), [("", "epcis.required")]),
    "a body that is a list": (document(epcisBody=[]), [("/epcisBody", "epcis.kind")]),
    "no list of events": (document(epcisBody={}), [("/epcisBody", "epcis.required")]),
    "one event in place of a list": (
        document(epcisBody={"eventList": bare(object_event())}),
        [("/epcisBody/eventList", "epcis.kind")],
    ),
    "an undeclared prefix": (document(**{"zz:a": 1}), [("/zz:a", "epcis.prefix")]),
    "an undeclared prefix in the header": (
        document(epcisHeader={"zz:a": 1}),
        [("/epcisHeader/zz:a", "epcis.prefix")],
    ),
    "an attribute that is a list": (
        document(
            epcisHeader={
                "epcisMasterData": {
                    "vocabularyList": [
                        {"type": "urn:x:y", "vocabularyElementList": [
                            {"id": "urn:x:y", "attributes": [{"id": "urn:x:z", "attribute": []}]}
                        ]}
                    ]
                }
            }
        ),
        [
            (
                "/epcisHeader/epcisMasterData/vocabularyList/0/vocabularyElementList/0/attributes/0/attribute",
                "epcis.kind",
            )
        ],
    ),
    "a query without a name": (
        query_document(epcisBody={"queryResults": {"resultsBody": {"eventList": []}}}),
        [("/epcisBody/queryResults", "epcis.required")],
    ),
    "a query document's header": (query_document(epcisHeader={}), [("/epcisHeader", "epcis.field")]),
    "results elsewhere": (
        query_document(epcisBody={"eventList": []}),
        [("/epcisBody", "epcis.required"), ("/epcisBody/eventList", "epcis.field")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_bad_document_is_refused_for_this_and_nothing_else(value, expected):
    assert codes(value) == expected


def test_every_fault_says_how_to_put_it_right():
    for value, _ in REFUSED.values():
        for fault in validate_document(value):
            assert isinstance(fault, EventFault)
            assert fault.fix
            assert fault.detail


def test_validate_asks_the_type_which_of_the_two_it_is():
    assert validate(document(object_event())) == []
    assert validate(object_event()) == []
    assert [fault.code for fault in validate(bare(object_event()))] == ["epcis.context"]
    assert validate_event(bare(object_event()), document_context=CONTEXT) == []


def test_ten_thousand_faults_are_counted_quickly_and_in_little_memory():
    events = [object_event(bizStep=f"brewing{i}", action="NO", eventTime="x") for i in range(4_000)]
    value = document(*events)
    tracemalloc.start()
    started = time.process_time()
    faults = validate_document(value)
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(faults) == FAULTS_MAX + 1
    assert faults[-1].code == "epcis.faults"
    assert faults[-1].detail.startswith("2000 more")
    assert seconds < 3, "0.2 s are usual"
    assert peak < 32_000_000


def seconds(value):
    started = time.process_time()
    assert validate(value, now=NOW) == []
    return time.process_time() - started


@pytest.mark.parametrize("part", [lambda i: f"https://x.example/{i}", lambda i: {f"a{i}": "https://x/"}])
def test_a_context_of_very_many_parts_is_read_in_a_moment(part):
    """Each part was compared with each before it: a megabyte took a minute."""
    assert seconds(object_event(PACK, **{"@context": [part(i) for i in range(15_000)]})) < 1.5


def test_prefixes_of_a_document_are_read_once_for_all_its_events():
    """They were read again for each event with a prefix of its own: a megabyte took seven seconds."""
    prefixes = {f"p{i:x}": "x:" for i in range(30_000)}
    events = [{**bare(object_event(PACK)), "@context": {"q": "x:"}, f"q:{i}": i} for i in range(1000)]
    made = document(**{"@context": [CONTEXT, prefixes]})
    made["epcisBody"]["eventList"] = events
    assert seconds(made) < 1.2


def test_equal_parts_of_a_context_are_told_however_deep_they_are_equal():
    one = {"a": {"@id": "https://x/", "b": [1, {"c": None}]}}
    same = {"a": {"b": [1, {"c": None}], "@id": "https://x/"}}
    other = {"a": {"@id": "https://x/", "b": [{"c": None}, 1]}}
    for parts, places in (
        ([one, same], [1]),
        ([one, other], []),
        ([CONTEXT, one, CONTEXT, other, same], [2, 4]),
    ):
        event = object_event(PACK, **{"@context": parts})
        assert [(f.code, f.pointer) for f in validate_event(event, now=NOW)] == [
            ("epcis.duplicate", f"/@context/{place}") for place in places
        ]


def test_prefixes_hold_within_and_not_beside():
    def inner(**own):
        return {**bare(object_event(PACK)), **own}

    declared = {"@context": {"q": "https://q.example/"}}
    assert codes(made_of(inner(**declared, **{"q:a": {"ex:b": 1}}))) == []
    assert codes(made_of(inner(**declared, **{"q:a": 1}), inner(**{"q:a": 1}))) == [
        ("/epcisBody/eventList/1/q:a", "epcis.prefix")
    ]
    assert codes(made_of(inner(**{"ex:a": {**declared, "q:b": 1}, "q:c": 1}))) == [
        ("/epcisBody/eventList/0/q:c", "epcis.prefix")
    ]


def made_of(*events):
    made = document()
    made["epcisBody"]["eventList"] = list(events)
    return made
