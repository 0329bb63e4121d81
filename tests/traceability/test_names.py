"""names_v1: total, pure, and the same for every spelling of a thing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tt_epcis import TYP, aggregation, object_event

from traceability.names import PACKED, index_key, names_of_payload, names_v1, pack_names
from traceability.readers import TYP_DOCUMENT, read_events

PACK = "urn:epc:id:sgtin:9521141.012345.100"
PACK_LINK = "https://shop.example/01/09521141123454/10/L1/21/100?17=280301"
PACK_NAME = "https://id.gs1.org/01/09521141123454/21/100"
LOT = "urn:epc:class:lgtin:9521141.012345.L1"
LOT_NAME = "https://id.gs1.org/01/09521141123454/10/L1"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _names(event, typ=TYP):
    return [name for _, name in names_v1(typ, event)]


def test_every_spelling_of_a_pack_names_it():
    assert _names(object_event(PACK)) == _names(object_event(PACK_LINK)) == [PACK_NAME]


def test_two_spellings_in_one_event_name_it_once():
    assert names_v1(TYP, object_event(PACK, PACK_LINK)) == ((0, PACK_NAME),)


def test_names_come_in_document_order_from_every_field_that_says_what():
    event = {
        "type": "TransformationEvent",
        "inputEPCList": ["urn:x:1"],
        "inputQuantityList": [{"epcClass": LOT}],
        "outputEPCList": [PACK],
        "outputQuantityList": [{"epcClass": "urn:x:2"}],
        "transformationID": "urn:x:3",
        "parentID": "urn:x:4",
        "childEPCs": ["urn:x:5"],
        "childQuantityList": [{"epcClass": "urn:x:6"}],
        "epcList": ["urn:x:7"],
        "quantityList": [{"epcClass": "urn:x:8"}],
        "readPoint": {"id": "urn:epc:id:sgln:9521141.00012.0"},
        "bizTransactionList": [{"bizTransaction": "urn:x:9"}],
    }
    own = [f"raw:urn:x:{i}" for i in (2, 3, 4, 5, 6, 7, 8)]
    assert _names(event) == ["raw:urn:x:1", LOT_NAME, PACK_NAME, *own]


def test_an_unknown_or_broken_identifier_names_itself():
    assert _names(object_event("urn:epc:id:sgtin:9521141.012345", "x")) == [
        "raw:urn:epc:id:sgtin:9521141.012345",
        "raw:x",
    ]


@pytest.mark.parametrize("typ", ["key+jws", "anchor+jws", "", "epcis-event+jws "])
def test_statements_without_events_name_nothing(typ):
    assert names_v1(typ, object_event(PACK)) == ()


@given(json_values)
def test_any_payload_at_all_has_its_names(value):
    assert isinstance(names_v1(TYP, value), tuple)


@given(st.dictionaries(st.sampled_from(["epcList", "parentID", "quantityList", "childEPCs"]), json_values))
def test_any_value_in_any_field_has_its_names(event):
    assert names_v1(TYP, event) == names_v1(TYP, dict(event))


def test_a_box_and_what_goes_into_it_are_named():
    box = "urn:epc:id:sscc:9521141.0001234567"
    assert set(_names(aggregation("ADD", box, PACK))) == {
        "https://id.gs1.org/00/095211410012345677",
        PACK_NAME,
    }


def test_the_index_key_is_the_head_of_the_digest():
    digest = hashlib.sha256(PACK_NAME.encode()).digest()
    assert index_key(PACK_NAME) == int.from_bytes(digest[:8], "big", signed=True)
    assert index_key("raw:\ud800") != index_key("raw:")


@given(st.text())
def test_every_index_key_fits_a_signed_column(name):
    assert -(2**63) <= index_key(name) < 2**63


VECTORS = json.loads((Path(__file__).parent / "names_v1_vectors.json").read_bytes())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["says"])
def test_a_frozen_vector_has_its_names(vector):
    """Never change a vector: a ledger's index was computed by them. A new rule is a new function."""
    found = names_of_payload(vector["typ"], vector["payload"].encode("utf-8", "surrogatepass"))
    assert [[position, name, index_key(name)] for position, name in found] == vector["names"]


def test_the_vectors_touch_every_rule():
    assert len(VECTORS) > 20
    assert {vector["typ"] for vector in VECTORS} > {TYP, TYP_DOCUMENT}
    assert sum(not vector["names"] for vector in VECTORS) > 5


def _document(*events, **members):
    return {"type": "EPCISDocument", "epcisBody": {"eventList": list(events)}, **members}


def test_an_events_place_in_its_document_is_its_position():
    document = _document(object_event(PACK), 7, object_event("urn:x:1"), object_event(PACK_LINK))
    assert names_v1(TYP_DOCUMENT, document) == ((0, PACK_NAME), (2, "raw:urn:x:1"), (3, PACK_NAME))


def test_a_query_documents_events_are_its_results():
    results = {"queryResults": {"resultsBody": {"eventList": [object_event(PACK)]}}}
    decoy = _document(object_event("urn:x:1"), type="EPCISQueryDocument")
    assert names_v1(TYP_DOCUMENT, {"type": "EPCISQueryDocument", "epcisBody": results}) == ((0, PACK_NAME),)
    assert names_v1(TYP_DOCUMENT, decoy) == ()


@given(json_values)
def test_any_document_at_all_has_its_names(value):
    for kind in ("EPCISDocument", "EPCISQueryDocument"):
        names_v1(TYP_DOCUMENT, {"type": kind, "epcisBody": value})
        names_v1(TYP_DOCUMENT, {"type": kind, "epcisBody": {"eventList": value, "queryResults": value}})
    assert isinstance(names_v1(TYP_DOCUMENT, value), tuple)


@given(st.binary(max_size=60))
def test_any_bytes_at_all_have_their_names(payload):
    for typ in (TYP, TYP_DOCUMENT, "key+jws"):
        assert isinstance(names_of_payload(typ, payload), tuple)


def test_an_error_declaration_names_the_events_it_is_about():
    declared = {
        "eventID": "urn:uuid:7",
        "errorDeclaration": {"correctiveEventIDs": ["urn:uuid:8", 9, PACK], "declarationTime": "x"},
    }
    assert _names(object_event(PACK, **declared)) == [
        PACK_NAME,
        "event:urn:uuid:7",
        "event:urn:uuid:8",
        "event:" + PACK,
    ]
    assert _names(object_event(PACK, eventID="urn:uuid:7")) == [PACK_NAME]
    assert _names({"errorDeclaration": None, "eventID": "e"}) == ["event:e"]
    assert _names({"errorDeclaration": {"correctiveEventIDs": "e"}, "eventID": 5}) == []


def test_packed_names_hold_each_key_and_position_once():
    names = names_v1(TYP, object_event(PACK, "urn:x:1"))
    packed = pack_names([*names, *names, (7, PACK_NAME)])
    assert [*PACKED.iter_unpack(packed)] == [
        (index_key(PACK_NAME), 0),
        (index_key("raw:urn:x:1"), 0),
        (index_key(PACK_NAME), 7),
    ]


def test_events_of_a_document_know_its_context():
    event = {name: value for name, value in object_event(PACK, **{"ex:a": 1}).items() if name != "@context"}
    payload = json.dumps(_document(event, event, **{"@context": {"ex": "https://ex.example/"}})).encode()
    read = read_events(TYP_DOCUMENT, payload)
    assert [position for position, _ in read] == [0, 1]
    assert read[1][1].extensions[0].namespace == "https://ex.example/"
