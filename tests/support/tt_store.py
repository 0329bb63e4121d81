"""Ledgers on disk for tests, and a second opinion on whether one is sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from sqlalchemy import URL, inspect

from keys.algorithms import private_key_from_seed
from keys.note import NoteSigner
from ledger import checkpoint as checkpoints
from ledger import entry as entry_format
from ledger import merkle, tiles
from ledger.highwater import HighWater
from ledger.log import Log, Pending
from ledger.store import schema
from ledger.store.entry_rows import pack_entries
from ledger.store.name_runs import pack_names
from ledger.store.opening import Database, Reader, Writer, open_reader, open_writer
from ledger.store.packing import pack_parts
from ledger.store.protocol import Rows

ORIGIN = "ledger.example/epcis"
SIGNER = NoteSigner.from_private_key(ORIGIN, private_key_from_seed(b"L" * 32))
GENESIS = b"the genesis statement of a test"
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class LedgerFolder:
    """A folder with a database and, apart from it, a high-water file; opened as often as one likes."""

    path: Path
    address: URL | None = None  # of an empty database; else a SQLite file in the folder
    clock: Clock = field(default_factory=Clock)
    opened: list[Writer] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return self.path / "ledger.db" if self.address is None else self.address

    @property
    def high_water(self) -> Path:
        return self.path / "high-water"

    def store(self) -> Writer:
        store = open_writer(self.database)
        self.opened.append(store)
        with store.engine.begin() as connection:
            if not inspect(connection).has_table("head"):
                schema.create_all(connection)
        return store

    def reader(self) -> Reader:
        return open_reader(self.database)

    def log(self, store: object | None = None, **options) -> Log:
        options.setdefault("high_water", HighWater(self.high_water))
        log = Log(store or self.store(), [SIGNER], ORIGIN, self.clock, **options)
        log.open()
        return log

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()


def pending(*labels: object, kind: str = "event", names: Sequence[tuple[int, int]] = ()) -> list[Pending]:
    """Statements that say their labels, each with a unique key of its own."""
    statements = [f"statement {label}".encode() for label in labels]
    return [Pending(kind, raw, sha256(raw).digest(), pack_names(names)) for raw in statements]


def rows_of(first_seq: int, *labels: str, keys: Sequence[bytes] = ()) -> Rows:
    """What a store writes, of statements and entries that say their labels."""
    raws = [label.encode() for label in labels]
    entries = pack_entries(first_seq, [b"entry " + raw for raw in raws])
    return Rows(first_seq, entries, pack_parts(raws), list(keys) or raws, [b""] * len(raws))


def add(log: Log, *labels: object, **options) -> list[int]:
    """Append and give the positions."""
    return [placed.seq for placed in log.append(pending(*labels, **options), expected=log.head).placed]


def assert_sound(store, *, size: int | None = None) -> None:
    """Re-read everything and compare it with what the checkpoint signs. Slow, plain, and its own code."""
    head = store.read_head()
    assert head is not None
    assert size is None or head.tree_size == size
    for note in (head.checkpoint, head.published):
        opened = checkpoints.open_checkpoint(note, [SIGNER.verifier], ORIGIN)
        assert opened.tree_size <= head.tree_size
        assert tiles.root_at(store, opened.tree_size) == opened.root_hash
    signed = checkpoints.open_checkpoint(head.checkpoint, [SIGNER.verifier], ORIGIN)
    assert (signed.tree_size, signed.root_hash) == (head.tree_size, head.root_hash)

    held = store.read_entries(0, head.tree_size)
    statements = store.read_statements(0, head.tree_size)
    assert len(held) == len(statements) == head.tree_size
    prev, keys_seq, recorded_at, events = entry_format.ZERO_PREV, 0, START - timedelta(days=3650), 0
    for seq, (raw, statement) in enumerate(zip(held, statements, strict=True)):
        parsed = entry_format.parse(raw)
        assert (parsed.seq, parsed.prev, parsed.keys) == (seq, prev, keys_seq)
        assert parsed.statement == sha256(statement).digest()
        assert parsed.recorded_at >= recorded_at
        prev, recorded_at = entry_format.leaf_hash(raw), parsed.recorded_at
        keys_seq = seq if parsed.kind in ("genesis", "key") else keys_seq
        events += parsed.kind != "anchor"
    assert (head.last_leaf_hash, head.keys_seq, head.recorded_at, head.events) == (
        prev,
        keys_seq,
        recorded_at,
        events,
    )
    leaves = [entry_format.leaf_hash(raw) for raw in held]
    assert merkle.root_hash(leaves) == head.root_hash
    assert_tiles(store, leaves)


def assert_tiles(store, leaves: Sequence[bytes]) -> None:
    """Every tile of the tree, full or partial, holds what the leaves make it."""
    level, hashes = 0, list(leaves)
    while hashes:
        for index in range(-(-len(hashes) // tiles.TILE_WIDTH)):
            expected = hashes[index * tiles.TILE_WIDTH : (index + 1) * tiles.TILE_WIDTH]
            assert store.read_tile(level, index, len(expected)) == b"".join(expected)
        whole = len(hashes) // tiles.TILE_WIDTH
        hashes = [
            merkle.root_hash(hashes[i * tiles.TILE_WIDTH : (i + 1) * tiles.TILE_WIDTH]) for i in range(whole)
        ]
        level += 1
