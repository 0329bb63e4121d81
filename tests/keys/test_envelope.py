"""A statement is read one way, or not at all."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_keys import ORIGIN, ed25519_key, nonce, p256_key

from keys import base64url, envelope
from keys.errors import Fault, Malformed, Refused, Refuted

KEY = ed25519_key("acme")
EC_KEY = p256_key("acme")
PAYLOAD = b'{"type":"ObjectEvent"}'
NONCE = base64url.encode(nonce("n"))
HEADER = {"alg": "Ed25519", "kid": KEY.public.kid, "typ": "epcis-event+jws", "aud": ORIGIN, "nonce": NONCE}
MISSING = object()


def forge(header: dict | bytes, payload: bytes = PAYLOAD, key=KEY) -> bytes:
    """A statement with any header at all, and a signature that fits it."""
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    signing_input = f"{base64url.encode(data)}.{base64url.encode(payload)}".encode()
    return signing_input + b"." + base64url.encode(key.sign(signing_input)).encode()


def header_with(**members) -> dict:
    merged = {**HEADER, **members}
    return {name: value for name, value in merged.items() if value is not MISSING}


def fault(raw: bytes) -> Fault:
    with pytest.raises((Malformed, Refused)) as e:
        envelope.parse(raw)
    return e.value


def test_every_part_of_a_statement_is_read():
    raw = envelope.sign(
        KEY, typ="epcis-event+jws", aud=ORIGIN, payload=PAYLOAD, nonce=nonce("n"), iat=1_700_000_000
    )
    statement = envelope.parse(raw)
    envelope.verify(statement, KEY.public)
    envelope.require_audience(statement, ORIGIN)
    assert statement.raw == raw
    assert statement.digest == hashlib.sha256(raw).digest()
    assert (statement.alg, statement.kid, statement.typ) == ("Ed25519", KEY.public.kid, "epcis-event+jws")
    assert (statement.aud, statement.nonce, statement.iat) == ((ORIGIN,), nonce("n"), 1_700_000_000)
    assert statement.payload == PAYLOAD
    assert statement.signing_input + b"." + base64url.encode(statement.signature).encode() == raw


@pytest.mark.parametrize("key", [KEY, EC_KEY])
def test_what_is_signed_verifies_and_each_nonce_is_new(key):
    one, two = (envelope.sign(key, typ="a+jws", aud=[ORIGIN, "b"], payload=b"") for _ in range(2))
    assert one != two
    statement = envelope.parse(one)
    assert (statement.alg, statement.aud, statement.iat) == (key.public.alg, (ORIGIN, "b"), None)
    envelope.verify(statement, key.public)


def test_ed_dsa_is_the_older_name_of_ed25519():
    statement = envelope.parse(forge(header_with(alg="EdDSA")))
    assert statement.alg == "Ed25519"
    envelope.verify(statement, KEY.public)


def test_unknown_members_are_ignored():
    statement = envelope.parse(forge(header_with(cty="json", **{"x5t#S256": "a", "url": {"a": [1]}})))
    envelope.verify(statement, KEY.public)


@pytest.mark.parametrize(
    "alg",
    [
        "none",
        "None",
        "nOnE",
        "HS256",
        "HS512",
        "ES384",
        "ES256K",
        "RS256",
        "PS256",
        "Ed448",
        "ed25519",
        "ES256 ",
        "",
    ],
)
def test_any_other_algorithm_is_refused(alg):
    e = fault(forge(header_with(alg=alg)))
    assert (type(e), e.code, e.pointer) == (Refused, "jws.header.alg", "/alg")


def test_alg_none_without_a_signature_is_not_a_statement():
    raw = forge(header_with(alg="none"))
    unsigned = raw.rsplit(b".", 1)[0] + b"."
    assert fault(unsigned).code == "jws.header.alg"
    # And with the algorithm named right, an empty signature is no signature.
    assert fault(forge(HEADER).rsplit(b".", 1)[0] + b".").code == "jws.signature"


@pytest.mark.parametrize(
    "secret", [KEY.public.raw, KEY.public.jwk["x"].encode(), json.dumps(dict(KEY.public.jwk)).encode()]
)
def test_hs256_with_the_public_key_as_secret_is_refused(secret):
    data = json.dumps(header_with(alg="HS256")).encode()
    signing_input = f"{base64url.encode(data)}.{base64url.encode(PAYLOAD)}".encode()
    tag = hmac.digest(secret, signing_input, "sha256")
    for signature in (tag, tag + tag):
        e = fault(signing_input + b"." + base64url.encode(signature).encode())
        assert (type(e), e.code) == (Refused, "jws.header.alg")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jwk", dict(KEY.public.jwk)),
        ("jwk", None),
        ("jku", "https://evil.example/keys"),
        ("x5u", "https://evil.example/chain"),
        ("x5c", ["MIIB"]),
        ("crit", ["exp"]),
        ("crit", ["b64"]),
        ("crit", []),
        ("crit", None),
    ],
)
def test_a_header_that_brings_its_key_or_asks_for_more_is_refused(name, value):
    e = fault(forge(header_with(**{name: value})))
    assert (type(e), e.code, e.pointer) == (Refused, f"jws.header.{name}", f"/{name}")


KID = KEY.public.kid


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alg", MISSING),
        ("alg", None),
        ("alg", 1),
        ("alg", ["Ed25519"]),
        ("alg", {"Ed25519": 1}),
        ("kid", MISSING),
        ("kid", None),
        ("kid", ""),
        ("kid", KID[:-1]),
        ("kid", KID + "A"),
        ("kid", KID + "="),
        ("kid", KID[:-1] + "B"),  # unused bits not zero
        ("kid", "+" + KID[1:]),
        ("kid", KID + "\n"),
        ("kid", [KID]),
        ("typ", MISSING),
        ("typ", None),
        ("typ", ""),
        ("typ", "Epcis-Event+JWS"),
        ("typ", "application/epcis-event+jws"),
        ("typ", "a" * 65),
        ("typ", "epcis event"),
        ("typ", "epcis-event+jws\n"),
        ("typ", "épcis+jws"),
        ("typ", ["key+jws"]),
        ("aud", MISSING),
        ("aud", None),
        ("aud", ""),
        ("aud", []),
        ("aud", [""]),
        ("aud", [ORIGIN, 1]),
        ("aud", [ORIGIN, None]),
        ("aud", [[ORIGIN]]),
        ("aud", {ORIGIN: True}),
        ("aud", 1),
        ("aud", True),
        ("aud", [ORIGIN] * 17),
        ("aud", "a" * 256),
        ("nonce", MISSING),
        ("nonce", None),
        ("nonce", ""),
        ("nonce", NONCE[:-1]),
        ("nonce", base64url.encode(bytes(15))),
        ("nonce", base64url.encode(bytes(17))),
        ("nonce", base64url.encode(bytes(32))),
        ("nonce", NONCE + "=="),
        ("nonce", NONCE[:-1] + "B"),  # unused bits not zero
        ("nonce", " " + NONCE[1:]),
        ("nonce", "+" + NONCE[1:]),
        ("nonce", "é" + NONCE[1:]),
        ("nonce", 16),
        ("nonce", [NONCE]),
        ("iat", None),
        ("iat", -1),
        ("iat", 1.5),
        ("iat", 1e3),
        ("iat", "1700000000"),
        ("iat", True),
        ("iat", 253_402_300_800),
    ],
)
def test_a_member_that_is_missing_or_wrong_is_malformed_and_pointed_at(name, value):
    e = fault(forge(header_with(**{name: value})))
    assert (type(e), e.code, e.pointer) == (Malformed, f"jws.header.{name}", f"/{name}")


SOUND = json.dumps(HEADER).encode()


@pytest.mark.parametrize(
    ("header", "pointer"),
    [
        (b"", ""),
        (b"{}x", ""),
        (b"[]", ""),
        (b'"Ed25519"', ""),
        (b"null", ""),
        (b"7", ""),
        (SOUND.replace(b'"alg"', b'"alg":"none","alg"'), "/alg"),
        (SOUND.replace(b'"typ"', b'"aud":"other.example","typ"'), "/aud"),
        (SOUND.replace(b'"typ"', b'"\\u0061lg":"none","typ"'), "/alg"),
        (SOUND.replace(b'"typ"', b'"x":{"a":1,"a":1},"typ"'), "/x/a"),
        (SOUND.replace(b'"typ"', b'"x":NaN,"typ"'), "/x"),
        (SOUND.replace(b'"typ"', b'"x":1e400,"typ"'), "/x"),
        (SOUND.replace(b'"typ"', b'"x":9007199254740993,"typ"'), "/x"),
        (SOUND.replace(b'"typ"', b'"x":"\\ud800","typ"'), "/x"),
        (SOUND.replace(b'"typ"', b'"x":[[[[1]]]],"typ"'), ""),
        (b"\xef\xbb\xbf" + SOUND, ""),
        (SOUND.decode().encode("utf-16"), ""),
        (SOUND.replace(b"epcis", b"\xff", 1), ""),
        (SOUND[:-1] + b',"x":"' + b"x" * 4096 + b'"}', ""),
        (b"[" * 3000, ""),
    ],
)
def test_a_header_that_is_not_one_i_json_object_is_malformed(header, pointer):
    e = fault(forge(header))
    assert (type(e), e.code, e.pointer) == (Malformed, "jws.header", pointer)


def parts() -> list[bytes]:
    return forge(HEADER, b"12345").split(b".")


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("change", [b"=", b"==", b"\n", b" ", b"\t", b"\x00", b"\xff", b"+", b"/"])
def test_padding_whitespace_and_other_alphabets_are_malformed(index, change):
    for place in (0, 1):
        changed = parts()
        changed[index] = changed[index] + change if place else change + changed[index]
        e = fault(b".".join(changed))
        assert isinstance(e, Malformed)
        assert e.code in ("jws.header", "jws.payload", "jws.signature")


def test_unused_bits_that_are_not_zero_are_malformed():
    # The same bytes by another spelling would be another statement with another digest.
    header, payload, signature = parts()
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    def respelt(text: bytes) -> bytes:
        return text[:-1] + alphabet[alphabet.index(text[-1]) + 1 :][:1]

    assert len(payload) % 4 == 3
    assert fault(b".".join([header, respelt(payload), signature])).code == "jws.payload"
    assert fault(b".".join([header, payload, respelt(signature)])).code == "jws.signature"
    two = base64url.encode(SOUND + b" " * (-len(SOUND) % 3 + 1)).encode()
    assert fault(b".".join([respelt(two), payload, signature])).code == "jws.header"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b".",
        b"..",
        b"a.b",
        b"....",
        b"not a statement",
        json.dumps({"payload": "", "protected": "", "signature": ""}).encode(),
    ],
)
def test_what_is_not_a_compact_jws_is_malformed(raw):
    assert isinstance(fault(raw), Malformed)


def test_a_fourth_part_or_a_line_end_is_malformed():
    raw = forge(HEADER)
    for changed in (raw + b".", raw + b"." + b"AA", b"." + raw, raw + b"\n", raw + b"\r\n", b" " + raw):
        assert isinstance(fault(changed), Malformed)
    assert fault(raw + b".AA").code == "jws.parts"


@pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 128])
def test_a_signature_of_another_size_is_malformed(size):
    header, payload, _ = parts()
    raw = b".".join([header, payload, base64url.encode(bytes(size)).encode()])
    assert fault(raw).code == "jws.signature"


def test_payloads_have_a_bound():
    largest = b"x" * envelope.PAYLOAD_SIZE_MAX
    assert envelope.parse(forge(HEADER, largest)).payload == largest
    for size in (1, 2, 3, 4):
        assert fault(forge(HEADER, largest + b"x" * size)).code == "jws.payload"
    assert fault(forge(HEADER, b"x" * 2_097_152)).code == "jws.size"
    assert fault(b"." * 2_097_152).code == "jws.size"
    with pytest.raises(Malformed):
        envelope.sign(KEY, typ="a+jws", aud=ORIGIN, payload=largest + b"x")


def test_a_signature_over_other_bytes_is_refuted():
    one = forge(HEADER, b'{"epc":1}').split(b".")
    two = forge(header_with(typ="key+jws"), b'{"epc":2}').split(b".")
    for mixed in (
        [one[0], one[1], two[2]],
        [one[0], two[1], one[2]],
        [two[0], one[1], one[2]],
        [one[0], base64url.encode(b'{"epc": 1}').encode(), one[2]],
        [one[0], b"", one[2]],
    ):
        statement = envelope.parse(b".".join(mixed))
        with pytest.raises(Refuted) as e:
            envelope.verify(statement, KEY.public)
        assert e.value.code == "signature"


def test_the_key_pins_its_algorithm():
    # Signed rightly by the Ed25519 key, under the name of the other algorithm; and the reverse.
    for key, alg in ((KEY, "ES256"), (EC_KEY, "Ed25519"), (EC_KEY, "EdDSA")):
        statement = envelope.parse(forge(header_with(alg=alg, kid=key.public.kid), key=key))
        with pytest.raises(Refused) as e:
            envelope.verify(statement, key.public)
        assert (e.value.code, e.value.pointer) == ("jws.alg", "/alg")


def test_a_statement_is_checked_with_the_key_it_names_only():
    statement = envelope.parse(forge(header_with(kid=EC_KEY.public.kid)))
    with pytest.raises(Refused) as e:
        envelope.verify(statement, KEY.public)
    assert e.value.code == "jws.kid"
    with pytest.raises(Refused):
        envelope.verify(envelope.parse(forge(HEADER)), ed25519_key("carrier").public)


@pytest.mark.parametrize(
    "aud",
    [
        "other.example/log",
        ORIGIN + "/",
        ORIGIN.upper(),
        ORIGIN[:-1],
        " " + ORIGIN,
        ["staging.example", "test.example"],
        [ORIGIN + "x"],
    ],
)
def test_a_statement_for_another_ledger_is_refused(aud):
    statement = envelope.parse(forge(header_with(aud=aud)))
    envelope.verify(statement, KEY.public)
    with pytest.raises(Refused) as e:
        envelope.require_audience(statement, ORIGIN)
    assert (e.value.code, e.value.pointer) == ("jws.aud", "/aud")


def test_sign_hands_out_nothing_that_parse_refuses():
    bad = [
        {"typ": "Bad Type"},
        {"typ": ""},
        {"aud": ""},
        {"aud": []},
        {"aud": [ORIGIN] * 17},
        {"nonce": b"short"},
        {"nonce": bytes(17)},
        {"iat": -1},
    ]
    for change in bad:
        with pytest.raises(Malformed):
            envelope.sign(KEY, **{"typ": "a+jws", "aud": ORIGIN, "payload": b"", **change})


@given(st.binary(max_size=120), st.lists(st.text("abc./:", min_size=1, max_size=9), min_size=1, max_size=16))
@settings(max_examples=60)
def test_what_is_signed_is_read_back(payload, aud):
    statement = envelope.parse(envelope.sign(KEY, typ="x+jws", aud=aud, payload=payload))
    envelope.verify(statement, KEY.public)
    assert (statement.payload, statement.aud) == (payload, tuple(aud))


SAMPLE = forge(HEADER)


@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255))
@settings(max_examples=300)
def test_one_byte_changed_anywhere_is_never_the_same_statement(index, byte):
    changed = SAMPLE[:index] + bytes([byte]) + SAMPLE[index + 1 :]
    if changed == SAMPLE:
        return
    with pytest.raises(Fault):
        envelope.verify(envelope.parse(changed), KEY.public)


@given(st.binary(max_size=80) | st.text("ey.AJQ-_", max_size=60).map(str.encode))
def test_no_bytes_bring_another_error(raw):
    with pytest.raises((Malformed, Refused)):
        envelope.parse(raw)
