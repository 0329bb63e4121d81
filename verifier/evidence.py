"""Step 9 of 9: evidence. Proves one product's history from a file and pinned keys alone.

verify() takes any bytes whatsoever and gives a Report: what was checked, what
was found, what was not checked. It reads nothing but its arguments and trusts
nothing in the file that a pinned key, the ledger's own signature or a hash
does not hold. build() makes such a file; it is in verifier.evidence_build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keys import envelope
from keys.errors import Fault
from keys.note import NoteVerifier
from keys.registry import Registry
from ledger import entry as entries
from ledger import merkle
from traceability.gs1.canonical import canonical
from verifier import bundle as bundles
from verifier.anchors import (
    Anchor,
    AnchorTimes,
    judge_anchor,
    require_anchor_time,
    require_time_bounds,
    token_verifier,
)
from verifier.bundle import Bundle, Item
from verifier.checkpoints import Opened, open_checkpoint
from verifier.errors import BundleMalformed, EvidenceIncomplete, EvidenceRefuted
from verifier.evidence_build import AnchorFinder, build
from verifier.key_history import find_doubts, introductions, require_whole_walk
from verifier.product import Told, require_about
from verifier.statements import (
    KEY_KINDS,
    Judged,
    apply_key_statement,
    judge,
    require_digest,
    verify_signature,
)
from verifier.trust import Trust
from verifier.verdict import Check, Report, ReportBuilder, nor_more

__all__ = ["AnchorFinder", "build", "verify"]

_TAIL_ONLY = (
    "The newest entry in the file: it is there for the key history alone, its statement is not shown."
)


def verify(raw: bytes, trust: Trust, *, expected_subject: str | None = None) -> Report:
    """Examine an evidence bundle. Never raises, whatever the bytes are.

    expected_subject  the product that the caller holds, in any GS1 form; without
                      it the report says that nobody compared

    Cost is linear in the file, whose size is bounded; one signature
    verification per statement and per checkpoint line.
    """
    report = ReportBuilder("evidence", "an evidence bundle that cannot be read")
    try:
        _examine(raw, trust, expected_subject, report)
    except Fault as fault:
        report.fault("file", fault)
    except Exception as error:  # hostile bytes may break anything: that is a verdict, never a traceback
        report.fault("file", unreadable(error))
    return report.build()


def unreadable(error: Exception) -> BundleMalformed:
    """The fault for an exception that nobody foresaw."""
    return BundleMalformed(
        "file.unreadable", f"the file cannot be processed ({type(error).__name__}): it is damaged or hostile"
    )


@dataclass(slots=True)
class _Case:
    """What is known about one bundle, stage by stage."""

    bundle: Bundle
    trust: Trust
    report: ReportBuilder
    opened: Opened
    by_seq: Mapping[int, Item]
    registry: Registry | None = None  # as of the checkpoint, once every key statement was applied
    signers: dict[int, str] = field(default_factory=dict)  # kid that signed each key statement
    judged: dict[int, Judged] = field(default_factory=dict)  # statements whose signature verified, by seq
    anchors: list[Anchor] = field(default_factory=list)

    @property
    def events(self) -> list[Item]:
        """The product's events: every shown statement of an entry of this kind."""
        return self._shown("event")

    @property
    def anchor_count(self) -> int:
        """How many anchors the file shows, good or bad."""
        return len(self._shown("anchor"))

    def _shown(self, kind: str) -> list[Item]:
        return [i for i in self.bundle.items if i.entry.kind == kind and i.statement is not None]


def _examine(raw: bytes, trust: Trust, expected_subject: str | None, report: ReportBuilder) -> None:
    bundle = bundles.parse(raw)
    report.subject = bundle.subject
    report.ok("file", "The file is whole, and spelled in the one way that its format allows.")
    case = _open(bundle, trust, report)
    _check_inclusion(case)
    if not _check_genesis(case):
        return
    _check_statements(case)
    _check_subject(case, expected_subject)
    _check_anchors(case)
    _check_doubts(case)
    _add_facts(case)
    _add_limits(case)


