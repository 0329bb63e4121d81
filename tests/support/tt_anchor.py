"""A small world for anchoring: a clock that is turned by hand, authorities that can misbehave, a ledger
in memory, and a power switch. Everything that lasts or leaves the process is one step of the World, so that
a test can say which step fails, and how.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event

from anchoring import record, schema
from anchoring.devtsa import DevelopmentAuthority, Identity, create_identity, read_query, render_rejection
from anchoring.errors import AuthorityFailed
from anchoring.rfc3161 import TokenVerifier
from anchoring.rounds import Policy, Rounds
from keys import envelope
from keys.algorithms import PrivateKey, private_key_from_seed
from keys.note import NoteSigner
from ledger import checkpoint as checkpoints
from ledger import merkle

ORIGIN = "ledger.example/epcis"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
OPERATOR = private_key_from_seed(b"O" * 32)
LOG = NoteSigner.from_private_key(ORIGIN, private_key_from_seed(b"L" * 32))


class Clock:
    """Aware UTC time that passes only when told to."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Mode(Enum):
    """How an authority behaves."""

    HONEST = "honest"
    DOWN = "down"
    GARBAGE = "garbage"
    EMPTY = "empty"
    OTHER_DIGEST = "other digest"
    OTHER_NONCE = "other nonce"
    NO_NONCE = "no nonce"
    OTHER_ALGORITHM = "other algorithm"
    REJECTION = "rejection"
    GRANTED_WITH_MODS = "granted with mods"
    WITHOUT_TOKEN = "granted, but no token"
    WITHOUT_CERTIFICATE = "no certificate"
    WITHOUT_REFERENCE = "no ESS reference"
    BAD_SIGNATURE = "bad signature"
    TWO_SIGNERS = "two signers"


class MisbehavingAuthority(DevelopmentAuthority):
    """The development authority with a switch; what it sends wrong is otherwise well made."""

    mode = Mode.HONEST

    def answer(self, der: bytes) -> bytes:
        if self.mode is Mode.DOWN:
            raise AuthorityFailed("authority.unreachable", "nobody answers")
        if self.mode is Mode.GARBAGE:
            return b"<html>Bad gateway</html>"
        if self.mode is Mode.EMPTY:
            return b""
        if self.mode is Mode.REJECTION:
            return render_rejection("system_failure", "try another day\x07")
        if self.mode is Mode.WITHOUT_TOKEN:
            return bytes.fromhex("30053003020100")
        answer = super().answer(der)
        if self.mode is Mode.GRANTED_WITH_MODS:
            return answer.replace(bytes.fromhex("3003020100"), bytes.fromhex("3003020101"), 1)
        if self.mode is Mode.BAD_SIGNATURE:  # which ends the answer
            return answer[:-1] + bytes([answer[-1] ^ 1])
        return answer

    def statement(self, query: Any) -> dict[str, Any]:
        fields = super().statement(query)
        if self.mode is Mode.OTHER_DIGEST:
            fields["message_imprint"]["hashed_message"] = hashlib.sha256(b"something else").digest()
        elif self.mode is Mode.OTHER_NONCE:
            fields["nonce"] = fields["nonce"] ^ 1
        elif self.mode is Mode.NO_NONCE:
            del fields["nonce"]
        elif self.mode is Mode.OTHER_ALGORITHM:
            fields["message_imprint"] = {
                "hash_algorithm": {"algorithm": "sha512"},
                "hashed_message": bytes(64),
            }
        return fields

    def signed_data(self, content: bytes, with_certificate: bool) -> dict[str, Any]:
        fields = super().signed_data(content, with_certificate and self.mode is not Mode.WITHOUT_CERTIFICATE)
        if self.mode is Mode.TWO_SIGNERS:
            fields["signer_infos"] *= 2
        return fields

    def signed_attributes(self, content: bytes, certificate: Any) -> list[dict[str, Any]]:
        attributes = super().signed_attributes(content, certificate)
        return attributes[:-1] if self.mode is Mode.WITHOUT_REFERENCE else attributes


def identity(**wrong: Any) -> Identity:
    """A development identity around NOON; give what should be different."""
    dates = {"not_before": NOON - timedelta(days=1), "not_after": NOON + timedelta(days=3650)}
    return create_identity(**(dates | wrong))


@dataclass
class LocalAuthority:
    """An anchoring.rounds.Authority without a network between."""

    name: str
    tsa: MisbehavingAuthority
    world: World | None = None
    verifier: TokenVerifier = field(init=False)
    asked: int = 0

    def __post_init__(self) -> None:
        self.verifier = TokenVerifier([self.tsa.identity.root])

    def ask(self, query: bytes) -> bytes:
        self.asked += 1
        assert read_query(query).algorithm == "sha256"
        if self.world is None:
            return self.tsa.answer(query)
        failure = AuthorityFailed("authority.unreachable", "the line is dead")
        answer: bytes = self.world.step(f"ask {self.name}", lambda: self.tsa.answer(query), failure)
        return answer


