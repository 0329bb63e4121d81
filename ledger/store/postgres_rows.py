"""Step 6 of 9: rows in PostgreSQL's binary COPY format. Used by ledger.store.postgres for larger appends.

A file of this format is a signature, two empty words, rows, and a trailer. A row is the number of its fields,
then each field as its length and its bytes, integers with the most significant byte first.
Source: PostgreSQL's documentation of COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from ledger.store.postgres_schema import (
    KEY_HEAD_MASK,
    PART_KEY_BITS,
    REST_BITS,
    REST_MASK,
    SEGMENT_BITS,
    key_head,
    key_rest,
)
from ledger.store.protocol import Record
from ledger.store.rules import unique_key

_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_SEQ_AND_BYTES = Struct(">hiqi")  # 2 fields: a bigint, then bytes that follow
_BYTES = Struct(">hi")  # 2 fields: bytes that follow, then _SEQ
_SEQ = Struct(">iq")
_NAME = Struct(">hiqiqiiii")  # 4 fields: bigint, bigint, int, int


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


def name_rows(records: Sequence[Record]) -> bytes:
    """(part, seq, ordinal, rest) of every name, each place once, in the order of the index."""
    pack = _NAME.pack
    # Packed, they sort as their numbers do: none is negative, and each field has one length. Two names that
    # collide in all 64 bits are one place, or whoever finds such a pair could stop an append with it.
    rows = {
        pack(  # not by key_head() and key_rest(): here two calls a name would be felt
            4,
            8,
            record.seq >> SEGMENT_BITS << PART_KEY_BITS | key >> REST_BITS & KEY_HEAD_MASK,
            8,
            record.seq,
            4,
            ordinal,
            4,
            key & REST_MASK,
        )
        for record in records
        for ordinal, key in record.names
    }
    return _file(sorted(rows)) if rows else b""


def name_columns(records: Sequence[Record]) -> tuple[list[int], list[int], list[int], list[int]]:
    """The same as four columns."""
    rows = {
        (record.seq >> SEGMENT_BITS << PART_KEY_BITS | key_head(key), record.seq, ordinal, key_rest(key))
        for record in records
        for ordinal, key in record.names
    }
    parts, seqs, ordinals, rests = zip(*sorted(rows), strict=True) if rows else ((), (), (), ())
    return list(parts), list(seqs), list(ordinals), list(rests)


def _file(rows: Iterable[bytes]) -> bytes:
    return b"".join((_START, *rows, _END))
