"""Step 9 of 9: every signature of a ledger, on all cores. Listens to ledger.audit for verifier.ledger_audit.

Key statements are applied in log order, in the caller's thread, so each other
statement is judged by the key state at its own position. The judging itself
goes to a pool in batches: a Registry is a value, so a batch may keep its own.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType

from anchoring.rfc3161 import TokenVerifier
from keys.errors import Fault
from keys.registry import Registry
from ledger.audit import Finding, finding_of
from ledger.entry import KINDS, Entry
from verifier.anchors import Anchor, judge_anchor
from verifier.errors import EvidenceRefuted, NotPinned
from verifier.statements import KEY_KINDS, apply_key_statement, judge, verify_signature

BATCH_SIZE = 256  # statements a task verifies: some 10 ms of work
BATCHES_AHEAD_MAX = 8  # per thread: bounds memory to a few MB
SWITCH_INTERVAL_S = 0.0002  # while verifying
FINDINGS_MAX = 10_000  # kept; more are only counted


@dataclass(frozen=True, slots=True)
class _Work:
    """One statement to judge, by the key state below it."""

    entry: Entry
    raw: bytes
    registry: Registry


@dataclass(slots=True)
class _Result:
    """What one batch came to."""

    verified_count: int = 0
    findings: list[Finding] = field(default_factory=list)
    anchors: list[tuple[Entry, Anchor]] = field(default_factory=list)
    unpinned_count: int = 0


class SignatureAudit:
    """Verifies while the ledger is read. Use it in a `with`, and call finish() before reading results.

    findings         what is wrong with signatures, keys and anchors: the first FINDINGS_MAX
    gap              position of the first key statement that could not be used, if any
    unjudged_count   signatures that could not be judged for that reason
    unpinned_count   anchors that could not be judged because no authority is pinned
    """

    def __init__(self, origin: str, tokens: TokenVerifier | None, threads: int | None = None) -> None:
        count = threads or os.cpu_count() or 1
        self.registry: Registry | None = None
        self.signers: dict[int, str] = {}
        self.anchors: list[tuple[Entry, Anchor]] = []
        self.verified_count = 0
        self.unjudged_count = 0
        self.unpinned_count = 0
        self.gap: int | None = None
        self.findings: list[Finding] = []
        self.findings_count = 0
        self._origin = origin
        self._tokens = tokens
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="signatures")
        self._ahead_max = count * BATCHES_AHEAD_MAX
        self._running: deque[Future[_Result]] = deque()
        self._batch: list[_Work] = []
        self._switch_interval_s = sys.getswitchinterval()

    def on_record(self, seq: int, entry: Entry, statement: bytes | None) -> Iterable[Finding]:
        """Take the next entry that the tree proves; its statement is None where it is missing or another."""
        if self.registry is not None and entry.keys != self.registry.newest_seq:
            # A key entry below was altered or is gone, so what we know about keys stops short of it.
            self._note_gap(entry.keys)
        if entry.kind in KEY_KINDS:
            self._apply(entry, statement)
        elif statement is not None and entry.kind in KINDS:
            if self.registry is None:
                self.unjudged_count += 1
            else:
                self._batch.append(_Work(entry, statement, self.registry))
                if len(self._batch) == BATCH_SIZE:
                    self._send()
        return ()

    def finish(self) -> None:
        """Wait for everything that is still being verified."""
        self._send()
        while self._running:
            self._take(self._running.popleft().result())

    def _apply(self, entry: Entry, statement: bytes | None) -> None:
        if statement is None:
            self._note_gap(entry.seq)  # ledger.audit has named it
            return
        if self.registry is None and entry.kind != "genesis":
            self.unjudged_count += 1
            self._note_gap(0)
            return
        try:
            registry, signer = apply_key_statement(self.registry, entry, statement)
            if registry.origin != self._origin:
                raise EvidenceRefuted("genesis.origin", f"the first entry is of {registry.origin}")
        except Fault as fault:
            self._take_finding(finding_of(fault, entry.seq))
            self._note_gap(entry.seq)
        except Exception as error:  # hostile bytes may break anything
            self._take_finding(_unforeseen(error, entry.seq))
            self._note_gap(entry.seq)
        else:
            self.registry = registry
            self.signers[entry.seq] = signer
            self.verified_count += 1

    def _send(self) -> None:
        if self._batch:
            self._running.append(self._pool.submit(_verify_batch, self._batch, self._tokens, self._origin))
            self._batch = []
        while len(self._running) > self._ahead_max:
            self._take(self._running.popleft().result())

    def _take(self, result: _Result) -> None:
        self.verified_count += result.verified_count
        self.anchors += result.anchors
        self.unpinned_count += result.unpinned_count
        for finding in result.findings:
            self._take_finding(finding)

    def _take_finding(self, finding: Finding) -> None:
        # Where key statements are missing, an unknown key is no fault of the entry that names it.
        after_gap = self.gap is not None and finding.seq is not None and finding.seq > self.gap
        if after_gap and finding.code.startswith("key."):
            self.unjudged_count += 1
        else:
            self._report(finding)

    def _note_gap(self, seq: int) -> None:
        if self.gap is None:
            self.gap = seq

    def _report(self, finding: Finding) -> None:
        self.findings_count += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    def __enter__(self) -> SignatureAudit:
        # By default a thread that comes back from verifying waits up to 5 ms, a hundred verifications,
        # for one that is busy parsing; measured, this is worth a quarter of the rate.
        self._switch_interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        sys.setswitchinterval(self._switch_interval_s)


def _verify_batch(batch: Sequence[_Work], tokens: TokenVerifier | None, origin: str) -> _Result:
    result = _Result()
    for work in batch:
        try:
            judged = judge(work.entry, work.raw, work.registry)
            verify_signature(judged)
            result.verified_count += 1
            if work.entry.kind == "anchor":
                anchor = judge_anchor(work.entry, judged.statement.payload, tokens, origin)
                result.anchors.append((work.entry, anchor))
        except NotPinned:
            result.unpinned_count += 1
        except Fault as fault:
            result.findings.append(finding_of(fault, work.entry.seq))
        except Exception as error:  # hostile bytes may break anything: that is a finding, never a traceback
            result.findings.append(_unforeseen(error, work.entry.seq))
    return result


def _unforeseen(error: Exception, seq: int) -> Finding:
    detail = f"the statement of entry {seq} cannot be processed ({type(error).__name__})"
    return Finding(seq, "statement.unreadable", detail, "malformed")
