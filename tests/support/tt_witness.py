"""Holds a ledger against everything its server ever answered: nothing lost, nothing doubled, no fork.

look() is for the moments between faults and reads what is new, with a sample of what is old; look_at_all()
reads everything again and counts the index of names against the statements themselves.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256

import tt_crowd

from bench import load
from bench.server import ORIGIN, Server
from client.receipts import verify_receipt
from intake.prepare import prepare
from intake.sequencer import replay
from intake.service import event_typs
from keys.note import NoteVerifier
from ledger import checkpoint as checkpoints
from ledger import entry as entries
from ledger import merkle, tiles
from ledger.audit import Audit, audit, audit_range
from ledger.errors import StoreFailed
from ledger.store.name_runs import NAME
from ledger.store.name_runs_merge import LEVEL0_ROWS_MAX
from ledger.store.opening import Database, open_reader, parse_database
from ledger.store.protocol import Head
from ledger.store.rules import READ_SPAN_MAX
from ledger.walk import WalkState
from verifier.trust import load_trust

SAMPLE = 20
NOTES = 12  # answered checkpoints whose consistency is proved in one look
MERGED_WITHIN_S = 20.0
RECOVERED_WITHIN_S = 20.0
SEED = 21
SIZES = (1,) * 6 + (10,) * 2 + (300,)


class Witness:
    """verifiers: the log's pinned keys. Begin before the first answer."""

    def __init__(self, database: Database, verifiers: list[NoteVerifier], origin: str, seed: int) -> None:
        self._reader = open_reader(database)
        self._verifiers = verifiers
        self._origin = origin
        self._source = random.Random(f"{seed}/witness")
        self._digests: list[bytes] = []  # of the statement at each position, as first seen
        self._known: set[bytes] = set()
        self._taken = 0  # answers held against the ledger
        self._roots: dict[int, bytes] = {}  # of every size that anybody was told
        self._state = WalkState()
        self._tiles = 0  # whole ones that were audited
        self.largest: checkpoints.Checkpoint | None = None

    def close(self) -> None:
        self._reader.close()

    def look(self, crowd: tt_crowd.Crowd) -> None:
        """Everything that was answered is in the ledger, once, and the ledger only grew."""
        assert crowd.odd == []
        head = self._head_once_it_can_be_read()
        now = checkpoints.open_checkpoint(head.checkpoint, self._verifiers, self._origin)
        assert (now.tree_size, now.root_hash) == (head.tree_size, head.root_hash)
        self._read_new(now.tree_size)
        notes = self._hold_answers(crowd)
        self._hold_notes(notes, now)
        self._audit_new()
        for seq in self._source.sample(range(now.tree_size), min(SAMPLE, now.tree_size)):
            assert sha256(self._reader.read_statement(seq)).digest() == self._digests[seq]
        self._look_for_names()

    def _head_once_it_can_be_read(self) -> Head:
        """A PostgreSQL whose session was killed ends all others a moment later, and recovers."""
        deadline = time.monotonic() + RECOVERED_WITHIN_S
        while True:
            try:
                head = self._reader.read_head()
                assert head is not None
                return head
            except StoreFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def look_at_all(self, crowd: tt_crowd.Crowd) -> int:
        """All of it, from the first byte; how many statements were answered."""
        self.look(crowd)
        report = audit(self._reader, self._verifiers, self._origin)
        assert report.findings == ()
        assert report.statements_checked == report.size == len(self._digests)
        self._count_names()
        return sum(len(one.seqs) for one in crowd.answered)

    def _read_new(self, size: int) -> None:
        while (first := len(self._digests)) < size:
            end = min(size, first + READ_SPAN_MAX)
            held = self._reader.read_statements(first, end)
            for seq, (entry, statement) in enumerate(
                zip(self._reader.read_entries(first, end), held, strict=True), first
            ):
                digest = sha256(statement).digest()
                parsed = entries.parse(entry)
                assert (parsed.seq, parsed.statement) == (seq, digest)
                assert digest not in self._known, f"{seq}: this statement is in the ledger twice"
                self._known.add(digest)
                self._digests.append(digest)

    def _hold_answers(self, crowd: tt_crowd.Crowd) -> list[bytes]:
        answered = crowd.answered
        notes = set()
        while self._taken < len(answered):
            one = answered[self._taken]
            for seq, digest in zip(one.seqs, one.digests, strict=True):
                assert seq < len(self._digests), f"{seq} was answered and is not in the ledger"
                assert self._digests[seq] == digest, f"{seq} was answered for another statement"
            notes.add(one.checkpoint)
            for statement, receipt in one.receipts[:1]:
                checked = verify_receipt(
                    receipt, statement=statement, origin=self._origin, verifiers=self._verifiers
                )
                assert self._roots.setdefault(checked.tree_size, checked.root_hash) == checked.root_hash
            self._taken += 1
        return sorted(notes)

    def _hold_notes(self, notes: list[bytes], now: checkpoints.Checkpoint) -> None:
        """No two answers speak of two ledgers, and each of theirs is the beginning of this one."""
        told = [checkpoints.open_checkpoint(note, self._verifiers, self._origin) for note in notes]
        for one in (*told, now):
            assert self._roots.setdefault(one.tree_size, one.root_hash) == one.root_hash, "a fork"
        proved = self._source.sample(told, min(NOTES, len(told)))
        for one in (*proved, *([self.largest] if self.largest else [])):
            path = tiles.consistency_path(self._reader, one.tree_size, now.tree_size)
            merkle.verify_consistency(one.tree_size, now.tree_size, one.root_hash, now.root_hash, path)
        self.largest = now

    def _audit_new(self) -> None:
        """Go on with the audit of the structure where the last look ended."""
        run = Audit(self._reader)
        run.choose_claim(self._verifiers, self._origin, None)
        plan = run.plan(4096)
        whole = plan.size // tiles.TILE_WIDTH
        first = audit_range(self._reader, plan, self._tiles, whole, state=self._state)
        rest = audit_range(self._reader, plan, whole, plan.tile_count, state=first.ended)
        assert first.findings + rest.findings == []
        self._tiles, self._state = whole, first.ended

    # The index of names ---------------------------------------------------------------------------

    def _look_for_names(self) -> None:
        """Of a sample, each name leads back to its statement, and to no statement that does not have it."""
        self._registry = replay(None, self._reader.read_key_records(-1))
        recent = range(max(0, len(self._digests) - 5000), len(self._digests))
        for seq in self._source.sample(recent, min(SAMPLE, len(recent))):
            for key, ordinal in self._names_of(seq):
                found = self._reader.find_name(key, after=(seq, ordinal - 1), limit=1)
                assert found == [(seq, ordinal)]
                for other, at in self._reader.find_name(key, limit=3, descending=True):
                    assert (key, at) in self._names_of(other)

    def _names_of(self, seq: int) -> list[tuple[int, int]]:
        statement = self._reader.read_statement(seq)
        if entries.parse(self._reader.read_entry(seq)).kind != "event":
            return []
        return self._read_names(statement)

    def _read_names(self, statement: bytes) -> list[tuple[int, int]]:
        judged = prepare(statement, self._registry, event_typs(), self._reader.read_head().recorded_at)
        return list(NAME.iter_unpack(judged.names))

    def wait_until_merged(self) -> None:
        """The index has caught up: nothing in it is due any more."""
        deadline = time.monotonic() + MERGED_WITHIN_S
        while (waiting := self._ask("SELECT count(*) FROM name_level0")) >= LEVEL0_ROWS_MAX:
            assert time.monotonic() < deadline, f"{waiting} rows are not merged"
            time.sleep(0.02)

    def _count_names(self) -> None:
        places: dict[int, list[tuple[int, int]]] = {}
        total = 0
        for first in range(0, len(self._digests), READ_SPAN_MAX):
            end = min(first + READ_SPAN_MAX, len(self._digests))
            kinds = [entries.parse(entry).kind for entry in self._reader.read_entries(first, end)]
            held = self._reader.read_statements(first, end)
            for seq, (kind, statement) in enumerate(zip(kinds, held, strict=True), first):
                for key, ordinal in self._read_names(statement) if kind == "event" else ():
                    places.setdefault(key, []).append((seq, ordinal))
                    total += 1
        for key in self._source.sample(sorted(places), min(10 * SAMPLE, len(places))):
            assert self._reader.find_name(key, limit=10_000) == places[key][:10_000]
        in_runs = self._ask("SELECT coalesce(sum(names), 0) FROM name_runs WHERE state = 1")
        waiting = self._ask("SELECT coalesce(sum(names), 0) FROM name_level0")
        assert in_runs + waiting == total

    def _ask(self, query: str) -> int:
        with self._reader.engine.connect() as connection:
            return int(connection.exec_driver_sql(query).scalar_one())


@contextmanager
def crowd_at(*servers: Server, database: str) -> Iterator[tuple[tt_crowd.Crowd, Witness]]:
    """A crowd at servers that run, which must not come to harm; at the end, everything is held together."""
    emitters = load.emitters(4, SEED)
    servers[0].register(emitters)
    verifiers = list(load_trust(servers[0].folder / "trust").policy.logs)
    crowd = tt_crowd.Crowd([server.port for server in servers], emitters, SEED, SIZES)
    with closing(Witness(parse_database(database), verifiers, ORIGIN, SEED)) as witness:
        crowd.start()
        crowd.go_on()
        try:
            yield crowd, witness
            crowd.stop()
            assert witness.look_at_all(crowd) > 0
        finally:
            crowd.abandon()
