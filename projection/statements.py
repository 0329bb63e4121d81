"""Step 8 of 9: from rows of the ledger to the events in them, for the projector and for answers.

Nothing is verified again here: what was admitted was verified, and an audit finds what was altered since.
What cannot be read holds no events.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol

import orjson

from keys.errors import Fault
from ledger.store.protocol import RECORDS_MAX
from traceability.readers import READERS, Content, read_content

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RECORDED = re.compile(rb'"recorded_at":"([0-9T:.\-]{26})Z"')
_PLAIN = bytes.maketrans(b"-_", b"+/")


class LedgerReader(Protocol):
    """What the projection needs of a ledger; a LedgerStore is one."""

    def read_entries(self, start: int, end: int) -> Sequence[bytes]: ...

    def read_statements(self, start: int, end: int) -> Sequence[bytes | None]: ...


class RecordsReader(LedgerReader, Protocol):
    """The ledger as answers read it: here and there."""

    def read_records(self, seqs: Sequence[int]) -> list[tuple[bytes, bytes | None]]: ...


def content_of(raw: bytes) -> Content | None:
    """What a stored statement says; None for one that is no event's, or cannot be read.

    About 6 µs for 1 KB; 60 µs an event where they must be derived from XML.
    """
    try:
        header64, payload64, _ = raw.split(b".")
        typ = orjson.loads(_decode(header64))["typ"]
        if typ not in READERS:
            return None
        return read_content(typ, _decode(payload64))
    except (ValueError, KeyError, TypeError, Fault):
        return None


def events_of(raw: bytes) -> list[tuple[int, dict[str, Any]]]:
    """(ordinal, event) of each event in a stored statement, each with all of its @context."""
    content = content_of(raw)
    return [] if content is None else list(content.bare_events())


def recorded_at(entry: bytes) -> int:
    """An entry's recorded_at in microseconds since 1970; 0 where there is none."""
    match = _RECORDED.search(entry)
    return 0 if match is None else _microseconds(match[1])


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - EPOCH) // _MICROSECOND


def moment_of(value: int) -> datetime:
    """The moment, aware UTC, of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=value)


def read_many(ledger: RecordsReader, seqs: Iterable[int]) -> Iterator[tuple[int, bytes, bytes | None]]:
    """(seq, entry, statement) of these positions, ascending."""
    wanted = sorted(set(seqs))
    for start in range(0, len(wanted), RECORDS_MAX):
        some = wanted[start : start + RECORDS_MAX]
        for seq, (entry, statement) in zip(some, ledger.read_records(some), strict=True):
            yield seq, entry, statement


def _decode(part: bytes) -> bytes:
    return a2b_base64(part.translate(_PLAIN) + b"=" * (-len(part) % 4))


@lru_cache(maxsize=64)  # a commit's entries share their moment
def _microseconds(text: bytes) -> int:
    return microseconds(datetime.fromisoformat(text.decode("ascii")).replace(tzinfo=UTC))
