"""Step 9 of 9: audit. To ledger.audit it adds whose signatures these are, and what outside clocks say.

audit() reads a whole ledger once, from a database or an address, and names
each faulty entry. Memory is bounded however long the ledger is: what is kept
is the key history, one line per anchor, and a bounded number of findings. A
long ledger is shared out over processes, one per core; the report is the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from keys import envelope
from keys.errors import Fault, Malformed
from keys.note import NoteVerifier
from keys.registry import Registry
from ledger import checkpoint as checkpoints
from ledger import entry as entries
from ledger.audit import AuditReport, Finding, LedgerReader
from ledger.entry import Entry
from verifier.anchored_tree import check_anchored_times, check_anchored_trees
from verifier.anchors import Anchor, AnchorTimes, token_verifier
from verifier.checkpoints import open_checkpoint
from verifier.crew import Crew, OpenReader, OwnCrew, ProcessCrew
from verifier.crew_start import CrewStart
from verifier.errors import EvidenceRefuted, NotPinned
from verifier.key_history import Doubt, find_doubts, introductions
from verifier.range_audit import Audited, RangeAudit, Resume
from verifier.ranges import Setup
from verifier.resume import read_state
from verifier.signature_audit import SignatureResult
from verifier.trust import Trust
from verifier.verdict import FORK_CODE, Check, Outcome, Report, ReportBuilder, nor_more

Progress = Callable[[int, int], None]

CHUNK = 4096  # entries held at once
# Below so many entries, one process is done before others have started.
PARALLEL_MIN = 20_000
PARALLEL_MIN_STRUCTURE = 200_000
SUSPECTS_NAMED_MAX = 200  # entries of lost keys that a report names one by one
_EVENT_MARK = b'"kind":"event"'  # canonical JSON has no other spelling of it

_OUTCOME_OF_CAUSE: dict[str, Outcome] = {
    "malformed": "bad",
    "refuted": "bad",
    "unverifiable": "unknown",
    "notyet": "not-yet",
}


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old an event may be before it has to be anchored."""

    now: datetime
    age_max: timedelta = timedelta(0)


def audit(
    reader: LedgerReader,
    trust: Trust,
    *,
    kept_checkpoint: bytes | None = None,
    freshness: Freshness | None = None,
    progress: Progress | None = None,
    open_reader: OpenReader | None = None,
    processes: int | None = None,
    state_file: Path | None = None,
    structure_only: bool = False,
    crew_start: CrewStart | None = None,
) -> Report:
    """Check everything in a ledger that can be checked from its bytes and pinned keys.

    kept_checkpoint  one that was seen before; the ledger must still agree with it
    freshness        lets the newest events go without an anchor for a while;
                     None: every event must have one
    open_reader      how another process opens the same ledger; None: this one does all
    processes        that share a long ledger; by default one per core
    state_file       where an audit that was interrupted goes on, and notes how far it came
    structure_only   verify no signature of a statement: the verdict then is UNKNOWN-KEY at best
    crew_start       where processes come from, if it was started early; the caller closes it

    Faults of the ledger become rows of the report. A reader that cannot read
    raises its own Fault. One signature verification per statement.
    """
    report = ReportBuilder("ledger", "a ledger")
    note = _read_checkpoint(reader)
    first_entry = _read_first(reader.read_entries(0, 1))
    own = _own_verifiers(_read_first(reader.read_statements(0, 1)))
    origin = trust.genesis.origin if trust.genesis else _claimed_origin(note, own)
    report.subject = origin
    report.facts["origin"] = origin
    pinned = trust.log_verifiers(origin)
    _check_checkpoint(note, trust, own, origin, report)
    _check_genesis(first_entry, trust, origin, report)
    if kept_checkpoint is not None:
        _check_kept(kept_checkpoint, pinned or own, origin, report)

    resume = None
    if state_file is not None:
        scope = _scope(trust, origin, structure_only=structure_only)
        resume = Resume(state_file, scope, read_state(state_file))
    setup = Setup(
        origin,
        tuple(root.public_bytes(Encoding.DER) for root in trust.roots),
        not structure_only,
        _claimed_size(note),
    )
    with ExitStack() as stack:

        def make_crew(count: int) -> Crew:
            shared_by = (processes or os.cpu_count() or 1) if open_reader is not None else 1
            least = PARALLEL_MIN_STRUCTURE if structure_only else PARALLEL_MIN
            if open_reader is None or shared_by == 1 or count < least:
                return OwnCrew(reader, setup)
            return stack.enter_context(ProcessCrew(shared_by, open_reader, setup, crew_start))

        audited = RangeAudit(
            reader,
            pinned or own,
            origin,
            checkpoint=kept_checkpoint,
            tokens=token_verifier(trust.roots),
            with_signatures=not structure_only,
            resume=resume,
            progress=progress,
        ).audit(make_crew)
    walked, signatures = audited.report, audited.signatures
    size = walked.checkpoint.tree_size if walked.checkpoint else 0
    _report_ledger(walked, report)
    _report_resumed(audited, report)
    report.facts |= {
        "tree_size": size,
        "entries_checked": walked.entries_checked,
        "statements_checked": walked.statements_checked,
        "signatures_checked": signatures.verified_count,
        "key_statements": len(audited.keys.signers),
        "anchors": 0,
        "anchored_size": 0,
    }
    if structure_only:
        _report_skipped(report)
    else:
        _report_signatures(audited, report)
        _report_times(reader, audited, min(size, walked.size), freshness, report)
    _add_limits(report)
    return report.build()


