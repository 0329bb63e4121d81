"""Step 9 of 9: make an evidence bundle. Before verifier.evidence, which anyone runs on it.

Reads a ledger and collects everything that a stranger needs to check one
product offline, all of it proved against one checkpoint. Nothing is decided
here: a bundle of a false ledger is made as well, and fails where it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from anchoring import record as anchor_record
from keys import envelope
from ledger import checkpoint as checkpoints
from ledger import entry as entries
from ledger import tiles
from traceability.history import History, HistoryItem, HistoryReader, Place
from traceability.history import history as find_history
from verifier import bundle as bundles
from verifier.bundle import Bundle, Consistency, Item
from verifier.errors import NoEvidence
from verifier.product import Packing, is_packing
from verifier.statements import KEY_KINDS

_READ_AT_ONCE = 256  # entries with their statements
TILES_CACHED_MAX = 4096  # of 8 KiB each


class EvidenceReader(HistoryReader, Protocol):
    """What building reads: a store, or anything else that holds a ledger and its index."""

    def read_entry(self, seq: int) -> bytes: ...

    def read_checkpoint(self) -> bytes:
        """The newest signed note."""
        ...

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Exactly width * 32 bytes."""
        ...


class AnchorFinder(Protocol):
    """Who knows which anchor covers which entry: anchoring.rounds.Rounds does."""

    def find_anchor_covering(self, seq: int) -> int | None:
        """The seq of the earliest anchor entry that covers this entry, if there is one."""
        ...


def build(reader: EvidenceReader, anchors: AnchorFinder, epc: str, history: History) -> bytes:
    """The evidence bundle of this product.

    epc      canonical name, the one that history was asked for
    history  every event about it, not cut short

    Raises NoEvidence if there is nothing to bundle, or more than one bundle
    holds. Reads every key statement of the ledger, and a few tiles for each
    entry in the bundle.
    """
    if not history.items:
        raise NoEvidence("evidence.none", f"the ledger holds no event about {epc}")
    if history.truncated:
        raise NoEvidence("evidence.too-long", f"{epc} has more events than one bundle may hold")
    shown = {item.seq for item in history.items} | _find_packing(reader, epc, history)
    shown |= {seq for seq in map(anchors.find_anchor_covering, sorted(shown)) if seq is not None}
    # Read last: it then covers every entry that was found above.
    note = reader.read_checkpoint()
    checkpoint = checkpoints.parse_unverified(note)
    size = checkpoint.tree_size
    tail = size - 1
    shown = {seq for seq in shown if seq <= tail} | _walk_keys(reader, tail)
    wanted = sorted(shown | {tail})
    if len(wanted) > bundles.ENTRIES_MAX:
        raise NoEvidence("evidence.too-long", f"the evidence about {epc} has {len(wanted)} entries")
    cached = _CachedTiles(reader)
    items: list[Item] = []
    anchored_sizes: set[int] = set()
    for seq, (entry_bytes, held) in zip(wanted, _read_records(reader, wanted), strict=True):
        statement = held if seq in shown else None
        entry = entries.parse(entry_bytes)
        items.append(Item(entry_bytes, entry, tuple(tiles.inclusion_path(cached, seq, size)), statement))
        if entry.kind == "anchor" and statement is not None:
            anchored_sizes.add(_anchored_size(statement))
    consistency = tuple(
        Consistency(old, tuple(tiles.consistency_path(cached, old, size))) for old in sorted(anchored_sizes)
    )
    if sum(item.entry.kind == "anchor" for item in items) > bundles.ANCHORS_MAX:
        raise NoEvidence("evidence.too-long", f"{epc} was anchored more often than one bundle may hold")
    return bundles.render(Bundle(epc, checkpoint.origin, note, tuple(items), consistency))


def _read_records(reader: EvidenceReader, seqs: Sequence[int]) -> Iterator[tuple[bytes, bytes | None]]:
    for start in range(0, len(seqs), _READ_AT_ONCE):
        yield from reader.read_records(seqs[start : start + _READ_AT_ONCE])


def _find_packing(reader: EvidenceReader, epc: str, history: History) -> set[int]:
    """Where the things around the product were packed, if that was before the product was in them.

    The events of a pallet concern a pack because the pack's case stands on it;
    the case may have been put there before the pack was put into the case.
    """
    packing = Packing()
    found: set[int] = set()
    for item in history.items:
        for child, parent in zip((epc, *item.via), item.via, strict=False):
            if packing.parent_of(child) != parent:
                event = _find_last_packing(reader, child, parent, before=(item.seq, item.ordinal))
                if event is not None:
                    found.add(event.seq)
                    packing.follow(event.seq, event.event)
        packing.follow(item.seq, item.event)
    return found


def _find_last_packing(
    reader: EvidenceReader, child: str, parent: str, *, before: Place
) -> HistoryItem | None:
    own = find_history(reader, child, through_aggregation=False, limit=bundles.ENTRIES_MAX)
    last = None
    for item in own.items:
        if (item.seq, item.ordinal) >= before:
            break
        if is_packing(item.event) and item.event.parent is not None and item.event.parent.name == parent:
            last = item
    return last


def _walk_keys(reader: EvidenceReader, tail: int) -> set[int]:
    """The seq of every genesis and key entry, by the links from the tree's last entry down."""
    seqs: set[int] = set()
    seq, entry = tail, entries.parse(reader.read_entry(tail))
    while entry.kind not in KEY_KINDS or seq > 0:
        if entry.kind in KEY_KINDS:
            seqs.add(seq)
        seq = entry.keys  # below seq, or it would not have parsed: so the walk ends
        entry = entries.parse(reader.read_entry(seq))
    return seqs | {seq}


def _anchored_size(statement: bytes) -> int:
    record = anchor_record.parse(envelope.parse(statement).payload)
    return checkpoints.parse_body(record.checkpoint).tree_size


class _CachedTiles:
    """Neighbouring proofs share most of their tiles."""

    def __init__(self, reader: EvidenceReader) -> None:
        self._reader = reader
        self._tiles: dict[tuple[int, int, int], bytes] = {}

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        key = (level, index, width)
        tile = self._tiles.get(key)
        if tile is None:
            if len(self._tiles) == TILES_CACHED_MAX:
                self._tiles.clear()
            tile = self._tiles[key] = self._reader.read_tile(level, index, width)
        return tile
