"""Promises of the quick judge: it accepts what the exact one accepts, and nothing else."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tt_epcis import object_event
from tt_evidence import EVENT_TYP, NOON, PACK, World
from tt_keys import ed25519_key, nonce
from tt_long_ledger import es256_key

from keys import base64url, envelope
from keys.errors import Fault
from keys.jws_text import JwsText, jws_text
from ledger.entry import Entry, render_time
from ledger.store.packing import pack, unpack_signed
from verifier import event_judge
from verifier.event_judge import EventJudge
from verifier.statements import judge, verify_signature

LAST = NOON + timedelta(days=1)


@cache
def world() -> World:
    made = World()
    made.register("acme")
    made.register("brief", not_after=LAST)
    made.register("operator", roles=("operator",))
    made.register("gone")
    made.revoke("gone", reason="ceased")
    from keys.registry import possession_statement, register_statement

    key = es256_key()
    made.key_statement(
        register_statement(
            made.registrar,
            origin=made.origin,
            party="curve",
            name="Curve",
            roles=["emitter"],
            possession=possession_statement(key, origin=made.origin, party="curve", purpose="register"),
            previous=None,
        )
    )
    made.keys["curve"] = key
    return made


def sign(party: str = "acme", *, size: int = 300, **options: object) -> bytes:
    key = world().keys.get(party) or ed25519_key(party)
    payload = json.dumps(object_event(PACK)).encode()[:size]
    return envelope.sign(
        key,
        payload=payload,
        **{"typ": EVENT_TYP, "aud": world().origin, **options},  # type: ignore[arg-type]
    )


def exact(raw: bytes, moment: datetime = NOON) -> bool:
    try:
        verify_signature(judge(Entry(99, "event", moment, b"", b"", 0), raw, world().registry))
    except Fault:
        return False
    return True


def quick(judge_: EventJudge, raw: bytes, moment: datetime = NOON) -> bool:
    """The same of the text and, if that is how it is stored, of the text with its parts."""
    recorded_at = render_time(moment).encode()
    accepted = judge_.accepts(raw, recorded_at)
    signed = unpack_signed(pack([raw, raw]))[0]
    assert signed == raw
    assert judge_.accepts(signed, recorded_at) is accepted
    return accepted


def test_a_stored_statement_comes_with_its_parts_and_is_held_against_them() -> None:
    raw, other = sign(), sign()
    header64, _, signature64 = raw.split(b".")
    signed = unpack_signed(pack([other, raw]))[1]
    assert type(signed) is JwsText
    assert (signed, signed.header, signed.signature) == (
        raw,
        base64url.decode(header64),
        base64url.decode(signature64),
    )
    judge_ = learned()
    assert judge_.accepts(signed, render_time(NOON).encode())
    wrong = bytes([signed.signature[0] ^ 1]) + signed.signature[1:]
    for forged in (
        jws_text(other, signed.header, signed.signature),  # another one's signature
        jws_text(raw, signed.header, wrong),
        jws_text(raw, signed.header, signed.signature[:-1]),
        jws_text(raw, signed.header.replace(b'"nonce"', b'"Nonce"'), signed.signature),
        jws_text(raw, signed.header[:-1] + b',"a":"' + b"a" * 3072 + b'"}', signed.signature),
        jws_text(raw, b"", signed.signature),
    ):
        assert not judge_.accepts(forged, render_time(NOON).encode())


def learned() -> EventJudge:
    """One that remembers everybody's header."""
    judge_ = EventJudge(world().registry)
    for party in ("acme", "curve", "brief"):
        for options in ({}, {"iat": 5}, {"aud": [world().origin, "other.example"]}):
            assert quick(judge_, sign(party, **options))
    return judge_


@pytest.mark.parametrize("party", ["acme", "curve", "brief"])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 300, 1000])
@pytest.mark.parametrize("iat", [None, 0, 5, 1_800_000_000, 99_999_999_999, 200_000_000_000])
def test_a_good_statement_is_accepted_whether_or_not_its_header_is_known(
    party: str, size: int, iat: int | None
) -> None:
    raw = sign(party, size=size, iat=iat)
    assert exact(raw)
    for judge_ in (EventJudge(world().registry), learned()):
        # What is unusual may be left to the exact one.
        assert quick(judge_, raw) is (iat != 200_000_000_000)


@pytest.mark.parametrize(
    ("party", "options"),
    [
        ("operator", {}),
        ("gone", {}),
        ("nobody", {}),
        ("acme", {"aud": "other.example"}),
        ("acme", {"typ": "anchor+jws"}),
        ("acme", {"typ": "key+jws"}),
        ("curve", {"typ": "genesis+jws"}),
    ],
)
def test_what_the_exact_judge_refuses_is_not_accepted(party: str, options: dict[str, object]) -> None:
    raw = sign(party, **options)
    assert not exact(raw)
    judge_ = learned()
    assert not quick(judge_, raw)
    assert not quick(judge_, raw)


