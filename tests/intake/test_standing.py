"""What a registry says of a header is remembered for that registry, key, class and audience alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tt_intake import Clock, Ledger, event_payload, event_statement
from tt_keys import ORIGIN, ed25519_key, registrar_key, sign_event

from intake.prepare import prepare
from intake.service import event_typs
from keys.errors import Refused, Refuted, Unverifiable
from keys.registry import possession_statement, register_statement

SECOND = timedelta(seconds=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path, clock=Clock(step=timedelta(0)))
    made.register("acme")
    yield made
    made.close()


def test_a_key_that_expires_is_objected_to_from_then_on(ledger: Ledger) -> None:
    last = ledger.clock.now + SECOND
    key = ed25519_key("carrier")
    ledger.submit_key(
        register_statement(
            registrar_key(),
            origin=ORIGIN,
            party="carrier",
            name="carrier",
            roles=["emitter"],
            possession=possession_statement(key, origin=ORIGIN, party="carrier", purpose="register"),
            previous=None,
            not_after=last,
        )
    )
    registry, raw = ledger.intake.registry(), event_statement(1, "carrier")
    for now, code in ((last, None), (last + SECOND, "key.expired"), (last, None)):
        found = prepare(raw, registry, event_typs(), now).objection
        assert (found.code if found else None) == code


def test_a_newer_registry_is_asked_again(ledger: Ledger) -> None:
    raw, now = event_statement(1), ledger.clock.now
    older = ledger.intake.registry()
    assert prepare(raw, older, event_typs(), now).objection is None
    ledger.submit_key(ledger.revocation("acme"))
    newer = ledger.intake.registry()
    for registry, code in ((newer, "key.revoked"), (older, None), (newer, "key.revoked")):
        found = prepare(raw, registry, event_typs(), now)
        assert (found.objection.code if found.objection else None) == code
        assert found.keys_seq == registry.newest_seq


@pytest.mark.parametrize("aud", ["other.example", [ORIGIN + "x"], ["other.example", ORIGIN.upper()]])
def test_another_ledgers_statement_by_a_known_key_is_refused(ledger: Ledger, aud: str | list[str]) -> None:
    registry, now = ledger.intake.registry(), ledger.clock.now
    prepare(event_statement(1), registry, event_typs(), now)
    with pytest.raises(Refused) as caught:
        prepare(sign_event(ed25519_key("acme"), event_payload(2), aud=aud), registry, event_typs(), now)
    assert caught.value.code == "jws.aud"


def test_another_signature_or_key_gains_nothing_by_a_known_header(ledger: Ledger) -> None:
    registry, now = ledger.intake.registry(), ledger.clock.now
    good = event_statement(1)
    prepare(good, registry, event_typs(), now)
    header, _, signature = good.split(b".")
    other = event_statement(2).split(b".")[1]
    with pytest.raises(Refuted):
        prepare(b".".join([header, other, signature]), registry, event_typs(), now)
    with pytest.raises(Unverifiable):
        prepare(event_statement(1, key=ed25519_key("nobody")), registry, event_typs(), now)
