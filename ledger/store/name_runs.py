"""Step 6 of 9: what the index of names is made of. Below both stores; docs/formats/database.md shows it.

A *place* is (seq, ordinal): where a statement names something. The index holds (key, seq, ordinal), sorted,
in runs: what an append brings is one row of level 0 as it came; ledger.store.name_runs_merge sorts such rows
into a run of level 1, and runs of one level into one of the next. A run is cut into blocks of some kilobytes,
each with a row of its own, led by its first (key, seq, ordinal): a search reads one block of each run.

Two formats, all numbers little-endian:

    level 0   1, three zero bytes, u32 count of entries, u32 names of each entry,
              then each entry's names in order: i64 key, u32 ordinal
    block     1, u8 bytes of a seq (4 or 8), u8 bytes of an ordinal (0 or 4), 0, u32 count, i64 base,
              then three columns: i64 keys ascending, seqs less the base, ordinals (none: all are 0)

Here is what an append writes and a search reads; it needs no numpy, so that a server's workers load none.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from struct import Struct, error

from ledger.errors import StoreFailed

NAME = Struct("<qI")  # key, ordinal: the form in which a statement's names travel
NAME_SIZE = NAME.size
LEVEL0_SIZE_MAX = (
    256 << 10
)  # bytes of names in one row, unless one entry alone has more: a merge takes whole rows
BLOCK_SIZE_MAX = 7_900  # bytes: with its row's head it fits into a page of 8 KiB
FORMAT = 1

_LEVEL0 = Struct("<BxxxI")
BLOCK = Struct("<BBBxIq")
_U32, _I64 = "I", "q"

Level0Row = tuple[int, int, int, bytes]  # first_seq, last_seq, count of names, body
Place = tuple[int, int]  # seq, ordinal


def pack_names(names: Iterable[tuple[int, int]]) -> bytes:
    """(ordinal, key) pairs as they travel, each once."""
    return b"".join(NAME.pack(key, ordinal) for ordinal, key in dict.fromkeys(names))


# --- level 0 -------------------------------------------------------------------------------------


def level0_body(names_of_each: Sequence[bytes]) -> bytes:
    """The names of neighbouring entries as one row's body.

    names_of_each  for each entry its names, packed as NAME says, none twice; b"" for an entry without
    """
    counts = array(_U32, [len(names) // NAME_SIZE for names in names_of_each])
    return _LEVEL0.pack(FORMAT, len(counts)) + _bytes_of(counts) + b"".join(names_of_each)


def level0_rows(first_seq: int, names_of_each: Sequence[bytes]) -> list[Level0Row]:
    """The rows of level 0 that an append writes: one, or none without names, or several of a bounded size.

    first_seq  position of the first entry; the others follow without gaps
    Cost: a few microseconds and 0.05 µs an entry; nothing for each name.
    """
    size = sum(map(len, names_of_each))
    if size == 0:
        return []
    if size <= LEVEL0_SIZE_MAX:
        last = first_seq + len(names_of_each) - 1
        return [(first_seq, last, size // NAME_SIZE, level0_body(names_of_each))]
    rows: list[Level0Row] = []
    start = size = 0
    for index, names in enumerate(names_of_each):
        if size and size + len(names) > LEVEL0_SIZE_MAX:
            rows += _level0_row(first_seq + start, names_of_each[start:index], size)
            start, size = index, 0
        size += len(names)
    return rows + _level0_row(first_seq + start, names_of_each[start:], size)


def _level0_row(first_seq: int, names_of_each: Sequence[bytes], size: int) -> list[Level0Row]:
    if size == 0:
        return []
    last = first_seq + len(names_of_each) - 1
    return [(first_seq, last, size // NAME_SIZE, level0_body(names_of_each))]


def level0_parts(body: bytes) -> tuple[memoryview, memoryview]:
    """The counts and the names of a row's body. Raises StoreFailed where it is no such thing."""
    try:
        form, count = _LEVEL0.unpack_from(body)
    except error as e:
        raise damaged("a row of level 0 is too short") from e
    start = _LEVEL0.size + 4 * count
    if form != FORMAT or len(body) < start or (len(body) - start) % NAME_SIZE:
        raise damaged("a row of level 0 is not of its format")
    view = memoryview(body)
    return view[_LEVEL0.size : start], view[start:]


