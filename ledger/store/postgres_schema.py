"""Step 6 of 9: the tables on PostgreSQL. Beside ledger.store.schema, whose tables these are but for:

Names, which are laid out for PostgreSQL's rows and cut into larger segments; and the triggers that refuse
to change what was promised, which work by statement, so that an append pays for them once and not once a row.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Table

from ledger.store import schema

# 131,072 entries share a segment of the index of names. With fewer, a search probes more segments; with more,
# the segment that inserts go to outgrows what a database keeps in memory.
SEGMENT_BITS = 17
# The index is led by `part`: the segment, then the head of the key. That makes 28 bytes a place where
# segment and key in columns of their own make 44; `rest` is the tail of the key, so that none is lost.
PART_KEY_BITS = 40
REST_BITS = 64 - PART_KEY_BITS
KEY_HEAD_MASK = (1 << PART_KEY_BITS) - 1
REST_MASK = (1 << REST_BITS) - 1

metadata = MetaData()

for _table in (
    schema.head,
    schema.entries,
    schema.statements,
    schema.unique_keys,
    schema.tiles,
    schema.tile_edges,
):
    _table.to_metadata(metadata)

names = Table(
    "names",
    metadata,
    Column("part", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("rest", Integer, nullable=False),
    Index("names_by_part", "part", "seq"),
)

_APPEND_ONLY = ("entries", "statements", "tiles", "unique_keys")

DDL: tuple[str, ...] = (
    # Hashes do not compress: without this each tile would be tried in vain.
    "ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL",
    "ALTER TABLE tile_edges ALTER COLUMN hashes SET STORAGE EXTERNAL",
    """CREATE FUNCTION tallystick_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE integrity_constraint_violation
        USING MESSAGE = TG_TABLE_NAME || ' are append-only: no ' || TG_OP;
END $$""",
    """CREATE FUNCTION tallystick_at_the_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    low bigint;
    high bigint;
    added_count bigint;
BEGIN
    SELECT min(seq), max(seq), count(*) INTO low, high, added_count FROM added;
    IF added_count > 0 AND (
        low < 0
        OR high - low + 1 <> added_count
        OR high <> (SELECT max(seq) FROM entries)
        OR (low > 0 AND NOT EXISTS (SELECT FROM entries WHERE seq = low - 1))
    ) THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = 'entries are append-only: the next one goes to the end';
    END IF;
    RETURN NULL;
END $$""",
    """CREATE FUNCTION tallystick_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        RAISE integrity_constraint_violation USING MESSAGE = 'the head never goes back';
    END IF;
    RAISE integrity_constraint_violation USING MESSAGE = 'the head is not deleted';
END $$""",
    *(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION tallystick_append_only()"
        for table in _APPEND_ONLY
    ),
    "CREATE TRIGGER entries_at_the_end AFTER INSERT ON entries REFERENCING NEW TABLE AS added"
    " FOR EACH STATEMENT EXECUTE FUNCTION tallystick_at_the_end()",
    "CREATE TRIGGER head_never_back BEFORE UPDATE ON head FOR EACH ROW"
    " WHEN (NEW.tree_size < OLD.tree_size"
    " OR (NEW.tree_size = OLD.tree_size AND NEW.root_hash IS DISTINCT FROM OLD.root_hash))"
    " EXECUTE FUNCTION tallystick_head()",
    "CREATE TRIGGER head_no_delete BEFORE DELETE OR TRUNCATE ON head"
    " FOR EACH STATEMENT EXECUTE FUNCTION tallystick_head()",
)


def key_head(key: int) -> int:
    """What of an index key goes into `part`, below the segment."""
    return key >> REST_BITS & KEY_HEAD_MASK


def key_rest(key: int) -> int:
    """What of an index key goes into `rest`."""
    return key & REST_MASK


def create_all(connection: Connection) -> None:
    """Make the tables, functions and triggers of an empty ledger."""
    metadata.create_all(connection, checkfirst=False)
    for statement in DDL:
        connection.exec_driver_sql(statement)
