"""Step 6 of 9: rows in PostgreSQL's binary COPY format. Used by ledger.store.postgres for larger appends.

A file of this format is a signature, two empty words, rows, and a trailer. A row is the number of its fields,
then each field as its length and its bytes, integers with the most significant byte first.
Source: PostgreSQL's documentation of COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from ledger.store.name_runs import level0_rows as cut
from ledger.store.protocol import Rows
from ledger.store.rules import numbered

_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_BODY = Struct(">hiqiqi")  # 3 fields: two bigints, then bytes that follow
_BYTES = Struct(">hi")  # 2 fields: bytes that follow, then _SEQ
_SEQ = Struct(">iq")
_LEVEL0 = Struct(">hiqiqiqi")  # 4 fields: three bigints, then bytes that follow


def body_rows(first_seq: int, rows: Sequence[tuple[int, bytes]]) -> bytes:
    """(first_seq, count, body) of each row of entries or statements."""
    pack = _BODY.pack
    return _file(
        pack(3, 8, first, 8, count, len(body)) + body for first, count, body in numbered(first_seq, rows)
    )


def unique_rows(rows: Rows) -> bytes:
    """(key, seq) of each, by key: neighbours then go to one page of the index."""
    pairs = sorted((key, seq) for seq, key in enumerate(rows.unique_keys, rows.first_seq))
    return _file(_BYTES.pack(2, len(key)) + key + _SEQ.pack(8, seq) for key, seq in pairs)


def level0_rows(rows: Rows) -> bytes:
    """(first_seq, last_seq, names, body) of each row of the index's level 0."""
    pack = _LEVEL0.pack
    packed = [
        pack(4, 8, first, 8, last, 8, names, len(body)) + body
        for first, last, names, body in cut(rows.first_seq, rows.names)
    ]
    return _file(packed) if packed else b""


def _file(rows: Iterable[bytes]) -> bytes:
    return b"".join((_START, *rows, _END))
