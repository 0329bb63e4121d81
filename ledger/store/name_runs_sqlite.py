"""Step 6 of 9: the index of names in SQLite. Beside ledger.store.sqlite, whose cursors it uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ledger.store.name_runs import Block, Level0Row, Place, level0_places

INSERT_LEVEL0 = "INSERT INTO name_level0 VALUES (?, ?, ?, ?)"
_RUNS = "SELECT run, first_seq, last_seq FROM name_runs WHERE state = 1 ORDER BY first_seq"
_LEVEL0 = "SELECT first_seq, body FROM name_level0 WHERE last_seq >= ? ORDER BY first_seq"
_LEVEL0_DOWN = "SELECT first_seq, body FROM name_level0 WHERE first_seq <= ? ORDER BY first_seq DESC"
_BLOCKS = (
    "SELECT key, seq, ordinal, body FROM name_blocks"
    " WHERE run = ?1 AND (key, seq, ordinal) {beyond} (?2, ?3, ?4)"
    " ORDER BY key {order}, seq {order}, ordinal {order}"
)
_FROM = _BLOCKS.format(beyond="<=", order="DESC") + " LIMIT 1"
_UP = _BLOCKS.format(beyond=">", order="ASC")
_DOWN = _BLOCKS.format(beyond="<", order="DESC")


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

    Runs are asked one after another in log order, and only until there are enough. One block a run.
    """
    found = _places(cursor, key, beyond, descending=descending)
    return list(islice((place for place in found if place[0] < size), limit))


def _places(cursor: Any, key: int, beyond: Place, *, descending: bool) -> Iterator[Place]:
    runs = cursor.execute(_RUNS).fetchall()
    if descending:
        yield from _level0(cursor, key, beyond, descending=True)
        for run, first_seq, _ in reversed(runs):
            if first_seq <= beyond[0]:
                yield from _down(cursor, run, key, beyond)
        return
    for run, _, last_seq in runs:
        if last_seq >= beyond[0]:
            yield from _up(cursor, run, key, beyond)
    yield from _level0(cursor, key, beyond, descending=False)


def _level0(cursor: Any, key: int, beyond: Place, *, descending: bool) -> Iterator[Place]:
    rows = cursor.execute(_LEVEL0_DOWN if descending else _LEVEL0, (beyond[0],)).fetchall()
    for first_seq, body in rows:
        yield from level0_places(first_seq, body, key, beyond, descending=descending)


def _up(cursor: Any, run: int, key: int, beyond: Place) -> Iterator[Place]:
    first = cursor.execute(_FROM, (run, key, *beyond)).fetchone()
    if first is not None:
        block = Block(first[3])
        yield from block.places(key, beyond, descending=False)
        if block.last_key > key:
            return
    # The block that starts behind `beyond`, and those after it. A cursor of its own: the caller may stop.
    following = cursor.connection.cursor()
    try:
        for block_key, _, _, body in following.execute(_UP, (run, key, *beyond)):
            if block_key > key:
                return
            block = Block(body)
            yield from block.places(key, beyond, descending=False)
            if block.last_key > key:
                return
    finally:
        following.close()


def _down(cursor: Any, run: int, key: int, beyond: Place) -> Iterator[Place]:
    following = cursor.connection.cursor()
    try:
        for block_key, _, _, body in following.execute(_DOWN, (run, key, *beyond)):
            yield from Block(body).places(key, beyond, descending=True)
            if block_key < key:
                return
    finally:
        following.close()
