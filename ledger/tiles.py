"""Step 6 of 9: tiles. The tree in pieces of 256 hashes; after ledger.merkle, before ledger.store.

The hash at place i of tile (level, index) is the root of the perfect subtree of 256**level leaves that
is number index * 256 + i of its size. Only what is complete goes up, so a full tile never changes:

    level 1   [ tile 0: one hash for each full tile below ........ ]
    level 0   [ tile 0: 256 leaf hashes ][ tile 1: 256 ][ tile 2: 112 ]   the last one is *partial*

Promise: from full tiles and the partial ones at the edge follows every root and every proof for every
size up to the tree's own, by reading a handful of tiles. Source: C2SP tlog-tiles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.errors import NotInLog, ProofMalformed
from ledger.merkle import (
    HASH_SIZE,
    TREE_SIZE_MAX,
    CompactRange,
    consistency_ranges,
    fold,
    inclusion_ranges,
    root_hash,
)

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT  # 256 hashes, 8 KiB
LEVEL_MAX = 63
INDEX_MAX = TREE_SIZE_MAX  # no tree has so many tiles; longer numbers are not read at all
KEPT_TILES_MAX = 1024  # 8 MiB: all upper tiles of 67 million leaves
KEPT_NODES_MAX = 65_536  # about 16 MiB
KEPT_NODE_HEIGHT = TILE_HEIGHT + 4  # below it a node is 15 hashes at most from what its tile holds
BUNDLED_SIZE_MAX = 0xFFFF  # an entry's length is two bytes in a bundle

_LEVEL = r"(entries|[0-9]|[1-5][0-9]|6[0-3])"
# Groups of three digits, an "x" before all but the last; only a lone group may begin with zeros.
_INDEX = r"((?!x000/)(?:x[0-9]{3}/){0,6}[0-9]{3})"
_WIDTH = r"(?:\.p/([1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?"
_PATH = re.compile(f"{_LEVEL}/{_INDEX}{_WIDTH}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TilePath:
    """The name of one tile, or of one bundle of entries."""

    level: int | None  # 0..63; None is a bundle of entries
    index: int
    width: int  # 1..255 for a partial tile, TILE_WIDTH for a full one


def parse_path(text: str) -> TilePath:
    """Read what follows "tile/" in a tile's address, in its one spelling.

    Raises ProofMalformed for every other spelling: a second address for a tile would be cached apart.
    """
    match = _PATH.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise ProofMalformed("tile.path", "this is not the name of a tile")
    level, index_text, width = match.groups()
    index = int(index_text.replace("x", "").replace("/", ""))
    if index > INDEX_MAX:
        raise ProofMalformed("tile.path", f"the tile's index is above {INDEX_MAX}")
    return TilePath(
        level=None if level == "entries" else int(level),
        index=index,
        width=TILE_WIDTH if width is None else int(width),
    )


def render_path(path: TilePath) -> str:
    """Write what follows "tile/" in the tile's address."""
    if path.level is not None and not 0 <= path.level <= LEVEL_MAX:
        raise ProofMalformed("tile.path", f"level {path.level} is not within 0..{LEVEL_MAX}")
    if not 0 <= path.index <= INDEX_MAX or not 1 <= path.width <= TILE_WIDTH:
        raise ProofMalformed("tile.path", f"there is no tile of index {path.index} and width {path.width}")
    digits = str(path.index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    level = "entries" if path.level is None else str(path.level)
    return f"{level}/{name}" + ("" if path.width == TILE_WIDTH else f".p/{path.width}")


def width_at(level: int, index: int, tree_size: int) -> int:
    """Say how many hashes this tile holds at this size: 0 (no such tile), partial, or TILE_WIDTH."""
    complete = tree_size >> (TILE_HEIGHT * level)
    return min(TILE_WIDTH, max(0, complete - index * TILE_WIDTH))


class HashTiles(Protocol):
    """Wherever tiles are kept: a database, a folder, a URL, a test's dictionary."""

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Give the first `width` hashes of the tile: exactly width * 32 bytes. Raises NotInLog."""
        ...  # pragma: no cover


def root_at(tiles: HashTiles, size: int) -> bytes:
    """Give the root of the tree's first `size` leaves. Reads at most one tile a level."""
    if not 0 <= size <= TREE_SIZE_MAX:
        raise NotInLog("tile.size", f"there is no tree of size {size}")
    return _TileReader(tiles, size).subtree(0, size)


def inclusion_path(tiles: HashTiles, index: int, size: int) -> list[bytes]:
    """Prove that the leaf at this index is in the tree of this size, nearest sibling first.

    Reads at most two tiles a level (six for ten million leaves), and hashes what lies within them.
    """
    reader = _TileReader(tiles, size)
    return [reader.subtree(start, end) for start, end in inclusion_ranges(index, size)]


def consistency_path(tiles: HashTiles, old_size: int, new_size: int) -> list[bytes]:
    """Prove that the tree of old_size is the beginning of the tree of new_size. Cost as above."""
    reader = _TileReader(tiles, new_size)
    return [reader.subtree(start, end) for start, end in consistency_ranges(old_size, new_size)]


class Prover:
    """Paths and roots for many who ask, with what never changes kept: full upper tiles, edges, nodes.

    tiles  where tiles are read; of a proof's tiles usually only the leaf's own has to be

    Any thread may call. Keeps at most 24 MiB, 3 MiB for ten million leaves.
    """

    def __init__(self, tiles: HashTiles) -> None:
        self._tiles = tiles
        self._kept: dict[tuple[int, int, int], bytes] = {}
        self._nodes: dict[tuple[int, int], bytes] = {}

    def inclusion(self, index: int, size: int) -> tuple[list[bytes], bytes]:
        """Give this leaf's path in the tree of this size, nearest sibling first, and the tree's root."""
        reader = _TileReader(self, size, self._nodes)
        path = [reader.subtree(start, end) for start, end in inclusion_ranges(index, size)]
        return path, reader.subtree(0, size)

    def consistency(self, old_size: int, new_size: int) -> tuple[list[bytes], bytes, bytes]:
        """Prove that one size continues the other; give the path and both roots."""
        reader = _TileReader(self, new_size, self._nodes)
        path = [reader.subtree(start, end) for start, end in consistency_ranges(old_size, new_size)]
        return path, reader.subtree(0, old_size), reader.subtree(0, new_size)

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Give the first `width` hashes of the tile. Raises NotInLog."""
        if level == 0 and width == TILE_WIDTH:
            return self._tiles.read_tile(level, index, width)
        key = (level, index, width)  # a partial tile of one width has one content as well
        tile = self._kept.get(key)
        if tile is None:
            tile = self._tiles.read_tile(level, index, width)
            if len(self._kept) >= KEPT_TILES_MAX:
                self._kept.clear()
            self._kept[key] = tile
        return tile


class _TileReader:
    """Hashes of subtrees at one size; each tile is read once."""

    def __init__(
        self, tiles: HashTiles, size: int, nodes: dict[tuple[int, int], bytes] | None = None
    ) -> None:
        self._tiles = tiles
        self._size = size
        self._nodes = nodes
        self._read: dict[tuple[int, int], bytes] = {}

    def subtree(self, start: int, end: int) -> bytes:
        """Hash the leaves [start, end): a subtree of the tree, perfect or at its right edge."""
        peaks: list[bytes] = []
        while start < end:
            height = (end - start).bit_length() - 1
            peaks.append(self._perfect(height, start >> height))
            start += 1 << height
        return fold(peaks)

    def _perfect(self, height: int, index: int) -> bytes:
        if self._nodes is None or height < KEPT_NODE_HEIGHT:
            return self._hash(height, index)
        # A perfect subtree is the same in every later tree.
        node = self._nodes.get((height, index))
        if node is None:
            node = self._hash(height, index)
            if len(self._nodes) >= KEPT_NODES_MAX:
                self._nodes.clear()
            self._nodes[height, index] = node
        return node

    def _hash(self, height: int, index: int) -> bytes:
        level, within = divmod(height, TILE_HEIGHT)
        first = index << within
        tile_index, place = divmod(first, TILE_WIDTH)
        tile = self._tile(level, tile_index)
        hashes = tile[place * HASH_SIZE : (place + (1 << within)) * HASH_SIZE]
        return root_hash(split_hashes(hashes))

    def _tile(self, level: int, index: int) -> bytes:
        key = (level, index)
        tile = self._read.get(key)
        if tile is None:
            width = width_at(level, index, self._size)
            tile = self._tiles.read_tile(level, index, width)
            if len(tile) != width * HASH_SIZE:
                raise ProofMalformed(
                    "tile.length", f"tile {level}/{index} has {len(tile)} bytes, not {width * HASH_SIZE}"
                )
            self._read[key] = tile
        return tile


def split_hashes(joined: bytes) -> list[bytes]:
    """Cut joined hashes apart."""
    return [joined[i : i + HASH_SIZE] for i in range(0, len(joined), HASH_SIZE)]


@dataclass(frozen=True, slots=True)
class TileWrite:
    """A tile that has just become full: from now on it never changes."""

    level: int
    index: int
    hashes: bytes  # TILE_WIDTH * 32 bytes


class _Edge:
    """The partial tile of one level: its hashes, and the tree that they make so far."""

    __slots__ = ("hashes", "tile_index", "tree")

    def __init__(self, tile_index: int, hashes: list[bytes]) -> None:
        self.tile_index = tile_index
        self.hashes = hashes
        self.tree = CompactRange()
        self.tree.extend(hashes)

    def copy(self) -> _Edge:
        twin = _Edge(self.tile_index, [])
        twin.hashes = self.hashes.copy()
        twin.tree = self.tree.copy()
        return twin


class TileBuilder:
    """The writer's edge of the tree: takes leaf hashes, gives tiles as they become full.

    size   leaves so far
    edges  edges[level] is the partial tile's bytes: (size >> 8 * level) % 256 hashes, maybe none
    """

    __slots__ = ("_edges", "_size")

    def __init__(self, size: int = 0, edges: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= TREE_SIZE_MAX:
            raise ProofMalformed("tile.size", f"there is no tree of size {size}")
        self._size = size
        self._edges: list[_Edge] = []
        for level in range(max(level_count(size), len(edges))):
            joined = edges[level] if level < len(edges) else b""
            tile_index, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
            if len(joined) != width * HASH_SIZE:
                raise ProofMalformed(
                    "tile.length",
                    f"the edge at level {level} has {len(joined)} bytes; size {size} has {width * HASH_SIZE}",
                )
            self._edges.append(_Edge(tile_index, split_hashes(joined)))

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    @property
    def edges(self) -> tuple[bytes, ...]:
        """Give the partial tile of each level: what a builder needs to go on from here."""
        return tuple(b"".join(edge.hashes) for edge in self._edges)

    def extend(self, leaf_hashes: Sequence[bytes]) -> list[TileWrite]:
        """Add leaves; give every tile that became full by them, lower levels first, and nothing else.

        One hash per leaf.
        """
        full: list[TileWrite] = []
        level, fresh = 0, list(leaf_hashes)
        while fresh:
            if level == len(self._edges):
                self._edges.append(_Edge(0, []))
            fresh = self._extend_level(level, fresh, full)
            level += 1
        self._size += len(leaf_hashes)
        return full

    def _extend_level(self, level: int, fresh: list[bytes], full: list[TileWrite]) -> list[bytes]:
        """Add hashes to one level; give the roots of its tiles that became full, for the level above."""
        edge = self._edges[level]
        upward: list[bytes] = []
        start = 0
        while start < len(fresh):
            taken = fresh[start : start + TILE_WIDTH - len(edge.hashes)]
            start += len(taken)
            edge.hashes.extend(taken)
            edge.tree.extend(taken)
            if len(edge.hashes) == TILE_WIDTH:
                full.append(TileWrite(level, edge.tile_index, b"".join(edge.hashes)))
                upward.append(edge.tree.root())
                self._edges[level] = edge = _Edge(edge.tile_index + 1, [])
        return upward

    def root(self) -> bytes:
        """Hash the whole tree: at most one hash per bit of its size."""
        return fold([peak for edge in reversed(self._edges) for peak in edge.tree.hashes])

    def copy(self) -> TileBuilder:
        """Give a builder of its own that starts from here: to try a batch that may not be committed."""
        twin = TileBuilder()
        twin._size = self._size
        twin._edges = [edge.copy() for edge in self._edges]
        return twin


def level_count(size: int) -> int:
    """Say how many levels of tiles a tree has that has something on each."""
    return -(-size.bit_length() // TILE_HEIGHT)


def render_bundle(entries: Iterable[bytes]) -> bytes:
    """Join entries, each behind its length in two bytes, big-endian: what /tile/entries/… serves."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > BUNDLED_SIZE_MAX:
            raise ProofMalformed("tile.bundle", f"an entry of {len(entry)} bytes does not fit a bundle")
        parts.append(len(entry).to_bytes(2, "big"))
        parts.append(entry)
    return b"".join(parts)


def parse_bundle(data: bytes, count: int) -> list[bytes]:
    """Cut a bundle into exactly `count` entries, or raise ProofMalformed."""
    entries: list[bytes] = []
    offset = 0
    while offset < len(data) and len(entries) < count:
        start = offset + 2
        offset = start + int.from_bytes(data[offset:start], "big")
        entries.append(data[start:offset])
    if len(entries) != count or offset != len(data):
        raise ProofMalformed("tile.bundle", f"the bundle's {len(data)} bytes are not {count} entries")
    return entries
