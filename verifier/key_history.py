"""Step 9 of 9: whose keys, and since when not any more. After keys.registry, before the verdicts.

Every entry links to the newest key statement below it, and that one to the
one before, down to the first entry. Whoever walks these links from the
checkpoint has every key statement there is: a revocation cannot be left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keys.registry import KeyRecord, Registry
from ledger.entry import Entry
from verifier.anchors import AnchorTimes
from verifier.errors import EvidenceDoubtful, EvidenceIncomplete, EvidenceRefuted
from verifier.statements import KEY_KINDS


@dataclass(frozen=True, slots=True)
class Introduction:
    """Where a key came onto the ledger, and whose signature brought it there."""

    seq: int
    signer: str  # kid


def require_whole_walk(entries: Sequence[Entry], tree_size: int) -> None:
    """Check that these entries hold the whole walk from the tree's last entry to its first.

    entries  ascending by seq, inclusion verified; may hold other entries too

    Raises EvidenceIncomplete if a link leads to an entry that is not there,
    EvidenceRefuted if links contradict each other. Linear; no hash.
    """
    by_seq = {entry.seq: entry for entry in entries}
    last = by_seq.get(tree_size - 1)
    if last is None:
        raise EvidenceIncomplete(
            "keys.walk", f"entry {tree_size - 1}, from which the key history is walked, is not in the file"
        )
    walked: set[int] = set()
    seq = last.seq if last.kind in KEY_KINDS else last.keys
    while True:
        entry = by_seq.get(seq)
        if entry is None:
            raise EvidenceIncomplete(
                "keys.walk",
                f"the key statement at entry {seq} was left out: the file may hide that a key was revoked",
            )
        if entry.kind not in KEY_KINDS or (entry.kind == "genesis") != (seq == 0):
            raise EvidenceRefuted(
                "keys.link", f"a key link leads to entry {seq}, which is of kind {entry.kind!r}"
            )
        walked.add(seq)
        if seq == 0:
            break
        seq = entry.keys  # below seq, or it would not have parsed: so the walk ends
    newest = 0
    for entry in entries:
        # What lies on no link, or links past a newer key statement, contradicts the walk.
        if entry.seq and entry.keys != newest:
            raise EvidenceRefuted(
                "keys.link",
                f"entry {entry.seq} links to key statement {entry.keys}, the newest below is {newest}",
            )
        if entry.kind in KEY_KINDS:
            if entry.seq not in walked:
                raise EvidenceRefuted("keys.link", f"the key statement at entry {entry.seq} is on no link")
            newest = entry.seq


def introductions(registry: Registry, signers: Mapping[int, str]) -> dict[str, Introduction]:
    """Where each key came from; `signers` has the kid that signed the key statement at each seq."""
    return {
        kid: Introduction(record.registered_seq, signers[record.registered_seq])
        for kid, record in registry.keys.items()
        if record.registered_seq in signers
    }


def is_compromised(record: KeyRecord) -> bool:
    """Whether some of what a key signed, while it was active, is doubtful.

    `record.invalid_since` then says from when on; None means that nobody
    knows, and only doubt is honest.
    """
    if record.ended_cause != "revoked":
        return False
    return record.invalid_since is not None or record.reason == "compromised"


@dataclass(frozen=True, slots=True)
class Doubt:
    """From which position on what a key signed is suspect, and why."""

    since_seq: int
    reason: str

    def fault(self) -> EvidenceDoubtful:
        """The doubt, to be said of one entry."""
        return EvidenceDoubtful("key.compromised", self.reason)


def find_doubts(
    registry: Registry, brought: Mapping[str, Introduction], times: AnchorTimes
) -> dict[str, Doubt]:
    """The keys whose signatures are suspect from some position on, by what became known later.

    A key that was revoked as compromised is believed only for what an outside
    clock had seen before: a thief can write anything, but not earlier. What a
    doubtful signature registered is doubtful altogether, and so on down.
    Linear in the keys.
    """
    doubts: dict[str, Doubt] = {}
    # In the order of registration: whoever registered a key was on the ledger before it.
    for kid, record in sorted(registry.keys.items(), key=lambda item: item[1].registered_seq):
        name = registry.parties[record.party].name
        introduction = brought.get(kid)
        above = doubts.get(introduction.signer) if introduction and introduction.signer != kid else None
        if introduction and above and introduction.seq >= above.since_seq:
            doubts[kid] = Doubt(
                0,
                f"The key of {name} that signed was itself brought onto the ledger by a doubtful signature.",
            )
        elif is_compromised(record):
            start = record.invalid_since
            when = "from an unknown time on" if start is None else f"from {start:%Y-%m-%d %H:%M:%S} UTC on"
            doubts[kid] = Doubt(
                0 if start is None else times.size_before(start),
                f"The key of {name} that signed was in other hands {when}, and no outside time-stamp shows"
                " that the entry is older.",
            )
    return doubts
