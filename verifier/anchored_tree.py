"""Step 9 of 9: was this ledger time-stamped? After verifier.signature_audit, for ledger_audit.

A time-stamp is of a checkpoint's text. It says something about this ledger
only if the ledger's first entries, as many as the text names, have the root
that the text names; and the ledger's own clock must agree with the stamp's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keys.errors import Fault
from ledger import entry as entries
from ledger import tiles
from ledger.audit import LedgerReader
from ledger.entry import Entry
from ledger.merkle import CompactRange
from verifier.anchors import Anchor, AnchorTimes, require_anchor_time, require_time_bounds
from verifier.errors import EvidenceRefuted
from verifier.verdict import ReportBuilder

CHUNK = 4096  # entries held at once


def check_anchored_trees(
    reader: LedgerReader, anchored: Sequence[tuple[Entry, Anchor]], report: ReportBuilder
) -> list[tuple[Entry, Anchor]]:
    """Those anchors that are of this ledger's own trees; the others are reported.

    Reads a few tiles for each. Only where they disagree are the entries
    themselves hashed again, once for all: a damaged tile must not make an
    anchor look false, for the audit has named the tile already.
    """
    at_odds = [
        pair for pair in anchored if _root_by_tiles(reader, pair[1].size) != pair[1].checkpoint.root_hash
    ]
    roots = _roots_by_entries(reader, sorted({anchor.size for _, anchor in at_odds}))
    false = {anchor.seq for _, anchor in at_odds if roots.get(anchor.size) != anchor.checkpoint.root_hash}
    for entry, anchor in at_odds:
        if anchor.seq in false:
            detail = (
                f"The time-stamp in entry {entry.seq} is of other {anchor.size} entries than this ledger's."
            )
            report.fault("anchors", EvidenceRefuted("anchor.tree", detail), seq=entry.seq)
    return [pair for pair in anchored if pair[1].seq not in false]


def check_anchored_times(
    reader: LedgerReader, anchored: Sequence[tuple[Entry, Anchor]], report: ReportBuilder
) -> None:
    """The ledger's clock against the outside ones, at each anchor.

    Times never decrease along the log (ledger.audit sees to that), so the last
    entry that an anchor covers stands for all below it.
    """
    times = AnchorTimes([anchor for _, anchor in anchored])
    contradicted = False
    for entry, anchor in anchored:
        last = anchor.size - 1
        try:
            require_anchor_time(entry, anchor)
            row = next(iter(reader.read_entries(last, last + 1)), b"")
            if row:
                require_time_bounds(entries.parse(row), times.find_covering(last))
        except EvidenceRefuted as fault:
            contradicted = True
            report.suspect("times", fault, seq=entry.seq)
        except Fault:
            continue  # a damaged entry, which is named elsewhere
    if anchored and not contradicted:
        report.ok("times", "The ledger's own clock agrees with the outside time-stamps.")


def _root_by_tiles(reader: LedgerReader, size: int) -> bytes | None:
    try:
        return tiles.root_at(reader, size)
    except Fault:
        return None


def _roots_by_entries(reader: LedgerReader, sizes: Iterable[int]) -> dict[int, bytes]:
    """The roots at these sizes (ascending), by hashing every entry below the largest."""
    roots: dict[int, bytes] = {}
    tree = CompactRange()
    for size in sizes:
        while tree.size < size:
            rows = reader.read_entries(tree.size, min(size, tree.size + CHUNK))
            if not rows:
                return roots
            tree.extend([entries.leaf_hash(row) for row in rows])
        roots[size] = tree.root()
    return roots
