"""What an auditor takes home: bytes as they were signed, proofs that verify, evidence that stands alone."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
import tt_keys
import tt_site
from tt_site import Site

from ledger import checkpoint as checkpoints
from ledger import entry as entry_format
from ledger import merkle
from verifier import evidence
from verifier.trust import Trust, parse_genesis
from verifier.verdict import Verdict

PACK = "https://id.gs1.org/01/09520123456788/21/1000000042"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("auditors"))
    site.append(*tt_site.journey("1000000042"))
    site.anchor()
    yield site
    site.close()


def get(site, path, **arguments):
    return site.client.get(path, query_string=arguments)


def hashes(path):
    return [base64.b64decode(item, validate=True) for item in path]


def test_statements_come_as_they_were_signed_one_a_line(site):
    size = site.log.head.tree_size
    response = get(site, "/statements", start=0, end=size)
    assert response.headers["Content-Type"] == "application/vnd.tallystick.jws-lines"
    lines = response.data.split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == size
    for seq, line in enumerate(lines):
        entry = entry_format.parse(get(site, f"/entries/{seq}").data)
        assert entry.statement == hashlib.sha256(line).digest()
        assert get(site, f"/statements/{seq}").data == line


def test_a_range_beyond_the_end_is_answered_as_far_as_the_log_goes(site):
    size = site.log.head.tree_size
    assert get(site, "/statements", start=size - 1, end=size + 50).data.count(b"\n") == 1
    assert get(site, "/statements", start=size, end=size + 50).data == b""
    assert get(site, "/statements", start=3, end=3).data == b""


def test_one_answer_holds_a_bounded_number_of_statements(site):
    client = site.served_with(limits=tt_site.Limits(statements_page_max=4))
    assert client.get("/statements?start=0&end=999999").data.count(b"\n") == 4
    client = site.served_with(limits=tt_site.Limits(statements_page_size_max=1))
    assert client.get("/statements?start=2&end=9").data == site.client.get("/statements/2").data + b"\n"


def test_entries_are_canonical_and_never_change(site):
    response = get(site, "/entries/3")
    assert entry_format.render(entry_format.parse(response.data)) == response.data
    assert response.headers["Content-Type"] == "application/json"
    assert "immutable" in response.headers["Cache-Control"]


def test_inclusion_proofs_verify_at_every_size(site):
    size = site.log.head.tree_size
    for index, at in [(0, 1), (0, size), (3, 5), (size - 1, size), (size // 2, size - 1)]:
        answer = get(site, "/proof/inclusion", index=index, size=at).json
        merkle.verify_inclusion(
            base64.b64decode(answer["leaf_hash"]),
            index,
            at,
            hashes(answer["path"]),
            base64.b64decode(answer["root_hash"]),
        )
    signed = checkpoints.parse_unverified(get(site, "/checkpoint").data)
    answer = get(site, "/proof/inclusion", index=2, size=signed.tree_size).json
    assert base64.b64decode(answer["root_hash"]) == signed.root_hash


def test_consistency_proofs_verify_between_all_sizes(site):
    size = site.log.head.tree_size
    for old, new in [(1, size), (4, 7), (size, size), (size - 1, size)]:
        answer = get(site, "/proof/consistency", old=old, new=new).json
        merkle.verify_consistency(
            old,
            new,
            base64.b64decode(answer["old_root_hash"]),
            base64.b64decode(answer["new_root_hash"]),
            hashes(answer["path"]),
        )


@pytest.mark.parametrize(
    "spelling",
    [
        "urn:epc:id:sgtin:9520123.045678.1000000042",
        PACK,
        "https://shop.example/01/09520123456788/10/L1/21/1000000042",
        "https://id.gs1.org/01/09520123456788/10/L1/21/1000000042?17=280531",
        "(01)09520123456788(17)280531(10)L1(21)1000000042",
        "]d201095201234567881728053110L1\x1d211000000042",
    ],
)
def test_history_is_found_under_every_spelling(site, spelling):
    answer = get(site, "/history", epc=spelling).json
    assert answer["epc"] == PACK
    assert answer["truncated"] is False
    assert len(answer["events"]) == 10
    assert [event["seq"] for event in answer["events"]] == sorted(event["seq"] for event in answer["events"])
    first, *_, last = answer["events"]
    assert first["event"]["bizStep"] == "commissioning"
    assert first["via"] == []
    assert last["event"]["bizStep"] == "unpacking"
    inside = [event for event in answer["events"] if event["via"]]
    assert len(inside) >= 5
    assert "not proved" in answer["note"]


@pytest.mark.parametrize(
    ("epc", "status", "code"),
    [
        ("https://id.gs1.org/01/09520123456788/21/999", 404, "history.none"),
        ("https://id.gs1.org/01/09520123456789/21/999", 400, "gs1.check-digit"),
        ("urn:epc:id:sgtin:1.2.3", 400, None),
        ("hello", 400, "gs1.unknown"),
        ("(01)09520123456789(21)1000000042", 400, "gs1.check-digit"),
        ("(01)09520123456788(17)280599(21)1000000042", 400, "gs1.date"),
        ("(99)1000000042", 400, "gs1.no-key"),
    ],
)
def test_products_that_are_not_there_or_cannot_be(site, epc, status, code):
    for path in ("/history", "/evidence"):
        response = get(site, path, epc=epc)
        assert response.status_code == status
        assert code in (None, response.json["code"])


def test_evidence_is_a_file_that_verifies_offline(site):
    response = get(site, "/evidence", epc=PACK)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/vnd.tallystick.evidence+json"
    assert response.headers["Content-Disposition"] == (
        'attachment; filename="evidence-01-09520123456788-21-1000000042.json"'
    )
    report = evidence.verify(response.data, site.trust, expected_subject=PACK)
    assert report.verdict is Verdict.VALID, report.to_json()
    assert evidence.verify(response.data, Trust(), expected_subject=PACK).verdict is Verdict.UNKNOWN_KEY


def test_a_file_name_cannot_break_its_header(site):
    serial = '"; filename="x/../../etc'
    site.append(
        ("acme", tt_site.object_event(site.clock(), [tt_site.pack_urn("%22%2F..%2Fx")], "inspecting")),
    )
    response = get(site, "/evidence", epc=tt_site.pack_urn("%22%2F..%2Fx"))
    assert response.status_code == 200
    name = response.headers["Content-Disposition"].removeprefix('attachment; filename="').removesuffix('"')
    assert name == "evidence-01-09520123456788-21-22-2F-2Fx.json"
    assert get(site, "/evidence", epc=tt_site.pack_urn(serial)).status_code == 400


def test_trust_tells_what_to_pin_and_warns_of_itself(site):
    answer = get(site, "/trust").json
    assert answer["origin"] == tt_keys.ORIGIN
    assert answer["log_keys"] == [site.signer.vkey]
    assert "elsewhere" in answer["warning"]
    genesis = parse_genesis(answer["files"]["genesis"].encode())
    assert base64.b64decode(answer["genesis_leaf_hash"]) == genesis.leaf_hash
    assert genesis.leaf_hash == entry_format.leaf_hash(get(site, "/entries/0").data)


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("closed"), read="none")
    site.append(*tt_site.journey("7"))
    site.publish()
    yield site
    site.close()


def test_payloads_are_withheld_and_everything_that_proves_is_public(closed):
    size = closed.log.head.tree_size
    event = size - 1
    assert get(closed, f"/statements/{event}").status_code == 403
    assert get(closed, f"/statements/{event}").json["code"] == "statement.withheld"
    assert get(closed, f"/entries/{event}").status_code == 200
    assert get(closed, f"/receipts/{event}").status_code == 200
    assert get(closed, "/statements/0").status_code == 200
    assert get(closed, "/statements/1").status_code == 200


def test_a_withheld_statement_is_an_empty_line_and_shifts_nothing(closed):
    size = closed.log.head.tree_size
    lines = get(closed, "/statements", start=0, end=size).data.split(b"\n")[:-1]
    assert len(lines) == size
    kinds = [entry_format.parse(get(closed, f"/entries/{seq}").data).kind for seq in range(size)]
    for kind, line in zip(kinds, lines, strict=True):
        assert (line == b"") == (kind == "event")


def test_histories_and_evidence_are_withheld_whether_or_not_there_are_any(closed):
    for epc in (tt_site.pack_urn("7"), tt_site.pack_urn("no-such-pack")):
        for path in ("/history", "/evidence"):
            assert get(closed, path, epc=epc).status_code == 403


def test_the_page_says_that_it_is_not_public(closed):
    for serial in ("7", "no-such-pack"):
        response = closed.client.get(f"/01/{tt_site.GTIN}/21/{serial}")
        assert response.status_code == 403
        assert "is not public" in response.text
        assert "Brookhaven" not in response.text


def test_json_of_a_history_is_what_was_signed(site):
    answer = get(site, "/history", epc=PACK).json
    for item in answer["events"]:
        payload = get(site, f"/statements/{item['seq']}").data.split(b".")[1]
        assert json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))) == item["event"]
