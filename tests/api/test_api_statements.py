"""The partners' door: positions, one checkpoint, receipts that verify, and a fault for each bad line."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
import tt_keys
import tt_site
from tt_site import Site

from keys import base64url, envelope
from ledger import checkpoint as checkpoints
from ledger import proof as proofs

JOSE = "application/jose"
LINES = "application/vnd.tallystick.jws-lines"


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


def inspected(site, *serials, party="acme"):
    return [
        site.sign(party, tt_site.object_event(site.clock(), [tt_site.pack_urn(serial)], "inspecting"))
        for serial in serials
    ]


def post_lines(site, lines, *, query="", **headers):
    return site.client.post(
        f"/statements{query}", data=b"\n".join(lines), content_type=LINES, headers=headers or None
    )


def test_one_statement_is_appended_and_answered_with_its_place(site):
    (line,) = inspected(site, "1")
    response = site.client.post("/statements", data=line, content_type=JOSE)
    assert response.status_code == 201
    assert response.headers["Content-Type"] == "application/json"
    seq = site.log.head.tree_size - 1
    assert response.json["results"] == [
        {
            "line": 0,
            "status": "appended",
            "seq": seq,
            "digest": base64url.encode(hashlib.sha256(line).digest()),
            "duplicate": False,
        }
    ]
    checkpoint = checkpoints.open_checkpoint(
        response.json["checkpoint"].encode(), [site.signer.verifier], tt_keys.ORIGIN
    )
    assert checkpoint.tree_size == seq + 1
    assert site.client.get(f"/statements/{seq}").data == line


def test_many_statements_take_neighbouring_places_under_one_checkpoint(site):
    lines = inspected(site, *map(str, range(50)))
    first = site.log.head.tree_size
    response = post_lines(site, [*lines, b""])  # a line feed at the end or none: both are fine
    assert response.status_code == 201
    assert [result["seq"] for result in response.json["results"]] == list(range(first, first + 50))
    assert [result["line"] for result in response.json["results"]] == list(range(50))


def test_receipts_verify_offline_for_every_line(site):
    lines = inspected(site, *map(str, range(300)))
    response = post_lines(site, lines, query="?receipts=true")
    assert response.status_code == 201
    for line, result in zip(lines, response.json["results"], strict=True):
        entry, checkpoint = proofs.verify_receipt(
            result["receipt"].encode(),
            [site.signer.verifier],
            tt_keys.ORIGIN,
            statement_digest=hashlib.sha256(line).digest(),
        )
        assert entry.seq == result["seq"]
        assert checkpoint.tree_size == site.log.head.tree_size


@pytest.mark.parametrize("size", [6, 7, 8, 255, 256, 257, 511, 513, 600])
def test_receipts_are_right_at_every_awkward_tree_size(site, size):
    lines = inspected(site, *map(str, range(size - site.log.head.tree_size)))
    if lines:
        post_lines(site, lines)
    site.publish()
    for seq in sorted({0, 1, size // 2, size - 2, size - 1}):
        response = site.client.get(f"/receipts/{seq}")
        statement = site.client.get(f"/statements/{seq}").data
        entry, checkpoint = proofs.verify_receipt(
            response.data,
            [site.signer.verifier],
            tt_keys.ORIGIN,
            statement_digest=hashlib.sha256(statement).digest(),
        )
        assert (entry.seq, checkpoint.tree_size) == (seq, size)
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_receipt_is_there_before_its_checkpoint_is_published(site):
    (line,) = inspected(site, "1")
    seq = site.client.post("/statements", data=line, content_type=JOSE).json["results"][0]["seq"]
    receipt = site.client.get(f"/receipts/{seq}").data
    entry, _ = proofs.verify_receipt(
        receipt,
        [site.signer.verifier],
        tt_keys.ORIGIN,
        statement_digest=hashlib.sha256(line).digest(),
    )
    assert entry.seq == seq


def test_the_same_statement_again_appends_nothing_and_gets_the_first_receipt(site):
    (line,) = inspected(site, "1")
    first = site.client.post("/statements?receipts=true", data=line, content_type=JOSE)
    size = site.log.head.tree_size
    again = site.client.post("/statements?receipts=true", data=line, content_type=JOSE)
    assert again.status_code == 200
    assert site.log.head.tree_size == size
    (result,) = again.json["results"]
    assert result["status"] == "duplicate"
    assert result["duplicate"] is True
    for member in ("seq", "digest", "receipt"):
        assert result[member] == first.json["results"][0][member]


def test_the_same_event_signed_anew_is_the_same_statement(site):
    event = tt_site.object_event(site.clock(), [tt_site.pack_urn("1")], "inspecting")
    first, second = site.sign("acme", event), site.sign("acme", event)
    assert first != second
    response = post_lines(site, [first, second])
    assert response.status_code == 201
    one, two = response.json["results"]
    assert two["duplicate"] is True
    assert (two["seq"], two["digest"]) == (one["seq"], one["digest"])


def test_one_bad_line_of_500_takes_all_with_it_and_is_named(site):
    lines = inspected(site, *map(str, range(500)))
    head, payload, _ = lines[321].split(b".")
    lines[321] = b".".join([head, payload, base64url.encode(bytes(64)).encode()])
    size = site.log.head.tree_size
    response = post_lines(site, lines)
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json["code"] == "statements.refused"
    assert [fault["line"] for fault in response.json["faults"]] == [321]
    assert set(response.json["faults"][0]) >= {"line", "pointer", "code", "detail"}
    assert site.log.head.tree_size == size


def test_proceed_appends_the_good_lines_and_names_the_bad_one(site):
    lines = inspected(site, *map(str, range(5)))
    lines[2] = lines[2][:-4]
    size = site.log.head.tree_size
    response = post_lines(site, lines, query="?receipts=true", **{"GS1-Capture-Error-Behaviour": "proceed"})
    assert response.status_code == 200
    statuses = [result["status"] for result in response.json["results"]]
    assert statuses == ["appended", "appended", "refused", "appended", "appended"]
    bad = response.json["results"][2]
    assert "seq" not in bad
    assert "receipt" not in bad
    assert bad["faults"][0]["line"] == 2
    assert site.log.head.tree_size == size + 4
    assert all("receipt" in result for result in response.json["results"] if result["status"] == "appended")


def test_proceed_with_nothing_good_appends_nothing(site):
    size = site.log.head.tree_size
    response = post_lines(site, [b"x", b"y"], **{"GS1-Capture-Error-Behaviour": "proceed"})
    assert response.status_code == 200
    assert [result["status"] for result in response.json["results"]] == ["refused", "refused"]
    assert response.json["checkpoint"] is None
    assert site.log.head.tree_size == size


@pytest.mark.parametrize("value", ["Rollback", "all", "", "proceed, rollback"])
def test_other_error_behaviours_are_refused(site, value):
    response = post_lines(site, inspected(site, "1"), **{"GS1-Capture-Error-Behaviour": value})
    assert response.status_code == 400
    assert response.json["code"] == "http.header.error-behaviour"


def test_faults_of_an_event_point_into_it_and_say_how_to_mend_it(site):
    event = tt_site.object_event(site.clock(), ["urn:epc:id:sgtin:9520123.045678"], "inspecting")
    event["eventTimeZoneOffset"] = "noon"
    del event["action"]
    response = site.client.post("/statements", data=site.sign("acme", event), content_type=JOSE)
    assert response.status_code == 400
    pointers = {fault["pointer"] for fault in response.json["faults"]}
    assert {"/eventTimeZoneOffset"} <= pointers
    assert all(fault["line"] == 0 for fault in response.json["faults"])
    assert len(response.json["faults"]) >= 2


def test_a_wrong_check_digit_is_400_with_its_pointer(site):
    event = tt_site.object_event(site.clock(), ["https://id.gs1.org/01/09520123456789/21/1"], "inspecting")
    response = site.client.post("/statements", data=site.sign("acme", event), content_type=JOSE)
    assert response.status_code == 400
    (fault,) = response.json["faults"]
    assert fault["code"] == "gs1.check-digit"
    assert fault["pointer"].startswith("/epcList/0")


@pytest.mark.parametrize(
    ("mend", "status", "code"),
    [
        (lambda site, event: site.sign("acme", event, aud="other.example/ledger"), 422, "jws.aud"),
        (lambda site, event: site.sign("acme", event, typ="anchor+jws"), 422, "statement.typ"),
        (lambda site, event: site.sign("operator", event), 422, "authority.role"),
        (lambda site, event: b"a.b.c", 400, None),
        (lambda site, event: b"", 400, None),
        (lambda site, event: site.sign("acme", event) + b"\r", 400, None),
        (lambda site, event: b" " + site.sign("acme", event), 400, None),
        (lambda site, event: site.sign("acme", event) + b"=", 400, None),
    ],
)
def test_what_is_wrong_with_a_statement_comes_back_by_its_code(site, mend, status, code):
    event = tt_site.object_event(site.clock(), [tt_site.pack_urn("1")], "inspecting")
    size = site.log.head.tree_size
    response = post_lines(site, [mend(site, event), *inspected(site, "2")])
    assert response.status_code == status
    assert [fault["line"] for fault in response.json["faults"]] == [0]
    if code is not None:
        assert response.json["faults"][0]["code"] == code
    assert site.log.head.tree_size == size


def test_an_unknown_key_is_422(site):
    stranger = tt_keys.ed25519_key("stranger")
    event = tt_site.object_event(site.clock(), [tt_site.pack_urn("1")], "inspecting")
    raw = envelope.sign(
        stranger, typ="epcis-event+jws", aud=tt_keys.ORIGIN, payload=json.dumps(event).encode()
    )
    response = site.client.post("/statements", data=raw, content_type=JOSE)
    assert response.status_code == 422
    assert response.json["faults"][0]["code"] == "key.unknown"


def test_a_revoked_key_is_422(site):
    site.revoke("acme", reason="ceased")
    response = post_lines(site, inspected(site, "1"))
    assert response.status_code == 422
    assert response.json["faults"][0]["code"] == "key.revoked"


def test_a_key_statement_registers_and_its_key_may_speak_at_once(site):
    site.keys["newcomer"] = tt_keys.ed25519_key("newcomer")
    before = post_lines(site, inspected(site, "1", party="newcomer"))
    assert before.json["faults"][0]["code"] == "key.unknown"
    response = site.client.post("/keys?receipts=true", data=site.registration("newcomer"), content_type=JOSE)
    assert response.status_code == 201
    assert "receipt" in response.json["results"][0]
    assert post_lines(site, inspected(site, "1", party="newcomer")).status_code == 201


def test_an_event_is_not_a_key_statement_nor_the_other_way(site):
    (event,) = inspected(site, "1")
    wrong_door = site.client.post("/keys", data=event, content_type=JOSE)
    assert wrong_door.status_code == 422
    assert wrong_door.json["faults"][0]["code"] == "statement.typ"
    other = site.client.post("/statements", data=site.registration("newcomer"), content_type=JOSE)
    assert other.status_code == 422
    assert other.json["faults"][0]["code"] == "statement.typ"
    assert site.client.post("/keys", data=event, content_type=LINES).status_code == 415


def test_a_read_only_writer_is_503_and_readyz_says_why(site):
    head = site.log.head
    site.log.check_against(head.tree_size + 10, bytes(32), "the witness w1.example")
    response = post_lines(site, inspected(site, "1"))
    assert response.status_code == 503
    assert response.json["code"] == "ledger.read-only"
    assert "w1.example" in response.json["detail"]
    assert int(response.headers["Retry-After"]) > 0
    ready = site.client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json["ready"] is False
    assert "w1.example" in ready.json["writes"]["reason"]
    # Reading goes on.
    assert ready.json["reads"]["ready"] is True
    assert site.client.get("/readyz?for=reads").status_code == 200
    assert site.client.get("/checkpoint").status_code == 200


def test_readyz_and_metrics_tell_size_anchors_and_outcomes(site):
    post_lines(site, inspected(site, "1", "2"))
    site.anchor()
    ready = site.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json["writes"] == {"ready": True}
    assert ready.json["anchors"]["late"] is False
    assert ready.json["anchors"]["anchored_size"] == site.rounds.status().anchored_size
    site.client.get("/nowhere/42")
    text = site.client.get("/metrics").text
    assert f"tallystick_tree_size {float(site.log.head.tree_size)}" in text
    assert f"tallystick_anchored_size {float(site.rounds.status().anchored_size)}" in text
    assert "tallystick_anchor_late 0.0" in text
    assert "/nowhere" not in text


def test_counters_count_what_became_of_statements(site):
    client = site.client
    client.post("/statements", data=b"\n".join(inspected(site, "1", "2")), content_type=LINES)
    (line,) = inspected(site, "3")
    for _ in range(2):
        client.post("/statements", data=line, content_type=JOSE)
    client.post("/statements", data=b"x", content_type=JOSE)
    client.post("/statements", data=b"\n".join([b"x", *inspected(site, "4")]), content_type=LINES)
    text = client.get("/metrics").text
    for outcome, count in (("appended", 3), ("duplicate", 1), ("refused", 2), ("rolled-back", 1)):
        assert f'tallystick_statements_total{{outcome="{outcome}"}} {count}.0' in text
    assert 'route="/statements",status="201"' in text
    assert 'route="/statements",status="400"' in text


def test_a_ledger_without_genesis_is_not_ready(site):
    class Nothing:
        def read_head(self):
            return None

    client = site.served_with(reader=Nothing())
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json["reads"]["code"] == "ledger.empty"
    assert client.get("/checkpoint").status_code == 503


def test_digest_is_base64url_and_receipt_is_text(site):
    (line,) = inspected(site, "1")
    (result,) = site.client.post("/statements?receipts=true", data=line, content_type=JOSE).json["results"]
    assert base64.urlsafe_b64decode(result["digest"] + "=") == hashlib.sha256(line).digest()
    assert result["receipt"].startswith("c2sp.org/tlog-proof@v1\n")