class MemoryLedger:
    """A ledger as anchoring sees it: a tree, published checkpoints, anchors that are taken once."""

    def __init__(self, size: int = 3, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.leaves = [merkle.leaf_hash(b"entry %d" % i) for i in range(size)]
        self.anchors: dict[bytes, int] = {}  # payload digest -> seq
        self.statements: dict[int, bytes] = {}

    def append(self, count: int) -> None:
        self.leaves += [
            merkle.leaf_hash(b"entry %d" % i) for i in range(len(self.leaves), len(self.leaves) + count)
        ]

    def submit(self, statement: bytes) -> int:
        parsed = envelope.parse(statement)
        assert (parsed.typ, parsed.aud) == ("anchor+jws", (self.origin,))
        digest = hashlib.sha256(parsed.payload).digest()
        if digest not in self.anchors:
            self.anchors[digest] = len(self.leaves)
            self.statements[len(self.leaves)] = statement
            self.leaves.append(merkle.leaf_hash(statement))
        return self.anchors[digest]

    def read_published(self) -> bytes:
        root = merkle.root_hash(self.leaves)
        return checkpoints.sign(checkpoints.Checkpoint(self.origin, len(self.leaves), root), LOG)


class PowerCut(BaseException):
    """The process is gone: nothing catches this but the test."""


class Fault(Enum):
    """How a step goes wrong."""

    LOST = "lost, and the caller knows it failed"
    DONE = "done, but reported as failed"
    CUT_BEFORE = "power cut before it"
    CUT_AFTER = "power cut right after it"


class World:
    """One database file, one ledger, two authorities; processes come and go."""

    def __init__(self, path: Path, *, authorities: int = 2) -> None:
        self.path = path
        self.clock = Clock()
        self.ledger = MemoryLedger()
        self.authorities = [
            LocalAuthority(f"tsa{i}", MisbehavingAuthority(self.clock, identity()), self)
            for i in range(1, authorities + 1)
        ]
        self.steps: list[str] = []
        self.fault: tuple[int, Fault] | None = None
        self.dead = False
        self.engines: list[Engine] = []
        with self.engine().begin() as connection:
            schema.create_all(connection)
        self.steps.clear()

    def engine(self) -> Engine:
        """A connection pool of its own, as another process would have; its commits are steps."""
        engine = create_engine(f"sqlite:///{self.path}", connect_args={"timeout": 10})
        # A power cut here is one of a process, not of the machine: no need to wait for the disk.
        event.listen(engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA synchronous=OFF"))
        do_commit = engine.dialect.do_commit
        failure = sqlite3.OperationalError("disk I/O error")
        engine.dialect.do_commit = lambda dbapi: self.step("commit", lambda: do_commit(dbapi), failure)  # type: ignore[method-assign]
        self.engines.append(engine)
        return engine

    def rounds(self, *, policy: Policy | None = None, signer: PrivateKey = OPERATOR, **more: Any) -> Rounds:
        """A fresh process's Rounds: nothing in memory, everything from the database."""
        failure = ConnectionResetError("the socket is closed")
        return Rounds(
            self.engine(),
            self.authorities,
            lambda statement: self.step("submit", lambda: self.ledger.submit(statement), failure),
            self.ledger.read_published,
            signer,
            ORIGIN,
            self.clock,
            policy=policy,
            **more,
        )

    def step(self, name: str, act: Callable[[], Any], failure: Exception) -> Any:
        """Do one thing that lasts, or fail at it as planned."""
        if self.dead:
            raise PowerCut
        self.steps.append(name)
        planned = self.fault[1] if self.fault is not None and self.fault[0] == len(self.steps) - 1 else None
        if planned is Fault.CUT_BEFORE:
            self.dead = True
            raise PowerCut
        if planned is Fault.LOST:
            raise failure
        result = act()
        if planned is Fault.CUT_AFTER:
            self.dead = True
            raise PowerCut
        if planned is Fault.DONE:
            raise failure
        return result

    def restart(self) -> None:
        """Power is back; whatever was in memory is not."""
        self.dead = False
        self.fault = None
        for engine in self.engines:
            engine.dispose()
        self.engines.clear()

    def anchors(self) -> Sequence[tuple[int, record.AnchorRecord]]:
        """Every anchor in the ledger: its seq and what it says."""
        return [
            (seq, record.parse(envelope.parse(statement).payload))
            for seq, statement in sorted(self.ledger.statements.items())
        ]

    def close(self) -> None:
        self.restart()
