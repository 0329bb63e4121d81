"""Step 8 of 9: queries kept under names (POST /queries). No projection: nobody can make them again.

    ledger.db-queries    a small SQLite file of its own, which any worker may write, one at a time
    schema `kept`        the same in PostgreSQL

Bounded, because whoever may ask may keep.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine

from ledger.store.opening import Database
from projection.store import connect_sqlite, translated
from traceability.errors import NoSuchQuery, QueryNameTaken, QueryParameterFault, QueryTooLarge

QUERIES_MAX = 10_000
QUERY_SIZE_MAX = 64 * 1024  # bytes of JSON
_LOCK_NUMBER = 0x74_61_6C_6C_79_6B_70_74  # "tallykpt"
_SQLITE = {"{p}": "", "{text}": "TEXT", "{bytes}": "BLOB"}
_POSTGRES = {"{p}": "kept.", "{text}": 'text COLLATE "C"', "{bytes}": "bytea"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~\-]{0,127}")


@dataclass(frozen=True, slots=True)
class KeptQuery:
    """A query's name, its JSON as it was given, and since when."""

    name: str
    query: dict[str, Any]
    created_at: str  # RFC 3339


class KeptQueries:
    """All of them. Safe from any thread and any process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_postgres = engine.dialect.name == "postgresql"
        self._words = _POSTGRES if self._is_postgres else _SQLITE
        self.make_tables(
            "CREATE TABLE IF NOT EXISTS {p}queries (name {text} PRIMARY KEY, query {text} NOT NULL,"
            " created_at {text} NOT NULL)"
        )

    def create(self, name: str, query: dict[str, Any], now: datetime) -> KeptQuery:
        """Keep a query. Raises QueryNameTaken, QueryTooLarge where there is no room, QueryParameterFault."""
        verify_name(name)
        body = json.dumps(query, ensure_ascii=False, separators=(",", ":"))
        if len(body) > QUERY_SIZE_MAX:
            raise QueryTooLarge("query.size", f"a query of {len(body)} characters; at most {QUERY_SIZE_MAX}")
        created_at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self.transaction() as run:
            if run("SELECT 1 FROM {p}queries WHERE name = ?", name):
                raise QueryNameTaken("query.name.taken", f"there is a query {name!r} already")
            if run("SELECT count(*) FROM {p}queries")[0][0] >= QUERIES_MAX:
                raise QueryTooLarge("query.names", f"{QUERIES_MAX} queries are kept here, and no more")
            run("INSERT INTO {p}queries VALUES (?, ?, ?)", name, body, created_at)
        return KeptQuery(name, query, created_at)

    def read(self, name: str) -> KeptQuery:
        """Raises NoSuchQuery."""
        with self.transaction() as run:
            rows = run("SELECT name, query, created_at FROM {p}queries WHERE name = ?", name)
        if not rows:
            raise NoSuchQuery("query.name.unknown", f"no query is kept under the name {name[:64]!r}")
        return KeptQuery(rows[0][0], json.loads(rows[0][1]), rows[0][2])

    def page(self, after: str, limit: int) -> list[KeptQuery]:
        """By name, beyond `after`."""
        with self.transaction() as run:
            rows = run(
                "SELECT name, query, created_at FROM {p}queries WHERE name > ? ORDER BY name LIMIT ?",
                after, limit,
            )  # fmt: skip
        return [KeptQuery(name, json.loads(query), created_at) for name, query, created_at in rows]

    def delete(self, name: str) -> None:
        """With all its subscriptions. Raises NoSuchQuery."""
        with self.transaction() as run:
            if not run("SELECT 1 FROM {p}queries WHERE name = ?", name):
                raise NoSuchQuery("query.name.unknown", f"no query is kept under the name {name[:64]!r}")
            run("DELETE FROM {p}queries WHERE name = ?", name)

    def make_tables(self, *statements: str) -> None:
        """Make what is missing. Other processes may be doing the same."""
        with self.transaction() as run:
            if self._is_postgres:
                run("SELECT pg_advisory_xact_lock(?)", _LOCK_NUMBER)
                run("CREATE SCHEMA IF NOT EXISTS kept")
            for statement in statements:
                run(statement)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """One transaction; `run(statement, *values)` gives the rows.

        In a statement, ? stands for a value, {p} before the name of each table, {text} and {bytes} for types.
        """
        with translated("write"):
            connection = self._engine.raw_connection()
            cursor = connection.cursor()
            try:
                if not self._is_postgres:
                    cursor.execute("BEGIN IMMEDIATE")

                def run(statement: str, *values: object) -> list[Any]:
                    for name, word in self._words.items():
                        statement = statement.replace(name, word)
                    cursor.execute(statement.replace("?", "%s") if self._is_postgres else statement, values)
                    return list(cursor.fetchall()) if cursor.description else []

                yield run
                cursor.close()
                connection.commit()
            except BaseException:
                cursor.close()
                connection.rollback()
                raise
            finally:
                connection.close()


def verify_name(name: str) -> None:
    """Raise QueryParameterFault unless this can be a query's name."""
    if not _NAME.fullmatch(name):
        raise QueryParameterFault(
            "query.name",
            f"{name[:64]!r} is no name for a query: letters, digits and . _ ~ -, at most 128",
            "name",
            fix="shipped-last-week",
        )


def open_kept(database: Database) -> KeptQueries:
    """Open what is kept beside this ledger; it is made if it is missing. Raises StoreFailed."""
    if isinstance(database, URL):
        from ledger.store.postgres_connection import make_engine

        return KeptQueries(make_engine(database, connections=4, read_only=False))
    return KeptQueries(_sqlite(Path(f"{database}-queries")))


def _sqlite(file: Path) -> Engine:
    file.touch(0o600)
    # Several processes write, so with a rollback journal: it asks less of them than a WAL.
    pragmas = (
        "PRAGMA journal_mode=DELETE",
        "PRAGMA synchronous=FULL",
        "PRAGMA trusted_schema=OFF",
        "PRAGMA foreign_keys=ON",
    )
    return connect_sqlite(file, "rw", 4, pragmas)