def _report_times(
    reader: LedgerReader, audited: Audited, size: int, freshness: Freshness | None, report: ReportBuilder
) -> None:
    """What outside clocks say of the entries, and what that says of keys that were lost."""
    signatures = audited.signatures
    anchored = check_anchored_trees(reader, signatures.anchors, report)
    check_anchored_times(reader, anchored, report)
    times = AnchorTimes([anchor for _, anchor in anchored])
    _report_anchors(signatures, anchored, report)
    _report_tail(reader, audited, times, size, freshness, report)
    _report_doubts(reader, audited, times, size, report)
    report.facts |= {"anchors": len(times), "anchored_size": times.covered_size}


def _read_checkpoint(reader: LedgerReader) -> bytes:
    """First of all, for by its address a ledger is as long as its checkpoint says; empty if it has none."""
    try:
        return reader.read_checkpoint()
    except Malformed:
        return b""  # a finding, not a failure to read


def _claimed_size(note: bytes) -> int:
    try:
        return checkpoints.parse_unverified(note).tree_size
    except Fault:
        return 0


def _scope(trust: Trust, origin: str, *, structure_only: bool) -> bytes:
    """A digest of the question: another one cannot go on where this one's audit ended."""
    parts = [b"structure" if structure_only else b"everything", origin.encode()]
    parts += [trust.genesis.leaf_hash] if trust.genesis else [b""]
    parts += sorted(verifier.vkey.encode() for verifier in trust.log_verifiers(origin))
    parts += sorted(root.fingerprint(SHA256()) for root in trust.roots)
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def _read_first(rows: Iterable[bytes | None]) -> bytes | None:
    return next(iter(rows), None)


def _own_verifiers(genesis: bytes | None) -> tuple[NoteVerifier, ...]:
    """The log keys that the ledger names itself: not believed, but enough to check it against itself."""
    try:
        return Registry.from_genesis(genesis).log_verifiers if genesis else ()
    except Fault:
        return ()  # the audit itself will say what is wrong with it


def _claimed_origin(note: bytes, own: tuple[NoteVerifier, ...]) -> str:
    try:
        return checkpoints.parse_unverified(note).origin
    except Fault:
        return own[0].name if own else "unknown"


def _check_checkpoint(
    note: bytes, trust: Trust, own: tuple[NoteVerifier, ...], origin: str, report: ReportBuilder
) -> None:
    try:
        open_checkpoint(note, trust, own, origin, report)
    except Fault as fault:
        report.fault("checkpoint", fault)


def _check_kept(kept: bytes, verifiers: Sequence[NoteVerifier], origin: str, report: ReportBuilder) -> None:
    """Whether the ledger still agrees with it, the audit says."""
    try:
        checkpoint = checkpoints.open_checkpoint(kept, verifiers, origin)
    except Fault as fault:
        report.fault("kept-checkpoint", fault)
    else:
        report.facts["kept_size"] = checkpoint.tree_size


def _check_genesis(entry_bytes: bytes | None, trust: Trust, origin: str, report: ReportBuilder) -> None:
    if trust.genesis is None:
        report.fault("genesis", NotPinned("genesis.unpinned", f"No first entry of {origin} is pinned."))
    elif not entry_bytes or entries.leaf_hash(entry_bytes) != trust.genesis.leaf_hash:
        report.fault(
            "genesis",
            EvidenceRefuted(
                "genesis.other", "The ledger does not begin with the first entry that is pinned."
            ),
            seq=0,
        )
    else:
        report.ok("genesis", f"It is the very ledger that was pinned: {origin}.")


