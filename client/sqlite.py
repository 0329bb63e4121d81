"""Step 1 of 9, underneath: the file that an outbox is. SQLite, opened so that what it acknowledged stays.

WAL with synchronous=FULL: a transaction that returned survives a power cut. Every other way out of a
transaction leaves the file as it was before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client.errors import OutboxBusy, OutboxFull, OutboxMalformed

try:
    # Debian's SQLite 3.40 can corrupt a WAL when two connections checkpoint at once; the wheel's cannot.
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:  # pragma: no cover - other systems bring a newer one
    import sqlite3  # type: ignore[no-redef, unused-ignore]

BUSY_TIMEOUT_MS = 20_000
APPLICATION_ID = 0x54_53_4F_42  # "TSOB" in the file's header: a Tallystick outbox
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE statements (
  position        INTEGER PRIMARY KEY,
  statement       BLOB NOT NULL,
  digest          BLOB NOT NULL UNIQUE,
  content_key     BLOB NOT NULL UNIQUE,
  kid             TEXT NOT NULL,
  typ             TEXT NOT NULL,
  source          TEXT NOT NULL,
  queued_at       TEXT NOT NULL,
  state           TEXT NOT NULL CHECK (state IN ('waiting', 'refused', 'receipted')),
  faults          TEXT,
  seq             INTEGER,
  receipt         BLOB,
  receipted_at    TEXT,
  first_statement BLOB,
  CHECK ((state = 'receipted') = (receipt IS NOT NULL AND seq IS NOT NULL AND receipted_at IS NOT NULL)),
  CHECK ((state = 'refused') = (faults IS NOT NULL))
) STRICT;
CREATE INDEX statements_waiting ON statements (position) WHERE state = 'waiting';
CREATE INDEX statements_refused ON statements (position) WHERE state = 'refused';

CREATE TRIGGER statements_stay BEFORE DELETE ON statements
BEGIN SELECT RAISE(ABORT, 'an outbox forgets nothing'); END;
CREATE TRIGGER statements_are_not_replaced
BEFORE INSERT ON statements WHEN EXISTS (
  SELECT 1 FROM statements
  WHERE position = NEW.position OR digest = NEW.digest OR content_key = NEW.content_key
)
BEGIN SELECT RAISE(ABORT, 'signed bytes never change'); END;
CREATE TRIGGER statements_are_signed_once
BEFORE UPDATE OF position, statement, digest, content_key, kid, typ ON statements
BEGIN SELECT RAISE(ABORT, 'signed bytes never change'); END;
CREATE TRIGGER receipts_stay BEFORE UPDATE ON statements WHEN OLD.state = 'receipted'
BEGIN SELECT RAISE(ABORT, 'a receipt is final'); END;

CREATE TABLE checkpoints (
  tree_size INTEGER PRIMARY KEY,
  root_hash BLOB NOT NULL,
  note      BLOB NOT NULL,
  seen_at   TEXT NOT NULL,
  proved    INTEGER NOT NULL CHECK (proved IN (0, 1))
) STRICT;

CREATE TABLE alarms (
  number    INTEGER PRIMARY KEY,
  code      TEXT NOT NULL,
  detail    TEXT NOT NULL,
  first     BLOB,
  second    BLOB,
  raised_at TEXT NOT NULL,
  lifted_at TEXT
) STRICT;
CREATE TRIGGER alarms_stay BEFORE DELETE ON alarms
BEGIN SELECT RAISE(ABORT, 'evidence is kept'); END;
"""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors in this room's words."""
    try:
        yield
    except sqlite3.OperationalError as e:
        text = str(e)
        if "locked" in text or "busy" in text:
            raise OutboxBusy("outbox.busy", f"{path} is being written by another process; try again") from e
        if "full" in text:
            raise OutboxFull("outbox.disk", f"the disk that holds {path} is full") from e
        raise OutboxMalformed("outbox.file", f"{path} cannot be used: {text}") from e
    except sqlite3.DatabaseError as e:
        raise OutboxMalformed("outbox.file", f"{path} is not a usable outbox: {e}") from e


@contextmanager
def transaction(connection: Any, path: Path) -> Iterator[None]:
    """All or nothing, and durable on return. Takes the write lock at once: no reader is upgraded."""
    with translated(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def connect(path: Path) -> Any:
    """Open the file, and make it an outbox if it is new. Its owner alone may read it."""
    try:
        # Statements may be confidential: the file is private before SQLite writes the first byte.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as e:
        raise OutboxMalformed("outbox.file", f"{path} cannot be opened: {e.strerror}") from e
    with translated(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: Any, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    # Looked at and made under one lock: two processes may have come to make it.
    with transaction(connection, path):
        application_id = _pragma(connection, "application_id")
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application_id not in (0, APPLICATION_ID) or (application_id == 0 and tables):
            raise OutboxMalformed("outbox.file", f"{path} is a database of something else")
        if not tables:
            for sql in _split(_SCHEMA):
                connection.execute(sql)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    version = _pragma(connection, "user_version")
    if version != SCHEMA_VERSION:
        raise OutboxMalformed(
            "outbox.version", f"{path} has version {version}; this program knows {SCHEMA_VERSION}"
        )
    _switch_to_wal(connection)


def _switch_to_wal(connection: Any) -> None:
    # SQLite does not wait for a lock here, however long the busy timeout is. The mode stays in the file.
    give_up_at = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)


def _pragma(connection: Any, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _split(script: str) -> Iterator[str]:
    """The script's statements one by one: executescript would end our transaction."""
    piece = ""
    for line in script.splitlines(keepends=True):
        piece += line
        if sqlite3.complete_statement(piece):
            yield piece
            piece = ""
