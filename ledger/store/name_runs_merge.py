"""Step 6 of 9: merging the index of names, in small steps, behind the log's back. Over both stores.

    level 0   one row an append, unsorted      LEVEL0_ROWS_MAX rows or LEVEL0_NAMES_MAX names become a run of
    level 1   sorted runs                      FAN_IN neighbouring runs of one level become one of the next,
    level 2   sorted runs, FAN_IN times longer and so on

Every step is one transaction of a few milliseconds and complete in itself: what it needs to know, it reads,
so that after a kill -9, or on another machine, the next step simply goes on. A run that is being written is
in state BUILDING, and nobody reads it; the step that completes it makes it VISIBLE and its sources RETIRED
at once; retired runs are then deleted in slices, with other steps or alone. So a search, which reads one
snapshot, finds a place once.

Only the process that writes the log merges; of several, on PostgreSQL, one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ledger.store.name_runs import (
    BLOCK,
    BLOCK_SIZE_MAX,
    FORMAT,
    Level0Row,
    block_columns,
    damaged,
    level0_parts,
    level0_rows,
)

BUILDING, VISIBLE, RETIRED = 0, 1, 2

# A search scans level 0 and reads a block of every run: these bound its cost. More runs at a time would mean
# fewer rewritings of each name (one a level), and more runs to search.
LEVEL0_ROWS_MAX = 128
LEVEL0_NAMES_MAX = 32_768
FAN_IN = 8
# One step: a few milliseconds, so that an append waits for it hardly longer than for its own commit.
STEP_NAMES_MAX = 24_576
STEP_BLOCKS_DELETED = 256
STEP_BLOCKS_FREED = (
    64  # with each step that writes blocks, and writes fewer: under load too, space comes back
)
LOOK_INTERVAL_S = 0.02  # how long it is believed that nothing is due
# From here on merging takes turns with appends: when so many times as much waits at level 0 as is sorted at
# once, and when a merge is behind its pace.
OVERDUE = 1.5
PACE = 2  # names of a merge that are to be done for each name that has come since its sources were complete

Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # keys, seqs, ordinals
Row = tuple[int, int, int]  # key, seq, ordinal

_NAME = np.dtype([("key", "<i8"), ("ordinal", "<u4")])
_LOWEST: Row = (-(2**63), -1, -1)


class Transaction(Protocol):
    """One transaction of the writer's database. `?` marks a value."""

    def rows(self, query: str, *values: object) -> list[Any]: ...

    def run(self, statement: str, *values: object) -> None: ...

    def read_blocks(self, runs: Sequence[int], done: Row, count: int) -> list[list[bytes]]:
        """Of each run the block that begins at or before `done`, if there is one, and `count` after it."""
        ...

    def insert_level0(self, rows: Sequence[Level0Row]) -> None: ...

    def insert_blocks(self, run: int, blocks: Sequence[tuple[Row, bytes]]) -> None: ...

    def delete_blocks(self, run: int, count: int) -> int:
        """Delete up to so many blocks of a run; how many there were."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    run: int
    level: int
    state: int
    first_seq: int
    last_seq: int
    names: int


@dataclass(frozen=True, slots=True)
class _State:
    """What there is to merge."""

    level0_rows: int
    level0_names: int
    runs: list[Run]  # in log order

    def jobs(self) -> list[tuple[float, str, int]]:
        """(how urgent, what, at which level), from 1.0 on due; the most urgent first.

        A merge is paced by what comes in, so that one of a hundred million names is as little in the way of
        appends as one of a thousand: it is done when half as many names have come as it has.
        """
        due = max(self.level0_rows / LEVEL0_ROWS_MAX, self.level0_names / LEVEL0_NAMES_MAX)
        jobs = [(due, "sort", 0)]
        for level in sorted({run.level for run in self.runs}):
            # What is deleted late is disk space, and nothing else waits for it.
            retired = sum(run.state == RETIRED and run.level == level for run in self.runs)
            if retired:
                jobs.append((1.0, "delete", level))
            sources, building = self.merge_at(level)
            if sources:
                size = sum(run.names for run in sources)
                ahead = (0 if building is None else building.names) - PACE * self._names_after(sources[-1])
                jobs.append((max(1.0, OVERDUE - ahead / max(1, size)), "merge", level))
        return sorted((job for job in jobs if job[0] >= 1.0), key=lambda job: (-job[0], job[2]))

    def merge_at(self, level: int) -> tuple[list[Run], Run | None]:
        """The runs of this level that are or can be merged into one, and the one, if it was begun."""
        waiting = [run for run in self.runs if run.state == VISIBLE and run.level == level]
        building = next((r for r in self.runs if r.state == BUILDING and r.level == level + 1), None)
        if building is not None:
            return [run for run in waiting if run.last_seq <= building.last_seq], building
        return (waiting[:FAN_IN] if len(waiting) >= FAN_IN else []), None

    def _names_after(self, last: Run) -> int:
        later = (run for run in self.runs if run.state == VISIBLE and run.first_seq > last.last_seq)
        return self.level0_names + sum(run.names for run in later)


class NameIndex:
    """Keeps the runs few. Belongs to the thread that appends.

    transaction  opens a transaction in which nobody else merges; gives None where somebody else does
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Transaction | None]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transaction = transaction
        self._monotonic = monotonic
        self._urgency = 1.0  # of the most urgent job, as last seen; at first nobody has looked
        self._looked_at = -LOOK_INTERVAL_S

    def maintain(self, budget_s: float) -> bool:
        """Take steps until the time is over (the last one ends after it); whether there may be more to do.

        Raises StoreFailed where the database refuses; then nothing of that step happened. Where nothing was
        due a moment ago, nothing is asked.
        """
        return self._take_steps(budget_s, 1.0)

    def keep_up(self, budget_s: float) -> bool:
        """Like maintain(), but only what is overdue: for the moments between appends."""
        return self._take_steps(budget_s, OVERDUE)

    def step(self, least: float = 1.0) -> bool:
        """Take one step in one transaction; False where nothing was as urgent as that."""
        with self._transaction() as transaction:
            self._looked_at = self._monotonic()
            self._urgency = 0.0
            if transaction is None:
                return False
            self._urgency, done = _take_step(transaction, least)
            return done

    def _take_steps(self, budget_s: float, least: float) -> bool:
        now = self._monotonic()
        end = now + budget_s
        while self._urgency >= least or now - self._looked_at >= LOOK_INTERVAL_S:
            if not self.step(least):
                return False
            now = self._monotonic()
            if now >= end:
                return True
        return False


