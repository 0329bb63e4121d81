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
        self._text = 'text COLLATE "C"' if self._is_postgres else "TEXT"
        self._table = "kept.queries" if self._is_postgres else "queries"
        with self._transaction() as run:
            if self._is_postgres:
                run("CREATE SCHEMA IF NOT EXISTS kept")
            run(
                "CREATE TABLE IF NOT EXISTS {t} (name {text} PRIMARY KEY, query {text} NOT NULL,"
                " created_at {text} NOT NULL)"
            )

    def create(self, name: str, query: dict[str, Any], now: datetime) -> KeptQuery:
        """Keep a query. Raises QueryNameTaken, QueryTooLarge where there is no room, QueryParameterFault."""
        verify_name(name)
        body = json.dumps(query, ensure_ascii=False, separators=(",", ":"))
        if len(body) > QUERY_SIZE_MAX:
            raise QueryTooLarge("query.size", f"a query of {len(body)} characters; at most {QUERY_SIZE_MAX}")
        created_at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._transaction() as run:
            if run("SELECT 1 FROM {t} WHERE name = ?", name):
                raise QueryNameTaken("query.name.taken", f"there is a query {name!r} already")
            if run("SELECT count(*) FROM {t}")[0][0] >= QUERIES_MAX:
                raise QueryTooLarge("query.names", f"{QUERIES_MAX} queries are kept here, and no more")
            run("INSERT INTO {t} VALUES (?, ?, ?)", name, body, created_at)
        return KeptQuery(name, query, created_at)

    def read(self, name: str) -> KeptQuery:
        """Raises NoSuchQuery."""
        with self._transaction() as run:
            rows = run("SELECT name, query, created_at FROM {t} WHERE name = ?", name)
        if not rows:
            raise NoSuchQuery("query.name.unknown", f"no query is kept under the name {name[:64]!r}")
        return KeptQuery(rows[0][0], json.loads(rows[0][1]), rows[0][2])

    def page(self, after: str, limit: int) -> list[KeptQuery]:
        """By name, beyond `after`."""
        with self._transaction() as run:
            rows = run(
                "SELECT name, query, created_at FROM {t} WHERE name > ? ORDER BY name LIMIT ?",
                after, limit,
            )  # fmt: skip
        return [KeptQuery(name, json.loads(query), created_at) for name, query, created_at in rows]

    def delete(self, name: str) -> None:
        """Raises NoSuchQuery."""
        with self._transaction() as run:
            if not run("SELECT 1 FROM {t} WHERE name = ?", name):
                raise NoSuchQuery("query.name.unknown", f"no query is kept under the name {name[:64]!r}")
            run("DELETE FROM {t} WHERE name = ?", name)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with translated("write"):
            connection = self._engine.raw_connection()
            cursor = connection.cursor()
            try:
                if not self._is_postgres:
                    cursor.execute("BEGIN IMMEDIATE")

                def run(statement: str, *values: object) -> list[Any]:
                    statement = statement.replace("{t}", self._table).replace("{text}", self._text)
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
    pragmas = ("PRAGMA journal_mode=DELETE", "PRAGMA synchronous=FULL", "PRAGMA trusted_schema=OFF")
    return connect_sqlite(file, "rw", 4, pragmas)
