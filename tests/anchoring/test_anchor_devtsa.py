"""The development authority is a real one: OpenSSL asks it, and believes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import tsp
from tt_anchor import NOON, Clock, MisbehavingAuthority, Mode, identity

from anchoring.devtsa import QUERY_SIZE_MAX, DevelopmentAuthority, create_identity, serve
from anchoring.rfc3161 import TokenVerifier, build_query


@pytest.fixture(scope="module")
def openssl():
    found = shutil.which("openssl")
    if found is None:
        reason = "no openssl command here"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return lambda *args: subprocess.run([found, *args], capture_output=True, text=True, timeout=30)


def verify_with(openssl, folder, tsa, *more):
    (folder / "root.pem").write_bytes(tsa.root_pem)
    at = str(int(NOON.timestamp()))
    return openssl("ts", "-verify", "-CAfile", str(folder / "root.pem"), "-attime", at, *more)


def test_openssl_asks_and_believes_the_answer(openssl, tmp_path):
    tsa = DevelopmentAuthority(Clock())
    (tmp_path / "data").write_bytes(b"what is to be stamped")
    query, answer = tmp_path / "q.tsq", tmp_path / "a.tsr"
    for digest in ("-sha256", "-sha384", "-sha512"):
        asked = openssl("ts", "-query", "-data", str(tmp_path / "data"), digest, "-cert", "-out", str(query))
        assert asked.returncode == 0, asked.stderr
        answer.write_bytes(tsa.answer(query.read_bytes()))
        believed = verify_with(openssl, tmp_path, tsa, "-queryfile", str(query), "-in", str(answer))
        assert "Verification: OK" in believed.stdout, believed.stderr


def test_openssl_believes_the_bare_token_that_goes_into_an_anchor(openssl, tmp_path):
    tsa = DevelopmentAuthority(Clock())
    message = b"\x05" * 32
    query = build_query(message)
    token = TokenVerifier([tsa.identity.root]).verify_response(tsa.answer(query.der), message, query.nonce)
    (tmp_path / "root").write_bytes(message)
    (tmp_path / "token").write_bytes(token.der)
    files = ("-data", str(tmp_path / "root"), "-in", str(tmp_path / "token"), "-token_in")
    assert "Verification: OK" in verify_with(openssl, tmp_path, tsa, *files).stdout
    (tmp_path / "root").write_bytes(b"\x06" * 32)
    assert "Verification: OK" not in verify_with(openssl, tmp_path, tsa, *files).stdout


@pytest.mark.parametrize(
    "mode", [Mode.OTHER_DIGEST, Mode.OTHER_NONCE, Mode.BAD_SIGNATURE, Mode.WITHOUT_REFERENCE]
)
def test_openssl_refuses_what_we_refuse(openssl, tmp_path, mode):
    tsa = MisbehavingAuthority(Clock(), identity())
    query = build_query(b"\x05" * 32)
    (tmp_path / "q.tsq").write_bytes(query.der)
    for current in (Mode.HONEST, mode):
        tsa.mode = current
        (tmp_path / "a.tsr").write_bytes(tsa.answer(query.der))
        files = ("-queryfile", str(tmp_path / "q.tsq"), "-in", str(tmp_path / "a.tsr"))
        believed = "Verification: OK" in verify_with(openssl, tmp_path, tsa, *files).stdout
        assert believed is (current is Mode.HONEST)


def test_openssl_reads_a_rejection(openssl, tmp_path):
    (tmp_path / "a.tsr").write_bytes(DevelopmentAuthority(Clock()).answer(b"not a query"))
    shown = openssl("ts", "-reply", "-in", str(tmp_path / "a.tsr"), "-text").stdout
    assert "Status: Rejected." in shown
    assert "wrong format" in shown


def test_its_certificates_say_what_it_is():
    tsa = DevelopmentAuthority(Clock())
    for certificate in (tsa.identity.root, tsa.identity.certificate):
        assert "DEVELOPMENT ONLY" in certificate.subject.rfc4514_string()


def request(**changed):
    fields = {
        "version": "v1",
        "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": bytes(32)},
        "nonce": 7,
        "cert_req": True,
    }
    return tsp.TimeStampReq(fields | changed).dump()


SHORT = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": bytes(20)}
SHA1 = {"hash_algorithm": {"algorithm": "sha1"}, "hashed_message": bytes(20)}
EXTENSION = [{"extn_id": "1.2.3.4", "critical": False, "extn_value": b"\x05\x00"}]


@pytest.mark.parametrize(
    ("der", "failure"),
    [
        (b"", "bad_data_format"),
        (b"junk", "bad_data_format"),
        (request() + b"\x00", "bad_data_format"),
        (bytes(QUERY_SIZE_MAX + 1), "bad_data_format"),
        (request(version=3), "bad_request"),
        (request(message_imprint=SHA1), "bad_alg"),
        (request(message_imprint=SHORT), "bad_alg"),
        (request(req_policy="1.2.3.4"), "unaccepted_policy"),
        (request(extensions=EXTENSION), "unaccepted_extensions"),
    ],
)
def test_a_query_it_cannot_serve_is_rejected_with_the_standards_reason(der, failure):
    status = tsp.PKIStatusInfo.load(DevelopmentAuthority(Clock()).answer(der)[2:])
    assert status["status"].native == "rejection"
    assert status["fail_info"].native == {failure}


def test_a_query_without_nonce_or_certificate_is_granted_without_them():
    tsa = DevelopmentAuthority(Clock())
    signed = tsp.TimeStampResp.load(tsa.answer(request(nonce=None, cert_req=False)))["time_stamp_token"][
        "content"
    ]
    assert signed["certificates"].native is None
    assert signed["encap_content_info"]["content"].parsed["nonce"].native is None


def test_it_runs_on_the_clock_it_is_given():
    clock = Clock(datetime(2031, 2, 3, 4, 5, 6, 789, tzinfo=UTC))
    tsa = DevelopmentAuthority(clock, create_identity(not_before=NOON, not_after=NOON + timedelta(days=5000)))
    message = b"\x05" * 32
    verifier = TokenVerifier([tsa.identity.root])
    for seconds in (0, 1, 86_400):
        clock.advance(seconds)
        query = build_query(message)
        token = verifier.verify_response(tsa.answer(query.der), message, query.nonce)
        assert token.gen_time == clock.now.replace(microsecond=0)


def test_it_listens_on_loopback_until_it_is_stopped():
    with serve(DevelopmentAuthority(Clock())) as running:
        assert running.url.startswith("http://127.0.0.1:")
        assert running.url.rsplit(":", 1)[1] != "0/"