def rebuild(transaction: Transaction, names_of_each: Iterable[Sequence[bytes]]) -> int:
    """Make the index anew from the statements; how many names it holds. Searches see the old till the commit.

    names_of_each  what each entry names, packed (b"": nothing), from entry 0 on, in portions of any size
    For an index that was damaged, by whoever may take long: the transaction holds the writer until its end.
    """
    transaction.run("DELETE FROM name_level0")
    transaction.run("DELETE FROM name_blocks")
    transaction.run("DELETE FROM name_runs")
    seq = names = 0
    for portion in names_of_each:
        rows = level0_rows(seq, portion)
        transaction.insert_level0(rows)
        seq += len(portion)
        names += sum(row[2] for row in rows)
        while _take_step(transaction, 1.0)[1]:
            pass
    return names


# --- the steps -----------------------------------------------------------------------------------


def _take_step(transaction: Transaction, least: float) -> tuple[float, bool]:
    """How urgent the most urgent job was, and whether that was enough, and so a step of it taken."""
    state = _read_state(transaction)
    jobs = state.jobs()
    if not jobs:
        return 0.0, False
    urgency, what, level = jobs[0]
    if urgency < least:
        return urgency, False
    retired = sorted((run for run in state.runs if run.state == RETIRED), key=lambda run: run.level)
    if what == "delete":
        _delete(transaction, retired[0], STEP_BLOCKS_DELETED)
        return urgency, True
    if what == "sort":
        _sort_level0(transaction, state)
    else:
        _merge(transaction, state, level)
    if retired:
        _delete(transaction, retired[0], STEP_BLOCKS_FREED)
    return urgency, True


def _read_state(transaction: Transaction) -> _State:
    found = transaction.rows(
        "SELECT run, level, state, first_seq, last_seq, names FROM name_runs ORDER BY first_seq, run"
    )
    runs = [Run(*row) for row in found]
    end = max((run.last_seq for run in runs if run.state == VISIBLE), default=-1)
    # From where the runs end: PostgreSQL may not have cleared away yet what was deleted before it.
    ((rows, names),) = transaction.rows(
        "SELECT count(*), coalesce(sum(names), 0) FROM name_level0 WHERE first_seq > ?", end
    )
    return _State(int(rows), int(names), runs)


def _next_run(state: _State) -> int:
    return 1 + max((run.run for run in state.runs), default=0)


