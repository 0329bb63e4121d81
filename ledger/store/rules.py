"""Step 6 of 9: what every database's store does alike. Below ledger.store.sqlite and .postgres."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ledger import entry as entries
from ledger.errors import EntryMalformed
from ledger.store.protocol import UNIQUE_KEY_SIZE_MAX, Record

READ_SPAN_MAX = 65_536  # entries one read may ask for
SEQ_MAX = 2**63 - 1
SPAN_GROWTH = 8  # segments searched at once: 1, then 8, then 64…


def segment_spans(from_seq: int, size: int, bits: int, *, descending: bool) -> Iterator[tuple[int, int]]:
    """Cut the segments to search into growing spans: a busy name answers at once, a rare one soon."""
    first, last = 0, (size - 1) >> bits
    if descending:
        last = min(last, from_seq >> bits)
    else:
        first = max(first, from_seq >> bits)
    width = 1
    while first <= last:
        if descending:
            yield max(first, last - width + 1), last
            last -= width
        else:
            yield first, min(last, first + width - 1)
            first += width
        width *= SPAN_GROWTH


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
