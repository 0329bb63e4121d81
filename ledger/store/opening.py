"""Step 6 of 9: open a ledger wherever it is kept, so that its callers need not care.

    ledger.db                                        a SQLite file
    postgresql+psycopg://tallystick@db.example/ledger    a PostgreSQL database, its password from ~/.pgpass
    env:LEDGER_DATABASE                              either of them, from the environment

A URL may hold a password. It is never printed: str() and repr() of what parse_database() gives show none, and
passwords where they would show (among the options behind `?`) are refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ledger.errors import DatabaseMalformed

if TYPE_CHECKING:  # neither driver is loaded for the other's sake
    from ledger.store.postgres import PostgresReader, PostgresStore
    from ledger.store.replica import ReplicaReader
    from ledger.store.sqlite import SqliteReader, SqliteStore

Database: TypeAlias = Path | URL
Reader: TypeAlias = "SqliteReader | PostgresReader | ReplicaReader"
Writer: TypeAlias = "SqliteStore | PostgresStore"

POSTGRES_DRIVER = "postgresql+psycopg"
_POSTGRES_NAMES = ("postgresql", "postgres", POSTGRES_DRIVER)
_SQLITE_NAMES = ("sqlite", "sqlite+pysqlite")
_SECRET_OPTIONS = ("password", "sslpassword")
REPLICA_TIMEOUT_S = 2  # for connecting: the primary can answer meanwhile


def parse_database(text: str, folder: Path | None = None) -> Database:
    """A file's path, or a database's URL. Raises DatabaseMalformed, whose message repeats nothing of it.

    folder  what a relative path is relative to
    """
    if text.startswith("env:"):
        name = text.removeprefix("env:")
        if not os.environ.get(name):
            raise DatabaseMalformed(
                "database.env", f"the environment has no {name}, where the database is named"
            )
        text = os.environ[name]
    if "://" not in text:
        return (folder or Path()) / text
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise _malformed("it cannot be read as a URL") from None
    if url.drivername in _SQLITE_NAMES:
        if not url.database or url.query or url.host:
            raise _malformed("for SQLite, give the file's path")
        return (folder or Path()) / url.database
    if url.drivername not in _POSTGRES_NAMES:
        raise _malformed(f"{POSTGRES_DRIVER} and sqlite are known")
    if url.host is not None and not set(url.host).isdisjoint("@ ,"):
        raise _malformed("in names and passwords write @ as %40, / as %2F, : as %3A")
    if not url.database:
        raise _malformed("it names no database")
    if any(option in url.query for option in _SECRET_OPTIONS):
        raise _malformed(
            "a password stands before the @, in ~/.pgpass or in PGPASSWORD, not among the options"
        )
    return url.set(drivername=POSTGRES_DRIVER)


def is_shared(database: Database) -> bool:
    """Whether several processes and machines may write it at once."""
    return isinstance(database, URL)


def open_reader(database: Database, replica: URL | None = None) -> Reader:
    """Open a ledger to read it. Raises StoreFailed.

    replica  a copy of the same database that follows it, asked first for whatever it has
    """
    if not isinstance(database, URL):
        from ledger.store import sqlite

        return sqlite.open_reader(database)
    from ledger.store import postgres
    from ledger.store.replica import ReplicaReader

    primary = postgres.open_reader(database)
    if replica is None:
        return primary
    follower = postgres.open_reader(replica, connect_timeout_s=REPLICA_TIMEOUT_S)
    return ReplicaReader(primary, follower, primary.engine)


def open_writer(database: Database) -> Writer:
    """Open a ledger to append to it. Raises ReadOnly where another process may, and StoreFailed."""
    if not isinstance(database, URL):
        from ledger.store import sqlite

        return sqlite.open_writer(database)
    from ledger.store import postgres

    return postgres.open_writer(database)


def _malformed(hint: str) -> DatabaseMalformed:
    return DatabaseMalformed(
        "database.url",
        f"the database's address is not usable: {hint}; it looks like {POSTGRES_DRIVER}://user@host/name",
    )
