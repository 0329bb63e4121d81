"""A whole small server for tests of the door: real keys, a real ledger on disk, real anchors, the real app.

Nothing stands in for anything: what a test breaks, it breaks in the database or in the bytes it sends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import tt_keys
import tt_rows
from cryptography import x509
from flask.testing import FlaskClient

from anchoring import schema as anchoring_schema
from anchoring.devtsa import DevelopmentAuthority
from anchoring.rfc3161 import TokenVerifier
from anchoring.rounds import Policy as AnchorPolicy
from anchoring.rounds import Rounds
from api.app import create_app
from api.services import Limits, Services
from intake.gate import LocalGate
from intake.sequencer import Sequencer
from intake.service import Intake, submit_own
from keys import envelope
from keys.registry import possession_statement, register_statement, revoke_statement
from ledger import entry as entry_format
from ledger.errors import ReadOnly
from ledger.log import Log
from ledger.store import schema as ledger_schema
from ledger.store.sqlite import open_reader, open_writer
from verifier.policy import Policy, render_policy
from verifier.trust import Genesis, Trust, render_genesis

BASE_URL = "http://ledger.test"
GTIN = "09520123456788"
LINE_START = tt_keys.START - timedelta(days=5)  # when the journey's pack was made; the ledger began later
CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
NAMES = {
    "acme": "Brookhaven Pharma",
    "carrier": "Nordwind Cold Chain",
    "distributor": "Havel Distribution",
    "pharmacy": "Linden Pharmacy",
    "operator": "The operator",
}


class Clock:
    """Moves a second whenever it is asked, and further when told to."""

    def __init__(self, now: datetime = tt_keys.START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def forward(self, **parts: float) -> None:
        self.now += timedelta(**parts)


@dataclass
class LocalAuthority:
    """A time-stamp authority without a network between."""

    authority: DevelopmentAuthority
    name: str = "development"
    verifier: TokenVerifier = field(init=False)

    def __post_init__(self) -> None:
        self.verifier = TokenVerifier.from_pem(self.authority.root_pem)

    def ask(self, query: bytes) -> bytes:
        return self.authority.answer(query)


class Site:
    """One ledger with four parties and its operator, served."""

    def __init__(self, folder: Path, *, read: str = "public", limits: Limits | None = None) -> None:
        self.clock = Clock()
        self.path = folder / "ledger.db"
        self.store = open_writer(self.path)
        with self.store.engine.begin() as connection:
            ledger_schema.create_all(connection)
            anchoring_schema.create_all(connection)
        self.signer = tt_keys.log_signer()
        self.log = Log(self.store, [self.signer], tt_keys.ORIGIN, self.clock, None, 0.0)
        self.log.open()
        genesis = self.log.create(tt_keys.make_genesis(read=read)).placed[0].entry
        self.log.publish_if_due()
        self.reader = open_reader(self.path)
        self.intake = Intake(self.reader, LocalGate(Sequencer(self.log)), self.clock)
        self.keys = {party: tt_keys.ed25519_key(party) for party in tt_keys.PARTIES}
        for party in tt_keys.PARTIES:
            submit_own(self.intake, self.registration(party), "key+jws")
        self.log.publish_if_due()
        self.authority = DevelopmentAuthority(self.clock)
        self.rounds = Rounds(
            self.store.engine,
            [LocalAuthority(self.authority)],
            lambda raw: submit_own(self.intake, raw, "anchor+jws"),
            lambda: self.log.head.published,
            self.keys["operator"],
            tt_keys.ORIGIN,
            self.clock,
            policy=AnchorPolicy(interval_s=60.0),
        )
        pinned = Genesis(tt_keys.ORIGIN, entry_format.leaf_hash(genesis))
        roots = tuple(x509.load_pem_x509_certificates(self.authority.root_pem))
        policy = Policy(logs=(self.signer.verifier,))
        self.trust = Trust(policy, pinned, roots)
        self.services = Services(
            reader=self.reader,
            intake=self.intake,
            anchors=self.rounds,
            trust=self.trust,
            trust_files={
                "policy": render_policy(policy).decode(),
                "genesis": render_genesis(pinned).decode(),
            },
            origin=tt_keys.ORIGIN,
            base_url=BASE_URL,
            clock=self.clock,
            writer_state=self._writer_state,
            limits=limits or Limits(),
        )
        self.app = create_app(self.services)

    def close(self) -> None:
        self.reader.close()
        self.store.close()

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def served_with(self, **changes: Any) -> FlaskClient:
        """The same ledger behind an app with other services."""
        return create_app(replace(self.services, **changes)).test_client()

    def _writer_state(self) -> str | None:
        try:
            self.intake.require_writable()
        except ReadOnly as fault:
            return fault.detail
        return None

    # What partners do ----------------------------------------------------------------------------

    def registration(self, party: str, label: str | None = None) -> bytes:
        """The statement that registers this party's key, ready for POST /keys."""
        key = tt_keys.ed25519_key(label or party)
        known = self.intake.registry().parties.get(party)
        return register_statement(
            tt_keys.registrar_key(),
            origin=tt_keys.ORIGIN,
            party=party,
            name=NAMES.get(party, party),
            roles=list(tt_keys.PARTIES.get(party, ("emitter",))),
            possession=possession_statement(key, origin=tt_keys.ORIGIN, party=party, purpose="register"),
            previous=known.last_digest if known else None,
        )

    def revoke(
        self, party: str, *, reason: str = "compromised", invalid_since: datetime | None = None
    ) -> None:
        known = self.intake.registry().parties[party]
        statement = revoke_statement(
            tt_keys.registrar_key(),
            origin=tt_keys.ORIGIN,
            party=party,
            kid=self.keys[party].public.kid,
            reason=reason,
            invalid_since=invalid_since,
            previous=known.last_digest,
        )
        submit_own(self.intake, statement, "key+jws")

    def sign(self, party: str, event: Mapping[str, Any], **options: Any) -> bytes:
        """The event as this party signs it, for this ledger."""
        return envelope.sign(
            self.keys[party],
            typ=options.pop("typ", "epcis-event+jws"),
            aud=options.pop("aud", tt_keys.ORIGIN),
            payload=json.dumps(event).encode(),
            **options,
        )

    def append(self, *signed: tuple[str, Mapping[str, Any]]) -> list[int]:
        """Append events of parties, in order; their positions."""
        lines = [self.sign(party, event) for party, event in signed]
        results = self.intake.submit(lines, allowed_typs={"epcis-event+jws"}).results
        assert all(result.status == "appended" for result in results), [r.faults for r in results]
        return [result.seq for result in results if result.seq is not None]

    # What the operator does ----------------------------------------------------------------------

    def publish(self) -> None:
        self.clock.forward(seconds=5)
        self.log.publish_if_due()

    def anchor(self) -> None:
        """Publish and time-stamp everything appended so far."""
        self.clock.forward(minutes=10)
        self.publish()
        outcome = self.rounds.tick()
        assert outcome.name == "FINISHED", (outcome, self.rounds.status())
        self.publish()

    def tamper(self, table: str, seq: int, value: bytes) -> None:
        """What somebody with the database in hands can do."""
        alter = tt_rows.alter_entry if table == "entries" else tt_rows.alter_statement
        alter(self.path, seq, value)

    def lose_statement(self, seq: int) -> None:
        """The statement is gone."""
        tt_rows.alter_statement(self.path, seq, None)


