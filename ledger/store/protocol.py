"""Step 6 of 9: where the ledger is kept. Between ledger.log, which writes, and everybody who reads.

A store keeps what the log decided, in one transaction or not at all. It decides nothing itself
but this: an append takes place on the head its caller knew, or it does not take place.

The reading half holds every method of ledger.audit.LedgerReader, so an auditor reads a database
as it reads a URL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ledger.tiles import TileWrite

UNIQUE_KEY_SIZE_MAX = 64  # bytes; intake's own keys have 44
RECORDS_MAX = 1_000  # entries with their statements that one read_records() may ask for
NAME_LIMIT_MAX = 10_000  # rows one find_name() may answer; ask again with `after` for more


@dataclass(frozen=True, slots=True)
class Head:
    """The ledger's newest state: the one row that writers compare and swap.

    Two heads are the same state when size and root agree: publishing alters the last members
    of this row and nothing of the ledger.
    """

    tree_size: int
    root_hash: bytes  # 32 bytes
    last_leaf_hash: bytes  # the next entry's `prev`
    keys_seq: int  # newest `key` or `genesis` entry: the next entry's `keys`
    recorded_at: datetime | None  # of the newest entry, aware UTC; the next one's is never below it
    checkpoint: bytes  # the signed note over this size and root
    published: bytes  # the newest checkpoint that was shown to the world; never newer than the head
    published_at: datetime | None
    events: int  # entries that are not anchors

    def is_same_state(self, other: Head | None) -> bool:
        return other is not None and self.tree_size == other.tree_size and self.root_hash == other.root_hash


@dataclass(frozen=True, slots=True)
class Rows:
    """The entries of one append with all that is written beside them, in columns.

    first_seq    the first one's position; the others follow without gaps
    entries      rows as ledger.store.entry_rows makes them: how many entries, and the row's body
    statements   rows of parts, as ledger.store.packing makes them; which may end elsewhere
    unique_keys  of each; a second statement with one's key is a duplicate; 1 to UNIQUE_KEY_SIZE_MAX bytes
    names        of each, packed as by ledger.store.name_runs.pack_names
    """

    first_seq: int
    entries: Sequence[tuple[int, bytes]]
    statements: Sequence[tuple[int, bytes]]
    unique_keys: Sequence[bytes]
    names: Sequence[bytes]

    @property
    def count(self) -> int:
        return len(self.unique_keys)


class LedgerStore(Protocol):
    """The reading half: safe from any thread, and from any process while another one writes.

    Positions count from 0. What the head does not cover is not in the log, whatever the tables hold.
    Every method raises StoreFailed when the database cannot be read.
    """

    # The methods of ledger.audit.LedgerReader.

    def read_checkpoint(self) -> bytes:
        """The newest signed checkpoint. Raises NotInLog on an empty ledger."""
        ...

    def read_entries(self, start: int, end: int) -> Sequence[bytes]:
        """Entries start <= seq < end; fewer only where the log ends.

        An entry that is gone is b"", so that all others keep their positions and an
        auditor can name the one that is missing. Entries of a row that cannot be unpacked are that row's
        bytes, each of them: altered, and to be named so.
        """
        ...

    def read_statements(self, start: int, end: int) -> Sequence[bytes | None]:
        """Statements start <= seq < end; None where one is erased or gone; fewer only at the log's end.

        Statements of a row that cannot be unpacked are that row's bytes: they are altered, not erased.
        """
        ...

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes (1..256) of a hash tile. Raises NotInLog where the log has fewer."""
        ...

    # What serving and writing need besides.

    def read_head(self) -> Head | None:
        """None before genesis."""
        ...

    def read_entry(self, seq: int) -> bytes:
        """Raises NotInLog beyond the head."""
        ...

    def read_statement(self, seq: int) -> bytes | None:
        """None if erased. Raises NotInLog beyond the head."""
        ...

    def read_records(self, seqs: Sequence[int]) -> list[tuple[bytes, bytes | None]]:
        """Entry and statement at each of up to RECORDS_MAX positions, in any order, of one moment.

        What is gone, erased or cannot be unpacked is told as by read_entries() and read_statements(). Raises
        NotInLog where one lies beyond the head. About 60 µs each, neighbours in one row together.
        """
        ...

    def find_unique(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Those of the keys that are taken, with the seq of the entry that has them."""
        ...

    def find_name(
        self,
        key: int,
        *,
        after: tuple[int, int] | None = None,
        limit: int,
        descending: bool = False,
    ) -> list[tuple[int, int]]:
        """Places (seq, ordinal) of the statements that name this key, in log order.

        after       only places beyond this one, in the order asked for
        limit       1..NAME_LIMIT_MAX rows; a full answer may have more behind it
        descending  newest first

        Keys are hashes and hashes collide, by accident or by malice: read the statement and
        compare the full name before you believe a place.
        """
        ...

    def read_key_records(self, after_seq: int) -> list[tuple[int, bytes, bytes]]:
        """(seq, entry, statement) of each genesis and key entry with seq > after_seq, ascending.

        Walks the `keys` links down from the head, so the cost is what changed, not the ledger's
        size. `-1` reads all. Raises EntryMalformed where the walk meets something that is no entry.
        """
        ...

    def close(self) -> None: ...


class LedgerWriter(LedgerStore, Protocol):
    """The writing half. Only ledger.log calls it."""

    def append(
        self,
        expected: Head | None,
        rows: Rows,
        new_head: Head,
        tiles: Sequence[TileWrite],
    ) -> None:
        """Swap the expected head for the new one and write everything with it, in one transaction.

        expected  the head the caller built on; None to write the first entry
        rows      from expected.tree_size onwards
        tiles     every tile that became full; and, above level 0, each partial tile that changed,
                  as it stands afterwards

        On return all of it is durable. HeadMoved, StoreFailed and ReadOnly mean that nothing was written
        and that this is known: KeyTaken, that the head is the expected one and one of the unique keys
        stands in the ledger; ReadOnly, that nothing will be written until a person acts. Any other
        exception leaves the outcome open: ask settle_head().
        `published` and `published_at` of the new head count only where expected is None.
        """
        ...

    def publish(self, expected_size: int, note: bytes, published_at: datetime) -> None:
        """Make this note, over the head's own size, the published checkpoint; else HeadMoved."""
        ...

    def settle_head(self) -> Head | None:
        """The head on a fresh connection, once no append of ours can still be in flight.

        Takes the lock that append() takes: a plain read could see the old head a moment before
        a commit, believed lost, comes through.
        """
        ...
