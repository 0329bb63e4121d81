"""Step 6 of 9: the tables. Beside ledger.store.protocol; docs/formats/database.md shows them filled.

Nine tables and their triggers. What the log promised is refused to be changed by the database
too: entries, statements, tiles and unique keys take no UPDATE and no DELETE, entries and statements
grow at their end only, and the head never goes back. Whoever owns the file can drop a trigger; the
triggers are there against accidents, and the audit against owners.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

# SQLite keeps a rowid only for a key spelled INTEGER; elsewhere that would be four bytes.
_Seq = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("tree_size", _Seq, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("last_leaf_hash", LargeBinary, nullable=False),
    Column("keys_seq", _Seq, nullable=False),
    Column("recorded_at", Text),
    Column("checkpoint", LargeBinary, nullable=False),
    Column("published", LargeBinary, nullable=False),
    Column("published_at", Text),
    Column("events", _Seq, nullable=False),
    CheckConstraint("id = 1", name="head_is_one_row"),
    sqlite_strict=True,
)

# Neighbours share a row, as ledger.store.entry_rows packs them: a row and a page for each would cost more
# than all the rest of an append.
entries = Table(
    "entries",
    metadata,
    Column("first_seq", _Seq, primary_key=True, autoincrement=False),
    Column("count", _Seq, nullable=False),
    Column("body", LargeBinary, nullable=False),
    CheckConstraint("first_seq >= 0 AND count BETWEEN 1 AND 64", name="entries_row"),
    sqlite_strict=True,
)

# Apart from the entries, so that one can be shown, copied or erased without the other. Packed by
# ledger.store.packing.
statements = Table(
    "statements",
    metadata,
    Column("first_seq", _Seq, primary_key=True, autoincrement=False),
    Column("count", _Seq, nullable=False),
    Column("body", LargeBinary, nullable=False),
    CheckConstraint("first_seq >= 0 AND count BETWEEN 1 AND 64", name="statements_row"),
    sqlite_strict=True,
)

unique_keys = Table(
    "unique_keys",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("seq", _Seq, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# What each append names, as it came; merged into runs in the background and then deleted.
name_level0 = Table(
    "name_level0",
    metadata,
    Column("first_seq", _Seq, primary_key=True, autoincrement=False),
    Column("last_seq", _Seq, nullable=False),
    Column("names", _Seq, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_strict=True,
)

# Sorted runs: which there are, and their blocks. These three tables follow from the statements.
name_runs = Table(
    "name_runs",
    metadata,
    Column("run", _Seq, primary_key=True, autoincrement=False),
    Column("level", _Seq, nullable=False),
    Column("state", _Seq, nullable=False),
    Column("first_seq", _Seq, nullable=False),
    Column("last_seq", _Seq, nullable=False),
    Column("names", _Seq, nullable=False),
    sqlite_strict=True,
)

# Found by its first (key, seq, ordinal). A rowid keeps a run's blocks together, and the index small.
name_blocks = Table(
    "name_blocks",
    metadata,
    Column("run", _Seq, nullable=False),
    Column("key", _Seq, nullable=False),
    Column("seq", _Seq, nullable=False),
    Column("ordinal", _Seq, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("name_blocks_by_first", "run", "key", "seq", "ordinal", unique=True),
    sqlite_strict=True,
)

# Full tiles only. Rows of 8 KiB do not belong into the inner pages of a WITHOUT ROWID table.
tiles = Table(
    "tiles",
    metadata,
    Column("level", _Seq, primary_key=True, autoincrement=False),
    Column("tile_index", _Seq, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    sqlite_strict=True,
)

# The partial tile at the tree's right edge, one row for each level above 0. Level 0's follows from the
# entries; to find one of these again would mean hashing up to 255 full tiles.
tile_edges = Table(
    "tile_edges",
    metadata,
    Column("level", _Seq, primary_key=True, autoincrement=False),
    Column("tile_index", _Seq, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    sqlite_strict=True,
)

_APPEND_ONLY = ("entries", "statements", "tiles", "unique_keys")


def _refusing(name: str, event: str, table: str, message: str, when: str = "") -> str:
    condition = f" WHEN {when}" if when else ""
    return (
        f"CREATE TRIGGER {name} BEFORE {event} ON {table}{condition} "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


# INSERT OR REPLACE deletes without firing DELETE triggers, so inserts are watched as well.
SQLITE_TRIGGERS: tuple[str, ...] = (
    *(
        _refusing(f"{table}_no_{verb.lower()}", verb, table, f"{table} are append-only: no {verb}")
        for table in _APPEND_ONLY
        for verb in ("UPDATE", "DELETE")
    ),
    _refusing(
        "entries_at_the_end",
        "INSERT",
        "entries",
        "entries are append-only: the next ones go to the end",
        "NEW.first_seq IS NOT"
        " coalesce((SELECT first_seq + count FROM entries ORDER BY first_seq DESC LIMIT 1), 0)",
    ),
    _refusing(
        "statements_once",
        "INSERT",
        "statements",
        "statements are append-only: these are here already",
        "NEW.first_seq < (SELECT first_seq + count FROM statements ORDER BY first_seq DESC LIMIT 1)",
    ),
    _refusing(
        "tiles_once",
        "INSERT",
        "tiles",
        "tiles are append-only: this one is here already",
        "EXISTS (SELECT 1 FROM tiles WHERE level = NEW.level AND tile_index = NEW.tile_index)",
    ),
    _refusing(
        "unique_keys_once",
        "INSERT",
        "unique_keys",
        "unique_keys are append-only: this one is here already",
        "EXISTS (SELECT 1 FROM unique_keys WHERE key = NEW.key)",
    ),
    _refusing(
        "head_never_back",
        "UPDATE",
        "head",
        "the head never goes back",
        "NEW.tree_size < OLD.tree_size"
        " OR (NEW.tree_size = OLD.tree_size AND NEW.root_hash IS NOT OLD.root_hash)",
    ),
    _refusing("head_no_delete", "DELETE", "head", "the head is not deleted"),
    _refusing(
        "head_once",
        "INSERT",
        "head",
        "there is a head already",
        "EXISTS (SELECT 1 FROM head)",
    ),
)


def create_all(connection: Connection) -> None:
    """Make the tables and triggers of an empty ledger. A database in use is migrated instead."""
    if connection.dialect.name == "postgresql":
        from ledger.store import postgres_schema  # built from these tables, so not above

        postgres_schema.create_all(connection)
        return
    metadata.create_all(connection, checkfirst=False)
    for trigger in SQLITE_TRIGGERS:
        connection.exec_driver_sql(trigger)
