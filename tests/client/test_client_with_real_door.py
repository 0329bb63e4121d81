"""The partner's side against the real door and the real ledger: what one says, the other must understand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx2
import pytest
import tt_keys
import tt_site
from tt_site import Site

from client.errors import RequestRefused
from client.http import LedgerDoor, Patience
from client.outbox import Draft, Outbox
from client.receipts import ReceiptChecker, parse_log_keys
from client.registration import read_registry, submit_key_statement
from client.submit import Sender, Summary
from keys.registry import possession_statement, register_statement


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def door(site: Site) -> Iterator[LedgerDoor]:
    with LedgerDoor("http://ledger.test", transport=httpx2.WSGITransport(app=site.app)) as door:
        yield door


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.sqlite", origin=tt_keys.ORIGIN) as outbox:
        yield outbox


def _checker(site: Site) -> ReceiptChecker:
    return ReceiptChecker(parse_log_keys([site.signer.vkey]), tt_keys.ORIGIN)


def _event(at: datetime, serial: str, digit: str | None = None) -> bytes:
    urn = tt_site.pack_urn(serial)
    return json.dumps(tt_site.object_event(at, [digit or urn], "inspecting")).encode()


def _enqueue(outbox: Outbox, *payloads: bytes, party: str = "acme") -> None:
    drafts = [Draft(f"{n}.json", payload=payload) for n, payload in enumerate(payloads)]
    list(outbox.enqueue(drafts, find_key=lambda: tt_keys.ed25519_key(party)))


def _send(site: Site, door: LedgerDoor, outbox: Outbox) -> Summary:
    return Sender(outbox, door, _checker(site), patience=Patience(0), batch_count_max=4).run()


def test_events_arrive_with_receipts_and_growth_is_proved(
    site: Site, door: LedgerDoor, outbox: Outbox
) -> None:
    at = site.clock()
    _enqueue(outbox, *(_event(at, str(n)) for n in range(10)))
    first = site.log.head.tree_size
    summary = _send(site, door, outbox)
    assert (summary.ended_by, summary.receipted, summary.growth_unproved) == (None, 10, None)
    assert (summary.seq_first, summary.seq_last) == (first, first + 9)
    assert outbox.find_growth_step() is None


def test_a_faulty_event_stands_aside_with_its_pointer(site: Site, door: LedgerDoor, outbox: Outbox) -> None:
    at = site.clock()
    wrong = "https://id.gs1.org/01/09520123456789/21/1"
    _enqueue(outbox, _event(at, "1"), _event(at, "2", digit=wrong), _event(at, "3"))
    summary = _send(site, door, outbox)
    assert (summary.ended_by, summary.receipted, summary.refused) == (None, 2, 1)
    (fault,) = outbox.read_rows("refused")[0].faults
    assert fault.pointer.startswith("/epcList")
    assert fault.code


def test_what_arrived_before_is_settled_by_the_first_statement(
    site: Site, door: LedgerDoor, outbox: Outbox, tmp_path: Path
) -> None:
    at = site.clock()
    _enqueue(outbox, _event(at, "1"))
    _send(site, door, outbox)
    with Outbox.open(tmp_path / "after-a-lost-disk.sqlite", origin=tt_keys.ORIGIN) as other:
        _enqueue(other, _event(at, "1"), _event(at, "2"))
        summary = _send(site, door, other)
        assert (summary.ended_by, summary.receipted, summary.duplicates) == (None, 2, 1)
        assert other.read_kept(1)[2] == outbox.read_kept(1)[0]


def test_a_key_is_registered_once_and_then_lets_the_queue_go(
    site: Site, door: LedgerDoor, outbox: Outbox
) -> None:
    key = tt_keys.ed25519_key("newcomer")
    _enqueue(outbox, _event(site.clock(), "1"), party="newcomer")
    held = _send(site, door, outbox).ended_by
    assert isinstance(held, RequestRefused)
    assert held.code == "key.unknown"
    assert outbox.read_counts().waiting == 1

    possession = possession_statement(key, origin=tt_keys.ORIGIN, party="newcomer")

    def register(waits: list[float]) -> int | None:
        def sleep(seconds: float) -> None:
            waits.append(seconds)
            site.log.publish_if_due()

        recorded = submit_key_statement(
            door,
            _checker(site),
            tt_keys.ORIGIN,
            find_recorded=lambda registry: (
                registry.keys[key.public.kid].registered_seq if key.public.kid in registry.keys else None
            ),
            make=lambda _registry: register_statement(
                tt_keys.registrar_key(),
                origin=tt_keys.ORIGIN,
                party="newcomer",
                name="New",
                roles=["emitter"],
                possession=possession,
            ),
            patience=Patience(0, sleep=sleep),
        )
        return recorded.receipt.seq if recorded.receipt else None

    seq = register([])
    assert seq is not None
    # Again, with another nonce: the ledger knows the content and says so; nothing is added.
    assert register([]) == seq
    site.log.publish_if_due()
    assert read_registry(door, _checker(site), tt_keys.ORIGIN).keys[key.public.kid].registered_seq == seq
    assert register([]) is None
    assert _send(site, door, outbox).receipted == 1


def test_a_closed_ledger_still_gives_its_keys_and_receipts(tmp_path: Path, outbox: Outbox) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    site = Site(folder, read="none")
    with LedgerDoor("http://ledger.test", transport=httpx2.WSGITransport(app=site.app)) as door:
        _enqueue(outbox, _event(site.clock(), "1"))
        assert _send(site, door, outbox).receipted == 1
        site.log.publish_if_due()
        assert "acme" in read_registry(door, _checker(site), tt_keys.ORIGIN).parties
    site.close()
