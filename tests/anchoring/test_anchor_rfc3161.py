"""Time-stamps: each way in which a token can be wrong has its own answer."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from asn1crypto import cms, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tt_anchor import NOON, Clock, MisbehavingAuthority, Mode, identity

from anchoring import rfc3161
from anchoring.devtsa import TIME_STAMPING, Identity, read_query
from anchoring.errors import AuthorityFailed, TokenMalformed, TokenRefuted, TokenUnverifiable
from anchoring.rfc3161 import TokenVerifier
from keys.errors import Fault

MESSAGE = b"\x07" * 32


@pytest.fixture(scope="module")
def tsa() -> MisbehavingAuthority:
    return MisbehavingAuthority(Clock(), identity())


@pytest.fixture(autouse=True)
def _honest(tsa):
    yield
    tsa.mode = Mode.HONEST


@pytest.fixture(scope="module")
def verifier(tsa) -> TokenVerifier:
    return TokenVerifier([tsa.identity.root])


def stamp(tsa, verifier, message=MESSAGE):
    query = rfc3161.build_query(message)
    return verifier.verify_response(tsa.answer(query.der), message, query.nonce)


def test_an_honest_answer_verifies(tsa, verifier):
    token = stamp(tsa, verifier)
    assert token.gen_time == NOON
    assert token.imprint == hashlib.sha256(MESSAGE).digest()
    assert token.authority == "CN=DEVELOPMENT ONLY time-stamp authority,O=Tallystick"
    assert verifier.verify_token(token.der, MESSAGE) == token


def test_every_query_has_its_own_nonce():
    assert len({rfc3161.build_query(MESSAGE).nonce for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("mode", "error", "code"),
    [
        (Mode.GARBAGE, TokenMalformed, "token.der"),
        (Mode.EMPTY, TokenMalformed, "token.der"),
        (Mode.WITHOUT_TOKEN, TokenMalformed, "token.der"),
        (Mode.TWO_SIGNERS, TokenMalformed, "token.signers"),
        (Mode.OTHER_DIGEST, TokenRefuted, "token.imprint"),
        (Mode.OTHER_NONCE, TokenRefuted, "token.nonce"),
        (Mode.NO_NONCE, TokenRefuted, "token.nonce"),
        (Mode.OTHER_ALGORITHM, TokenRefuted, "token.algorithm"),
        (Mode.BAD_SIGNATURE, TokenRefuted, "token.signature"),
        (Mode.WITHOUT_REFERENCE, TokenRefuted, "token.certificate"),
        (Mode.WITHOUT_CERTIFICATE, TokenUnverifiable, "token.certificate"),
        (Mode.REJECTION, AuthorityFailed, "authority.rejected"),
        (Mode.GRANTED_WITH_MODS, AuthorityFailed, "authority.rejected"),
    ],
)
def test_a_misbehaving_authority_is_told_by_its_misdeed(tsa, verifier, mode, error, code):
    tsa.mode = mode
    with pytest.raises(error) as caught:
        stamp(tsa, verifier)
    assert caught.value.code == code


def test_a_rejection_repeats_the_authoritys_words_without_control_characters(tsa, verifier):
    tsa.mode = Mode.REJECTION
    with pytest.raises(AuthorityFailed, match=r"rejection: try another day $"):
        stamp(tsa, verifier)


def test_a_root_that_nobody_pinned_decides_nothing(tsa):
    other = TokenVerifier([identity().root])
    with pytest.raises(TokenUnverifiable, match="not certified by any pinned"):
        stamp(tsa, other)


def test_a_root_with_the_same_name_and_another_key_is_another_root(tsa):
    namesake = identity()
    assert namesake.root.subject == tsa.identity.root.subject
    with pytest.raises(TokenUnverifiable):
        stamp(MisbehavingAuthority(Clock(), namesake), TokenVerifier([tsa.identity.root]))


def test_any_one_of_several_pinned_roots_is_enough(tsa):
    assert stamp(tsa, TokenVerifier([identity().root, tsa.identity.root, identity().root]))


WRONG_PURPOSES = {
    "none": {"purposes": None},
    "not critical": {"purposes_critical": False},
    "another": {"purposes": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])},
    "one too many": {
        "purposes": x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.SERVER_AUTH]
        )
    },
    "any": {"purposes": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])},
}


@pytest.mark.parametrize("wrong", WRONG_PURPOSES.values(), ids=WRONG_PURPOSES.keys())
def test_a_certificate_for_something_else_stamps_nothing(wrong):
    bad = MisbehavingAuthority(Clock(), identity(**wrong))
    with pytest.raises(TokenRefuted) as caught:
        stamp(bad, TokenVerifier([bad.identity.root]))
    assert caught.value.code == "token.purpose"


@pytest.mark.parametrize(
    "dates",
    [
        {"not_after": NOON - timedelta(seconds=1)},
        {"not_before": NOON + timedelta(seconds=1)},
        {"not_before": NOON - timedelta(days=900), "not_after": NOON - timedelta(days=800)},
    ],
)
def test_a_certificate_must_be_valid_when_it_stamps(dates):
    bad = MisbehavingAuthority(Clock(), identity(**dates))
    with pytest.raises(TokenRefuted) as caught:
        stamp(bad, TokenVerifier([bad.identity.root]))
    assert caught.value.code == "token.certificate.expired"


def test_a_certificate_that_expired_since_does_not_matter():
    tsa = MisbehavingAuthority(Clock(NOON - timedelta(days=7000)), None)
    assert stamp(tsa, TokenVerifier([tsa.identity.root])).gen_time == NOON - timedelta(days=7000)


def test_the_token_of_another_certificate_with_the_same_key_is_refused():
    """The signed reference, not the unsigned name of the signer, says which certificate was meant."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certify(public_key, serial, extension):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"certificate {serial}")])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "certificate 1")])
        builder = x509.CertificateBuilder(issuer, name, public_key, serial)
        builder = builder.not_valid_before(NOON - timedelta(days=1)).not_valid_after(NOON + timedelta(days=1))
        return builder.add_extension(extension, critical=True).sign(root_key, hashes.SHA256())

    root = certify(root_key.public_key(), 1, x509.BasicConstraints(ca=True, path_length=0))
    meant, other = (certify(key.public_key(), serial, TIME_STAMPING) for serial in (2, 3))
    pinned, query = TokenVerifier([root]), rfc3161.build_query(MESSAGE)
    answer = MisbehavingAuthority(Clock(), Identity(root, meant, key)).answer(query.der)
    assert pinned.verify_response(answer, MESSAGE, query.nonce).authority == "CN=certificate 2"

    response = tsp.TimeStampResp.load(answer)
    signed = response["time_stamp_token"]["content"]
    swapped = asn1_x509.Certificate.load(other.public_bytes(Encoding.DER))
    signed["certificates"] = [cms.CertificateChoices("certificate", swapped)]
    signer = {"issuer": swapped.issuer, "serial_number": swapped.serial_number}
    signed["signer_infos"][0]["sid"] = cms.SignerIdentifier("issuer_and_serial_number", signer)
    with pytest.raises(TokenRefuted, match="for another certificate"):
        pinned.verify_response(response.dump(force=True), MESSAGE, query.nonce)


