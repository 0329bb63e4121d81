"""A key pins its algorithm, and no key fits every message."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_keys import ed25519_key, p256_key

from keys import algorithms, base64url
from keys.algorithms import Ed25519PublicKey, P256PublicKey, public_key_from_jwk
from keys.errors import Fault, Malformed, Refused, Refuted, Unverifiable

# RFC 8037, appendix A.
RFC8037_SEED = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC8037_JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
RFC8037_INPUT = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
RFC8037_SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
# RFC 7515, appendix A.3.
RFC7515_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_INPUT = (
    b"eyJhbGciOiJFUzI1NiJ9"
    b".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
RFC7515_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
# RFC 7638, section 3.1: an RSA key, of which only the naming concerns us.
RFC7638_N = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF"
    "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c"
    "7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF"
    "44-csFCur-kEgU8awapJzKnqDKgw"
)

ED25519_P = 2**255 - 19
ED25519_L = 2**252 + 27742317777372353535851937790883648493
P256_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF

# The eight points of small order: under each, one signature fits many messages.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
]
# 7·B plus each point of small order but the neutral one; 7·B itself is a good key.
GOOD = "b862409fb5c4c4123df2abf7462b88f041ad36dd6864ce872fd5472be363c5b1"
MIXED_ORDER = [
    "e9b2fe981587efae6478f48ba1fa60cec6126d0e26dde72a0a24f640dcd783e5",
    "d7fcf1f00e29dd947529006e74d779973e3c1a1bad96b7807ab8644b5604ee50",
    "16b981d0b88cdf3ab9fa87190822fe4905b475efda3aec7c34abfa92c19320f4",
    "359dbf604a3b3bedc20d5408b9d4770fbe52c922979b3178d02ab8d41c9c3a4e",
    "044d0167ea7810519b870b745e059f3139ed92f1d92218d5f5db09bf23287c1a",
    "16030e0ff1d6226b8ad6ff918b288668c1c3e5e45269487f85479bb4a9fb11af",
    "d7467e2f477320c5460578e6f7dd01b6fa4b8a1025c51383cb54056d3e6cdf0b",
]
# y written as y + p, with either sign; and x = 0 with the sign of a negative x.
NON_CANONICAL = [
    (y | sign << 255).to_bytes(32, "little").hex() for y in range(ED25519_P, 2**255) for sign in (0, 1)
] + [
    (1 | 1 << 255).to_bytes(32, "little").hex(),
    (ED25519_P - 1 | 1 << 255).to_bytes(32, "little").hex(),
]
NOT_ON_CURVE = ["02" + "00" * 31, "07" + "00" * 31]


def test_rfc_8037_holds():
    key = algorithms.private_key_from_seed(base64url.decode(RFC8037_SEED))
    assert key.public == public_key_from_jwk(RFC8037_JWK)
    assert dict(key.public.jwk) == RFC8037_JWK
    assert key.public.kid == RFC8037_THUMBPRINT
    assert base64url.encode(key.sign(RFC8037_INPUT)) == RFC8037_SIGNATURE
    key.public.verify(base64url.decode(RFC8037_SIGNATURE), RFC8037_INPUT)


def test_rfc_7515_es256_holds():
    key = public_key_from_jwk(RFC7515_JWK)
    assert (key.alg, dict(key.jwk)) == ("ES256", RFC7515_JWK)
    key.verify(base64url.decode(RFC7515_SIGNATURE), RFC7515_INPUT)


def test_rfc_7638_holds():
    thumbprint = algorithms._thumbprint({"kty": "RSA", "n": RFC7638_N, "e": "AQAB"})
    assert thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("raw", SMALL_ORDER + MIXED_ORDER + NON_CANONICAL + NOT_ON_CURVE)
def test_ed25519_points_under_which_signatures_are_loose_are_refused(raw):
    with pytest.raises(Refused) as e:
        Ed25519PublicKey(bytes.fromhex(raw))
    assert e.value.code == "key.weak"
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": base64url.encode(bytes.fromhex(raw))}
    with pytest.raises(Refused):
        public_key_from_jwk(jwk)


def test_the_danger_is_real():
    # Under the neutral point as key, S = 1 and R = B sign everything for a verifier that lets it in.
    base = "5866666666666666666666666666666666666666666666666666666666666666"
    signature = bytes.fromhex(base) + (1).to_bytes(32, "little")
    lax = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL_ORDER[0]))
    lax.verify(signature, b"one message")
    lax.verify(signature, b"another")


def test_the_neighbour_of_the_mixed_order_points_is_a_good_key():
    assert Ed25519PublicKey(bytes.fromhex(GOOD)).raw.hex() == GOOD


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_ed25519_keys_of_other_sizes_are_malformed(size):
    with pytest.raises(Malformed):
        Ed25519PublicKey(b"\x01" * size)
    with pytest.raises(Malformed):
        algorithms.private_key_from_seed(b"\x01" * size)


def test_ed25519_signature_that_is_not_exactly_right_is_refuted():
    key = ed25519_key("acme")
    message = b"the exact bytes"
    signature = key.sign(message)
    key.public.verify(signature, message)
    s = int.from_bytes(signature[32:], "little")
    small_r = bytes.fromhex(SMALL_ORDER[0])
    bad = [
        (signature, b"other bytes"),
        (signature, message + b"\n"),
        (signature, b""),
        (signature[:32] + (s + ED25519_L).to_bytes(32, "little"), message),  # S not reduced
        (signature[:32] + bytes(32), message),
        (small_r + signature[32:], message),
        (bytes.fromhex(NON_CANONICAL[0]) + signature[32:], message),
        (bytes(64), message),
        (signature[:-1], message),
        (signature + b"\x00", message),
        (b"", message),
        (ed25519_key("carrier").sign(message), message),
        (p256_key("acme").sign(message), message),
    ]
    for wrong, over in bad:
        with pytest.raises(Refuted) as e:
            key.public.verify(wrong, over)
        assert e.value.code == "signature"


def p256_point(x: int, y: int) -> P256PublicKey:
    return P256PublicKey(x.to_bytes(32, "big"), y.to_bytes(32, "big"))


def test_points_off_p_256_are_refused():
    good = p256_key("acme").public
    x, y = int.from_bytes(good.x, "big"), int.from_bytes(good.y, "big")
    p256_point(x, y)
    p256_point(x, P256_P - y)  # the other point of that x: on the curve, and another key
    k1 = ec.derive_private_key(7, ec.SECP256K1()).public_key().public_numbers()  # of another curve
    for bad in [
        (x, y ^ 1),
        (x ^ 1, y),
        (y, x),
        (0, 0),
        (x, 0),
        (0, 1),
        (x, P256_P),
        (P256_P, y),
        (2**256 - 1, y),
    ]:
        with pytest.raises(Refused) as e:
            p256_point(*bad)
        assert e.value.code == "key.weak"
    with pytest.raises(Refused):
        p256_point(k1.x, k1.y)


def test_p_256_coordinates_of_other_sizes_are_malformed():
    key = p256_key("acme").public
    for x, y in [(key.x[1:], key.y), (b"\x00" + key.x, key.y), (key.x, b""), (key.x, key.y + b"\x00")]:
        with pytest.raises(Malformed):
            P256PublicKey(x, y)


def test_es256_signature_that_is_not_exactly_right_is_refuted():
    key = p256_key("acme")
    message = b"the exact bytes"
    signature = key.sign(message)
    key.public.verify(signature, message)
    r, s = signature[:32], signature[32:]
    der = key.held.sign(message, ec.ECDSA(hashes.SHA256()))
    bad = [
        (signature, b"other bytes"),
        (s + r, message),
        (bytes(32) + s, message),
        (r + bytes(32), message),
        (bytes(64), message),
        (P256_N.to_bytes(32, "big") + s, message),
        (r + P256_N.to_bytes(32, "big"), message),
        (b"\xff" * 64, message),
        (der, message),
        (der[:64], message),
        (signature[:-1], message),
        (signature + b"\x00", message),
        (b"", message),
        (key.held.sign(message, ec.ECDSA(hashes.SHA384()))[:64], message),
        (ed25519_key("acme").sign(message), message),
    ]
    for wrong, over in bad:
        with pytest.raises(Refuted):
            key.public.verify(wrong, over)


def test_es256_is_malleable_so_its_bytes_identify_nothing():
    key = p256_key("acme")
    signature = key.sign(b"m")
    s = P256_N - int.from_bytes(signature[32:], "big")
    key.public.verify(signature[:32] + s.to_bytes(32, "big"), b"m")


def test_es256_does_not_depend_on_randomness_at_signing():
    assert p256_key("acme").sign(b"m") == p256_key("acme").sign(b"m")


ED_X, EC_X, EC_Y = RFC8037_JWK["x"], RFC7515_JWK["x"], RFC7515_JWK["y"]


@pytest.mark.parametrize(
    ("jwk", "cause", "code"),
    [
        ({"kty": "OKP", "crv": "Ed25519"}, Malformed, "key.member"),
        ({"kty": "OKP", "crv": "Ed25519", "x": ED_X, "y": EC_Y}, Malformed, "key.member"),
        ({"kty": "OKP", "crv": "Ed25519", "x": ED_X, "use": "sig"}, Malformed, "key.member"),
        ({"kty": "OKP", "crv": "Ed25519", "x": ED_X, "kid": "me"}, Malformed, "key.member"),
        ({"kty": "OKP", "crv": "Ed25519", "x": ED_X + "="}, Malformed, "key.member"),
        ({"kty": "OKP", "crv": "Ed25519", "x": ED_X[:-1] + "p"}, Malformed, "key.member"),
        ({"kty": "OKP", "crv": "Ed25519", "x": ""}, Malformed, "key.size"),
        ({"kty": "OKP", "crv": "Ed25519", "x": 7}, Malformed, "key.member"),
        ({"kty": "OKP", "crv": "Ed25519", "x": None}, Malformed, "key.member"),
        ({"kty": "OKP", "crv": "Ed25519", "x": ED_X, "d": RFC8037_SEED}, Refused, "key.private"),
        ({"kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "d": EC_X}, Refused, "key.private"),
        ({"kty": "oct", "k": ED_X}, Refused, "key.private"),
        ({"kty": "EC", "crv": "P-256", "x": EC_X}, Malformed, "key.member"),
        ({"kty": "EC", "crv": "P-256", "x": EC_Y, "y": EC_X}, Refused, "key.weak"),
        ({"kty": "OKP", "crv": "P-256", "x": EC_X, "y": EC_Y}, Unverifiable, "key.type"),
        ({"kty": "EC", "crv": "Ed25519", "x": ED_X}, Unverifiable, "key.type"),
        ({"kty": "EC", "crv": "P-384", "x": EC_X, "y": EC_Y}, Unverifiable, "key.type"),
        ({"kty": "EC", "crv": "secp256k1", "x": EC_X, "y": EC_Y}, Unverifiable, "key.type"),
        ({"kty": "OKP", "crv": "X25519", "x": ED_X}, Unverifiable, "key.type"),
        ({"kty": "RSA", "n": ED_X, "e": "AQAB"}, Unverifiable, "key.type"),
        ({"kty": ["OKP"], "crv": {"Ed25519": 1}, "x": ED_X}, Unverifiable, "key.type"),
        ({}, Unverifiable, "key.type"),
        ([], Malformed, "key.member"),
        ("OKP", Malformed, "key.member"),
        (None, Malformed, "key.member"),
    ],
)
def test_a_jwk_that_is_not_just_a_usable_public_key_is_refused(jwk, cause, code):
    with pytest.raises(cause) as e:
        public_key_from_jwk(jwk)
    assert e.value.code == code


def test_no_algorithm_but_the_two():
    for alg in ("none", "HS256", "EdDSA", "ES384", "RS256", ""):
        with pytest.raises(Refused):
            algorithms.generate(alg)
    with pytest.raises(Refused):
        algorithms.P256PrivateKey(ec.generate_private_key(ec.SECP384R1()))


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_a_generated_key_signs_and_is_another_each_time(alg):
    one, two = algorithms.generate(alg), algorithms.generate(alg)
    one.public.verify(one.sign(b"m"), b"m")
    assert one.public != two.public
    assert public_key_from_jwk(one.public.jwk) == one.public
    assert one.public.alg == alg


def test_repr_shows_no_secret():
    key = ed25519_key("acme")
    assert key.seed == hashlib.sha256(b"ed25519 acme").digest()
    for shown in (repr(key), str(key), repr(p256_key("acme")), repr(key.public)):
        assert key.seed.hex() not in shown
        assert base64url.encode(key.seed) not in shown


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=200)
def test_every_ed25519_key_let_in_is_the_canonical_form_of_itself(raw):
    try:
        key = Ed25519PublicKey(raw)
    except Fault:
        return
    assert int.from_bytes(raw, "little") & (2**255 - 1) < ED25519_P
    assert base64url.decode(key.jwk["x"]) == raw


@given(st.binary(max_size=40), st.integers(0, 511), st.sampled_from([ed25519_key("acme"), p256_key("acme")]))
@settings(max_examples=60)
def test_one_bit_of_the_signature_changed_is_refuted(message, bit, key):
    signature = bytearray(key.sign(message))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Refuted):
        key.public.verify(bytes(signature), message)
