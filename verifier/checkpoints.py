"""Step 9 of 9: whose checkpoint is this, and who else has seen it? After ledger.checkpoint.

A checkpoint is the log's signed claim about itself. It is believed if a
pinned log key signed it, and as far as the policy asks, if enough pinned
witnesses cosigned it: a log may show two people two histories, but it cannot
show both to the same witness.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from keys import note
from keys.errors import Unverifiable
from keys.note import NoteVerifier
from ledger import checkpoint as checkpoints
from ledger.checkpoint import Checkpoint
from verifier.policy import Policy
from verifier.trust import Trust
from verifier.verdict import Check, ReportBuilder

LINES_NAMED_MAX = 10  # signature lines of unknown keys that a report names one by one


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint whose text was signed as it stands."""

    checkpoint: Checkpoint
    is_pinned: bool  # False: signed only by a key that the evidence itself brings


def open_checkpoint(
    raw: bytes, trust: Trust, own_verifiers: Sequence[NoteVerifier], origin: str, report: ReportBuilder
) -> Opened:
    """Check the log's signature and the witnesses', and report it.

    own_verifiers  the log keys that the evidence names itself: where none is
                   pinned they still show whether the file is whole

    Raises Malformed, Refuted (a known key's bad line) or Unverifiable (no known key signed).
    """
    pinned = trust.log_verifiers(origin)
    witnesses = trust.policy.witnesses if trust.policy else ()
    known = [*(pinned or own_verifiers), *(witness.verifier for witness in witnesses)]
    opened = note.open_note(raw, known) if known else None
    body = opened.text if opened else note.parse(raw).text
    checkpoint = checkpoints.parse_body(body)
    log_ids = {(verifier.name, verifier.key_id) for verifier in pinned or own_verifiers}
    signed = opened is not None and any((line.name, line.key_id) in log_ids for line in opened.verified)
    if opened is None or not signed:
        raise Unverifiable(
            "checkpoint.unknown", f"no key that is known for {origin} has signed the checkpoint"
        )
    report.facts["checkpoint"] = {
        "origin": checkpoint.origin,
        "tree_size": checkpoint.tree_size,
        "root_hash": base64.b64encode(checkpoint.root_hash).decode("ascii"),
        "pinned": bool(pinned),
    }
    if pinned:
        report.ok(
            "checkpoint",
            f"The ledger {origin} signed its state of {checkpoint.tree_size:,} entries with its pinned key.",
        )
    else:
        report.add(
            Check(
                "checkpoint",
                "unknown",
                f"Its state of {checkpoint.tree_size:,} entries is signed by a key that only it names itself;"
                f" no key of {origin} is pinned.",
                "checkpoint.unpinned",
            )
        )
    if trust.policy:
        _report_witnesses(opened.verified, trust.policy, report)
    if opened.unknown:
        names = ", ".join(sorted({line.name for line in opened.unknown})[:LINES_NAMED_MAX])
        report.not_checked(f"Signature lines under the checkpoint by keys that nobody pinned: {names}.")
    return Opened(checkpoint, bool(pinned))


def _report_witnesses(verified: Sequence[note.SignatureLine], policy: Policy, report: ReportBuilder) -> None:
    signed = {(line.name, line.key_id) for line in verified}
    names = [
        witness.name
        for witness in policy.witnesses
        if (witness.verifier.name, witness.verifier.key_id) in signed
    ]
    if policy.quorum == "none":
        report.not_checked(
            "Whether the ledger shows the same history to everybody: the policy asks for no witness."
        )
        return
    if policy.is_met_by(names):
        report.ok("witnesses", f"Independent witnesses saw the same state: {', '.join(sorted(names))}.")
        return
    report.add(
        Check(
            "witnesses",
            "not-yet",
            f"Too few independent witnesses have signed this state: the policy asks for {policy.quorum!r},"
            f" signed have {', '.join(sorted(names)) or 'none'}.",
            "checkpoint.quorum",
        )
    )
