"""Queries as partners spell them: what is read, that both forms are one, and what every fault says."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tt_queries import FULL, ask, questions

from traceability.errors import QueryRejected
from traceability.queries.model import PER_PAGE_MAX, OrderBy, Scope
from traceability.queries.parameters import parse_json, parse_url

NEW_YEAR = "2026-01-01T00:00:00Z"


def faults_of(query: str | dict[str, Any], **options) -> list[tuple[str, str]]:
    """(code, pointer) of everything that is wrong with a query."""
    with pytest.raises(QueryRejected) as caught:
        parse_url(query, **options) if isinstance(query, str) else parse_json(query)
    assert all(fault.detail for fault in caught.value.faults)
    assert caught.value.epcis_exception == "QueryParameterException"
    return [(fault.code, fault.pointer) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("EQ_bizStep=shipping|holding", {"EQ_bizStep": ["holding", "urn:epcglobal:cbv:bizstep:shipping"]}),
        ("EQ_bizStep=shipping%7Creceiving", {"EQ_bizStep": ["shipping", "receiving"]}),
        ("GE_eventTime=2026-11-05T09:15:00%2B01:00", {"GE_eventTime": "2026-11-05T08:15:00Z"}),
        ("GE_eventTime=2026-11-05T09:15:00+01:00", {"GE_eventTime": "2026-11-05T08:15:00.000Z"}),
        ("MATCH_epc=urn:epc:id:sgtin:9521141.012345.1", {"MATCH_epc": ["https://x.example/01/09521141123454/21/1"]}),
        ("EQ_quantity=5.0", {"EQ_quantity": [5]}),
        ("GE_quantity_KGM=5", {"GE_quantity_KGM": 5.0}),
        ("EQ_booleanValue=true", {"EQ_booleanValue": True}),
        ("EXISTS_errorDeclaration=true", {"EXISTS_errorDeclaration": None}),
        ("EXISTS_errorDeclaration=1", {"EXISTS_errorDeclaration": 1}),
        ("EXISTS_errorDeclaration=false", {}),
        (f"LT_errorDeclarationTime={NEW_YEAR}", {"LT_errorDeclaration_Time": NEW_YEAR}),
        ("EQ_ex:n=5", {"EQ_ex:n": ["5"]}),
        ("GT_ex:n=5", {"GT_ex:n": 5}),
        ("EQ_hexBinaryValue=F0f0", {"EQ_hexBinaryValue": ["f0F0"]}),
        ("orderBy=eventTime", {"orderBy": "eventTime", "orderDirection": "DESC"}),
        ("orderBy=eventTime&eventCountLimit=3", {"eventCountLimit": 3, "orderBy": "eventTime"}),
        ("maxEventCount=3", {"maxEventCount": 3}),
        ("EQ_action=ADD&EQ_bizStep=shipping", {"EQ_bizStep": ["shipping"], "EQ_action": ["ADD"]}),
        ("EQ_bizStep=my%3Astep", {"EQ_bizStep": ["my:step"]}),
    ],
)  # fmt: skip
def test_both_forms_are_one_query(url, body):
    assert parse_url(url).digest == parse_json(body).digest


def test_pages_of_a_query_share_its_digest_and_other_queries_do_not():
    assert parse_url("EQ_action=ADD&perPage=2").digest == parse_url("EQ_action=ADD&nextPageToken=x").digest
    others = (
        "", "EQ_action=ADD", "EQ_action=DELETE", "EQ_action=ADD|DELETE", "EQ_action=ADD&orderBy=eventTime",
        "EQ_action=ADD&orderBy=eventTime&orderDirection=ASC", "EQ_action=ADD&maxEventCount=1",
        "EQ_ex:a=1", "EQ_INNER_ex:a=1",
        "EQ_ILMD_ex:a=1", "GE_ex:a=1", "EQ_ex:a=2", "EQ_quantity=1", "EQ_quantity_KGM=1",
        "EQ_readPoint=urn:x:1", "WD_readPoint=urn:x:1",
        "EQ_source_location=urn:x:1", "EQ_destination_location=urn:x:1",
    )  # fmt: skip
    digests = [parse_url(other).digest for other in others]
    assert len(set(digests)) == len(others)


def test_a_context_and_a_header_declare_prefixes():
    declared = parse_json({"@context": [{"a": "https://ns.example/ex/"}], "EQ_a:n": ["x"]})
    assert declared.digest == parse_url("EQ_b:n=x", extensions="b=https://ns.example/ex/, c=urn:c:").digest
    assert declared.digest != parse_url("EQ_b:n=x").digest
    assert faults_of("EQ_b:n=x", extensions="b") == [("query.extensions", "/GS1-Extensions")]
    assert faults_of("EQ_b:n=x", extensions="b=no uri") == [("query.extensions", "/GS1-Extensions")]
    assert faults_of("EQ_b:n=x", extensions="1=https://ns.example") == [
        ("query.extensions", "/GS1-Extensions")
    ]


def test_master_data_attributes_have_one_namespace_however_it_is_declared():
    plain = parse_url("EQ_ILMD_cbvmda:lotNumber=x").digest
    for prefix in ("cbvmda", "m"):
        for namespace in ("urn:epcglobal:cbv:mda", "urn:epcglobal:cbv:mda:", "urn:epcglobal:cbv:mda#"):
            asked = parse_url(f"EQ_ILMD_{prefix}:lotNumber=x", extensions=f"{prefix}={namespace}")
            assert asked.digest == plain, (prefix, namespace)
    other = parse_url("EQ_ILMD_m:lotNumber=x", extensions="m=urn:epcglobal:cbv:md")
    assert other.digest != plain


def test_orders():
    assert parse_url("").order == OrderBy("recordTime", descending=False)
    assert parse_url("orderBy=recordTime").order == OrderBy("recordTime", descending=True)
    assert parse_url("orderBy=eventTime&orderDirection=ASC").order == OrderBy("eventTime", descending=False)
    by_field = parse_url("orderBy=INNER_ILMD_cbvmda:lotNumber").order
    assert by_field == OrderBy("urn:epcglobal:cbv:mda:lotNumber", Scope.ILMD, True, True)


def test_what_is_somebody_elses_parameter_is_left_to_them():
    assert parse_url("proof=true&EQ_action=ADD", others={"proof"}).digest == parse_url("EQ_action=ADD").digest
    assert faults_of("proof=true") == [("query.unknown", "/proof")]


def test_the_most_events_on_a_page():
    assert parse_url("perPage=1000000").per_page == PER_PAGE_MAX
    assert parse_url("").per_page == 30


NO_VALUES = ["MATCH_epc=", "EQ_bizStep", "EQ_eventID="]


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ("EQ_bizstep=shipping", "query.unknown", "/EQ_bizstep"),
        ("foo=1", "query.unknown", "/foo"),
        ("EQ_=1", "query.unknown", "/EQ_"),
        ("EQ_colour=red", "query.unknown", "/EQ_colour"),
        ("LE_eventTime=2026-11-05T08:15:00Z", "query.unknown", "/LE_eventTime"),
        ("GE_quantity_kilograms=1", "query.unknown", "/GE_quantity_kilograms"),
        ("GE_value=1", "query.unknown", "/GE_value"),
        ("EQ_bizTransaction_=urn:x:1", "query.unknown", "/EQ_bizTransaction_"),
        ("EQ_bizTransaction_pox=urn:x:1", "query.vocabulary", "/EQ_bizTransaction_pox"),
        ("EQ_ATTR_bizLocation=x", "query.unknown", "/EQ_ATTR_bizLocation"),
        ("a/b~c=1", "query.unknown", "/a~1b~0c"),
        ("EQ_action=ADD&EQ_action=DELETE", "query.twice", "/EQ_action"),
        ("EQ_action=add", "query.vocabulary", "/EQ_action"),
        ("EQ_action=urn:x:ADD", "query.vocabulary", "/EQ_action"),
        ("EQ_bizStep=shiping", "query.vocabulary", "/EQ_bizStep"),
        ("EQ_bizStep=urn:epcglobal:cbv:bizstep:shiping", "query.vocabulary", "/EQ_bizStep"),
        ("EQ_disposition=shipping", "query.vocabulary", "/EQ_disposition"),
        ("eventType=QuantityEvent", "query.vocabulary", "/eventType"),
        ("EQ_errorReason=oops", "query.vocabulary", "/EQ_errorReason"),
        ("EQ_bizStep=", "query.value", "/EQ_bizStep"),
        ("EQ_eventID=", "query.value", "/EQ_eventID"),
        ("MATCH_epc", "query.value", "/MATCH_epc"),
        ("EXISTS_errorDeclaration=maybe", "query.value", "/EXISTS_errorDeclaration"),
        ("EQ_booleanValue=", "query.value", "/EQ_booleanValue"),
        ("EQ_hexBinaryValue=xyz", "query.value", "/EQ_hexBinaryValue"),
        ("GE_eventTime=2026-11-05", "query.time", "/GE_eventTime"),
        ("GE_eventTime=2026-11-05T08:15:00", "query.time", "/GE_eventTime"),
        ("GE_eventTime=2026-02-30T08:15:00Z", "query.time", "/GE_eventTime"),
        ("GE_eventTime=2026-11-05T08:15:00Z|2026-11-05T08:15:00Z", "query.time", "/GE_eventTime"),
        ("GE_quantity=many", "query.value", "/GE_quantity"),
        ("GE_quantity=1|2", "query.value", "/GE_quantity"),
        ("GE_quantity=NaN", "query.value", "/GE_quantity"),
        ("GE_ex:n=abc", "query.value", "/GE_ex:n"),
        ("EQ_readPoint=not a uri", "query.uri", "/EQ_readPoint"),
        ("MATCH_epc=abc", "query.uri", "/MATCH_epc"),
        ("MATCH_epc=urn:epc:id:sgtin:9521141.012345", "gs1.urn", "/MATCH_epc"),
        ("MATCH_epc=https://id.gs1.org/01/09521141123455/21/1", "gs1.check-digit", "/MATCH_epc"),
        ("MATCH_epc=urn:epc:idpat:sgtin:*.012345.*", "gs1.pattern", "/MATCH_epc"),
        ("MATCH_epc=urn:epc:idpat:sgtin:9521141.*", "gs1.pattern", "/MATCH_epc"),
        ("MATCH_epc=urn:epc:idpat:sgtin:9521141.*.*.*", "gs1.pattern", "/MATCH_epc"),
        ("MATCH_epc=urn:epc:idpat:sgtin:9521141.01234*.*", "gs1.pattern", "/MATCH_epc"),
        ("MATCH_epc=urn:epc:idpat:sgtin:95.*.*", "gs1.company-prefix", "/MATCH_epc"),
        ("MATCH_epc=urn:epc:idpat:sgtin:9521141.12345.*", "gs1.value", "/MATCH_epc"),
        ("MATCH_epc=urn:epc:idpat:xyz:9521141.*", "gs1.scheme", "/MATCH_epc"),
        ("MATCH_epc=urn:epc:idpat:sgtin:", "gs1.pattern", "/MATCH_epc"),
        ("MATCH_epc=https://id.gs1.org/01/09521141123454/10/1/*", "gs1.pattern", "/MATCH_epc"),
        ("orderBy=quantity", "query.value", "/orderBy"),
        ("orderBy=", "query.value", "/orderBy"),
        ("orderBy=eventTime&orderDirection=asc", "query.value", "/orderDirection"),
        ("perPage=0", "query.value", "/perPage"),
        ("perPage=-1", "query.value", "/perPage"),
        ("perPage=1e3", "query.value", "/perPage"),
        ("perPage=%D9%A3", "query.value", "/perPage"),  # a digit, but not one of ASCII
        ("maxEventCount=0", "query.value", "/maxEventCount"),
        ("nextPageToken=", "query.token.malformed", "/nextPageToken"),
        ("maxEventCount=5&eventCountLimit=5&orderBy=eventTime", "query.contradiction", "/maxEventCount"),
        ("eventCountLimit=5", "query.contradiction", "/eventCountLimit"),
        (
            "GE_eventTime=2026-11-05T08:15:00Z&LT_eventTime=2026-11-05T08:14:00Z",
            "query.contradiction",
            "/LT_eventTime",
        ),
        ("EQ_action=%FF", "query.encoding", "/EQ_action=%FF".replace("EQ_action=", "")),
        ("EQ_stringValue=a%00b", "query.encoding", "/EQ_stringValue"),
    ],
)
def test_a_fault_has_a_code_and_names_its_parameter(query, code, pointer):
    assert faults_of(query) == [(code, pointer)]


@pytest.mark.parametrize(
    "body",
    [
        {"EQ_bizStep": "shipping"},
        {"EQ_bizStep": [1]},
        {"EQ_bizStep": None},
        {"GE_eventTime": 5},
        {"GE_eventTime": ["2026-11-05T08:15:00Z"]},
        {"GE_quantity": "5"},
        {"GE_quantity": True},
        {"EQ_quantity": ["5"]},
        {"EQ_booleanValue": "true"},
        {"EXISTS_errorDeclaration": "true"},
        {"EXISTS_errorDeclaration": 2},
        {"EQ_ex:n": {"a": 1}},
        {"EQ_ex:n": [True]},
        {"GT_ex:n": [1]},
        {"MATCH_epc": "urn:epc:id:sgtin:9521141.012345.1"},
        {"orderBy": 1},
    ],
)
def test_json_of_the_wrong_type_is_refused(body):
    assert faults_of(body) == [("query.type", f"/{next(iter(body))}")]


@pytest.mark.parametrize(
    "body", [{"perPage": "30"}, {"perPage": True}, {"maxEventCount": 1.5}, {"EQ_bizStep": []}]
)
def test_json_of_an_impossible_value_is_refused(body):
    assert faults_of(body) == [("query.value", f"/{next(iter(body))}")]


@pytest.mark.parametrize("body", [None, [], "x", 1])
def test_a_query_is_an_object(body):
    with pytest.raises(QueryRejected):
        parse_json(body)


def test_a_page_token_is_no_part_of_a_kept_query():
    assert faults_of({"nextPageToken": "x"}) == [("query.unknown", "/nextPageToken")]


def test_all_faults_are_told_and_each_says_how_to_put_it_right():
    with pytest.raises(QueryRejected) as caught:
        parse_url(
            "EQ_bizStep=shiping&GE_eventTime=x&foo=1&perPage=0&eventCountLimit=1&MATCH_epc=urn:epc:idpat:a:1"
        )
    codes = [fault.code for fault in caught.value.faults]
    assert codes == [
        "query.vocabulary", "query.time", "query.unknown", "query.value", "gs1.scheme", "query.contradiction"
    ]  # fmt: skip
    assert caught.value.faults[0].fix == "did you mean shipping?"
    assert "and 5 more" in caught.value.detail


def test_misspelt_names_are_recognised():
    with pytest.raises(QueryRejected) as caught:
        parse_url("EQ_bizLocations=urn:x:1")
    assert caught.value.fix == "did you mean EQ_bizLocation?"


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "query",
    [
        f"EQ_stringValue={LONG}",
        f"{LONG}=1",
        f"EQ_{LONG}:a=1",
        f"EQ_{LONG[:60_000]}:a=1",
        f"EQ_ex:{LONG[:60_000]}=1",
        f"EQ_ex:a={LONG[:60_000]}",
        f"EQ_eventID={'a|' * 30_000}",
        "&".join(f"EQ_ex:f{n}=1" for n in range(5_000)),
        "=" * 60_000,
        "%" * 60_000,
        f"MATCH_epc=urn:epc:idpat:sgtin:{'*.' * 25_000}",
        f"MATCH_epc=urn:epc:id:sgtin:{'9' * 60_000}",
        f"MATCH_epc=https://x.example/{'01/' * 20_000}",
        f"EQ_ATTR_{'_' * 60_000}=1",
        f"HASATTR_{'a:' * 30_000}=1",
        f"GE_eventTime={'2' * 60_000}",
        f"GE_quantity={'9' * 60_000}",
        f"orderBy={'a:' * 30_000}",
        f"EQ_{'INNER_' * 10_000}ex:a=1",
        f"nextPageToken={LONG[:60_000]}",
        f"perPage={'9' * 60_000}",
    ],
)
def test_what_is_too_long_is_refused_soon(query):
    start = time.process_time()
    found = faults_of(query)
    assert time.process_time() - start < 1.0
    assert found
    assert len(json.dumps(found)) < 100_000


def test_a_hundred_kilobytes_are_too_long_a_url():
    assert faults_of(f"EQ_stringValue={LONG}") == [("query.length", "")]
    assert faults_of("&".join(f"EQ_ex:f{n}=1" for n in range(5_000))) == [("query.length", "")]


def test_every_name_of_the_official_binding_is_known(shared):
    """The OpenAPI's parameters with their own examples, and the query schema's names and patterns."""
    artefacts = shared / "epcis" / "artefacts"
    openapi = json.loads((artefacts / "epcis-rest-openapi.json").read_bytes())
    schema = json.loads((artefacts / "query-schema.json").read_bytes())["definitions"]["EPCIS-Query"]
    names = {one["name"] for one in openapi["components"]["parameters"].values() if one["in"] == "query"}
    names -= {"second", "minute", "hour", "dayOfMonth", "month", "dayOfWeek", "reportIfEmpty", "stream"}
    names -= {"initialRecordTime"}  # these are of subscriptions
    names |= set(schema["properties"]) - {"@context"}
    for pattern in schema["patternProperties"]:
        name = pattern.strip("^$").replace(r"[a-z][a-zA-Z0-9]*\\:\\w+", "ex:field")
        name = name.replace("[A-Z0-9]{2,4}", "KGM")
        name = name.replace("source_[a-z][a-zA-Z0-9_]+", "source_location").replace(
            r"ATTR_\\w+_\\w+", "ATTR_readPoint_x"
        )
        name = name.replace("destination_[a-z][a-zA-Z0-9_]+", "destination_location")
        names.add(name.replace("bizTransaction_[a-z][a-zA-Z0-9_]+", "bizTransaction_po"))
    assert len(names) > 160
    for name in names:
        try:
            parse_url(f"{quote(name)}=x")
        except QueryRejected as rejected:
            assert "query.unknown" not in {fault.code for fault in rejected.faults}, name  # noqa: PT017


@given(
    st.lists(st.sampled_from(list(questions(FULL))), max_size=12, unique_by=lambda one: one.partition("=")[0])
)
def test_parameters_can_stand_in_any_order(parts):
    assert parse_url("&".join(parts)).digest == parse_url("&".join(reversed(parts))).digest


NAMES = st.one_of(
    st.sampled_from(sorted({one.partition("=")[0] for one in questions(FULL)})), st.text(max_size=40)
)


@given(st.lists(st.tuples(NAMES, st.text(max_size=60)), max_size=6))
def test_no_url_does_anything_but_parse_or_be_refused(pairs):
    try:
        parse_url(
            "&".join(
                ask(name.encode("utf-8", "replace").decode(), value.encode("utf-8", "replace").decode())
                for name, value in pairs
            )
        )
    except QueryRejected as rejected:
        assert rejected.faults  # noqa: PT017


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=30)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.one_of(NAMES, st.just("@context")), JSON, max_size=5))
def test_no_json_does_anything_but_parse_or_be_refused(body):
    try:
        parse_json(body)
    except QueryRejected as rejected:
        assert rejected.faults  # noqa: PT017
