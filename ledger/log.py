"""Step 6 of 9: the log, the only writer. After intake's judgement, before the receipt.

A Log puts statements in order and never changes that order: it gives each its place, chains it to the
one before, adds it to the tree, signs the checkpoint, and hands all that to the store, which
swaps the head it knew for the new one in one transaction.

    judged by head 41 ──> append(items, expected=head 41) ──> head 44, signed, durable
                                        └─ somebody else is at 42 ──> HeadMoved: judge again

Promise: a position and a signature leave this process only once they are known to be durable, and
nothing is ever signed that contradicts what was signed before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import RLock

from keys.errors import Fault
from keys.note import NoteSigner, NoteVerifier
from ledger import checkpoint as checkpoints
from ledger.checkpoint import Checkpoint
from ledger.entry import KINDS, ZERO_PREV, Like, chain, leaf_hash, parse, render_alike, render_time
from ledger.errors import (
    ClockBehind,
    EntryMalformed,
    HeadMoved,
    NotInLog,
    OutcomeUnknown,
    ReadOnly,
    RecordDamaged,
    StoreFailed,
)
from ledger.highwater import HighWater, HighWaterDamaged, Mark
from ledger.store.entry_rows import pack_alike
from ledger.store.packing import join_parts, pack_parts
from ledger.store.protocol import Head, LedgerWriter, Rows
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH, TileBuilder, TileWrite, root_at

APPEND_COUNT_MAX = 65_536  # entries in one transaction: bounds its memory and how long it holds the lock
CLOCK_BACK_MAX = timedelta(seconds=2)  # NTP's steps and slews; further back is a clock that is wrong
PUBLISH_INTERVAL_S = 1.0  # witnesses and static copies follow published sizes, one a second at most
GENESIS_KEY = b"genesis"
_KEY_KINDS = ("genesis", "key")
_RUN_GAP_MAX = 16  # duplicates this near each other are read in one go


@dataclass(frozen=True, slots=True)
class Pending:
    """One judged statement, waiting for its place."""

    kind: str
    statement: bytes
    unique_key: bytes
    names: bytes = b""  # packed, as by ledger.store.name_runs.pack_names


@dataclass(frozen=True, slots=True)
class Columns:
    """Judged statements of one kind, in columns, with all done to them that needs no place.

    digests      SHA-256 of each
    unique_keys  of each
    names        of each, packed as by ledger.store.name_runs.pack_names
    parts        the statements themselves: how many, and their bytes packed by ledger.store.packing
    """

    kind: str
    digests: Sequence[bytes]
    unique_keys: Sequence[bytes]
    names: Sequence[bytes]
    parts: Sequence[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a statement stands; for a duplicate, where the first of its kind stands."""

    seq: int
    duplicate: bool
    entry: bytes
    statement_digest: bytes  # of the statement that stands there


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to one append: a place for each item, in order, all covered by this head."""

    placed: list[Placed]
    head: Head


class Log:
    """The writer of one ledger. Any thread may call; appends take turns.

    store       where it is kept; the head there decides, whatever this object remembers
    signers     the log's keys: each signs every checkpoint
    origin      the log's name, first line of every checkpoint
    clock       aware UTC now
    high_water  the mark outside the database; None only where a fork can harm nobody
    verifiers   former log keys, by which the newest checkpoint may still be signed after a rotation
    """

    def __init__(
        self,
        store: LedgerWriter,
        signers: Sequence[NoteSigner],
        origin: str,
        clock: Callable[[], datetime],
        high_water: HighWater | None,
        publish_interval_s: float = PUBLISH_INTERVAL_S,
        *,
        verifiers: Sequence[NoteVerifier] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not signers:
            raise ValueError("a log without a signer signs nothing")
        self.store = store
        self.origin = origin
        self._signers = tuple(signers)
        self._verifiers = (*(signer.verifier for signer in signers), *verifiers)
        self._clock = clock
        self._high_water = high_water
        self._publish_interval_s = publish_interval_s
        self._monotonic = monotonic
        self._published_at: float | None = None  # on the monotonic clock
        self._head: Head | None = None
        self._builder = TileBuilder()
        self._read_only: ReadOnly | None = None
        self._claims: dict[str, tuple[int, bytes]] = {}  # one for each source
        self._is_stale = True  # what we remember may not be what the database holds
        self._is_mark_behind = False
        self._guard = RLock()

    def open(self) -> None:
        """Take up the database's head, and find out whether this process may append to it.

        What speaks against it is kept in read_only_reason, not raised: a ledger that must not be
        written can still be served. Raises StoreFailed if the database cannot be read.
        """
        with self._guard:
            self._take_up()

    @property
    def head(self) -> Head:
        """The newest head that this log knows. Raises NotInLog before genesis."""
        head = self._head
        if head is None:
            raise NotInLog("ledger.empty", "this ledger has no genesis yet")
        return head

    @property
    def read_only_reason(self) -> str | None:
        """One sentence that says why nothing is appended here; None if all is well."""
        return None if self._read_only is None else self._read_only.detail

    def create(self, genesis: bytes) -> Appended:
        """Write entry 0. A ledger that begins with this very statement already is left as it is."""
        with self._guard:
            self._require_writable()
            if self._head is not None:
                first = self._placed_before([0])[0]
                if first.statement_digest != sha256(genesis).digest():
                    raise ReadOnly("ledger.exists", "this ledger has another genesis already")
                return Appended([first], self._head)
            return self._append([Pending("genesis", genesis, GENESIS_KEY)])

    def record_time(self) -> datetime:
        """The time that an append behind the head would record now: to judge by before append().

        Never below the head's, whatever the clock says. Raises ClockBehind where that goes too far.
        """
        with self._guard:
            return self._now(self._head)

    def append(
        self, items: Sequence[Pending], *, expected: Head, recorded_at: datetime | None = None
    ) -> Appended:
        """Give each item its place behind the expected head, all in one transaction, or none.

        expected     the head by which the items were judged
        recorded_at  the time by which they were judged, from record_time(), which their entries then
                     bear: a key that had not expired by the one must not have expired by the other
        An item whose unique_key is taken, in the ledger or earlier among the items, is answered
        with the first one's place and appends nothing.

        Raises HeadMoved if the ledger is elsewhere (log.head then is where), ReadOnly, ClockBehind,
        StoreFailed if it did not happen, OutcomeUnknown if nobody can tell yet.
        """
        if len(items) > APPEND_COUNT_MAX:
            raise ValueError(f"{len(items)} items; one append takes at most {APPEND_COUNT_MAX}")
        for item in items:
            if item.kind not in KINDS or item.kind == "genesis":
                raise ValueError(f"{item.kind!r} is not a kind that is appended")
        with self._guard:
            self._require_writable()
            if not expected.is_same_state(self._head):
                self._take_up()
                raise _moved(expected)
            return self._append(items, recorded_at)

    def append_columns(self, columns: Columns, *, expected: Head, recorded_at: datetime) -> Head:
        """Append all of them behind the expected head, in one transaction, or none; give the new head.

        The same as append(), for statements none of which is expected to be a duplicate: nobody looks for
        one before, and the statements are not touched. Raises KeyTaken where there is one; append() then
        says which. About 3 µs a statement besides what the store does.
        """
        if columns.kind not in KINDS or columns.kind in _KEY_KINDS:
            raise ValueError(f"{columns.kind!r} is not a kind that is appended in columns")
        count = len(columns.digests)
        if not 1 <= count <= APPEND_COUNT_MAX:
            raise ValueError(f"{count} statements; one append takes 1 to {APPEND_COUNT_MAX}")
        if not count == len(columns.unique_keys) == len(columns.names) == sum(n for n, _ in columns.parts):
            raise ValueError("the columns have different lengths")
        with self._guard:
            self._require_writable()
            head = self._head
            if head is None or not expected.is_same_state(head):
                self._take_up()
                raise _moved(expected)
            if head.recorded_at is not None and recorded_at < head.recorded_at:
                raise _moved(head)  # judged by a time that another head has overtaken
            batch = _Batch(head, recorded_at)
            batch.place_columns(columns)
            return self._commit(batch)

    def publish_if_due(self) -> bytes | None:
        """Make the newest checkpoint the published one, unless that is so or was done a moment ago.

        Gives the note that was published now, else None. Call it a few times a second.
        """
        with self._guard:
            if self._high_water is not None:
                with suppress(OSError):  # the append that follows tries again, and says so
                    self._high_water.sync_if_due()
            head = self._head
            if self._is_stale or self._read_only is not None or head is None:
                return None
            if head.published == head.checkpoint or not self._is_publishing_due(head):
                return None
            now = self._clock()
            try:
                self.store.publish(head.tree_size, head.checkpoint, now)
            except HeadMoved:
                self._take_up()
                return None
            except ReadOnly as e:
                self._read_only = e
                return None
            self._published_at = self._monotonic()
            self._head = replace(head, published=head.checkpoint, published_at=now)
            return head.checkpoint

    def check_against(self, tree_size: int, root_hash: bytes, source: str) -> None:
        """Hold the ledger against a checkpoint that somebody else kept: a witness, an anchor.

        If they know more than the database, or something else, the log turns read-only and says so.
        source  who knows, for the reason: "the witness w1.example"
        """
        with self._guard:
            self._claims[source] = (tree_size, root_hash)
            self._take_up()

    def accept_head(self) -> None:
        """Believe the database's head where no high-water mark speaks for or against it.

        For the operator who knows why the file is missing or damaged. It does not overrule a mark that
        contradicts the database: a fork is not made right by agreeing to it.
        Raises ReadOnly with the reason that remains.
        """
        with self._guard:
            self._take_up()
            if self._read_only is None or self._high_water is None:
                self._require_writable()
                return
            if self._read_only.code not in ("ledger.high-water.missing", "ledger.high-water.damaged"):
                raise self._read_only
            head = self.head
            self._high_water.start(self.origin, head.tree_size, head.root_hash, head.checkpoint)
            self._take_up()
            self._require_writable()

    # --- appending -------------------------------------------------------------------------------

    def _append(self, items: Sequence[Pending], recorded_at: datetime | None = None) -> Appended:
        """Append behind self._head, which the caller has compared with what it expects."""
        head = self._head
        size = 0 if head is None else head.tree_size
        known = self.store.find_unique([item.unique_key for item in items])
        if any(seq >= size for seq in known.values()):
            # The keys were read after somebody appended: the swap would fail as well, only later.
            self._take_up()
            raise _moved(head)
        if recorded_at is None:
            recorded_at = self._now(head)
        elif head is not None and head.recorded_at is not None and recorded_at < head.recorded_at:
            raise _moved(head)  # judged by a time that another head has overtaken
        batch = _Batch(head, recorded_at)
        first_at = [known.get(item.unique_key, -1) for item in items]
        placed = [batch.place(item) if seq < 0 else None for item, seq in zip(items, first_at, strict=True)]
        # Before the commit: what fails after it would be told as failed, and stand in the ledger.
        earlier = self._placed_before(sorted({seq for seq in first_at if seq >= 0}))
        if batch.unique_keys:
            batch.pack()
            head = self._commit(batch)
        elif head is None or not head.is_same_state(self.store.read_head()):
            self._take_up()
            raise _moved(head)
        by_seq = {place.seq: place for place in earlier}
        return Appended([place or by_seq[seq] for place, seq in zip(placed, first_at, strict=True)], head)

    def _commit(self, batch: _Batch) -> Head:
        """Sign and write the batch; give the new head once it is known to be durable."""
        old = self._head
        self._bring_mark_up(old)
        builder = self._builder.copy()
        tiles = _with_edges(builder.extend(batch.leaf_hashes), builder)
        root = builder.root()
        # Signed before the commit so that it is stored with it; it leaves only after.
        note = checkpoints.sign(Checkpoint(self.origin, builder.size, root), *self._signers)
        is_first = old is None
        new = Head(
            tree_size=builder.size,
            root_hash=root,
            last_leaf_hash=batch.prev,
            keys_seq=batch.keys_seq,
            recorded_at=batch.recorded_at,
            checkpoint=note,
            published=note if is_first or old is None else old.published,
            published_at=batch.recorded_at if is_first or old is None else old.published_at,
            events=batch.events,
        )
        self._is_stale = True  # whatever breaks off from here on leaves us unsure
        try:
            self.store.append(old, batch.rows(), new, tiles)
        except HeadMoved:
            self._take_up()
            raise
        except StoreFailed:
            self._is_stale = False
            raise
        except ReadOnly as e:
            self._read_only, self._is_stale = e, False
            raise
        except Exception as e:
            if not self._did_happen(old, new):
                said = str(e).partition("\n")[0]  # a driver's further lines are for programmers
                raise StoreFailed(
                    "ledger.append.lost", f"the commit failed, nothing was written: {said}"
                ) from e
        if self._is_stale:
            self._head, self._builder, self._is_stale = new, builder, False
        self._raise_mark(new)
        return new

    def _did_happen(self, old: Head | None, new: Head) -> bool:
        """Find out what became of a commit that was reported as failed."""
        try:
            now = self.store.settle_head()
        except Fault as e:
            raise OutcomeUnknown(
                "ledger.append.unknown", f"the commit broke off and the head cannot be read: {e.detail}"
            ) from e
        if new.is_same_state(now):
            return True
        if now is None or now.is_same_state(old):
            self._is_stale = False
            return False
        # Somebody else has appended since: before us, or on top of us. Our last entry holds our chain.
        last = new.tree_size - 1
        is_ours = now.tree_size > last and leaf_hash(self.store.read_entry(last)) == new.last_leaf_hash
        self._take_up()
        return is_ours

    def _now(self, head: Head | None) -> datetime:
        """The time to record: the clock's, but never below the head's."""
        now = self._clock()
        if head is None or head.recorded_at is None or now >= head.recorded_at:
            return now
        if head.recorded_at - now > CLOCK_BACK_MAX:
            raise ClockBehind(
                "ledger.clock",
                f"the clock says {now.isoformat()}, the newest entry {head.recorded_at.isoformat()}: "
                f"more than {CLOCK_BACK_MAX.total_seconds():g} s behind, so nothing is recorded",
            )
        return head.recorded_at

    def _placed_before(self, seqs: Sequence[int]) -> list[Placed]:
        """The places of entries that stand already; seqs ascending."""
        placed: list[Placed] = []
        for start, end in _runs(seqs):
            wanted = [seq for seq in seqs if start <= seq < end]
            held = self.store.read_entries(start, end)
            for seq in wanted:
                try:
                    entry = held[seq - start]
                    placed.append(Placed(seq, True, entry, parse(entry).statement))
                except (EntryMalformed, IndexError) as e:
                    raise RecordDamaged(
                        "ledger.damaged", f"entry {seq}, where this statement stands already, cannot be read"
                    ) from e
        return placed

    # --- the head and what speaks against it -----------------------------------------------------

    def _take_up(self) -> None:
        """Take the database's head for ours, and judge it anew."""
        self._is_stale = True
        # The mark first: another Log may append between the two reads, and a mark is never ahead of
        # the commits before it. The other way round its newest mark would look like a lost commit.
        mark = self._read_mark()
        head = self.store.settle_head()
        self._head, self._builder, self._read_only = head, TileBuilder(), None
        try:
            if head is not None:
                self._builder = self._read_edge(head)
            if isinstance(mark, ReadOnly):
                raise mark
            if self._high_water is not None:
                self._require_mark(mark, self._high_water.path)
            for source, (tree_size, root_hash) in self._claims.items():
                self._require_prefix(tree_size, root_hash, source)
        except StoreFailed:
            raise
        except ReadOnly as e:
            self._read_only = e
        except Fault as e:
            self._read_only = ReadOnly(
                "ledger.head.refuted", f"the database's newest state cannot be relied on: {e.detail}"
            )
        self._is_stale = False

    def _read_edge(self, head: Head) -> TileBuilder:
        """Rebuild the tree's edge from the store, and check that head, entry and checkpoint agree."""
        signed = checkpoints.open_checkpoint(head.checkpoint, self._verifiers, self.origin)
        if (signed.tree_size, signed.root_hash) != (head.tree_size, head.root_hash):
            raise _refuted("the newest checkpoint is not the head's")
        last_bytes = self.store.read_entry(head.tree_size - 1)
        last = parse(last_bytes)
        keys_seq = last.seq if last.kind in _KEY_KINDS else last.keys
        if (leaf_hash(last_bytes), last.seq, keys_seq, last.recorded_at) != (
            head.last_leaf_hash,
            head.tree_size - 1,
            head.keys_seq,
            head.recorded_at,
        ):
            raise _refuted("the newest entry is not the one that the head describes")
        edges: list[bytes] = []
        complete = head.tree_size
        while complete:
            index, width = divmod(complete, TILE_WIDTH)
            edges.append(self.store.read_tile(len(edges), index, width) if width else b"")
            complete >>= TILE_HEIGHT
        builder = TileBuilder(head.tree_size, edges)
        if builder.root() != head.root_hash:
            raise _refuted("the tiles at the edge do not lead to the head's root")
        return builder

    def _read_mark(self) -> Mark | ReadOnly | None:
        """The high-water mark, or why there is none that can be relied on."""
        if self._high_water is None:
            return None
        try:
            return self._high_water.read()
        except HighWaterDamaged as e:
            return ReadOnly(e.code, e.detail)
        except OSError as e:
            path = self._high_water.path
            return ReadOnly("ledger.high-water.unreadable", f"the high-water file {path}: {e.strerror}")

    def _require_mark(self, mark: Mark | None, path: Path) -> None:
        """Raise ReadOnly unless there is a mark, it is this log's, and the head continues it."""
        if mark is None:
            if self._head is None:
                return
            raise ReadOnly(
                "ledger.high-water.missing",
                f"the high-water file {path} is missing, so nobody can tell whether this database "
                f"of {self._head.tree_size} entries is the newest; accept its head if you know that it is",
            )
        if mark.origin != self.origin:
            raise ReadOnly(
                "ledger.high-water.origin",
                f"the high-water file {path} belongs to the log {mark.origin}, not {self.origin}",
            )
        self._require_prefix(mark.tree_size, mark.root_hash, "the high-water file")
        self._require_prefix(mark.anchored_size, mark.anchored_root, "the newest anchor")

    def _require_prefix(self, tree_size: int, root_hash: bytes, source: str) -> None:
        """Raise ReadOnly unless the tree of this size and root is the beginning of ours."""
        size = 0 if self._head is None else self._head.tree_size
        if size < tree_size:
            raise ReadOnly(
                "ledger.restored",
                f"{source} knows {tree_size} entries and the database holds {size}: it is an older copy, "
                "perhaps a restored backup; appending to it would fork the log, so it is served read-only",
            )
        if tree_size and root_at(self.store, tree_size) != root_hash:
            raise ReadOnly(
                "ledger.forked",
                f"{source} knows another root for {tree_size} entries than the database: these are two "
                "histories of one log, so it is served read-only",
            )

    def _require_writable(self) -> None:
        if self._is_stale:
            self._take_up()
        if self._read_only is not None:
            raise ReadOnly(self._read_only.code, self._read_only.detail)

    def _is_publishing_due(self, head: Head) -> bool:
        if self._published_at is not None:
            return self._monotonic() - self._published_at >= self._publish_interval_s
        if head.published_at is None:
            return True
        elapsed_s = (self._clock() - head.published_at).total_seconds()
        return not 0 <= elapsed_s < self._publish_interval_s  # a clock set back must not hold it up

    def _raise_mark(self, head: Head) -> None:
        """Note a committed head. The commit stands, so a disk that refuses only stops the next one."""
        self._is_mark_behind = True
        with suppress(OSError, HighWaterDamaged):
            if self._high_water is not None:
                self._high_water.raise_to(self.origin, head.tree_size, head.root_hash, head.checkpoint)
            self._is_mark_behind = False

    def _bring_mark_up(self, head: Head | None) -> None:
        """Never be two commits ahead of the mark: without it a restored backup goes unnoticed."""
        if self._is_mark_behind and head is not None:
            self._raise_mark(head)
            if self._is_mark_behind:
                raise StoreFailed(
                    "ledger.high-water.unwritable",
                    "the high-water file cannot be written, so nothing is appended",
                )


