"""Headers that were read once are known again by their bytes without the nonce: never by less."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tt_keys import ORIGIN, ed25519_key

from keys import base64url, envelope
from keys.errors import Fault

KEY = ed25519_key("acme")
GOOD = envelope.sign(KEY, typ="epcis-event+jws", aud=ORIGIN, payload=b"{}")
NONCES = [base64url.encode(bytes([n]) * 16) for n in range(4)]


def with_header(header: bytes) -> bytes:
    _, payload, signature = GOOD.split(b".")
    return b".".join([base64url.encode(header).encode(), payload, signature])


def header_text(nonce: str, before: str = "", after: str = "") -> bytes:
    return (
        f'{{"alg":"Ed25519",{before}"kid":"{KEY.public.kid}","typ":"epcis-event+jws","aud":"{ORIGIN}",'
        f'"nonce":"{nonce}"{after}}}'
    ).encode()


def both_ways(raw: bytes) -> tuple[object, object]:
    """What parse says with everything forgotten, and what it says when the frame is known."""

    def judged() -> object:
        try:
            return envelope.parse(raw)
        except Fault as fault:
            return fault.code, fault.detail, fault.pointer

    envelope._HEADERS.clear()
    fresh = judged()
    envelope._HEADERS.clear()
    for nonce in NONCES[:2]:
        envelope.parse(with_header(header_text(nonce)))
    return fresh, judged()


def test_each_statement_keeps_its_own_nonce() -> None:
    envelope._HEADERS.clear()
    seen = [envelope.parse(with_header(header_text(nonce))).nonce for nonce in NONCES]
    assert [base64url.encode(nonce) for nonce in seen] == NONCES
    assert len(envelope._HEADERS) == 1


@pytest.mark.parametrize(
    "nonce",
    [
        NONCES[0][:-1],
        NONCES[0] + "A",
        NONCES[0][:-1] + "=",
        NONCES[0][:-1] + "B",  # bits that canonical base64url leaves zero
        '","jwk":{"a":1},"x":"',
        '","nonce":"AAAAAAAAAAA',
        'AAAAAAAAAAAAAAAAAAAA\\"',
        "AAAAAAAAAAAAAAAAAAAAA ",
        "ÄÄÄÄÄÄÄÄÄÄÄ",
    ],
)
def test_what_is_no_nonce_is_refused_whether_the_frame_is_known_or_not(nonce: str) -> None:
    fresh, known = both_ways(with_header(header_text(nonce)))
    assert isinstance(fresh, tuple)
    assert isinstance(known, tuple)
    assert known[0].split(".")[0] == "jws"


def test_a_nonce_in_a_member_of_the_senders_own_is_not_taken_for_the_headers() -> None:
    envelope._HEADERS.clear()
    for outer in NONCES[:3]:
        header = header_text(outer, before=f'"x":{{"nonce":"{NONCES[3]}"}},')
        assert base64url.encode(envelope.parse(with_header(header)).nonce) == outer
    assert envelope._HEADERS == {}


@pytest.mark.parametrize(
    "after", [',"crit":["exp"]', ',"jwk":{}', ',"alg":"none"', ',"nonce":"AAAAAAAAAAAAAAAAAAAAAA"']
)
def test_a_known_frame_excuses_nothing_beside_it(after: str) -> None:
    fresh, known = both_ways(with_header(header_text(NONCES[2], after=after)))
    assert isinstance(fresh, tuple)
    assert fresh == known


@given(st.data())
def test_any_altered_header_is_judged_alike_with_and_without_memory(data: st.DataObject) -> None:
    header = bytearray(header_text(NONCES[2]))
    for _ in range(data.draw(st.integers(1, 3))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(32, 126))
    fresh, known = both_ways(with_header(bytes(header)))
    if isinstance(fresh, tuple):
        assert isinstance(known, tuple)
    else:
        assert fresh == known


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "HEADERS_KEPT_MAX", 8)
    envelope._HEADERS.clear()
    for n in range(40):
        envelope.parse(with_header(header_text(NONCES[0], after=f',"x":{json.dumps(str(n))}')))
        assert len(envelope._HEADERS) <= 8


@pytest.mark.parametrize("own", ['"nonce": ', '"nonce" :', '"\\u006eonce":'])
@pytest.mark.parametrize("inner", ["b" * 21 + "A", "no nonce of a header..", "short"])
def test_a_nonce_within_a_member_of_the_senders_is_not_the_headers(own, inner):
    """The words that are looked for stand first where they mean nothing, and alike."""
    ours = base64url.encode(bytes(16))

    def statement(within: str) -> bytes:
        end = f',{own}"{ours}"}}'.encode()
        nested = header_text(within).replace(b'"nonce":', b'"x":{"nonce":')
        return with_header(nested + end)

    for within in (ours, inner):
        assert envelope.parse(statement(within)).nonce == bytes(16)