def test_sizes_are_bounded_before_anything_is_read(verifier):
    with pytest.raises(TokenMalformed, match="at most"):
        verifier.verify_response(bytes(rfc3161.RESPONSE_SIZE_MAX + 1), MESSAGE, 1)
    with pytest.raises(TokenMalformed, match="at most"):
        verifier.verify_token(bytes(rfc3161.TOKEN_SIZE_MAX + 1), MESSAGE)


@pytest.mark.parametrize("junk", [b"", b"0", b"0\x80", bytes(40), b"0" * 300, b"\x30\x82\xff\xff"])
def test_junk_is_no_token(verifier, junk):
    with pytest.raises(TokenMalformed):
        verifier.verify_token(junk, MESSAGE)


def test_bytes_behind_the_token_are_refused(tsa, verifier):
    token = stamp(tsa, verifier)
    with pytest.raises(TokenMalformed):
        verifier.verify_token(token.der + b"\x00", MESSAGE)


def test_a_token_is_about_its_message_only(tsa, verifier):
    token = stamp(tsa, verifier)
    for other in (MESSAGE[:-1], MESSAGE + b"\x00", b""):
        with pytest.raises(TokenRefuted):
            verifier.verify_token(token.der, other)


def test_no_altered_byte_makes_the_token_say_something_else(tsa, verifier):
    """Some bytes are not signed (that is the format); none of them changes what the token says."""
    token = stamp(tsa, verifier)
    passed = 0
    for position in range(len(token.der)):
        altered = bytearray(token.der)
        altered[position] ^= 0x01
        try:
            again = verifier.verify_token(bytes(altered), MESSAGE)
        except Fault:
            continue
        passed += 1
        assert again.identity == token.identity
    assert passed < 30


def test_without_a_root_there_is_no_verifier():
    with pytest.raises(TokenUnverifiable, match="no time-stamp root"):
        TokenVerifier([])


def test_a_certificate_that_is_no_root_is_not_taken_for_one(tsa):
    with pytest.raises(TokenUnverifiable, match="not a root"):
        TokenVerifier([tsa.identity.certificate])


def test_roots_come_from_pem_files_with_one_or_more_certificates(tsa):
    other = identity()
    both = tsa.root_pem + other.root_pem
    assert TokenVerifier.from_pem(both).roots == (tsa.identity.root, other.root)
    assert TokenVerifier.from_pem(tsa.root_pem, other.root_pem).roots == (tsa.identity.root, other.root)
    with pytest.raises(TokenMalformed, match="not a PEM certificate"):
        TokenVerifier.from_pem(b"no certificate at all")


def restamped(tsa, *, accuracy) -> bytes:
    """A token that claims this accuracy; None claims none."""
    fields = tsa.statement(read_query(rfc3161.build_query(MESSAGE).der))
    fields = {name: value for name, value in fields.items() if name != "accuracy"}
    if accuracy is not None:
        fields["accuracy"] = accuracy
    return tsa.sign(fields, with_certificate=True).dump()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [({"seconds": 1}, 1.0), ({"seconds": 1, "millis": 500, "micros": 100}, 1.5001), (None, 0.0)],
)
def test_an_authoritys_accuracy_bounds_its_time_from_above(tsa, verifier, said, seconds) -> None:
    token = verifier.verify_token(restamped(tsa, accuracy=said), MESSAGE)
    assert (token.latest - token.gen_time).total_seconds() == seconds


def test_an_absurd_accuracy_does_not_overflow(tsa, verifier) -> None:
    token = verifier.verify_token(restamped(tsa, accuracy={"seconds": 2**60}), MESSAGE)
    assert token.latest.year == token.gen_time.year + 1