def _report_ledger(walked: AuditReport, report: ReportBuilder) -> None:
    """What reading chain, tree, tiles and statements again has found."""
    hidden = rows = 0
    for finding in walked.findings:
        if finding.code == "statement.missing":
            hidden += 1
        elif finding.code in (FORK_CODE, "checkpoint.undecided"):
            report.add(_row("kept-checkpoint", finding))
        elif finding.seq is not None or finding.tile is not None:
            rows += 1
            report.add(_row("ledger", finding))
        # What is left is about the checkpoint's own lines, which are reported already.
    beyond = walked.findings_count - len(walked.findings)
    if beyond:
        report.add(Check("ledger", "bad", f"{beyond:,} more findings are not listed.", "findings.more"))
    if hidden:
        missing = max(hidden, walked.entries_checked - walked.statements_checked)
        first = next(finding.seq for finding in walked.findings if finding.code == "statement.missing")
        report.add(
            Check(
                "statements",
                "unknown",
                f"Statements erased, withheld or gone from here on: {missing:,}. They were not checked.",
                "statement.missing",
                first,
            )
        )
    if not rows and walked.checkpoint is not None:
        report.ok(
            "ledger",
            f"All entries ({walked.entries_checked:,}) stand where the ledger has signed that they stand,"
            " unaltered, in order, none missing.",
        )


def _report_resumed(audited: Audited, report: ReportBuilder) -> None:
    """What was left to an earlier audit, or that a state file was of no use."""
    if audited.resume_refused:
        report.facts["state_refused"] = audited.resume_refused
    if audited.resumed_from:
        report.facts["resumed_from"] = audited.resumed_from
        report.not_checked(
            f"What is stored of the first {audited.resumed_from:,} entries: an earlier audit of yours read"
            " it, and its state file leads to the same signed root. This one began behind them."
        )


def _report_skipped(report: ReportBuilder) -> None:
    report.add(
        Check(
            "signatures",
            "unknown",
            "No signature of a statement was checked, nor any outside time-stamp: only order and content"
            " were asked for.",
            "signatures.skipped",
        )
    )
    report.not_checked("Who signed what, with which keys, and when: this audit left all signatures out.")


def _report_signatures(audited: Audited, report: ReportBuilder) -> None:
    signatures, keys = audited.signatures, audited.keys
    for finding in signatures.findings:
        is_anchor = finding.code.startswith(("anchor.", "token."))
        report.add(_row("anchors" if is_anchor else "signatures", finding))
    beyond = signatures.findings_count - len(signatures.findings)
    if beyond:
        report.add(Check("signatures", "bad", f"{beyond:,} more findings are not listed.", "findings.more"))
    if keys.place.gap is not None:
        report.add(
            Check(
                "key-history",
                "unknown",
                f"The key statement at entry {keys.place.gap} cannot be used:"
                f" {signatures.unjudged_count:,} later signatures could not be judged.",
                "keys.gap",
            )
        )
    elif not signatures.findings and signatures.verified_count:
        report.ok(
            "signatures",
            f"All signatures ({signatures.verified_count:,}) are good, by keys that were valid where they"
            f" stand ({len(keys.signers):,} statements about keys followed).",
        )


def _report_anchors(
    signatures: SignatureResult, anchored: Sequence[tuple[Entry, Anchor]], report: ReportBuilder
) -> None:
    if signatures.unpinned_count:
        report.add(
            Check(
                "anchors",
                "unknown",
                f"{signatures.unpinned_count:,} outside time-stamps cannot be checked:"
                " no time-stamp authority is pinned.",
                "anchor.unpinned",
            )
        )
    names = {name for _, anchor in anchored for name in anchor.unverified}
    if names:
        report.not_checked(
            f"Time-stamps by authorities that are not pinned: {', '.join(sorted(names)[:10])}."
        )


