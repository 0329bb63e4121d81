"""The walk down the `keys` links: what fits together is replayed, nothing else is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import tt_keys
from tt_ledger_server import LedgerServer

from client.errors import AnswerMalformed, ReceiptMalformed, ReceiptUnverifiable
from client.http import LedgerDoor
from client.receipts import ReceiptChecker
from client.registration import read_registry
from keys import envelope
from keys.errors import Fault

ORIGIN = tt_keys.ORIGIN


@pytest.fixture
def server() -> Iterator[LedgerServer]:
    server = LedgerServer()
    for party in ("acme", "carrier"):
        server.ledger.register(tt_keys.ed25519_key(party), party)
        event = envelope.sign(
            tt_keys.ed25519_key(party), typ="epcis-event+jws", aud=ORIGIN, payload=b'"%s"' % party.encode()
        )
        server.ledger.record(server.ledger.judge(event))
    server.start()
    yield server
    server.stop()


def _read(server: LedgerServer, origin: str = ORIGIN):
    checker = ReceiptChecker([server.ledger.signer.verifier], origin)
    with LedgerDoor(server.url) as door:
        return read_registry(door, checker, origin)


def test_the_walk_finds_every_party_and_asks_for_key_entries_only(server: LedgerServer) -> None:
    registry = _read(server)
    assert registry.parties == server.ledger.registry.parties
    assert registry.newest_seq == 3
    asked = [request for request in server.requests if request.startswith("GET /statements")]
    assert asked == [f"GET /statements/{seq}" for seq in (3, 1, 0)]


def test_without_a_log_key_the_walk_is_the_same(server: LedgerServer) -> None:
    with LedgerDoor(server.url) as door:
        assert read_registry(door, None, ORIGIN).parties == server.ledger.registry.parties


def _swap_statements(server: LedgerServer) -> None:
    statements = server.ledger.statements
    statements[1], statements[3] = statements[3], statements[1]


def _give_another_entry(server: LedgerServer) -> None:
    server.ledger.entries[3] = server.ledger.entries[1]


def _link_to_an_event(server: LedgerServer) -> None:
    server.ledger.entries[4] = server.ledger.entries[4].replace(b'"keys":3', b'"keys":2')


def _alter_genesis(server: LedgerServer) -> None:
    server.ledger.statements[0] = tt_keys.make_genesis(origin="another.example")


def _garble_entry(server: LedgerServer) -> None:
    server.ledger.entries[3] = b"{}"


def _not_a_ledger(server: LedgerServer) -> None:
    server.garbage = b"<html>"


@pytest.mark.parametrize(
    "lie",
    [_swap_statements, _give_another_entry, _link_to_an_event, _alter_genesis, _garble_entry, _not_a_ledger],
)
def test_what_does_not_fit_together_is_not_believed(
    server: LedgerServer, lie: Callable[[LedgerServer], None]
) -> None:
    lie(server)
    with pytest.raises((AnswerMalformed, ReceiptMalformed)):
        _read(server)


def test_another_ledgers_checkpoint_is_not_walked_from(server: LedgerServer) -> None:
    with pytest.raises(ReceiptUnverifiable):
        _read(server, "other.example")
    with LedgerDoor(server.url) as door, pytest.raises(AnswerMalformed, match="is the ledger"):
        read_registry(door, None, "other.example")


def test_a_path_that_is_not_there_is_said_plainly(server: LedgerServer) -> None:
    with LedgerDoor(server.url + "/elsewhere") as door, pytest.raises(Fault) as caught:
        read_registry(door, None, ORIGIN)
    assert "no resource has this path" in caught.value.detail