class _Batch:
    """The entries of one append as they grow, and the links the next one takes."""

    def __init__(self, head: Head | None, recorded_at: datetime) -> None:
        self.recorded_at = recorded_at
        self.leaf_hashes: list[bytes] = []
        self.unique_keys: list[bytes] = []
        self.prev = ZERO_PREV if head is None else head.last_leaf_hash
        self.keys_seq = 0 if head is None else head.keys_seq
        self.events = 0 if head is None else head.events
        self._first_seq = self._next_seq = 0 if head is None else head.tree_size
        self._time = render_time(recorded_at)
        self._names: list[bytes] = []
        self._statements: list[bytes] = []
        self._parts: Sequence[tuple[int, bytes]] = []
        self._runs: list[_Run] = []
        self._here: dict[bytes, Placed] = {}

    def place(self, item: Pending) -> Placed:
        """Give one statement its place, or find that it is the same as one before it."""
        first = self._here.get(item.unique_key)
        if first is not None:
            return Placed(first.seq, True, first.entry, first.statement_digest)
        seq, prev = self._next_seq, self.prev
        digest = sha256(item.statement).digest()
        like = Like(item.kind, self._time, self.keys_seq)
        self._chain(like, [digest])
        self.unique_keys.append(item.unique_key)
        self._names.append(item.names)
        self._statements.append(item.statement)
        if item.kind in _KEY_KINDS:
            self.keys_seq = seq
        (entry,) = render_alike(like, seq, [prev], [digest])
        placed = Placed(seq, False, entry, digest)
        self._here[item.unique_key] = placed
        return placed

    def pack(self) -> None:
        """Pack the statements that were placed one by one."""
        self._parts = pack_parts(self._statements)

    def place_columns(self, columns: Columns) -> None:
        """Give all of these their places: none of them is a key statement, and no two are the same."""
        self._chain(Like(columns.kind, self._time, self.keys_seq), columns.digests)
        self.unique_keys += columns.unique_keys
        self._names += columns.names
        self._parts = columns.parts

    def rows(self) -> Rows:
        """What the store writes."""
        entries = [row for run in self._runs for row in pack_alike(run.like, run.prevs, run.digests)]
        return Rows(self._first_seq, entries, join_parts(self._parts), self.unique_keys, self._names)

    def _chain(self, like: Like, digests: Sequence[bytes]) -> None:
        leaves = chain(like, self._next_seq, self.prev, digests)
        if not self._runs or self._runs[-1].like != like:
            self._runs.append(_Run(like))
        self._runs[-1].prevs += [self.prev, *leaves[:-1]]
        self._runs[-1].digests += digests
        self.prev = leaves[-1]
        self.leaf_hashes += leaves
        self._next_seq += len(leaves)
        if like.kind != "anchor":
            self.events += len(leaves)


