"""Listings of what the log holds, and queries kept under names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tt_epcis import aggregation, object_event
from tt_projection import START, Asked, PaperLog, anyone

from projection import kept as kept_module
from projection import resources as resources_module
from projection.kept import open_kept
from projection.resources import KINDS, Resources
from traceability.errors import (
    NoSuchQuery,
    QueryNameTaken,
    QueryParameterFault,
    QueryTokenFault,
    QueryTooLarge,
)
from traceability.gs1.canonical import judge

EPCS = [f"urn:epc:id:sgtin:9521141.012345.{n}" for n in range(9)]


def listed(resources: Resources, kind: str, per_page: int = 2) -> list[str]:
    """All pages."""
    page = resources.page(kind, per_page, None, anyone)
    found = list(page.values)
    while page.next_token is not None:
        page = resources.page(kind, per_page, page.next_token, anyone)
        assert len(page.values) <= per_page
        found += page.values
    return found


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    log = PaperLog(
        [
            object_event(*EPCS[:3], bizStep="urn:epcglobal:cbv:bizstep:shipping", disposition="in_transit"),
            object_event(*EPCS[1:5], bizStep="https://own.example/step"),
            aggregation("ADD", "urn:epc:id:sscc:9521141.0123456789", *EPCS[:2]),
            object_event(EPCS[0], bizStep="receiving", readPoint={"id": "https://own.example/dock"}),
            object_event(EPCS[8], bizStep="shipping", bizLocation={"id": "urn:epc:id:sgln:9521141.00012.0"}),
        ]
    )
    asked = Asked(tmp_path_factory.mktemp("resources"), log)
    asked.projector().catch_up()
    yield asked
    asked.close()


def test_what_was_seen_is_listed_once_in_order(ready):
    resources = Resources(ready.engine())
    assert listed(resources, "eventTypes") == ["AggregationEvent", "ObjectEvent"]
    assert listed(resources, "bizSteps") == ["https://own.example/step", "receiving", "shipping"]
    assert listed(resources, "dispositions") == ["in_transit"]
    assert listed(resources, "bizLocations") == ["https://id.gs1.org/414/9521141000120"]
    assert listed(resources, "readPoints") == [
        "https://id.gs1.org/414/9521141000120",
        "https://own.example/dock",
    ]


def test_epcs_are_listed_as_the_log_first_names_them(ready):
    parent = "urn:epc:id:sscc:9521141.0123456789"
    expected = [judge(epc)[0] for epc in (*EPCS[:5], parent, EPCS[8])]
    for per_page in (1, 2, 3, 7, 8):
        assert listed(Resources(ready.engine()), "epcs", per_page) == expected


def test_a_listing_of_epcs_ends_where_it_began_to_look(tmp_path, monkeypatch):
    monkeypatch.setattr(resources_module, "STATEMENTS_READ_MAX", 1)
    monkeypatch.setattr(resources_module, "_READ", 1)
    log = PaperLog(object_event(EPCS[n % 3]) for n in range(6))
    asked = Asked(tmp_path, log)
    projector = asked.projector()
    projector.catch_up()
    resources = Resources(asked.engine())
    page = resources.page("epcs", 5, None, anyone)
    log.append(object_event(EPCS[7]))
    projector.catch_up()
    found = list(page.values)
    while page.next_token is not None:
        page = resources.page("epcs", 5, page.next_token, anyone)
        found += page.values
    assert found == [judge(epc)[0] for epc in EPCS[:3]]
    asked.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(EPCS), min_size=1, max_size=3, unique=True), min_size=1),
    st.integers(1, 5),
)
def test_every_epc_is_listed_once(tmp_path_factory, events, per_page):
    asked = Asked(tmp_path_factory.mktemp("epcs"), PaperLog(object_event(*epcs) for epcs in events))
    asked.projector().catch_up()
    found = listed(Resources(asked.engine()), "epcs", per_page)
    assert found == list(dict.fromkeys(judge(epc)[0] for epcs in events for epc in epcs))
    asked.close()


def test_whether_there_is_one(ready):
    resources = Resources(ready.engine())
    for kind, value in (
        ("eventTypes", "TransformationEvent"),
        ("epcs", EPCS[0]),
        ("epcs", "https://x.example/01/09521141123454/21/0"),
        ("bizSteps", "cbv:BizStep-shipping"),
        ("bizSteps", "https://own.example/step"),
        ("readPoints", "https://own.example/dock"),
        ("bizLocations", "urn:epc:id:sgln:9521141.00012.0"),
    ):
        assert resources.has(kind, value, anyone), value
        assert kind == "eventTypes" or not resources.has(kind, value + "x", anyone)


def test_who_may_not_read_events_is_told_of_none(ready):
    resources = Resources(ready.engine())
    for kind in KINDS:
        assert resources.page(kind, 5, None, lambda typ: False).values == ()
        assert not resources.has(kind, EPCS[0], lambda typ: False)


def test_tokens_of_listings_are_held_to_the_same_rules(ready, monkeypatch):
    resources = Resources(ready.engine())
    token = resources.page("bizSteps", 1, None, anyone).next_token
    assert token is not None
    for kind, bad in (
        ("readPoints", token),
        ("bizSteps", token[:-2] + "AA"),
        ("bizSteps", "x"),
        ("epcs", ""),
    ):
        with pytest.raises(QueryTokenFault):
            resources.page(kind, 1, bad, anyone)
    monkeypatch.setattr(ready, "now", START.replace(year=2027))
    with pytest.raises(QueryTokenFault) as caught:
        resources.page("bizSteps", 1, token, anyone)
    assert caught.value.code == "query.token.expired"


# --- kept queries ---------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path):
    found = open_kept(tmp_path / "ledger.db")
    yield found
    found.close()


def test_a_query_is_kept_until_it_is_deleted(kept, tmp_path):
    created = kept.create("shipped", {"EQ_bizStep": ["shipping"]}, START)
    again = open_kept(tmp_path / "ledger.db")
    assert again.read("shipped") == created == replace(created, created_at="2026-11-20T12:00:00.123Z")
    with pytest.raises(QueryNameTaken):
        again.create("shipped", {}, START)
    again.delete("shipped")
    for call in (kept.read, kept.delete):
        with pytest.raises(NoSuchQuery):
            call("shipped")
    again.close()


def test_queries_are_listed_by_name(kept):
    for name in ("b", "a", "c"):
        kept.create(name, {}, START)
    assert [one.name for one in kept.page("", 2)] == ["a", "b"]
    assert [one.name for one in kept.page("b", 2)] == ["c"]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", "é", "-a", "a" * 129, "a\n", ".."])
def test_names_are_bounded(kept, name):
    with pytest.raises(QueryParameterFault):
        kept.create(name, {}, START)


def test_there_is_room_for_so_many(kept, monkeypatch):
    monkeypatch.setattr(kept_module, "QUERIES_MAX", 1)
    kept.create("a", {}, START)
    with pytest.raises(QueryTooLarge):
        kept.create("b", {}, START)
    with pytest.raises(QueryTooLarge):
        kept.create("b", {"x": "y" * kept_module.QUERY_SIZE_MAX}, START)
