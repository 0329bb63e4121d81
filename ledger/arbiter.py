"""Step 6 of 9: who is right. Below ledger.audit: which leaf hashes does the signed root stand for?

A tile and an entry that disagree cannot both be right. The root decides: it was signed, and every tile
hangs under it. So the arbiter walks from the root down. A tile that leads to the hash above it is
right, whatever the entries say. One that does not is rebuilt from other witnesses:

    what is below it    the tiles, or at level 0 the entries
    the chain           each entry's `prev` is the leaf hash of the one before it

until a combination leads to the hash above; then the tile is named, and the walk goes on with what
was rebuilt. Where none does, what two witnesses agree on is taken, and a finding says so.

Promise: one altered tile is named and costs nothing else its proof. Memory holds one tile a level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TypeVar

from keys.errors import Fault, NotYet
from ledger import entry as entries
from ledger.errors import EntryMalformed
from ledger.findings import Cause, Finding, LedgerReader, Report
from ledger.merkle import HASH_SIZE, CompactRange, fold, root_hash
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH, TilePath, level_count, render_path, split_hashes, width_at

# What is tried before a tile is given up: enough for a dozen alterations within one tile…
COMBINATIONS_MAX = 4096
# …and over a whole audit, or a ledger rewritten from end to end would keep its auditor for days.
COMBINATIONS_TOTAL_MAX = 65_536
SHIFT_MAX = 8  # so many entries removed or inserted in one place are told from altered ones

Edge = list[Sequence[bytes | None]]  # the hashes of each level's partial tile, maybe none
_Witness = list[bytes | None]  # one hash a place; None where this witness knows nothing
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Expected:
    """The leaf hashes that one level-0 tile must hold."""

    start: int  # position of the first
    hashes: Sequence[bytes | None]  # None where nobody could say
    above: bytes | None = None  # the hash above that a full tile's hashes lead to, if they do


class Arbiter:
    """Walks the tree of one size from its signed root down, and names the tiles that are wrong.

    root  None if no signed root is known: then witnesses are only held against each other
    edge  what settle_edge() gave before, to another arbiter of the same tree
    combinations_left  after those that the walk up to here has tried
    """

    def __init__(
        self,
        reader: LedgerReader,
        size: int,
        root: bytes | None,
        report: Report,
        *,
        edge: Edge | None = None,
        combinations_left: int | None = None,
    ) -> None:
        self._reader = reader
        self._size = size
        self._root = root
        self._report = report
        self._edge = edge
        self.combinations_left = COMBINATIONS_TOTAL_MAX if combinations_left is None else combinations_left

    def expected(self, first: int = 0) -> Iterator[Expected]:
        """Give what each level-0 tile must hold, in log order, from tile number `first` on.

        Reads every tile once, if all is well. What lies on the way to `first` is named by the walk
        that came up to there, which had to look one tile ahead: not once more by this one.
        """
        tiles = self._tiles_from(first)
        if first:
            report, left = self._report, self.combinations_left
            self._report, self.combinations_left = _say_nothing, COMBINATIONS_TOTAL_MAX
            found = next(tiles, None)
            self._report, self.combinations_left = report, left
            if found is None:
                return
            yield found
        yield from tiles

    def settle_edge(self) -> Edge:
        """Find what the partial tiles must hold, level by level; names what is wrong with them."""
        if self._edge is None:
            self._edge = self._settle_edge()
        return self._edge

    def _tiles_from(self, first: int) -> Iterator[Expected]:
        edge = self.settle_edge()
        for level in range(len(edge) - 1, 0, -1):
            start = (self._size >> TILE_HEIGHT * (level + 1)) << TILE_HEIGHT
            for place, above in enumerate(edge[level]):
                yield from self._descend(level - 1, start + place, above, first)
        if edge and edge[0]:
            yield Expected(self._size - len(edge[0]), edge[0])

    def _descend(self, level: int, index: int, above: bytes | None, first: int) -> Iterator[Expected]:
        if (index + 1) << TILE_HEIGHT * level <= first:
            return  # all of it lies before
        hashes, is_proven = self._settle(level, index, above)
        if level == 0:
            yield Expected(index * TILE_WIDTH, hashes, above if is_proven else None)
            return
        for place, hash_ in enumerate(hashes):
            yield from self._descend(level - 1, index * TILE_WIDTH + place, hash_, first)

    def _settle(self, level: int, index: int, above: bytes | None) -> tuple[Sequence[bytes | None], bool]:
        """Find what a full tile must hold, given the hash above it, and whether that leads there."""
        stored, why_missing = self._read_tile(level, index, TILE_WIDTH)
        if stored is not None and above is not None and root_hash(stored) == above:
            return stored, True
        if why_missing:
            self._name(level, index, TILE_WIDTH, "tile.missing", why_missing, "unverifiable")
        witnesses = self._witnesses(level, index, stored)
        right: Sequence[bytes | None] | None = None
        if above is not None:
            right = next(
                (hashes for hashes in self._candidates(witnesses) if root_hash(hashes) == above), None
            )
            if right is None and stored is not None:
                detail = "neither this tile nor what lies below it leads to the hash above it"
                self._name(level, index, TILE_WIDTH, "tile.altered", detail, "refuted")
                return _agreed(witnesses), False
        is_proven = right is not None
        if right is None:
            right = _agreed(witnesses)
        self._compare(level, index, stored, right)
        return right, is_proven

    def _settle_edge(self) -> Edge:
        stored: list[list[bytes] | None] = []
        for level in range(level_count(self._size)):
            index = self._size >> TILE_HEIGHT * (level + 1)
            width = width_at(level, index, self._size)
            tile, why_missing = self._read_tile(level, index, width) if width else ([], "")
            stored.append(tile)
            # A store may make the last level-0 tile from the entries: then the entry is what is missing.
            if why_missing and level > 0:
                self._name(level, index, width, "tile.missing", why_missing, "unverifiable")
        known = [tile for tile in stored if tile is not None]
        if len(known) == len(stored) and self._root == _edge_root(known):
            return [*known]
        return self._rebuild_edge(stored)

    def _rebuild_edge(self, stored: Sequence[list[bytes] | None]) -> Edge:
        indexes = [self._size >> TILE_HEIGHT * (level + 1) for level in range(len(stored))]
        # A last level-0 tile that was made from the entries as they stand bears no witness of its own.
        is_echo = bool(stored) and self._is_echo(stored[0], indexes[0] * TILE_WIDTH)
        witnesses = [
            self._witnesses(level, indexes[level], None if level == 0 and is_echo else tile)
            for level, tile in enumerate(stored)
        ]
        found = None if self._root is None else self._search_edge(witnesses)
        right: list[Sequence[bytes | None]] = (
            [_agreed(said) for said in witnesses] if found is None else [*found]
        )
        for level, tile in enumerate(stored):
            if level > 0 or not is_echo:
                self._compare(level, indexes[level], tile, right[level])
        if found is None and self._root is not None:
            right[0] = self._blame_edge(*witnesses[0][-3:-1])
        return right

    def _blame_edge(self, leaves: _Witness, vouched: _Witness) -> _Witness:
        """Choose whom to blame for a signed root that nothing stored leads to.

        The newest entry has nobody after it to vouch for it: if all else agrees, it is the one that
        can have been altered without another trace. An entry whose successor is suspect is believed;
        one whose successor is sound, and says otherwise, is not.
        """
        right: _Witness = []
        is_next_sound = True
        for leaf, prev in zip(reversed(leaves), reversed(vouched), strict=True):
            if not right:
                right.append(leaf if leaf == prev else None)
            else:
                right.append(prev if is_next_sound else leaf)
            is_next_sound = leaf is not None and right[-1] == leaf
        right.reverse()
        if None not in right:
            detail = "everything stored agrees with itself, and leads to another root than the signed one"
            self._report(Finding(None, "tree.root", detail, "refuted"))
        return right

    def _search_edge(self, witnesses: Sequence[Sequence[_Witness]]) -> list[list[bytes]] | None:
        """Find the combination of what the witnesses say, over all levels, that leads to the root."""
        choices = [[(hashes, _peaks(hashes)) for hashes in self._candidates(said)] for said in witnesses]
        for combination in islice(product(*choices), COMBINATIONS_MAX):
            if fold([peak for _, peaks in reversed(combination) for peak in peaks]) == self._root:
                return [hashes for hashes, _ in combination]
        return None

    def _candidates(self, witnesses: Sequence[_Witness]) -> Iterator[list[bytes]]:
        """Combine what the witnesses say: each alone, then the majority, then every other mixture."""
        alone: list[list[bytes]] = []
        for witness in witnesses:
            whole = [hash_ for hash_ in witness if hash_ is not None]
            if len(whole) == len(witness) and whole not in alone:
                alone.append(whole)
        yield from alone
        options = [_by_votes(said) for said in zip(*witnesses, strict=True)]
        for mixture in islice(product(*options), min(COMBINATIONS_MAX, self.combinations_left)):
            self.combinations_left -= 1
            if list(mixture) not in alone:
                yield list(mixture)

    def _witnesses(self, level: int, index: int, stored: Sequence[bytes] | None) -> list[_Witness]:
        """Give all that is known of a tile: itself, if it is there, and what lies below it."""
        witnesses = self._below(level, index)
        if stored is not None:
            witnesses.insert(0, list(stored))
        return witnesses

    def _below(self, level: int, index: int) -> list[_Witness]:
        """Ask what lies below a tile for its hashes: the tiles, or the entries and their chain."""
        width = width_at(level, index, self._size)
        first = index * TILE_WIDTH
        if level > 0:
            tiles = (self._read_tile(level - 1, first + place, TILE_WIDTH)[0] for place in range(width))
            return [[None if tile is None else root_hash(tile) for tile in tiles]]
        # The next tile's first entry vouches for this one's last.
        slots, rivals = self._entries(first, first + width + 1)
        leaves, vouched = [_leaf_of(row) for row in slots[:width]], [_prev_of(row) for row in slots[1:]]
        return [leaves, vouched, [_leaf_of(row) for row in rivals[:width]]]

    def _entries(self, start: int, end: int) -> tuple[list[bytes | None], list[bytes | None]]:
        """Read entries where they say they belong: so one removed or inserted moves nobody.

        Give one row for each position, and where a second one claims the same, that one as well. Who
        stands where he says goes first; who says nothing true stays where he stands, if that is free.
        """
        low = max(0, start - SHIFT_MAX)
        rows = read_rows(self._reader.read_entries, low, end + SHIFT_MAX)
        claims = [(at, None if row is None else _seq_of(row), row) for at, row in enumerate(rows, low)]
        slots: list[bytes | None] = [None] * (end - start)
        rivals: list[bytes | None] = [None] * (end - start)
        astray: list[tuple[int, bytes | None]] = []
        for at, claimed, row in sorted(claims, key=lambda claim: claim[0] != claim[1]):
            if claimed is not None and start <= claimed < end and slots[claimed - start] is None:
                slots[claimed - start] = row
                continue
            astray.append((at, row))
            if claimed is not None and start <= claimed < end:
                rivals[claimed - start] = row
        for at, row in astray:
            if start <= at < end and slots[at - start] is None:
                slots[at - start] = row
        return slots, rivals

    def _is_echo(self, stored: Sequence[bytes] | None, first: int) -> bool:
        """Say whether the last level-0 tile may have been made from the entries as they stand."""
        if stored is None:
            return True
        rows = read_rows(self._reader.read_entries, first, first + len(stored))
        return list(stored) == [_leaf_of(row) for row in rows]

    def _read_tile(self, level: int, index: int, width: int) -> tuple[list[bytes] | None, str]:
        """Give the tile's hashes, or nothing and why."""
        try:
            tile = self._reader.read_tile(level, index, width)
        except NotYet:
            raise  # the reader cannot read just now: that says nothing of the tile
        except Fault as e:
            return None, e.detail
        if len(tile) != width * HASH_SIZE:
            return None, f"the tile has {len(tile)} bytes, not {width * HASH_SIZE}"
        return split_hashes(tile), ""

    def _compare(
        self, level: int, index: int, stored: Sequence[bytes] | None, right: Sequence[bytes | None]
    ) -> None:
        """Name a stored tile that holds something else than it must."""
        if stored is None:
            return
        wrong = [p for p, (s, r) in enumerate(zip(stored, right, strict=True)) if r is not None and s != r]
        if wrong:
            detail = f"{len(wrong)} of its {len(stored)} hashes are not the tree's, the first at {wrong[0]}"
            self._name(level, index, len(stored), "tile.altered", detail, "refuted")

    def _name(self, level: int, index: int, width: int, code: str, detail: str, cause: Cause) -> None:
        name = render_path(TilePath(level, index, width))
        self._report(Finding(None, code, f"tile {name}: {detail}", cause, tile=name))


