"""Expiry is compared with the entry's own time, so intake must judge by the very time that it records.

Whoever audits has only the entry: one recorded a moment after its key expired would prove an honest
ledger wrong, and such a key statement would stop every replay of the registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tt_intake import Clock, Ledger, event_statement
from tt_keys import ORIGIN, ed25519_key, registrar_key

from intake import wire
from intake.prepare import prepare
from intake.sequencer import replay
from intake.service import event_typs, key_typs
from keys import envelope
from keys.registry import possession_statement, register_statement, rotate_statement
from ledger import entry as entries

PARTY = "short-lived"
SECOND = timedelta(seconds=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path, clock=Clock(step=timedelta(0)))
    yield made
    made.close()


def registration(not_after: datetime) -> bytes:
    key = ed25519_key(PARTY)
    return register_statement(
        registrar_key(),
        origin=ORIGIN,
        party=PARTY,
        name=PARTY,
        roles=["emitter"],
        possession=possession_statement(key, origin=ORIGIN, party=PARTY, purpose="register"),
        previous=None,
        not_after=not_after,
    )


def require_sound(ledger: Ledger) -> None:
    """Every entry's key counted at its position and time, as an auditor judges it."""
    registry = replay(None, ledger.reader.read_key_records(-1))
    head = ledger.reader.read_head()
    assert head is not None
    for seq in range(1, head.tree_size):
        raw = ledger.reader.read_statement(seq)
        assert raw is not None
        parsed = entries.parse(ledger.reader.read_entry(seq))
        registry.judged_at(envelope.parse(raw).kid, seq, parsed.recorded_at)


def test_a_key_that_expires_on_the_way_to_the_sequencer_signs_nothing(ledger: Ledger) -> None:
    not_after = ledger.clock.now + SECOND
    ledger.submit_key(registration(not_after))
    prepared = prepare(event_statement(1, PARTY), ledger.intake.registry(), event_typs(), ledger.clock())
    assert prepared.objection is None
    ledger.clock.now = not_after + timedelta(microseconds=1)
    (result,) = ledger.gate.submit(wire.submission_of([prepared], rollback=True)).results
    assert result.fault is not None
    assert result.fault.code == "key.expired"
    require_sound(ledger)


@pytest.mark.parametrize("looks", range(1, 8))
def test_time_that_passes_while_judging_divides_nothing(ledger: Ledger, looks: int) -> None:
    not_after = ledger.clock.now + SECOND
    ledger.submit_key(registration(not_after))
    # So many looks at the clock from here, and the key has expired.
    ledger.clock.now = not_after - looks * SECOND
    ledger.clock.step = SECOND
    try:
        ledger.submit(event_statement(1, PARTY))
    except Exception as refused:  # the clock may have gone back too far for this many looks
        assert type(refused).__name__ == "ClockBehind"  # noqa: PT017
    ledger.clock.step = timedelta(0)
    require_sound(ledger)


def test_a_clock_that_is_a_little_behind_judges_by_the_heads_time(ledger: Ledger) -> None:
    not_after = ledger.clock.now + SECOND
    ledger.submit_key(registration(not_after))
    ledger.register("acme")
    ledger.clock.now = not_after + SECOND
    ledger.submit(event_statement(1))
    ledger.clock.now = not_after - SECOND / 2  # within what the log tolerates
    (result,) = ledger.submit(event_statement(2, PARTY)).results
    assert result.status == "refused"
    assert result.faults[0].code == "key.expired"
    require_sound(ledger)


def test_a_registration_that_expires_while_it_is_judged_stops_no_replay(ledger: Ledger) -> None:
    ledger.register("acme")
    ledger.clock.step = SECOND
    for looks in range(1, 5):
        statement = registration(ledger.clock.now + looks * SECOND)
        ledger.intake.submit([statement], allowed_typs=key_typs())
        replay(None, ledger.reader.read_key_records(-1))


def test_a_rotation_by_a_key_that_expires_while_it_is_judged_stops_no_replay(ledger: Ledger) -> None:
    not_after = ledger.clock.now + 20 * SECOND
    ledger.submit_key(registration(not_after))
    key, new = ed25519_key(PARTY), ed25519_key("successor")
    rotation = rotate_statement(
        key,
        origin=ORIGIN,
        party=PARTY,
        old=key.public.kid,
        possession=possession_statement(new, origin=ORIGIN, party=PARTY, purpose="rotate"),
        previous=ledger.intake.registry().parties[PARTY].last_digest,
    )
    ledger.clock.now = not_after - 2 * SECOND
    ledger.clock.step = SECOND
    ledger.submit_key(rotation)
    replay(None, ledger.reader.read_key_records(-1))


def test_a_clock_far_behind_is_said_before_anybody_sends(ledger: Ledger) -> None:
    ledger.intake.require_writable()
    ledger.clock.now -= timedelta(minutes=5)
    with pytest.raises(Exception, match="behind") as caught:
        ledger.intake.require_writable()
    assert type(caught.value).__name__ == "ClockBehind"


def test_an_objection_of_an_old_time_falls_with_it(ledger: Ledger) -> None:
    """A worker whose clock is ahead of the sequencer's does not refuse for it."""
    not_after = ledger.clock.now + SECOND
    ledger.submit_key(registration(not_after))
    registry = ledger.intake.registry()
    ahead = prepare(event_statement(1, PARTY), registry, event_typs(), not_after + SECOND)
    assert ahead.objection is not None
    again = replace(ahead, keys_seq=registry.newest_seq)
    (result,) = ledger.gate.submit(wire.submission_of([again], rollback=True)).results
    assert result.status == "appended"
