"""Step 6 of 9: the ledger in PostgreSQL. Below ledger.log; keeps what ledger.store.protocol promises.

Any number of processes on any number of machines may write: there is no writer's lock. An append begins by
swapping the head it expects for the new one; the row lock that this takes is held until the commit, so of
two appends on one head the second finds it moved, and has written nothing. A commit is on the disk, and on
the synchronous standbys if there are any, before it returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from threading import Lock
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from ledger import entry as entries
from ledger.errors import EntryMalformed, HeadMoved, KeyTaken, NotInLog
from ledger.merkle import HASH_SIZE
from ledger.store import name_runs_postgres
from ledger.store import postgres_rows as copies
from ledger.store.name_runs import level0_rows
from ledger.store.postgres_connection import (
    failed,
    make_engine,
    raw,
    reading,
    require_server,
    translated,
)
from ledger.store.protocol import NAME_LIMIT_MAX, Head, Rows
from ledger.store.rules import (
    ROW_REACH,
    SEQ_MAX,
    Row,
    RowReader,
    entries_of,
    keys_below,
    require_keys,
    select_rows,
    spread,
    statements_of,
    text_of,
    time_of,
)
from ledger.tiles import TILE_WIDTH, TileWrite

READ_CONNECTIONS_MAX = 8  # of one process; a server's max_connections must hold them all
WRITE_CONNECTIONS_MAX = 4  # the log's own, and anchoring's
LOOKUP_BATCH = 10_000  # keys in one query
TURN_S = 1.0  # how long a loser may hold the head's lock while it judges again; the server sees to it

_HEAD = (
    "SELECT tree_size, root_hash, last_leaf_hash, keys_seq, recorded_at, checkpoint, published, published_at,"
    " events FROM head"
)
_FIRST_HEAD = (
    "INSERT INTO head (id, tree_size, root_hash, last_leaf_hash, keys_seq, recorded_at, checkpoint, events,"
    " published, published_at) VALUES (1, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING"
    " RETURNING 1"
)
# `published` is left alone: another Log may have moved it since the expected head was read.
_SWAP_HEAD = (
    "UPDATE head SET tree_size = %s, root_hash = %s, last_leaf_hash = %s, keys_seq = %s, recorded_at = %s,"
    " checkpoint = %s, events = %s WHERE tree_size = %s AND root_hash = %s RETURNING 1"
)
# The swap and one row of each table in one statement: up to 64 statements take one round trip. Each part
# reads what the swap gave, so none comes before it. The keys travel joined, and are cut apart here.
_APPEND_ROW = (
    "WITH swapped AS ({swap}),"
    " e AS (INSERT INTO entries SELECT %s::bigint, %s::bigint, %b::bytea FROM swapped),"
    " s AS (INSERT INTO statements SELECT %s::bigint, %s::bigint, %b::bytea FROM swapped),"
    " u AS (INSERT INTO unique_keys SELECT substr(%b::bytea, %s::int * i + 1, %s::int), %s::bigint + i"
    " FROM swapped, generate_series(0, %s::int) AS i),"
    " n AS (INSERT INTO name_level0 SELECT %s::bigint, %s::bigint, %s::bigint, %b::bytea"
    " FROM swapped WHERE %s::boolean)"
    " SELECT 1 FROM swapped"
).replace("{swap}", _SWAP_HEAD)
_BOUND_TURN = "SELECT set_config('idle_in_transaction_session_timeout', %s, true)"
_TILE = "INSERT INTO tiles VALUES (%s, %s, %b)"
_EDGE = (
    "INSERT INTO tile_edges VALUES (%s, %s, %b) ON CONFLICT (level)"
    " DO UPDATE SET tile_index = excluded.tile_index, hashes = excluded.hashes"
)
_ROWS = select_rows("%s")
# Of each table the rows that hold these positions, each once; LIMIT keeps the planner to one probe for each.
_ROWS_AT = (
    " UNION ALL SELECT {number}, r.first_seq, r.count, r.body FROM"
    " (SELECT DISTINCT (SELECT first_seq FROM {table} WHERE first_seq <= s.seq"
    " ORDER BY first_seq DESC LIMIT 1) AS at FROM unnest(%s::bigint[]) AS s(seq)) AS d"
    " CROSS JOIN LATERAL (SELECT first_seq, count, body FROM {table} WHERE first_seq = d.at LIMIT 1) AS r"
)
_RECORDS = "SELECT 0, tree_size, 0, NULL FROM head" + "".join(  # noqa: S608  # of constants
    _ROWS_AT.format(number=number, table=table) for number, table in ((1, "entries"), (2, "statements"))
)


class PostgresReader(RowReader):
    """A LedgerStore over sessions that cannot write; each statement sees the newest commit.

    Where a method asks twice, the head is asked first: what it covers is there for the second question, for
    nothing is ever taken away.

    engine  for neighbours that keep tables of their own in the same database
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.engine = engine

    def read_head(self) -> Head | None:
        return reading(self._engine, _read_head)

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        if not 1 <= width <= TILE_WIDTH or not 0 <= level <= 63 or not 0 <= index <= SEQ_MAX // TILE_WIDTH:
            raise NotInLog("store.tile", f"there is no tile {level}/{index} of width {width}")
        hashes = reading(self._engine, lambda connection: _read_tile(connection, level, index, width))
        if len(hashes) < width * HASH_SIZE:
            raise NotInLog(
                "store.tile", f"tile {level}/{index} has {len(hashes) // HASH_SIZE} hashes, not {width}"
            )
        return hashes[: width * HASH_SIZE]

    def find_unique(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        return reading(self._engine, lambda connection: _find_unique(connection, list(keys)))

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

        def find(connection: Connection) -> list[tuple[int, int]]:
            def ask(query: str, values: tuple[object, ...]) -> list[Any]:
                return list(connection.exec_driver_sql(query, values))

            return name_runs_postgres.find(ask, key, beyond, limit, descending=descending)

        return reading(self._engine, find)

    def read_key_records(self, after_seq: int) -> list[tuple[int, bytes, bytes]]:
        return reading(self._engine, lambda connection: _read_key_records(connection, after_seq))

    def close(self) -> None:
        self._engine.dispose()

    def _read_rows(self, table: str, start: int, end: int) -> tuple[int, Sequence[Row]]:
        return reading(self._engine, lambda connection: _read_rows(connection, table, start, end))

    def _read_rows_at(self, seqs: Sequence[int]) -> tuple[int, list[Row], list[Row]]:
        def ask(connection: Connection) -> list[Any]:
            return list(connection.exec_driver_sql(_RECORDS, (list(seqs), list(seqs))))

        rows = sorted(reading(self._engine, ask), key=lambda row: (row[0], row[1]))
        size = rows[0][1] if rows and rows[0][0] == 0 else 0
        first, second = ([(row[1], row[2], row[3]) for row in rows if row[0] == n] for n in (1, 2))
        return size, first, second


class PostgresStore(PostgresReader):
    """A LedgerWriter, one of any number.

    Whoever loses a race must read the head and judge again, and would lose to a quicker one for ever: so the
    loser holds the head's lock from reading it to its next append, which nobody can then overtake.
    """

    def __init__(self, engine: Engine) -> None:
        # The same sessions, but each statement of a read is a transaction of its own.
        super().__init__(engine.execution_options(isolation_level="AUTOCOMMIT"))
        self.engine = engine
        self._guard = Lock()
        self._has_lost = False
        self._turn: Connection | None = None  # in a transaction that holds the head's lock

    def append(
        self,
        expected: Head | None,
        rows: Rows,
        new_head: Head,
        tiles: Sequence[TileWrite],
    ) -> None:
        require_keys(rows.unique_keys)
        turn = self._take_turn()
        if turn is not None:
            try:
                return self._append(turn, expected, rows, new_head, tiles)
            except _TurnOver:
                pass  # it was too long ago: the server has ended that session, and nothing is written
        with translated("begin", self.engine):
            connection = self.engine.connect()
            connection.begin()
        try:
            self._append(connection, expected, rows, new_head, tiles)
        except _TurnOver as over:
            raise failed("append", over.error, self.engine) from over.error

    def publish(self, expected_size: int, note: bytes, published_at: datetime) -> None:
        self._give_up_turn()
        with translated("publish", self.engine), self.engine.begin() as connection:
            result = connection.exec_driver_sql(
                "UPDATE head SET published = %s, published_at = %s WHERE tree_size = %s",
                (note, entries.render_time(published_at), expected_size),
            )
            if result.rowcount != 1:
                raise HeadMoved("store.head", f"the head is no longer at size {expected_size}")

    @contextmanager
    def merging(self) -> Iterator[name_runs_postgres.MergeTransaction | None]:
        """A transaction for a step of name_runs_merge; None while another process takes one."""
        with translated("merge", self.engine), self.engine.begin() as connection:
            transaction = name_runs_postgres.MergeTransaction(raw(connection))
            yield transaction if transaction.take_lock() else None

    def settle_head(self) -> Head | None:
        self._give_up_turn()
        # One lock that every append holds from its first statement to its end. It conflicts with writing and
        # not with reading, and is waited for in turn, LOCK_TIMEOUT_S at most.
        if not self._has_lost:
            self.engine.dispose()  # a line may have broken: a fresh connection
        with translated("settle", self.engine):
            connection = self.engine.connect()
            try:
                connection.begin()
                connection.exec_driver_sql(_BOUND_TURN, (str(int(1000 * TURN_S)),))
                connection.exec_driver_sql("LOCK TABLE head IN SHARE ROW EXCLUSIVE MODE")
                head = _read_head(connection)
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
            with self._guard:
                keeps, self._has_lost = self._has_lost, False
                if keeps:
                    self._turn = connection
            if not keeps:
                connection.close()
        return head

    def close(self) -> None:
        self._give_up_turn()
        super().close()

    def _append(
        self,
        connection: Connection,
        expected: Head | None,
        rows: Rows,
        new_head: Head,
        tiles: Sequence[TileWrite],
    ) -> None:
        """Append in the connection's transaction, and end both. Raises _TurnOver where the server is gone."""
        with connection:
            driver = raw(connection)
            try:
                _write(driver, expected, rows, new_head, tiles)
            except BaseException as e:
                # Before COMMIT nothing of this can last, whatever went wrong.
                if driver.closed:
                    connection.invalidate()
                else:
                    with suppress(SQLAlchemyError, psycopg.Error):
                        connection.rollback()
                if isinstance(e, HeadMoved):
                    self._has_lost = True
                if isinstance(e, SQLAlchemyError | psycopg.Error):
                    if driver.closed:
                        raise _TurnOver(e) from e
                    if isinstance(e, psycopg.errors.UniqueViolation) and e.diag.table_name == "unique_keys":
                        raise KeyTaken("store.append", "one of the unique keys is there already") from e
                    raise failed("append", e, self.engine) from e
                raise
            # Not translated: where COMMIT itself fails, nobody here knows whether it happened.
            try:
                connection.commit()
            except BaseException:
                connection.invalidate()
                raise

    def _take_turn(self) -> Connection | None:
        with self._guard:
            turn, self._turn = self._turn, None
        return turn

    def _give_up_turn(self) -> None:
        turn = self._take_turn()
        if turn is not None:
            with suppress(SQLAlchemyError):
                turn.close()


class _TurnOver(Exception):
    """The session ended under an append, before its COMMIT."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def open_reader(url: URL, *, connect_timeout_s: int | None = None) -> PostgresReader:
    """Open a ledger to read it, also while others write. Raises StoreFailed."""
    options = {} if connect_timeout_s is None else {"connect_timeout_s": connect_timeout_s}
    return PostgresReader(make_engine(url, connections=READ_CONNECTIONS_MAX, read_only=True, **options))


def open_writer(url: URL) -> PostgresStore:
    """Open a ledger to append to it, beside any number of others. Raises StoreFailed."""
    engine = make_engine(url, connections=WRITE_CONNECTIONS_MAX, read_only=False)
    try:
        with translated("open", engine), engine.connect() as connection:
            require_server(connection, durable=True)
    except BaseException:
        engine.dispose()
        raise
    return PostgresStore(engine)


# --- writing -------------------------------------------------------------------------------------


def _write(
    connection: psycopg.Connection[Any],
    expected: Head | None,
    rows: Rows,
    new: Head,
    tiles: Sequence[TileWrite],
) -> None:
    """Everything of an append but its end."""
    alone = None if expected is None else _single_row(rows)
    # In a pipeline BEGIN travels with it, so that a small append takes one round trip, and COMMIT another.
    with connection.pipeline():
        if alone is not None:
            swapped = connection.execute(_APPEND_ROW, (*_swap_of(expected, new), *alone))
        else:
            statement = _FIRST_HEAD if expected is None else _SWAP_HEAD
            swapped = connection.execute(statement, _swap_of(expected, new))
    if swapped.rowcount != 1:
        if expected is None:
            raise HeadMoved("store.head", "the ledger has its genesis already")
        raise HeadMoved("store.head", f"the head is no longer at size {expected.tree_size}")
    if alone is None:
        _copy(connection, rows)
    if tiles:
        with connection.pipeline():
            for tile in tiles:
                full = len(tile.hashes) == TILE_WIDTH * HASH_SIZE
                connection.execute(_TILE if full else _EDGE, (tile.level, tile.index, tile.hashes))


def _swap_of(expected: Head | None, new: Head) -> tuple[object, ...]:
    """The values that replace the head, if it is the expected one."""
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
        return (*state, new.published, text_of(new.published_at))
    return (*state, expected.tree_size, expected.root_hash)


def _single_row(rows: Rows) -> tuple[Any, ...] | None:
    """The values of _APPEND_ROW, if they are no more than one row of each table."""
    sizes = set(map(len, rows.unique_keys))
    if not len(rows.entries) == len(rows.statements) == len(sizes) == 1:
        return None
    named = level0_rows(rows.first_seq, rows.names)
    if len(named) > 1:
        return None
    first, (size,) = rows.first_seq, sizes
    return (
        *(first, *rows.entries[0]),
        *(first, *rows.statements[0]),
        *(b"".join(rows.unique_keys), size, size, first, rows.count - 1),
        *(named[0] if named else (first, first, 0, b"")),
        bool(named),
    )


def _copy(connection: psycopg.Connection[Any], rows: Rows) -> None:
    """Many statements: COPY, in binary."""
    tables = [
        ("entries", copies.body_rows(rows.first_seq, rows.entries)),
        ("statements", copies.body_rows(rows.first_seq, rows.statements)),
        ("unique_keys", copies.unique_rows(rows)),
        ("name_level0", copies.level0_rows(rows)),
    ]
    with connection.cursor() as cursor:
        for table, data in tables:
            if not data:
                continue
            with cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(data)


# --- reading -------------------------------------------------------------------------------------


def _read_head(connection: Connection) -> Head | None:
    row = connection.exec_driver_sql(_HEAD).one_or_none()
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


def _read_rows(connection: Connection, table: str, start: int, end: int) -> tuple[int, Sequence[Row]]:
    """The log's size, and the table's rows around start <= seq < end; none of them is cut."""
    size = connection.exec_driver_sql("SELECT tree_size FROM head").scalar() or 0
    found = connection.exec_driver_sql(_ROWS[table], (start - ROW_REACH, min(end, size) - 1)).all()
    return size, [(row[0], row[1], row[2]) for row in found]


def _read_tile(connection: Connection, level: int, index: int, width: int) -> bytes:
    """As many hashes of the tile as there are."""
    # One statement, so one moment: between two, an edge becomes a full tile.
    found = connection.exec_driver_sql(
        "SELECT hashes FROM tiles WHERE level = %s AND tile_index = %s UNION ALL"
        " SELECT hashes FROM tile_edges WHERE level = %s AND tile_index = %s",
        (level, index, level, index),
    ).all()
    if found:
        return max((bytes(row[0]) for row in found), key=len)
    if level > 0:
        return b""
    first = index * TILE_WIDTH
    size, rows = _read_rows(connection, "entries", first, first + width)
    held = spread(rows, first, min(first + width, size), entries_of)
    return b"".join(entries.leaf_hash(entry) for entry in held if entry is not None)


def _find_unique(connection: Connection, keys: list[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for start in range(0, len(keys), LOOKUP_BATCH):
        held = connection.exec_driver_sql(
            "SELECT key, seq FROM unique_keys WHERE key = ANY(%b)", (keys[start : start + LOOKUP_BATCH],)
        )
        found.update((key, seq) for key, seq in held)
    return found


def _read_key_records(connection: Connection, after_seq: int) -> list[tuple[int, bytes, bytes]]:
    records: list[tuple[int, bytes, bytes]] = []
    head = _read_head(connection)
    seq = -1 if head is None else head.keys_seq
    while seq > after_seq:
        entry, statement = (
            spread(_read_rows(connection, table, seq, seq + 1)[1], seq, seq + 1, unpack)[0]
            for table, unpack in (("entries", entries_of), ("statements", statements_of))
        )
        if not entry or statement is None:
            raise EntryMalformed("store.keys", f"the key record {seq} is gone from the database")
        records.append((seq, entry, statement))
        seq = keys_below(seq, entry)
    records.reverse()
    return records