def _sort_level0(transaction: Transaction, state: _State) -> None:
    """The oldest rows of level 0 become a run of level 1."""
    end = max((run.last_seq for run in state.runs if run.state == VISIBLE), default=-1)
    rows = transaction.rows(
        "SELECT first_seq, last_seq, names, body FROM name_level0 WHERE first_seq > ?"
        " ORDER BY first_seq LIMIT ?",
        end,
        LEVEL0_ROWS_MAX,
    )
    taken = 0
    names = 0
    while taken < len(rows) and (taken == 0 or names + rows[taken][2] <= LEVEL0_NAMES_MAX):
        names += rows[taken][2]
        taken += 1
    rows = rows[:taken]
    first_seq, last_seq = rows[0][0], rows[-1][1]
    columns = sort(_joined([_level0_columns(row[0], row[3]) for row in rows]))
    run = _next_run(state)
    transaction.insert_blocks(run, list(blocks_of(columns)))
    transaction.run(
        "INSERT INTO name_runs VALUES (?, 1, ?, ?, ?, ?)", run, VISIBLE, first_seq, last_seq, len(columns[0])
    )
    transaction.run("DELETE FROM name_level0 WHERE first_seq >= ? AND first_seq <= ?", first_seq, rows[-1][0])


def _merge(transaction: Transaction, state: _State, level: int) -> None:
    """Carry on with the run that is being built from this level's oldest ones, or begin it."""
    sources, building = state.merge_at(level)
    if building is None:
        run = _next_run(state)
        first_seq, last_seq = sources[0].first_seq, sources[-1].last_seq
        transaction.run(
            "INSERT INTO name_runs VALUES (?, ?, ?, ?, ?, 0)", run, level + 1, BUILDING, first_seq, last_seq
        )
        done = _LOWEST
        names = 0
    else:
        run, names = building.run, building.names
        done = _last_row(transaction, run)
    columns, is_last = _next_rows(transaction, sources, done)
    blocks = list(blocks_of(columns))
    if not is_last and len(blocks) > 1:
        blocks.pop()  # it may not be full: the next step begins with it
    transaction.insert_blocks(run, blocks)
    names += sum(BLOCK.unpack_from(body)[3] for _, body in blocks)
    transaction.run(
        "UPDATE name_runs SET names = ?, state = ? WHERE run = ?",
        names,
        VISIBLE if is_last else BUILDING,
        run,
    )
    if is_last:
        for source in sources:
            transaction.run("UPDATE name_runs SET state = ? WHERE run = ?", RETIRED, source.run)


def _delete(transaction: Transaction, run: Run, count: int) -> None:
    """Delete a slice of a retired run."""
    if transaction.delete_blocks(run.run, count) < count:
        transaction.run("DELETE FROM name_runs WHERE run = ?", run.run)


def _last_row(transaction: Transaction, run: int) -> Row:
    """How far a run has come that is being built."""
    rows = transaction.rows(
        "SELECT body FROM name_blocks WHERE run = ? ORDER BY key DESC, seq DESC, ordinal DESC LIMIT 1", run
    )
    if not rows:
        return _LOWEST
    keys, seqs, ordinals = _block_columns(rows[0][0])
    return int(keys[-1]), int(seqs[-1]), int(ordinals[-1])


