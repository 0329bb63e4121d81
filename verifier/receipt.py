"""Step 9 of 9: receipts. What a partner keeps for each statement, checked again from pinned keys.

A receipt proves that the ledger took this statement at this position and
signed for it. It holds no key history, so it cannot say whether the
statement's own key counted there: its verdict is UNKNOWN-KEY at best.
"""

from __future__ import annotations

from hashlib import sha256

from keys import envelope
from keys.errors import Fault, Unverifiable
from ledger import entry as entries
from ledger import merkle, proof
from ledger.checkpoint import parse_unverified
from ledger.entry import Entry
from verifier.checkpoints import open_checkpoint
from verifier.errors import EvidenceRefuted
from verifier.statements import require_kind
from verifier.trust import Trust
from verifier.verdict import Check, Report, ReportBuilder


def statement_digest_of(raw: bytes) -> bytes | None:
    """The digest of the statement that a receipt claims to be for, to find its file; not verified."""
    try:
        extra = proof.parse(raw).extra
        return entries.parse(extra).statement if extra is not None else None
    except Fault:
        return None


def verify(raw: bytes, trust: Trust, *, statement: bytes | None = None) -> Report:
    """Examine a receipt (C2SP tlog-proof). Never raises, whatever the bytes are.

    statement  the exact bytes that were handed in; without them nobody can
               tell what the receipt is for
    """
    report = ReportBuilder("receipt", "a receipt that cannot be read")
    try:
        _examine(raw, trust, statement, report)
    except Fault as fault:
        report.fault("file", fault)
    except Exception as error:  # hostile bytes may break anything: that is a verdict, never a traceback
        detail = f"the file cannot be processed ({type(error).__name__}): it is damaged or hostile"
        report.fault("file", EvidenceRefuted("file.unreadable", detail))
    return report.build()


def _examine(raw: bytes, trust: Trust, statement: bytes | None, report: ReportBuilder) -> None:
    receipt = proof.parse(raw)
    if receipt.extra is None:
        raise EvidenceRefuted("receipt.extra", "it proves the place of an entry that it does not name")
    # Nothing in `extra` is believed until its leaf hash has led to the signed root.
    entry = entries.parse(receipt.extra)
    report.subject = f"entry {receipt.index}"
    origin = trust.genesis.origin if trust.genesis else _claimed_origin(receipt.checkpoint)
    opened = open_checkpoint(receipt.checkpoint, trust, (), origin, report)
    checkpoint = opened.checkpoint
    if checkpoint.origin != origin:
        raise EvidenceRefuted("receipt.origin", f"it is of the ledger {checkpoint.origin}, not of {origin}")
    report.subject = f"entry {receipt.index} of {origin}"
    report.facts |= {"origin": origin, "tree_size": checkpoint.tree_size, "seq": entry.seq}
    leaf = entries.leaf_hash(receipt.extra)
    merkle.verify_inclusion(leaf, receipt.index, checkpoint.tree_size, receipt.path, checkpoint.root_hash)
    if entry.seq != receipt.index:
        raise EvidenceRefuted("receipt.seq", f"entry {entry.seq} does not stand at index {receipt.index}")
    report.ok("inclusion", f"The ledger holds this entry at position {entry.seq}.")
    report.facts["recorded_at"] = entries.render_time(entry.recorded_at)
    _check_statement(entry, statement, origin, report)
    report.add(
        Check(
            "key-history",
            "unknown",
            "Whether the statement's key counted at that position: a receipt does not hold the key history."
            " An evidence bundle does.",
            "keys.unproved",
        )
    )
    report.not_checked("When the entry was written, by any clock but the ledger's own.")


def _check_statement(entry: Entry, statement: bytes | None, origin: str, report: ReportBuilder) -> None:
    if statement is None:
        report.add(
            Check(
                "statement",
                "unknown",
                "What the receipt is for: give the statement's file too, and it is compared.",
                "receipt.statement",
            )
        )
        return
    if sha256(statement).digest() != entry.statement:
        raise EvidenceRefuted("receipt.statement", "the receipt is for another statement than the one given")
    read = envelope.parse(statement)
    if entry.kind not in entries.KINDS:
        raise Unverifiable("entry.kind", f"entry {entry.seq} is of kind {entry.kind!r}, not known here")
    # An event that stands as something else is followed, anchored and shown as something else.
    require_kind(entry, read)
    envelope.require_audience(read, origin)
    report.facts |= {"kid": read.kid, "typ": read.typ}
    report.ok("statement", "It is for exactly the statement that was given with it.")


def _claimed_origin(note_bytes: bytes) -> str:
    return parse_unverified(note_bytes).origin
