"""Step 6 of 9: how entries lie in rows. Beside ledger.store.packing, which does it for statements.

A row holds 1 to 64 neighbouring entries. Those of one append are alike but for seq, prev and statement, so
that a row keeps the rest once and two hashes of each, 64 bytes an entry where its text has 250:

    ALIKE  1   keys (8 bytes, big-endian) | recorded_at (27 characters) | length of the kind (1) | kind
               | prev of each (32 bytes) | statement digest of each (32 bytes)
    PLAIN  2   for each its length (2 bytes, big-endian; 0 is an entry that is gone), then its bytes

Promise: what comes out is what the log hashed, byte for byte. Each entry's own two hashes are kept and none
is derived from its neighbours, so that an audit names the altered entry and no other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain, pairwise

from ledger.entry import Like, parse, render_alike
from ledger.errors import EntryMalformed, RecordDamaged
from ledger.merkle import HASH_SIZE

ROW_COUNT_MAX = 64
ALIKE, PLAIN = 1, 2

_TIME_SIZE = 27
_ALIKE = struct.Struct(">BQ27sB")
_LENGTH = struct.Struct(">H")


def pack_alike(like: Like, prevs: Sequence[bytes], digests: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Rows of entries of one likeness: (how many, body) of each. Joins, and does nothing else."""
    kind = like.kind.encode()
    head = _ALIKE.pack(ALIKE, like.keys, like.recorded_at.encode(), len(kind)) + kind
    return [
        (len(some), b"".join((head, *some, *digests[start : start + ROW_COUNT_MAX])))
        for start in range(0, len(prevs), ROW_COUNT_MAX)
        for some in (prevs[start : start + ROW_COUNT_MAX],)
    ]


def pack_entries(first_seq: int, entries: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Rows of any entries, also of such that are none: for what was not appended just now."""
    rows: list[tuple[int, bytes]] = []
    for start in range(0, len(entries), ROW_COUNT_MAX):
        some = entries[start : start + ROW_COUNT_MAX]
        rows.append((len(some), _pack(first_seq + start, some)))
    return rows


def pack_plain(entries: Sequence[bytes]) -> bytes:
    """One row of any entries, b"" for one that is gone."""
    pack = _LENGTH.pack
    return bytes([PLAIN]) + b"".join(chain.from_iterable((pack(len(entry)), entry) for entry in entries))


def unpack_entries(first_seq: int, count: int, body: bytes, low: int, high: int) -> Sequence[bytes]:
    """Entries low <= place < high of a row, counted from its first. Raises RecordDamaged."""
    try:
        if body[:1] == bytes([ALIKE]):
            _, keys, time, kind_size = _ALIKE.unpack_from(body)
            start = _ALIKE.size + kind_size
            if len(body) != start + 2 * HASH_SIZE * count:
                raise ValueError("its length is not that of its entries")
            like = Like(body[_ALIKE.size : start].decode("ascii"), time.decode("ascii"), keys)
            prevs = _hashes(body, start, low, high)
            digests = _hashes(body, start + HASH_SIZE * count, low, high)
            return render_alike(like, first_seq + low, prevs, digests)
        if body[:1] == bytes([PLAIN]):
            ends = [1]
            while ends[-1] < len(body):
                ends.append(ends[-1] + _LENGTH.size + _LENGTH.unpack_from(body, ends[-1])[0])
            if ends[-1] != len(body) or len(ends) != count + 1:
                raise ValueError("its lengths do not add up")
            return [body[a + _LENGTH.size : b] for a, b in pairwise(ends[low : high + 1])]
    except (struct.error, ValueError, EntryMalformed) as e:
        raise _damaged(str(e)) from e
    raise _damaged("it has no format that is known")


def _pack(first_seq: int, entries: Sequence[bytes]) -> bytes:
    """One row, in its shorter form where that gives the very same bytes back."""
    try:
        parsed = [parse(entry) for entry in entries]
    except EntryMalformed:
        return pack_plain(entries)
    like = _likeness(entries[0], parsed[0].kind, parsed[0].keys)
    ((_, body),) = pack_alike(like, [one.prev for one in parsed], [one.statement for one in parsed])
    is_same = list(entries) == unpack_entries(first_seq, len(entries), body, 0, len(entries))
    return body if is_same else pack_plain(entries)


def _hashes(body: bytes, start: int, low: int, high: int) -> list[bytes]:
    places = range(start + HASH_SIZE * low, start + HASH_SIZE * high, HASH_SIZE)
    return [body[at : at + HASH_SIZE] for at in places]


def _likeness(entry: bytes, kind: str, keys: int) -> Like:
    start = entry.index(b'"recorded_at":"') + len(b'"recorded_at":"')
    return Like(kind, entry[start : start + _TIME_SIZE].decode(), keys)


def _damaged(why: str) -> RecordDamaged:
    return RecordDamaged("store.entries", f"a row of entries cannot be read: {why}")
