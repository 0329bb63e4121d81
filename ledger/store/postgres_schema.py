"""Step 6 of 9: the tables on PostgreSQL. Beside ledger.store.schema, whose tables these are but for:

how rows of bytes are stored, and the triggers that refuse to change what was promised, which work by
statement, so that an append pays for them once and not once a row.
"""

from __future__ import annotations

from sqlalchemy import Connection, MetaData

from ledger.store import schema

metadata = MetaData()

for _table in schema.metadata.tables.values():
    _table.to_metadata(metadata)

_APPEND_ONLY = ("entries", "statements", "tiles", "unique_keys")

DDL: tuple[str, ...] = (
    # Hashes do not compress: without this each tile would be tried in vain.
    "ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL",
    "ALTER TABLE tile_edges ALTER COLUMN hashes SET STORAGE EXTERNAL",
    "ALTER TABLE name_level0 ALTER COLUMN body SET STORAGE EXTERNAL",
    # A block in its row, not beside it: one page to read instead of five.
    "ALTER TABLE name_blocks ALTER COLUMN body SET STORAGE PLAIN",
    # Merging deletes about as much as it writes: what is free is found soon, and used again.
    *(
        f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,"
        " autovacuum_vacuum_insert_scale_factor = 1, autovacuum_vacuum_cost_delay = 0)"
        for table in ("name_level0", "name_blocks")
    ),
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


def create_all(connection: Connection) -> None:
    """Make the tables, functions and triggers of an empty ledger."""
    metadata.create_all(connection, checkfirst=False)
    for statement in DDL:
        connection.exec_driver_sql(statement)
