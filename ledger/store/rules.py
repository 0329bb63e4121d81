"""Step 6 of 9: what every database's store does alike. Below ledger.store.sqlite and .postgres."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime

from ledger import entry as entries
from ledger.errors import EntryMalformed, NotInLog
from ledger.store.protocol import UNIQUE_KEY_SIZE_MAX, Head, Record

READ_SPAN_MAX = 65_536  # entries one read may ask for
SEQ_MAX = 2**63 - 1


class RowReader(ABC):
    """The questions of a LedgerStore that come down to its head and a span of rows."""

    @abstractmethod
    def read_head(self) -> Head | None: ...

    @abstractmethod
    def _read_span(self, select: str, start: int, end: int) -> list[bytes | None]:
        """One value a position of `start <= seq < end`, None where a row is gone; up to the head."""

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
        return [row or b"" for row in self._read_span("SELECT seq, entry FROM entries", start, end)]

    def read_statements(self, start: int, end: int) -> list[bytes | None]:
        return self._read_span("SELECT seq, body FROM statements", start, end)


def keys_below(seq: int, entry: bytes) -> int:
    """Follow one `keys` link. It leads down, or the walk would never end."""
    parsed = entries.parse(entry)
    if parsed.seq != seq:
        raise EntryMalformed("store.keys", f"the entry at {seq} says that it is {parsed.seq}", "/seq")
    return parsed.keys if seq > 0 else -1


def unique_key(record: Record) -> bytes:
    """The record's key, within its bounds."""
    if not 1 <= len(record.unique_key) <= UNIQUE_KEY_SIZE_MAX:
        raise ValueError(f"a unique key has 1..{UNIQUE_KEY_SIZE_MAX} bytes, not {len(record.unique_key)}")
    return record.unique_key


def time_of(text: str | None) -> datetime | None:
    """A moment as the head's row holds it."""
    return None if text is None else entries.parse_time(text)


def text_of(moment: datetime | None) -> str | None:
    """A moment for the head's row."""
    return None if moment is None else entries.render_time(moment)
