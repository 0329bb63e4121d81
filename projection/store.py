"""Step 8 of 9: segments on disk. Between projection.projector, the one writer, and projection.engine.

    ledger.db            the ledger
    ledger.db-projection what is made of it, and can be deleted at any time while nobody serves
    …-projection.writer-lock

One transaction holds a batch and the position it brings the projection to: whatever ends the process, the
next one goes on where the last transaction stood. It need not be durable, only consistent: what a power cut
takes is made again from the log.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError

from ledger.errors import ReadOnly, StoreFailed
from ledger.store.opening import Database
from ledger.store.writer_lock import hold_writer_lock
from projection import segments
from projection.findings import TWICE, Finding
from projection.schema import FORMAT, POSTGRES_SCHEMA, create_statements, drop_statements
from projection.segments import SEGMENT_ROWS, Segment
from traceability.queries.masterdata import DESCENDANTS_MAX, Record

try:  # the same newer SQLite as the ledger's
    import pysqlite3.dbapi2 as dbapi
except ImportError:  # pragma: no cover
    import sqlite3 as dbapi

FILE_MODE = 0o600
BUSY_TIMEOUT_S = 10.0
READ_CONNECTIONS_MAX = 16
READER_CACHE_KIB = 32_768
WRITER_CACHE_KIB = 65_536
POOL_TIMEOUT_S = 30.0
LOOKUP_BATCH = 500  # hashes, or names, in one question
_LOCK_NUMBER = 0x74_61_6C_6C_79_70_72_6A  # "tallyprj", for PostgreSQL's advisory lock

Cursor: TypeAlias = Any  # of either driver, by PEP 249


@dataclass(frozen=True, slots=True)
class State:
    """How far the projection is, and of what.

    generation  random for each rebuild; version counts its commits: what is cached under both stays right
    ledger      leaf hash of the genesis entry
    next_seq    every position below it is covered
    recorded_to recorded_at of the newest covered entry, microseconds since 1970
    """

    generation: bytes
    version: int
    ledger: bytes
    next_seq: int
    rows: int
    recorded_to: int


@dataclass(frozen=True, slots=True)
class Extent:
    """One segment as the directory shows it. Times in microseconds since 1970."""

    first_row: int
    rows: int
    bits: int
    first_seq: int
    last_seq: int
    time_min: int
    time_max: int
    recorded_min: int
    recorded_max: int


def beside(database: Path) -> Path:
    """Where the projection of a ledger in a file is kept."""
    return Path(f"{database}-projection")


class Projection:
    """The reading half; safe from any thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_postgres = engine.dialect.name == "postgresql"
        self._prefix = f"{POSTGRES_SCHEMA}." if self.is_postgres else ""

    def sql(self, statement: str) -> str:
        """A statement with ? for parameters and {p} before tables, as this database wants it."""
        statement = statement.replace("{p}", self._prefix)
        return statement.replace("?", "%s") if self.is_postgres else statement

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One unmoving view of the projection. Raises StoreFailed, also where there is no projection yet."""
        with translated("read"):
            connection = self.engine.raw_connection()
        cursor = connection.cursor()
        try:
            with translated("read"):
                cursor.execute(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                    if self.is_postgres
                    else "BEGIN DEFERRED"
                )
                state = read_state(self, cursor)
            if state is None:
                raise StoreFailed("projection.building", "the index of events is being made; ask again soon")
            yield Snapshot(self, cursor, state)
        finally:
            with translated("read"):
                if self.is_postgres:
                    cursor.execute("ROLLBACK")
                # A cursor that a traceback keeps alive would reset its statement, which the module shares
                # among cursors, whenever it is collected: under the hands of the next one.
                cursor.close()
                if not self.is_postgres:
                    connection.rollback()
                connection.close()

    def close(self) -> None:
        self.engine.dispose()


class Snapshot:
    """What one transaction sees. Not safe to share between threads."""

    def __init__(self, projection: Projection, cursor: Cursor, state: State) -> None:
        self._sql = projection.sql
        self._cursor = cursor
        self.state = state

    def extents(self) -> list[Extent]:
        """Every segment, in log order."""
        return [
            Extent(*row)
            for row in self._ask(
                "SELECT first_row, row_count, bits, first_seq, last_seq, time_min, time_max, recorded_min,"
                " recorded_max FROM {p}segments ORDER BY first_row"
            )
        ]

    def column(self, first_row: int, name: str) -> bytes:
        return _one(
            self._ask("SELECT body FROM {p}columns WHERE first_row = ? AND name = ?", first_row, name)
        )

    def bucket(self, first_row: int, bucket: int) -> bytes | None:
        rows = self._ask("SELECT body FROM {p}postings WHERE first_row = ? AND bucket = ?", first_row, bucket)
        return bytes(rows[0][0]) if rows else None

    def seen(self, kind: str, after: str, limit: int) -> list[str]:
        """Distinct values of one kind beyond `after`, by code point."""
        return [
            row[0]
            for row in self._ask(
                "SELECT value FROM {p}seen WHERE kind = ? AND value > ? ORDER BY value LIMIT ?",
                kind, after, limit,
            )
        ]  # fmt: skip

    def has_seen(self, kind: str, value: str) -> bool:
        return bool(self._ask("SELECT 1 FROM {p}seen WHERE kind = ? AND value = ?", kind, value))

    def attributes(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """Master data of a thing, over all types under which it is known."""
        found: dict[str, tuple[str, ...]] = {}
        for (text,) in self._ask("SELECT attributes FROM {p}masterdata WHERE id = ? ORDER BY type", name):
            found.update({key: tuple(values) for key, values in json.loads(text).items()})
        return found

    def descendants(self, name: str) -> frozenset[str]:
        """All places below one; see traceability.queries.masterdata."""
        found: dict[str, None] = {}
        left = [name]
        while left and len(found) < DESCENDANTS_MAX:
            for (text,) in self._ask("SELECT children FROM {p}masterdata WHERE id = ?", left.pop()):
                for child in json.loads(text):
                    if child not in found and child != name:
                        found[child] = None
                        left.append(child)
        return frozenset(found)

    def records(
        self, after: tuple[str, str], limit: int, names: Sequence[str] | None = None
    ) -> list[tuple[int, Record]]:
        """Master data by (id, type) beyond `after`, each with the position that says it.

        names  only of these things, at most LOOKUP_BATCH
        """
        wanted = "" if names is None else f" AND id IN ({', '.join('?' * len(names))})"
        rows = self._ask(
            "SELECT seq, type, id, attributes, children FROM {p}masterdata WHERE (id, type) > (?, ?)"  # noqa: S608
            f"{wanted} ORDER BY id, type LIMIT ?",
            *after, *(names or ()), limit,
        )  # fmt: skip
        return [
            (
                seq,
                Record(
                    typ,
                    name,
                    {key: tuple(values) for key, values in json.loads(attributes).items()},
                    tuple(json.loads(children)),
                ),
            )
            for seq, typ, name, attributes, children in rows
        ]

    def find_hash(self, key: bytes) -> tuple[int, int] | None:
        """The first event with this key of an event hash (identity.key_of_hash)."""
        rows = self._ask("SELECT seq, ordinal FROM {p}hashes WHERE hash = ?", key)
        return (rows[0][0], rows[0][1]) if rows else None

    def findings(self, after: tuple[int, int, str], limit: int) -> list[Finding]:
        """What was noticed, in log order."""
        rows = self._ask(
            "SELECT seq, ordinal, code, detail FROM {p}findings WHERE (seq, ordinal, code) > (?, ?, ?)"
            " ORDER BY seq, ordinal, code LIMIT ?",
            *after, limit,
        )  # fmt: skip
        return [Finding(*row) for row in rows]

    def _ask(self, statement: str, *parameters: object) -> list[Any]:
        with translated("read"):
            self._cursor.execute(self._sql(statement), parameters)
            rows: list[Any] = self._cursor.fetchall()
            return rows


class ProjectionWriter(Projection):
    """The writing half; one for each ledger, held by a lock."""

    def __init__(self, engine: Engine, release: Callable[[], None]) -> None:
        super().__init__(engine)
        self._release = release

    def prepare(self, ledger: bytes) -> State:
        """The state to go on from. What is of another ledger, or of other code, is dropped first."""
        with self._writing() as cursor:
            state = read_state(self, cursor)
            if state is not None and state.ledger == ledger:
                return state
            return self._begin_again(cursor, ledger)

    def restart(self, ledger: bytes) -> State:
        """Drop everything and begin again."""
        with self._writing() as cursor:
            return self._begin_again(cursor, ledger)

    def append(
        self,
        state: State,
        added: Sequence[Segment],
        *,
        next_seq: int,
        recorded_to: int,
        seen: Iterable[tuple[str, str]] = (),
        records: Iterable[tuple[int, Record]] = (),
        hashes: Sequence[tuple[bytes, int, int]] = (),
        findings: Sequence[Finding] = (),
    ) -> State:
        """Add the events below next_seq, in one transaction. Raises StoreFailed if the state has moved."""
        rows = 0
        with self._writing() as cursor:
            for segment in added:
                self._insert(cursor, state.rows + rows, segment)
                rows += len(segment)
            self._note(cursor, seen, records)
            self._note_findings(cursor, [*findings, *self._note_hashes(cursor, hashes)])
            cursor.execute(
                self.sql(
                    "UPDATE {p}meta SET next_seq = ?, row_count = ?, recorded_to = ?, version = version + 1"
                    " WHERE next_seq = ? AND generation = ?"
                ),
                (next_seq, state.rows + rows, recorded_to, state.next_seq, state.generation),
            )
            if cursor.rowcount != 1:
                raise StoreFailed("projection.moved", "somebody else writes this projection")
        return State(
            state.generation, state.version + 1, state.ledger, next_seq, state.rows + rows, recorded_to
        )

    def merge_tail(self) -> bool:
        """Merge the newest segments while they are small beside their neighbour. Whether anything was.

        As with carrying in counting: each event is written again at most once for each doubling.
        """
        with self._writing() as cursor:
            cursor.execute(
                self.sql("SELECT first_row, row_count FROM {p}segments ORDER BY first_row DESC LIMIT 64")
            )
            tail = [(int(first), int(rows)) for first, rows in cursor.fetchall()]
            total, count = 0, 0
            for _, rows in tail:
                if (count and rows > total) or total + rows > SEGMENT_ROWS:
                    break
                total, count = total + rows, count + 1
            if count < 2:
                return False
            firsts = [first for first, _ in reversed(tail[:count])]
            merged = segments.merge([self._read(cursor, first) for first in firsts])
            for first in firsts:
                for table in ("segments", "columns", "postings"):
                    cursor.execute(self.sql(f"DELETE FROM {{p}}{table} WHERE first_row = ?"), (first,))  # noqa: S608
            self._insert(cursor, firsts[0], merged)
            cursor.execute(self.sql("UPDATE {p}meta SET version = version + 1"))
        return True

    def close(self) -> None:
        super().close()
        self._release()

    def _begin_again(self, cursor: Cursor, ledger: bytes) -> State:
        for statement in (
            *drop_statements(self.engine.dialect.name),
            *create_statements(self.engine.dialect.name),
        ):
            cursor.execute(statement)
        state = State(secrets.token_bytes(8), 0, ledger, 0, 0, 0)
        cursor.execute(
            self.sql("INSERT INTO {p}meta VALUES (1, ?, ?, 0, ?, 0, 0, 0)"),
            (FORMAT, state.generation, ledger),
        )
        return state

    def _insert(self, cursor: Cursor, first_row: int, segment: Segment) -> None:
        bits, buckets = segments.bucket_bodies(segment)
        cursor.execute(
            self.sql("INSERT INTO {p}segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"),
            (
                first_row, len(segment), bits, int(segment.seq[0]), int(segment.seq[-1]),
                int(segment.event_time.min()), int(segment.event_time.max()),
                int(segment.recorded_at.min()), int(segment.recorded_at.max()),
            ),
        )  # fmt: skip
        cursor.executemany(
            self.sql("INSERT INTO {p}columns VALUES (?, ?, ?)"),
            [(first_row, name, body) for name, body in segments.column_bodies(segment).items()],
        )
        cursor.executemany(
            self.sql("INSERT INTO {p}postings VALUES (?, ?, ?)"),
            [(first_row, bucket, body) for bucket, body in buckets.items()],
        )

    def _read(self, cursor: Cursor, first_row: int) -> Segment:
        cursor.execute(self.sql("SELECT name, body FROM {p}columns WHERE first_row = ?"), (first_row,))
        columns = {name: bytes(body) for name, body in cursor.fetchall()}
        cursor.execute(
            self.sql("SELECT body FROM {p}postings WHERE first_row = ? ORDER BY bucket"), (first_row,)
        )
        return segments.read_segment(columns, [bytes(body) for (body,) in cursor.fetchall()])

    def _note(
        self, cursor: Cursor, seen: Iterable[tuple[str, str]], records: Iterable[tuple[int, Record]]
    ) -> None:
        new = list(seen)
        if new:
            cursor.executemany(self.sql("INSERT INTO {p}seen VALUES (?, ?) ON CONFLICT DO NOTHING"), new)
        rows = [
            (record.id, record.type, _json(record.attributes), _json(record.children), seq)
            for seq, record in records
        ]
        if rows:
            cursor.executemany(
                self.sql(
                    "INSERT INTO {p}masterdata VALUES (?, ?, ?, ?, ?) ON CONFLICT (id, type) DO UPDATE"
                    " SET attributes = excluded.attributes, children = excluded.children, seq = excluded.seq"
                ),
                rows,
            )

    def _note_hashes(self, cursor: Cursor, hashes: Sequence[tuple[bytes, int, int]]) -> list[Finding]:
        """Keep each hash with its first event; what came again."""
        known: dict[bytes, tuple[int, int]] = {}
        for start in range(0, len(hashes), LOOKUP_BATCH):
            keys = [key for key, _, _ in hashes[start : start + LOOKUP_BATCH]]
            marks = ", ".join("?" * len(keys))
            cursor.execute(
                self.sql(f"SELECT hash, seq, ordinal FROM {{p}}hashes WHERE hash IN ({marks})"),  # noqa: S608
                keys,
            )
            known.update({bytes(key): (seq, ordinal) for key, seq, ordinal in cursor.fetchall()})
        new: list[tuple[bytes, int, int]] = []
        again: list[Finding] = []
        for key, seq, ordinal in hashes:
            first = known.get(key)
            if first is None:
                known[key] = seq, ordinal
                new.append((key, seq, ordinal))
            else:
                detail = f"event {first[1]} of entry {first[0]} says the same, and no error was declared"
                again.append(Finding(seq, ordinal, TWICE, detail))
        if new:
            new.sort()  # neighbours in the table are written together
            cursor.executemany(self.sql("INSERT INTO {p}hashes VALUES (?, ?, ?)"), new)
        return again

    def _note_findings(self, cursor: Cursor, findings: Sequence[Finding]) -> None:
        if findings:
            cursor.executemany(
                self.sql("INSERT INTO {p}findings VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"),
                [(one.seq, one.ordinal, one.code, one.detail) for one in findings],
            )

    @contextmanager
    def _writing(self) -> Iterator[Cursor]:
        with translated("write"):
            connection = self.engine.raw_connection()
            cursor = connection.cursor()
            try:
                if not self.is_postgres:  # psycopg begins by itself
                    cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                cursor.close()
                connection.commit()
            except BaseException:
                cursor.close()
                connection.rollback()
                raise
            finally:
                connection.close()


def read_state(projection: Projection, cursor: Cursor) -> State | None:
    """The state of a projection that this version of the code can use; None if there is no such one."""
    if projection.is_postgres:
        cursor.execute("SELECT to_regclass(%s)", (f"{POSTGRES_SCHEMA}.meta",))
    else:
        cursor.execute("SELECT name FROM sqlite_master WHERE name = 'meta'")
    row = cursor.fetchone()
    if row is None or row[0] is None:
        return None
    cursor.execute(projection.sql("SELECT format FROM {p}meta"))
    row = cursor.fetchone()
    if row is None or row[0] != FORMAT:
        return None
    cursor.execute(
        projection.sql("SELECT generation, version, ledger, next_seq, row_count, recorded_to FROM {p}meta")
    )
    generation, version, ledger, next_seq, rows, recorded_to = cursor.fetchone()
    return State(bytes(generation), version, bytes(ledger), next_seq, rows, recorded_to)


def open_reader(database: Database) -> Projection:
    """Open the projection of this ledger to read it, also while the projector writes, or before it began."""
    if isinstance(database, URL):
        from ledger.store.postgres_connection import make_engine

        return Projection(make_engine(database, connections=READ_CONNECTIONS_MAX, read_only=True))
    return Projection(_sqlite(beside(database), "ro", READ_CONNECTIONS_MAX, READER_CACHE_KIB))


def open_writer(database: Database) -> ProjectionWriter:
    """Open it as its one writer. Raises ReadOnly if another process is that."""
    if isinstance(database, URL):
        from ledger.store.postgres_connection import make_engine

        engine = make_engine(database, connections=2, read_only=False)
        return ProjectionWriter(engine, _hold_advisory_lock(engine))
    file = beside(database)
    release = hold_writer_lock(file)
    try:
        with os.fdopen(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)):
            pass
        engine = _sqlite(file, "rw", 1, WRITER_CACHE_KIB)
        with translated("open"), engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
    except BaseException:
        release()
        raise
    return ProjectionWriter(engine, release)


def _hold_advisory_lock(engine: Engine) -> Callable[[], None]:
    """Kept by one connection, and gone with it."""
    with translated("open"):
        connection = engine.raw_connection()
        cursor = connection.cursor()
        cursor.execute("SET idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK_NUMBER,))
        (held,) = cursor.fetchone() or (False,)
        connection.commit()
    if not held:
        connection.close()
        engine.dispose()
        raise ReadOnly("projection.writer.locked", "another process keeps the index of events")

    def release() -> None:
        with translated("close"):
            connection.invalidate()

    return release


def _sqlite(file: Path, mode: str, connections: int, cache_kib: int) -> Engine:
    pragmas = (
        "PRAGMA synchronous=NORMAL",
        "PRAGMA mmap_size=0",
        "PRAGMA trusted_schema=OFF",
        f"PRAGMA cache_size=-{cache_kib}",
    )
    return connect_sqlite(file, mode, connections, pragmas)


def connect_sqlite(file: Path, mode: str, connections: int, pragmas: Sequence[str]) -> Engine:
    """An engine over one SQLite file, whose connections begin nothing by themselves."""
    uri = f"file:{quote(str(file.resolve()))}?mode={mode}"

    def connect() -> Any:
        connection = dbapi.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        for pragma in pragmas:
            connection.execute(pragma)
        return connection

    return create_engine(
        f"sqlite+pysqlite:///{quote(str(file.resolve()))}",
        creator=connect,
        module=dbapi,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
    )


@contextmanager
def translated(action: str) -> Iterator[None]:
    try:
        yield
    except StoreFailed:
        raise
    except (SQLAlchemyError, dbapi.Error) as e:
        raise StoreFailed(
            f"projection.{action}", f"the index of events: the database did not {action}"
        ) from e
    except Exception as e:
        if type(e).__module__.partition(".")[0] == "psycopg":
            raise StoreFailed(
                f"projection.{action}", f"the index of events: the database did not {action}"
            ) from e
        raise


def _one(rows: Sequence[Any]) -> bytes:
    if not rows:
        raise StoreFailed("projection.read", "the index of events has lost a column; it must be made again")
    return bytes(rows[0][0])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
