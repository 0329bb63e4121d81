"""A ledger in lists and dictionaries: an honest LedgerReader, to be altered by whoever tests with it.

`build_ledger([("genesis", b"…"), ("event", b"…")])` gives one with canonical, chained entries, every
tile and a signed checkpoint. Its parts are plain and mutable: alter `ledger.entries[3]` and audit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from keys.algorithms import private_key_from_seed
from keys.note import NoteSigner
from ledger import checkpoint as checkpoints
from ledger import entry as entries
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry
from ledger.errors import NotInLog
from ledger.proof import TlogProof
from ledger.tiles import TILE_WIDTH, TileBuilder, consistency_path, inclusion_path

ORIGIN = "ledger.example/epcis"
LOG_SEED = b"L" * 32  # the fixed vectors' key
START = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)


def log_signer(origin: str = ORIGIN, seed: bytes = LOG_SEED) -> NoteSigner:
    """The key that signs the tests' checkpoints."""
    return NoteSigner.from_private_key(origin, private_key_from_seed(seed))


def chain_entries(
    statements: Iterable[tuple[str, bytes]], start: datetime = START, step: timedelta = timedelta(seconds=1)
) -> list[bytes]:
    """Entries over (kind, statement) pairs, canonical and chained, one `step` apart."""
    chained: list[bytes] = []
    prev, keys = entries.ZERO_PREV, 0
    for seq, (kind, statement) in enumerate(statements):
        entry = Entry(seq, kind, start + seq * step, prev, sha256(statement).digest(), keys)
        chained.append(entries.render(entry))
        prev = entries.leaf_hash(chained[-1])
        if kind in ("genesis", "key"):
            keys = seq
    return chained


class MemoryLedger:
    """A LedgerReader over lists.

    derives_last_tile  make the last level-0 tile from the entries, as a database does, instead of
                       keeping it: then an altered entry alters it too
    """

    def __init__(
        self,
        chained: Sequence[bytes],
        statements: Sequence[bytes | None],
        *,
        origin: str = ORIGIN,
        signers: Sequence[NoteSigner] | None = None,
        derives_last_tile: bool = False,
    ) -> None:
        self.origin = origin
        self.signers = list(signers) if signers is not None else [log_signer(origin)]
        self.verifiers = [signer.verifier for signer in self.signers]
        self.entries: list[bytes] = list(chained)
        self.statements: list[bytes | None] = list(statements)
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.derives_last_tile = derives_last_tile
        self.checkpoint = self.sign_at(0)
        self.rebuild()

    def rebuild(self) -> None:
        """Make all tiles and the checkpoint anew from the entries as they stand."""
        builder = TileBuilder()
        leaves = [entries.leaf_hash(entry) for entry in self.entries]
        self.tiles = {(tile.level, tile.index): tile.hashes for tile in builder.extend(leaves)}
        for level, edge in enumerate(builder.edges):
            if edge:
                self.tiles[level, (len(leaves) >> 8 * level) // TILE_WIDTH] = edge
        if self.derives_last_tile:
            self.tiles.pop((0, len(leaves) // TILE_WIDTH), None)
        self.size, self.root = builder.size, builder.root()
        self.checkpoint = self.sign_at(self.size)

    def sign_at(self, size: int) -> bytes:
        """A signed checkpoint over the first entries as they stand."""
        builder = TileBuilder()
        builder.extend([entries.leaf_hash(entry) for entry in self.entries[:size]])
        return checkpoints.sign(Checkpoint(self.origin, size, builder.root()), *self.signers)

    def receipt(self, seq: int) -> TlogProof:
        """The receipt of one entry, at the current size."""
        path = tuple(inclusion_path(self, seq, self.size))
        return TlogProof(self.entries[seq], seq, path, self.checkpoint)

    def consistency(self, old_size: int) -> list[bytes]:
        """The path from an older size to the current one."""
        return consistency_path(self, old_size, self.size)

    def read_checkpoint(self) -> bytes:
        return self.checkpoint

    def read_entries(self, start: int, end: int) -> Sequence[bytes]:
        return self.entries[start:end]

    def read_statements(self, start: int, end: int) -> Sequence[bytes | None]:
        return self.statements[start:end]

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        tile = self.tiles.get((level, index))
        if tile is None and level == 0:
            first = index * TILE_WIDTH
            tile = b"".join(
                entries.leaf_hash(entry) for entry in self.entries[first : first + width] if entry
            )
        if tile is None or len(tile) < width * 32:
            raise NotInLog("tile.absent", f"there is no tile {level}/{index} of width {width}")
        return tile[: width * 32]


def build_ledger(
    statements: Sequence[tuple[str, bytes]],
    *,
    origin: str = ORIGIN,
    signers: Sequence[NoteSigner] | None = None,
    start: datetime = START,
    derives_last_tile: bool = False,
) -> MemoryLedger:
    """An honest ledger over (kind, statement) pairs."""
    return MemoryLedger(
        chain_entries(statements, start),
        [statement for _, statement in statements],
        origin=origin,
        signers=signers,
        derives_last_tile=derives_last_tile,
    )


def sample_statements(count: int, key_every: int = 7) -> list[tuple[str, bytes]]:
    """Statements that are only bytes: genesis, then events with a key statement now and then."""
    kinds = ("genesis" if i == 0 else "key" if i % key_every == 0 else "event" for i in range(count))
    return [(kind, f"statement {i}".encode()) for i, kind in enumerate(kinds)]