# Events, each valid by itself ------------------------------------------------------------------


def pack_urn(serial: str) -> str:
    return f"urn:epc:id:sgtin:9520123.045678.{serial}"


def case_urn(number: int) -> str:
    return f"urn:epc:id:sscc:9520123.{number:010d}"


def place_urn(number: int) -> str:
    return f"urn:epc:id:sgln:9520123.{number:05d}.0"


def event(kind: str, when: datetime, **members: Any) -> dict[str, Any]:
    moment = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "@context": [CONTEXT],
        "type": kind,
        "eventTime": moment,
        "eventTimeZoneOffset": "+00:00",
        **members,
    }


def object_event(
    when: datetime,
    epcs: Iterable[str],
    biz_step: str,
    *,
    action: str = "OBSERVE",
    place: int = 1,
    **members: Any,
) -> dict[str, Any]:
    return event(
        "ObjectEvent",
        when,
        epcList=list(epcs),
        action=action,
        bizStep=biz_step,
        readPoint={"id": place_urn(place)},
        **members,
    )


def aggregation(
    when: datetime,
    parent: str,
    children: Iterable[str],
    biz_step: str,
    *,
    action: str = "ADD",
    place: int = 1,
) -> dict[str, Any]:
    return event(
        "AggregationEvent",
        when,
        parentID=parent,
        childEPCs=list(children),
        action=action,
        bizStep=biz_step,
        readPoint={"id": place_urn(place)},
    )


def journey(serial: str, start: datetime = LINE_START, *, boxes: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """One pack from the line to the pharmacy's shelf, through a case and a pallet of its own."""
    pack, case, pallet = pack_urn(serial), case_urn(2 * boxes - 1), case_urn(2 * boxes)

    def at(hours: float) -> datetime:
        return start + timedelta(hours=hours)

    commissioned = object_event(
        at(0),
        [pack],
        "commissioning",
        action="ADD",
        disposition="active",
        ilmd={
            "cbvmda:lotNumber": "L2611A",
            "cbvmda:itemExpirationDate": "2028-05-31",
        },
    )
    return [
        ("acme", commissioned),
        ("acme", aggregation(at(1), case, [pack], "packing")),
        ("acme", aggregation(at(2), pallet, [case], "packing")),
        ("acme", object_event(at(3), [pallet], "shipping", disposition="in_transit")),
        ("carrier", object_event(at(4), [pallet], "loading", place=2)),
        ("distributor", object_event(at(24), [pallet], "receiving", place=3)),
        ("distributor", aggregation(at(25), pallet, [case], "unpacking", action="DELETE", place=3)),
        ("distributor", object_event(at(30), [case], "shipping", place=3)),
        ("pharmacy", object_event(at(50), [case], "receiving", place=4)),
        ("pharmacy", aggregation(at(51), case, [pack], "unpacking", action="DELETE", place=4)),
    ]


def dispensing(serial: str, when: datetime = LINE_START + timedelta(days=4)) -> tuple[str, dict[str, Any]]:
    return (
        "pharmacy",
        object_event(when, [pack_urn(serial)], "dispensing", disposition="dispensed", place=4),
    )
