"""Step 6 of 9: rows in PostgreSQL's binary COPY format. Used by ledger.store.postgres for larger appends.

A file of this format is a signature, two empty words, rows, and a trailer. A row is the number of its fields,
then each field as its length and its bytes, integers with the most significant byte first.
Source: PostgreSQL's documentation of COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from ledger.store.name_runs import Level0Row, pack_names
from ledger.store.name_runs import level0_rows as cut
from ledger.store.protocol import Record
from ledger.store.rules import unique_key

_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_SEQ_AND_BYTES = Struct(">hiqi")  # 2 fields: a bigint, then bytes that follow
_BYTES = Struct(">hi")  # 2 fields: bytes that follow, then _SEQ
_SEQ = Struct(">iq")
_LEVEL0 = Struct(">hiqiqiqi")  # 4 fields: three bigints, then bytes that follow


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


def name_level0(records: Sequence[Record]) -> list[Level0Row]:
    """What the records name: one row, or none, or several where they name much."""
    return cut(records[0].seq, [pack_names(r.names) for r in records])


def level0_rows(records: Sequence[Record]) -> bytes:
    """(first_seq, last_seq, names, body) of each row of the index's level 0."""
    found = name_level0(records)
    pack = _LEVEL0.pack
    rows = [pack(4, 8, first, 8, last, 8, names, len(body)) + body for first, last, names, body in found]
    return _file(rows) if rows else b""


def _file(rows: Iterable[bytes]) -> bytes:
    return b"".join((_START, *rows, _END))
