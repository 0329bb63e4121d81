"""Step 1 of 9: the outbox. Before anything leaves the house, and until the proof of its arrival is back.

A statement is signed once, inside the transaction that keeps its bytes; only kept bytes are ever
sent, as often as it takes, in the order in which they came in. A statement leaves the queue in two
ways only: with a receipt that the client's own code has checked, stored beside it, or set aside
with the ledger's refusal. Nothing is deleted, so a crash at any moment loses nothing and doubles
nothing: the same content is not signed again, and the ledger answers what it already holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from client import sqlite
from client.errors import (
    ClientError,
    InputMalformed,
    LineFault,
    LogForked,
    OutboxBusy,
    OutboxFull,
    OutboxMalformed,
    OutboxStopped,
)
from client.memory import CheckpointMemory
from client.receipts import Receipt, SeenCheckpoint
from keys import envelope
from keys.algorithms import PrivateKey
from keys.errors import Fault

WAITING_MAX = 1_000_000  # half a gigabyte of usual events: by then somebody should have looked
ENQUEUE_CHUNK = 256  # statements signed in one transaction: a few milliseconds of lock
SOURCE_LENGTH_MAX = 500

State = Literal["waiting", "refused", "receipted"]
STATES: tuple[State, ...] = ("waiting", "refused", "receipted")


@dataclass(frozen=True, slots=True)
class Draft:
    """Something to put into the outbox: content to sign, or a statement already signed."""

    source: str  # where it came from, for people: "events/7.json", "stdin:12"
    payload: bytes | None = None
    statement: bytes | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """Where a draft stands in the outbox."""

    source: str
    position: int
    is_new: bool  # False: this content was in the outbox before, and was not signed again
    state: State = "waiting"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A kept statement that has no receipt yet."""

    position: int
    statement: bytes
    digest: bytes
    kid: str
    typ: str
    source: str


@dataclass(frozen=True, slots=True)
class Settled:
    """A receipt that was checked, for the statement at this position."""

    position: int
    receipt: Receipt
    receipt_bytes: bytes
    first_statement: bytes | None = None  # where the ledger holds this content in an earlier statement


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the outbox's list."""

    position: int
    state: State
    source: str
    typ: str
    kid: str
    digest: bytes
    queued_at: str
    seq: int | None
    receipted_at: str | None
    faults: tuple[LineFault, ...]


