"""Step 7 of 9: RFC 3161. Ask for a time-stamp, and check the one that came back.

A token is a statement, signed by a time-stamp authority: "these 32 bytes existed at this time". It is
checked by rfc3161-client (signature and certificate chain, at the time stated, up to a root that the
checker pinned) and here (imprint, nonce, purpose of the certificate, which certificate was meant).

Token bytes are malleable: some fields are not signed, and ECDSA signatures have a twin. So a token is
identified by (imprint, serial, genTime), never by its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from asn1crypto import cms
from asn1crypto import tsp as _tsp  # importing it teaches cms the attributes of RFC 3161 and 5816
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import (
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.base import HashAlgorithm
from rfc3161_client.tsp import TimeStampTokenInfo

from anchoring.der import sort_certificates
from anchoring.errors import (
    AnchoringError,
    AuthorityFailed,
    TokenMalformed,
    TokenRefuted,
    TokenUnverifiable,
)

TOKEN_SIZE_MAX = 65_536  # real ones have 1 to 8 KiB, certificates included
RESPONSE_SIZE_MAX = TOKEN_SIZE_MAX + 1_024
CERTIFICATES_MAX = 8  # embedded in one token; a real chain has two or three
ACCURACY_MAX_S = 366 * 24 * 3600
DETAIL_MAX = 200  # characters of an authority's own words that we repeat
SHA256_OID = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
GRANTED = 0
_STATUS_NAMES = {1: "granted with modifications", 2: "rejection", 3: "waiting", 4: "revocation warning"}
# PKIStatusInfo { status granted(0) }: what stands before a token in a TimeStampResp.
_STATUS_GRANTED = bytes.fromhex("3003020100")


@dataclass(frozen=True, slots=True)
class Query:
    """A time-stamp query, ready to be sent."""

    der: bytes
    nonce: int


@dataclass(frozen=True, slots=True)
class Token:
    """A time-stamp token that was checked."""

    der: bytes  # TimeStampToken: CMS ContentInfo
    imprint: bytes  # SHA-256 of the message
    serial: int  # unique at its authority
    gen_time: datetime  # aware, UTC
    policy: str  # OID of the policy it was issued under
    authority: str  # subject of the certificate that signed it, RFC 4514
    accuracy: timedelta = timedelta(0)  # the authority's clock may be off by so much; 0 if it says nothing

    @property
    def latest(self) -> datetime:
        """By when the message existed for certain: RFC 3161 bounds it by gen_time plus accuracy."""
        return self.gen_time + self.accuracy

    @property
    def identity(self) -> tuple[bytes, int, datetime]:
        """What makes two tokens the same one."""
        return (self.imprint, self.serial, self.gen_time)


def build_query(message: bytes) -> Query:
    """A query for SHA-256(message), with a fresh nonce and the wish for the certificate in the answer."""
    request = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    if request.nonce is None:  # the builder's default is a nonce; without one an old answer could be replayed
        raise RuntimeError("rfc3161-client built a query without a nonce")
    return Query(request.as_bytes(), request.nonce)


class TokenVerifier:
    """Checks tokens against pinned roots. Built once per set of roots; safe to share between threads."""

    def __init__(self, roots: Sequence[x509.Certificate]) -> None:
        if not roots:
            raise TokenUnverifiable("token.roots", "no time-stamp root is pinned, so no token can be checked")
        for root in roots:
            if not _is_issued_by(root, root):
                # OpenSSL ends a chain only at a self-signed certificate.
                raise TokenUnverifiable("token.roots", f"not a root: {root.subject.rfc4514_string()}")
        self.roots = tuple(roots)
        # The library's builder shares its list between copies: hence a list of our own, and one build.
        self._verifier = VerifierBuilder(roots=list(roots)).build()

    @classmethod
    def from_pem(cls, *pems: bytes) -> TokenVerifier:
        """From PEM files with one or more certificates each."""
        roots: list[x509.Certificate] = []
        for pem in pems:
            try:
                roots += x509.load_pem_x509_certificates(pem)
            except ValueError as error:
                raise TokenMalformed("token.root", "a time-stamp root is not a PEM certificate") from error
        return cls(roots)

    def verify_response(self, response: bytes, message: bytes, nonce: int) -> Token:
        """Check an authority's answer to a query for this message with this nonce.

        Raises AuthorityFailed if the authority says no, TokenMalformed if the answer cannot be read,
        TokenRefuted if it is about something else or its signature is bad, and TokenUnverifiable if it
        leads to no pinned root.
        """
        if len(response) > RESPONSE_SIZE_MAX:
            raise TokenMalformed(
                "token.size", f"an answer of {len(response)} bytes; at most {RESPONSE_SIZE_MAX}"
            )
        parsed = _decode(response)
        if parsed.status != GRANTED:
            raise AuthorityFailed("authority.rejected", _rejection_text(parsed))
        return self._verify(parsed, message, nonce)

    def verify_token(self, token: bytes, message: bytes) -> Token:
        """Check a stored token for this message; its nonce mattered only when it was fresh."""
        if len(token) > TOKEN_SIZE_MAX:
            raise TokenMalformed("token.size", f"a token of {len(token)} bytes; at most {TOKEN_SIZE_MAX}")
        return self._verify(_decode(_as_response(token)), message, None)

    def _verify(self, response: TimeStampResponse, message: bytes, nonce: int | None) -> Token:
        parts = _read(response)
        if parts.algorithm != SHA256_OID:
            raise TokenRefuted(
                "token.algorithm", f"the imprint is made by {parts.algorithm.dotted_string}, not by SHA-256"
            )
        expected = hashlib.sha256(message).digest()
        if parts.token.imprint != expected:
            raise TokenRefuted(
                "token.imprint",
                f"the token is about {parts.token.imprint.hex()}, not about {expected.hex()}",
            )
        if nonce is not None and parts.nonce != nonce:
            raise TokenRefuted("token.nonce", "the token answers another query than ours: its nonce differs")
        if not _leads_to(parts.signer, parts.certificates, self.roots):
            raise TokenUnverifiable(
                "token.root", f"{parts.token.authority} was not certified by any pinned time-stamp root"
            )
        _check_purpose(parts.signer)
        _check_reference(parts)
        _check_validity(parts.signer, parts.token.gen_time)
        try:
            self._verifier.verify_message(response, message)
        except VerificationError as error:
            # The library's words are OpenSSL's error stack: for the cause of this exception, not for people.
            raise TokenRefuted(
                "token.signature", "the token's signature, or its chain of certificates, does not verify"
            ) from error
        return parts.token


@dataclass(frozen=True, slots=True)
class _Parts:
    token: Token
    algorithm: x509.ObjectIdentifier
    nonce: int | None
    signer: x509.Certificate
    certificates: tuple[x509.Certificate, ...]
    signed_attributes: cms.CMSAttributes


def _decode(response: bytes) -> TimeStampResponse:
    try:
        return decode_timestamp_response(sort_certificates(response))
    except ValueError as error:
        raise TokenMalformed("token.der", _shorten(f"not the DER of a TimeStampResp: {error}")) from error


def _read(response: TimeStampResponse) -> _Parts:
    """Everything we look at ourselves, or TokenMalformed."""
    try:
        info, signed = response.tst_info, response.signed_data
        der = response.time_stamp_token()
        embedded = signed.certificates
        if len(embedded) > CERTIFICATES_MAX:
            raise TokenMalformed(
                "token.certificates", f"{len(embedded)} certificates embedded; at most {CERTIFICATES_MAX}"
            )
        certificates = tuple(x509.load_der_x509_certificate(one) for one in sorted(embedded))
        signers = signed.signer_infos
        if len(signers) != 1:
            raise TokenMalformed("token.signers", f"{len(signers)} signers; a token has exactly one")
        (signer,) = signers
        name = (signer.issuer, signer.serial_number)
        meant = [one for one in certificates if (one.issuer, one.serial_number) == name]
        if len(meant) != 1:
            raise TokenUnverifiable(
                "token.certificate", f"the token brings {len(meant)} certificates of its signer, not one"
            )
        # The library does not show signed attributes; DER leaves only one way to read them.
        content = cms.ContentInfo.load(der, strict=True)["content"]
        attributes = content["signer_infos"][0]["signed_attrs"]
        token = Token(
            der=der,
            imprint=info.message_imprint.message,
            serial=info.serial_number,
            gen_time=info.gen_time.astimezone(UTC),
            policy=info.policy.dotted_string,
            authority=meant[0].subject.rfc4514_string(),
            accuracy=_accuracy_of(info),
        )
        return _Parts(
            token, info.message_imprint.hash_algorithm, info.nonce, meant[0], certificates, attributes
        )
    except AnchoringError:
        raise
    except Exception as error:
        # Three libraries read hostile bytes here, each with exceptions of its own kind and number.
        raise TokenMalformed("token.der", _shorten(f"not a time-stamp token: {error}")) from error


def _accuracy_of(info: TimeStampTokenInfo) -> timedelta:
    said: Any = info.accuracy  # None if the token holds none, whatever the library's types say
    if said is None:
        return timedelta(0)
    # A whole part that is not written is zero. A year is absurd already, and longer ones overflow.
    seconds = min(said.seconds or 0, ACCURACY_MAX_S)
    return timedelta(seconds=seconds, milliseconds=said.millis or 0, microseconds=said.micros or 0)


def _check_purpose(certificate: x509.Certificate) -> None:
    """RFC 3161, section 2.3: one extended key usage, timeStamping alone, and critical."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as error:
        raise TokenRefuted(
            "token.purpose", "the signer's certificate is not for time-stamping: it names no purpose"
        ) from error
    except Exception as error:
        raise TokenMalformed("token.certificate", _shorten(f"unreadable extensions: {error}")) from error
    if not usage.critical:
        raise TokenRefuted("token.purpose", "the certificate's purpose (extended key usage) is not critical")
    if list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise TokenRefuted("token.purpose", "the signer's certificate is not for time-stamping alone")