def _open(bundle: Bundle, trust: Trust, report: ReportBuilder) -> _Case:
    """Whose ledger is it, and which state of it does the file speak of?"""
    report.facts["origin"] = bundle.origin
    own_verifiers: tuple[NoteVerifier, ...] = ()
    first = bundle.items[0]
    if first.seq == 0 and first.statement is not None and not trust.log_verifiers(bundle.origin):
        # Not believed: they only let a file without pinned keys be checked against itself.
        own_verifiers = Registry.from_genesis(first.statement).log_verifiers
    opened = open_checkpoint(bundle.checkpoint, trust, own_verifiers, bundle.origin, report)
    if opened.checkpoint.origin != bundle.origin:
        raise EvidenceRefuted(
            "bundle.origin", "the file names another ledger than its checkpoint does", "/origin"
        )
    by_seq = {item.seq: item for item in bundle.items}
    return _Case(bundle, trust, report, opened, by_seq)


def _check_inclusion(case: _Case) -> None:
    """Every entry is in the signed tree, at its own position."""
    checkpoint = case.opened.checkpoint
    previous: Item | None = None
    for index, item in enumerate(case.bundle.items):
        try:
            leaf = entries.leaf_hash(item.entry_bytes)
            merkle.verify_inclusion(leaf, item.seq, checkpoint.tree_size, item.path, checkpoint.root_hash)
            if previous is not None:
                _require_chain(previous, item)
            if item.statement is not None:
                require_digest(item.entry, item.statement)
        except Fault as fault:
            # Everything after this stage builds on it, so nothing after it is looked at.
            raise EvidenceRefuted(
                fault.code,
                f"entry {item.seq} is not in the signed ledger as it stands here: {fault.detail}",
                f"/entries/{index}",
            ) from fault
        previous = item
    case.report.ok(
        "inclusion",
        f"All entries in the file ({len(case.bundle.items)}) are in the signed ledger, each at its position,"
        " and each statement is the one that was recorded.",
    )


def _require_chain(previous: Item, item: Item) -> None:
    """What an entry and the nearest one below it in the file show of each other, neighbours or not."""
    if previous.seq == item.seq - 1 and item.entry.prev != entries.leaf_hash(previous.entry_bytes):
        raise EvidenceRefuted("entry.prev", f"it does not follow entry {previous.seq}", "/prev")
    # Times never decrease along the log. An expired key counts by an entry's own time, so a ledger that could
    # set one entry back, with its neighbours left out of the file, could make that key count again.
    if item.entry.recorded_at < previous.entry.recorded_at:
        raise EvidenceRefuted("entry.recorded_at", "its time is before the entry's below it", "/recorded_at")


def _check_genesis(case: _Case) -> bool:
    """Is it the ledger that was meant, or another one of the same name? False ends the examination."""
    first = case.bundle.items[0]
    pinned = case.trust.genesis
    if first.seq != 0 or first.statement is None:
        raise EvidenceIncomplete(
            "genesis.missing", "the ledger's first entry is not in the file", "/entries/0"
        )
    if pinned is None or pinned.origin != case.bundle.origin:
        case.report.add(
            Check(
                "genesis",
                "unknown",
                f"No first entry of {case.bundle.origin} is pinned: it may be another ledger by that name.",
                "genesis.unpinned",
            )
        )
        return True
    if pinned.leaf_hash != entries.leaf_hash(first.entry_bytes):
        case.report.fault(
            "genesis",
            EvidenceRefuted(
                "genesis.other", "The ledger begins with another first entry than the pinned one."
            ),
            seq=0,
        )
        return False
    case.report.ok("genesis", f"It is the very ledger that was pinned: {case.bundle.origin}.")
    return True


