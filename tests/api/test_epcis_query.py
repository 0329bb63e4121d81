"""The query interface of EPCIS 2.0 over HTTP, on a real ledger with its real projection."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import quote, urlsplit

import pytest
import tt_site
from tt_site import Site

from api.event_queries import EventQueries, shown
from ledger.proof import parse as parse_receipt
from projection.engine import Engine, Found
from projection.kept import open_kept
from projection.projector import Projector
from projection.resources import Resources
from projection.store import open_reader, open_writer
from tallystick.projector_process import assign_event_id
from traceability.epcis_xml import read_document

PACK = tt_site.pack_urn("1000000042")


class Asking:
    """A site whose events can be asked for."""

    def __init__(self, site: Site) -> None:
        self.site = site
        database = site.path
        self.writer = open_writer(database)
        self.projector = Projector(site.services.reader, self.writer, assign_event_id)
        self.projector.catch_up()
        self.reader = open_reader(database)
        engine = Engine(
            site.services.reader, self.reader, b"k" * 32, clock=site.clock, assign_id=assign_event_id
        )
        self.kept = open_kept(database)
        self.client = site.served_with(queries=EventQueries(engine, Resources(engine), self.kept))

    def get(self, path: str, status: int = 200, **options):
        response = self.client.get(path, **options)
        assert response.status_code == status, response.data
        return response

    def close(self) -> None:
        for one in (self.kept, self.reader, self.writer):
            one.close()
        self.site.close()


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("query"))
    site.append(*tt_site.journey("1000000042"))
    found = Asking(site)
    yield found
    found.close()


def events_of(response) -> list[dict]:
    document = json.loads(response.data)
    assert document["type"] == "EPCISQueryDocument"
    assert document["epcisBody"]["queryResults"]["queryName"]
    return document["epcisBody"]["queryResults"]["resultsBody"]["eventList"]


def test_events_are_answered_with_what_they_said(asking):
    response = asking.get("/events")
    assert response.headers["Content-Type"] == "application/ld+json"
    found = events_of(response)
    assert found
    for event in found:
        assert event["recordTime"].endswith("Z")
        assert event["eventID"].startswith(("ni:///sha-256;", "urn:"))
    assert int(response.headers["Tallystick-Covered"]) == asking.site.log.head.tree_size
    # An assigned eventID finds its event again, by query and by path.
    wanted = found[0]["eventID"]
    assert [
        event["eventID"] for event in events_of(asking.get(f"/events?EQ_eventID={quote(wanted, safe='')}"))
    ] == [wanted]
    assert events_of(asking.get(f"/events/{quote(wanted, safe='')}"))[0] == found[0]


def test_a_filter_in_any_spelling(asking):
    words = {event["bizStep"] for event in events_of(asking.get("/events"))}
    step = sorted(words)[0]
    plain = events_of(asking.get(f"/events?EQ_bizStep={step}"))
    urn = events_of(asking.get(f"/events?EQ_bizStep=urn:epcglobal:cbv:bizstep:{step}"))
    assert plain == urn
    assert {event["bizStep"] for event in plain} == {step}
    assert events_of(asking.get(f"/events?MATCH_anyEPC={PACK}"))


def test_a_query_that_cannot_be_read_is_named_as_in_epcis_and_told_how(asking):
    kept = "/queries/for-errors"
    made = asking.client.post("/queries", json={"name": "for-errors", "query": {}})
    assert made.status_code == 201
    for path, exception in (
        (f"{kept}/events?EQ_action=ADD", "QueryParameterException"),
        ("/events?proof=perhaps", "QueryParameterException"),
        ("/events?MATCH_epc=urn:epc:idpat:sgtin:061*.*", "QueryParameterException"),
        ("/bizSteps?EQ_action=ADD", "QueryParameterException"),
        ("/queries?EQ_action=ADD", "QueryParameterException"),
    ):
        problem = asking.get(path, 400).get_json(force=True)
        assert (problem["type"], bool(problem["fix"])) == (f"epcisException:{exception}", True), path
    for body in ([], {"name": "x"}, {"name": 5, "query": {}}, {"name": "x", "query": {}, "more": 1}):
        problem = asking.client.post("/queries", json=body).get_json(force=True)
        assert (problem["type"], bool(problem["fix"])) == ("epcisException:QueryValidationException", True)
    asking.client.delete(kept)


def test_an_answer_of_nothing_has_no_media_type(asking):
    for path in ("/events", "/queries", "/bizSteps"):
        assert "Content-Type" not in asking.client.options(path).headers
    assert asking.client.head("/events").headers["Content-Type"] == "application/ld+json"
    # A range without statements is empty, and still of its type.
    none = asking.get("/statements?start=2&end=2")
    assert (none.data, none.mimetype) == (b"", "application/vnd.tallystick.jws-lines")


def test_links_lead_through_all_pages(asking):
    everything = events_of(asking.get("/events?orderBy=eventTime&perPage=1000"))
    seen, path = [], "/events?orderBy=eventTime&perPage=2"
    while path:
        response = asking.get(path)
        seen += events_of(response)
        link = response.headers.get("Link")
        assert (link is None) == (response.headers.get("GS1-Next-Page-Token-Expires") is None)
        path = ""
        if link:
            address, _, relation = link.partition(">")
            assert relation == '; rel="next"'
            parts = urlsplit(address.removeprefix("<"))
            assert f"{parts.scheme}://{parts.netloc}" == tt_site.BASE_URL
            path = f"{parts.path}?{parts.query}"
    assert seen == everything


def test_a_bad_query_is_answered_with_every_fault(asking):
    response = asking.get("/events?EQ_bizStep=shiping&foo=1&perPage=0", 400)
    problem = json.loads(response.data)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["type"] == "epcisException:QueryParameterException"
    assert [(fault["code"], fault["pointer"]) for fault in problem["faults"]] == [
        ("query.vocabulary", "/EQ_bizStep"),
        ("query.unknown", "/foo"),
        ("query.value", "/perPage"),
    ]
    assert problem["faults"][0]["fix"] == "did you mean shipping?"


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/events?maxEventCount=1", 413, "QueryTooLargeException"),
        ("/events?nextPageToken=x", 400, "QueryParameterException"),
        ("/events?EQ_stringValue=" + "x" * 60_000, 400, "QueryParameterException"),
        ("/events/urn:uuid:nobody", 404, "NoSuchResourceException"),
        ("/bizSteps/killing", 404, "NoSuchResourceException"),
        ("/bizSteps/no_step/events", 404, "NoSuchResourceException"),
        ("/epcs/urn:epc:id:sgtin:9521141.012345.1/events", 404, "NoSuchResourceException"),
        ("/queries/nobody", 404, "NoSuchNameException"),
        ("/queries/nobody/events", 404, "NoSuchNameException"),
    ],
)
def test_each_error_has_the_standards_name(asking, path, status, kind):
    assert json.loads(asking.get(path, status).data)["type"] == f"epcisException:{kind}"


@pytest.mark.parametrize(
    "kind", ["eventTypes", "epcs", "bizSteps", "bizLocations", "readPoints", "dispositions"]
)
def test_resources_lead_to_their_events(asking, kind):
    listed = json.loads(asking.get(f"/{kind}?perPage=1000").data)
    assert listed["type"] == "Collection"
    assert listed["member"] or kind == "bizLocations"  # no event of the journey says one
    for value in listed["member"][:5]:
        path = f"/{kind}/{quote(value, safe='')}"
        assert json.loads(asking.get(path).data)["member"] == ["events"]
        assert events_of(asking.get(f"{path}/events"))
        assert asking.client.options(f"{path}/events").status_code in (200, 204)
    one = asking.get(f"/{kind}?perPage=1")
    assert json.loads(one.data)["member"] == listed["member"][:1]
    if len(listed["member"]) > 1:
        path = urlsplit(one.headers["Link"].partition(">")[0].removeprefix("<"))
        assert json.loads(asking.get(f"{path.path}?{path.query}").data)["member"] == listed["member"][1:2]
    asking.get(f"/{kind}?EQ_action=ADD", 400)


def test_an_epc_is_found_by_its_link_and_narrowed(asking):
    link = quote(f"https://id.gs1.org/01/{tt_site.GTIN}/21/1000000042", safe="")
    assert events_of(asking.get(f"/epcs/{link}/events")) == events_of(
        asking.get(f"/events?MATCH_anyEPC={PACK}")
    )
    assert len(events_of(asking.get(f"/epcs/{link}/events?EQ_bizStep=commissioning"))) == 1


def test_proof_brings_statement_and_receipt(asking):
    plain = events_of(asking.get("/events?perPage=3"))
    proved = events_of(asking.get("/events?perPage=3&proof=true"))
    for event, bare in zip(proved, plain, strict=True):
        seq = event["tallystick:seq"]
        assert event["tallystick:statement"].encode() == asking.get(f"/statements/{seq}").data
        receipt = parse_receipt(event["tallystick:receipt"].encode())
        assert receipt.index == seq
        assert receipt.extra == asking.get(f"/entries/{seq}").data
        assert {"tallystick": "urn:tallystick:proof:"} in event["@context"]
        assert bare["eventID"] == event["eventID"]
    asking.get("/events?proof=maybe", 400)


def test_queries_are_kept_and_run(asking):
    body = {"name": "made", "query": {"EQ_bizStep": ["commissioning"], "orderBy": "eventTime"}}
    created = asking.client.post("/queries", json=body)
    assert (created.status_code, created.headers["Location"]) == (201, f"{tt_site.BASE_URL}/queries/made")
    again = asking.client.post("/queries", json=body)
    assert (again.status_code, json.loads(again.data)["type"]) == (
        409,
        "epcisException:ResourceAlreadyExistsException",
    )
    assert json.loads(asking.get("/queries").data) == [body]
    assert json.loads(asking.get("/queries/made").data) == body
    found = asking.get("/queries/made/events?perPage=10")
    assert {event["bizStep"] for event in events_of(found)} == {"commissioning"}
    assert json.loads(found.data)["epcisBody"]["queryResults"]["queryName"] == "made"
    asking.get("/queries/made/events?EQ_action=ADD", 400)
    assert asking.client.delete("/queries/made").status_code == 204
    assert asking.client.delete("/queries/made").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        [], {}, {"name": "x"}, {"name": 1, "query": {}}, {"name": "x", "query": []},
        {"name": "a/b", "query": {}},
        {"name": "x", "query": {"EQ_bizStep": "shipping"}}, {"name": "x", "query": {}, "dest": "http://127.0.0.1"},
        {"name": "x", "query": {"nextPageToken": "x"}},
    ],
)  # fmt: skip
def test_a_bad_query_is_not_kept(asking, body):
    assert asking.client.post("/queries", json=body).status_code == 400
    assert json.loads(asking.get("/queries").data) == []


def test_versions_and_formats_are_agreed_on(asking):
    response = asking.get(
        "/events", headers={"GS1-EPCIS-Min": "1.2", "GS1-EPCIS-Max": "2.0", "GS1-CBV-Version": "2.0.1"}
    )
    assert (response.headers["GS1-EPCIS-Version"], response.headers["GS1-EPC-Format"]) == (
        "2.0.0",
        "Never_Translates",
    )
    for name, value in (
        ("GS1-EPCIS-Min", "2.1"), ("GS1-EPCIS-Max", "1.2"), ("GS1-EPCIS-Version", "1.2"),
        ("GS1-CBV-Min", "3"),
        ("GS1-EPC-Format", "Always_Barcodes"),
        ("Accept", "text/csv"),
    ):  # fmt: skip
        refused = asking.get("/events", 406, headers={name: value})
        assert json.loads(refused.data)["type"] == "epcisException:NotAcceptableException"
    asking.get("/events", 400, headers={"GS1-EPCIS-Version": "two"})
    translated = events_of(
        asking.get(f"/events?MATCH_anyEPC={PACK}", headers={"GS1-EPC-Format": "Always_GS1_Digital_Link"})
    )
    assert any(
        f"https://id.gs1.org/01/{tt_site.GTIN}/21/1000000042" in event.get("epcList", ())
        for event in translated
    )
    assert "urn:epc:id:" not in json.dumps([event.get("readPoint") for event in translated])


def test_epcs_are_told_as_urns_where_the_event_shows_how(asking):
    def told(epc_format):
        return events_of(
            asking.get("/events?perPage=1000&orderBy=eventTime", headers={"GS1-EPC-Format": epc_format})
        )

    plain, urns, links = map(told, ("No_Preference", "Always_EPC_URN", "Always_GS1_Digital_Link"))
    assert {event["eventID"] for event in plain} == {event["eventID"] for event in urns}
    for as_urn, as_link in zip(urns, links, strict=True):
        for one in as_urn.get("epcList", ()):
            assert one.startswith("urn:epc:id:") or "tallystick:untranslated" in as_urn
        assert not any(one.startswith("urn:epc:id:sgtin") for one in as_link.get("epcList", ()))


def test_what_cannot_be_told_as_urn_is_named(asking):
    event = {
        "@context": "x",
        "type": "ObjectEvent",
        "epcList": [f"https://id.gs1.org/01/{tt_site.GTIN}/21/5", PACK],
    }
    found = Found(7, 0, event, asking.site.clock(), "urn:x:1")
    assert "tallystick:untranslated" not in shown(found, "Always_EPC_URN")
    alone = {"@context": "x", "type": "ObjectEvent", "epcList": event["epcList"][:1]}
    told = shown(replace(found, event=alone), "Always_EPC_URN")
    assert told["epcList"] == alone["epcList"]
    assert told["tallystick:untranslated"] == ["/epcList/0 gs1.company-prefix"]
    assert told["@context"] == ["x", {"tallystick": "urn:tallystick:proof:"}]
    assert alone["@context"] == "x"


@pytest.mark.parametrize("proof", ["false", "true"])
def test_answers_come_in_xml_too(asking, proof):
    path = f"/events?perPage=1000&proof={proof}"
    response = asking.get(path, headers={"Accept": "application/xml"})
    assert response.headers["Content-Type"].partition(";")[0] == "application/xml"
    assert response.headers["GS1-CBV-XML-Format"] == "Always_URN"
    read = read_document(response.data)
    assert [fault for event in read.events for fault in event.faults] == []
    expected = events_of(asking.get(path))
    assert [event.value["eventID"] for event in read.events] == [event["eventID"] for event in expected]
    assert b"urn:epcglobal:cbv:bizstep:commissioning" in response.data
    web = asking.get(
        path, headers={"Accept": "text/xml;q=0.9, text/csv", "GS1-CBV-XML-Format": "Always_Web_URI"}
    )
    assert web.headers["Content-Type"].partition(";")[0] == "text/xml"
    assert b"https://ref.gs1.org/cbv/BizStep-commissioning" in web.data
    assert b"urn:epcglobal:cbv:bizstep:" not in web.data


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/events", {"Accept": "text/html"}),
        ("/events", {"Accept": "application/xml", "GS1-CBV-XML-Format": "Never_Translates"}),
        ("/events", {"Accept": "application/json;q=0"}),
        ("/bizSteps", {"Accept": "application/xml"}),
        ("/queries", {"Accept": "application/xml"}),
    ],
)
def test_what_is_not_spoken_is_not_answered_otherwise(asking, path, headers):
    refused = asking.get(path, 406, headers=headers)
    assert json.loads(refused.data)["type"] == "epcisException:NotAcceptableException"
    assert "Always_EPC_URN" in refused.headers["GS1-EPC-Format"]


def test_the_media_type_is_the_one_asked_for(asking):
    for accept, expected in (
        ("*/*", "application/ld+json"),
        ("application/json", "application/json"),
        ("application/*", "application/ld+json"),
        ("application/xml;q=0.5, application/ld+json", "application/ld+json"),
    ):
        assert asking.get("/events", headers={"Accept": accept}).headers["Content-Type"] == expected


def test_the_top_lists_the_standards_nine_resources(asking):
    for accept in ("application/json", "application/ld+json, text/html;q=0.1"):
        response = asking.get("/", headers={"Accept": accept})
        listed = json.loads(response.data)
        assert listed["type"] == "Collection"
        assert set(listed["member"]) == {
            "queries", "capture", "events", "eventTypes", "epcs", "readPoints", "bizLocations",
            "dispositions", "bizSteps",
        }  # fmt: skip
        assert len(listed["member"]) == 9
        assert response.headers["GS1-EPCIS-Version"] == "2.0.0"
    for headers in ({}, {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, {"Accept": "*/*"}):
        page = asking.get("/", headers=headers)
        assert page.headers["Content-Type"].startswith("text/html")
        assert b"Look up a pack" in page.data
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    asking.get("/", 406, headers={"Accept": "image/png"})


def test_options_tell_what_is_spoken(asking):
    for path in (
        "/",
        "/eventTypes/ObjectEvent/events",
        "/events/urn:x:1",
        "/events",
        "/queries",
        "/epcs",
        "/queries/x/events",
    ):
        response = asking.client.options(path)
        assert response.headers["GS1-EPCIS-Min"] == response.headers["GS1-EPCIS-Max"] == "2.0.0"
        assert "Never_Translates" in response.headers["GS1-EPC-Format"]
        assert "GET" in response.headers["Allow"]


def test_who_may_not_read_events_is_shown_none(tmp_path):
    site = Site(tmp_path, read="none")
    site.append(*tt_site.journey("1000000042"))
    closed = Asking(site)
    try:
        assert events_of(closed.get("/events?maxEventCount=1")) == []
        assert json.loads(closed.get("/epcs").data)["member"] == []
        assert json.loads(closed.get("/bizSteps").data)["member"] == []
        closed.get(f"/epcs/{quote(PACK, safe='')}", 404)
    finally:
        closed.close()
