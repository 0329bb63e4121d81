"""Neighbours share a row: entries and statements, which had one each, are packed by up to 64.

Nothing of them is changed: what ledger.store.packing and entry_rows pack, they have unpacked and compared.
What was gone or altered before is gone or altered afterwards, at the same place. About 15 µs a statement, in
one transaction: a copy of both tables is written before the old ones are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from alembic import op

from ledger.store.entry_rows import pack_entries
from ledger.store.packing import pack_parts

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLES = ("entries", "statements")
_BATCH = 8192  # rows in memory at once
_Pack = Callable[[int, Sequence[bytes]], list[tuple[int, bytes]]]

_SQLITE_DROPPED = (
    *(f"DROP TRIGGER {table}_no_{verb}" for table in _TABLES for verb in ("update", "delete")),
    "DROP TRIGGER entries_at_the_end",
    "DROP TRIGGER statements_once",
)
_SQLITE_MADE = (
    """CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries are append-only: no UPDATE'); END""",
    """CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries are append-only: no DELETE'); END""",
    """CREATE TRIGGER statements_no_update BEFORE UPDATE ON statements
    BEGIN SELECT RAISE(ABORT, 'statements are append-only: no UPDATE'); END""",
    """CREATE TRIGGER statements_no_delete BEFORE DELETE ON statements
    BEGIN SELECT RAISE(ABORT, 'statements are append-only: no DELETE'); END""",
    """CREATE TRIGGER entries_at_the_end BEFORE INSERT ON entries
    WHEN NEW.first_seq IS NOT
    coalesce((SELECT first_seq + count FROM entries ORDER BY first_seq DESC LIMIT 1), 0)
    BEGIN SELECT RAISE(ABORT, 'entries are append-only: the next ones go to the end'); END""",
    """CREATE TRIGGER statements_once BEFORE INSERT ON statements
    WHEN NEW.first_seq < (SELECT first_seq + count FROM statements ORDER BY first_seq DESC LIMIT 1)
    BEGIN SELECT RAISE(ABORT, 'statements are append-only: these are here already'); END""",
)


def _at_the_end(table: str, refused: str) -> tuple[str, ...]:
    return (
        f"ALTER TABLE {table} ALTER COLUMN body SET STORAGE EXTERNAL",
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
END $$""",  # noqa: S608
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION tallystick_append_only()",
        f"CREATE TRIGGER {table}_end AFTER INSERT ON {table} REFERENCING NEW TABLE AS added"
        f" FOR EACH STATEMENT EXECUTE FUNCTION tallystick_{table}_end()",
    )


_POSTGRES_MADE = (*_at_the_end("entries", "<>"), *_at_the_end("statements", "<"))


def upgrade() -> None:
    connection = op.get_bind()
    is_postgres = connection.dialect.name == "postgresql"
    for statement in () if is_postgres else _SQLITE_DROPPED:
        connection.exec_driver_sql(statement)
    for table in _TABLES:
        op.rename_table(table, f"{table}_singly")
        if is_postgres:  # the name of the key would be in the way
            connection.exec_driver_sql(
                f"ALTER TABLE {table}_singly RENAME CONSTRAINT {table}_pkey TO {table}_singly_pkey"
            )
        op.create_table(
            table,
            sa.Column("first_seq", _SEQ, primary_key=True, autoincrement=False),
            sa.Column("count", _SEQ, nullable=False),
            sa.Column("body", sa.LargeBinary, nullable=False),
            sa.CheckConstraint("first_seq >= 0 AND count BETWEEN 1 AND 64", name=f"{table}_row"),
            sqlite_strict=True,
        )
    _repack(connection, "entries", "entry", pack_entries)
    _repack(connection, "statements", "body", lambda first, bodies: pack_parts(bodies))
    for table in _TABLES:
        op.drop_table(f"{table}_singly")
    if is_postgres:
        connection.exec_driver_sql("DROP FUNCTION tallystick_at_the_end()")
    for statement in _POSTGRES_MADE if is_postgres else _SQLITE_MADE:
        connection.exec_driver_sql(statement)


def _repack(connection: sa.Connection, table: str, column: str, pack: _Pack) -> None:
    """Pack the rows of one table, each run of neighbours for itself: a row that is gone leaves its gap."""
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    select = f"SELECT seq, {column} FROM {table}_singly WHERE seq >= {mark} ORDER BY seq LIMIT {_BATCH}"  # noqa: S608
    insert = f"INSERT INTO {table} VALUES ({mark}, {mark}, {mark})"  # noqa: S608
    after = 0
    while rows := connection.exec_driver_sql(select, (after,)).all():
        after = rows[-1][0] + 1
        start = 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or rows[end][0] != rows[end - 1][0] + 1:
                first = rows[start][0]
                packed = []
                for count, body in pack(first, [row[1] for row in rows[start:end]]):
                    packed.append((first, count, body))
                    first += count
                connection.exec_driver_sql(insert, packed)
                start = end


def downgrade() -> None:
    raise RuntimeError("a ledger is not taken back")
