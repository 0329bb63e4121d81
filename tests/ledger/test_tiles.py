"""Tiles: one name for each, and the whole tree from them."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import merkle, tiles
from ledger.errors import NotInLog, ProofMalformed
from ledger.tiles import Prover, TileBuilder, TilePath, TileWrite

PAGE = (Path(__file__).resolve().parents[2] / "docs/formats/tree-and-tiles.md").read_text()
LEAVES = [merkle.leaf_hash(b"leaf %d" % i) for i in range(70_000)]


class Tiles(dict):
    """Tiles in a dictionary, that counts how many were read."""

    reads = 0

    def add(self, size: int, full: list[TileWrite], edges: tuple[bytes, ...]) -> Tiles:
        self.update({(tile.level, tile.index): tile.hashes for tile in full})
        for level, edge in enumerate(edges):
            self[level, (size >> 8 * level) >> 8] = edge
        return self

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        self.reads += 1
        tile = self.get((level, index), b"")
        if len(tile) < width * 32:
            raise NotInLog("tile.absent", "no such tile")
        return tile[: width * 32]


@pytest.fixture(scope="module")
def big() -> Tiles:
    builder = TileBuilder()
    return Tiles().add(len(LEAVES), builder.extend(LEAVES), builder.edges)


# Names.


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0/000", TilePath(0, 0, 256)),
        ("63/000.p/1", TilePath(63, 0, 1)),
        ("0/x001/234.p/5", TilePath(0, 1234, 5)),
        ("0/x001/x234/067", TilePath(0, 1234067, 256)),
        ("entries/000.p/255", TilePath(None, 0, 255)),
        ("entries/x009/999", TilePath(None, 9999, 256)),
        ("1/x001/000", TilePath(1, 1000, 256)),
        ("0/x009/x223/x372/x036/x854/x775/807", TilePath(0, 2**63 - 1, 256)),
    ],
)
def test_a_name_reads_both_ways(text: str, path: TilePath) -> None:
    assert tiles.parse_path(text) == path
    assert tiles.render_path(path) == text


@given(
    st.none() | st.integers(0, 63),
    st.integers(0, tiles.INDEX_MAX) | st.integers(0, 2000),
    st.integers(1, 256),
)
@settings(deadline=None)
def test_every_tile_has_one_name(level: int | None, index: int, width: int) -> None:
    path = TilePath(level, index, width)
    assert tiles.parse_path(tiles.render_path(path)) == path


@given(st.from_regex(r"(entries|[0-9]{1,2})(/x?[0-9]{1,3}){1,3}(\.p/[0-9]{1,3})?", fullmatch=True))
@settings(max_examples=300, deadline=None)
def test_no_tile_has_a_second_name(text: str) -> None:
    try:
        path = tiles.parse_path(text)
    except ProofMalformed:
        return
    assert tiles.render_path(path) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0/",
        "/0/000",
        "tile/0/000",
        "0/000/",
        "0/0",
        "0/00",
        "0/0000",
        "0/1234",
        "0/001/234",
        "0/x001",
        "0/x001/",
        "0/x001/x234",
        "0/x000/001",
        "0/x000/x000/000",
        "0/x01/234",
        "0/X001/234",
        "0/x001/23",
        "0/xx01/234",
        "64/000",
        "100/000",
        "00/000",
        "01/000",
        "-1/000",
        "+1/000",
        "data/000",
        "Entries/000",
        "0/000.p",
        "0/000.p/",
        "0/000.p/0",
        "0/000.p/00",
        "0/000.p/01",
        "0/000.p/256",
        "0/000.p/257",
        "0/000.p/999",
        "0/000.p/-1",
        "0/000.p/1/",
        "0/000.P/1",
        "0/000p/1",
        "0/000.p/1.p/1",
        "0/000\n",
        " 0/000",
        "0/000 ",
        "0//000",
        "0/../000",
        "0/٠٠٠",  # digits, but not ASCII's
        "0/x009/x223/x372/x036/x854/x775/808",
        "0/x999/x999/x999/x999/x999/x999/999",
        "0/x001/x000/x000/x000/x000/x000/x000/000",
        "0/" + "x001/" * 100 + "000",
    ],
)
def test_another_spelling_is_no_name(text: str) -> None:
    with pytest.raises(ProofMalformed, match=r"tile\.path"):
        tiles.parse_path(text)


@pytest.mark.parametrize(
    "path",
    [
        TilePath(64, 0, 256),
        TilePath(-1, 0, 256),
        TilePath(0, -1, 256),
        TilePath(0, 2**63, 256),
        TilePath(0, 0, 0),
        TilePath(0, 0, 257),
    ],
)
def test_there_is_no_name_for_an_impossible_tile(path: TilePath) -> None:
    with pytest.raises(ProofMalformed):
        tiles.render_path(path)


# Which tiles there are.


def test_size_70000_has_the_tiles_of_the_specification() -> None:
    assert [tiles.width_at(0, index, 70_000) for index in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tiles.width_at(1, index, 70_000) for index in (0, 1, 2)] == [256, 17, 0]
    assert [tiles.width_at(2, index, 70_000) for index in (0, 1)] == [1, 0]
    assert tiles.width_at(3, 0, 70_000) == 0
    assert [tiles.width_at(0, 0, 256), tiles.width_at(0, 1, 256), tiles.width_at(1, 0, 256)] == [256, 0, 1]


def test_the_page_names_the_tiles_of_size_70000(big: Tiles) -> None:
    table = re.search(r"```text\n(tile/0/000 .*?)\n```", PAGE, re.S)
    assert table
    named = [line.split()[0] for line in table[1].splitlines() if line.startswith("tile/")]
    assert named == [
        "tile/0/000",
        "tile/0/272",
        "tile/0/273.p/112",
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]
    for name in named:
        path = tiles.parse_path(name.removeprefix("tile/"))
        assert path.level is not None
        assert tiles.width_at(path.level, path.index, 70_000) == path.width
        assert len(big[path.level, path.index]) == path.width * 32


def test_the_pages_tree_is_right() -> None:
    leaves = [merkle.leaf_hash(entry) for entry in (b"e0", b"e1", b"e2")]
    for known in (*leaves, merkle.node_hash(*leaves[:2]), merkle.root_hash(leaves)):
        assert known.hex() in PAGE
    assert tiles.render_bundle([b"e0", b"e1", b"e2"]).hex() in PAGE


# Growing.


@given(st.lists(st.integers(0, 700), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_a_builder_makes_every_full_tile_once_and_nothing_else(steps: list[int]) -> None:
    builder, size, full = TileBuilder(), 0, []
    for step in steps:
        full += builder.extend(LEAVES[size : size + step])
        size += step
        # What a restarted writer goes on from.
        builder = TileBuilder(builder.size, builder.edges)
        assert (builder.size, builder.root()) == (size, merkle.root_hash(LEAVES[:size]))
    whole = TileBuilder()
    at_once = whole.extend(LEAVES[:size])
    by_place = sorted(full, key=lambda tile: (tile.level, tile.index))
    assert by_place == sorted(at_once, key=lambda tile: (tile.level, tile.index))
    assert [(tile.level, tile.index) for tile in by_place] == [(0, i) for i in range(size // 256)]
    assert b"".join(tile.hashes for tile in by_place) == b"".join(LEAVES[: size // 256 * 256])
    assert builder.edges == whole.edges
    assert [len(edge) // 32 for edge in builder.edges] == [
        size >> 8 * level & 255 for level in range(len(whole.edges))
    ]


def test_a_level_1_tile_is_full_at_65536_and_not_before() -> None:
    builder = TileBuilder()
    full = builder.extend(LEAVES[:65_535])
    assert {tile.level for tile in full} == {0}
    full = builder.extend(LEAVES[65_535:65_536])
    assert [(tile.level, tile.index, len(tile.hashes)) for tile in full] == [(0, 255, 8192), (1, 0, 8192)]
    assert [len(edge) for edge in builder.edges] == [0, 0, 32]
    assert builder.edges[2] == builder.root() == merkle.root_hash(LEAVES[:65_536])
    assert TileBuilder(65_536, builder.edges).root() == builder.root()


def test_a_copied_builder_goes_its_own_way() -> None:
    builder = TileBuilder()
    builder.extend(LEAVES[:300])
    twin = builder.copy()
    twin.extend(LEAVES[300:600])
    assert builder.root() == merkle.root_hash(LEAVES[:300])
    assert twin.root() == merkle.root_hash(LEAVES[:600])
    assert [tile.index for tile in builder.extend(LEAVES[300:600])] == [1]
    assert builder.root() == twin.root()


@pytest.mark.parametrize(
    ("size", "edges"),
    [
        (1, []),
        (1, [b"x" * 31]),
        (1, [b"x" * 64]),
        (256, [b""]),
        (256, [b"x" * 32, b"x" * 32]),
        (257, [b"x" * 32]),
        (0, [b"x" * 32]),
        (-1, []),
        (2**63, []),
    ],
)
def test_a_builder_needs_the_edge_of_its_size(size: int, edges: list[bytes]) -> None:
    with pytest.raises(ProofMalformed):
        TileBuilder(size, edges)


# Proofs from tiles.


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 512, 1000, 65_536, 65_537, 70_000])
def test_proofs_from_tiles_are_those_from_leaves(big: Tiles, size: int) -> None:
    chosen = random.Random(size)
    # The tiles of 70,000 serve every smaller size as well: a partial tile is the beginning of a fuller one.
    assert tiles.root_at(big, size) == merkle.root_hash(LEAVES[:size])
    for index in {0, size - 1, size // 2, chosen.randrange(size)}:
        assert tiles.inclusion_path(big, index, size) == merkle.inclusion_path(LEAVES[:size], index)
        old = index + 1
        assert tiles.consistency_path(big, old, size) == merkle.consistency_path(LEAVES[:size], old)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_proofs_from_tiles_verify(big: Tiles, data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 70_000))
    old = data.draw(st.integers(1, new))
    index = data.draw(st.integers(0, old - 1))
    old_root, new_root = tiles.root_at(big, old), tiles.root_at(big, new)
    merkle.verify_inclusion(LEAVES[index], index, old, tiles.inclusion_path(big, index, old), old_root)
    merkle.verify_inclusion(LEAVES[index], index, new, tiles.inclusion_path(big, index, new), new_root)
    merkle.verify_consistency(old, new, old_root, new_root, tiles.consistency_path(big, old, new))


def test_a_proof_reads_few_tiles(big: Tiles) -> None:
    big.reads = 0
    tiles.inclusion_path(big, 12_345, 70_000)
    assert big.reads <= 5
    big.reads = 0
    tiles.consistency_path(big, 12_345, 70_000)
    assert big.reads <= 5


def test_the_empty_tree_has_a_root_and_no_proof() -> None:
    assert tiles.root_at(Tiles(), 0) == merkle.EMPTY_ROOT
    for ask in (tiles.inclusion_path, tiles.consistency_path):
        with pytest.raises(NotInLog):
            ask(Tiles(), 0, 0)


@pytest.mark.parametrize(("index", "size"), [(5, 5), (-1, 5), (0, 2**63)])
def test_there_is_no_proof_outside_the_tree(big: Tiles, index: int, size: int) -> None:
    with pytest.raises(NotInLog):
        tiles.inclusion_path(big, index, size)
    with pytest.raises(NotInLog):
        tiles.root_at(big, -1)


def test_a_tile_that_is_not_there_is_said_to_be_missing(big: Tiles) -> None:
    with pytest.raises(NotInLog):
        tiles.inclusion_path(big, 0, 100_000)


def test_a_tile_of_another_length_is_malformed() -> None:
    class Short:
        def read_tile(self, level: int, index: int, width: int) -> bytes:
            return bytes(width * 32 - 1)

    with pytest.raises(ProofMalformed, match=r"tile\.length"):
        tiles.root_at(Short(), 3)


# Bundles.


@given(st.lists(st.binary(max_size=300), max_size=256))
@settings(deadline=None)
def test_a_bundle_reads_both_ways(entries: list[bytes]) -> None:
    assert tiles.parse_bundle(tiles.render_bundle(entries), len(entries)) == entries


def test_a_bundle_has_the_known_bytes() -> None:
    assert tiles.render_bundle([b"e0", b"e1", b"e2"]).hex() == "000265300002653100026532"
    assert tiles.parse_bundle(bytes.fromhex("000265300002653100026532"), 3) == [b"e0", b"e1", b"e2"]


@pytest.mark.parametrize(
    ("data", "count"),
    [
        ("000265300002653100026532", 2),
        ("000265300002653100026532", 4),
        ("0002653000026531000265", 3),
        ("00026530000265310002", 3),
        ("000265300002653100", 3),
        ("00026530000265310002653200", 3),
        ("", 1),
        ("00", 0),
        ("ffff65", 1),
    ],
)
def test_a_bundle_of_another_count_is_malformed(data: str, count: int) -> None:
    with pytest.raises(ProofMalformed, match=r"tile\.bundle"):
        tiles.parse_bundle(bytes.fromhex(data), count)


def test_an_entry_of_64_kib_does_not_fit_a_bundle() -> None:
    assert tiles.parse_bundle(tiles.render_bundle([bytes(0xFFFF)]), 1) == [bytes(0xFFFF)]
    with pytest.raises(ProofMalformed, match=r"tile\.bundle"):
        tiles.render_bundle([bytes(0x10000)])


def test_a_prover_gives_the_same_proofs_and_reads_little(big: Tiles) -> None:
    prover = Prover(big)
    for size in (70_000, 69_888, 65_536, 70_000, 257, 70_000, 1):
        for index in (0, 255, 256, 12_345, 65_535, 65_536, 69_999):
            if index < size:
                path, root = prover.inclusion(index, size)
                assert path == tiles.inclusion_path(big, index, size)
                assert root == tiles.root_at(big, size)
                merkle.verify_inclusion(LEAVES[index], index, size, path, root)
    for old, new in ((1, 70_000), (256, 257), (65_536, 70_000), (69_999, 70_000), (70_000, 70_000)):
        path, old_root, new_root = prover.consistency(old, new)
        assert path == tiles.consistency_path(big, old, new)
        assert (old_root, new_root) == (tiles.root_at(big, old), tiles.root_at(big, new))
    big.reads = 0
    prover.inclusion(30_000, 70_000)
    assert big.reads == 1, "more than the leaf's own tile was read"


def test_a_prover_forgets_rather_than_grow(big: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.tiles.KEPT_TILES_MAX", 3)
    monkeypatch.setattr("ledger.tiles.KEPT_NODES_MAX", 5)
    prover = Prover(big)
    for index in range(0, 70_000, 1_997):
        size = max(index + 1, 70_000 - index)
        assert prover.inclusion(index, size) == (
            tiles.inclusion_path(big, index, size),
            tiles.root_at(big, size),
        )
        assert len(prover._kept) <= 3
        assert len(prover._nodes) <= 5
