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
    # What is packed is not tried to be packed again.
    "ALTER TABLE entries ALTER COLUMN body SET STORAGE EXTERNAL",
    "ALTER TABLE statements ALTER COLUMN body SET STORAGE EXTERNAL",
    # Each question to the table ends with LIMIT 1: a plan made while it was empty, and kept, is right later.
    *(
        f"""CREATE FUNCTION tallystick_{table}_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    low bigint;
    high bigint;
    has_gap boolean;
BEGIN
    SELECT min(first_seq), max(first_seq), bool_or(next_seq <> first_seq + count)
      INTO low, high, has_gap
      FROM (SELECT first_seq, count, lead(first_seq) OVER (ORDER BY first_seq) AS next_seq FROM added) AS a;
    IF low IS NOT NULL AND (
        has_gap
        OR low {refused} coalesce(
            (SELECT first_seq + count FROM {table} WHERE first_seq < low ORDER BY first_seq DESC LIMIT 1), 0)
        OR high <> (SELECT first_seq FROM {table} ORDER BY first_seq DESC LIMIT 1)
    ) THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = '{table} are append-only: the next ones go to the end';
    END IF;
    RETURN NULL;
END $$"""  # noqa: S608
        for table, refused in (("entries", "<>"), ("statements", "<"))
    ),
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
    *(
        f"CREATE TRIGGER {table}_end AFTER INSERT ON {table} REFERENCING NEW TABLE AS added"
        f" FOR EACH STATEMENT EXECUTE FUNCTION tallystick_{table}_end()"
        for table in ("entries", "statements")
    ),
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
