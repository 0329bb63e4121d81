"""EPCIS 2.0 XML written: read back it says the same, and its elements stand in the schema's order."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from tt_epcis import CONTEXT, aggregation, object_event
from tt_epcis_xml import shared_documents, vectors

from traceability.epcis.validate import validate_event
from traceability.epcis_xml import NotWritable, read_document, write_document
from traceability.event_hash import Prefixes, event_hash
from traceability.event_hash.documents import events_of
from traceability.master_data import MasterDataRecord

NOW = "2026-11-05T09:00:00Z"
OWN = {"ex": "https://example.com/ns/", "other": "https://example.com/other#"}

# The sequence of each type in EPCIS 2.0, section 9.5, typed in again here, so that a slip shows.
SEQUENCES = {
    "ObjectEvent": """
        eventTime recordTime eventTimeZoneOffset eventID errorDeclaration certificationInfo epcList
        action bizStep disposition readPoint bizLocation bizTransactionList quantityList sourceList
        destinationList sensorElementList persistentDisposition ilmd
    """,
    "AggregationEvent": """
        eventTime recordTime eventTimeZoneOffset eventID errorDeclaration certificationInfo parentID
        childEPCs action bizStep disposition readPoint bizLocation bizTransactionList
        childQuantityList sourceList destinationList sensorElementList persistentDisposition
    """,
    "TransactionEvent": """
        eventTime recordTime eventTimeZoneOffset eventID errorDeclaration certificationInfo
        bizTransactionList parentID epcList action bizStep disposition readPoint bizLocation
        quantityList sourceList destinationList sensorElementList persistentDisposition
    """,
    "TransformationEvent": """
        eventTime recordTime eventTimeZoneOffset eventID errorDeclaration certificationInfo
        inputEPCList inputQuantityList outputEPCList outputQuantityList transformationID bizStep
        disposition readPoint bizLocation bizTransactionList sourceList destinationList
        sensorElementList persistentDisposition ilmd
    """,
    "AssociationEvent": """
        eventTime recordTime eventTimeZoneOffset eventID errorDeclaration certificationInfo parentID
        childEPCs childQuantityList action bizStep disposition readPoint bizLocation
        bizTransactionList sourceList destinationList sensorElementList persistentDisposition
    """,
}


def _again(*events, context=(CONTEXT, OWN)):
    return read_document(write_document(list(events), list(context), creation_date=NOW))


def test_every_official_example_means_the_same_after_xml(shared):
    count = 0
    for name, document in shared_documents(shared):
        context = document.get("@context")
        prefixes = Prefixes(context)
        events = [event for _, event in events_of(document)]
        before = deepcopy(events)
        read = read_document(write_document(events, context, creation_date=NOW))
        assert events == before
        assert read.hashes() == [event_hash(event, prefixes) for event in events], name
        count += len(events)
    assert count > 90


def test_every_official_example_that_is_valid_stays_so(shared):
    for name, document in shared_documents(shared):
        context = document.get("@context")
        events = [event for _, event in events_of(document)]
        if not any(validate_event(event, document_context=context) for event in events):
            read = read_document(write_document(events, context, creation_date=NOW))
            assert read.faults == (), (name, read.faults)


def test_elements_stand_in_the_order_of_the_schema(shared):
    seen = set()
    for _, document in shared_documents(shared):
        for _, event in events_of(document):
            shuffled = dict(sorted(event.items(), reverse=True))
            data = write_document([shuffled], document["@context"], creation_date=NOW)
            (element,) = etree.fromstring(data).find("EPCISBody/EventList")
            sequence = SEQUENCES[element.tag].split()
            tags = [child.tag for child in element]
            own = [tag for tag in tags if tag[0] == "{"]
            standard = tags[: len(tags) - len(own)]
            assert tags == standard + own
            assert standard == sorted(standard, key=sequence.index)
            seen.add(element.tag)
    assert len(seen) == 5


def test_a_plain_event_comes_back_exactly():
    event = object_event(
        **{
            "@context": None,
            "eventID": "urn:uuid:1",
            "quantityList": [{"epcClass": "urn:epc:idpat:sgtin:9521141.012345.*", "quantity": 0.0000001}],
            "sourceList": [{"type": "owning_party", "source": "urn:epc:id:pgln:9521141.00012"}],
            "persistentDisposition": {"set": ["recalled"], "unset": ["active", "urn:x:mine"]},
            "sensorElementList": [
                {
                    "sensorMetadata": {"time": NOW, "ex:note": "n"},
                    "sensorReport": [{"type": "Temperature", "value": -1.5e-9, "booleanValue": False}],
                    "ex:raw": ["1", "2"],
                }
            ],
            "ilmd": {
                "cbvmda:lotNumber": "L1",
                "ex:deep": {"plain": "1", "other:x": ["a", {"#text": "t", "k": "v"}]},
            },
            "ex:field": "<&>\"'",
        }
    )
    event["action"] = "ADD"
    read = _again(event)
    assert read.faults == ()
    assert read.events[0].value == event


def test_what_the_schema_says_within_an_event_is_kept():
    event = object_event(
        quantityList=[{"uom": "KGM", "quantity": 1e-7, "epcClass": "urn:epc:idpat:sgtin:9521141.012345.*"}],
        persistentDisposition={"set": ["recalled"], "unset": ["active"]},
        readPoint={"ex:gate": "4", "id": "urn:epc:id:sgln:9521141.00012.0"},
    )
    (element,) = etree.fromstring(write_document([event], [OWN], creation_date=NOW)).find(
        "EPCISBody/EventList"
    )
    (quantity,) = element.find("quantityList")
    assert [child.tag for child in quantity] == ["epcClass", "quantity", "uom"]
    assert quantity.findtext("quantity") == "0.0000001"  # xsd:decimal has no exponent
    assert [child.tag for child in element.find("persistentDisposition")] == ["unset", "set"]
    assert [child.tag for child in element.find("readPoint")] == ["id", "{https://example.com/ns/}gate"]


def test_lists_that_the_schema_asks_for_are_there_even_if_empty():
    child = [{"epcClass": "urn:epc:idpat:sgtin:9521141.012345.*"}]
    event = aggregation("ADD", "urn:epc:id:sscc:9521141.0111111111", childQuantityList=child)
    data = write_document([event], creation_date=NOW)
    assert etree.fromstring(data).find("EPCISBody/EventList/AggregationEvent/childEPCs") is not None
    assert "childEPCs" not in read_document(data).events[0].value


NORMALISED = [
    ({"ex:n": 5}, {"ex:n": "5"}),
    ({"ex:n": True}, {"ex:n": "true"}),
    ({"ex:n": None}, {"ex:n": ""}),
    ({"ex:n": ["one"]}, {"ex:n": "one"}),
    ({"ex:n": []}, {}),
    ({"ex:n": [["a"], "b"]}, {"ex:n": ["a", "b"]}),
    ({"ex:n": "  a "}, {"ex:n": "a"}),
    ({"ex:n": {}}, {"ex:n": ""}),
    ({"ex:n": "ex:thing"}, {"ex:n": "https://example.com/ns/thing"}),
    ({"certificationInfo": ["urn:x:1"]}, {"certificationInfo": "urn:x:1"}),
    ({"bizStep": "https://ref.gs1.org/cbv/BizStep-shipping"}, {"bizStep": "shipping"}),
    ({"bizStep": "cbv:BizStep-shipping"}, {"bizStep": "shipping"}),
    ({"bizStep": "ex:mine"}, {"bizStep": "https://example.com/ns/mine"}),
    ({"disposition": None}, {}),
]


@pytest.mark.parametrize(("given", "back"), NORMALISED)
def test_what_xml_cannot_tell_apart_is_normalised_as_the_page_says(given, back):
    base = object_event(bizStep=None, **{"@context": None})
    read = _again({**base, **given})
    assert read.events[0].value == {**base, **back}


def test_what_came_from_xml_goes_back_with_its_values_as_they_are(shared):
    for path, expected in vectors(shared, ".xml"):
        read = read_document(path.read_bytes())
        values = [event.value for event in read.events]
        again = read_document(write_document(values, read.context, creation_date=NOW, from_xml=True))
        assert again.faults == ()
        assert [event.value for event in again.events] == values
        if not read.ignored:
            assert again.hashes() == expected


def test_an_events_own_context_moves_to_the_document():
    event = object_event(**{"@context": [CONTEXT, {"mine": "https://mine.example/"}], "mine:a": "1"})
    data = write_document([event], creation_date=NOW)
    read = read_document(data)
    assert read.events[0].value == {k: v for k, v in event.items() if k != "@context"}
    assert read.context == [CONTEXT, {"mine": "https://mine.example/"}]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"zz:a": "1"}, "xml.prefix"),
        ({"ex:1": "1"}, "xml.name"),
        ({"ex:a b": "1"}, "xml.name"),
        ({"ex:a": {"b c": "1"}}, "xml.name"),
        ({"epcis2:a": "1"}, "xml.name"),
        ({"bare": "1"}, "xml.field"),
        ({"readPoint": {"id": "urn:x:y", "bare": "1"}}, "xml.field"),
        ({"sourceList": [{"source": "urn:x:y", "ex:a": "1"}]}, "xml.field"),
        ({"epcList": "urn:x:y"}, "xml.value"),
        ({"readPoint": "urn:x:y"}, "xml.value"),
        ({"bizStep": {"a": 1}}, "xml.value"),
        ({"sensorElementList": [{"sensorReport": [{"type": "Mass", "ex:a": {"b": "1"}}]}]}, "xml.value"),
        ({"ex:a": "\x00"}, "xml.character"),
        ({"ex:a": "\ufffe"}, "xml.character"),
        ({"ex:a": "\ud800"}, "xml.character"),
        ({"type": 3}, "xml.value"),
    ],
)
def test_what_xml_has_no_place_for_is_refused_with_its_pointer(fields, code):
    context = [CONTEXT, OWN, {"epcis2": "urn:epcglobal:epcis:xsd:2"}]
    with pytest.raises(NotWritable) as caught:
        write_document(
            [object_event(), object_event(**{"@context": None, **fields})], context, creation_date=NOW
        )
    assert caught.value.code == code
    if code != "xml.character":
        assert caught.value.pointer.startswith("/1")


def test_nesting_without_end_is_refused():
    deep: object = "x"
    for _ in range(200):
        deep = {"ex:d": deep}
    with pytest.raises(NotWritable):
        write_document([object_event(**{"ex:d": deep})], [CONTEXT, OWN], creation_date=NOW)


def test_header_query_and_master_data_come_back():
    header = {"sender": "urn:epc:id:pgln:9521141.00012", "receiver": "urn:x:y", "instanceIdentifier": "7"}
    places = (
        MasterDataRecord(
            "urn:epcglobal:epcis:vtype:BusinessLocation",
            "urn:epc:id:sgln:9521141.00012.0",
            (("urn:epcglobal:cbv:mda:name", "Dairy"), ("urn:epcglobal:cbv:mda:city", "Riga")),
            ("urn:epc:id:sgln:9521141.00012.1", "urn:epc:id:sgln:9521141.00012.2"),
            "/epcisHeader/epcisMasterData/vocabularyList/0/vocabularyElementList/0",
        ),
    )
    data = write_document([object_event()], creation_date=NOW, header=header, master_data=places)
    read = read_document(data)
    assert (read.header, read.master_data, read.faults) == (header, places, ())
    query = {"queryName": "q", "subscriptionID": "s"}
    data = write_document(
        [object_event()], creation_date=NOW, kind="EPCISQueryDocument", query=query, master_data=places
    )
    read = read_document(data)
    assert (read.kind, read.query, len(read.master_data), read.faults) == ("EPCISQueryDocument", query, 1, ())


NAMES = st.sampled_from(["ex:a", "ex:b", "other:c"])
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=8).map(str.strip)
VALUES = st.recursive(
    TEXTS.filter(lambda t: ":" not in t),
    lambda inner: (
        st.dictionaries(NAMES, inner, min_size=1, max_size=3)
        | st.lists(inner.filter(lambda v: not isinstance(v, list)), min_size=2, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=150)
@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_any_extension_in_normal_form_comes_back_exactly(fields):
    event = object_event(**{"@context": None, **fields})
    read = _again(event)
    assert read.faults == ()
    assert read.events[0].value == event
    assert read.hashes() == [event_hash(event, [CONTEXT, OWN])]


def test_the_json_of_what_was_read_is_the_document_again(shared):
    for name, document in shared_documents(shared)[:20]:
        context = document.get("@context")
        events = [event for _, event in events_of(document)]
        read = read_document(write_document(events, context, creation_date=NOW))
        values = [event.value for event in read.events]
        again = read_document(write_document(values, read.context, creation_date=NOW, from_xml=True))
        assert json.dumps(again.as_json()) == json.dumps(read.as_json()), name