def _report_tail(
    reader: LedgerReader,
    audited: Audited,
    times: AnchorTimes,
    size: int,
    freshness: Freshness | None,
    report: ReportBuilder,
) -> None:
    """Which events no outside clock has seen yet."""
    if not times.covered_size and audited.signatures.unpinned_count:
        return  # said already: none of the time-stamps there are can be checked
    count, first, oldest = _count_unanchored(reader, audited, times.covered_size, size)
    if first is None or oldest is None:
        if times.covered_size:
            report.ok(
                "anchors",
                f"All outside time-stamps ({len(times):,}) are good, and between them cover every event.",
            )
        return
    detail = (
        f"No outside time-stamp covers it yet{nor_more(count - 1)}; it was recorded at"
        f" {oldest:%Y-%m-%d %H:%M:%S} UTC."
    )
    if freshness is not None and freshness.now - oldest <= freshness.age_max and times.covered_size:
        report.ok("anchors", f"All outside time-stamps ({len(times):,}) are good.")
        report.not_checked(
            f"When the newest events were written, from entry {first} on: that is still to come."
        )
    else:
        report.add(Check("anchors", "not-yet", detail, "anchor.missing", first))


def _count_unanchored(
    reader: LedgerReader, audited: Audited, start: int, size: int
) -> tuple[int, int | None, datetime | None]:
    """Count events from `start` on, with the first one's position and time.

    The ranges have counted theirs. Rows are read again only where a range begins below, or was left to
    an earlier audit, and to find the first.
    """
    spans = [(0, audited.resumed_from, 1)] if audited.resumed_from else []
    count, first, oldest = 0, None, None
    for begin, end, events in [*spans, *audited.events]:
        if end <= start or begin >= size or not events:
            continue
        if first is not None and begin >= audited.resumed_from:
            count += events
            continue
        for seq, row in _rows_between(reader, max(begin, start), min(end, size)):
            if row and _EVENT_MARK in row:
                count += 1
                if first is None:
                    try:
                        first, oldest = seq, entries.parse(row).recorded_at
                    except Fault:
                        first = None  # a damaged entry, which is named elsewhere
    return count, first, oldest


def _rows_between(reader: LedgerReader, start: int, end: int) -> Iterable[tuple[int, bytes]]:
    for begin in range(start, end, CHUNK):
        yield from enumerate(reader.read_entries(begin, min(end, begin + CHUNK)), start=begin)


def _report_doubts(
    reader: LedgerReader, audited: Audited, times: AnchorTimes, size: int, report: ReportBuilder
) -> None:
    """Name what keys signed that were in other hands, where nothing outside shows that it is older."""
    registry = audited.keys.registry
    if registry is None:
        return
    doubts = find_doubts(registry, introductions(registry, audited.keys.signers), times)
    found = 0
    for seq, doubt in _find_suspects(reader, registry, doubts, size):
        found += 1
        if found <= SUSPECTS_NAMED_MAX:
            report.suspect("key-state", doubt.fault(), seq=seq)
    if found > SUSPECTS_NAMED_MAX:
        report.add(
            Check(
                "key-state",
                "suspect",
                f"{found - SUSPECTS_NAMED_MAX:,} more entries by such keys.",
                "key.compromised",
            )
        )
    elif not found and audited.signatures.verified_count:
        report.ok("key-state", "No entry rests on a key that is known to have been in other hands by then.")


def _find_suspects(
    reader: LedgerReader, registry: Registry, doubts: dict[str, Doubt], size: int
) -> Iterable[tuple[int, Doubt]]:
    """Read again where such keys may have signed, and nowhere else; no signature is verified twice."""
    spans = {}
    for kid, doubt in doubts.items():
        record = registry.keys[kid]
        end = size if record.ended_seq is None else record.ended_seq
        spans[kid] = (max(doubt.since_seq, record.registered_seq), end)
    start = min((start for start, _ in spans.values()), default=size)
    stop = max((end for _, end in spans.values()), default=0)
    for begin in range(start, stop, CHUNK):
        rows = reader.read_statements(begin, min(stop, begin + CHUNK))
        for seq, raw in enumerate(rows, start=begin):
            kid = _kid_of(raw)
            if kid in spans and spans[kid][0] <= seq < spans[kid][1]:
                yield seq, doubts[kid]


def _kid_of(raw: bytes | None) -> str:
    try:
        return envelope.parse(raw).kid if raw else ""
    except Fault:
        return ""  # named elsewhere


def _row(name: str, finding: Finding) -> Check:
    where = f" (tile {finding.tile})" if finding.tile else ""
    return Check(name, _OUTCOME_OF_CAUSE[finding.cause], finding.detail + where, finding.code, finding.seq)


def _add_limits(report: ReportBuilder) -> None:
    report.not_checked(
        "Whether what the parties signed is true: a signature proves who said it, not that it is so."
    )
    report.not_checked(
        "Whether each event is valid EPCIS: an evidence bundle shows that, product by product."
    )
    report.not_checked("Who may see which event: an audit shows what is recorded, not who has read it.")
