"""Step 9 of 9: every signature of a ledger. Listens to ledger.audit for verifier.ledger_audit.

Key statements are applied in log order, so each other statement is judged by
the key state at its own position. Cores are shared out a level above, by
ranges of the log: verifier.crew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from anchoring.rfc3161 import TokenVerifier
from keys.errors import Fault
from keys.registry import Registry
from ledger import entry as entries
from ledger.audit import Finding, finding_of
from ledger.entry import KINDS, Entry
from verifier.anchors import Anchor, judge_anchor
from verifier.errors import EvidenceRefuted, NotPinned
from verifier.event_judge import EventJudge
from verifier.statements import KEY_KINDS, apply_key_statement, judge, verify_signature

FINDINGS_MAX = 10_000  # kept; more are only counted

KeyRecord = tuple[Entry, bytes | None]  # a genesis or key entry, and its statement if it is there


@dataclass(slots=True)
class SignatureResult:
    """What verifying came to.

    findings         what is wrong with signatures, keys and anchors: the first FINDINGS_MAX
    unjudged_count   signatures that could not be judged, for key statements below are missing
    unpinned_count   anchors that could not be judged because no authority is pinned
    """

    verified_count: int = 0
    unjudged_count: int = 0
    unpinned_count: int = 0
    anchors: list[tuple[Entry, Anchor]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    findings_count: int = 0

    def add(self, later: SignatureResult) -> None:
        """Go on with what comes next in the log."""
        self.verified_count += later.verified_count
        self.unjudged_count += later.unjudged_count
        self.unpinned_count += later.unpinned_count
        self.anchors += later.anchors
        self.findings += later.findings[: max(0, FINDINGS_MAX - len(self.findings))]
        self.findings_count += later.findings_count

    def take(self, finding: Finding, *, after_gap: bool) -> None:
        """Take what is wrong with one statement."""
        # Where key statements are missing, an unknown key is no fault of the entry that names it.
        if after_gap and finding.code.startswith("key."):
            self.unjudged_count += 1
            return
        self.findings_count += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """How far the key history was followed: equal places, equal key states."""

    trail: bytes = bytes(32)  # hash over all key entries and their statements up to here
    gap: int | None = None  # position of the first key statement that could not be used, if any


class KeyWalk:
    """The key history, followed in log order."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self.registry: Registry | None = None
        self.signers: dict[int, str] = {}  # kid that signed the key statement at each seq
        self.place = KeyPlace()

    def copy(self) -> KeyWalk:
        """Give a walk of its own that goes on from here."""
        twin = KeyWalk(self._origin)
        twin.registry, twin.signers, twin.place = self.registry, self.signers.copy(), self.place
        return twin

    def note_link(self, keys: int) -> None:
        """Take an entry's link. A key entry below may be altered or gone: what we know stops short of it."""
        if self.registry is not None and keys != self.registry.newest_seq:
            self.note_gap(keys)

    def note_gap(self, seq: int) -> None:
        """From the key statement at seq on, what is known of keys may not be all."""
        if self.place.gap is None:
            self.place = KeyPlace(self.place.trail, seq)

    def apply(self, entry: Entry, statement: bytes | None) -> SignatureResult:
        """Take the next genesis or key entry; its statement is None where it is missing or another."""
        self.note_link(entry.keys)
        digest = sha256(statement).digest() if statement is not None else b""
        trail = sha256(self.place.trail + entries.leaf_hash(entries.render(entry)) + digest).digest()
        self.place = KeyPlace(trail, self.place.gap)
        result = SignatureResult()
        finding = None
        if statement is None:
            pass  # ledger.audit has named it
        elif self.registry is None and entry.kind != "genesis":
            result.unjudged_count += 1
            self.note_gap(0)
            return result
        else:
            finding = self._try(entry, statement)
            if finding is None:
                result.verified_count += 1
                return result
            result.take(finding, after_gap=self.place.gap is not None)
        self.note_gap(entry.seq)
        return result

    def _try(self, entry: Entry, statement: bytes) -> Finding | None:
        try:
            registry, signer = apply_key_statement(self.registry, entry, statement)
            if registry.origin != self._origin:
                raise EvidenceRefuted("genesis.origin", f"the first entry is of {registry.origin}")
        except Fault as fault:
            return finding_of(fault, entry.seq)
        except Exception as error:  # hostile bytes may break anything
            return _unforeseen(error, entry.seq)
        self.registry = registry
        self.signers[entry.seq] = signer
        return None


class SignatureAudit:
    """Verifies while the ledger is read; what it came to is in `result`.

    keys   the key history up to where the reading begins
    judge  one that knows headers already; it serves as long as it is of the present key state
    """

    def __init__(
        self, origin: str, tokens: TokenVerifier | None, keys: KeyWalk, judge: EventJudge | None = None
    ) -> None:
        self.keys = keys
        self.result = SignatureResult()
        self.key_records: list[KeyRecord] = []  # that were applied here
        self._origin = origin
        self._tokens = tokens
        self.judge = judge

    def on_events(self, first: int, keys: int, times: Sequence[bytes], statements: Sequence[bytes]) -> None:
        """Take the next events, if they are in order and their statements those that were recorded."""
        self.keys.note_link(keys)
        registry = self.keys.registry
        if registry is None:
            self.result.unjudged_count += len(statements)
            return
        if self.judge is None or self.judge.registry is not registry:
            self.judge = EventJudge(registry)
        left = self.judge.leaves(statements, times)
        self.result.verified_count += len(statements) - len(left)
        for place in left:
            moment = entries.parse_time(times[place].decode())
            entry = Entry(first + place, "event", moment, b"", b"", keys)
            self._verify(entry, statements[place], registry)

    def on_record(self, seq: int, entry: Entry, statement: bytes | None) -> Iterable[Finding]:
        """Take the next entry that the tree proves; its statement is None where it is missing or another."""
        if entry.kind in KEY_KINDS:
            self.key_records.append((entry, statement))
            self.result.add(self.keys.apply(entry, statement))
            return ()
        self.keys.note_link(entry.keys)
        if statement is not None and entry.kind in KINDS:
            if self.keys.registry is None:
                self.result.unjudged_count += 1
            else:
                self._verify(entry, statement, self.keys.registry)
        return ()

    def _verify(self, entry: Entry, raw: bytes, registry: Registry) -> None:
        try:
            judged = judge(entry, raw, registry)
            verify_signature(judged)
            self.result.verified_count += 1
            if entry.kind == "anchor":
                anchor = judge_anchor(entry, judged.statement.payload, self._tokens, self._origin)
                self.result.anchors.append((entry, anchor))
        except NotPinned:
            self.result.unpinned_count += 1
        except Fault as fault:
            self._take(finding_of(fault, entry.seq))
        except Exception as error:
            self._take(_unforeseen(error, entry.seq))

    def _take(self, finding: Finding) -> None:
        self.result.take(finding, after_gap=self.keys.place.gap is not None)


def _unforeseen(error: Exception, seq: int) -> Finding:
    detail = f"the statement of entry {seq} cannot be processed ({type(error).__name__})"
    return Finding(seq, "statement.unreadable", detail, "malformed")
