"""The other way round: an authority made of OpenSSL alone, with RSA keys, answers our queries."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from anchoring.devtsa import TIME_STAMPING
from anchoring.errors import AuthorityFailed, TokenRefuted, TokenUnverifiable
from anchoring.rfc3161 import TokenVerifier, build_query

MESSAGE = b"\x07" * 32
CONFIG = """
[tsa]
default_tsa = it
[it]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.13762.3
digests = {digests}
accuracy = secs:1, millisecs:500, microsecs:100
ess_cert_id_alg = {reference}
tsa_name = yes
"""


def issue(name, key, issuer, issuer_key, extension):
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


class OpensslAuthority:
    """`openssl ts -reply` over a folder of files, under a root and an issuing certificate."""

    def __init__(self, folder):
        self.folder = folder
        keys = [rsa.generate_private_key(public_exponent=65_537, key_size=2_048) for _ in range(3)]
        self.root = issue("root", keys[0], None, keys[0], x509.BasicConstraints(ca=True, path_length=None))
        self.issuer = issue(
            "issuer", keys[1], self.root, keys[0], x509.BasicConstraints(ca=True, path_length=0)
        )
        self.direct = issue("tsa under the root", keys[2], self.root, keys[0], TIME_STAMPING)
        self.indirect = issue("tsa under the issuer", keys[2], self.issuer, keys[1], TIME_STAMPING)
        (folder / "tsa.key").write_bytes(
            keys[2].private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / "serial").write_text("0A\n")

    def answer(self, query, certificate, *, chain=(), digests="sha256", reference="sha256"):
        pem = serialization.Encoding.PEM
        (self.folder / "tsa.pem").write_bytes(certificate.public_bytes(pem))
        (self.folder / "chain.pem").write_bytes(b"".join(one.public_bytes(pem) for one in chain))
        config = CONFIG.format(folder=self.folder, digests=digests, reference=reference)
        (self.folder / "tsa.conf").write_text(config)
        (self.folder / "q.tsq").write_bytes(query.der)
        command = ["openssl", "ts", "-reply", "-config", "tsa.conf", "-queryfile", "q.tsq", "-out", "a.tsr"]
        if chain:
            command += ["-chain", "chain.pem"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return (self.folder / "a.tsr").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    if shutil.which("openssl") is None:
        reason = "no openssl command here"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return OpensslAuthority(tmp_path_factory.mktemp("openssl-tsa"))


@pytest.mark.parametrize("reference", ["sha1", "sha256", "sha512"])
def test_an_rsa_authority_under_its_root_is_believed(authority, reference):
    """SHA-1 names the certificate by RFC 3161's own attribute, the others by RFC 5816's."""
    query = build_query(MESSAGE)
    answer = authority.answer(query, authority.direct, reference=reference)
    token = TokenVerifier([authority.root]).verify_response(answer, MESSAGE, query.nonce)
    assert token.authority == "CN=tsa under the root"
    assert token.policy == "1.3.6.1.4.1.13762.3"
    assert abs(token.gen_time - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_authority_under_an_issuer_brings_the_issuers_certificate(authority):
    query = build_query(MESSAGE)
    verifier = TokenVerifier([authority.root])
    for chain in ([authority.issuer], [authority.issuer, authority.root], [authority.root, authority.issuer]):
        answer = authority.answer(query, authority.indirect, chain=chain)
        token = verifier.verify_response(answer, MESSAGE, query.nonce)
        assert token.authority == "CN=tsa under the issuer"
        assert verifier.verify_token(token.der, MESSAGE) == token
    without = authority.answer(query, authority.indirect)
    with pytest.raises(TokenUnverifiable):
        verifier.verify_response(without, MESSAGE, query.nonce)


def test_its_answer_is_for_our_query_only(authority):
    query, verifier = build_query(MESSAGE), TokenVerifier([authority.root])
    answer = authority.answer(query, authority.direct)
    with pytest.raises(TokenRefuted):
        verifier.verify_response(answer, MESSAGE, query.nonce + 1)
    with pytest.raises(TokenRefuted):
        verifier.verify_response(answer, b"\x08" * 32, query.nonce)


def test_its_refusal_is_a_refusal(authority):
    query = build_query(MESSAGE)
    answer = authority.answer(query, authority.direct, digests="sha512")
    with pytest.raises(AuthorityFailed, match="rejection"):
        TokenVerifier([authority.root]).verify_response(answer, MESSAGE, query.nonce)