_REFERENCES = {
    "signing_certificate": _tsp.SigningCertificate,
    "signing_certificate_v2": _tsp.SigningCertificateV2,
}


def _check_reference(parts: _Parts) -> None:
    """RFC 5816: the signed attributes must say which certificate signed, by its digest.

    Without this check, another certificate for the same key could be slipped in.
    """
    der = parts.signer.public_bytes(Encoding.DER)
    try:
        for attribute in parts.signed_attributes:
            kind = attribute["type"].native
            if kind not in _REFERENCES:
                continue
            first = attribute["values"][0]["certs"][0]
            if kind == "signing_certificate":
                # RFC 3161 fixes SHA-1 here; it only picks among certificates that a pinned root issued.
                digest = hashlib.sha1(der, usedforsecurity=False).digest()
            else:
                digest = hashlib.new(first["hash_algorithm"]["algorithm"].native, der).digest()
            if first["cert_hash"].native != digest:
                raise TokenRefuted("token.certificate", "the token was signed for another certificate")
            return
    except AnchoringError:
        raise
    except Exception as error:
        raise TokenMalformed("token.certificate", _shorten(f"unreadable reference: {error}")) from error
    raise TokenRefuted("token.certificate", "the token does not say which certificate signed it")


def _check_validity(certificate: x509.Certificate, gen_time: datetime) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= gen_time <= end:
        raise TokenRefuted(
            "token.certificate.expired",
            f"stamped at {gen_time:%Y-%m-%dT%H:%M:%SZ} by a certificate that is valid "
            f"from {start:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ}",
        )


def _leads_to(
    certificate: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> bool:
    """Is there a path of issuers, through certificates the token brings, to a pinned root?

    It only tells "nobody pinned that" from "that is false"; the library judges the chain itself.
    """
    reached, seen = [certificate], {certificate}
    while reached:
        current = reached.pop()
        if any(_is_issued_by(current, root) for root in roots):
            return True
        issuers = {one for one in others if one not in seen and _is_issued_by(current, one)}
        seen |= issuers
        reached += issuers
    return False


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _as_response(token: bytes) -> bytes:
    """The TimeStampResp { granted, token } that the library reads, around a bare token."""
    body = _STATUS_GRANTED + token
    if len(body) < 0x80:
        return bytes([0x30, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([0x30, 0x80 | len(length)]) + length + body


def _rejection_text(response: TimeStampResponse) -> str:
    name = _STATUS_NAMES.get(response.status, f"status {response.status}")
    try:
        words = "; ".join(response.status_string)
    except ValueError:
        words = ""
    return _shorten(f"the authority gave no token: {name}{': ' if words else ''}{words}")


def _shorten(text: str) -> str:
    """An authority's or a library's words, printable and bounded."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable if len(printable) <= DETAIL_MAX else printable[: DETAIL_MAX - 1] + "…"
