"""names_v1: total, pure, and the same for every spelling of a thing."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tt_epcis import TYP, aggregation, object_event

from traceability.names import index_key, names_v1

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