def read_rows(read: Callable[[int, int], Sequence[_Row | None]], start: int, end: int) -> list[_Row | None]:
    """Read rows start <= position < end, None for each that is gone, whatever the reader makes of gaps.

    A reader that leaves gaps out answers with fewer rows: halving finds them, log2 reads a gap.
    """
    rows = list(read(start, end))
    if len(rows) >= end - start:
        return [row or None for row in rows[: end - start]]
    if not rows or end - start == 1:
        return [None] * (end - start)
    middle = (start + end) // 2
    return read_rows(read, start, middle) + read_rows(read, middle, end)


def _say_nothing(finding: Finding) -> None:
    """Take a finding that another walk reports."""


def _seq_of(row: bytes) -> int | None:
    try:
        return entries.parse(row).seq
    except EntryMalformed:
        return None


def _leaf_of(row: bytes | None) -> bytes | None:
    return None if row is None else entries.leaf_hash(row)


def _prev_of(row: bytes | None) -> bytes | None:
    try:
        return None if row is None else entries.parse(row).prev
    except EntryMalformed:
        return None


def _agreed(witnesses: Sequence[_Witness]) -> _Witness:
    """Take what two witnesses say, or the only thing that is said; None where they are at odds."""
    agreed: _Witness = []
    for said in zip(*witnesses, strict=True):
        options = _by_votes(said)
        clear = len(options) == 1 or (len(options) > 1 and said.count(options[0]) > 1)
        agreed.append(options[0] if clear else None)
    return agreed


def _by_votes(said: Sequence[bytes | None]) -> list[bytes]:
    """Give what the witnesses say of one place, each hash once, what most of them say first."""
    distinct = [hash_ for hash_ in dict.fromkeys(said) if hash_ is not None]
    return sorted(distinct, key=said.count, reverse=True)


def _peaks(hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    tree = CompactRange()
    tree.extend(hashes)
    return tree.hashes


def _edge_root(levels: Sequence[Sequence[bytes]]) -> bytes:
    return fold([peak for hashes in reversed(levels) for peak in _peaks(hashes)])
