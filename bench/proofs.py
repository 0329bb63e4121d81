"""How long an inclusion proof of any leaf takes at ten million: `python -m bench.proofs [LEAVES]`.

Makes a database with the tiles of that many leaves (random hashes; entries only at the edge, where proofs
read them) in half a minute, and asks for path and root of random leaves, as GET /proof/inclusion does.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ledger import entry, tiles
from ledger.merkle import verify_inclusion
from ledger.store import schema
from ledger.store.entry_rows import pack_entries
from ledger.store.packing import pack
from ledger.store.protocol import Head, Rows
from ledger.store.sqlite import SqliteReader, open_reader, open_writer

LEAVES = 10_000_000
ROUNDS = 5_000


def make(path: Path, leaves: int) -> None:
    """A ledger of so many leaves whose last tile is partial."""
    store = open_writer(path)
    whole = leaves // tiles.TILE_WIDTH * tiles.TILE_WIDTH
    builder = tiles.TileBuilder()
    with store.engine.begin() as connection:
        schema.create_all(connection)
        # They would refuse a ledger that begins in its middle.
        triggers = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all()
        for (name,) in triggers:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for start in range(0, whole, 1 << 16):
            count = min(1 << 16, whole - start)
            hashes = tiles.split_hashes(random.randbytes(32 * count))
            full = [(tile.level, tile.index, tile.hashes) for tile in builder.extend(hashes)]
            connection.exec_driver_sql("INSERT INTO tiles VALUES (?, ?, ?)", full)
        now = datetime(2026, 1, 1, tzinfo=UTC)
        old = Head(whole, builder.root(), bytes(32), 0, now, b"", b"", now, whole)
        connection.exec_driver_sql(
            "INSERT INTO head (id, tree_size, root_hash, last_leaf_hash, keys_seq, recorded_at, checkpoint,"
            " events, published, published_at) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                whole,
                old.root_hash,
                bytes(32),
                0,
                entry.render_time(now),
                b"",
                whole,
                b"",
                entry.render_time(now),
            ),
        )
    places = range(whole, leaves)
    held = [entry.render(entry.Entry(seq, "event", now, bytes(32), os.urandom(32), 0)) for seq in places]
    rows = Rows(
        whole,
        pack_entries(whole, held),
        [(1, pack([os.urandom(700)])) for _ in places],
        [seq.to_bytes(44, "big") for seq in places],
        [b""] * len(places),
    )
    builder.extend([entry.leaf_hash(data) for data in held])
    edges = [
        tiles.TileWrite(level, builder.size >> (8 * (level + 1)), hashes)
        for level, hashes in enumerate(builder.edges)
        if level and hashes
    ]
    store.append(old, rows, replace(old, tree_size=leaves, root_hash=builder.root(), events=leaves), edges)
    store.close()


def measure(name: str, ask: Callable[[int], object], leaves: int) -> None:
    source = random.Random(1)
    indexes = [source.randrange(leaves) for _ in range(ROUNDS)]
    for index in indexes[:200]:
        ask(index)
    taken, used = [], []
    for index in indexes:
        started, own = time.perf_counter(), time.thread_time()
        ask(index)
        taken.append(time.perf_counter() - started)
        used.append(time.thread_time() - own)
    cuts, cpu = statistics.quantiles(taken, n=1000), statistics.quantiles(used, n=1000)
    print(
        f"{name:<34} p50 {cuts[499] * 1000:.3f} ms   p99 {cuts[989] * 1000:.3f} ms"
        f"   CPU p50 {cpu[499] * 1000:.3f} ms   p99 {cpu[989] * 1000:.3f} ms"
    )


def main() -> None:
    leaves = int(sys.argv[1]) if len(sys.argv) > 1 else LEAVES
    folder = Path(tempfile.mkdtemp(prefix="tallystick-proofs-"))
    try:
        make(folder / "ledger.db", leaves)
        reader: SqliteReader = open_reader(folder / "ledger.db")
        measure("path", lambda index: tiles.inclusion_path(reader, index, leaves), leaves)
        measure(
            "path and root",
            lambda index: (tiles.inclusion_path(reader, index, leaves), tiles.root_at(reader, leaves)),
            leaves,
        )
        prover = tiles.Prover(reader)
        measure("path and root by a Prover", lambda index: prover.inclusion(index, leaves), leaves)
        measure("one full tile", lambda index: reader.read_tile(0, index // 257, 256), leaves)
        path, root = prover.inclusion(12_345, leaves)
        leaf = reader.read_tile(0, 12_345 // 256, 256)[12_345 % 256 * 32 :][:32]
        verify_inclusion(leaf, 12_345, leaves, path, root)
        reader.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
