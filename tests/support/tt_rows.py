"""What somebody with the database in hands can do to single entries and statements within packed rows."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ledger.store.entry_rows import pack_plain, unpack_entries
from ledger.store.packing import gone, pack, unpack

# The store's own SQLite: with two in one process the locks of one mean nothing to the other, and the first to
# close takes the other's WAL away.
from ledger.store.sqlite import dbapi


def alter_entry(path: Path | str, seq: int, entry: bytes) -> None:
    """Put other bytes where an entry stands; b"" takes it away and leaves its neighbours."""
    _in_file(path, "entries", seq, entry)


def alter_statement(path: Path | str, seq: int, statement: bytes | None) -> None:
    """Put other bytes where a statement stands; None takes it away and leaves its neighbours."""
    _in_file(path, "statements", seq, statement)


def damage_row(path: Path | str, table: str, seq: int, body: bytes) -> None:
    """Put other bytes where the whole row stands that holds this one."""
    with closing(dbapi.connect(path)) as connection, connection:
        drop_triggers(connection)
        changed = connection.execute(
            f"UPDATE {table} SET body = ? WHERE ? BETWEEN first_seq AND first_seq + count - 1", (body, seq)
        )
        assert changed.rowcount == 1


def alter(connection: Connection, table: str, seq: int, value: bytes | None) -> None:
    """The same on a connection of either database, where no trigger is in the way."""
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    _alter(connection.exec_driver_sql, mark, table, seq, value)


def drop_triggers(connection: Any) -> None:
    """The triggers are theirs to drop."""
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f'DROP TRIGGER "{name}"')


def _in_file(path: Path | str, table: str, seq: int, value: bytes | None) -> None:
    with closing(dbapi.connect(path)) as connection, connection:
        drop_triggers(connection)
        _alter(connection.execute, "?", table, seq, value)


def _alter(execute: Any, mark: str, table: str, seq: int, value: bytes | None) -> None:
    first, count, body = execute(
        f"SELECT first_seq, count, body FROM {table} WHERE first_seq <= {mark}"
        " ORDER BY first_seq DESC LIMIT 1",
        (seq,),
    ).fetchone()
    if table == "entries":
        entries = list(unpack_entries(first, count, bytes(body), 0, count))
        entries[seq - first] = value or b""
        body = pack_plain(entries)
    else:
        held = unpack(bytes(body))
        held[seq - first] = value
        body = b"".join(gone(1) if raw is None else pack([raw]) for raw in held)
    changed = execute(f"UPDATE {table} SET body = {mark} WHERE first_seq = {mark}", (body, first))
    assert changed.rowcount == 1
