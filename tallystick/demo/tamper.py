"""What a dishonest operator would do: alter one byte of one stored event, in a copy of the database."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from ledger.store.packing import pack, unpack


def copy_database(source: Path, target: Path) -> None:
    """A copy of a database that nobody writes at the moment, with its write-ahead log."""
    for suffix in ("", "-wal"):
        part = source.with_name(source.name + suffix)
        if part.exists():
            shutil.copyfile(part, target.with_name(target.name + suffix))


def alter_one_byte(database: Path, seq: int) -> tuple[int, str, str]:
    """Change one character in the payload of the statement at seq: (offset, before, after).

    The triggers that refuse this are dropped first: whoever owns the file can do that, which is why
    they are not what anybody relies on.
    """
    connection = sqlite3.connect(database)
    try:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        first, body = connection.execute(
            "SELECT first_seq, body FROM statements WHERE first_seq <= ? ORDER BY first_seq DESC LIMIT 1",
            (seq,),
        ).fetchone()
        statements = [statement or b"" for statement in unpack(body)]
        statement = statements[seq - first]
        offset = statement.index(b".") + 40
        before = statement[offset : offset + 1]
        after = b"B" if before == b"A" else b"A"
        statements[seq - first] = statement[:offset] + after + statement[offset + 1 :]
        # Packed again as the ledger itself would have, so that nothing but this character is different.
        connection.execute("UPDATE statements SET body = ? WHERE first_seq = ?", (pack(statements), first))
        connection.commit()
    finally:
        connection.close()
    return offset, before.decode(), after.decode()