def _check_statements(case: _Case) -> None:
    """Is every key statement here, what do they say, and who signed everything else?"""
    report = case.report
    try:
        require_whole_walk([item.entry for item in case.bundle.items], case.opened.checkpoint.tree_size)
    except Fault as fault:
        report.fault("key-history", fault)
        report.add(
            Check(
                "signatures",
                "unknown",
                "Whose signatures these are cannot be decided without the whole key history.",
                "keys.unproved",
            )
        )
        return
    registry: Registry | None = None
    faults = 0
    for item in case.bundle.items:
        if item.entry.kind in KEY_KINDS:
            try:
                registry, case.signers[item.seq] = _apply(registry, item, case.bundle.origin)
            except Fault as fault:
                report.fault("key-history", fault, seq=item.seq)
                return
        elif item.statement is None:
            _report_hidden(case, item)
        elif registry is not None:
            try:
                judged = judge(item.entry, item.statement, registry)
                verify_signature(judged)
            except Fault as fault:
                faults += 1
                report.fault("signatures", fault, seq=item.seq)
            else:
                case.judged[item.seq] = judged
    case.registry = registry
    report.ok(
        "key-history",
        f"All statements about keys ({len(case.signers)}) that the ledger's links lead to are here, from its"
        " first entry on: none was left out.",
    )
    if case.judged and not faults:
        report.ok(
            "signatures",
            f"All statements ({len(case.judged)}) are signed with keys that were valid at their positions.",
        )


def _apply(registry: Registry | None, item: Item, origin: str) -> tuple[Registry, str]:
    if item.statement is None:
        raise EvidenceIncomplete("keys.statement", f"the key statement at entry {item.seq} is not shown")
    registry, signer = apply_key_statement(registry, item.entry, item.statement)
    if registry.origin != origin:
        raise EvidenceRefuted("genesis.origin", "the ledger's first entry names another ledger")
    return registry, signer


def _report_hidden(case: _Case, item: Item) -> None:
    if item.seq == case.opened.checkpoint.tree_size - 1:
        case.report.not_checked(_TAIL_ONLY)
        return
    case.report.add(
        Check(
            "signatures",
            "unknown",
            f"The statement of entry {item.seq} was erased or is withheld: what it said cannot be checked.",
            "statement.erased",
            item.seq,
        )
    )


def _check_subject(case: _Case, expected_subject: str | None) -> None:
    """Are these valid events, and are they all about the product that the file names?"""
    report, subject = case.report, case.bundle.subject
    if expected_subject is not None:
        # The canonical name itself, as a program has it, or whatever stands on the pack.
        expected = subject if expected_subject == subject else canonical(expected_subject)
        if expected != subject:
            report.fault(
                "subject",
                EvidenceRefuted(
                    "bundle.subject", f"The file is about {subject}, and not about {expected}.", "/subject"
                ),
            )
            return
    else:
        report.not_checked(f"Whether the product in your hand is the one this file is about: {subject}.")
    try:
        require_about(subject, [_told(item) for item in case.events])
    except Fault as fault:
        report.fault("subject", fault)
        return
    report.ok(
        "subject",
        f"All events ({len(case.events)}) are valid EPCIS 2.0, and about {subject} or what it was packed in.",
    )


def _told(item: Item) -> Told:
    statement = envelope.parse(item.statement or b"")
    return Told(item.seq, statement.typ, statement.payload)


def _check_anchors(case: _Case) -> None:
    """What do outside clocks say about when the events were written?"""
    report, checkpoint = case.report, case.opened.checkpoint
    verifier = token_verifier(case.trust.roots)
    proofs = {proof.size: proof.path for proof in case.bundle.consistency}
    used: set[int] = set()
    for item in case.bundle.items:
        judged = case.judged.get(item.seq)
        if item.entry.kind != "anchor" or judged is None:
            continue
        try:
            anchor = judge_anchor(item.entry, judged.statement.payload, verifier, case.bundle.origin)
            path = proofs.get(anchor.size)
            if path is None:
                raise EvidenceIncomplete(
                    "anchor.consistency",
                    f"no proof that the {anchor.size} anchored entries are this ledger's",
                )
            used.add(anchor.size)
            merkle.verify_consistency(
                anchor.size, checkpoint.tree_size, anchor.checkpoint.root_hash, checkpoint.root_hash, path
            )
        except Fault as fault:
            report.fault("anchors", fault, seq=item.seq)
        else:
            case.anchors.append(anchor)
            _check_anchor_time(item, anchor, report)
            for name in anchor.unverified:
                report.not_checked(f"The time-stamp of {name} in entry {item.seq}: its root is not pinned.")
    if len(case.anchors) == case.anchor_count and used != set(proofs):
        # A proof that nothing needs would be bytes that nobody checks.
        raise BundleMalformed("bundle.extra", "a consistency proof belongs to no anchor", "/consistency")
    _check_times(case, AnchorTimes(case.anchors))


