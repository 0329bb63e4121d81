"""A whole ledger in a folder, with intake in front of it: real store, real keys, no server."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import orjson
from tt_keys import ORIGIN, PARTIES, START, ed25519_key, log_signer, make_genesis, registrar_key, sign_event

from intake.gate import LocalGate
from intake.sequencer import Sequencer
from intake.service import Intake, Outcome, event_typs, key_typs
from keys.algorithms import PrivateKey
from keys.registry import possession_statement, register_statement, revoke_statement
from ledger.log import Log
from ledger.store.schema import create_all
from ledger.store.sqlite import SqliteReader, SqliteStore, open_reader, open_writer


@dataclass
class Clock:
    """Time that a test moves."""

    now: datetime = START
    step: timedelta = field(default=timedelta(milliseconds=1))

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


class Ledger:
    """store, log, sequencer and intake over one database file."""

    def __init__(self, folder: Path, *, read: str = "public", clock: Clock | None = None) -> None:
        self.path = folder / "ledger.db"
        self.clock = clock or Clock()
        self.store: SqliteStore = open_writer(self.path)
        with self.store.engine.begin() as connection:
            create_all(connection)
        self.log = Log(self.store, [log_signer()], ORIGIN, self.clock, None)
        self.log.open()
        self.log.create(make_genesis(read=read))
        self.sequencer = Sequencer(self.log)
        self.reader: SqliteReader = open_reader(self.path)
        self.gate = LocalGate(self.sequencer)
        self.intake = Intake(self.reader, self.gate, self.clock)

    def register(
        self, party: str, key: PrivateKey | None = None, roles: tuple[str, ...] | None = None
    ) -> Outcome:
        key = key or ed25519_key(party)
        known = self.intake.registry().parties.get(party)
        statement = register_statement(
            registrar_key(),
            origin=ORIGIN,
            party=party,
            name=party.title(),
            roles=list(roles or PARTIES.get(party, ("emitter",))),
            possession=possession_statement(key, origin=ORIGIN, party=party, purpose="register"),
            previous=known.last_digest if known else None,
        )
        return self.submit_key(statement)

    def revocation(self, party: str, key: PrivateKey | None = None, reason: str = "compromised") -> bytes:
        key = key or ed25519_key(party)
        return revoke_statement(
            registrar_key(),
            origin=ORIGIN,
            party=party,
            kid=key.public.kid,
            reason=reason,
            previous=self.intake.registry().parties[party].last_digest,
        )

    def submit_key(self, statement: bytes) -> Outcome:
        return self.intake.submit([statement], allowed_typs=key_typs())

    def submit(self, *statements: bytes, behaviour: str = "rollback") -> Outcome:
        return self.intake.submit(list(statements), behaviour=behaviour, allowed_typs=event_typs())

    def close(self) -> None:
        self.reader.close()
        self.store.close()


def event_payload(serial: int, **members: object) -> bytes:
    """A valid object event about one pack; the serial makes it differ from others."""
    return orjson.dumps(
        {
            "@context": ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld"],
            "type": "ObjectEvent",
            "eventTime": "2026-11-20T11:00:00.000Z",
            "eventTimeZoneOffset": "+01:00",
            "epcList": [f"urn:epc:id:sgtin:4012345.011111.{serial}"],
            "action": "OBSERVE",
            "bizStep": "shipping",
            **members,
        }
    )


def event_statement(
    serial: int, party: str = "acme", key: PrivateKey | None = None, **members: object
) -> bytes:
    return sign_event(key or ed25519_key(party), event_payload(serial, **members))
