"""With nothing but the address: a good ledger passes, an altered one is named, and still answers."""

from __future__ import annotations

import httpx2
import pytest
import tt_rows
import tt_site
from tt_site import Site

from verifier.ledger_audit import audit
from verifier.url_reader import UrlReader
from verifier.verdict import Verdict

SERIAL = "1000000042"


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.seqs = site.append(*tt_site.journey(SERIAL))
    site.anchor()
    yield site
    site.close()


def audited(client_of):
    with UrlReader("http://ledger.test", transport=httpx2.WSGITransport(app=client_of.app)) as reader:
        return audit(reader, client_of.trust)


def named(report):
    return {check.seq for check in report.checks if check.outcome == "bad" and check.seq is not None}


def test_a_good_ledger_passes_by_its_address(site):
    report = audited(site)
    assert report.verdict in (Verdict.VALID, Verdict.NOT_YET_ANCHORED), report.to_json()
    assert not named(report)


@pytest.mark.parametrize(
    "alter",
    [
        lambda raw: raw[:-3] + b"AAA",  # another signature
        lambda raw: raw.replace(b".", b".A", 1),
        lambda raw: raw[:40],
        lambda raw: b"garbage",
        lambda raw: raw + b"\n",
        lambda raw: b"\xff" + raw,
    ],
)
def test_an_altered_statement_is_named_by_its_address(site, alter):
    seq = site.seqs[3]
    site.tamper("statements", seq, alter(site.reader.read_statement(seq)))
    report = audited(site)
    assert report.verdict is not Verdict.VALID
    assert seq in {check.seq for check in report.checks if check.outcome != "ok"}


@pytest.mark.parametrize(
    "alter", [lambda raw: raw.replace(b"event", b"evens"), lambda raw: b"{}", lambda raw: b""]
)
def test_an_altered_entry_is_named_by_its_address(site, alter):
    seq = site.seqs[3]
    site.tamper("entries", seq, alter(site.reader.read_entry(seq)))
    report = audited(site)
    assert report.verdict is Verdict.INVALID
    assert seq in named(report)


@pytest.mark.parametrize("table", ["statements", "entries"])
@pytest.mark.parametrize("value", [b"", b"garbage", b"a.b.c", b"\x00" * 2000])
@pytest.mark.parametrize("is_whole_row", [False, True], ids=["one", "row"])
def test_nothing_stored_makes_the_server_blame_its_caller(site, table, value, is_whole_row):
    for seq in (site.seqs[0], 1, 0):
        if is_whole_row:
            tt_rows.damage_row(site.path, table, seq, value)
        else:
            site.tamper(table, seq, value)
        size = site.log.head.tree_size
        for path in (
            f"/statements?start=0&end={size}",
            f"/statements/{seq}",
            f"/entries/{seq}",
            f"/receipts/{seq}",
            f"/tile/entries/000.p/{size}",
            f"/proof/inclusion?index={seq}&size={size}",
            f"/proof/consistency?old=1&new={size}",
            f"/history?epc={tt_site.pack_urn(SERIAL)}",
            f"/evidence?epc={tt_site.pack_urn(SERIAL)}",
            "/checkpoint",
            "/readyz",
            "/metrics",
        ):
            response = site.client.get(path)
            assert response.status_code in (200, 500), (path, response.text)
            if response.status_code == 500:
                assert response.json["code"] == "record.damaged", (path, response.text)
        page = site.client.get(f"/01/{tt_site.GTIN}/21/{SERIAL}")
        assert page.status_code in (200, 500)
        assert "checks out" not in page.text
        assert 'class="verdict ok"' not in page.text


@pytest.mark.parametrize("with_name", [True, False])
def test_a_recall_made_unreadable_leaves_no_clean_history_behind(site, with_name):
    recall = tt_site.object_event(
        tt_site.LINE_START, [tt_site.pack_urn(SERIAL)], "holding", disposition="recalled", place=4
    )
    (seq,) = site.append(("pharmacy", recall))
    site.anchor()
    recall["epcList"] = [tt_site.pack_urn(SERIAL if with_name else "another")]
    recall["disposition"] = "sellable_accessible"
    site.tamper("statements", seq, site.sign("pharmacy", recall))
    page = site.client.get(f"/01/{tt_site.GTIN}/21/{SERIAL}")
    assert "Do not rely on this record" in page.text
    assert 'class="verdict bad"' in page.text


def test_a_statement_that_is_gone_is_410_and_makes_no_green_page(site):
    seq = site.seqs[4]
    site.lose_statement(seq)
    assert site.client.get(f"/statements/{seq}").status_code == 410
    assert site.client.get(f"/history?epc={tt_site.pack_urn(SERIAL)}").json["withheld"] == 1
    lines = site.client.get(f"/statements?start={seq}&end={seq + 2}").data.split(b"\n")
    assert lines[0] == b""
    assert lines[1]
    page = site.client.get(f"/01/{tt_site.GTIN}/21/{SERIAL}")
    assert "Part of this record is missing" in page.text
    assert 'class="verdict warn"' in page.text


def test_a_hole_is_served_as_one_and_never_cached(site):
    seq = site.seqs[2]
    site.tamper("entries", seq, b"")
    size = site.log.head.tree_size
    response = site.client.get(f"/tile/entries/000.p/{size}")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
