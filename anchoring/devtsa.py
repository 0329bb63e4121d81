"""Step 7 of 9, for demo and tests: a time-stamp authority that answers real RFC 3161 queries.

DEVELOPMENT ONLY, and its certificates say so: it runs on the machine whose word it is meant to check,
so its time-stamps prove nothing to anybody else. In every other respect it is an authority: a root, a
certificate with the critical timeStamping purpose, signed tokens that OpenSSL verifies too.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from asn1crypto import cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Clock = Callable[[], datetime]

LABEL = "DEVELOPMENT ONLY"
# An OID under 2.25 is a UUID as a number and belongs to whoever drew it; no registry is asked.
POLICY_OID = "2.25.337914500305887485807320778823526597165"
QUERY_SIZE_MAX = 16_384  # a real query has about 60 bytes
QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
DIGEST_SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
TIME_STAMPING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])


class _Rejection(core.Sequence):  # type: ignore[misc]
    """A TimeStampResp without a token, which the library's own class cannot leave out."""

    _fields: ClassVar = [("status", tsp.PKIStatusInfo)]


class QueryRejected(Exception):
    """Why a query gets no token; `failure` is the name in RFC 3161's PKIFailureInfo."""

    def __init__(self, failure: str, text: str) -> None:
        super().__init__(text)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Query:
    """What a requester asked for."""

    algorithm: str  # "sha256"
    imprint: bytes
    nonce: int | None
    wants_certificate: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the authority is: a root, and the time-stamping certificate that root issued."""

    root: x509.Certificate
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def root_pem(self) -> bytes:
        """What others pin."""
        return self.root.public_bytes(serialization.Encoding.PEM)


def create_identity(
    *,
    not_before: datetime,
    not_after: datetime,
    label: str = LABEL,
    purposes: x509.ExtendedKeyUsage | None = TIME_STAMPING,
    purposes_critical: bool = True,
) -> Identity:
    """Draw two keys and issue two certificates; the root's key is forgotten at once.

    The purposes can be given wrong, for whoever tests that wrong ones are refused.
    """
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name(f"{label} time-stamp root"), _name(f"{label} time-stamp authority")
    root = (
        _certificate(root_name, root_name, root_key.public_key(), not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(issues=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    builder = (
        _certificate(name, root_name, key.public_key(), not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(issues=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
        )
    )
    if purposes is not None:
        builder = builder.add_extension(purposes, critical=purposes_critical)
    return Identity(root=root, certificate=builder.sign(root_key, hashes.SHA256()), key=key)


class DevelopmentAuthority:
    """Answers time-stamp queries from its own clock. Pure: bytes in, bytes out."""

    def __init__(self, clock: Clock, identity: Identity | None = None) -> None:
        self.clock = clock
        # Ten years: a demo's evidence should still verify when somebody finds it again.
        self.identity = identity or create_identity(
            not_before=clock() - timedelta(days=1), not_after=clock() + timedelta(days=3650)
        )

    @property
    def root_pem(self) -> bytes:
        """The certificate to pin, PEM."""
        return self.identity.root_pem

    def answer(self, der: bytes) -> bytes:
        """The TimeStampResp for a TimeStampReq: a token, or a rejection that says why. Never raises."""
        try:
            query = read_query(der)
        except QueryRejected as rejected:
            return render_rejection(rejected.failure, str(rejected))
        return self.stamp(query)

    def stamp(self, query: Query) -> bytes:
        """Grant a token for this query, at this moment."""
        token = self.sign(self.statement(query), with_certificate=query.wants_certificate)
        return bytes(tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token}).dump())

    def statement(self, query: Query) -> dict[str, Any]:
        """The fields of TSTInfo: whole seconds, a random serial, the query's imprint and nonce."""
        fields: dict[str, Any] = {
            "version": "v1",
            "policy": POLICY_OID,
            "message_imprint": {
                "hash_algorithm": {"algorithm": query.algorithm},
                "hashed_message": query.imprint,
            },
            "serial_number": secrets.randbits(63) | 1,
            "gen_time": self.clock().astimezone(UTC).replace(microsecond=0),
            "accuracy": {"seconds": 1},
        }
        if query.nonce is not None:
            fields["nonce"] = query.nonce
        return fields

    def sign(self, statement: dict[str, Any], *, with_certificate: bool) -> cms.ContentInfo:
        """The token: CMS SignedData around a TSTInfo."""
        signed = cms.SignedData(self.signed_data(tsp.TSTInfo(statement).dump(), with_certificate))
        return cms.ContentInfo({"content_type": "signed_data", "content": signed})

    def signed_data(self, content: bytes, with_certificate: bool) -> dict[str, Any]:
        """The fields of SignedData over these bytes, with one signer."""
        certificate = asn1_x509.Certificate.load(
            self.identity.certificate.public_bytes(serialization.Encoding.DER)
        )
        attributes = cms.CMSAttributes(self.signed_attributes(content, certificate))
        signer = {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                "issuer_and_serial_number",
                {"issuer": certificate.issuer, "serial_number": certificate.serial_number},
            ),
            "digest_algorithm": {"algorithm": "sha256"},
            "signed_attrs": attributes,
            "signature_algorithm": {"algorithm": "sha256_ecdsa"},
            "signature": self.identity.key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256())),
        }
        signed: dict[str, Any] = {
            "version": "v3",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(content)},
            "signer_infos": [signer],
        }
        if with_certificate:
            signed["certificates"] = [cms.CertificateChoices("certificate", certificate)]
        return signed

    def signed_attributes(self, content: bytes, certificate: asn1_x509.Certificate) -> list[dict[str, Any]]:
        """What the signature covers: the content's digest, and (RFC 5816) whose certificate is meant."""
        reference = tsp.SigningCertificateV2(
            {"certs": [{"cert_hash": hashlib.sha256(certificate.dump()).digest()}]}
        )
        return [
            {"type": "content_type", "values": ["tst_info"]},
            {"type": "message_digest", "values": [hashlib.sha256(content).digest()]},
            {"type": "signing_certificate_v2", "values": [reference]},
        ]


