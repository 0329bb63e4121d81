"""What somebody with a stolen key tries, and what a small text tries with a large machine."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from tt_keys import ORIGIN, START, Registered, ed25519_key, log_signer, make_registry, witness_signer

from keys import note, strict_json
from keys.errors import Malformed, Refused, Refuted, Unverifiable
from keys.registry import revoke_statement

HOUR = timedelta(hours=1)


@pytest.fixture
def world() -> Registered:
    return make_registry({"acme": ("emitter",)})


def revoked_by_the_thief(world: Registered, *, since: datetime | None = None) -> str:
    """The thief ends the stolen key himself, in words that cast no doubt on what he signed before."""
    kid = world.keys["acme"].public.kid
    world.revoke("acme", by=world.keys["acme"], reason="superseded", invalid_since=since)
    return kid


# A thief who revokes the key himself.


@pytest.mark.parametrize("since", [None, START])
def test_a_thief_s_own_revocation_does_not_keep_doubt_away(world: Registered, since: datetime | None) -> None:
    kid = revoked_by_the_thief(world)
    first = world.registry.keys[kid]
    assert (first.reason, first.invalid_since) == ("superseded", None)
    world.revoke("acme", kid=kid, reason="compromised", invalid_since=since)
    graver = world.registry.keys[kid]
    assert (graver.reason, graver.invalid_since) == ("compromised", since)
    # Where it ended stays as it was: no signature counts for more or less than before.
    assert (graver.ended_seq, graver.revoked_seq) == (first.ended_seq, first.revoked_seq)


def test_doubt_moves_back_and_never_forward(world: Registered) -> None:
    now = START + 3 * HOUR
    kid = world.keys["acme"].public.kid
    world.revoke("acme", invalid_since=START + 2 * HOUR, recorded_at=now)
    world.revoke("acme", kid=kid, invalid_since=START + HOUR, recorded_at=now)
    for reason, since in (
        ("compromised", START + HOUR),
        ("compromised", START + 2 * HOUR),
        ("superseded", None),
        ("ceased", START + 2 * HOUR),
    ):
        with pytest.raises(Refused) as e:
            world.revoke("acme", kid=kid, reason=reason, invalid_since=since, recorded_at=now)
        assert e.value.code == "key.revoked"
    world.revoke("acme", kid=kid, invalid_since=None, recorded_at=now)  # nobody knows since when: from ever
    with pytest.raises(Refused):
        world.revoke("acme", kid=kid, invalid_since=START, recorded_at=now)


def test_a_thief_whose_key_has_ended_cannot_speak_again(world: Registered) -> None:
    thief = world.keys["acme"]
    kid = revoked_by_the_thief(world)
    raw = revoke_statement(
        thief, origin=ORIGIN, party="acme", kid=kid, reason="compromised", previous=world.previous("acme")
    )
    with pytest.raises(Refused) as e:
        world.apply(raw)
    assert e.value.code == "key.revoked"


def test_a_key_that_was_revoked_twice_never_comes_back(world: Registered) -> None:
    kid = revoked_by_the_thief(world)
    world.revoke("acme", kid=kid)
    for attempt in (
        lambda: world.register("acme", ed25519_key("acme")),
        lambda: world.rotate("acme", ed25519_key("acme 2")),
    ):
        with pytest.raises(Refused):
            attempt()


# Signature lines.


TEXT = f"{ORIGIN}\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"


def lines(*signature_lines: note.SignatureLine) -> bytes:
    return note.render(note.Note(TEXT, signature_lines))


def test_a_bad_line_behind_a_good_one_of_the_same_key_is_not_overlooked() -> None:
    log = log_signer()
    good = log.sign_line(TEXT)
    bad = note.SignatureLine(good.name, good.key_id, bytes(64))
    for order in ((good, bad), (bad, good)):
        with pytest.raises(Refuted):
            note.open_note(lines(*order), [log.verifier])
    assert len(note.open_note(lines(good, good), [log.verifier]).verified) == 1


def test_a_line_under_the_same_name_by_another_key_is_nobody_s() -> None:
    log, other = log_signer(), log_signer(label="another")
    opened = note.open_note(lines(log.sign_line(TEXT), other.sign_line(TEXT)), [log.verifier])
    assert [line.key_id for line in opened.unknown] == [other.key_id]
    with pytest.raises(Unverifiable):
        note.open_note(lines(other.sign_line(TEXT)), [log.verifier])
    # With the log's key id written over it, it is a bad line of the log.
    with pytest.raises(Refuted):
        note.open_note(
            lines(note.SignatureLine(ORIGIN, log.key_id, other.sign_line(TEXT).signature)), [log.verifier]
        )


def test_one_key_s_log_line_and_cosignature_do_not_pass_for_each_other() -> None:
    # The same name and the same secret, as log and as witness: two key ids, two messages.
    as_log, as_witness = log_signer(ORIGIN, "both"), witness_signer(ORIGIN, "both")
    line, cosignature = as_log.sign_line(TEXT), as_witness.sign_cosignature(TEXT, 1)
    for given, verifier in ((line, as_witness.verifier), (cosignature, as_log.verifier)):
        with pytest.raises(Unverifiable):
            note.open_note(lines(given), [verifier])
        with pytest.raises(Refuted):
            note.open_note(lines(note.SignatureLine(ORIGIN, verifier.key_id, given.signature)), [verifier])


# Small texts, large work.


@pytest.mark.parametrize(
    "literal",
    [b"5e-324", b"3e-324", b"1E-300", b"1.0e0", b"0e999999999999", b"123456789.123456789e-300", b"-0"],
)
def test_a_megabyte_of_awkward_numbers_costs_about_a_second_at_most(literal: bytes) -> None:
    data = b"[" + b",".join([literal] * (1_000_000 // (len(literal) + 1))) + b" ]"
    started = time.process_time()
    with suppress(Malformed):
        strict_json.loads(data, size_max=1_048_576)
    assert time.process_time() - started < 2.5  # half a second here; quadratic work would be minutes


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'"' + b"\\" * 999_999,
        b'"a' * 500_000,
        b"[1" + b"1" * 900_000 + b"]",
        b'"' + b'\\"' * 400_000,
        b"{" + b",".join(b'"%d":1' % i for i in range(90_000)) + b',"0":1}',
    ],
)
def test_a_megabyte_of_anything_is_refused_in_linear_time(data: bytes) -> None:
    started = time.process_time()
    with pytest.raises(Malformed):
        strict_json.loads(data, size_max=1_048_576)
    assert time.process_time() - started < 2.5
