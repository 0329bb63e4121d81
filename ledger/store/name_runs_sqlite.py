"""Step 6 of 9: the index of names in SQLite. Beside ledger.store.sqlite, whose cursors it uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ledger.store.name_runs import Block, Level0Row, Place, level0_places

INSERT_LEVEL0 = "INSERT INTO name_level0 VALUES (?, ?, ?, ?)"
_LEVEL0_UP = "SELECT first_seq, body FROM name_level0 WHERE last_seq >= ? ORDER BY first_seq"
_LEVEL0_DOWN = "SELECT first_seq, body FROM name_level0 WHERE first_seq <= ? ORDER BY first_seq DESC"
_BLOCKS = (
    "SELECT key, seq, ordinal, body FROM name_blocks"
    " WHERE run = ?1 AND (key, seq, ordinal) {beyond} (?2, ?3, ?4)"
    " ORDER BY key {order}, seq {order}, ordinal {order}"
)
_FROM = _BLOCKS.format(beyond="<=", order="DESC") + " LIMIT ?5"
_UP = _BLOCKS.format(beyond=">", order="ASC")
_UP_SOME = _UP + " LIMIT ?5"
_DOWN = _BLOCKS.format(beyond="<", order="DESC")
# One statement for all runs: of each the block where the key's places begin, and whether more blocks follow.
_FIRST = (
    "SELECT r.run, b.key, b.seq, b.ordinal, b.body, EXISTS (SELECT 1 FROM name_blocks AS f"
    " WHERE f.run = r.run AND f.key = ?1 AND (f.seq, f.ordinal) > (?2, ?3))"
    " FROM name_runs AS r LEFT JOIN name_blocks AS b ON b.rowid = (SELECT rowid FROM name_blocks"
    " WHERE run = r.run AND (key, seq, ordinal) {beyond} (?1, ?2, ?3)"
    " ORDER BY key DESC, seq DESC, ordinal DESC LIMIT 1)"
    " WHERE r.state = 1 AND {reach} ORDER BY r.first_seq"
)
_FIRST_UP = _FIRST.format(beyond="<=", reach="r.last_seq >= ?2")
_FIRST_DOWN = _FIRST.format(beyond="<", reach="r.first_seq <= ?2") + " DESC"


def append(cursor: Any, rows: Sequence[Level0Row]) -> None:
    """Write what an append names, in its transaction."""
    if rows:
        cursor.executemany(INSERT_LEVEL0, rows)


class MergeTransaction:
    """A transaction of ledger.store.name_runs_merge."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def rows(self, query: str, *values: object) -> list[Any]:
        found: list[Any] = self._cursor.execute(query, values).fetchall()
        return found

    def run(self, statement: str, *values: object) -> None:
        self._cursor.execute(statement, values)

    def read_blocks(self, runs: Sequence[int], done: tuple[int, int, int], count: int) -> list[list[bytes]]:
        ask = self._cursor.execute
        return [
            [
                row[3]
                for query, limit in ((_FROM, 1), (_UP_SOME, count))
                for row in ask(query, (run, *done, limit)).fetchall()
            ]
            for run in runs
        ]

    def insert_level0(self, rows: Sequence[Level0Row]) -> None:
        append(self._cursor, rows)

    def insert_blocks(self, run: int, blocks: Sequence[tuple[tuple[int, int, int], bytes]]) -> None:
        self._cursor.executemany(
            "INSERT INTO name_blocks VALUES (?, ?, ?, ?, ?)", [(run, *first, body) for first, body in blocks]
        )

    def delete_blocks(self, run: int, count: int) -> int:
        self._cursor.execute(
            "DELETE FROM name_blocks WHERE rowid IN (SELECT rowid FROM name_blocks WHERE run = ? LIMIT ?)",
            (run, count),
        )
        deleted: int = self._cursor.rowcount
        return deleted


def find(cursor: Any, key: int, beyond: Place, size: int, limit: int, *, descending: bool) -> list[Place]:
    """Places of the key below `size`, beyond the one given, at most `limit`, in the order asked for.

    cursor  in a transaction that reads one snapshot

    One block of each run, about 6 µs each; further blocks of a name with many places only as they are wanted.
    """
    found = _places(cursor, key, beyond, descending=descending)
    return list(islice((place for place in found if place[0] < size), limit))


def _places(cursor: Any, key: int, beyond: Place, *, descending: bool) -> Iterator[Place]:
    if descending:
        yield from _level0(cursor, _LEVEL0_DOWN, key, beyond, descending=True)
        for run, *first, body, _ in cursor.execute(_FIRST_DOWN, (key, *beyond)).fetchall():
            if body is None:
                continue
            yield from Block(body).places(key, beyond, descending=True)
            if first[0] == key:
                yield from _further(cursor, _DOWN, run, (key, *first[1:]), key, beyond, descending=True)
        return
    for run, _, _, _, body, has_more in cursor.execute(_FIRST_UP, (key, *beyond)).fetchall():
        if body is not None:
            yield from Block(body).places(key, beyond, descending=False)
        if has_more:
            yield from _further(cursor, _UP, run, (key, *beyond), key, beyond, descending=False)
    yield from _level0(cursor, _LEVEL0_UP, key, beyond, descending=False)


def _level0(cursor: Any, query: str, key: int, beyond: Place, *, descending: bool) -> Iterator[Place]:
    for first_seq, body in cursor.execute(query, (beyond[0],)).fetchall():
        yield from level0_places(first_seq, body, key, beyond, descending=descending)


def _further(
    cursor: Any, query: str, run: int, first: tuple[int, ...], key: int, beyond: Place, *, descending: bool
) -> Iterator[Place]:
    """The key's places in a run's further blocks, read as they are wanted: there may be a million."""
    blocks = cursor.connection.cursor()
    try:
        for block_key, _, _, body in blocks.execute(query, (run, *first)):
            if block_key > key:
                return
            yield from Block(body).places(key, beyond, descending=descending)
            if block_key < key:
                return
    finally:
        blocks.close()