def test_a_key_that_has_expired_is_not_accepted_to_the_microsecond() -> None:
    judge_, raw = learned(), sign("brief")
    tick = timedelta(microseconds=1)
    for moment, is_good in ((LAST - tick, True), (LAST, True), (LAST + tick, False)):
        assert quick(judge_, raw, moment) is exact(raw, moment) is is_good


def test_one_key_s_signature_is_not_another_s() -> None:
    judge_, one, other = learned(), sign("acme"), sign("brief")
    mixed = other.rsplit(b".", 1)[0] + b"." + one.rsplit(b".", 1)[1]
    assert not quick(judge_, mixed)
    assert not exact(mixed)


def header_of(raw: bytes) -> bytes:
    return base64url.decode(raw.split(b".")[0])


def with_header(header: bytes, party: str = "acme") -> bytes:
    """A statement with this header, truly signed over it."""
    signing_input = base64.urlsafe_b64encode(header).rstrip(b"=") + b".e30"
    signature = base64.urlsafe_b64encode(world().keys[party].sign(signing_input)).rstrip(b"=")
    return signing_input + b"." + signature


NONCE = base64url.encode(nonce("x")).encode()
HEAD = header_of(sign())[: -len(NONCE) - 2]


@pytest.mark.parametrize(
    "header",
    [
        HEAD + NONCE + b'","nonce":"' + NONCE + b'"}',
        HEAD + NONCE + b'","crit":["x"]}',
        HEAD + NONCE + b'","iat":01}',
        HEAD + NONCE + b'","iat":-1}',
        HEAD + NONCE + b'","iat":1.0}',
        HEAD + NONCE + b'","iat":1}}',
        HEAD + NONCE[:-1] + b'B"}',
        HEAD + NONCE[:-1] + b'"}',
        HEAD + NONCE + b'A"}',
        HEAD + b'"}',
        HEAD[:-1] + b'"x,\\"nonce\\":\\"' + NONCE + b'"}',
        b"{}",
        b"",
        HEAD,
        HEAD.replace(b'"alg":"Ed25519"', b'"alg":"ES256"') + NONCE + b'"}',
        HEAD.replace(b'"alg":"Ed25519"', b'"alg":"none"') + NONCE + b'"}',
        HEAD.replace(b'{"alg"', b'{"jwk":{},"alg"') + NONCE + b'"}',
        HEAD.replace(b'{"alg"', b'{"x":{"a":1,"nonce":"' + NONCE + b'"},"alg"') + NONCE[:21] + b'"}',
    ],
)
def test_no_header_passes_that_the_exact_judge_refuses(header: bytes) -> None:
    raw = with_header(header)
    assert not exact(raw)
    judge_ = learned()
    for _ in range(2):
        assert not quick(judge_, raw)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_an_altered_statement_is_accepted_by_both_or_by_none(data: st.DataObject) -> None:
    raw = bytearray(CHOSEN[data.draw(st.integers(0, len(CHOSEN) - 1))])
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.one_of(st.integers(0, len(raw) - 1), st.integers(len(raw) - 90, len(raw) - 1)))
        change = data.draw(st.sampled_from(("flip", "drop", "double", "char")))
        if change == "flip":
            raw[place] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "drop":
            del raw[place]
        elif change == "double":
            raw.insert(place, raw[place])
        else:
            raw[place] = data.draw(st.sampled_from(b"A_-+/=. \n\x00\xff"))
    altered = bytes(raw)
    assert quick(JUDGE, altered) is exact(altered)


CHOSEN = [sign(party, size=size) for party in ("acme", "curve", "brief") for size in (10, 11, 12)]
JUDGE = learned()


def test_its_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_judge, "HEADERS_MAX", 3)
    judge_ = EventJudge(world().registry)
    for number in range(10):
        assert quick(judge_, sign(aud=[world().origin, f"x{number}"]))
    assert len(judge_._known) <= 3


def test_of_many_events_only_those_that_are_not_accepted_are_left_to_the_exact_judge() -> None:
    good, torn = sign(), sign()[:-1]
    many = [good, sign("brief"), torn, sign("nobody"), b"\xff..", sign("curve"), sign("brief")]
    times = [render_time(NOON).encode()] * 6 + [render_time(LAST + timedelta(days=1)).encode()]
    for judge_ in (EventJudge(world().registry), learned()):
        assert judge_.leaves(many, times) == [2, 3, 4, 6]
        assert judge_.leaves([good], times[:1]) == []