@dataclass(slots=True)
class _Run:
    """Neighbouring entries of one likeness."""

    like: Like
    prevs: list[bytes] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)


def _with_edges(full: list[TileWrite], builder: TileBuilder) -> list[TileWrite]:
    """Add the partial tiles above level 0 that changed: those over a tile that became full."""
    levels = {tile.level + 1 for tile in full}
    if not levels:
        return full
    edges = builder.edges
    return full + [
        TileWrite(level, builder.size >> (TILE_HEIGHT * (level + 1)), edges[level])
        for level in sorted(levels)
        if level < len(edges) and edges[level]
    ]


def _runs(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Ranges that cover ascending positions, each without a large gap."""
    runs: list[tuple[int, int]] = []
    for seq in seqs:
        if runs and seq - runs[-1][1] <= _RUN_GAP_MAX and seq - runs[-1][0] < TILE_WIDTH:
            runs[-1] = (runs[-1][0], seq + 1)
        else:
            runs.append((seq, seq + 1))
    return runs


def _refuted(what: str) -> ReadOnly:
    return ReadOnly("ledger.head.refuted", f"the database contradicts itself: {what}")


def _moved(expected: Head | None) -> HeadMoved:
    size = 0 if expected is None else expected.tree_size
    return HeadMoved("ledger.head.moved", f"the ledger is no longer at size {size}: read the head and retry")
