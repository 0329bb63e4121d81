"""Step 8 of 9: a stretch of events in columns, with the rows that have each term. Below projection.store.

A segment holds up to SEGMENT_ROWS neighbouring events in log order:

    columns    event_time and recorded_at (int64, microseconds since 1970), seq (int64), ordinal (uint32)
    postings   for each 64-bit term the rows of the segment that have it, ascending: as uint16 where they are
               few, as a bitmap of 8 KiB where they are more than 4,096

Postings are cut into 2**bits buckets by the term's highest bits, so that looking up one term reads a few
kilobytes of a segment and no more. Nothing is ever altered: neighbours are merged into a new segment.

    bucket = count:uint32 | terms:uint64[count] ascending | rows of each:uint32[count] | bodies
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SEGMENT_ROWS = 65_536  # rows are 16 bits
BITMAP_ABOVE = 4_096  # rows: from here on 8 KiB of bits are smaller than a list
BITMAP_SIZE = SEGMENT_ROWS // 8
BUCKET_SIZE = 8_192  # bytes aimed at
BITS_MAX = 12

Ints = npt.NDArray[np.int64]
Terms = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.uint16]
COLUMNS: dict[str, str] = {"event_time": "<i8", "recorded_at": "<i8", "seq": "<i8", "ordinal": "<u4"}


@dataclass(frozen=True, slots=True)
class Segment:
    """Columns of equal length, and postings sorted by term and row."""

    event_time: Ints
    recorded_at: Ints
    seq: Ints
    ordinal: npt.NDArray[np.uint32]
    terms: Terms  # one for each posting
    rows: Rows

    def __len__(self) -> int:
        return len(self.seq)


def build(
    event_times: Sequence[int],
    recorded: Sequence[int],
    seqs: Sequence[int],
    ordinals: Sequence[int],
    terms: Sequence[Collection[int]],
) -> Segment:
    """A segment of at most SEGMENT_ROWS events, in log order. About 2 µs an event of 18 terms."""
    counts = [len(one) for one in terms]
    flat = np.fromiter((value for one in terms for value in one), dtype=np.uint64, count=sum(counts))
    rows = np.repeat(np.arange(len(seqs), dtype=np.uint16), counts)
    order = np.argsort(flat, kind="stable")
    return Segment(
        np.array(event_times, dtype=np.int64),
        np.array(recorded, dtype=np.int64),
        np.array(seqs, dtype=np.int64),
        np.array(ordinals, dtype=np.uint32),
        flat[order],
        rows[order],
    )


def merge(parts: Sequence[Segment]) -> Segment:
    """One segment of neighbouring ones, in order."""
    offsets = np.cumsum([0, *(len(part) for part in parts[:-1])])
    terms = np.concatenate([part.terms for part in parts])
    rows = np.concatenate(
        [part.rows + np.uint16(offset) for part, offset in zip(parts, offsets.tolist(), strict=True)]
    )
    order = np.argsort(terms, kind="stable")  # stable: rows of a term stay in order
    return Segment(
        np.concatenate([part.event_time for part in parts]),
        np.concatenate([part.recorded_at for part in parts]),
        np.concatenate([part.seq for part in parts]),
        np.concatenate([part.ordinal for part in parts]),
        terms[order],
        rows[order],
    )


def column_bodies(segment: Segment) -> dict[str, bytes]:
    """The columns as they are stored."""
    return {
        name: np.ascontiguousarray(getattr(segment, name), dtype=kind).tobytes()
        for name, kind in COLUMNS.items()
    }


def read_column(name: str, body: bytes) -> Ints:
    """A column as it was stored; always as int64, so that columns can be computed with."""
    column: Ints = np.frombuffer(body, dtype=COLUMNS[name]).astype(np.int64, copy=False)
    return column


def bucket_of(value: int, bits: int) -> int:
    """Which of the 2**bits buckets a term is in."""
    return value >> (64 - bits) if bits else 0


def bucket_bodies(segment: Segment) -> tuple[int, dict[int, bytes]]:
    """(bits, body of each bucket that is not empty)."""
    terms, starts, counts = np.unique(segment.terms, return_index=True, return_counts=True)
    size = 12 * len(terms) + int(np.minimum(counts * 2, BITMAP_SIZE).sum())
    bits = min(BITS_MAX, max(0, (size // BUCKET_SIZE).bit_length()))
    if not len(terms):
        return 0, {}
    buckets = (terms >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(terms), np.int64)
    numbers, firsts = np.unique(buckets, return_index=True)
    ends = [*firsts[1:].tolist(), len(terms)]
    rows = np.ascontiguousarray(segment.rows, dtype="<u2")
    bodies = {}
    for number, first, end in zip(numbers.tolist(), firsts.tolist(), ends, strict=True):
        of_bucket = counts[first:end]
        if (of_bucket > BITMAP_ABOVE).any():
            body = b"".join(
                _body(rows[start : start + count])
                for start, count in zip(starts[first:end].tolist(), of_bucket.tolist(), strict=True)
            )
        else:
            body = rows[starts[first] : starts[first] + int(of_bucket.sum())].tobytes()
        bodies[number] = b"".join(
            (
                (end - first).to_bytes(4, "little"),
                terms[first:end].astype("<u8").tobytes(),
                of_bucket.astype("<u4").tobytes(),
                body,
            )
        )
    return bits, bodies


def _body(rows: Rows) -> bytes:
    if len(rows) <= BITMAP_ABOVE:
        return rows.tobytes()
    bits = np.zeros(SEGMENT_ROWS, dtype=np.uint8)
    bits[rows] = 1
    return np.packbits(bits, bitorder="little").tobytes()


class Bucket:
    """One bucket, read."""

    __slots__ = ("_body", "_counts", "_offsets", "_terms")

    def __init__(self, body: bytes) -> None:
        count = int.from_bytes(body[:4], "little")
        self._terms = np.frombuffer(body, dtype="<u8", count=count, offset=4)
        self._counts = np.frombuffer(body, dtype="<u4", count=count, offset=4 + 8 * count)
        sizes = np.where(self._counts <= BITMAP_ABOVE, self._counts.astype(np.int64) * 2, BITMAP_SIZE)
        self._offsets = np.concatenate(([0], np.cumsum(sizes))) + (4 + 12 * count)
        self._body = body

    def rows(self, value: int) -> Rows | None:
        """The rows that have this term, ascending; None if no row has it."""
        index = int(np.searchsorted(self._terms, np.uint64(value)))
        if index == len(self._terms) or int(self._terms[index]) != value:
            return None
        return self._rows_at(index)

    def all(self) -> Iterator[tuple[int, Rows]]:
        """Every term with its rows, ascending."""
        for index, value in enumerate(self._terms.tolist()):
            yield value, self._rows_at(index)

    def _rows_at(self, index: int) -> Rows:
        offset, count = int(self._offsets[index]), int(self._counts[index])
        if count <= BITMAP_ABOVE:
            return np.frombuffer(self._body, dtype="<u2", count=count, offset=offset)
        packed = np.frombuffer(self._body, dtype=np.uint8, count=BITMAP_SIZE, offset=offset)
        return np.flatnonzero(np.unpackbits(packed, bitorder="little")).astype(np.uint16)

    def __len__(self) -> int:
        return len(self._terms)


def read_segment(columns: dict[str, bytes], buckets: Iterable[bytes]) -> Segment:
    """A whole segment as it was stored; buckets in ascending order. For merging."""
    terms: list[Terms] = []
    rows: list[Rows] = []
    for body in buckets:
        bucket = Bucket(body)
        counts = bucket._counts
        terms.append(np.repeat(bucket._terms, counts))
        if (counts > BITMAP_ABOVE).any():
            rows.extend(found for _, found in bucket.all())
        else:
            rows.append(np.frombuffer(body, dtype="<u2", offset=4 + 12 * len(bucket)))
    return Segment(
        read_column("event_time", columns["event_time"]),
        read_column("recorded_at", columns["recorded_at"]),
        read_column("seq", columns["seq"]),
        np.frombuffer(columns["ordinal"], dtype="<u4"),
        np.concatenate(terms) if terms else np.empty(0, np.uint64),
        np.concatenate(rows) if rows else np.empty(0, np.uint16),
    )


def union(found: Sequence[Rows]) -> Rows:
    """Rows that are in any of these."""
    if len(found) == 1:
        return found[0]
    if sum(map(len, found)) > BITMAP_ABOVE:
        bits = np.zeros(SEGMENT_ROWS, dtype=bool)
        for rows in found:
            bits[rows] = True
        return np.flatnonzero(bits).astype(np.uint16)
    return np.unique(np.concatenate(found))


def intersection(groups: Sequence[Rows]) -> Rows:
    """Rows that are in all of these; at least one group."""
    groups = sorted(groups, key=len)
    found = groups[0]
    for other in groups[1:]:
        if not len(found):
            break
        if len(other) > 8 * len(found):
            places = np.searchsorted(other, found)
            places[places == len(other)] = 0
            found = found[other[places] == found]
        else:
            bits = np.zeros(SEGMENT_ROWS, dtype=bool)
            bits[other] = True
            found = found[bits[found]]
    return found