def level0_places(
    first_seq: int, body: bytes, key: int, beyond: Place, *, descending: bool
) -> Iterator[Place]:
    """Places of the key in one row, in the order asked for, one after another as they are wanted.

    One pass of bytes.find over the body where the key is not in it.
    """
    needle = key.to_bytes(8, "little", signed=True)
    if needle not in body:
        return
    counts, names = level0_parts(body)
    ends = list(accumulate(_column(_U32, counts)))
    if (ends[-1] if ends else 0) * NAME_SIZE != len(names):
        raise damaged("a row of level 0 counts other names than it has")
    packed = bytes(names)
    held: list[Place] = []  # of the entry that is being read
    for index in _hits(packed, needle, descending=descending):
        seq = first_seq + bisect_right(ends, index)
        if held and held[0][0] != seq:
            yield from _beyond(held, beyond, descending=descending)
            held = []
        held.append((seq, NAME.unpack_from(packed, index * NAME_SIZE)[1]))
    yield from _beyond(held, beyond, descending=descending)


def _hits(packed: bytes, needle: bytes, *, descending: bool) -> Iterator[int]:
    """Which of the packed names have the key; what looks like one across two names is none."""
    if descending:
        at = packed.rfind(needle)
        while at >= 0:
            if at % NAME_SIZE == 0:
                yield at // NAME_SIZE
            at = packed.rfind(needle, 0, at + len(needle) - 1)
    else:
        at = packed.find(needle)
        while at >= 0:
            if at % NAME_SIZE == 0:
                yield at // NAME_SIZE
            at = packed.find(needle, at + 1)


# --- blocks --------------------------------------------------------------------------------------


def block_columns(body: bytes) -> tuple[int, memoryview, int, memoryview, int, memoryview]:
    """base, keys, bytes of a seq, seqs, bytes of an ordinal, ordinals. Raises StoreFailed."""
    try:
        form, seq_size, ordinal_size, count, base = BLOCK.unpack_from(body)
    except error as e:
        raise damaged("a block is too short") from e
    seqs_at = BLOCK.size + 8 * count
    ordinals_at = seqs_at + seq_size * count
    if (
        form != FORMAT
        or count == 0
        or seq_size not in (4, 8)
        or ordinal_size not in (0, 4)
        or len(body) != ordinals_at + ordinal_size * count
    ):
        raise damaged("a block is not of its format")
    view = memoryview(body)
    return (
        base,
        view[BLOCK.size : seqs_at],
        seq_size,
        view[seqs_at:ordinals_at],
        ordinal_size,
        view[ordinals_at:],
    )


class Block:
    """One block, for a search."""

    __slots__ = ("_base", "_keys", "_ordinals", "_seqs")

    def __init__(self, body: bytes) -> None:
        self._base, keys, seq_size, seqs, ordinal_size, ordinals = block_columns(body)
        self._keys = _column(_I64, keys)
        self._seqs = (_U32 if seq_size == 4 else _I64, seqs)
        self._ordinals = ordinals if ordinal_size else None

    def places(self, key: int, beyond: Place, *, descending: bool) -> list[Place]:
        """The key's places in this block, in the order asked for."""
        low = bisect_left(self._keys, key)
        if low == len(self._keys) or self._keys[low] != key:
            return []
        high = bisect_right(self._keys, key, low)
        code, view = self._seqs
        size = 4 if code == _U32 else 8
        seqs = _column(code, view[low * size : high * size])
        ordinals: Sequence[int] = (
            _column(_U32, self._ordinals[low * 4 : high * 4])
            if self._ordinals is not None
            else [0] * len(seqs)
        )
        base = self._base
        held = [(base + seq, ordinal) for seq, ordinal in zip(seqs, ordinals, strict=True)]
        return _beyond(held, beyond, descending=descending)


def _beyond(places: list[Place], beyond: Place, *, descending: bool) -> list[Place]:
    """Each place once, in the order asked for, from `beyond` on."""
    if descending:
        return sorted({place for place in places if place < beyond}, reverse=True)
    return sorted({place for place in places if place > beyond})


def damaged(what: str) -> StoreFailed:
    return StoreFailed(
        "store.names", f"the index of names is damaged: {what}; it can be rebuilt from the statements"
    )


def _column(code: str, view: memoryview) -> array[int]:
    values = array(code)
    values.frombytes(view)
    if sys.byteorder == "big":  # pragma: no cover
        values.byteswap()
    return values


def _bytes_of(values: array[int]) -> bytes:
    if sys.byteorder == "big":  # pragma: no cover
        values = array(values.typecode, values)
        values.byteswap()
    return values.tobytes()
