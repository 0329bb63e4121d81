"""The index of names as sorted runs instead of a row for each name.

Every old segment becomes a run of its own; merging goes on from there. Formats as ledger.store.name_runs
describes them, repeated here as they were on this day.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BLOCK_COUNT = 480  # names: 16 bytes each at most
_ROWS_READ = 10_000

_POSTGRES = (
    "ALTER TABLE name_level0 ALTER COLUMN body SET STORAGE EXTERNAL",
    "ALTER TABLE name_blocks ALTER COLUMN body SET STORAGE PLAIN",
    *(
        f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,"
        " autovacuum_vacuum_insert_scale_factor = 1, autovacuum_vacuum_cost_delay = 0)"
        for table in ("name_level0", "name_blocks")
    ),
)


def upgrade() -> None:
    is_postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "name_level0",
        sa.Column("first_seq", _SEQ, primary_key=True, autoincrement=False),
        sa.Column("last_seq", _SEQ, nullable=False),
        sa.Column("names", _SEQ, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "name_runs",
        sa.Column("run", _SEQ, primary_key=True, autoincrement=False),
        sa.Column("level", _SEQ, nullable=False),
        sa.Column("state", _SEQ, nullable=False),
        sa.Column("first_seq", _SEQ, nullable=False),
        sa.Column("last_seq", _SEQ, nullable=False),
        sa.Column("names", _SEQ, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "name_blocks",
        sa.Column("run", _SEQ, nullable=False),
        sa.Column("key", _SEQ, nullable=False),
        sa.Column("seq", _SEQ, nullable=False),
        sa.Column("ordinal", _SEQ, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("name_blocks_by_first", "name_blocks", ["run", "key", "seq", "ordinal"], unique=True)
    if is_postgres:
        for statement in _POSTGRES:
            op.get_bind().exec_driver_sql(statement)
    _convert(op.get_bind(), is_postgres=is_postgres)
    op.drop_table("names")


def _convert(connection: sa.Connection, *, is_postgres: bool) -> None:
    """One run from each segment of the old table: 8,192 entries on SQLite, 131,072 on PostgreSQL."""
    if is_postgres:
        newest = "SELECT max(part >> 40) FROM names"
        rows = (
            # The key: 40 bits of it stood in `part`, the rest beside it; shifted up and down for its sign.
            "SELECT key, seq, ordinal FROM (SELECT ((part & 1099511627775) << 24) | rest AS key, seq, ordinal"
            " FROM names WHERE part >= CAST(:s AS bigint) << 40 AND part < CAST(:s + 1 AS bigint) << 40) AS n"
            " ORDER BY key, seq, ordinal"
        )
    else:
        newest = "SELECT max(segment) FROM names"
        rows = "SELECT key, seq, ordinal FROM names WHERE segment = :s ORDER BY key, seq, ordinal"
    newest_segment = connection.execute(sa.text(newest)).scalar()
    if newest_segment is None:
        return
    insert_block = sa.text("INSERT INTO name_blocks VALUES (:run, :key, :seq, :ordinal, :body)")
    insert_run = sa.text("INSERT INTO name_runs VALUES (:run, 1, 1, :first, :last, :names)")
    run = 0
    for segment in range(newest_segment + 1):
        found = connection.execute(sa.text(rows), {"s": segment}, execution_options={"yield_per": _ROWS_READ})
        first, last, names = 2**63, -1, 0
        for block in _blocks(found):
            key, seq, ordinal = block[0]
            body = _packed(block)
            connection.execute(
                insert_block, {"run": run + 1, "key": key, "seq": seq, "ordinal": ordinal, "body": body}
            )
            first = min(first, *(row[1] for row in block), first)
            last = max(last, *(row[1] for row in block), last)
            names += len(block)
        if names:
            run += 1
            connection.execute(insert_run, {"run": run, "first": first, "last": last, "names": names})


def _blocks(found: Iterable[Any]) -> Iterator[list[tuple[int, int, int]]]:
    block: list[tuple[int, int, int]] = []
    for key, seq, ordinal in found:
        block.append((key, seq, ordinal))
        if len(block) == _BLOCK_COUNT:
            yield block
            block = []
    if block:
        yield block


def _packed(block: list[tuple[int, int, int]]) -> bytes:
    keys, seqs, ordinals = zip(*block, strict=True)
    base = min(seqs)
    count = len(block)
    ordinal_size = 4 if any(ordinals) else 0
    return b"".join(
        (
            struct.pack("<BBBxIq", 1, 4, ordinal_size, count, base),
            struct.pack(f"<{count}q", *keys),
            struct.pack(f"<{count}I", *(seq - base for seq in seqs)),
            struct.pack(f"<{count}I", *ordinals) if ordinal_size else b"",
        )
    )


def downgrade() -> None:
    # The rows of names could be made again from the statements; nobody needs them.
    raise RuntimeError("the index of names is not taken back")
