"""Step 6 of 9: the index of names in PostgreSQL. Beside ledger.store.postgres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import psycopg

from ledger.store.name_runs import Block, Level0Row, Place, level0_places
from ledger.store.protocol import NAME_LIMIT_MAX

BLOCKS_MAX = 1 + NAME_LIMIT_MAX // 480  # further blocks of one run in one statement

# ruff: noqa: S608  # what is put together here is constants

# What one statement sees is one moment: runs, their blocks and level 0 belong together. Level 0 is searched
# from where the runs end, so that rows which a merge deleted and no vacuum cleared away are not walked over.
_LEVEL0 = (
    " UNION ALL SELECT 0, first_seq, NULL::bigint, NULL::bigint, NULL::bigint, body,"
    " (SELECT tree_size FROM head) FROM name_level0"
    " WHERE first_seq > (SELECT coalesce(max(last_seq), -1) FROM name_runs WHERE state = 1)"
    " AND {reach} AND position(%b::bytea IN body) > 0"
)
_UP = (
    "SELECT r.run, r.first_seq, b.key, b.seq, b.ordinal, b.body, (SELECT tree_size FROM head)"
    " FROM name_runs AS r"
    " CROSS JOIN LATERAL ("
    "(SELECT key, seq, ordinal, body FROM name_blocks WHERE run = r.run"
    " AND (key, seq, ordinal) <= (%s::bigint, %s::bigint, %s::bigint)"
    " ORDER BY key DESC, seq DESC, ordinal DESC LIMIT 1)"
    " UNION ALL "
    "(SELECT key, seq, ordinal, body FROM name_blocks WHERE run = r.run AND key = %s::bigint"
    " AND (seq, ordinal) > (%s::bigint, %s::bigint) ORDER BY seq, ordinal LIMIT %s::int)"
    ") AS b WHERE r.state = 1 AND r.last_seq >= %s::bigint"
) + _LEVEL0.format(reach="last_seq >= %s::bigint")
_DOWN = (
    "SELECT r.run, r.first_seq, b.key, b.seq, b.ordinal, b.body, (SELECT tree_size FROM head)"
    " FROM name_runs AS r"
    " CROSS JOIN LATERAL (SELECT key, seq, ordinal, body FROM name_blocks WHERE run = r.run"
    " AND (key, seq, ordinal) < (%s::bigint, %s::bigint, %s::bigint)"
    " ORDER BY key DESC, seq DESC, ordinal DESC LIMIT 1) AS a"
    " CROSS JOIN LATERAL (SELECT a.key, a.seq, a.ordinal, a.body UNION ALL "
    "(SELECT key, seq, ordinal, body FROM name_blocks WHERE a.key = %s::bigint AND run = r.run"
    " AND (key, seq, ordinal) < (a.key, a.seq, a.ordinal)"
    " ORDER BY key DESC, seq DESC, ordinal DESC LIMIT %s::int)"
    ") AS b WHERE r.state = 1 AND r.first_seq <= %s::bigint"
) + _LEVEL0.format(reach="first_seq <= %s::bigint")

Rows = list[Any]

_READ_BLOCKS = (
    "SELECT r.run, b.body FROM unnest(%s::bigint[]) AS r(run) CROSS JOIN LATERAL ("
    "(SELECT key, seq, ordinal, body FROM name_blocks WHERE run = r.run"
    " AND (key, seq, ordinal) <= (%s::bigint, %s::bigint, %s::bigint)"
    " ORDER BY key DESC, seq DESC, ordinal DESC LIMIT 1)"
    " UNION ALL "
    "(SELECT key, seq, ordinal, body FROM name_blocks WHERE run = r.run"
    " AND (key, seq, ordinal) > (%s::bigint, %s::bigint, %s::bigint)"
    " ORDER BY key, seq, ordinal LIMIT %s::bigint)"
    ") AS b ORDER BY r.run, b.key, b.seq, b.ordinal"
)

# Whoever holds it merges; it ends with the transaction. What an append wrote is durable by the append's own
# commit: a merge that a crash takes back is done again, so nobody waits for it to reach the disk.
_BEGIN_MERGE = "SELECT pg_try_advisory_xact_lock(%s::bigint), set_config('synchronous_commit', 'off', true)"
_MERGE_LOCK = 0x6E61_6D65_7275_6E73  # any number that no other program takes


class MergeTransaction:
    """A transaction of ledger.store.name_runs_merge, over the driver's connection, that has begun."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self._driver = driver

    def take_lock(self) -> bool:
        """Whether nobody else is merging."""
        row = self._driver.execute(_BEGIN_MERGE, (_MERGE_LOCK,)).fetchone()
        return bool(row and row[0])

    def rows(self, query: str, *values: object) -> Rows:
        return self._driver.execute(query.replace("?", "%s::bigint"), values).fetchall()

    def run(self, statement: str, *values: object) -> None:
        self._driver.execute(statement.replace("?", "%s::bigint"), values)

    def read_blocks(self, runs: Sequence[int], done: tuple[int, int, int], count: int) -> list[list[bytes]]:
        found: dict[int, list[bytes]] = {run: [] for run in runs}
        for run, body in self._driver.execute(_READ_BLOCKS, (list(runs), *done, *done, count)).fetchall():
            found[run].append(body)
        return list(found.values())

    def insert_level0(self, rows: Sequence[Level0Row]) -> None:
        columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
        self._driver.execute(
            "INSERT INTO name_level0 SELECT t.* FROM"
            " unnest(%s::bigint[], %s::bigint[], %s::bigint[], %b::bytea[]) AS t",
            columns,
        )

    def insert_blocks(self, run: int, blocks: Sequence[tuple[tuple[int, int, int], bytes]]) -> None:
        keys, seqs, ordinals = zip(*(first for first, _ in blocks), strict=True) if blocks else ((), (), ())
        self._driver.execute(
            "INSERT INTO name_blocks SELECT %s::bigint, t.* FROM"
            " unnest(%s::bigint[], %s::bigint[], %s::bigint[], %b::bytea[]) AS t",
            (run, list(keys), list(seqs), list(ordinals), [body for _, body in blocks]),
        )

    def delete_blocks(self, run: int, count: int) -> int:
        return self._driver.execute(
            "DELETE FROM name_blocks WHERE ctid = ANY(ARRAY("
            "SELECT ctid FROM name_blocks WHERE run = %s::bigint LIMIT %s::bigint))",
            (run, count),
        ).rowcount


