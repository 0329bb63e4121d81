"""An index of names beside the plainest one there could be: a dictionary."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence

from ledger.store import name_runs, name_runs_merge

HEAD = (
    "INSERT INTO head (id, tree_size, root_hash, last_leaf_hash, keys_seq, checkpoint, published, events)"
    " VALUES (1, 1, {zero}, {zero}, 0, {zero}, {zero}, 1)"
)
SMALL = {
    "LEVEL0_ROWS_MAX": 3,
    "LEVEL0_NAMES_MAX": 40,
    "FAN_IN": 2,
    "STEP_NAMES_MAX": 30,
    "STEP_BLOCKS_DELETED": 3,
    "STEP_BLOCKS_FREED": 2,
    "BLOCK_SIZE_MAX": 100,
}


class Indexed:
    """Names of entries without the entries: level 0 is written as an append writes it, and the head moved."""

    def __init__(self, store) -> None:
        self.store = store
        self.index = new_index(store)
        self.is_sqlite = store.engine.dialect.name == "sqlite"
        self.size = 1
        self.places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        with store.engine.begin() as connection:
            zero = "x'00'" if self.is_sqlite else "'\\x00'::bytea"
            connection.exec_driver_sql(HEAD.format(zero=zero))

    def clear(self) -> None:
        """Begin anew behind the entries that there are."""
        self.places.clear()
        self.index = new_index(self.store)
        with self.store.engine.begin() as connection:
            for table in ("name_level0", "name_runs", "name_blocks"):
                connection.exec_driver_sql(f"DELETE FROM {table}")

    def append(self, names_of_each: Sequence[Sequence[tuple[int, int]]]) -> None:
        """names_of_each: for each entry its (ordinal, key) pairs."""
        rows = name_runs.level0_rows(self.size, [name_runs.pack_names(names) for names in names_of_each])
        mark = "?" if self.is_sqlite else "%s"
        with self.store.engine.begin() as connection:
            if rows:
                connection.exec_driver_sql(f"INSERT INTO name_level0 VALUES ({', '.join([mark] * 4)})", rows)
            for seq, names in enumerate(names_of_each, self.size):
                for ordinal, key in sorted(set(names)):
                    self.places[key].append((seq, ordinal))
            self.size += len(names_of_each)
            connection.exec_driver_sql(f"UPDATE head SET tree_size = {mark}", (self.size,))

    def check(
        self, key: int, after: tuple[int, int] | None, limit: int, *, descending: bool, reader=None
    ) -> None:
        """The search gives what the dictionary gives."""
        expected = sorted(self.places[key], reverse=descending)
        if after is not None:
            expected = [place for place in expected if (place < after if descending else place > after)]
        found = (reader or self.store).find_name(key, after=after, limit=limit, descending=descending)
        assert found == expected[:limit]

    def check_all(self, reader=None) -> None:
        for key in self.places:
            for descending in (False, True):
                self.check(key, None, 10_000, descending=descending, reader=reader)

    def states(self) -> list[tuple[int, int]]:
        """(level, state) of every run, in log order."""
        with self.store.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT level, state FROM name_runs ORDER BY first_seq, run")
            return [(level, state) for level, state in rows]


def new_index(store) -> name_runs_merge.NameIndex:
    """One that always looks: its clock leaps."""
    return name_runs_merge.NameIndex(store.merging, itertools.count(0.0, 1.0).__next__)


def grow(indexed: Indexed, chance: random.Random, keys: Sequence[int], *, commits: int) -> None:
    """Some appends of some entries with some of the keys."""
    for _ in range(commits):
        indexed.append(
            [
                [(chance.choice((0, 0, 1, 5)), chance.choice(keys)) for _ in range(chance.randrange(6))]
                for _ in range(chance.randrange(1, 5))
            ]
        )
