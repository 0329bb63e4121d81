"""Step 6 of 9: rows in PostgreSQL's binary COPY format. Used by ledger.store.postgres for larger appends.

A file of this format is a signature, two empty words, rows, and a trailer. A row is the number of its fields,
then each field as its length and its bytes, integers with the most significant byte first.
Source: PostgreSQL's documentation of COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from ledger.store.postgres_schema import SEGMENT_BITS
from ledger.store.protocol import Record
from ledger.store.rules import unique_key

_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_SEQ_AND_BYTES = Struct(">hiqi")  # 2 fields: a bigint, then bytes that follow
_BYTES = Struct(">hi")  # 2 fields: bytes that follow, then _SEQ
_SEQ = Struct(">iq")
_NAME = Struct(">hiiiiiqiq")  # 4 fields: int, int, bigint, bigint


def entry_rows(records: Sequence[Record]) -> bytes:
    """(seq, entry) of each record."""
    pack = _SEQ_AND_BYTES.pack
    return _file(pack(2, 8, r.seq, len(r.entry)) + r.entry for r in records)


def statement_rows(records: Sequence[Record]) -> bytes:
    """(seq, body) of each record."""
    pack = _SEQ_AND_BYTES.pack
    return _file(pack(2, 8, r.seq, len(r.statement)) + r.statement for r in records)


def unique_rows(records: Sequence[Record]) -> bytes:
    """(key, seq) of each record, by key: neighbours then go to one page of the index."""
    pairs = sorted((unique_key(r), r.seq) for r in records)
    return _file(_BYTES.pack(2, len(key)) + key + _SEQ.pack(8, seq) for key, seq in pairs)


def name_rows(places: Iterable[tuple[int, int, int, int]]) -> bytes:
    """(segment, ordinal, key, seq) of each place."""
    pack = _NAME.pack
    return _file(pack(4, 4, segment, 4, ordinal, 8, key, 8, seq) for segment, key, seq, ordinal in places)


def places_of(records: Sequence[Record]) -> list[tuple[int, int, int, int]]:
    """(segment, key, seq, ordinal) of every name of the records, in the order of the index."""
    places = [(r.seq >> SEGMENT_BITS, key, r.seq, ordinal) for r in records for ordinal, key in r.names]
    places.sort()
    return places


def _file(rows: Iterable[bytes]) -> bytes:
    return b"".join((_START, *rows, _END))