def find(
    ask: Callable[[str, tuple[object, ...]], Rows], key: int, beyond: Place, limit: int, *, descending: bool
) -> list[Place]:
    """Places of the key beyond the one given, at most `limit`, in the order asked for.

    ask  runs one statement and gives its rows

    One statement, unless a run holds more of the key than one statement reads; then the search goes on from
    the last place found. It may do so on a later snapshot: places never go, and new ones come last.
    """
    found: list[Place] = []
    while True:
        wanted = limit - len(found)
        more = min(BLOCKS_MAX, 1 + wanted // 480)
        needle = key.to_bytes(8, "little", signed=True)
        if descending:
            rows = ask(_DOWN, (key, *beyond, key, more, beyond[0], beyond[0], needle))
        else:
            rows = ask(_UP, (key, *beyond, key, *beyond, more, beyond[0], beyond[0], needle))
        held, is_whole = _read(rows, key, beyond, wanted, more, descending=descending)
        found += held
        if is_whole or len(found) == limit or not held:
            return found
        beyond = found[-1]


def _read(
    rows: Rows, key: int, beyond: Place, wanted: int, more: int, *, descending: bool
) -> tuple[list[Place], bool]:
    """The first `wanted` places of one statement's rows, and whether nothing lies behind them."""
    found: list[Place] = []
    # In log order: runs hold one stretch of the log each, and level 0 (run 0) the stretches after them.
    rows.sort(key=lambda row: (row[1], row[2:5] if row[0] else ()), reverse=descending)
    for (run, first_seq), group in groupby(rows, key=lambda row: (row[0], row[1])):
        members = list(group)
        size = members[0][6] or 0
        places: list[Place] = []
        for row in members:
            if run:
                places += Block(row[5]).places(key, beyond, descending=descending)
            else:
                places += level0_places(first_seq, row[5], key, beyond, descending=descending)
        found += [place for place in places if place[0] < size]
        if len(found) >= wanted:
            return found[:wanted], False
        if run and _may_go_on(members, key, beyond, more, descending=descending):
            return found, False
    return found, True


def _may_go_on(members: Rows, key: int, beyond: Place, more: int, *, descending: bool) -> bool:
    """Whether all further blocks of a run that were asked for have come, so that others may follow."""
    if descending:
        lowest: int = min(row[2] for row in members)
        return len(members) > more and lowest == key
    count: int = sum(row[2] == key and (row[3], row[4]) > beyond for row in members)
    return count >= more