def _next_rows(transaction: Transaction, sources: Sequence[Run], done: Row) -> tuple[Columns, bool]:
    """The sources' next rows beyond `done`, sorted, and whether they are the last ones."""
    share = max(2, STEP_NAMES_MAX // (BLOCK_SIZE_MAX // 12) // len(sources))
    parts: list[Columns] = []
    bound: Row | None = None  # beyond it a source has rows that were not read
    for rows in transaction.read_blocks([source.run for source in sources], done, share + 1):
        has_more = len(rows) > share
        columns = _joined([_block_columns(body) for body in (rows[:share] if has_more else rows)])
        if has_more:
            last: Row = (int(columns[0][-1]), int(columns[1][-1]), int(columns[2][-1]))
            bound = last if bound is None else min(bound, last)
        parts.append(_cut(columns, done))
    keys, seqs, ordinals = _joined([part if bound is None else _cut_above(part, bound) for part in parts])
    # The sources lie in log order and each is sorted: a stable sort by key leaves the rest as it must be, and
    # is quick on what is sorted in parts.
    order = np.argsort(keys, kind="stable")
    return (keys[order], seqs[order], ordinals[order]), bound is None


# --- columns -------------------------------------------------------------------------------------


def _cut(columns: Columns, done: Row) -> Columns:
    """The rows beyond `done`, of sorted columns."""
    at = _position(columns, done)
    return columns[0][at:], columns[1][at:], columns[2][at:]


def _cut_above(columns: Columns, bound: Row) -> Columns:
    """The rows up to `bound`, of sorted columns."""
    at = _position(columns, bound)
    return columns[0][:at], columns[1][:at], columns[2][:at]


def _position(columns: Columns, row: Row) -> int:
    """How many of the sorted rows are not beyond this one."""
    keys, seqs, ordinals = columns
    key, seq, ordinal = row
    low, high = int(np.searchsorted(keys, key, "left")), int(np.searchsorted(keys, key, "right"))
    low, high = (
        low + int(np.searchsorted(seqs[low:high], seq, "left")),
        low + int(np.searchsorted(seqs[low:high], seq, "right")),
    )
    return low + int(np.searchsorted(ordinals[low:high], ordinal, "right"))


def _joined(parts: Sequence[Columns]) -> Columns:
    if not parts:
        empty = np.empty(0, np.int64)
        return empty, empty, empty
    if len(parts) == 1:
        return parts[0]
    keys, seqs, ordinals = zip(*parts, strict=True)
    return np.concatenate(keys), np.concatenate(seqs), np.concatenate(ordinals)


def sort(columns: Columns) -> Columns:
    """By key, seq and ordinal; each row once."""
    keys, seqs, ordinals = columns
    order = np.argsort(keys)  # five times as fast as a stable sort, which only equal keys need
    in_order = keys[order]
    same = in_order[1:] == in_order[:-1]
    if not same.any():
        return in_order, seqs[order], ordinals[order]
    tied = np.flatnonzero(np.concatenate((same, [False])) | np.concatenate(([False], same)))
    rows = order[tied]
    order[tied] = rows[np.lexsort((ordinals[rows], seqs[rows], keys[rows]))]
    seqs, ordinals = seqs[order], ordinals[order]
    twice = same & (seqs[1:] == seqs[:-1]) & (ordinals[1:] == ordinals[:-1])
    if not twice.any():
        return in_order, seqs, ordinals
    once = np.concatenate(([True], ~twice))
    return in_order[once], seqs[once], ordinals[once]


def blocks_of(columns: Columns) -> Iterator[tuple[Row, bytes]]:
    """Cut sorted rows into blocks, each with its first row."""
    keys, seqs, ordinals = columns
    if not len(keys):
        return
    seq_size = 4 if int(seqs.max()) - int(seqs.min()) < 1 << 32 else 8
    ordinal_size = 4 if ordinals.any() else 0
    count_max = (BLOCK_SIZE_MAX - BLOCK.size) // (8 + seq_size + ordinal_size)
    key_bytes = keys.astype("<i8", copy=False)
    for start in range(0, len(keys), count_max):
        part = slice(start, start + count_max)
        base = int(seqs[part].min())
        yield (
            (int(keys[start]), int(seqs[start]), int(ordinals[start])),
            b"".join(
                (
                    BLOCK.pack(FORMAT, seq_size, ordinal_size, len(keys[part]), base),
                    key_bytes[part].tobytes(),
                    (seqs[part] - base).astype(f"<u{seq_size}").tobytes(),
                    ordinals[part].astype("<u4").tobytes() if ordinal_size else b"",
                )
            ),
        )


def _block_columns(body: bytes) -> Columns:
    base, keys, seq_size, seqs, ordinal_size, ordinals = block_columns(body)
    key_column = np.frombuffer(keys, "<i8").astype(np.int64, copy=False)
    seq_column = np.frombuffer(seqs, f"<u{seq_size}").astype(np.int64) + base
    if not ordinal_size:
        return key_column, seq_column, np.zeros(len(key_column), np.int64)
    return key_column, seq_column, np.frombuffer(ordinals, "<u4").astype(np.int64)


def _level0_columns(first_seq: int, body: bytes) -> Columns:
    counts, packed = level0_parts(body)
    each = np.frombuffer(counts, "<u4").astype(np.int64)
    names = np.frombuffer(packed, _NAME)
    if int(each.sum()) != len(names):
        raise damaged("a row of level 0 counts other names than it has")
    seqs = np.repeat(np.arange(first_seq, first_seq + len(each), dtype=np.int64), each)
    return names["key"].astype(np.int64), seqs, names["ordinal"].astype(np.int64)
