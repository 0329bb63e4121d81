"""Step 5 of 9: statements that were taken over and are not in the ledger yet (POST /capture).

    ledger.db-capture    a SQLite file of its own beside the ledger: every worker writes it, one at a time
    schema `capture`     the same in PostgreSQL

A job is durable, with its exact bytes, before anybody is told its id. Whoever runs it holds a lease; when
that ends without a word, somebody else runs it again, which is harmless: what is in the ledger already is
answered as a duplicate. Its bytes go as soon as it has finished, its outcome after a while. An id is a
capability: 128 random bits, and the only way to a job.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError

from intake.errors import Busy
from intake.service import Behaviour
from keys import base64url
from ledger.errors import StoreFailed
from ledger.store.opening import Database

try:  # the same newer SQLite as the ledger's
    import pysqlite3.dbapi2 as dbapi
except ImportError:  # pragma: no cover
    import sqlite3 as dbapi

FILE_MODE = 0o600
BUSY_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 4
POOL_TIMEOUT_S = 30.0
ID_SIZE = 16  # bytes at random
LEASE_MS = 5_000  # without a word from whoever runs it; renewed three times in that while
ATTEMPTS_MAX = 5  # a job that ended its worker so often would end it for ever
WAITING_JOBS_MAX = 10_000
CLAIM_MS = 60_000
WAITING_SIZE_MAX = 1 << 30  # bytes of jobs that have not finished
PAGE_MAX = 1_000
DELETED_AT_ONCE = 1_000
_LOCK_NUMBER = 0x74_61_6C_6C_79_63_61_70  # "tallycap", for PostgreSQL's advisory lock

State = Literal["waiting", "running", "finished"]

_TABLES = (
    "CREATE TABLE IF NOT EXISTS {p}jobs (id {text} PRIMARY KEY, created_at {int} NOT NULL,"
    " behaviour {text} NOT NULL, is_single {int} NOT NULL, body {bytes}, size {int} NOT NULL,"
    " state {text} NOT NULL, lease_until {int} NOT NULL, owner {text} NOT NULL, attempts {int} NOT NULL,"
    " errors {bytes} NOT NULL, results {bytes} NOT NULL, success {int} NOT NULL, finished_at {int})",
    "CREATE TABLE IF NOT EXISTS {p}claims (key {text} PRIMARY KEY, owner {text} NOT NULL,"
    " until {int} NOT NULL)",
    "CREATE INDEX IF NOT EXISTS {i}jobs_by_time ON {p}jobs (created_at, id)",
    "CREATE INDEX IF NOT EXISTS {i}jobs_left ON {p}jobs (lease_until, created_at) WHERE finished_at IS NULL",
)
_SHOWN = "id, created_at, finished_at, behaviour, state, success, errors"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its sender may see it. Times in milliseconds since 1970.

    errors  a JSON array of problem details
    """

    id: str
    created_at: int
    finished_at: int | None
    behaviour: Behaviour
    is_running: bool
    success: bool
    errors: bytes


@dataclass(frozen=True, slots=True)
class Work:
    """A job in the hands of one runner. owner is what proves it."""

    id: str
    owner: str
    behaviour: Behaviour
    is_single: bool  # the body is one statement, not lines of them
    body: bytes