@dataclass(frozen=True, slots=True)
class Alarm:
    """Why the queue stands still until a person has looked."""

    number: int
    code: str
    detail: str
    raised_at: str
    first: bytes | None
    second: bytes | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many statements are in which state."""

    waiting: int
    refused: int
    receipted: int


def content_key(statement: envelope.Statement, origin: str) -> bytes:
    """What makes two drafts the same: content, key, ledger and class; never signature bytes."""
    return _content_key(statement.payload, statement.kid, origin, statement.typ)


def _content_key(payload: bytes, kid: str, origin: str, typ: str) -> bytes:
    names = json.dumps([kid, origin, typ]).encode()
    return hashlib.sha256(hashlib.sha256(payload).digest() + names).digest()


class Outbox:
    """One outbox file, for one ledger.

    clock  for the times that people read; nothing is decided by it
    """

    def __init__(
        self,
        path: Path,
        origin: str,
        connection: Any,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = path
        self.origin = origin
        self._connection = connection
        self._clock = clock
        self._memory = CheckpointMemory(connection, origin)

    @classmethod
    def open(cls, path: Path, *, origin: str | None = None) -> Outbox:
        """Open the outbox at this path; with an origin, make it if it is missing.

        Raises OutboxMalformed if the file is no outbox, or belongs to another ledger: an outbox never
        sends one ledger's statements to another.
        """
        if origin is None and not path.exists():
            raise OutboxMalformed("outbox.missing", f"there is no outbox at {path}")
        connection = sqlite.connect(path)
        try:
            with sqlite.transaction(connection, path):
                row = connection.execute("SELECT value FROM settings WHERE name = 'origin'").fetchone()
                if row is None and origin is not None:
                    connection.execute("INSERT INTO settings VALUES ('origin', ?)", (origin,))
                    row = (origin,)
            if row is None:
                raise OutboxMalformed("outbox.file", f"{path} is empty: nothing was ever put into it")
            if origin is not None and row[0] != origin:
                raise OutboxMalformed(
                    "outbox.origin", f"{path} is the outbox for {row[0]}, not for {origin}: take another file"
                )
        except BaseException:
            connection.close()
            raise
        return cls(path, row[0], connection)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # Settings: what the next command need not be told again ------------------------------------

    def find_setting(self, name: str) -> str | None:
        """A remembered setting (url, log_key)."""
        rows = self._all("SELECT value FROM settings WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def remember_setting(self, name: str, value: str) -> None:
        """Keep a setting; the last one told counts."""
        if name == "origin":
            raise OutboxMalformed("outbox.origin", "an outbox stays with its ledger")
        if self.find_setting(name) != value:
            with self._transaction():
                self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    # In ----------------------------------------------------------------------------------------

    def enqueue(
        self,
        drafts: Sequence[Draft],
        *,
        typ: str = "epcis-event+jws",
        find_key: Callable[[], PrivateKey] | None = None,
    ) -> Iterator[Queued]:
        """Sign what is new, keep it, and say where each draft stands; durable once it is yielded.

        find_key  called once, and only if something has to be signed

        Raises InputMalformed for a draft that cannot be signed or sent (drafts of earlier chunks stay
        queued; none of its own chunk does), and OutboxFull.
        """
        key: PrivateKey | None = None
        for start in range(0, len(drafts), ENQUEUE_CHUNK):
            chunk = drafts[start : start + ENQUEUE_CHUNK]
            if key is None and any(draft.payload is not None for draft in chunk):
                if find_key is None:
                    raise InputMalformed("outbox.key", "events that are not signed yet need a key")
                key = find_key()
            with self._transaction():
                if self._count("waiting") + len(chunk) > WAITING_MAX:
                    raise OutboxFull(
                        "outbox.full", f"{WAITING_MAX} statements are waiting already: send them first"
                    )
                queued = [self._enqueue_one(draft, typ, key) for draft in chunk]
            yield from queued

    def _enqueue_one(self, draft: Draft, typ: str, key: PrivateKey | None) -> Queued:
        if draft.statement is not None:
            statement = self._read_signed(draft)
            identity = content_key(statement, self.origin)
        else:
            assert key is not None
            assert draft.payload is not None
            identity = _content_key(draft.payload, key.public.kid, self.origin, typ)
        row = self._connection.execute(
            "SELECT position, state FROM statements WHERE content_key = ?", (identity,)
        ).fetchone()
        if row is not None:
            return Queued(draft.source, int(row[0]), is_new=False, state=row[1])
        if draft.statement is None:
            # Signed under the write lock: two processes with the same file cannot both sign it. A crash
            # before the commit loses this signature before anyone saw it.
            assert key is not None
            assert draft.payload is not None
            try:
                raw = envelope.sign(key, typ=typ, aud=self.origin, payload=draft.payload)
                statement = envelope.parse(raw)
            except Fault as e:
                raise InputMalformed(e.code, f"{draft.source}: {e.detail}", e.pointer) from e
        cursor = self._connection.execute(
            "INSERT INTO statements (statement, digest, content_key, kid, typ, source, queued_at, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting')",
            (
                statement.raw,
                statement.digest,
                identity,
                statement.kid,
                statement.typ,
                draft.source[:SOURCE_LENGTH_MAX],
                self._now(),
            ),
        )
        return Queued(draft.source, int(cursor.lastrowid), is_new=True)

    def _read_signed(self, draft: Draft) -> envelope.Statement:
        assert draft.statement is not None
        try:
            statement = envelope.parse(draft.statement)
            envelope.require_audience(statement, self.origin)
        except Fault as e:
            raise InputMalformed(e.code, f"{draft.source}: {e.detail}", e.pointer) from e
        return statement

    # Out ---------------------------------------------------------------------------------------

    def next_batch(self, count_max: int, size_max: int) -> list[Waiting]:
        """The oldest waiting statements, in order, up to these bounds, all signed by one key.

        One key, so that a ledger that does not know the key yet holds up the whole batch and nothing
        overtakes anything. At least one statement if any waits, however large.
        """
        batch: list[Waiting] = []
        size = 0
        for row in self._all(
            "SELECT position, statement, digest, kid, typ, source FROM statements"
            " WHERE state = 'waiting' ORDER BY position LIMIT ?",
            (count_max,),
        ):
            waiting = Waiting(row[0], bytes(row[1]), bytes(row[2]), row[3], row[4], row[5])
            size += len(waiting.statement) + 1
            if batch and (size > size_max or waiting.kid != batch[0].kid):
                break
            batch.append(waiting)
        return batch

    def settle(self, settled: Sequence[Settled], seen: Sequence[SeenCheckpoint] = ()) -> None:
        """Keep checked receipts beside what they are for, and remember the checkpoints they came with.

        One transaction. Raises what CheckpointMemory.observe() raises, and then keeps nothing: a
        receipt of a forked log is no reason to let go of a statement.
        """
        now = self._now()
        with self._transaction():
            for checkpoint in sorted(seen, key=lambda c: c.tree_size):
                self._memory.observe(checkpoint, self._clock())
            self._connection.executemany(
                "UPDATE statements SET state = 'receipted', seq = ?, receipt = ?, receipted_at = ?,"
                " first_statement = ?, faults = NULL WHERE position = ? AND state <> 'receipted'",
                [(s.receipt.entry.seq, s.receipt_bytes, now, s.first_statement, s.position) for s in settled],
            )

    def set_aside(self, position: int, faults: Sequence[LineFault]) -> None:
        """Take a refused statement out of the queue, with the reasons."""
        listed = [[fault.code, fault.detail, fault.pointer, fault.fix] for fault in faults]
        with self._transaction():
            self._connection.execute(
                "UPDATE statements SET state = 'refused', faults = ?"
                " WHERE position = ? AND state = 'waiting'",
                (json.dumps(listed), position),
            )

    def put_back(self) -> int:
        """Let every refused statement wait again, at its old place and with its old bytes; how many."""
        with self._transaction():
            return int(
                self._connection.execute(
                    "UPDATE statements SET state = 'waiting', faults = NULL WHERE state = 'refused'"
                ).rowcount
            )

    # What the log showed -----------------------------------------------------------------------

    def find_largest_checkpoint(self) -> SeenCheckpoint | None:
        """The largest checkpoint this outbox ever accepted."""
        with sqlite.translated(self.path):
            return self._memory.find_largest()

    def find_growth_step(self) -> tuple[SeenCheckpoint, SeenCheckpoint] | None:
        """Two checkpoints between which growth is believed and not yet proved."""
        with sqlite.translated(self.path):
            return self._memory.find_step()

    def prove_growth(self, older: SeenCheckpoint, newer: SeenCheckpoint, path: Sequence[bytes]) -> None:
        """Check a consistency proof and remember that it held, or raise LogForked."""
        with self._transaction():
            self._memory.prove_step(older, newer, path)

    # Alarms ------------------------------------------------------------------------------------

    def raise_alarm(self, error: ClientError, evidence: bytes | None = None) -> None:
        """Stop the queue for good, and keep what was seen; both notes, if the error has them."""
        first, second = (error.first, error.second) if isinstance(error, LogForked) else (evidence, None)
        with self._transaction():
            self._connection.execute(
                "INSERT INTO alarms (code, detail, first, second, raised_at) VALUES (?, ?, ?, ?, ?)",
                (error.code, error.detail, first, second, self._now()),
            )

    def find_alarm(self) -> Alarm | None:
        """The oldest alarm that nobody has lifted."""
        rows = self._all(
            "SELECT number, code, detail, raised_at, first, second FROM alarms"
            " WHERE lifted_at IS NULL ORDER BY number LIMIT 1"
        )
        return Alarm(*rows[0]) if rows else None

    def require_no_alarm(self) -> None:
        """Raise OutboxStopped while an alarm stands."""
        alarm = self.find_alarm()
        if alarm is not None:
            raise OutboxStopped(f"stopped at {alarm.raised_at} by {alarm.code}: {alarm.detail}", alarm.code)

    def lift_alarms(self) -> int:
        """A person has looked: the queue may run again; how many alarms stood. Evidence stays."""
        with self._transaction():
            return int(
                self._connection.execute(
                    "UPDATE alarms SET lifted_at = ? WHERE lifted_at IS NULL", (self._now(),)
                ).rowcount
            )

    # Looking -----------------------------------------------------------------------------------

    def read_counts(self) -> Counts:
        """How many statements wait, were refused, have a receipt."""
        with sqlite.translated(self.path):
            waiting, refused = self._count("waiting"), self._count("refused")
            total = int(self._connection.execute("SELECT count(*) FROM statements").fetchone()[0])
            return Counts(waiting, refused, total - waiting - refused)

    def read_rows(self, state: State | None = None, *, after: int = 0, limit: int = 1000) -> list[Row]:
        """A page of the list, in order; `after` is the last position of the page before."""
        rows = self._all(
            "SELECT position, state, source, typ, kid, digest, queued_at, seq, receipted_at, faults"
            " FROM statements WHERE position > ? AND (? IS NULL OR state = ?) ORDER BY position LIMIT ?",
            (after, state, state, limit),
        )
        return [_row(*row) for row in rows]

    def read_kept(self, position: int) -> tuple[bytes, bytes | None, bytes | None]:
        """(statement, receipt or None, the first statement with this content or None), exact bytes."""
        rows = self._all(
            "SELECT statement, receipt, first_statement FROM statements WHERE position = ?", (position,)
        )
        if not rows:
            raise OutboxMalformed("outbox.position", f"there is no statement at position {position}")
        statement, receipt, first = rows[0]
        return bytes(statement), receipt and bytes(receipt), first and bytes(first)

    # One sender --------------------------------------------------------------------------------

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Be the only sender of this outbox, or raise OutboxBusy. The system frees it if we die."""
        lock_path = self.path.with_name(self.path.name + ".sender-lock")
        try:
            handle = os.open(lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise OutboxMalformed("outbox.file", f"{lock_path} cannot be opened: {e.strerror}") from e
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as e:
                raise OutboxBusy("outbox.busy", f"another process is sending from {self.path}") from e
            yield
        finally:
            os.close(handle)

    # Underneath --------------------------------------------------------------------------------

    def _now(self) -> str:
        return self._clock().isoformat(timespec="seconds")

    def _transaction(self) -> Any:
        return sqlite.transaction(self._connection, self.path)

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with sqlite.translated(self.path):
            return list(self._connection.execute(sql, tuple(parameters)))

    def _count(self, state: Literal["waiting", "refused"]) -> int:
        # Written out, not bound: only then does SQLite use the small index of this one state.
        sql = f"SELECT count(*) FROM statements WHERE state = '{state}'"  # noqa: S608 - a literal of ours
        return int(self._connection.execute(sql).fetchone()[0])


def _row(
    position: int,
    state: State,
    source: str,
    typ: str,
    kid: str,
    digest: bytes,
    queued_at: str,
    seq: int | None,
    receipted_at: str | None,
    faults: str | None,
) -> Row:
    listed = tuple(LineFault(None, *fault) for fault in json.loads(faults or "[]"))
    return Row(position, state, source, typ, kid, bytes(digest), queued_at, seq, receipted_at, listed)