def read_query(der: bytes) -> Query:
    """Read a TimeStampReq, or raise QueryRejected with RFC 3161's name for what is wrong."""
    if len(der) > QUERY_SIZE_MAX:
        raise QueryRejected("bad_data_format", f"a query of {len(der)} bytes; at most {QUERY_SIZE_MAX}")
    try:
        request = tsp.TimeStampReq.load(der, strict=True)
        version = request["version"].native
        algorithm = request["message_imprint"]["hash_algorithm"]["algorithm"].native
        imprint = request["message_imprint"]["hashed_message"].native
        policy = request["req_policy"].native
        nonce = request["nonce"].native
        wants_certificate = request["cert_req"].native
        extensions = request["extensions"].native
    except (ValueError, TypeError, KeyError) as error:
        raise QueryRejected("bad_data_format", "not the DER of a TimeStampReq") from error
    if version != "v1":
        raise QueryRejected("bad_request", "the version is not 1")
    if algorithm not in DIGEST_SIZES or len(imprint) != DIGEST_SIZES[algorithm]:
        raise QueryRejected("bad_alg", "the imprint must be SHA-256, SHA-384 or SHA-512")
    if policy is not None and policy != POLICY_OID:
        raise QueryRejected("unaccepted_policy", "this authority has one policy, and not that one")
    if extensions:
        raise QueryRejected("unaccepted_extensions", "this authority knows no extensions")
    return Query(algorithm, imprint, nonce, wants_certificate)


def render_rejection(failure: str, text: str) -> bytes:
    """The TimeStampResp that says no."""
    status = {"status": "rejection", "status_string": [text], "fail_info": {failure}}
    return bytes(_Rejection({"status": status}).dump())


class RunningAuthority:
    """An authority that listens on loopback, in threads of this process, until stop()."""

    def __init__(self, authority: DevelopmentAuthority, port: int) -> None:
        self.authority = authority
        handler = type("Handler", (_Handler,), {"authority": authority})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="devtsa", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to POST queries."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def stop(self) -> None:
        """Stop listening and free the port; a second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> RunningAuthority:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(authority: DevelopmentAuthority, port: int = 0) -> RunningAuthority:
    """Listen on 127.0.0.1 (port 0: any free one) and answer queries by RFC 3161, section 3.4."""
    return RunningAuthority(authority, port)


class _Handler(BaseHTTPRequestHandler):
    authority: DevelopmentAuthority
    server_version = "Tallystick-development-authority"
    sys_version = ""
    timeout = 10  # seconds a requester may keep a thread waiting

    def do_POST(self) -> None:
        size = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != QUERY_TYPE:
            self._reply(415, "text/plain", f"send {QUERY_TYPE}\n".encode())
        elif not size.isascii() or not size.isdigit():
            self._reply(411, "text/plain", b"say how long the query is\n")
        elif int(size) > QUERY_SIZE_MAX:
            self._reply(413, "text/plain", b"no query is that long\n")
        else:
            self._reply(200, REPLY_TYPE, self.authority.answer(self.rfile.read(int(size))))

    def do_GET(self) -> None:
        text = f"{LABEL}: a time-stamp authority (RFC 3161) for tests and demonstrations.\n"
        self._reply(200, "text/plain", text.encode())

    def _reply(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for the demo's own words."""


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tallystick"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _key_usage(*, issues: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not issues,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issues,
        crl_sign=issues,
        encipher_only=False,
        decipher_only=False,
    )
