"""The ledger: head, entries, statements, the keys and names that find them, and the tree's tiles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_TRIGGERS = (
    """CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries are append-only: no UPDATE'); END""",
    """CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries are append-only: no DELETE'); END""",
    """CREATE TRIGGER statements_no_update BEFORE UPDATE ON statements
    BEGIN SELECT RAISE(ABORT, 'statements are append-only: no UPDATE'); END""",
    """CREATE TRIGGER statements_no_delete BEFORE DELETE ON statements
    BEGIN SELECT RAISE(ABORT, 'statements are append-only: no DELETE'); END""",
    """CREATE TRIGGER tiles_no_update BEFORE UPDATE ON tiles
    BEGIN SELECT RAISE(ABORT, 'tiles are append-only: no UPDATE'); END""",
    """CREATE TRIGGER tiles_no_delete BEFORE DELETE ON tiles
    BEGIN SELECT RAISE(ABORT, 'tiles are append-only: no DELETE'); END""",
    """CREATE TRIGGER unique_keys_no_update BEFORE UPDATE ON unique_keys
    BEGIN SELECT RAISE(ABORT, 'unique_keys are append-only: no UPDATE'); END""",
    """CREATE TRIGGER unique_keys_no_delete BEFORE DELETE ON unique_keys
    BEGIN SELECT RAISE(ABORT, 'unique_keys are append-only: no DELETE'); END""",
    """CREATE TRIGGER entries_at_the_end BEFORE INSERT ON entries
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM entries)
    BEGIN SELECT RAISE(ABORT, 'entries are append-only: the next one goes to the end'); END""",
    """CREATE TRIGGER statements_once BEFORE INSERT ON statements
    WHEN EXISTS (SELECT 1 FROM statements WHERE seq = NEW.seq)
    BEGIN SELECT RAISE(ABORT, 'statements are append-only: this one is here already'); END""",
    """CREATE TRIGGER tiles_once BEFORE INSERT ON tiles
    WHEN EXISTS (SELECT 1 FROM tiles WHERE level = NEW.level AND tile_index = NEW.tile_index)
    BEGIN SELECT RAISE(ABORT, 'tiles are append-only: this one is here already'); END""",
    """CREATE TRIGGER unique_keys_once BEFORE INSERT ON unique_keys
    WHEN EXISTS (SELECT 1 FROM unique_keys WHERE key = NEW.key)
    BEGIN SELECT RAISE(ABORT, 'unique_keys are append-only: this one is here already'); END""",
    """CREATE TRIGGER head_never_back BEFORE UPDATE ON head
    WHEN NEW.tree_size < OLD.tree_size
    OR (NEW.tree_size = OLD.tree_size AND NEW.root_hash IS NOT OLD.root_hash)
    BEGIN SELECT RAISE(ABORT, 'the head never goes back'); END""",
    """CREATE TRIGGER head_no_delete BEFORE DELETE ON head
    BEGIN SELECT RAISE(ABORT, 'the head is not deleted'); END""",
    """CREATE TRIGGER head_once BEFORE INSERT ON head
    WHEN EXISTS (SELECT 1 FROM head)
    BEGIN SELECT RAISE(ABORT, 'there is a head already'); END""",
)


_APPEND_ONLY = ("entries", "statements", "tiles", "unique_keys")

_POSTGRES = (
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


def upgrade() -> None:
    is_postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tree_size", _SEQ, nullable=False),
        sa.Column("root_hash", sa.LargeBinary, nullable=False),
        sa.Column("last_leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("keys_seq", _SEQ, nullable=False),
        sa.Column("recorded_at", sa.Text),
        sa.Column("checkpoint", sa.LargeBinary, nullable=False),
        sa.Column("published", sa.LargeBinary, nullable=False),
        sa.Column("published_at", sa.Text),
        sa.Column("events", _SEQ, nullable=False),
        sa.CheckConstraint("id = 1", name="head_is_one_row"),
        sqlite_strict=True,
    )
    op.create_table(
        "entries",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "statements",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "unique_keys",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("seq", _SEQ, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    if is_postgres:
        op.create_table(
            "names",
            sa.Column("part", sa.BigInteger, nullable=False),
            sa.Column("seq", sa.BigInteger, nullable=False),
            sa.Column("ordinal", sa.Integer, nullable=False),
            sa.Column("rest", sa.Integer, nullable=False),
        )
        op.create_index("names_by_part", "names", ["part", "seq"])
    else:
        op.create_table(
            "names",
            sa.Column("segment", _SEQ, primary_key=True, autoincrement=False),
            sa.Column("key", _SEQ, primary_key=True, autoincrement=False),
            sa.Column("seq", _SEQ, primary_key=True, autoincrement=False),
            sa.Column("ordinal", _SEQ, primary_key=True, autoincrement=False),
            sqlite_strict=True,
            sqlite_with_rowid=False,
        )
    op.create_table(
        "tiles",
        sa.Column("level", _SEQ, primary_key=True, autoincrement=False),
        sa.Column("tile_index", _SEQ, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "tile_edges",
        sa.Column("level", _SEQ, primary_key=True, autoincrement=False),
        sa.Column("tile_index", _SEQ, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    for statement in _POSTGRES if is_postgres else _TRIGGERS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    # The first shape has nothing before it: going back would mean to throw the ledger away.
    raise RuntimeError("a ledger is not taken back")
