"""Whether a key counts is a function of the statements below, and of nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_keys import (
    ORIGIN,
    REGISTRAR_PARTY,
    START,
    Registered,
    ed25519_key,
    log_signer,
    make_genesis,
    make_registry,
    nonce,
    p256_key,
    registrar_key,
    witness_signer,
)

from keys import envelope
from keys.errors import Fault, Malformed, Refused, Refuted, Unverifiable
from keys.registry import (
    KeyRecord,
    Registry,
    possession_statement,
    register_statement,
    revoke_statement,
    rotate_statement,
)

OTHER_ORIGIN = "staging.example/epcis"
MISSING = object()


@pytest.fixture
def world() -> Registered:
    """acme at entry 1, carrier at entry 2."""
    return make_registry({"acme": ("emitter",), "carrier": ("emitter", "operator")})


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def refused(world: Registered, raw: bytes, seq: int | None = None, at: datetime | None = None) -> Fault:
    """The fault of applying this, after making sure that nothing was half applied."""
    before = (world.registry, dict(world.registry.keys), dict(world.registry.parties))
    with pytest.raises(Fault) as e:
        world.registry.apply(world.registry.newest_seq + 1 if seq is None else seq, at or after(100), raw)
    assert (world.registry, dict(world.registry.keys), dict(world.registry.parties)) == before
    return e.value


def statement(payload: dict | bytes, key=None, *, typ: str = "key+jws", aud=ORIGIN) -> bytes:
    """Any payload as a key statement, signed by the registrar unless told otherwise."""
    data = payload if isinstance(payload, bytes) else rfc8785.dumps(payload)
    return envelope.sign(key or registrar_key(), typ=typ, aud=aud, payload=data)


def payload_of(raw: bytes) -> dict:
    return json.loads(envelope.parse(raw).payload)


def changed(raw: bytes, key=None, **members) -> bytes:
    """The same statement with other members, signed anew."""
    document = {**payload_of(raw), **members}
    return statement({k: v for k, v in document.items() if v is not MISSING}, key)


# --- genesis


def test_genesis_gives_the_registrar_and_nobody_else():
    registry = Registry.from_genesis(make_genesis())
    kid = registrar_key().public.kid
    assert (registry.origin, registry.newest_seq, registry.registrar_kid) == (ORIGIN, 0, kid)
    assert registry.keys == {kid: KeyRecord(kid, registrar_key().public, REGISTRAR_PARTY, 0)}
    assert registry.parties[REGISTRAR_PARTY].roles == {"registrar"}
    assert registry.log_verifiers == (log_signer().verifier,)
    assert registry.policy == {"read": "public"}
    assert registry.active_key(kid, START).party == REGISTRAR_PARTY
    assert registry.judged_at(kid, 0, START) == registry.judged_at(kid, 1, START)


def genesis_with(key=None, *, aud=ORIGIN, typ="genesis+jws", **members) -> bytes:
    document = {**payload_of(make_genesis()), **members}
    data = rfc8785.dumps({k: v for k, v in document.items() if v is not MISSING})
    return envelope.sign(key or registrar_key(), typ=typ, aud=aud, payload=data)


def test_genesis_with_nothing_changed_is_genesis():
    Registry.from_genesis(genesis_with())


ROGUE = ed25519_key("rogue")


def registrar_member(**members) -> dict:
    document = {**payload_of(make_genesis())["registrar"], **members}
    return {k: v for k, v in document.items() if v is not MISSING}


@pytest.mark.parametrize(
    ("options", "cause", "code"),
    [
        ({"typ": "key+jws"}, Refused, "genesis.typ"),
        ({"typ": "epcis-event+jws"}, Refused, "genesis.typ"),
        ({"aud": OTHER_ORIGIN}, Refused, "jws.aud"),
        ({"aud": [ORIGIN, OTHER_ORIGIN]}, Refused, "jws.aud"),
        ({"origin": OTHER_ORIGIN}, Malformed, "genesis.payload"),  # not the name of its log key
        ({"key": ROGUE}, Refused, "jws.kid"),
        ({"registrar": registrar_member(jwk=dict(ROGUE.public.jwk))}, Refused, "jws.kid"),
        ({"registrar": registrar_member(jwk=MISSING)}, Malformed, "genesis.payload"),
        ({"registrar": registrar_member(party="a b")}, Malformed, "genesis.payload"),
        ({"registrar": registrar_member(party="")}, Malformed, "genesis.payload"),
        ({"registrar": registrar_member(name="a\nb")}, Malformed, "genesis.payload"),
        ({"registrar": registrar_member(mail="a@b")}, Malformed, "genesis.payload"),
        (
            {"registrar": registrar_member(jwk={"crv": "Ed25519", "kty": "OKP", "x": "A" * 43})},
            Refused,
            "key.weak",
        ),
        ({"registrar": "me"}, Malformed, "genesis.payload"),
        ({"type": "Genesis"}, Malformed, "genesis.payload"),
        ({"type": MISSING}, Malformed, "genesis.payload"),
        ({"extra": 1}, Malformed, "genesis.payload"),
        (
            {"formats": {"anchor": 2, "bundle": 1, "entry": 1, "names": "names_v1", "statement": 1}},
            Unverifiable,
            "genesis.formats",
        ),
        ({"formats": {}}, Unverifiable, "genesis.formats"),
        ({"policy": {"read": "some"}}, Malformed, "genesis.payload"),
        ({"policy": {"read": "none", "write": "all"}}, Malformed, "genesis.payload"),
        ({"policy": {}}, Malformed, "genesis.payload"),
        ({"policy": []}, Malformed, "genesis.payload"),
        ({"random": "AAAA"}, Malformed, "genesis.payload"),
        ({"random": "A" * 42 + "B"}, Malformed, "genesis.payload"),
        ({"random": None}, Malformed, "genesis.payload"),
        ({"created_at": "2026-11-20T12:00:00+01:00"}, Malformed, "genesis.payload"),
        ({"created_at": "2026-11-20 12:00:00Z"}, Malformed, "genesis.payload"),
        ({"created_at": "2026-02-30T12:00:00Z"}, Malformed, "genesis.payload"),
        ({"created_at": "2026-11-20T12:00:60Z"}, Malformed, "genesis.payload"),
        ({"created_at": "2026-11-20T12:00:00.5Z"}, Malformed, "genesis.payload"),
        ({"created_at": 1700000000}, Malformed, "genesis.payload"),
        ({"log_keys": []}, Malformed, "genesis.payload"),
        ({"log_keys": "vkey"}, Malformed, "genesis.payload"),
        ({"log_keys": [7]}, Malformed, "genesis.payload"),
        ({"log_keys": ["a+b"]}, Malformed, "note.vkey"),
        ({"log_keys": [log_signer().vkey] * 2}, Malformed, "genesis.payload"),
        ({"log_keys": [log_signer(OTHER_ORIGIN).vkey]}, Malformed, "genesis.payload"),
        ({"log_keys": [witness_signer(ORIGIN).vkey]}, Malformed, "genesis.payload"),
        ({"log_keys": [log_signer(label=f"l{i}").vkey for i in range(9)]}, Malformed, "genesis.payload"),
        ({"log_keys": [log_signer(label="registrar").vkey]}, Refused, "genesis.keys"),
    ],
)
def test_genesis_that_is_not_exactly_right_is_refused(options, cause, code):
    with pytest.raises(cause) as e:
        Registry.from_genesis(genesis_with(**options))
    assert e.value.code == code


def test_genesis_must_be_canonical_and_without_duplicates():
    document = payload_of(make_genesis())
    canonical = rfc8785.dumps(document)
    for data, code in (
        (json.dumps(document).encode(), "genesis.payload"),
        (canonical + b"\n", "genesis.payload"),
        (canonical.replace(b'"origin"', b'"origin":"x","origin"'), "json.duplicate"),
        (b"[]", "genesis.payload"),
        (b"", "json.syntax"),
        (canonical[:-1] + b',"x":"' + b"x" * 20_000 + b'"}', "json.size"),
    ):
        raw = envelope.sign(registrar_key(), typ="genesis+jws", aud=ORIGIN, payload=data)
        with pytest.raises(Malformed) as e:
            Registry.from_genesis(raw)
        assert e.value.code == code


def test_genesis_signed_over_other_bytes_is_refuted():
    one, two = genesis_with().split(b"."), genesis_with().split(b".")
    with pytest.raises(Refuted):
        Registry.from_genesis(b".".join([one[0], one[1], two[2]]))


# --- register


def test_a_registered_key_counts_from_the_next_entry_on(world):
    kid = world.keys["acme"].public.kid
    record = world.registry.active_key(kid, START)
    assert (record.party, record.registered_seq, record.not_after) == ("acme", 1, None)
    assert world.registry.judged_at(kid, 2, START) == record
    assert world.registry.newest_seq == 2
    assert world.registry.parties["carrier"].roles == {"emitter", "operator"}


def test_both_algorithms_register(world):
    key = world.register("pharmacy", p256_key("pharmacy"))
    assert world.registry.active_key(key.public.kid, START).public_key == key.public


def test_a_second_key_is_another_key_of_the_party_and_may_rename_it(world):
    second = world.register("acme", ed25519_key("acme 2"), name="Acme & Sons", roles=("operator",))
    party = world.registry.parties["acme"]
    assert (party.name, party.roles) == ("Acme & Sons", {"operator"})
    for key in (ed25519_key("acme"), second):
        assert world.registry.active_key(key.public.kid, START).party == "acme"


def test_state_is_a_value(world):
    before = world.registry
    keys = dict(before.keys)
    world.register("pharmacy")
    assert dict(before.keys) == keys
    assert "pharmacy" not in before.parties


def test_an_unknown_key_is_unverifiable(world):
    for kid in (ed25519_key("nobody").public.kid, "", "x" * 5000):
        with pytest.raises(Unverifiable) as e:
            world.registry.active_key(kid, START)
        assert e.value.code == "key.unknown"
    raw = changed(world.register_raw("pharmacy", ed25519_key("pharmacy")), ed25519_key("nobody"))
    assert refused(world, raw).code == "key.unknown"


def test_a_key_not_yet_registered_is_unverifiable_at_that_position(world):
    kid = world.keys["carrier"].public.kid
    for seq in (0, 1, 2):
        with pytest.raises(Unverifiable) as e:
            world.registry.judged_at(kid, seq, after(9))
        assert e.value.code == "key.unknown"
    assert world.registry.judged_at(kid, 3, after(9)).party == "carrier"


def test_only_the_registrar_registers(world):
    raw = world.register_raw("pharmacy", ed25519_key("pharmacy"))
    for key in (world.keys["acme"], world.keys["carrier"]):
        e = refused(world, changed(raw, key))
        assert (type(e), e.code) == (Refused, "key.authority")
    own = changed(world.register_raw("acme", ed25519_key("acme 2")), world.keys["acme"])
    assert refused(world, own).code == "key.authority"


def test_a_registration_from_another_ledger_is_refused(world):
    elsewhere = make_registry({}, origin=OTHER_ORIGIN)
    raw = elsewhere.register_raw("pharmacy", ed25519_key("pharmacy"))
    assert refused(world, raw).code == "jws.aud"
    # The registrar signs for both ledgers, around a proof that was given to the other one.
    both = statement(payload_of(raw), aud=[ORIGIN, OTHER_ORIGIN])
    assert refused(world, both).code == "key.possession"


def proof(key=None, *, signer=None, typ="key-possession+jws", aud=ORIGIN, **members) -> bytes:
    key = key or ed25519_key("pharmacy")
    document = {
        "jwk": dict(key.public.jwk),
        "kid": key.public.kid,
        "origin": ORIGIN,
        "party": "pharmacy",
        "purpose": "register",
        **members,
    }
    document = {k: v for k, v in document.items() if v is not MISSING}
    return envelope.sign(signer or key, typ=typ, aud=aud, payload=rfc8785.dumps(document))


def registering(possession: bytes | str | None, **members) -> dict:
    return {
        "action": "register",
        "name": "Pharmacy",
        "party": "pharmacy",
        "possession": possession.decode() if isinstance(possession, bytes) else possession,
        "previous": None,
        "roles": ["emitter"],
        **members,
    }


def test_the_forged_statements_below_differ_from_a_good_one_in_one_thing_only(world):
    world.apply(statement(registering(proof())))


@pytest.mark.parametrize(
    ("options", "cause", "code"),
    [
        ({"origin": OTHER_ORIGIN}, Refused, "key.possession"),
        ({"aud": OTHER_ORIGIN}, Refused, "key.possession"),
        ({"aud": [ORIGIN, OTHER_ORIGIN]}, Refused, "key.possession"),
        ({"party": "carrier"}, Refused, "key.possession"),
        ({"party": "Pharmacy"}, Refused, "key.possession"),
        ({"purpose": "rotate"}, Refused, "key.possession"),
        ({"typ": "key+jws"}, Refused, "key.possession"),
        ({"typ": "epcis-event+jws"}, Refused, "key.possession"),
        ({"signer": ROGUE}, Refused, "jws.kid"),  # a key that its presenter does not hold
        ({"signer": registrar_key()}, Refused, "jws.kid"),
        ({"kid": ROGUE.public.kid}, Malformed, "key.payload"),
        ({"kid": ROGUE.public.kid, "signer": ROGUE}, Malformed, "key.payload"),
        ({"purpose": "sign"}, Malformed, "key.payload"),
        ({"purpose": MISSING}, Malformed, "key.payload"),
        ({"jwk": MISSING}, Malformed, "key.payload"),
        ({"jwk": {**ROGUE.public.jwk, "d": "AAAA"}}, Refused, "key.private"),
        ({"jwk": {"crv": "Ed25519", "kty": "OKP", "x": "AQ" + "A" * 41}}, Refused, "key.weak"),
        ({"extra": True}, Malformed, "key.payload"),
        ({"party": "a b"}, Malformed, "key.payload"),
    ],
)
def test_a_proof_of_possession_for_anything_else_is_refused(world, options, cause, code):
    e = refused(world, statement(registering(proof(**options))))
    assert (type(e), e.code, e.pointer) == (cause, code, "/possession")


def test_a_proof_of_possession_over_other_bytes_is_refuted(world):
    one, two = proof().split(b"."), proof().split(b".")
    e = refused(world, statement(registering(b".".join([one[0], one[1], two[2]]))))
    assert (type(e), e.code) == (Refuted, "signature")


def test_a_proof_of_possession_by_a_weak_key_is_refused(world):
    # Under the neutral point anybody can make this signature, so it proves possession of nothing.
    raw = bytes.fromhex("01" + "00" * 31)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": x}
    members = json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()
    kid = base64.urlsafe_b64encode(hashlib.sha256(members).digest()).rstrip(b"=").decode()

    class Anybody:
        public = type("public", (), {"alg": "Ed25519", "kid": kid})

        def sign(self, message: bytes) -> bytes:
            return bytes.fromhex("58" + "66" * 31) + (1).to_bytes(32, "little")

    e = refused(world, statement(registering(proof(signer=Anybody(), jwk=jwk, kid=kid))))
    assert (type(e), e.code) == (Refused, "key.weak")


@pytest.mark.parametrize(
    "members",
    [
        {"action": "enrol"},
        {"action": None},
        {"action": MISSING},
        {"name": ""},
        {"name": "a\x00"},
        {"name": "x" * 201},
        {"name": 1},
        {"name": MISSING},
        {"party": ""},
        {"party": "a b"},
        {"party": 'a"b'},
        {"party": "a\\b"},
        {"party": "apothekeä"},
        {"party": "a\n"},
        {"party": "x" * 129},
        {"party": None},
        {"previous": MISSING},
        {"previous": ""},
        {"previous": "A" * 42},
        {"previous": "A" * 42 + "B"},
        {"previous": 0},
        {"roles": []},
        {"roles": ["registrar"]},
        {"roles": ["emitter", "emitter"]},
        {"roles": ["emitter", "admin"]},
        {"roles": "emitter"},
        {"roles": [["emitter"]]},
        {"roles": MISSING},
        {"not_after": None},
        {"not_after": "tomorrow"},
        {"not_after": "2027-01-01"},
        {"not_after": "2027-13-01T00:00:00Z"},
        {"possession": ""},
        {"possession": None},
        {"possession": "x" * 4097},
        {"possession": MISSING},
        {"extra": 1},
        {"kid": "x"},
    ],
)
def test_a_registration_of_another_shape_is_malformed(world, members):
    document = {k: v for k, v in ({**registering(proof()), **members}).items() if v is not MISSING}
    e = refused(world, statement(document))
    assert (type(e), e.code) == (Malformed, "key.payload")


def test_a_payload_that_two_readers_could_read_differently_is_malformed(world):
    good = rfc8785.dumps(registering(proof()))
    for data, code in (
        (good.replace(b'"party"', b'"party":"acme","party"', 1), "json.duplicate"),
        (good.replace(b"null", b"NaN"), "json.number"),
        (good.replace(b'"Pharmacy"', b'"\\ud800"'), "json.string"),
        (b"\xef\xbb\xbf" + good, "json.encoding"),
        (b"[" * 40, "json.depth"),
        (good + b" " * 20_000, "json.size"),
        (b"[]", "key.payload"),
        (b"null", "key.payload"),
    ):
        e = refused(world, statement(data))
        assert (type(e), e.code) == (Malformed, code)


def test_a_proof_that_is_not_a_statement_is_malformed(world):
    for possession in ("x", "a.b.c", proof()[:-1].decode(), proof().decode() + "\u00e9"):
        e = refused(world, statement(registering(possession)))
        assert isinstance(e, Malformed)


def test_a_kid_is_registered_once_ever(world):
    key = world.keys["acme"]
    for party in ("acme", "carrier", "pharmacy"):
        e = refused(world, world.register_raw(party, key))
        assert (type(e), e.code) == (Refused, "key.registered")
    world.revoke("acme", reason="ceased")
    assert refused(world, world.register_raw("acme", key)).code == "key.registered"
    assert refused(world, world.register_raw("pharmacy", registrar_key())).code == "key.registered"


def test_the_same_registration_again_is_refused(world):
    raw = world.statements[1]
    assert refused(world, raw).code == "key.previous"


def test_a_log_key_signs_checkpoints_and_nothing_else(world):
    e = refused(world, world.register_raw("pharmacy", ed25519_key("log")))
    assert (type(e), e.code) == (Refused, "key.log-key")
    with pytest.raises(Refused) as caught:
        Registry.from_genesis(make_genesis(registrar=ed25519_key("log")))
    assert caught.value.code == "genesis.keys"


def test_previous_must_be_the_newest_statement_about_the_party(world):
    key = ed25519_key("acme 2")
    raw = world.register_raw("acme", key)
    genesis = hashlib.sha256(world.statements[0]).digest()
    carrier = world.previous("carrier")
    for previous in (None, base64url(genesis), base64url(carrier), base64url(bytes(32))):
        e = refused(world, changed(raw, previous=previous))
        assert (type(e), e.code, e.pointer) == (Refused, "key.previous", "/previous")
    new_party = world.register_raw("pharmacy", ed25519_key("pharmacy"))
    assert refused(world, changed(new_party, previous=base64url(carrier))).code == "key.previous"
    older = world.previous("acme")
    world.apply(raw)
    third = world.register_raw("acme", ed25519_key("acme 3"))
    assert refused(world, changed(third, previous=base64url(older))).code == "key.previous"
    world.apply(third)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_positions_only_rise(world):
    raw = world.register_raw("pharmacy", ed25519_key("pharmacy"))
    for seq in (2, 1, 0, -1):
        assert refused(world, raw, seq).code == "key.seq"
    world.apply(raw, seq=1000)
    assert world.registry.newest_seq == 1000


@pytest.mark.parametrize("typ", ["genesis+jws", "key-possession+jws", "epcis-event+jws", "policy+jws"])
def test_statements_of_other_classes_change_no_keys(world, typ):
    raw = statement(payload_of(world.register_raw("pharmacy", ed25519_key("pharmacy"))), typ=typ)
    e = refused(world, raw)
    assert (type(e), e.code) == (Refused, "key.typ")


def test_a_signature_over_other_bytes_is_refuted(world):
    one = world.register_raw("pharmacy", ed25519_key("pharmacy")).split(b".")
    two = world.register_raw("hospital", ed25519_key("hospital")).split(b".")
    for mixed in ([one[0], one[1], two[2]], [one[0], two[1], one[2]]):
        e = refused(world, b".".join(mixed))
        assert (type(e), e.code) == (Refuted, "signature")


# --- expiry


def test_expiry_is_compared_with_the_entry_s_time_only(world):
    key = world.register("pharmacy", not_after=after(50))
    kid = key.public.kid
    assert world.registry.active_key(kid, after(50)).not_after == after(50)
    assert world.registry.judged_at(kid, 4, after(50)).kid == kid
    for at in (after(50.000001), after(10**6)):
        for judge in (
            lambda t=at: world.registry.active_key(kid, t),
            lambda t=at: world.registry.judged_at(kid, 9, t),
        ):
            with pytest.raises(Refused) as e:
                judge()
            assert e.value.code == "key.expired"


def test_a_key_that_expired_before_its_registration_is_refused(world):
    raw = world.register_raw("pharmacy", ed25519_key("pharmacy"), not_after=after(50))
    for at in (after(50), after(51)):
        e = refused(world, raw, at=at)
        assert (e.code, e.pointer) == ("key.not-after", "/not_after")


def test_an_expired_key_cannot_rotate_itself_nor_be_prolonged_by_rotation(world):
    old = world.register("pharmacy", not_after=after(50))
    new = ed25519_key("pharmacy 2")
    raw = rotation(world, "pharmacy", old, new)
    assert refused(world, raw, at=after(51)).code == "key.expired"
    world.apply(raw, recorded_at=after(49))
    assert world.registry.keys[new.public.kid].not_after == after(50)


# --- rotate


def rotation(world: Registered, party: str, old, new, *, by=None, purpose="rotate", **members) -> bytes:
    raw = rotate_statement(
        by or old,
        origin=ORIGIN,
        party=party,
        old=old.public.kid,
        possession=possession_statement(new, origin=ORIGIN, party=party, purpose=purpose),
        previous=world.previous(party),
    )
    return changed(raw, by or old, **members) if members else raw


@pytest.mark.parametrize("signer", ["old", "other", "registrar"])
def test_a_rotated_key_counts_below_and_its_successor_above(world, signer):
    old = world.keys["acme"]
    other = world.register("acme", ed25519_key("acme other"), seq=3)
    new = p256_key("acme new")
    by = {"old": old, "other": other, "registrar": world.registrar}[signer]
    registry = world.apply(rotation(world, "acme", old, new, by=by), seq=10)
    with pytest.raises(Refused) as e:
        registry.active_key(old.public.kid, START)
    assert e.value.code == "key.rotated"
    assert registry.judged_at(old.public.kid, 10, START).ended_seq == 10
    with pytest.raises(Refused) as e:
        registry.judged_at(old.public.kid, 11, START)
    assert e.value.code == "key.rotated"
    assert registry.judged_at(new.public.kid, 11, START).party == "acme"
    with pytest.raises(Unverifiable):
        registry.judged_at(new.public.kid, 10, START)
    assert registry.active_key(other.public.kid, START)


def test_rotation_needs_a_key_of_that_party_that_still_counts(world):
    old, new = world.keys["acme"], ed25519_key("acme 2")
    assert refused(world, rotation(world, "acme", old, new, by=world.keys["carrier"])).code == "key.authority"
    assert refused(world, rotation(world, "acme", old, new, by=new)).code == "key.unknown"
    assert refused(world, rotation(world, "acme", world.keys["carrier"], new, by=old)).code == "key.party"
    assert refused(world, rotation(world, "acme", ed25519_key("x"), new, by=old)).code == "key.unknown"
    assert refused(world, rotation(world, "nobody", old, new, by=world.registrar)).code == "key.party"
    assert refused(world, rotation(world, "acme", old, new, purpose="register")).code == "key.possession"
    assert refused(world, rotation(world, "acme", old, old)).code == "key.registered"
    assert refused(world, rotation(world, "acme", old, ed25519_key("log"))).code == "key.log-key"
    assert refused(world, rotation(world, "acme", old, new, previous=None)).code == "key.previous"
    assert (
        refused(world, rotation(world, "acme", old, new, not_after="2030-01-01T00:00:00Z")).code
        == "key.payload"
    )
    world.rotate("acme", new)
    assert refused(world, rotation(world, "acme", old, ed25519_key("acme 3"))).code == "key.rotated"
    again = rotation(world, "acme", old, ed25519_key("acme 3"), by=new)
    assert refused(world, again).code == "key.rotated"


def test_the_registrar_hands_over_to_its_new_key_only_by_itself(world):
    operator = world.register(REGISTRAR_PARTY, ed25519_key("operator"), roles=("operator",))
    assert world.registry.parties[REGISTRAR_PARTY].roles == {"operator", "registrar"}
    new = ed25519_key("registrar 2")
    # A key in daily use under the same party must not make itself registrar.
    usurping = rotation(world, REGISTRAR_PARTY, world.registrar, new, by=operator)
    assert refused(world, usurping).code == "key.authority"
    old = world.registrar
    world.apply(rotation(world, REGISTRAR_PARTY, old, new))
    assert world.registry.registrar_kid == new.public.kid
    stale = world.register_raw("pharmacy", ed25519_key("pharmacy"))
    assert refused(world, stale).code == "key.rotated"
    world.registrar = new
    world.register("pharmacy")


# --- revoke


def revocation(
    world: Registered, party: str, kid: str, by=None, *, reason="compromised", since=None
) -> bytes:
    return revoke_statement(
        by or world.registrar,
        origin=ORIGIN,
        party=party,
        kid=kid,
        reason=reason,
        invalid_since=since,
        previous=world.previous(party),
    )


@pytest.mark.parametrize("by", ["registrar", "itself"])
def test_a_revoked_key_counts_below_and_not_above(world, by):
    key = world.keys["acme"]
    raw = revocation(world, "acme", key.public.kid, key if by == "itself" else None, since=after(-5))
    registry = world.apply(raw, seq=20)
    with pytest.raises(Refused) as e:
        registry.active_key(key.public.kid, START)
    assert e.value.code == "key.revoked"
    with pytest.raises(Refused) as e:
        registry.judged_at(key.public.kid, 21, START)
    assert e.value.code == "key.revoked"
    # Below, it counted; that it is suspect since then, the record tells.
    record = registry.judged_at(key.public.kid, 20, START)
    assert (record.ended_seq, record.ended_cause, record.revoked_seq) == (20, "revoked", 20)
    assert (record.reason, record.invalid_since) == ("compromised", after(-5))


def test_a_rotated_key_may_still_be_revoked(world):
    old = world.keys["acme"]
    world.rotate("acme", ed25519_key("acme 2"), seq=10)
    registry = world.apply(revocation(world, "acme", old.public.kid, since=after(3)), seq=20)
    record = registry.judged_at(old.public.kid, 10, START)
    assert (record.ended_seq, record.ended_cause, record.revoked_seq) == (10, "revoked", 20)
    for seq, code in ((11, "key.rotated"), (20, "key.rotated"), (21, "key.revoked")):
        with pytest.raises(Refused) as e:
            registry.judged_at(old.public.kid, seq, START)
        assert e.value.code == code
    again = revocation(world, "acme", old.public.kid, since=after(3))
    assert refused(world, again).code == "key.revoked"


def test_revocation_needs_a_key_of_that_party_that_still_counts(world):
    acme, carrier = world.keys["acme"], world.keys["carrier"]
    kid = acme.public.kid
    assert refused(world, revocation(world, "acme", kid, carrier)).code == "key.authority"
    assert refused(world, revocation(world, "carrier", kid, carrier)).code == "key.party"
    assert refused(world, revocation(world, "acme", carrier.public.kid, acme)).code == "key.party"
    assert refused(world, revocation(world, "acme", ed25519_key("x").public.kid)).code == "key.unknown"
    assert refused(world, revocation(world, "nobody", kid)).code == "key.party"
    future = revocation(world, "acme", kid, since=after(101))
    assert refused(world, future, at=after(100)).code == "key.invalid-since"
    world.revoke("acme")
    assert refused(world, revocation(world, "acme", kid)).code == "key.revoked"
    assert refused(world, revocation(world, "acme", kid, acme)).code == "key.revoked"
    # A revoked key can do nothing more, not even for its party.
    assert refused(world, rotation(world, "acme", acme, ed25519_key("acme 2"))).code == "key.revoked"


@pytest.mark.parametrize(
    "members",
    [
        {"reason": "stolen"},
        {"reason": None},
        {"reason": MISSING},
        {"invalid_since": MISSING},
        {"invalid_since": "2026-11-20"},
        {"invalid_since": 0},
        {"kid": None},
        {"kid": "x" * 44},
        {"old": "x"},
        {"possession": "x"},
    ],
)
def test_a_revocation_of_another_shape_is_malformed(world, members):
    raw = revocation(world, "acme", world.keys["acme"].public.kid)
    e = refused(world, changed(raw, **members))
    assert (type(e), e.code) == (Malformed, "key.payload")


def test_the_ledger_never_loses_its_registrar(world):
    kid = world.registrar.public.kid
    assert refused(world, revocation(world, REGISTRAR_PARTY, kid)).code == "key.registrar"
    operator = world.register(REGISTRAR_PARTY, ed25519_key("operator"), roles=("operator",))
    assert refused(world, revocation(world, REGISTRAR_PARTY, kid, operator)).code == "key.authority"
    old, new = world.registrar, ed25519_key("registrar 2")
    world.apply(rotation(world, REGISTRAR_PARTY, old, new))
    world.registrar = new
    world.apply(revocation(world, REGISTRAR_PARTY, old.public.kid, new))
    world.register("pharmacy")


# --- laws


def test_the_makers_make_nothing_that_no_ledger_would_take(world):
    good = {"origin": ORIGIN, "party": "pharmacy", "name": "P", "roles": ["emitter"], "possession": proof()}
    for members in (
        {"party": "a b"},
        {"name": ""},
        {"roles": []},
        {"roles": ["registrar"]},
        {"previous": b"x"},
    ):
        with pytest.raises(Malformed):
            register_statement(world.registrar, **{**good, **members})
    with pytest.raises(Malformed):
        revocation(world, "acme", world.keys["acme"].public.kid, reason="stolen")
    with pytest.raises(Malformed):
        possession_statement(world.keys["acme"], origin=ORIGIN, party="acme", purpose="both")
    with pytest.raises(Malformed):
        make_genesis(read="everybody")


def test_replay_from_the_statements_alone_gives_the_same_state(world):
    world.rotate("acme", p256_key("acme 2"))
    world.register("pharmacy", not_after=datetime(2030, 1, 1, tzinfo=UTC))
    world.revoke("carrier", invalid_since=after(1))
    replayed = Registry.from_genesis(world.statements[0])
    for seq, raw in enumerate(world.statements[1:], 1):
        replayed = replayed.apply(seq, after(seq), raw)
    assert replayed == world.registry


LABELS = ["a", "b", "c"]
steps = st.lists(
    st.tuples(st.sampled_from(["register", "rotate", "revoke"]), st.sampled_from(LABELS)), max_size=7
)


@given(steps)
@settings(max_examples=40, deadline=None)
def test_judgement_at_a_position_never_depends_on_later_statements(steps):
    world = make_registry({})
    judges = [world.registry, world.registry]  # judges[p] is made of the statements below entry p
    for number, (action, party) in enumerate(steps):
        key = world.keys.get(party)
        if action == "register":
            world.register(party, ed25519_key(f"{party} {number}"))
        elif key is None or world.registry.keys[key.public.kid].ended_seq:
            continue
        elif action == "rotate":
            world.rotate(party, ed25519_key(f"{party} {number}"))
        else:
            world.revoke(party)
        judges.append(world.registry)
    for seq, then in enumerate(judges):
        for kid in world.registry.keys:
            assert outcome(then.active_key, kid, START) == outcome(world.registry.judged_at, kid, seq, START)


def outcome(judge, *arguments) -> tuple[str, str]:
    try:
        return "counts", judge(*arguments).party
    except Fault as e:
        return type(e).__name__, e.code


def test_repr_stays_short(world):
    assert repr(world.registry) == f"<Registry of {ORIGIN} at entry 2: 3 keys>"
    assert nonce("a") == nonce("a")
