"""Step 6 of 9: the ledger in one SQLite file. Below ledger.log; keeps what ledger.store.protocol promises.

One process writes, held by a lock of the operating system; any number of others read. An append is
one transaction that begins with the comparison of the head, and is on the disk before it returns:
WAL with synchronous=FULL, no memory-mapping.

    ledger.db               the database
    ledger.db-wal, -shm     what SQLite keeps beside it while it is open; part of it, never delete them.
                            Whoever does it under a running server loses nothing: see _save()
    ledger.db.writer-lock   held by the writing process, which writes its process id into it
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from ledger import entry as entries
from ledger.errors import EntryMalformed, HeadMoved, KeyTaken, NotInLog, ReadOnly, StoreFailed
from ledger.merkle import HASH_SIZE
from ledger.store import name_runs_sqlite
from ledger.store.name_runs import level0_rows
from ledger.store.protocol import NAME_LIMIT_MAX, Head, Rows
from ledger.store.rules import (
    ROW_REACH,
    SEQ_MAX,
    Row,
    RowReader,
    entries_of,
    keys_below,
    numbered,
    require_keys,
    select_rows,
    spread,
    statements_of,
    text_of,
    time_of,
)
from ledger.store.writer_lock import hold_writer_lock
from ledger.tiles import TILE_WIDTH, TileWrite

try:  # its own, newer SQLite: before 3.51.3 two connections that checkpoint at once can corrupt a WAL
    import pysqlite3.dbapi2 as dbapi
except ImportError:  # pragma: no cover  # where there is no wheel of it
    import sqlite3 as dbapi

BUSY_TIMEOUT_S = 10.0  # a lock held longer than this is not a busy moment but a fault
POOL_TIMEOUT_S = 30.0
READ_CONNECTIONS_MAX = 8
WAL_PAGES_MAX = 2048  # 8 MiB: the WAL is copied back at the first commit beyond it, in 10 ms or so
WAL_SIZE_LIMIT = 64 << 20  # bytes kept on the disk once it was
FILE_MODE = 0o600  # statements are shown to those who may see them, not to every account of the machine
WRITER_CACHE_KIB = 65_536
READER_CACHE_KIB = 16_384
LOOKUP_BATCH = 500  # keys in one query; SQLite's own bound on parameters is 999 in old builds

FileId: TypeAlias = tuple[int, int]  # device and inode

_HEAD = (
    "SELECT tree_size, root_hash, last_leaf_hash, keys_seq, recorded_at, checkpoint, published, published_at,"
    " events FROM head"
)
_ROWS = select_rows("?")
_ROW_AT = {
    table: f"SELECT first_seq, count, body FROM {table} WHERE first_seq <= ? ORDER BY first_seq DESC LIMIT 1"  # noqa: S608
    for table in ("entries", "statements")
}
# Keys of one length, joined: cut apart where they are needed, a third of what one INSERT for each costs.
_INSERT_KEYS = (
    "INSERT INTO unique_keys"
    " WITH RECURSIVE each(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM each WHERE i < ?4)"
    " SELECT substr(?1, ?2 * i + 1, ?2), ?3 + i FROM each"
)


class SqliteReader(RowReader):
    """A LedgerStore over connections that cannot write."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.engine = engine  # for neighbours that keep tables of their own in the same file

    def read_head(self) -> Head | None:
        with self._reading() as cursor:
            return _read_head(cursor)

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        if not 1 <= width <= TILE_WIDTH or not 0 <= level <= 63 or not 0 <= index <= SEQ_MAX // TILE_WIDTH:
            raise NotInLog("store.tile", f"there is no tile {level}/{index} of width {width}")
        wanted = width * HASH_SIZE
        with self._reading() as cursor:  # one snapshot: between two, an edge becomes a full tile
            row = cursor.execute(
                "SELECT hashes FROM tiles WHERE level = ? AND tile_index = ?", (level, index)
            ).fetchone()
            if row is None and level > 0:
                row = cursor.execute(
                    "SELECT hashes FROM tile_edges WHERE level = ? AND tile_index = ?", (level, index)
                ).fetchone()
            if row is not None:
                hashes: bytes = row[0]
            elif level == 0:
                first = index * TILE_WIDTH
                size, rows = _read_rows(cursor, "entries", first, first + width)
                held = spread(rows, first, min(first + width, size), entries_of)
                hashes = b"".join(entries.leaf_hash(entry) for entry in held if entry is not None)
            else:
                hashes = b""
        if len(hashes) < wanted:
            raise NotInLog(
                "store.tile", f"tile {level}/{index} has {len(hashes) // HASH_SIZE} hashes, not {width}"
            )
        return hashes[:wanted]

    def find_unique(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        with self._reading() as cursor:
            return _find_unique(cursor, keys)

    def find_name(
        self,
        key: int,
        *,
        after: tuple[int, int] | None = None,
        limit: int,
        descending: bool = False,
    ) -> list[tuple[int, int]]:
        if not 1 <= limit <= NAME_LIMIT_MAX:
            raise ValueError(f"limit {limit} is not within 1..{NAME_LIMIT_MAX}")
        beyond = after or ((SEQ_MAX, SEQ_MAX) if descending else (-1, -1))
        with self._reading() as cursor:
            size = _read_size(cursor)
            return name_runs_sqlite.find(cursor, key, beyond, size, limit, descending=descending)

    def read_key_records(self, after_seq: int) -> list[tuple[int, bytes, bytes]]:
        records: list[tuple[int, bytes, bytes]] = []
        with self._reading() as cursor:
            head = _read_head(cursor)
            seq = -1 if head is None else head.keys_seq
            while seq > after_seq:
                entry, statement = (
                    spread(_read_rows(cursor, table, seq, seq + 1)[1], seq, seq + 1, unpack)[0]
                    for table, unpack in (("entries", entries_of), ("statements", statements_of))
                )
                if not entry or statement is None:
                    raise EntryMalformed("store.keys", f"the key record {seq} is gone from the database")
                records.append((seq, entry, statement))
                seq = keys_below(seq, entry)
        records.reverse()
        return records

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """A cursor that sees one moment. Below SQLAlchemy's own connection, as append() is."""
        with _refused("read"), _translated("read"):
            raw = self._engine.raw_connection()
            try:
                cursor = raw.cursor()
                cursor.execute("BEGIN DEFERRED")
                yield cursor
            finally:
                raw.close()  # which rolls back

    def _read_rows(self, table: str, start: int, end: int) -> tuple[int, Sequence[Row]]:
        with self._reading() as cursor:
            return _read_rows(cursor, table, start, end)

    def _read_rows_at(self, seqs: Sequence[int]) -> tuple[int, list[Row], list[Row]]:
        with self._reading() as cursor:
            size = _read_size(cursor)
            found: list[list[Row]] = []
            for table in ("entries", "statements"):
                rows: list[Row] = []
                for seq in seqs:
                    if not rows or seq >= rows[-1][0] + rows[-1][1]:
                        rows += cursor.execute(_ROW_AT[table], (seq,)).fetchall()
                found.append(rows)
            return size, found[0], found[1]


class SqliteStore(SqliteReader):
    """A LedgerWriter. Made by open_writer(), which sees to it that this process may.

    engine  for neighbours that keep tables of their own in the same file and write in this process.
            It never copies the WAL back: only the log's one connection does, so no two can at once.
    """

    def __init__(self, file: Path, log_engine: Engine, engine: Engine, release: Callable[[], None]) -> None:
        super().__init__(log_engine)
        self.engine = engine
        self._file = file
        self._file_id = _file_id(file)
        self._release = release
        self._beside = tuple(Path(f"{file}{suffix}") for suffix in ("-wal", "-shm"))
        self._beside_ids: tuple[FileId | None, ...] | None = None  # of the log's own connection
        self._lost: ReadOnly | None = None

        @event.listens_for(log_engine, "connect")
        def forget(*_: object) -> None:
            self._beside_ids = None

    def append(
        self,
        expected: Head | None,
        rows: Rows,
        new_head: Head,
        tiles: Sequence[TileWrite],
    ) -> None:
        require_keys(rows.unique_keys)
        self._require_files()
        if (file_id := _file_id(self._file)) != self._file_id:
            # Another file has this name now: what the open connection writes nobody would find again.
            self._engine.dispose()
            self.engine.dispose()
            self._file_id = file_id
        # Below SQLAlchemy's own connection: what it does around each statement costs as much as a small
        # append itself. The engine still owns the connection, and begins and ends it the same way.
        with _refused("begin"), _translated("begin"):
            raw = self._engine.raw_connection()
        is_sound = False
        try:
            cursor = raw.cursor()
            try:
                with _refused("append"):
                    cursor.execute("BEGIN IMMEDIATE")
                    self._write(cursor, expected, rows, new_head, tiles)
            except KeyTaken:
                raw.rollback()
                is_sound = True
                raise
            except BaseException:
                raw.rollback()
                raise
            # Not translated: where COMMIT itself fails, nobody here knows whether it happened.
            raw.commit()
            is_sound = True
            self._look_beside(raw)
        except BaseException:
            if not is_sound:
                raw.invalidate()
            raise
        finally:
            raw.close()

    @contextmanager
    def merging(self) -> Iterator[name_runs_sqlite.MergeTransaction]:
        """A transaction for a step of name_runs_merge, on the log's own connection.

        It does not wait for the disk: what it sorts is durable by the append's own commit, and what a power
        cut takes back is merged again. The next append syncs the same WAL, and this with it.
        """
        self._require_files()
        with _refused("merge"), _translated("merge"):
            raw = self._engine.raw_connection()
        try:
            with _refused("merge"):
                cursor = raw.cursor()
                try:
                    cursor.execute("PRAGMA synchronous=NORMAL")
                    cursor.execute("BEGIN IMMEDIATE")
                    yield name_runs_sqlite.MergeTransaction(cursor)
                    raw.commit()
                except BaseException:
                    raw.rollback()
                    raise
                finally:
                    cursor.execute("PRAGMA synchronous=FULL")  # for the next append
                self._look_beside(raw)
        except BaseException:
            if self._lost is None:  # else this connection has what nobody else can open
                raw.invalidate()
            raise
        finally:
            raw.close()

    def find_unique(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        # Nobody else writes: no transaction is needed to see one moment.
        with _refused("read"), _translated("read"):
            raw = self._engine.raw_connection()
            try:
                return _find_unique(raw.cursor(), keys)
            finally:
                raw.close()

    def publish(self, expected_size: int, note: bytes, published_at: datetime) -> None:
        self._require_files()
        with _translated("publish"), self._engine.begin() as connection:
            result = connection.exec_driver_sql(
                "UPDATE head SET published = ?, published_at = ? WHERE tree_size = ?",
                (note, entries.render_time(published_at), expected_size),
            )
            if result.rowcount != 1:
                raise HeadMoved("store.head", f"the head is no longer at size {expected_size}")

    def settle_head(self) -> Head | None:
        self._require_files()
        # A fresh connection: one that failed may hold a transaction that nobody ended.
        self._engine.dispose()
        with _refused("settle"), _translated("settle"), self._engine.begin() as connection:
            return _read_head(connection.connection.cursor())

    def close(self) -> None:
        super().close()
        self.engine.dispose()
        self._release()

    def _require_files(self) -> None:
        """Raise ReadOnly once a part of the database was taken away."""
        if self._lost is not None:
            raise ReadOnly(self._lost.code, self._lost.detail)

    def _look_beside(self, raw: Any) -> None:
        """After a commit: are the WAL and its index still those that others find? 3 µs."""
        ids = tuple(map(_file_id, self._beside))
        if self._beside_ids is None:
            self._beside_ids = ids
        if None in ids or ids != self._beside_ids:
            self._save(raw)

    def _save(self, raw: Any) -> None:
        """Copy what is in a file without a name into the database, and write no more.

        This connection has the lost file open still. A new one would begin another WAL beside those who
        read: so nobody opens any until the server was restarted. Raises dbapi.Error if not all was copied.
        """
        self._lost = ReadOnly(
            "store.wal",
            f"{self._beside[0].name} or {self._beside[1].name} was deleted or replaced while the server ran;"
            " what was acknowledged is in the database: stop the server and start it again",
        )
        busy, frames, copied = raw.cursor().execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        if busy or frames != copied:
            raise dbapi.OperationalError(f"{copied} of {frames} pages of a deleted WAL were copied back")

    @staticmethod
    def _write(
        cursor: Any,
        expected: Head | None,
        rows: Rows,
        new_head: Head,
        tiles: Sequence[TileWrite],
    ) -> None:
        _swap_head(cursor, expected, new_head)
        first = rows.first_seq
        run = cursor.executemany
        run("INSERT INTO entries VALUES (?, ?, ?)", numbered(first, rows.entries))
        run("INSERT INTO statements VALUES (?, ?, ?)", numbered(first, rows.statements))
        _insert_keys(cursor, first, rows.unique_keys)
        name_runs_sqlite.append(cursor, level0_rows(first, rows.names))
        for tile in tiles:
            full = len(tile.hashes) == TILE_WIDTH * HASH_SIZE
            cursor.execute(
                "INSERT INTO tiles VALUES (?, ?, ?)"
                if full
                else "INSERT INTO tile_edges VALUES (?, ?, ?) ON CONFLICT (level)"
                " DO UPDATE SET tile_index = excluded.tile_index, hashes = excluded.hashes",
                (tile.level, tile.index, tile.hashes),
            )


def open_reader(path: Path | str) -> SqliteReader:
    """Open a ledger to read it, also while another process writes."""
    file = Path(path)
    if not file.is_file():
        raise StoreFailed("store.missing", f"there is no database at {file}")
    mode = "ro"
    if not Path(f"{file}-wal").exists() and os.statvfs(file).f_flag & os.ST_RDONLY:
        # A copy on a disc: SQLite cannot keep its -shm beside it, and need not, for nobody can write.
        mode = "ro&immutable=1"
    engine = _engine(file, mode=mode, cache_kib=READER_CACHE_KIB, connections=READ_CONNECTIONS_MAX)
    return SqliteReader(engine)


def open_writer(path: Path | str) -> SqliteStore:
    """Open a ledger as its one writing process; the file is made if it is missing, its tables are not.

    Raises ReadOnly if another process writes here. The lock ends with the process, however it ends.
    """
    file = Path(path)
    release = hold_writer_lock(file)
    try:
        # From here on a file that is missing has been taken away, and is not made again in silence.
        file.touch(FILE_MODE)
        log_engine = _engine(file, mode="rw", cache_kib=WRITER_CACHE_KIB, connections=1)
        engine = _engine(
            file, mode="rw", cache_kib=READER_CACHE_KIB, connections=READ_CONNECTIONS_MAX, wal_pages_max=0
        )
        with _translated("open"), log_engine.connect() as connection:
            # A property of the file: it stays, and readers find it.
            connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
    except BaseException:
        release()
        raise
    return SqliteStore(file, log_engine, engine, release)


# --- the head ------------------------------------------------------------------------------------


def _read_size(cursor: Any) -> int:
    row = cursor.execute("SELECT tree_size FROM head").fetchone()
    return 0 if row is None else int(row[0])


def _read_head(cursor: Any) -> Head | None:
    row = cursor.execute(_HEAD).fetchone()
    if row is None:
        return None
    size, root, last_leaf, keys_seq, recorded_at, checkpoint, published, published_at, events = row
    return Head(
        tree_size=size,
        root_hash=root,
        last_leaf_hash=last_leaf,
        keys_seq=keys_seq,
        recorded_at=time_of(recorded_at),
        checkpoint=checkpoint,
        published=published,
        published_at=time_of(published_at),
        events=events,
    )


def _find_unique(cursor: Any, keys: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for start in range(0, len(keys), LOOKUP_BATCH):
        batch = tuple(keys[start : start + LOOKUP_BATCH])
        marks = ",".join("?" * len(batch))
        select = f"SELECT key, seq FROM unique_keys WHERE key IN ({marks})"  # noqa: S608  # only marks
        found.update(cursor.execute(select, batch).fetchall())
    return found


def _insert_keys(cursor: Any, first: int, keys: Sequence[bytes]) -> None:
    """Raises KeyTaken if one of them is there."""
    try:
        sizes = set(map(len, keys))
        if len(sizes) == 1:
            cursor.execute(_INSERT_KEYS, (b"".join(keys), *sizes, first, len(keys) - 1))
        else:
            pairs = [(key, seq) for seq, key in enumerate(keys, first)]
            cursor.executemany("INSERT INTO unique_keys VALUES (?, ?)", pairs)
    except dbapi.IntegrityError as e:
        raise KeyTaken("store.append", f"one of the unique keys is there already ({e})") from e


def _swap_head(cursor: Any, expected: Head | None, new: Head) -> None:
    """Replace the head, if it is the expected one. Everything else of an append follows this."""
    state = (
        new.tree_size,
        new.root_hash,
        new.last_leaf_hash,
        new.keys_seq,
        text_of(new.recorded_at),
        new.checkpoint,
        new.events,
    )
    if expected is None:
        if cursor.execute("SELECT 1 FROM head").fetchone() is not None:
            raise HeadMoved("store.head", "the ledger has its genesis already")
        cursor.execute(
            "INSERT INTO head (id, tree_size, root_hash, last_leaf_hash, keys_seq, recorded_at, checkpoint,"
            " events, published, published_at) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*state, new.published, text_of(new.published_at)),
        )
        return
    # `published` is left alone: another Log may have moved it since `expected` was read.
    cursor.execute(
        "UPDATE head SET tree_size = ?, root_hash = ?, last_leaf_hash = ?, keys_seq = ?, recorded_at = ?,"
        " checkpoint = ?, events = ? WHERE tree_size = ? AND root_hash = ?",
        (*state, expected.tree_size, expected.root_hash),
    )
    if cursor.rowcount != 1:
        raise HeadMoved("store.head", f"the head is no longer at size {expected.tree_size}")


# --- reading -------------------------------------------------------------------------------------


def _read_rows(cursor: Any, table: str, start: int, end: int) -> tuple[int, Sequence[Row]]:
    """The log's size, and the table's rows around start <= seq < end; none of them is cut."""
    size = _read_size(cursor)
    if end - start == 1:
        return size, cursor.execute(_ROW_AT[table], (min(start, size - 1),)).fetchall()
    return size, cursor.execute(_ROWS[table], (start - ROW_REACH, min(end, size) - 1)).fetchall()


# --- connections ---------------------------------------------------------------------------------


def _engine(
    file: Path, *, mode: str, cache_kib: int, connections: int, wal_pages_max: int = WAL_PAGES_MAX
) -> Engine:
    uri = f"file:{quote(str(file.resolve()))}?mode={mode}"
    pragmas = (
        "PRAGMA synchronous=FULL",
        "PRAGMA mmap_size=0",
        "PRAGMA trusted_schema=OFF",
        f"PRAGMA cache_size=-{cache_kib}",
        f"PRAGMA wal_autocheckpoint={wal_pages_max}",
        f"PRAGMA journal_size_limit={WAL_SIZE_LIMIT}",
    )

    def connect() -> Any:
        # isolation_level=None: the module begins nothing by itself; `begin` below does.
        connection = dbapi.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        for pragma in pragmas:
            connection.execute(pragma)
        return connection

    engine = create_engine(
        f"sqlite+pysqlite:///{quote(str(file.resolve()))}",
        creator=connect,
        module=dbapi,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Who means to write takes the lock at once: a transaction that reads first and writes later
        # can find that its snapshot is old, and no waiting helps it.
        default = "IMMEDIATE" if mode == "rw" else "DEFERRED"
        kind = connection.get_execution_options().get("begin", default)
        connection.exec_driver_sql(f"BEGIN {kind}")

    return engine


def _file_id(file: Path) -> FileId | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _refused(action: str) -> Iterator[None]:
    """What the driver itself refuses. Before COMMIT nothing can last, whatever went wrong."""
    try:
        yield
    except dbapi.Error as e:
        rule = isinstance(e, dbapi.IntegrityError)
        reason = f"it would break a rule of the tables ({e})" if rule else str(e)
        raise StoreFailed(f"store.{action}", f"the database refused the {action}: {reason}") from e


@contextmanager
def _translated(action: str) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as e:
        raise StoreFailed(f"store.{action}", f"the database did not {action}: {_reason(e)}") from e


def _reason(error: SQLAlchemyError) -> str:
    if isinstance(error, IntegrityError):
        return f"it would break a rule of the tables ({error.orig})"
    if isinstance(error, DBAPIError):
        return str(error.orig)
    return type(error).__name__
