"""Step 7 of 9: what a round must remember to survive a crash. Used by anchoring.rounds.

Four tables of anchoring's own, in the ledger's database. The evidence itself goes into the ledger as
an anchor entry; these rows only make sure that no round is lost or done twice on its way there.
Times are whole microseconds since 1970 (UTC), so that SQLite and PostgreSQL compare them alike.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

# SQLite gives row numbers by itself only to columns declared INTEGER.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")

anchor_rounds = Table(
    "anchor_rounds",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True),
    # 1 while the round is under way, NULL once its entry is in the ledger: the unique constraint lets the
    # database itself refuse a second round beside an unfinished one.
    Column("unfinished", Integer, unique=True),
    Column("started_at", BigInteger, nullable=False),
    # Of our own ledger's checkpoint, which stands at position 0 of the batch.
    Column("tree_size", BigInteger, nullable=False),
    Column("batch_root", LargeBinary(32), nullable=False),
    Column("attempts", Integer, nullable=False, default=0, server_default="0"),
    Column("next_attempt_at", BigInteger, nullable=False),
    Column("last_error", Text),
    # The signed anchor statement, stored before it is submitted: submitted twice, it is one entry.
    Column("statement", LargeBinary),
    Column("seq", BigInteger),  # the anchor entry
    Column("stamped_at", BigInteger),  # the earliest genTime of its tokens
    Column("finished_at", BigInteger),
    CheckConstraint("unfinished IS NULL OR unfinished = 1", name="anchor_rounds_unfinished"),
    CheckConstraint("(unfinished IS NULL) = (seq IS NOT NULL)", name="anchor_rounds_finished"),
)
Index("anchor_rounds_by_size", anchor_rounds.c.tree_size, anchor_rounds.c.id)

anchor_leaves = Table(
    "anchor_leaves",
    metadata,
    Column("round_id", ForeignKey("anchor_rounds.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("checkpoint", Text, nullable=False),  # the three lines, without signatures
)

anchor_tokens = Table(
    "anchor_tokens",
    metadata,
    Column("round_id", ForeignKey("anchor_rounds.id"), primary_key=True),
    Column("authority", String(128), primary_key=True),
    Column("token", LargeBinary),  # NULL: asked in vain so far
    Column("stamped_at", BigInteger),
    Column("last_error", Text),
)

anchor_lease = Table(
    "anchor_lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("holder", String(64)),  # NULL: free
    Column("expires_at", BigInteger, nullable=False),
    # Why no round could be started, when there is no round to say it on.
    Column("last_error", Text),
    CheckConstraint("id = 1", name="anchor_lease_one"),
)


def create_all(connection: Connection) -> None:
    """Create whatever of the four tables is missing; never alters one that is there."""
    metadata.create_all(connection)
