"""Step 6 of 9, on the way back: receipts (tlog-proof@v1) for one request's entries, to one checkpoint.

The thousand receipts of a batch share nearly all their hashes, so each subtree is hashed once: about two
hashes a receipt instead of five hundred.
"""

from __future__ import annotations

from collections.abc import Iterable

from ledger.merkle import HASH_SIZE, inclusion_ranges, node_hash
from ledger.proof import TlogProof, render
from ledger.store.protocol import LedgerStore
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH, width_at


class ReceiptWriter:
    """Receipts against the tree of one checkpoint. Not for longer than one request: it keeps what it read.

    checkpoint  the signed note, verbatim, over exactly tree_size entries
    """

    def __init__(self, reader: LedgerStore, checkpoint: bytes, tree_size: int) -> None:
        self._reader = reader
        self._checkpoint = checkpoint
        self._tree_size = tree_size
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._hashes: dict[tuple[int, int], bytes] = {}

    def write(self, seqs: Iterable[int]) -> dict[int, bytes]:
        """Receipts by position. Every position is below tree_size."""
        return {
            seq: self.receipt(seq, entry)
            for start, end in _runs(seqs)
            for seq, entry in enumerate(self._reader.read_entries(start, end), start)
        }

    def receipt(self, seq: int, entry: bytes) -> bytes:
        """One receipt: the entry, its path to the root, and the signed checkpoint."""
        path = tuple(self._subtree(start, end) for start, end in inclusion_ranges(seq, self._tree_size))
        return render(TlogProof(extra=entry, index=seq, path=path, checkpoint=self._checkpoint))

    def _subtree(self, start: int, end: int) -> bytes:
        """The root of leaves start <= seq < end, split at the largest power of two below, as in RFC 9162."""
        known = self._hashes.get((start, end))
        if known is not None:
            return known
        size = end - start
        height = size.bit_length() - 1
        if size == 1 << height and height % TILE_HEIGHT == 0:
            found = self._from_tile(height // TILE_HEIGHT, start >> height)
        else:
            middle = start + (1 << (size - 1).bit_length() - 1)
            found = node_hash(self._subtree(start, middle), self._subtree(middle, end))
        self._hashes[start, end] = found
        return found

    def _from_tile(self, level: int, place: int) -> bytes:
        index, offset = divmod(place, TILE_WIDTH)
        tile = self._tiles.get((level, index))
        if tile is None:
            tile = self._reader.read_tile(level, index, width_at(level, index, self._tree_size))
            self._tiles[level, index] = tile
        return tile[offset * HASH_SIZE : (offset + 1) * HASH_SIZE]


def _runs(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """The positions as ranges [start, end): a new batch is one, and so is one read."""
    runs: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if runs and runs[-1][1] == seq:
            runs[-1] = (runs[-1][0], seq + 1)
        else:
            runs.append((seq, seq + 1))
    return runs