class Jobs:
    """All of them. Safe from any thread and any process. Everything here raises StoreFailed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_postgres = engine.dialect.name == "postgresql"
        words = (
            {"text": 'text COLLATE "C"', "bytes": "bytea", "int": "bigint", "p": "capture.", "i": ""}
            if self._is_postgres
            else {"text": "TEXT", "bytes": "BLOB", "int": "INTEGER", "p": "", "i": ""}
        )
        self._prefix = words["p"]
        with self._transaction() as run:
            if self._is_postgres:
                # Workers start together, and two that create one schema at once make one of them fail.
                run("SELECT pg_advisory_xact_lock(?)", _LOCK_NUMBER)
                run("CREATE SCHEMA IF NOT EXISTS capture")
            for table in _TABLES:
                run(table.format_map(words))

    def create(self, behaviour: Behaviour, is_single: bool, body: bytes, now: int) -> str:
        """Keep a job; its id. Durable when this returns. Raises Busy where too much waits already."""
        job_id = base64url.encode(secrets.token_bytes(ID_SIZE))
        with self._transaction() as run:
            count, size = run(
                "SELECT count(*), coalesce(sum(size), 0) FROM {p}jobs WHERE finished_at IS NULL"
            )[0]
            if count >= WAITING_JOBS_MAX or size + len(body) > WAITING_SIZE_MAX:
                raise Busy("capture.full", "too many capture jobs wait here; send it again in a while", 30)
            run(
                "INSERT INTO {p}jobs VALUES (?, ?, ?, ?, ?, ?, 'waiting', 0, '', 0, ?, ?, 1, NULL)",
                job_id, now, behaviour, int(is_single), body, len(body), b"[]", b"",
            )  # fmt: skip
        return job_id

    def find(self, job_id: str) -> Job | None:
        with self._transaction(writes=False) as run:
            rows = run(f"SELECT {_SHOWN} FROM {{p}}jobs WHERE id = ?", job_id)  # noqa: S608
        return _job(rows[0]) if rows else None

    def find_results(self, job_id: str) -> bytes | None:
        """What became of each statement, as it was kept at the end; None before that, and for no job."""
        with self._transaction(writes=False) as run:
            rows = run("SELECT results FROM {p}jobs WHERE id = ? AND finished_at IS NOT NULL", job_id)
        return bytes(rows[0][0]) if rows else None

    def page(self, before: tuple[int, str] | None, limit: int) -> list[Job]:
        """The newest first, from behind (created_at, id) of the last one shown."""
        moment, job_id = before or (2**62, "")
        with self._transaction(writes=False) as run:
            rows = run(
                f"SELECT {_SHOWN} FROM {{p}}jobs WHERE (created_at, id) < (?, ?)"  # noqa: S608
                " ORDER BY created_at DESC, id DESC LIMIT ?",
                moment, job_id, min(limit, PAGE_MAX),
            )  # fmt: skip
        return [_job(row) for row in rows]

    def claim(self, now: int) -> Work | None:
        """The oldest job that nobody runs, with its lease, or None."""
        with self._transaction(writes=False) as run:  # as a rule there is none, and nobody is locked out
            if not run("SELECT 1 FROM {p}jobs WHERE finished_at IS NULL AND lease_until <= ? LIMIT 1", now):
                return None
        owner = secrets.token_hex(8)
        skipping = " FOR UPDATE SKIP LOCKED" if self._is_postgres else ""
        with self._transaction() as run:
            rows = run(
                "SELECT id, behaviour, is_single, body FROM {p}jobs WHERE finished_at IS NULL"  # noqa: S608
                f" AND lease_until <= ? ORDER BY created_at, id LIMIT 1{skipping}",
                now,
            )
            if not rows:
                return None
            job_id, behaviour, is_single, body = rows[0]
            run(
                "UPDATE {p}jobs SET state = 'running', lease_until = ?, owner = ?, attempts = attempts + 1"
                " WHERE id = ?",
                now + LEASE_MS, owner, job_id,
            )  # fmt: skip
        return Work(job_id, owner, cast(Behaviour, behaviour), bool(is_single), bytes(body))

    def attempts(self, work: Work) -> int:
        """How often the job was begun, this time included."""
        with self._transaction(writes=False) as run:
            rows = run("SELECT attempts FROM {p}jobs WHERE id = ?", work.id)
        return int(rows[0][0]) if rows else 0

    def renew(self, work: Work, now: int) -> bool:
        """Hold on to it; whether it was still held."""
        with self._transaction() as run:
            held = run(
                "UPDATE {p}jobs SET lease_until = ? WHERE id = ? AND owner = ? RETURNING 1",
                now + LEASE_MS, work.id, work.owner,
            )  # fmt: skip
        return bool(held)

    def note_errors(self, work: Work, errors: bytes) -> None:
        """Show errors of a job that goes on."""
        with self._transaction() as run:
            run(
                "UPDATE {p}jobs SET errors = ?, success = 0 WHERE id = ? AND owner = ?",
                errors, work.id, work.owner,
            )  # fmt: skip

    def finish(self, work: Work, *, success: bool, errors: bytes, results: bytes, now: int) -> None:
        """Its outcome stands, and its bytes go. Nothing happens where the lease was lost meanwhile."""
        with self._transaction() as run:
            run(
                "UPDATE {p}jobs SET state = 'finished', success = ?, errors = ?, results = ?,"
                " finished_at = ?, body = NULL, owner = '' WHERE id = ? AND owner = ?",
                int(success), errors, results, now, work.id, work.owner,
            )  # fmt: skip

    def release(self, work: Work, not_before: int) -> None:
        """Give it back, for it could not be run now and that was not its fault."""
        with self._transaction() as run:
            run(
                "UPDATE {p}jobs SET state = 'waiting', lease_until = ?, owner = '', attempts = attempts - 1"
                " WHERE id = ? AND owner = ?",
                not_before, work.id, work.owner,
            )  # fmt: skip

    def hold(self, keys: Sequence[str], now: int) -> str | None:
        """Claim identities of an event that is about to be recorded: one caller at a time holds each.

        Returns what let_go() takes, or None where somebody else holds one of them. A claim whose holder was
        killed ends after CLAIM_MS, longer than any append is waited for.
        """
        owner = secrets.token_hex(8)
        with self._transaction() as run:
            if self._is_postgres:
                run("SELECT pg_advisory_xact_lock(?)", _LOCK_NUMBER)
            run("DELETE FROM {p}claims WHERE until <= ?", now)
            for key in sorted(set(keys)):
                if not run(
                    "INSERT INTO {p}claims VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1",
                    key, owner, now + CLAIM_MS,
                ):  # fmt: skip
                    run("DELETE FROM {p}claims WHERE owner = ?", owner)
                    return None
        return owner

    def let_go(self, owner: str) -> None:
        """What was claimed is recorded, or never will be."""
        with self._transaction() as run:
            run("DELETE FROM {p}claims WHERE owner = ?", owner)

    def clean(self, finished_before: int) -> int:
        """Forget what finished before that; how many. At most DELETED_AT_ONCE, so that nobody waits long."""
        with self._transaction() as run:
            gone = run(
                "DELETE FROM {p}jobs WHERE id IN (SELECT id FROM {p}jobs WHERE finished_at < ?"
                " ORDER BY finished_at LIMIT ?) RETURNING 1",
                finished_before, DELETED_AT_ONCE,
            )  # fmt: skip
        return len(gone)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool = True) -> Iterator[Any]:
        with _translated():
            connection = self._engine.raw_connection()
            cursor = connection.cursor()
            try:
                if not self._is_postgres:  # psycopg begins by itself
                    cursor.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

                def run(statement: str, *values: object) -> Sequence[Any]:
                    statement = statement.replace("{p}", self._prefix)
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


def open_jobs(database: Database) -> Jobs:
    """Open the jobs of this ledger; their tables are made if they are missing. Raises StoreFailed."""
    if isinstance(database, URL):
        from ledger.store.postgres_connection import make_engine

        return Jobs(make_engine(database, connections=CONNECTIONS_MAX, read_only=False))
    return Jobs(_sqlite(Path(f"{database}-capture")))


def _sqlite(file: Path) -> Engine:
    file.touch(FILE_MODE)

    def connect() -> Any:
        connection = dbapi.connect(
            str(file), timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        # Several processes write: a rollback journal asks less of them than a WAL.
        for pragma in ("journal_mode=DELETE", "synchronous=FULL", "mmap_size=0", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    return create_engine(
        f"sqlite+pysqlite:///{quote(str(file.resolve()))}",
        creator=connect,
        module=dbapi,
        pool_size=CONNECTIONS_MAX,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, dbapi.Error) as error:
        raise StoreFailed("capture.store", "the store of capture jobs did not do its work") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] == "psycopg":
            raise StoreFailed("capture.store", "the store of capture jobs did not do its work") from error
        raise


def _job(row: Sequence[Any]) -> Job:
    job_id, created_at, finished_at, behaviour, state, success, errors = row
    return Job(
        job_id,
        created_at,
        finished_at,
        cast(Behaviour, behaviour),
        state != "finished",
        bool(success),
        bytes(errors),
    )
