"""Step 9 of 9: two files, one ledger, two truths? After each file has its own report.

One log may sign one root for one size. Two files whose checkpoints disagree
prove that the ledger showed different histories to different people, though
each file alone is in perfect order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verifier.verdict import FORK_CODE, Check, Report


def find_forks(reports: Sequence[Report]) -> list[Check]:
    """One row for each pair of contradicting checkpoints; only signed and pinned ones count."""
    seen: dict[tuple[str, int], str] = {}
    forks: list[Check] = []
    for report in reports:
        claim: Mapping[str, Any] | None = report.facts.get("checkpoint")
        if claim is None or not claim["pinned"]:
            continue
        key = (claim["origin"], claim["tree_size"])
        root = seen.setdefault(key, claim["root_hash"])
        if root != claim["root_hash"]:
            forks.append(
                Check(
                    "fork",
                    "bad",
                    f"The ledger {key[0]} signed two different states of {key[1]:,} entries: it shows"
                    " different histories to different people.",
                    FORK_CODE,
                )
            )
    return forks
