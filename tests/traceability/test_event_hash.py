"""The event hash of CBV 2.0: official values, the rules one by one, and what it is blind to."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tt_epcis import CONTEXT, object_event
from tt_epcis_xml import shared_documents, vectors

from traceability.errors import EventUnhashable
from traceability.event_hash import Prefixes, event_hash, hash_document, pre_hash
from traceability.event_hash.documents import events_of
from traceability.event_hash.values import canonical_time, canonical_value

EXAMPLE = {"example": "https://ns.example.com/epcis/"}


def test_every_shared_json_vector_is_reached(shared):
    cases = vectors(shared, ".jsonld")
    assert len(cases) >= 10
    for path, expected in cases:
        assert [h.value for h in hash_document(json.loads(path.read_bytes()))] == expected, path.name


def test_a_pre_hash_vector_is_reached_character_by_character(shared):
    path = shared / "epcis/event-hash/CertificationInfoAndSensorReportWithCRS.jsonld"
    document = json.loads(path.read_bytes())
    (event,) = document["epcisBody"]["eventList"]
    expected = path.with_suffix(".prehashes").read_text().strip("\n")
    assert pre_hash(event, document["@context"]) == expected


def test_every_official_example_has_a_hash(shared):
    for name, document in shared_documents(shared):
        for hashed in hash_document(document):
            assert hashed.value is not None, (name, hashed.fault)


def test_a_document_and_its_bare_events_hash_alike(shared):
    for _, document in shared_documents(shared):
        prefixes = Prefixes(document.get("@context"))
        whole = [h.value for h in hash_document(document)]
        assert [event_hash(e, prefixes) for _, e in events_of(document)] == whole


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("urn:epcglobal:cbv:bizstep:receiving", "https://ref.gs1.org/cbv/BizStep-receiving"),
        ("urn:epcglobal:cbv:bt:5200001000008:4711", "urn:epcglobal:cbv:bt:5200001000008:4711"),
        ("urn:epc:id:sgtin:4012345.011111.9876", "https://id.gs1.org/01/04012345111118/21/9876"),
        ("urn:epc:idpat:sgtin:4012345.066666.*", "https://id.gs1.org/01/04012345666663"),
        ("urn:epc:id:sgln:4012345.00005.0", "https://id.gs1.org/414/4012345000054"),
        ("urn:epc:id:sgtin:4012345.011111.a'b;c=d", "https://id.gs1.org/01/04012345111118/21/a'b;c=d"),
        ("urn:epc:id:sgtin:4012345.011111", "urn:epc:id:sgtin:4012345.011111"),
        ("https://example.org/8004/401234599999", "https://id.gs1.org/8004/401234599999"),
        (
            "https://a.example/s/01/04012345999990/10/L/21/X-1?17=301231",
            "https://id.gs1.org/01/04012345999990/21/X-1",
        ),
        ("https://a.example/01/04012345999990/22/2A/10/L1", "https://id.gs1.org/01/04012345999990/10/L1"),
        ("https://a.example/01/04012345999990/22/2A", "https://id.gs1.org/01/04012345999990"),
        ("https://a.example/gtin/4012345999990/ser/5", "https://id.gs1.org/01/04012345999990/21/5"),
        ("https://a.example/01/04012345999991/21/1", "https://id.gs1.org/01/04012345999991/21/1"),
        ("https://a.example/01/04012345999990/99/1", "https://a.example/01/04012345999990/99/1"),
        ("http://transaction.acme.com/po/12345678", "http://transaction.acme.com/po/12345678"),
        ("26.0", "26"),
        ("0.50", "0.5"),
        ("-0.0", "0"),
        ("111100001111000011110000", "111100001111000003641344"),
        ("007", "7"),
        ("1_000", "1_000"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("1e999", "1e999"),
        ("(414)4023333000000", "(414)4023333000000"),
    ],
)
def test_a_value_has_one_spelling(value, expected):
    assert canonical_value(value) == expected


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2019-04-02T15:00:00+01:00", "2019-04-02T14:00:00.000Z"),
        ("2022-02-16T08:40:21.3142715Z", "2022-02-16T08:40:21.314Z"),
        ("2022-02-16T08:40:21.3145Z", "2022-02-16T08:40:21.315Z"),
        ("2022-12-31T23:59:59.9995Z", "2023-01-01T00:00:00.000Z"),
        ("2022-02-16t08:40:21z", "2022-02-16T08:40:21.000Z"),
        ("2022-02-16T08:40:21", None),
        ("2022-02-30T08:40:21Z", None),
        ("yesterday", None),
        ("9999-12-31T23:59:59.9999Z", None),
    ],
)
def test_a_time_is_utc_with_milliseconds_rounded_half_up(time, expected):
    assert canonical_time(time) == expected


def test_lists_are_sorted_and_labelled_once():
    event = object_event("urn:epc:id:sgtin:4012345.011111.2", "urn:epc:id:sgtin:4012345.011111.10")
    text = pre_hash(event)
    assert "epcListepc=https://id.gs1.org/01/04012345111118/21/10epc=https://id.gs1.org/01" in text
    event["epcList"].reverse()
    assert pre_hash(event) == text


def test_a_type_precedes_what_it_types_and_what_has_no_order_is_sorted():
    event = object_event(
        sourceList=[{"source": "urn:epc:id:pgln:9521141.00012", "type": "owning_party"}],
        bizTransactionList=[{"bizTransaction": "urn:x:b"}, {"bizTransaction": "urn:x:a", "type": "po"}],
        ilmd={"example:b": "1", "example:a": {"example:c": [2, 1.50, True]}},
        **{"example:z": None, "@context": [CONTEXT, EXAMPLE]},
    )
    ns = "{https://ns.example.com/epcis/}"
    assert pre_hash(event).partition("9521141000120")[2] == (
        "bizTransactionListbizTransaction=urn:x:btype=https://ref.gs1.org/cbv/BTT-pobizTransaction=urn:x:a"
        f"ilmd{ns}a{ns}c=1.5{ns}c=2{ns}c=true{ns}b=1"
        "sourceListtype=https://ref.gs1.org/cbv/SDT-owning_partysource=https://id.gs1.org/417/9521141000120"
    )


def test_an_extension_follows_its_parents_own_fields_whatever_its_namespace_ends_with():
    context = [CONTEXT, {"a": "urn:a"}, EXAMPLE]
    place = {"a:y": "2", "example:z": "1", "id": "urn:epc:id:sgln:9521141.00012.0"}
    text = pre_hash(object_event(readPoint=place, **{"@context": context}))
    assert text.endswith(
        "readPointid=https://id.gs1.org/414/9521141000120{https://ns.example.com/epcis/}z=1{urn:a}y=2"
    )


def test_a_prefix_is_a_name_for_its_namespace_and_nothing_else():
    one = object_event(**{"@context": [CONTEXT, {"a": "https://x.example/"}], "a:f": "1"})
    other = object_event(**{"@context": [CONTEXT, {"b": {"@id": "https://x.example/"}}], "b:f": "1"})
    full = object_event(**{"https://x.example/f": "1"})
    assert len({event_hash(e) for e in (one, other, full)}) == 1
    third = object_event(**{"@context": [CONTEXT, {"a": "https://y.example/"}], "a:f": "1"})
    assert event_hash(third) != event_hash(one)


def test_values_read_from_xml_hold_only_the_standards_prefixes():
    event = object_event(**{"@context": [CONTEXT, EXAMPLE], "example:a": "example:b", "example:c": "gs1:d"})
    ns = "https://ns.example.com/epcis/"
    assert pre_hash(event).endswith(f"{{{ns}}}a={ns}b{{{ns}}}c=https://gs1.org/voc/d")
    assert pre_hash(event, from_xml=True).endswith(f"{{{ns}}}a=example:b{{{ns}}}c=https://gs1.org/voc/d")


def test_comments_and_ignored_fields_are_left_out():
    plain = object_event(**{"@context": [CONTEXT, EXAMPLE]})
    said = {**plain, "rdfs:comment": "x", "example:skip": "y"}
    left_out = {"{https://ns.example.com/epcis/}skip"}
    assert event_hash(said, ignored=left_out) == event_hash(plain)
    assert event_hash(said) != event_hash(plain)
    document = {
        "@context": [CONTEXT, EXAMPLE, {"repo": "https://repository.example/"}],
        "type": "EPCISDocument",
        "repo:ignoreFields": ["example:skip"],
        "epcisBody": {"eventList": [{k: v for k, v in said.items() if k != "@context"}]},
    }
    assert [h.value for h in hash_document(document)] == [event_hash(plain)]


BLIND_TO = {
    "an event id": {"eventID": "urn:uuid:1"},
    "a record time": {"recordTime": "2030-01-01T00:00:00Z"},
    "an error declaration": {"errorDeclaration": {"declarationTime": "2026-11-20T00:00:00Z"}},
    "the owner of a link's domain": {"epcList": ["https://evil.example/01/09521141123454/21/100"]},
    "an expiry date in a link": {"epcList": ["https://id.gs1.org/01/09521141123454/21/100?17=301231"]},
    "a lot before the serial": {"epcList": ["https://id.gs1.org/01/09521141123454/10/L/21/100"]},
    "how the offset of a time is written": {"eventTime": "2026-11-05T09:15:00.0001+01:00"},
}


@pytest.mark.parametrize("change", BLIND_TO.values(), ids=BLIND_TO)
def test_it_is_no_tamper_hash_and_this_is_what_it_does_not_see(change):
    event = object_event()
    assert event_hash({**event, **change}) == event_hash(event)


@pytest.mark.parametrize(
    "change",
    [{"action": "ADD"}, {"eventTimeZoneOffset": "+02:00"}, {"disposition": "in_transit"}, {"epcList": []}],
)
def test_what_it_does_see_changes_it(change):
    event = object_event()
    assert event_hash({**event, **change}) != event_hash(event)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ([], "hash.kind"),
        ("ObjectEvent", "hash.kind"),
        ({}, "hash.type"),
        ({"type": 3}, "hash.type"),
        ({"type": "ObjectEvent"}, "hash.time"),
        (object_event(eventTime="2026-11-05T08:15:00"), "hash.time"),
        (object_event(eventTime=7), "hash.time"),
        (object_event(bizStep={"a": 1}), "hash.kind"),
        (object_event(epcList=[["x"]]), "hash.kind"),
        (object_event(quantityList=["x"]), "hash.kind"),
        (object_event(sensorElementList=[{"sensorReport": ["x"]}]), "hash.kind"),
        (object_event(sourceList=["x"]), "hash.kind"),
        (object_event(**{"@context": "https://elsewhere.example/c", "zz:f": "1"}), "hash.prefix"),
    ],
)
def test_what_has_no_hash_says_why(event, code):
    with pytest.raises(EventUnhashable) as caught:
        event_hash(event)
    assert caught.value.code == code


def test_nesting_without_end_is_refused_not_followed():
    deep: object = "x"
    for _ in range(500):
        deep = {"example:d": deep}
    with pytest.raises(EventUnhashable) as caught:
        event_hash(object_event(**{"@context": [CONTEXT, EXAMPLE], "example:d": deep}))
    assert caught.value.code == "hash.depth"


def test_one_unhashable_event_does_not_hide_the_others():
    good, bad = object_event(), object_event(eventTime="now")
    hashed = hash_document({"type": "EPCISDocument", "epcisBody": {"eventList": [good, bad, good]}})
    assert [h.value is None for h in hashed] == [False, True, False]
    assert hashed[1].fault is not None
    assert hashed[1].fault.pointer == "/epcisBody/eventList/1/eventTime"
    for other in ([], {"type": "EPCISDocument"}, {"type": "EPCISDocument", "epcisBody": {"eventList": 1}}):
        with pytest.raises(EventUnhashable, match=r"hash\.document"):
            hash_document(other)


def test_hashing_changes_nothing(shared):
    for _, document in shared_documents(shared):
        before = deepcopy(document)
        hash_document(document)
        assert document == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["epcList", "ilmd", "readPoint", "sensorElementList", "x:y", "sourceList", "bizStep"]),
    JSON,
)
def test_any_value_in_any_field_has_a_hash_or_a_reason(field, value):
    try:
        assert event_hash(object_event(**{field: value})).startswith("ni:///sha-256;")
    except EventUnhashable as e:
        assert e.code.startswith("hash.")  # noqa: PT017
