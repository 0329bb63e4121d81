"""A whole document is one statement: one entry, all of its events or none, each found by its place."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import tt_documents
import tt_keys
import tt_site
from tt_door import LoopGate

from api.packs import Packs
from api.reading import Reading
from intake.flow import Flow
from intake.service import event_typs
from ledger.audit import audit
from projection.projector import Projector
from projection.statements import events_of
from projection.store import open_writer as open_projection
from traceability.documents import read_named_document
from traceability.gs1 import canonical
from traceability.history import history
from traceability.names import index_key, names_of_payload, pack_names
from verifier import evidence

ALLOWED = event_typs()


@pytest.fixture
def site(tmp_path):
    made = tt_site.Site(tmp_path)
    yield made
    assert audit(made.reader, [made.signer.verifier], tt_keys.ORIGIN).findings == ()
    made.close()


def submit(site, *lines, behaviour="rollback"):
    return site.intake.submit(list(lines), behaviour=behaviour, allowed_typs=ALLOWED)


def pack_name(serial):
    return canonical(tt_site.pack_urn(serial))


def shipped(*serials):
    return [
        tt_site.object_event(
            tt_site.LINE_START + timedelta(minutes=n), [tt_site.pack_urn(serial)], "shipping"
        )
        for n, serial in enumerate(serials)
    ]


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_document_is_one_entry_and_each_event_has_its_place(site, form):
    value = (
        tt_documents.document(shipped("a", "b", "c")) if form == "json" else tt_documents.xml("a", "b", "c")
    )
    before = site.reader.read_head().tree_size
    (result,) = submit(site, tt_documents.sign(site, "acme", value)).results
    assert result.status == "appended", result.faults
    assert site.reader.read_head().tree_size == before + 1
    for ordinal, serial in enumerate("abc"):
        (item,) = history(site.reader, pack_name(serial)).items
        assert (item.seq, item.ordinal) == (before, ordinal)
        assert item.event.derived_from == (None if form == "json" else "xml")
        assert [epc.name for epc in item.event.epcs] == [pack_name(serial)]


def test_the_same_document_again_is_a_duplicate_and_the_event_alone_is_not(site):
    value = tt_documents.document(shipped("a"))
    first = submit(site, tt_documents.sign(site, "acme", value)).results[0]
    again = submit(site, tt_documents.sign(site, "acme", value)).results[0]
    assert (again.status, again.seq) == ("duplicate", first.seq)
    alone = submit(site, site.sign("acme", shipped("a")[0])).results[0]
    assert alone.status == "appended"


@pytest.mark.parametrize("behaviour", ["rollback", "proceed"])
@pytest.mark.parametrize("form", ["json", "xml"])
def test_one_bad_event_refuses_its_document_whole_with_every_fault(site, behaviour, form):
    if form == "json":
        events = shipped("a", "b", "c", "d")
        events[1]["bizStep"] = 7
        events[3]["epcList"] = "x"
        bad = tt_documents.document(events)
        pointers = ["/epcisBody/eventList/1/bizStep", "/epcisBody/eventList/3/epcList"]
    else:
        bad = tt_documents.xml("a", "b").replace(b"OBSERVE", b"LOOK")
        pointers = ["/epcisBody/eventList/0/action", "/epcisBody/eventList/1/action"]
    lines = [site.sign("acme", shipped("e")[0]), tt_documents.sign(site, "acme", bad)]
    good, refused = submit(site, *lines, behaviour=behaviour).results
    assert good.status == ("appended" if behaviour == "proceed" else "rolled-back")
    assert refused.status == "refused"
    assert [fault.pointer for fault in refused.faults if fault.code != "epcis.what"] == pointers
    for serial in "abcd":
        assert history(site.reader, pack_name(serial)).items == ()


@pytest.mark.parametrize("form", ["json", "xml"])
def test_ten_thousand_faults_are_counted_and_the_loop_lives(site, form):
    if form == "json":
        bad = json.dumps(tt_documents.document([{"type": "x"}] * 12_000), separators=(",", ":")).encode()
    else:
        bad = tt_documents.xml("a").replace(b"<ObjectEvent>", b"<a/>" * 12_000 + b"<ObjectEvent>")
    (refused,) = submit(site, tt_documents.sign(site, "acme", bad)).results
    assert refused.status == "refused"
    assert len(refused.faults) == 10_001
    assert refused.faults[-1].code == "epcis.faults"


ENTITY = b'<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
ATTACKS = {
    "billion laughs": tt_documents.xml("a").replace(b"<epcis:", ENTITY + b"<epcis:", 1),
    "external entity": tt_documents.xml("a").replace(
        b"<epcis:", b'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><epcis:', 1
    ),
    "nested too deep": tt_documents.xml("a", extra="<ex:a>" * 5000 + "</ex:a>" * 5000),
    "other encoding than said": tt_documents.xml("a").decode().encode("utf-16"),
    "torn": tt_documents.xml("a")[:-9],
    "no EPCIS": b"<html/>",
    "json in a comment": b"<!-- " + json.dumps(tt_documents.document([])).encode() + b" -->",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_xml_is_refused_at_the_door_and_names_nothing(site, name):
    before = site.reader.read_head().tree_size
    (result,) = submit(site, tt_documents.sign(site, "acme", ATTACKS[name])).results
    assert result.status == "refused"
    assert result.faults[0].code.startswith("xml.")
    assert site.reader.read_head().tree_size == before
    assert names_of_payload(tt_documents.TYP, ATTACKS[name]) == ()


def test_xml_is_no_event_and_a_document_is_no_event(site):
    for payload in (tt_documents.xml("a"), json.dumps(tt_documents.document(shipped("a"))).encode()):
        line = tt_documents.sign(site, "acme", payload)
        mislabelled = tt_keys.sign_event(site.keys["acme"], payload)
        assert submit(site, mislabelled).results[0].status == "refused"
        assert submit(site, line).results[0].status == "appended"


def test_a_document_needs_an_emitter(site):
    (result,) = submit(site, tt_documents.sign(site, "operator", tt_documents.document(shipped("a")))).results
    assert result.faults[0].code == "authority.role"


def test_names_of_bytes_are_the_names_that_were_indexed(site):
    payload = tt_documents.xml("a", "b")
    names = names_of_payload(tt_documents.TYP, payload)
    assert names == ((0, pack_name("a")), (1, pack_name("b")))
    (result,) = submit(site, tt_documents.sign(site, "acme", payload)).results
    for ordinal, name in names:
        assert site.reader.find_name(index_key(name), limit=5) == [(result.seq, ordinal)]
    assert len(pack_names(names)) == 24


def whole_journey(site, serial, form):
    """The pack's whole way in one document, between a stranger's events."""
    events = [event for _, event in tt_site.journey(serial)]
    other = tt_site.object_event(tt_site.LINE_START, [tt_site.pack_urn("other")], "shipping")
    return tt_documents.document([other, *events, other])


def test_a_history_follows_boxes_within_one_document(site):
    (result,) = submit(site, tt_documents.sign(site, "acme", whole_journey(site, "100", "json"))).results
    items = history(site.reader, pack_name("100")).items
    assert [(item.seq, item.ordinal) for item in items] == [(result.seq, n) for n in range(1, 11)]
    assert [len(item.via) for item in items] == [0, 0, 1, 2, 2, 2, 1, 1, 1, 0]


def test_evidence_over_documents_verifies_and_is_held_to_its_product(site):
    case, pallet = tt_site.case_urn(1), tt_site.case_urn(2)
    at = tt_site.LINE_START
    # The case goes onto the pallet before the pack goes into the case, in one and the same document.
    first = [
        tt_site.aggregation(at, pallet, [case], "packing"),
        tt_site.aggregation(at, case, [tt_site.pack_urn("1")], "packing"),
    ]
    submit(site, tt_documents.sign(site, "acme", tt_documents.document(first)))
    submit(site, tt_documents.sign(site, "carrier", tt_documents.xml("1", "2")))
    site.append(("carrier", tt_site.object_event(at, [pallet], "loading")))
    site.publish()
    packs = Packs(site.services, Reading(site.services))
    made = packs.evidence(pack_name("1"))
    report = evidence.verify(made, site.trust, expected_subject=pack_name("1"))
    found = {
        (check.name, check.outcome) for check in report.checks if check.name in ("subject", "signatures")
    }
    assert ("subject", "ok") in found, report.checks
    assert all(outcome == "ok" for _, outcome in found)


def test_evidence_whose_document_is_about_something_else_is_refuted(site):
    from verifier.errors import EvidenceRefuted
    from verifier.product import Told, require_about

    told = Told(5, tt_documents.TYP, tt_documents.xml("1", "2"))
    require_about(pack_name("2"), [told])
    with pytest.raises(EvidenceRefuted):
        require_about(pack_name("3"), [told])
    broken = Told(5, tt_documents.TYP, tt_documents.xml("1").replace(b"OBSERVE", b"LOOK"))
    with pytest.raises(EvidenceRefuted):
        require_about(pack_name("1"), [broken])


def test_the_consumer_page_tells_a_journey_out_of_one_document(site):
    value = whole_journey(site, "100", "json")
    submit(site, tt_documents.sign(site, "acme", value))
    site.publish()
    shown = site.client.get(f"/01/{tt_site.GTIN}/21/100")
    assert shown.status_code == 200
    assert "Brookhaven Pharma" in shown.text


def test_the_history_shows_single_events_of_documents_and_says_what_is_derived(site):
    events = shipped("a", "b")
    value = tt_documents.document(events)
    value["epcisBody"]["eventList"][1]["@context"] = [{"own": "https://own.example/"}]
    submit(site, tt_documents.sign(site, "acme", value))
    submit(site, tt_documents.sign(site, "acme", tt_documents.xml("b")))
    submit(site, site.sign("acme", shipped("b")[0]))
    whole, derived, alone = site.client.get(f"/history?epc={pack_name('b')}").get_json()["events"]
    assert (whole["ordinal"], derived["ordinal"]) == (1, 0)
    assert whole["event"]["epcList"] == derived["event"]["epcList"] == [tt_site.pack_urn("b")]
    assert whole["event"]["@context"] == [*value["@context"], {"own": "https://own.example/"}]
    assert [item.get("derived_from") for item in (whole, derived, alone)] == [None, "xml", None]
    assert alone["event"] == shipped("b")[0]


def test_the_projection_has_each_event_with_the_context_of_its_document(site, tmp_path):
    events = shipped("a", "b")
    events[1]["ex:shelf"] = "A-12"
    (result,) = submit(site, tt_documents.sign(site, "acme", tt_documents.document(events))).results
    submit(site, tt_documents.sign(site, "acme", tt_documents.xml("c", extra="<ex:shelf>B-1</ex:shelf>")))
    found = dict(events_of(site.reader.read_statement(result.seq)))
    assert found[1]["ex:shelf"] == "A-12"
    assert found[1]["@context"][1] == {"ex": "https://example.com/ns/"}
    writer = open_projection(tmp_path / "ledger.db")
    progress = Projector(site.reader, writer).catch_up()
    writer.close()
    assert (progress.behind, progress.events) == (0, 3)


def test_large_documents_are_judged_beside_small_events_on_the_loop(site):
    large = tt_documents.sign(site, "acme", tt_documents.document(shipped(*(f"L{n}" for n in range(300)))))
    assert len(large) > 64_000
    lines = [site.sign("acme", event) for event in shipped("x", "y")]
    order = [lines[0], large, lines[1]]
    with ThreadPoolExecutor(2) as pool:
        flow = Flow(site.intake, LoopGate(site), pool)
        outcome = asyncio.run(flow.submit(order, behaviour="rollback", allowed_typs=ALLOWED))
    assert [result.status for result in outcome.results] == ["appended"] * 3
    (item,) = history(site.reader, pack_name("L299")).items
    assert (item.seq, item.ordinal) == (outcome.results[1].seq, 299)


def test_a_document_is_shown_whole_or_not_at_all(tmp_path):
    site = tt_site.Site(tmp_path, read="none")
    (result,) = submit(
        site, tt_documents.sign(site, "acme", tt_documents.document(shipped("a", "b")))
    ).results
    assert site.client.get(f"/statements/{result.seq}").status_code == 403
    site.close()


def test_the_statement_page_shows_a_document_and_its_places():
    page = (Path(__file__).parents[2] / "docs/formats/statement.md").read_text()
    payload = page.partition("```json document\n")[2].partition("\n```")[0]
    places = page.partition("```places\n")[2].partition("\n```")[0].splitlines()
    assert read_named_document(payload.encode(), now=None).names
    assert [f"{at}  {name}" for at, name in names_of_payload(tt_documents.TYP, payload.encode())] == places


def test_a_history_out_of_many_large_documents_holds_little(site, monkeypatch):
    """What is kept of a document are its bytes and the events asked for, and of all documents so much."""
    lines = [
        tt_documents.sign(site, "acme", tt_documents.document(shipped("p", *(f"{n}-{m}" for m in range(60)))))
        for n in range(6)
    ]
    submit(site, *lines)
    reads = []

    class Counting:
        def __getattr__(self, name):
            return getattr(site.reader, name)

        def read_records(self, seqs):
            reads.extend(seqs)
            return site.reader.read_records(seqs)

    whole = history(Counting(), pack_name("p"))
    assert (len(whole.items), whole.truncated, len(reads)) == (6, False, 6)
    monkeypatch.setattr("traceability.history.SIZE_READ_MAX", 2 * len(lines[0]))
    cut = history(site.reader, pack_name("p"))
    assert cut.truncated
    assert 2 <= len(cut.items) <= 4
    assert cut.items == whole.items[: len(cut.items)]


def test_a_document_is_read_once_for_all_of_its_events(site):
    events = [event for _, event in tt_site.journey("100")]
    submit(site, tt_documents.sign(site, "acme", tt_documents.document(events * 3)))
    reads = []

    class Counting:
        def __getattr__(self, name):
            return getattr(site.reader, name)

        def read_records(self, seqs):
            reads.extend(seqs)
            return site.reader.read_records(seqs)

    assert len(history(Counting(), pack_name("100")).items) >= 10
    assert len(reads) == 1
