"""POST /events: one event, recorded once, under one name; what comes twice by other doors is reported."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import pytest
import tt_documents
import tt_keys
import tt_site

from api.app import create_app
from api.event_queries import EventQueries
from api.services import Captures
from intake.capture_jobs import CLAIM_MS, open_jobs
from projection import identity
from projection.engine import Engine
from projection.identity import Identities
from projection.kept import open_kept
from projection.projector import Projector
from projection.resources import Resources
from projection.store import open_reader, open_writer
from tallystick.projector_process import assign_event_id
from traceability.event_hash import event_hash

JOSE = {"Content-Type": "application/jose"}
EXISTS = "epcisException:ResourceAlreadyExistsException"


class Served:
    """A site with its projection, which covers what a test lets it cover."""

    def __init__(self, folder):
        self.site = tt_site.Site(folder)
        self.writer = open_writer(self.site.path)
        self.projector = Projector(self.site.reader, self.writer, assign_event_id)
        self.projector.catch_up()
        self.reader = open_reader(self.site.path)
        self.engine = Engine(
            self.site.reader, self.reader, b"k" * 32, clock=self.site.clock, assign_id=assign_event_id
        )
        self.kept = open_kept(self.site.path)
        self.jobs = open_jobs(self.site.path)
        self.identities = Identities(self.site.reader, self.engine, assign_event_id)
        captures = Captures(self.jobs, lambda: None, b"k" * 32, self.identities)
        queries = EventQueries(self.engine, Resources(self.engine), self.kept)
        self.app = create_app(replace(self.site.services, queries=queries, captures=captures))
        self.client = self.app.test_client()

    def post(self, value, party="acme", headers=JOSE, **options):
        body = value if isinstance(value, bytes) else self.site.sign(party, value, **options)
        return self.client.post("/events", data=body, headers=headers)

    def findings(self):
        self.projector.catch_up()
        return self.client.get("/findings").get_json()["findings"]

    def close(self):
        for one in (self.kept, self.jobs, self.reader, self.writer, self.site):
            one.close()


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path)
    yield made
    made.close()


def event(serial, **members):
    return {
        **tt_site.object_event(tt_site.LINE_START, [tt_site.pack_urn(serial)], "inspecting"),
        **members,
    }


def declaration(value, **members):
    moment = (tt_site.LINE_START + timedelta(days=1)).isoformat()
    return {**value, "errorDeclaration": {"declarationTime": moment, **members}}


def test_an_event_is_recorded_before_the_answer_under_its_own_id(served):
    value = event("a", eventID="urn:uuid:831c0292-4de1-430a-8255-2aca821abaab")
    answer = served.post(value)
    assert answer.status_code == 201
    assert answer.get_json() == value
    assert answer.headers["Location"] == "/events/urn%3Auuid%3A831c0292-4de1-430a-8255-2aca821abaab"
    assert answer.headers["GS1-EPCIS-Version"] == "2.0.0"
    assert served.site.reader.read_statement(int(answer.headers["Tallystick-Seq"])) is not None
    served.projector.catch_up()
    shown = served.client.get(answer.headers["Location"])
    assert (
        shown.get_json()["epcisBody"]["queryResults"]["resultsBody"]["eventList"][0]["eventID"]
        == value["eventID"]
    )


def test_what_was_recorded_is_told_as_it_was_signed_whatever_format_is_wanted(served):
    value = event("a", eventID="urn:uuid:831c0292-4de1-430a-8255-2aca821abaac")
    answer = served.post(value, headers={**JOSE, "GS1-EPC-Format": "Always_GS1_Digital_Link"})
    assert answer.get_json() == value
    assert answer.headers["GS1-EPC-Format"] == "Never_Translates"
    assert "Always_GS1_Digital_Link" in served.client.options("/events").headers["GS1-EPC-Format"]


def test_an_event_without_an_id_is_known_by_its_hash(served):
    value = event("a")
    answer = served.post(value)
    assert answer.get_json()["eventID"] == event_hash(value)
    assert answer.headers["Location"] == "/events/" + quote(event_hash(value), safe="")
    served.projector.catch_up()
    assert served.client.get(answer.headers["Location"]).status_code == 200


@pytest.mark.parametrize("covered", [True, False])
def test_the_same_event_again_is_there_already(served, covered):
    """Whoever sends it, whatever else its signature or id is, and whether or not the projection knows it."""
    first = served.post(event("a", eventID="urn:uuid:1"))
    assert first.status_code == 201
    if covered:
        served.projector.catch_up()
    size = served.site.reader.read_head().tree_size
    for again, party in (
        (event("a", eventID="urn:uuid:1"), "acme"),
        (event("a", eventID="urn:uuid:1"), "carrier"),
        (event("a", eventID="urn:uuid:2"), "carrier"),
        (event("a"), "acme"),
        (event("b", eventID="urn:uuid:1"), "carrier"),
    ):
        answer = served.post(again, party)
        assert (answer.status_code, answer.get_json()["type"]) == (409, EXISTS), (again, answer.data)
        assert answer.headers["Location"] == "/events/urn%3Auuid%3A1", "of the event that is there"
        assert answer.get_json()["fix"]
    assert served.site.reader.read_head().tree_size == size


@pytest.mark.parametrize("covered", [True, False])
def test_an_error_declaration_has_the_same_id_and_corrects(served, covered):
    value = event("a", eventID="urn:uuid:1")
    served.post(value)
    if covered:
        served.projector.catch_up()
    corrected = served.post(declaration(value, correctiveEventIDs=["urn:uuid:3"]))
    assert corrected.status_code == 201
    assert corrected.headers["Location"] == "/events/urn%3Auuid%3A1"
    assert served.post(declaration(value, correctiveEventIDs=["urn:uuid:3"])).status_code == 409
    assert served.post(event("c", eventID="urn:uuid:3")).status_code == 201
    served.projector.catch_up()
    shown = served.client.get("/events/urn%3Auuid%3A1").get_json()
    assert len(shown["epcisBody"]["queryResults"]["resultsBody"]["eventList"]) == 2
    assert served.post(value, "carrier").status_code == 409
    assert served.findings() == []


def test_events_that_came_by_other_doors_are_known(served):
    value = event("a")
    served.site.append(("acme", value))
    assert served.post(value, "carrier").status_code == 409
    line = tt_documents.sign(served.site, "acme", tt_documents.document([event("b", eventID="urn:uuid:7")]))
    served.site.intake.submit([line], allowed_typs={tt_documents.TYP})
    assert served.post(event("z", eventID="urn:uuid:7")).status_code == 409
    served.projector.catch_up()
    assert served.post(event("b"), "carrier").status_code == 409


def test_of_many_at_once_one_is_recorded(served):
    lines = [
        served.site.sign(party, event("a")) for party in ("acme", "carrier", "distributor") for _ in "12"
    ]
    codes, lock = [], threading.Lock()
    barrier = threading.Barrier(len(lines))

    def send(line):
        client = served.app.test_client()
        barrier.wait()
        while (answer := client.post("/events", data=line, headers=JOSE)).status_code == 503:
            assert answer.headers["Retry-After"]
        with lock:
            codes.append(answer.status_code)

    threads = [threading.Thread(target=send, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(codes) == [201] + [409] * (len(lines) - 1)


def test_a_claim_of_somebody_who_was_killed_ends(served):
    now = int(1000 * served.site.clock().timestamp())
    assert served.jobs.hold([event_hash(event("a"))], now) is not None
    assert served.post(event("a")).status_code == 503
    assert served.post(event("b")).status_code == 201
    served.site.clock.forward(milliseconds=CLAIM_MS)
    assert served.post(event("a")).status_code == 201


def test_what_lags_too_far_behind_is_not_guessed(served, monkeypatch):
    monkeypatch.setattr(identity, "TAIL_MAX", 1)
    served.site.append(("acme", event("a")), ("acme", event("b")))
    answer = served.post(event("c"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    served.projector.catch_up()
    assert served.post(event("c")).status_code == 201


def test_what_is_wrong_is_named_as_in_epcis(served):
    good = event("a")
    bad_signature = served.site.sign("acme", good)
    cases = {
        "invalid": (served.site.sign("acme", {**good, "action": "LOOK"}), 400, "ValidationException"),
        "no hash and no id": (
            served.site.sign(
                "acme", {**good, "@context": [tt_site.CONTEXT, "https://x.example/c"], "own:x": 1}
            ),
            400,
            "ValidationException",
        ),
        "signature": (bad_signature[:-8] + b"AAAAAAAA", 403, "SecurityException"),
        "stranger": (
            tt_keys.sign_event(tt_keys.ed25519_key("stranger"), json.dumps(good).encode()),
            403,
            "SecurityException",
        ),
        "operator": (served.site.sign("operator", good), 403, "SecurityException"),
        "other ledger": (served.site.sign("acme", good, aud="x.example/y"), 403, "SecurityException"),
        "document": (
            tt_documents.sign(served.site, "acme", tt_documents.xml("a")),
            400,
            "ValidationException",
        ),
        "unsigned": (json.dumps(good).encode(), 400, "ValidationException"),
        "torn": (b"a.b.c", 400, "ValidationException"),
    }
    size = served.site.reader.read_head().tree_size
    for name, (body, status, kind) in cases.items():
        answer = served.post(body)
        assert (name, answer.status_code) == (name, status)
        assert (name, answer.get_json()["type"]) == (name, f"epcisException:{kind}")
        assert answer.get_json()["status"] == status
    plain = served.client.post("/events", json=good)
    assert (plain.status_code, plain.get_json()["type"]) == (
        415,
        "epcisException:UnsupportedMediaTypeException",
    )
    assert plain.get_json()["example"]["header"]["typ"] == "epcis-event+jws"
    assert served.site.reader.read_head().tree_size == size
    assert served.post(good).status_code == 201, "no refusal may leave a claim behind"


def test_options_say_what_may_be_done(served):
    answer = served.client.options("/events")
    assert answer.status_code == 204
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "HEAD", "OPTIONS", "POST"}
    assert answer.headers["GS1-EPCIS-Version"] == "2.0.0"
    assert answer.headers["GS1-EPCIS-Capture-Limit"] == "10000"


def test_what_came_twice_by_other_doors_is_found(served):
    one, wrong = event("a"), event("b", eventID="ni:///sha-256;00?ver=CBV2.0")
    right = event("c")
    right["eventID"] = event_hash(right)
    seqs = served.site.append(
        ("acme", one), ("carrier", one), ("acme", wrong), ("acme", right), ("acme", declaration(one))
    )
    document = tt_documents.document([event("d"), one])
    line = tt_documents.sign(served.site, "acme", document)
    last = served.site.intake.submit([line], allowed_typs={tt_documents.TYP}).results[0].seq
    found = [(one["seq"], one["ordinal"], one["code"]) for one in served.findings()]
    assert found == [
        (seqs[1], 0, "event.hash.twice"),
        (seqs[2], 0, "event.hash.other"),
        (last, 1, "event.hash.twice"),
    ]
    # Made again from the log, the same.
    served.writer.restart(b"x" * 32)
    served.projector = Projector(served.site.reader, served.writer, assign_event_id)
    assert [(one["seq"], one["ordinal"], one["code"]) for one in served.findings()] == found
    behind = served.client.get(f"/findings?after={seqs[1]}.0").get_json()
    assert [one["seq"] for one in behind["findings"]] == [seqs[2], last]
    assert behind["covered"] == served.site.reader.read_head().tree_size


def test_findings_come_in_pages(served, monkeypatch):
    monkeypatch.setattr("api.findings.PAGE_SIZE", 2)
    served.site.append(*((party, event("a")) for party in ("acme", "carrier", "distributor", "pharmacy")))
    served.projector.catch_up()
    document = tt_documents.document([event("a")] * 3)
    served.site.intake.submit(
        [tt_documents.sign(served.site, "acme", document)], allowed_typs={tt_documents.TYP}
    )
    served.projector.catch_up()
    seen, address = [], "/findings"
    while address:
        page = served.client.get(address).get_json()
        seen += [(one["seq"], one["ordinal"]) for one in page["findings"]]
        address = page["after"] and f"/findings?after={page['after']}"
    assert len(seen) == len(set(seen)) == 6
    for bad in ("x", "1", "1.", "-1.0", "1.0.0"):
        assert served.client.get(f"/findings?after={bad}").status_code == 400
