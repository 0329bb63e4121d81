"""Step 6 of 9: what every database's store does alike. Below ledger.store.sqlite and .postgres."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeAlias

from ledger import entry as entries
from ledger.errors import EntryMalformed, NotInLog, RecordDamaged
from ledger.store.entry_rows import ROW_COUNT_MAX, unpack_entries
from ledger.store.packing import unpack, unpack_one, unpack_signed
from ledger.store.protocol import RECORDS_MAX, UNIQUE_KEY_SIZE_MAX, Head

READ_SPAN_MAX = 65_536  # entries one read may ask for
SEQ_MAX = 2**63 - 1
ROW_REACH = ROW_COUNT_MAX - 1  # how far before a position the row that holds it may begin


Row: TypeAlias = tuple[int, int, bytes]  # first_seq, count, body


class RowReader(ABC):
    """The questions of a LedgerStore that come down to its head and a span of rows."""

    @abstractmethod
    def read_head(self) -> Head | None: ...

    @abstractmethod
    def _read_rows(self, table: str, start: int, end: int) -> tuple[int, Sequence[Row]]:
        """The log's size, and the rows that hold start <= seq < end, ascending; perhaps more before them."""

    @abstractmethod
    def _read_rows_at(self, seqs: Sequence[int]) -> tuple[int, list[Row], list[Row]]:
        """The log's size, and of entries and of statements the rows that hold these rising positions, rising.

        Rows beside them may come as well.
        """

    def read_checkpoint(self) -> bytes:
        head = self.read_head()
        if head is None:
            raise NotInLog("store.empty", "the ledger has no genesis yet, so no checkpoint")
        return head.checkpoint

    def read_entry(self, seq: int) -> bytes:
        entry = self.read_entries(seq, seq + 1)
        if not entry:
            raise NotInLog("store.seq", f"the log has no entry {seq} yet")
        return entry[0]

    def read_statement(self, seq: int) -> bytes | None:
        statement = self.read_statements(seq, seq + 1)
        if not statement:
            raise NotInLog("store.seq", f"the log has no entry {seq} yet")
        return statement[0]

    def read_entries(self, start: int, end: int) -> list[bytes]:
        return [entry or b"" for entry in self._read_span("entries", start, end, entries_of)]

    def read_statements(self, start: int, end: int) -> list[bytes | None]:
        return self._read_span("statements", start, end, statements_of)

    def read_signed_statements(self, start: int, end: int) -> list[bytes | None]:
        """The same, as JwsText where that is to be had: for an audit, which decodes them all."""
        return self._read_span("statements", start, end, signed_statements_of)

    def read_records(self, seqs: Sequence[int]) -> list[tuple[bytes, bytes | None]]:
        wanted = sorted(set(seqs))
        if not wanted:
            return []
        if len(wanted) > RECORDS_MAX or wanted[0] < 0:
            raise NotInLog("store.span", f"{len(wanted)} positions: from 0, at most {RECORDS_MAX} at once")
        size, entry_rows, statement_rows = self._read_rows_at([min(seq, SEQ_MAX) for seq in wanted])
        if wanted[-1] >= size:
            raise NotInLog("store.seq", f"the log has no entry {wanted[-1]} yet")
        entries = _picked(entry_rows, wanted, entries_of)
        statements = _picked(statement_rows, wanted, statements_of)
        return [(entries.get(seq) or b"", statements.get(seq)) for seq in seqs]

    def _read_span(self, table: str, start: int, end: int, unpack: Unpack) -> list[bytes | None]:
        require_span(start, end)
        size, rows = self._read_rows(table, start, end)
        return spread(rows, start, min(end, size), unpack)


def _picked(rows: Iterable[Row], seqs: Sequence[int], unpack: Unpack) -> dict[int, bytes | None]:
    """The values at these rising positions, as far as a row holds them."""
    found: dict[int, bytes | None] = {}
    for first, count, body in rows:
        some = seqs[bisect_left(seqs, first) : bisect_left(seqs, first + count)]
        if some:
            low, high = some[0] - first, some[-1] - first + 1
            held = unpack(first, count, body, low, high)
            found.update((seq, held[seq - some[0]]) for seq in some)
    return found


Unpack: TypeAlias = Callable[[int, int, bytes, int, int], Sequence[bytes | None]]


def select_rows(mark: str) -> dict[str, str]:
    """For each of the two tables of rows: those that begin from one position to another."""
    select = f"SELECT first_seq, count, body FROM {{}} WHERE first_seq BETWEEN {mark} AND {mark}"  # noqa: S608
    return {table: select.format(table) + " ORDER BY first_seq" for table in ("entries", "statements")}


def require_span(start: int, end: int) -> None:
    if start < 0 or end - start > READ_SPAN_MAX:
        raise NotInLog("store.span", f"positions {start} to {end}: from 0, at most {READ_SPAN_MAX} at once")


def spread(rows: Iterable[Row], start: int, end: int, unpack: Unpack) -> list[bytes | None]:
    """One value a position of start <= seq < end, None where no row holds it."""
    found: list[bytes | None] = []
    for first, count, body in rows:
        at = start + len(found)
        low, high = max(at, first), min(end, first + count)
        if low < high:
            found.extend([None] * (low - at))
            found.extend(unpack(first, count, body, low - first, high - first))
    found.extend([None] * (end - start - len(found)))
    return found


def entries_of(first: int, count: int, body: bytes, low: int, high: int) -> Sequence[bytes | None]:
    """Entries of a row; the row's own bytes where it cannot be unpacked."""
    try:
        return unpack_entries(first, count, body, low, high)
    except RecordDamaged:
        return [body] * (high - low)


def statements_of(first: int, count: int, body: bytes, low: int, high: int) -> Sequence[bytes | None]:
    """Statements of a row; the row's own bytes where it cannot be unpacked."""
    try:
        if high - low == 1:
            return [unpack_one(body, low)]
        held = unpack(body)
        if len(held) == count:
            return held[low:high]
    except RecordDamaged:
        pass
    return [body] * (high - low)


def signed_statements_of(first: int, count: int, body: bytes, low: int, high: int) -> Sequence[bytes | None]:
    """The same, as JwsText where that is to be had."""
    try:
        held = unpack_signed(body)
        if len(held) == count:
            return held[low:high]
    except RecordDamaged:
        pass
    return [body] * (high - low)


def keys_below(seq: int, entry: bytes) -> int:
    """Follow one `keys` link. It leads down, or the walk would never end."""
    parsed = entries.parse(entry)
    if parsed.seq != seq:
        raise EntryMalformed("store.keys", f"the entry at {seq} says that it is {parsed.seq}", "/seq")
    return parsed.keys if seq > 0 else -1


def require_keys(keys: Sequence[bytes]) -> None:
    """Raise ValueError for a unique key beyond its bounds."""
    sizes = set(map(len, keys))
    if sizes and not 1 <= min(sizes) <= max(sizes) <= UNIQUE_KEY_SIZE_MAX:
        raise ValueError(f"a unique key has 1..{UNIQUE_KEY_SIZE_MAX} bytes, not {sorted(sizes)}")


def numbered(first: int, rows: Iterable[tuple[int, bytes]]) -> list[Row]:
    """Rows with the position each begins at."""
    found: list[Row] = []
    for count, body in rows:
        found.append((first, count, body))
        first += count
    return found


def time_of(text: str | None) -> datetime | None:
    """A moment as the head's row holds it."""
    return None if text is None else entries.parse_time(text)


def text_of(moment: datetime | None) -> str | None:
    """A moment for the head's row."""
    return None if moment is None else entries.render_time(moment)