def _check_anchor_time(item: Item, anchor: Anchor, report: ReportBuilder) -> None:
    try:
        require_anchor_time(item.entry, anchor)
    except EvidenceRefuted as fault:
        report.suspect("times", fault, seq=item.seq)


def _check_times(case: _Case, times: AnchorTimes) -> None:
    report = case.report
    late = [item.seq for item in case.events if times.find_covering(item.seq) is None]
    for item in case.events:
        try:
            require_time_bounds(item.entry, times.find_covering(item.seq))
        except Fault as fault:
            report.suspect("times", fault, seq=item.seq)
    if len(late) < len(case.events) and report.outcomes("times") == set():
        report.ok("times", "The ledger's own clock agrees with the outside time-stamps.")
    if not late and case.events:
        newest = max(anchor.gen_time for anchor in case.anchors)
        report.ok(
            "anchors",
            "Every event was time-stamped by an authority that you pinned; all of them existed by"
            f" {newest:%Y-%m-%d %H:%M:%S} UTC.",
        )
    elif late and len(case.anchors) == case.anchor_count:
        report.add(
            Check(
                "anchors",
                "not-yet",
                f"No outside time-stamp covers it yet{nor_more(len(late) - 1)}.",
                "anchor.missing",
                late[0],
            )
        )


def _check_doubts(case: _Case) -> None:
    """What became known later about the keys that signed?"""
    if case.registry is None:
        return
    doubts = find_doubts(case.registry, introductions(case.registry, case.signers), AnchorTimes(case.anchors))
    found = 0
    for item in case.events:
        judged = case.judged.get(item.seq)
        doubt = doubts.get(judged.key.kid) if judged else None
        if doubt is not None and item.seq >= doubt.since_seq:
            found += 1
            case.report.suspect("key-state", doubt.fault(), seq=item.seq)
    if not found and case.judged:
        case.report.ok(
            "key-state", "None of the keys that signed is known to have been in other hands by then."
        )


def _add_facts(case: _Case) -> None:
    """What a reader of the verdict wants to know besides."""
    facts, registry = case.report.facts, case.registry
    times = AnchorTimes(case.anchors)
    facts["tree_size"] = case.opened.checkpoint.tree_size
    facts["state_of"] = entries.render_time(case.bundle.items[-1].entry.recorded_at)
    facts["events"] = [_event_fact(case, item, times) for item in case.events]
    if registry is not None:
        parties = {
            judged.key.party for seq, judged in case.judged.items() if case.by_seq[seq].entry.kind == "event"
        }
        facts["signers"] = [
            {"name": registry.parties[party].name, "party": party} for party in sorted(parties)
        ]


def _event_fact(case: _Case, item: Item, times: AnchorTimes) -> dict[str, Any]:
    judged, covering = case.judged.get(item.seq), times.find_covering(item.seq)
    return {
        "seq": item.seq,
        "recorded_at": entries.render_time(item.entry.recorded_at),
        "party": judged.key.party if judged else None,
        "existed_by": entries.render_time(covering.gen_time) if covering else None,
        "authority": covering.authority if covering else None,
    }


def _add_limits(case: _Case) -> None:
    """What no file of this kind can show."""
    report = case.report
    newest = case.bundle.items[-1].entry.recorded_at
    report.not_checked(
        "Whether what the parties signed is true: a signature proves who said it, not that it is so."
    )
    report.not_checked(
        "Whether the ledger holds more about this product: a file proves what is in it, not that it is all."
    )
    report.not_checked(
        "Whether the ledger's links pass over a statement about keys: the entries in the file agree with"
        " them, but only an audit reads every entry."
    )
    report.not_checked(
        f"Anything that happened after the newest entry in the file, {newest:%Y-%m-%d %H:%M:%S} UTC."
    )
    report.not_checked("Whether the parties were entitled, by contract or by law, to do what they signed.")
