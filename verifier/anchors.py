"""Step 9 of 9: what outside clocks prove. Between anchoring.record and the verdicts.

An anchor shows that the ledger's first `size` entries existed, exactly as
they are, at a time that somebody else's clock gave. So it bounds from above
when each of them was written, whoever holds which key today.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from cryptography import x509

from anchoring import record as anchor_record
from anchoring.rfc3161 import TokenVerifier
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry
from verifier.errors import EvidenceRefuted, NotPinned

# Between the ledger's clock and the authority's. Tokens of many authorities have whole seconds.
CLOCK_TOLERANCE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One anchor entry whose tokens were checked."""

    seq: int  # of the anchor entry itself
    checkpoint: Checkpoint  # what was time-stamped: the ledger's first tree_size entries
    gen_time: datetime  # the earliest time that a pinned authority gave
    latest: datetime  # by when the entries existed for certain: with the accuracy that the authority claims
    authority: str  # subject of its certificate
    unverified: tuple[str, ...] = ()  # authorities whose tokens nobody here can check

    @property
    def size(self) -> int:
        """How many entries it covers."""
        return self.checkpoint.tree_size


def token_verifier(roots: Sequence[x509.Certificate]) -> TokenVerifier | None:
    """One verifier for all anchors; None if no authority is pinned."""
    return TokenVerifier(roots) if roots else None


def judge_anchor(entry: Entry, payload: bytes, verifier: TokenVerifier | None, origin: str) -> Anchor:
    """Check an anchor statement's payload: form, batch, tokens, and that it speaks of this ledger.

    It remains to show that the anchored tree is the beginning of this
    ledger's: by a consistency proof, or by computing its root again.
    Raises the anchoring room's faults, EvidenceRefuted or NotPinned.
    """
    record = anchor_record.parse(payload)
    if verifier is None:
        raise NotPinned("anchor.unpinned", "no time-stamp authority is pinned, so no time can be believed")
    verified = anchor_record.verify_record(record, verifier)
    checkpoint = verified.checkpoint
    if checkpoint.origin != origin:
        raise EvidenceRefuted(
            "anchor.origin", f"the anchor is of the ledger {checkpoint.origin}, not of {origin}"
        )
    if not 0 < checkpoint.tree_size <= entry.seq:
        raise EvidenceRefuted(
            "anchor.size", f"the anchor at {entry.seq} claims {checkpoint.tree_size} entries below it"
        )
    return Anchor(
        seq=entry.seq,
        checkpoint=checkpoint,
        gen_time=verified.gen_time,
        latest=verified.latest,
        authority=verified.authority,
        unverified=tuple(name for name, _ in verified.unverified),
    )


class AnchorTimes:
    """Which outside time bounds which entry: the earliest one of all anchors that cover it."""

    def __init__(self, anchors: Sequence[Anchor]) -> None:
        self._anchors = sorted(anchors, key=lambda anchor: anchor.size)
        self._sizes = [anchor.size for anchor in self._anchors]
        # earliest[i]: of all anchors with at least this size, the one with the earliest time.
        earliest: list[Anchor] = []
        for anchor in reversed(self._anchors):
            later = earliest[-1] if earliest else anchor
            earliest.append(anchor if anchor.gen_time <= later.gen_time else later)
        self._earliest = earliest[::-1]
        by_time = sorted(anchors, key=lambda anchor: anchor.latest)
        self._times = [anchor.latest for anchor in by_time]
        self._sizes_by_time = list(accumulate((anchor.size for anchor in by_time), max))

    def __len__(self) -> int:
        return len(self._anchors)

    @property
    def covered_size(self) -> int:
        """How many of the ledger's first entries some anchor covers."""
        return self._sizes[-1] if self._sizes else 0

    def find_covering(self, seq: int) -> Anchor | None:
        """The anchor that bounds this entry's time best, or None if none covers it."""
        place = bisect_right(self._sizes, seq)
        return self._earliest[place] if place < len(self._earliest) else None

    def size_before(self, moment: datetime) -> int:
        """How many first entries are proved to have existed before this moment."""
        place = bisect_left(self._times, moment)
        return self._sizes_by_time[place - 1] if place else 0


def require_time_bounds(entry: Entry, covering: Anchor | None) -> None:
    """The ledger's own clock does not contradict the outside one.

    An entry cannot have been recorded after the time that proves its existence.
    """
    if covering is not None and entry.recorded_at > covering.gen_time + CLOCK_TOLERANCE:
        raise EvidenceRefuted(
            "time.after-anchor",
            f"entry {entry.seq} says it was recorded at {_time(entry.recorded_at)}, but it already existed"
            f" at {_time(covering.gen_time)}",
        )


def require_anchor_time(entry: Entry, anchor: Anchor) -> None:
    """An anchor is recorded once its token exists, never before.

    Times never decrease along the log, so this bounds everything behind it from below.
    """
    if entry.recorded_at < anchor.gen_time - CLOCK_TOLERANCE:
        raise EvidenceRefuted(
            "time.before-anchor",
            f"entry {entry.seq} says it was recorded at {_time(entry.recorded_at)}, but it holds a"
            f" time-stamp of {_time(anchor.gen_time)}",
        )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
